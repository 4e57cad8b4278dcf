"""What is wanted, resolved: a pipeline after its objects, layouts and entries were read. JSON-able.

A wish holds everything a plan, a generation record and a later rollback need; together with the
object and entries files stored by digest it replaces the source tree. Imports typetree and spec.words.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import field
from typing import Any, ClassVar

from reloader import record
from reloader.frozen import frozen
from reloader.kernel import ARRAY_TYPES
from reloader.spec.checks import Health
from reloader.spec.words import Apply, Panic, Role
from reloader.state.rules import LayoutVersion
from reloader.typetree import TypeTree

F_INNER_MAP = 1 << 12  # arrays of any size may take the place of one another


@frozen
class EntriesRef:
    """Encoded entries of a config map, stored as fixed-size `key ‖ value` records sorted by key."""

    digest: str  # sha256 of the file's bytes
    count: int


@frozen
class InnerMap:
    """The maps that a map of maps holds, as the object declares them."""

    type: int  # kernel.MapType
    key_size: int
    value_size: int
    max_entries: int
    map_flags: int

    def room(self, live: int, template: int) -> int:
        """Entries of the successor of a map that has `live`: another size than its template's was somebody's choice."""
        fixed = self.type in ARRAY_TYPES and not self.map_flags & F_INNER_MAP
        return self.max_entries if fixed or live == template else max(self.max_entries, live)


@frozen
class Kept:
    """A field of a config map's value that every change of the configuration carries over."""

    name: str
    offset: int  # bytes, in the value
    size: int  # of one counter: 4 or 8
    count: int = 1  # counters in a row


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
    inner: InnerMap | None = None  # what new maps of a map of maps look like


@frozen
class WishAttachment:
    id: str  # stable name of (hook, netns, interface, slot); names the link's pin
    type: str  # a key of hooks.HOOKS
    program: str
    target: dict[str, str]  # the hook's own words, as {"interface": "eth0", "mode": "native", "netns": "/run/netns/a"}


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
class Wish:
    pipeline: str
    source_revision: str  # "file:<sha256 of the YAML text, 12 digits>" or "git:<commit>"; not part of the digest
    objects: tuple[WishObject, ...]
    programs: tuple[str, ...]  # those to load: attached ones and what they tail-call
    rodata: dict[str, bytes]  # variable -> encoded value
    maps: tuple[WishMap, ...]
    attachments: tuple[WishAttachment, ...]
    gates: tuple[str, ...] = ()  # attached programs that obey the generation a first hook hands on
    engine_maps: tuple[str, ...] = ()  # reloader_state.h's own maps, which only a bridge needs
    tests: WishTests | None = None
    health: Health | None = None  # what it must prove after a swap; not part of the digest
    panic: Panic | None = None  # what `reloader panic` does; None: not declared

    def load_digest(self) -> str:
        """Changes exactly when a new load is needed: code, rodata, programs, map shapes."""
        maps = [
            {**m, "entries": None, "apply": None, "together_with": None, "prune": None, "may_prune": None, "keep": None}
            for m in (record.to_json(m) for m in self.maps)
        ]
        return _digest(
            {
                "objects": [o.digest for o in self.objects],
                "programs": self.programs,
                "gates": self.gates,
                "rodata": record.to_json(self.rodata),
                "maps": maps,
            }
        )

    def digest(self) -> str:
        """Changes when anything the kernel would show changes, or a test."""
        data = record.to_json(self)
        del data["source_revision"], data["health"]
        data["objects"] = [o.digest for o in self.objects]
        tests = data.pop("tests")
        return _digest({**data, **({"tests": tests["digest"]} if tests else {})})

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

    @property
    def blobs(self) -> dict[str, bytes]:
        """All contents by digest."""
        return {**self.objects, **self.entries, **self.tests}


def _digest(data: Any) -> str:
    return hashlib.sha256(json.dumps(data, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
