"""Bit-fields that share bytes, and unions: which bytes one layout has of another, and which fields are then misread.

They move whole, as `{cast: true}` says. Used by match.py, pipeline/registry/suggest.py and layouts/rule_table.py. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from itertools import pairwise

from reloader.frozen import frozen
from reloader.layouts import shape, texts
from reloader.layouts.shape import Field
from reloader.structs.tree import TypeTree, identity
from reloader.wording.message import Message

PAD = re.compile(r"_*(pad|padding|reserved|unused)\d*_*\Z", re.IGNORECASE)


@frozen
class Part:
    """One field of a unit: a bit-field, or a member of a union."""

    name: str
    start: int  # bits, from the unit's start
    bits: int
    type: object  # equal where both mean the same number
    union: TypeTree | None = None  # of a union in a union

    @property
    def end(self) -> int:
        return self.start + self.bits

    @property
    def pad(self) -> bool:
        return bool(PAD.match(self.name))


def is_unit(tree: TypeTree) -> bool:
    return tree.kind in ("bits", "union")


def is_padding(name: str) -> bool:
    """Whether a field's name, as rules write it, says that all of it is padding."""
    return all(PAD.match(part) for part in re.split(r"[,|]", name))


def parts(tree: TypeTree) -> list[Part]:
    """The fields of a unit; what is none has none."""
    if tree.kind == "union":
        return [
            Part(
                name=m.name,
                start=m.offset_bits,
                bits=m.bits or m.type.size * 8,
                type=identity(m.type),
                union=m.type if m.type.kind == "union" else None,
            )
            for m in tree.fields()
        ]
    return list(_bit_fields(tree)) if tree.kind == "bits" else []


def _bit_fields(tree: TypeTree) -> Iterator[Part]:
    for text, start in tree.enumerators:  # as shape writes them: `name:bits type`
        name, _, rest = text.partition(":")
        bits, _, kind = rest.partition(" ")
        yield Part(name=name, start=start, bits=int(bits), type=kind[:1])  # the sign counts, not the declared width


