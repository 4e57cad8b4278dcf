"""One pipeline as its author wrote it: frozen values with the place of each in the text.

Made by pipeline/parse.py from marked YAML, consumed by pipeline/compile.py. Nothing here is resolved against
an object file or a kernel.
"""

from __future__ import annotations

import os
from dataclasses import field
from typing import Any, ClassVar, NamedTuple

from reloader.frozen import frozen
from reloader.pipeline.checks import Health
from reloader.pipeline.enums import Access, Apply, Panic, Role

__all__ = [
    "Apply",
    "Attach",
    "Bulk",
    "Entry",
    "MapWish",
    "Mark",
    "ObjectRef",
    "Panic",
    "Pipeline",
    "Role",
    "ShareWish",
    "TestWish",
]


class Mark(NamedTuple):
    """A place in the author's text; 1-based. A tuple, because every word of a text has one."""

    line: int
    column: int


@frozen
class ObjectRef:
    path: str  # absolute
    sha256: str | None  # None: any content
    mark: Mark


@frozen
class Attach:
    program: str
    type: str  # a key of places.places()
    options: dict[str, Any]  # the place's own fields, checked against its schema fragment
    mark: Mark
    marks: dict[str, Mark] = field(default_factory=dict)  # field -> place of its value


@frozen
class Bulk:
    """Entries in a file beside the YAML: CSV with a header line of field names, or JSON Lines of {key, value}."""

    format: str  # "csv" or "jsonl"
    path: str  # absolute
    mark: Mark


@frozen
class Entry:
    key: Any  # scalar, list or mapping by BTF field name
    value: Any
    mark: Mark
    marks: dict[str, Mark] = field(default_factory=dict)  # `key.port`, `value.addr[2]` -> place
    index: int = 0  # its place in the list


@frozen
class MapWish:
    name: str
    role: Role
    mark: Mark
    entries: tuple[Entry, ...] | None = None  # None: none listed here
    bulk: Bulk | None = None
    apply: Apply = Apply.AUTO
    together_with: tuple[str, ...] = ()
    prune: bool | None = None  # False: entries that are not listed stay; True: those of others may be deleted, too
    keep: tuple[str, ...] = ()  # fields of the value that programs count in
    byteorder: dict[str, str] | None = None  # dotted field path -> "network" | "host", where BTF cannot say
    pin: str | None = None  # external: the bpffs path
    max_entries: int | None = None  # None: as the object says
    undecided: bool = False  # its role is still `TODO`; `role` says nothing
    layout: int | None = None  # state: its version in the registry; None: as BTF shows
    marks: dict[str, Mark] = field(default_factory=dict)  # field, also as `byteorder.key.port` -> place

    @property
    def role_mark(self) -> Mark:
        return self.marks.get("role", self.mark)


@frozen
class TestWish:
    """`test:` as it stands, checked by the schema only: pipeline/tests/cases_from_yaml.py resolves it against the
    objects.
    """

    __test__: ClassVar[bool] = False  # for pytest, which would take it for one of its own

    items: tuple[dict[str, Any], ...]
    mark: Mark
    marks: dict[str, Mark] = field(default_factory=dict)  # `[0].expect.verdict` -> place
    base: str = ""  # the folder that files are meant in

    def beside(self, name: str) -> str:
        return os.path.join(self.base, name)


@frozen
class CheckPlace:
    """Where a health check stands, and the key it gives as written."""

    index: int
    mark: Mark
    marks: dict[str, Mark]  # field -> place of its value
    key: Any = None

    def at(self, field: str) -> Mark:
        return self.marks.get(field, self.mark)

    def path(self, field: str) -> str:
        return f"spec.health.checks[{self.index}].{field}"


@frozen
class HealthWish:
    health: Health
    places: tuple[CheckPlace, ...]  # of its checks, in their order


@frozen
class ShareWish:
    """The group that may open the published maps."""

    group: str
    access: Access
    mark: Mark  # of the group's name


@frozen
class Pipeline:
    """One YAML document."""

    name: str
    file: str  # where it was read, for messages
    mark: Mark
    objects: tuple[ObjectRef, ...]
    attach: tuple[Attach, ...]
    maps: tuple[MapWish, ...]
    rodata: dict[str, Any]
    rodata_marks: dict[str, Mark]  # variable, also as `name.field[2]` -> place
    maps_mark: Mark | None = None  # where `maps:` stands, or else `spec:`
    gate: bool = False  # the attachments change together, by reloader_gate.h
    state_schema: str | None = None
    tests: TestWish = field(default_factory=lambda: TestWish(items=(), mark=Mark(line=0, column=0)))
    health: HealthWish | None = None
    panic: Panic | None = None
    share: ShareWish | None = None
    cut: frozenset[tuple[str | int, ...]] = frozenset()  # what the schema refused, and so is not in here

    def lacks(self, part: str) -> bool:
        """Whether something of this field of `spec` was refused so far that it is missing here."""
        return any(steps[:2] == ("spec", part) and len(steps) <= 3 for steps in self.cut)
