"""Whether a live map can serve new code: the full list of differences, field by field. Pure.

The kernel and libbpf only compare sizes, so a struct whose fields changed places would be reused
without a word, and read as nonsense. plan/map_choices.py refuses a reuse by this list.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from reloader.frozen import frozen
from reloader.kernel import ARRAY_TYPES, PLAIN_TYPES, MapType
from reloader.layouts.nesting import InnerMap
from reloader.plan.state import texts
from reloader.structs.btf import Member, TypeTree, identity
from reloader.wording.message import Message

if TYPE_CHECKING:
    from reloader.observe.pipeline import SeenMap
    from reloader.pipeline.wish import WishMap

SMALLEST_PAGE = 4096  # bytes, of all architectures
F_NO_COMMON_LRU = 1 << 1
F_RDONLY = 1 << 3  # of a descriptor, not of the map: the kernel forgets it
F_WRONLY = 1 << 4
F_RDONLY_PROG = 1 << 7
F_MMAPABLE = 1 << 10

_BYTES = PLAIN_TYPES | {
    MapType.QUEUE, MapType.STACK, MapType.BLOOM_FILTER, MapType.CGROUP_STORAGE, MapType.PERCPU_CGROUP_STORAGE,
    MapType.SK_STORAGE, MapType.INODE_STORAGE, MapType.TASK_STORAGE, MapType.CGRP_STORAGE,
}  # fmt: skip
"""Maps that hold the program's own bytes. Others hold handles; libbpf creates them without BTF."""
_RINGS = (MapType.RINGBUF, MapType.USER_RINGBUF)
_DEVICES = (MapType.DEVMAP, MapType.DEVMAP_HASH)


@frozen
class Difference:
    """One thing that is not the same; `old` and `new` say the types, where they help."""

    path: str  # as `value.bytes`
    what: Message  # as `offset 8 → 16, size 4 → 8`, `added`, `renamed to`
    old: str = ""
    new: str = ""

    def __str__(self) -> str:
        types = " → ".join(dict.fromkeys(t for t in (self.old, self.new) if t))
        return f"{self.path}: {self.what}" + (f" ({types})" if types else "")


@frozen
class MapShape:
    """What a map is, whether the kernel said so or an object file."""

    type: int  # kernel.MapType
    key_size: int
    value_size: int
    max_entries: int
    map_flags: int
    key: TypeTree | None  # None: no BTF describes it
    value: TypeTree | None
    inner: InnerMap | None = None  # of a map of maps


def seen_shape(live: SeenMap) -> MapShape:
    return MapShape(
        type=live.info.type,
        key_size=live.info.key_size,
        value_size=live.info.value_size,
        max_entries=live.info.max_entries,
        map_flags=live.info.map_flags,
        key=live.key,
        value=live.value,
        inner=live.inner,
    )


def wished_shape(wanted: WishMap) -> MapShape:
    return MapShape(
        type=wanted.type,
        key_size=wanted.key_size,
        value_size=wanted.value_size,
        max_entries=wanted.max_entries,
        map_flags=wanted.map_flags,
        key=wanted.key,
        value=wanted.value,
        inner=wanted.inner,
    )


def map_differences(
    old: MapShape, new: MapShape, *, cpus: int = 1, page_size: int = SMALLEST_PAGE
) -> tuple[Difference, ...]:
    """List everything that keeps `old` from being used as `new`, without what a kernel only rounds.

    `cpus`: how many are possible, `page_size`: bytes; the kernel rounds some sizes by them. The defaults are for two
    declarations, which a kernel has not seen.
    """
    return tuple(_map_differences(old, new, cpus, page_size))


def differences(old: TypeTree | None, new: TypeTree | None, *, path: str = "value") -> tuple[Difference, ...]:
    """All differences of two layouts; empty exactly when their layout digests are equal."""
    return tuple(_compare(old, new, path))


def _map_differences(old: MapShape, new: MapShape, cpus: int, page_size: int) -> Iterator[Difference]:
    if old.type != new.type:
        yield Difference(path="type", what=_type_change(old.type, new.type))
    for name in ("key_size", "value_size"):
        before, after = getattr(old, name), getattr(new, name)
        if before != after:
            yield Difference(path=name, what=texts.CHANGED_BYTES(old=before, new=after))
    if not _same_entries(old, new, cpus, page_size):
        yield Difference(path="max_entries", what=texts.CHANGED(old=old.max_entries, new=new.max_entries))
    flags = _lasting_flags(old), _lasting_flags(new)
    if flags[0] != flags[1]:
        yield Difference(path="map_flags", what=texts.CHANGED(old=hex(flags[0]), new=hex(flags[1])))
    if old.inner is not None and new.inner is not None:
        yield from _inner_differences(old.inner, new.inner)
    for name in ("key", "value"):
        before, after = getattr(old, name), getattr(new, name)
        if (before is None or after is None) and _needs_no_btf(name, old, new):
            continue
        yield from _compare(before, after, name)


