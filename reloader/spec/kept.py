"""`keep:` of a config map: which counters in its values are the programs' own, and whether they can be carried over.

Called by compile.py. Pure; imports elf, kernel, spec.{model,wish}, state.rules, typetree.
"""

from __future__ import annotations

from collections.abc import Iterator

from reloader.elf import ElfMap
from reloader.kernel import MapType
from reloader.spec.did_you_mean import suggestion
from reloader.spec.model import MapWish
from reloader.spec.roles import type_name
from reloader.spec.wish import Kept
from reloader.state.rules import MAX_KEY, MAX_VALUE
from reloader.typetree import Leaf, leaves

TYPES = frozenset({MapType.HASH, MapType.LRU_HASH, MapType.ARRAY, MapType.LPM_TRIE})
MOST = 8  # each is a rule, and so are the bytes between two


def kept_of(wish: MapWish, found: ElfMap) -> tuple[tuple[Kept, ...], tuple[str, str]]:
    """The counters by place in the value, and what is wrong with a hint; two empty texts when nothing is."""
    if not wish.keep:
        return (), ("", "")
    if found.type not in TYPES:
        types = ", ".join(sorted(type_name(t) for t in TYPES))
        return (), (f"nothing can be kept in a {type_name(found.type)}", f"kept fields are for {types}")
    if found.value is None or not found.value.aggregate:
        return (), ("its value is no struct that BTF describes", "compile with -g, and declare the map with __type")
    if found.value_size > MAX_VALUE or found.key_size > MAX_KEY or len(wish.keep) > MOST:
        why = f"kept are at most {MOST} fields, of values up to {MAX_VALUE} bytes and keys up to {MAX_KEY}"
        return (), (why, "put the counters into a state map of their own")
    fields = {leaf.path: leaf for leaf in leaves(found.value)}
    if any(leaf.type.special for leaf in fields.values()):
        return (), ("its value holds what only the kernel may write", "put the counters into a state map of their own")
    return _counters(wish.keep, fields)


def _counters(names: tuple[str, ...], fields: dict[str, Leaf]) -> tuple[tuple[Kept, ...], tuple[str, str]]:
    kept = []
    for name in names:
        leaf = fields.get(name)
        if leaf is None:
            return (), (f"its value has no field {name!r}", suggestion(name, fields))
        one = leaf.type.element or leaf.type
        if one.kind != "int" or one.size not in (4, 8) or leaf.bits or leaf.offset_bits % (8 * one.size):
            return (), (f"{name} is no counter of 4 or 8 bytes", "others cannot be moved while programs count")
        count = leaf.type.count if leaf.type.element else 1
        kept.append(Kept(name=name, offset=leaf.offset_bits // 8, size=one.size, count=count))
    return tuple(sorted(kept, key=lambda k: k.offset)), ("", "")


def given(kept: tuple[Kept, ...], key_size: int, record_size: int, data: bytes) -> Iterator[str]:
    """Kept fields that a listing gives values to."""
    for k in kept:
        at, size = key_size + k.offset, k.size * k.count
        if any(any(data[i + at : i + at + size]) for i in range(0, len(data), record_size)):
            yield k.name
