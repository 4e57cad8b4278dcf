"""`keep:` of a config map: which counters in its values are the programs' own, and whether they can be carried over.

Called by compile.py. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator

from reloader.kernel import MapType
from reloader.layouts.rules import MAX_KEY, MAX_VALUE
from reloader.pipeline import texts
from reloader.pipeline.did_you_mean import suggestion
from reloader.pipeline.model import MapWish
from reloader.pipeline.roles import type_name
from reloader.pipeline.wish import Kept
from reloader.structs.elf import ElfMap
from reloader.structs.tree import Leaf, leaves
from reloader.wording.message import Message

TYPES = frozenset({MapType.HASH, MapType.LRU_HASH, MapType.ARRAY, MapType.LPM_TRIE})
MOST = 8  # each is a rule, and so are the bytes between two


def kept_of(wish: MapWish, found: ElfMap) -> tuple[tuple[Kept, ...], Message | None]:
    """Return the counters by place in the value, and what is wrong."""
    if not wish.keep:
        return (), None
    if found.type not in TYPES:
        return (), texts.KEEP_TYPE(type=type_name(found.type), types=sorted(type_name(t) for t in TYPES))
    if found.value is None or not found.value.aggregate:
        return (), texts.KEEP_NO_STRUCT()
    if found.value_size > MAX_VALUE or found.key_size > MAX_KEY or len(wish.keep) > MOST:
        return (), texts.KEEP_TOO_MUCH(fields=MOST, value=MAX_VALUE, key=MAX_KEY)
    fields = {leaf.path: leaf for leaf in leaves(found.value)}
    if any(leaf.type.special for leaf in fields.values()):
        return (), texts.KEEP_KERNEL_FIELD()
    return _counters(wish.keep, fields)


def _counters(names: tuple[str, ...], fields: dict[str, Leaf]) -> tuple[tuple[Kept, ...], Message | None]:
    kept = []
    for name in names:
        leaf = fields.get(name)
        if leaf is None:
            return (), texts.KEEP_NO_SUCH_FIELD(field=name, hint=suggestion(name, fields))
        one = leaf.type.element or leaf.type
        if one.kind != "int" or one.size not in (4, 8) or leaf.bits or leaf.offset_bits % (8 * one.size):
            return (), texts.KEEP_NOT_COUNTER(field=name)
        count = leaf.type.count if leaf.type.element else 1
        kept.append(Kept(name=name, offset=leaf.offset_bits // 8, size=one.size, count=count))
    return tuple(sorted(kept, key=lambda k: k.offset)), None


def given(kept: tuple[Kept, ...], key_size: int, record_size: int, data: bytes) -> Iterator[str]:
    """Kept fields that a listing gives values to."""
    for k in kept:
        at, size = key_size + k.offset, k.size * k.count
        if any(any(data[i + at : i + at + size]) for i in range(0, len(data), record_size)):
            yield k.name