def _inner_differences(old: InnerMap, new: InnerMap) -> Iterator[Difference]:
    """How the maps in it are made; their layouts are compared as its value."""
    if old.type != new.type:
        yield Difference(path="inner type", what=_type_change(old.type, new.type))
    for name in ("key_size", "value_size", "max_entries", "map_flags"):
        before, after = getattr(old, name), getattr(new, name)
        if before != after:
            yield Difference(path=f"inner {name}", what=texts.CHANGED(old=before, new=after))


def _needs_no_btf(part: str, old: MapShape, new: MapShape) -> bool:
    """An array's key is always an index, and the kernel keeps no BTF of maps that hold handles."""
    if part == "key" and {old.type, new.type} <= ARRAY_TYPES:
        return True
    return old.type not in _BYTES and new.type not in _BYTES


def _type_change(old: int, new: int) -> Message:
    return texts.CHANGED(old=type_name(old), new=type_name(new))


def type_name(number: int) -> str:
    """Name a map type in small letters, as `lru_hash`; a type newer than we know by its number."""
    return MapType(number).name.lower() if number in MapType._value2member_map_ else f"type {number}"


def _same_entries(old: MapShape, new: MapShape, cpus: int, page_size: int) -> bool:
    """Whether sizes are equal once the kernel has rounded them."""
    sizes = old.max_entries, new.max_entries
    if new.type == MapType.PERF_EVENT_ARRAY and 0 in sizes:  # 0: as many as there are CPUs
        return True
    if new.type in _RINGS:
        return _ring_size(sizes[0], page_size) == _ring_size(sizes[1], page_size)
    if new.type in (MapType.LRU_HASH, MapType.LRU_PERCPU_HASH) and new.map_flags & F_NO_COMMON_LRU:
        return -(-sizes[0] // cpus) == -(-sizes[1] // cpus)
    return sizes[0] == sizes[1]


def _ring_size(size: int, page_size: int) -> int:
    """libbpf takes the next power of two that is whole pages."""
    return max(page_size, 1 << max(size - 1, 0).bit_length())


def _lasting_flags(shape: MapShape) -> int:
    flags = shape.map_flags & ~(F_RDONLY | F_WRONLY)
    if shape.type in _DEVICES:  # the kernel adds it
        flags &= ~F_RDONLY_PROG
    if shape.type == MapType.ARRAY and shape.value is not None and shape.value.kind == "datasec":
        flags &= ~F_MMAPABLE  # libbpf's choice, not the author's
    return flags


def _compare(old: TypeTree | None, new: TypeTree | None, path: str) -> Iterator[Difference]:
    if old is None or new is None:
        if old is not new:
            yield Difference(path=path, what=texts.ONE_SIDE_UNDESCRIBED(), old=_text(old), new=_text(new))
        return
    if identity(old) == identity(new):
        return
    found = tuple(_compare_parts(old, new, path))
    yield from found or (Difference(path=path, what=texts.TYPE(), old=old.text(), new=new.text()),)


def _compare_parts(old: TypeTree, new: TypeTree, path: str) -> Iterator[Difference]:
    if old.aggregate and new.aggregate:
        yield from _compare_fields(old, new, path)
    elif old.kind == new.kind == "array":
        yield from _compare_arrays(old, new, path)
    elif old.kind == new.kind == "map":
        yield from _compare_nested(old, new, path)
    elif old.kind == new.kind == "enum":
        yield from _compare_enums(old, new, path)
    else:
        yield Difference(path=path, what=_scalar_change(old, new), old=old.text(), new=new.text())


def _compare_fields(old: TypeTree, new: TypeTree, path: str) -> Iterator[Difference]:
    if old.size != new.size:
        yield Difference(path=path, what=texts.SIZE_CHANGED(old=old.size, new=new.size))
    if (old.kind, old.special and old.name) != (new.kind, new.special and new.name):
        yield Difference(path=path, what=texts.TYPE(), old=old.text(), new=new.text())
    before, after = _by_name(old), _by_name(new)
    renamed = _renamed(before, after)
    for name, member in before.items():
        if name in after:
            yield from _compare_member(member, after[name], f"{path}.{name}")
        elif name in renamed:
            yield Difference(path=f"{path}.{name}", what=texts.RENAMED(name=renamed[name]), old=_placed(member))
        else:
            yield Difference(path=f"{path}.{name}", what=texts.REMOVED(), old=_placed(member))
    for name, member in after.items():
        if name not in before and name not in renamed.values():
            yield Difference(path=f"{path}.{name}", what=texts.ADDED(), new=_placed(member))


def _compare_nested(old: TypeTree, new: TypeTree, path: str) -> Iterator[Difference]:
    """What two maps of maps hold."""
    if old.name != new.name:
        yield Difference(path=path, what=texts.INNER_TYPE_CHANGED(old=old.name, new=new.name))
    for before, after in zip(old.members, new.members, strict=True):
        yield from _compare(before.type, after.type, f"{path}.{before.name}")


def _by_name(tree: TypeTree) -> dict[str, Member]:
    """Fields by name; C forbids twins, corrupt BTF does not, so they get a number."""
    found: dict[str, Member] = {}
    for member in tree.fields():
        name, number = member.name, 2
        while name in found:
            name, number = f"{member.name}#{number}", number + 1
        found[name] = member
    return found


def _renamed(before: dict[str, Member], after: dict[str, Member]) -> dict[str, str]:
    """Fields that kept place and type under another name: old name → new name."""
    came = {_place(m): name for name, m in after.items() if name not in before}
    return {name: came.pop(_place(m)) for name, m in before.items() if name not in after and _place(m) in came}


def _place(member: Member) -> tuple[int, int, tuple[object, ...]]:
    return member.offset_bits, member.bits, identity(member.type)


def _placed(member: Member) -> Message:
    return texts.PLACED(type=member.type.text(), place=_offset(member))


def _offset(member: Member) -> Message:
    if member.bits:
        return texts.AT_BIT(bit=member.offset_bits, width=member.bits)
    return texts.AT_OFFSET(offset=member.offset_bits // 8)


def _compare_member(old: Member, new: Member, path: str) -> Iterator[Difference]:
    if old.bits or new.bits:
        if _place(old) != _place(new):
            moved = texts.CHANGED(old=_offset(old), new=_offset(new))
            yield Difference(path=path, what=moved, old=old.type.text(), new=new.type.text())
        return
    before, after = old.offset_bits // 8, new.offset_bits // 8
    inner = tuple(_compare(old.type, new.type, path))
    if before == after:
        yield from inner
        return
    moved = texts.OFFSET_CHANGED(old=before, new=after)
    if len(inner) == 1 and inner[0].path == path:
        change = inner[0].what
        both = moved if change.code == texts.TYPE.code else texts.MOVED_AND(moved=moved, change=change)
        yield replace(inner[0], what=both)
        return
    yield Difference(path=path, what=moved, old=old.type.text(), new=new.type.text())
    yield from inner


def _compare_arrays(old: TypeTree, new: TypeTree, path: str) -> Iterator[Difference]:
    if old.count != new.count:
        what = texts.COUNT_CHANGED(old=old.count, new=new.count)
        if old.size != new.size:
            what = texts.COUNT_AND_SIZE_CHANGED(old=old.count, new=new.count, old_size=old.size, new_size=new.size)
        yield Difference(path=path, what=what, old=old.text(), new=new.text())
    yield from _compare(old.element, new.element, f"{path}[]")


def _compare_enums(old: TypeTree, new: TypeTree, path: str) -> Iterator[Difference]:
    if (old.size, old.signed) != (new.size, new.signed):
        yield Difference(path=path, what=_scalar_change(old, new))
    before, after = dict(old.enumerators), dict(new.enumerators)
    for name, value in before.items():
        if name not in after:
            yield Difference(path=path, what=texts.ENUMERATOR_REMOVED(name=name, value=value))
        elif after[name] != value:
            changed = texts.ENUMERATOR_CHANGED(name=name, old=value, new=after[name])
            yield Difference(path=path, what=changed)
    for name, value in after.items():
        if name not in before:
            yield Difference(path=path, what=texts.ENUMERATOR_ADDED(name=name, value=value))


def _scalar_change(old: TypeTree, new: TypeTree) -> Message:
    if old.size != new.size:
        return texts.SIZE_CHANGED(old=old.size, new=new.size)
    if old.kind == new.kind and old.order != new.order:
        return texts.BYTE_ORDER()
    return texts.SIGN() if old.kind == new.kind and old.signed != new.signed else texts.TYPE()


def _text(tree: TypeTree | None) -> str:
    return tree.text() if tree else texts.UNDESCRIBED()