def taken(old: TypeTree, new: TypeTree) -> tuple[int, int, int]:
    """(byte of the new unit, byte of the old one, how many): the bytes that both have, laid over each other by the
    names of bit-fields where these tell, else from the start."""
    known = {p.name: p for p in parts(old)} if old.kind == new.kind == "bits" else {}
    apart = [known[p.name].start - p.start for p in parts(new) if p.name in known]
    shift = next((bits // 8 for bits in apart if bits % 8 == 0), 0)
    start = max(-shift, 0)
    return start, start + shift, max(min(new.size - start, old.size - start - shift), 0)


def misread(old: TypeTree, new: TypeTree) -> list[Message]:
    """What of an old unit the new one reads as something else, in words: bits that changed places under their name, or
    that another field has a part of."""
    at, src, count = taken(old, new)
    olds, news = _within(old, src, count), parts(new)
    if not news or not olds:
        return []  # a number or an array of bytes: all of them, as they are
    told = ((p.name, _misread(p, 8 * (at - src), olds, news, union=old.kind == "union")) for p in olds if not p.pad)
    return [texts.MISREAD_FIELD(field=name, why=why) for name, why in told if why]


def _within(unit: TypeTree, at: int, count: int) -> list[Part]:
    """The fields that have bits in these bytes."""
    return [p for p in parts(unit) if p.start < 8 * (at + count) and p.end > 8 * at]


def _misread(old: Part, moved: int, olds: list[Part], news: list[Part], *, union: bool) -> str:
    """How bits are misread; empty when they are not."""
    start, end = old.start + moved, old.end + moved
    same = next((n for n in news if n.name == old.name), None)
    if same is not None and old.union and same.union and same.start == start:
        return ", ".join(misread(old.union, same.union))
    if same is not None:
        if (same.start, same.end, same.type) == (start, end, old.type) or (
            not union and _grown(old, same, moved, olds)
        ):
            return ""
        if (same.start, same.end) == (start, end):
            return texts.MEANS_ANOTHER_TYPE()
        now = f"{same.start - moved}–{same.end - 1 - moved}"
        return texts.BITS_MOVED(old=f"{old.start}–{old.end - 1}", new=now)
    if union:
        return ""
    over = [n for n in news if n.start < end and n.end > start and not n.pad]
    names = {o.name for o in olds}
    if not over or (len(over) == 1 and (over[0].start, over[0].end) == (start, end) and over[0].name not in names):
        return ""  # renamed, or no field of the new layout has its bits
    return texts.BITS_READ_AS(fields=[n.name for n in over])


def _grown(old: Part, new: Part, moved: int, olds: list[Part]) -> bool:
    """Whether an unsigned bit-field grew into what was padding."""
    if not (new.start == old.start + moved and new.end > old.end + moved and new.type == old.type == "u"):
        return False
    return not any(o.start < new.end - moved and o.end > old.end for o in olds if not o.pad and o is not old)


def unread(old: TypeTree, new: TypeTree, name: str) -> list[str]:
    """Fields of an old unit whose bytes are carried along, and that the new layout has no name for. `name`: the new
    field's."""
    at, src, count = taken(old, new)
    moved, olds, news = 8 * (at - src), _within(old, src, count), parts(new)
    if not is_unit(new):  # one member of a union that stays alone; else all of it in one number
        known = [p.name for p in olds]
        return [p for p in known if p != name] if name in known else []
    names = {n.name for n in news}
    places = {(n.start, n.end) for n in news if n.name not in {p.name for p in olds}}
    gone = [p for p in olds if not p.pad and p.name not in names] if news else []
    told = [p.name for p in gone if (p.start + moved, p.end + moved) not in places]
    for p in olds:  # unions in a union
        new_part = next((n for n in news if n.name == p.name), None)
        if p.union and new_part and new_part.union:
            told += [f"{p.name}.{one}" for one in unread(p.union, new_part.union, p.name)]
    return told


def missing(tree: TypeTree, held: bytearray, at: int) -> list[str]:
    """The fields of a unit at byte `at` of which some byte is not held."""
    return [p.name for p in parts(tree) if not all(held[at + p.start // 8 : at + (p.end + 7) // 8])]


def joined_unit(fields: Collection[Field], name: str) -> Field | None:
    """Units of bit-fields that lie one behind the other, as one, by the names of all of them."""
    wanted = set(name.split(","))
    found = sorted(
        (f for f in fields if f.type.kind == "bits" and set(f.name.split(",")) <= wanted), key=lambda f: f.at
    )
    if len(found) < 2 or set(",".join(f.name for f in found).split(",")) != wanted:
        return None
    if any(one.at + one.type.size != other.at for one, other in pairwise(found)):
        return None
    start = found[0].at
    places = tuple((text, bit + (f.at - start) * 8) for f in found for text, bit in f.type.enumerators)
    size = sum(f.type.size for f in found)
    tree = TypeTree(kind="bits", name=",".join(f.name for f in found), size=size, enumerators=places)
    return Field(name=tree.name, at=start, type=tree)


def overlap(one: Field, other: Field) -> bool:
    return one.at < other.at + other.type.size and other.at < one.at + one.type.size


def akin(gone: Field, new: Field) -> bool:
    """Whether a unit may be another under new names: they share a field's name, or bytes."""
    if not (is_unit(gone.type) or is_unit(new.type)) or is_padding(gone.name) or is_padding(new.name):
        return False
    if gone.type.special or new.type.special or shape.holds_special(gone.type) or shape.holds_special(new.type):
        return False
    return bool(_names(gone) & _names(new)) or overlap(gone, new)


def _names(field: Field) -> set[str]:
    return {n for n in re.split(r"[,|]", field.name) if not PAD.match(n)}
