"""Entries of a live map that reloader did not write: which ones there are, and what a change makes of them. Pure.

The entries of the recorded generation are ours, and those that the wish lists become so. All others were put there by
another process. A change that would delete them is refused unless the user asks for it; a way back keeps those that the
map which serves next can hold. Made by engine/strangers.py from the live maps.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from reloader.config_maps.entry_changes import owned
from reloader.frozen import frozen
from reloader.kernel import ARRAY_TYPES, PLAIN_TYPES, MapType
from reloader.observe.pipeline import SeenMap
from reloader.pipeline.enums import Role
from reloader.pipeline.wish import WishMap
from reloader.plan.config import texts
from reloader.structs.tree import TypeTree, layout_digest
from reloader.wording.message import Message

NAMED = 3  # entries that a message names


@frozen
class Foreign:
    """Entries of one live map that reloader did not write and the wish does not list."""

    map: str
    count: int
    shown: tuple[Any, ...]  # the first of them, as JSON values
    handles: bool = False  # they hold programs, maps, devices or sockets
    keys: tuple[bytes, ...] = ()  # of a config map: all of them, in their order
    spare: tuple[bytes, ...] = ()  # those that a way back keeps: the map that serves next can hold them

    @property
    def words(self) -> Message:
        return texts.NOT_WRITTEN(count=self.count, shown=_named(self))

    @property
    def values(self) -> dict[str, Any]:
        return {"map": self.map, "count": self.count, "keys": list(self.shown)}


def _named(found: Foreign) -> str:
    """The first of the entries in words."""
    shown = [_handle(one) if found.handles else _text(one) for one in found.shown]
    return ", ".join(shown) + (", …" if found.count > len(shown) else "")


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k}: {_text(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_text, value)) + "]"
    return str(value)


def held(was: WishMap, live: Mapping[bytes, bytes]) -> Collection[bytes]:
    """Keys of the entries that a live map holds: of an array, the slots that are not zero. The counters that programs
    keep in values do not make an entry."""
    if was.type not in ARRAY_TYPES:
        return live.keys()
    return [key for key, value in owned(was.keep, live).items() if any(value)]


def shown_keys(tree: TypeTree | None, keys: Iterable[bytes], orders: Mapping[str, str]) -> tuple[Any, ...]:
    """The first of some keys, by field name, in the byte orders that the YAML said of them."""
    from reloader.structs.decode import show  # late: most plans show none

    return tuple(show(tree, key, orders) for _, key in zip(range(NAMED), keys, strict=False))


def same_keys(live: SeenMap, wanted: WishMap) -> bool:
    """Whether a key means the same in both."""
    if live.info.key_size != wanted.key_size or (live.info.type in ARRAY_TYPES) != (wanted.type in ARRAY_TYPES):
        return False
    return live.info.type in ARRAY_TYPES or layout_digest(live.key, None) == layout_digest(wanted.key, None)


def room_for(wanted: WishMap, keys: tuple[bytes, ...], listed: int) -> tuple[bytes, ...]:
    """As many of the keys as find room beside the listed entries."""
    return keys if wanted.type in ARRAY_TYPES else keys[: max(0, wanted.max_entries - listed)]


def refusal(lost: Foreign) -> Message:
    """Say which entries a change would lose."""
    text = texts.FOREIGN_HANDLES if lost.handles else texts.FOREIGN_ENTRIES
    return text(map=lost.map, count=lost.count, shown=_named(lost), keys=lost.shown)


def _handle(one: Any) -> str:
    """An entry of a map of handles as `1 → program tail (id 7)`."""
    if not isinstance(one, dict):
        return _text(one)
    index = _text(one["key"])
    kind = next((k for k in ("program", "map") if k in one), "")
    return f"{index} → {kind} {one[kind]} (id {one['id']})" if kind else index


HANDLE_TYPES = frozenset({
    MapType.PROG_ARRAY, MapType.ARRAY_OF_MAPS, MapType.HASH_OF_MAPS, MapType.DEVMAP, MapType.DEVMAP_HASH,
    MapType.CPUMAP, MapType.XSKMAP, MapType.SOCKMAP, MapType.SOCKHASH, MapType.CGROUP_ARRAY,
    MapType.REUSEPORT_SOCKARRAY, MapType.PERF_EVENT_ARRAY,
})  # fmt: skip
"""Maps that hold handles, which only user space puts there."""
_RDONLY_PROG = 1 << 7  # BPF_F_RDONLY_PROG


def holds_handles(was: WishMap) -> bool:
    return was.type in HANDLE_TYPES and was.role not in (Role.STATE, Role.STREAM, Role.EXTERNAL)


def is_watched(was: WishMap) -> bool:
    """Whether it matters to a change what others put into this map. Scratch maps that programs write may start empty;
    what programs cannot write came from user space, whatever the role."""
    if was.role is Role.CONFIG or holds_handles(was):
        return True
    return was.role is Role.SCRATCH and was.type in PLAIN_TYPES and bool(was.map_flags & _RDONLY_PROG)
