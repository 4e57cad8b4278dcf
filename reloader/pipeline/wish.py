"""What is wanted, resolved: a pipeline after its objects, layouts and entries were read. JSON-able.

A wish holds everything a plan, a generation record and a later rollback need; together with the
object and entries files stored by digest it replaces the source tree.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import field
from typing import Any, ClassVar

from reloader.disk import jsonable
from reloader.errors import Problem
from reloader.frozen import frozen
from reloader.layouts.nesting import InnerMap
from reloader.layouts.rules import LayoutVersion
from reloader.pipeline.checks import Health
from reloader.pipeline.enums import Access, Apply, Panic, Role
from reloader.structs.tree import TypeTree


@frozen
class EntriesRef:
    """Encoded entries of a config map, stored as fixed-size `key ‖ value` records sorted by key."""

    digest: str  # sha256 of the file's bytes
    count: int


@frozen
class Kept:
    """A field of a config map's value that every change of the configuration carries over."""

    name: str
    offset: int  # bytes, in the value
    size: int  # of one counter: 4 or 8
    count: int = 1  # counters in a row


@frozen
class Constant:
    """A `const volatile` global of the objects, with all that a display of it needs."""

    name: str
    type: TypeTree
    compiled: bytes  # its value in the object
    byteorder: dict[str, str] = field(default_factory=dict)  # path below it -> "network" | "host"


def orders_below(byteorder: Mapping[str, str] | None, root: str) -> dict[str, str]:
    """The byte orders that are said of `root` (`key`, `value`, a constant) and its fields, by path from there."""
    return {
        path[len(root) :].removeprefix("."): order
        for path, order in (byteorder or {}).items()
        if path == root or path.startswith((f"{root}.", f"{root}["))
    }


@frozen
class WishMap:
    name: str
    role: Role
    type: int  # kernel.MapType
    key_size: int
    value_size: int
    max_entries: int  # 0: the kernel sizes it (perf event arrays)
    map_flags: int
    key: TypeTree | None  # None: the object's BTF does not describe it
    value: TypeTree | None
    apply: Apply = Apply.AUTO
    together_with: tuple[str, ...] = ()
    prune: bool = True
    may_prune: bool = False  # `prune: true` stands in the YAML: entries that reloader did not write may be deleted
    entries: EntriesRef | None = None  # None: reloader does not own this map's contents
    pin: str | None = None  # external only
    bridge: bool = False  # every program that reaches it does so by the calls of reloader_state.h
    past_bridge: tuple[str, ...] = ()  # programs that do not, though the object declares RELOADER_STATE
    flips: bool = False  # the program reaches it by the calls of reloader_config.h
    keep: tuple[Kept, ...] = ()  # counters in its values that programs write
    versions: tuple[LayoutVersion, ...] = ()  # the registry's history of this state map, up to this layout
    unrecorded: bool = False  # the YAML names a registry, which has not got this layout: only a reset takes it
    inner: InnerMap | None = None  # what new maps of a map of maps look like
    byteorder: dict[str, str] = field(default_factory=dict)  # `key.port` -> "network" | "host"; for displays

    def orders(self, side: str) -> dict[str, str]:
        """The byte orders below `key` or `value`, as structs.decode takes them."""
        return orders_below(self.byteorder, side)


@frozen
class WishAttachment:
    id: str  # stable name of a place; names the link's pin
    type: str  # a key of places.places()
    program: str
    target: dict[str, str]  # the place's own words, as {"interface": "eth0", "mode": "native", "netns": "/run/netns/a"}


@frozen
class WishObject:
    digest: str  # sha256 of the file
    path: str  # where it was read last; informative, the stored copy is what is loaded


@frozen
class WishTests:
    """What a new version has to pass before it serves: cases.Case by digest, and where each step stands."""

    __test__: ClassVar[bool] = False  # for pytest, which would take it for one of its own

    digest: str  # sha256 of the blob
    count: int
    file: str = ""  # the YAML they stand in
    places: tuple[tuple[str, ...], ...] = ()  # `line:column` by case and step; not part of the digest


@frozen
class Share:
    """The group that may open the published maps."""

    group: str  # its name
    access: Access


@frozen
class Wish:
    pipeline: str
    source_revision: str  # "file:<sha256 of the YAML text, 12 digits>" or "git:<commit>"; not part of the digest
    objects: tuple[WishObject, ...]
    programs: tuple[str, ...]  # those to load: attached ones and what they tail-call
    rodata: dict[str, bytes]  # variable that the YAML sets -> its whole value
    maps: tuple[WishMap, ...]
    attachments: tuple[WishAttachment, ...]
    gates: tuple[str, ...] = ()  # attached programs that obey the generation a first hook hands on
    engine_maps: tuple[str, ...] = ()  # reloader_state.h's own maps, which only a bridge needs
    tests: WishTests | None = None
    health: Health | None = None  # what it must prove after a swap; not part of the digest
    panic: Panic | None = None  # what `reloader panic` does; None: not declared
    constants: tuple[Constant, ...] = ()  # of the objects, for displays; large ones only where the YAML sets them
    share: Share | None = None  # None: the published maps are private

    def load_digest(self) -> str:
        """Changes exactly when a new load is needed: code, rodata, programs, map shapes."""
        maps = [
            {
                **m,
                "entries": None,
                "apply": None,
                "together_with": None,
                "prune": None,
                "may_prune": None,
                "keep": None,
                "byteorder": None,
                "unrecorded": None,
            }
            for m in (jsonable.to_json(m) for m in self.maps)
        ]
        return _digest(
            {
                "objects": [o.digest for o in self.objects],
                "programs": self.programs,
                "gates": self.gates,
                "rodata": jsonable.to_json(self.rodata),
                "maps": maps,
            }
        )

    def digest(self) -> str:
        """Changes when anything the kernel would show changes, or a test."""
        data = jsonable.to_json(self)
        del data["source_revision"], data["health"]
        data["objects"] = [o.digest for o in self.objects]
        tests, share = data.pop("tests"), data.pop("share")  # as before there were any
        more = {**({"tests": tests["digest"]} if tests else {}), **({"share": share} if share else {})}
        return _digest({**data, **more})

    def map(self, name: str) -> WishMap:
        return next(m for m in self.maps if m.name == name)


@frozen
class Compiled:
    """A wish with the contents it names by digest. From the cache the contents are empty: they are stored already."""

    wish: Wish
    objects: dict[str, bytes]  # digest -> file
    entries: dict[str, bytes]  # digest -> packed entries
    files: tuple[str, ...] = ()  # absolute paths of all that was read beside the YAML
    tests: dict[str, bytes] = field(default_factory=dict)  # digest -> cases
    unrecorded: dict[str, tuple[Problem, ...]] = field(default_factory=dict)  # state map -> why no version is its own

    @property
    def blobs(self) -> dict[str, bytes]:
        """All contents by digest."""
        return {**self.objects, **self.entries, **self.tests}


def _digest(data: Any) -> str:
    return hashlib.sha256(json.dumps(data, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
