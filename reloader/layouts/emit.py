"""A step as rules: the fewest that move the right bytes, and for each field how two entries become one.

Called by layouts/rule_table.py. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from reloader.layouts import shape, texts
from reloader.layouts.pieces import Guard, Piece, Step
from reloader.layouts.rules import Op, Rule
from reloader.layouts.shape import Atom
from reloader.structs.tree import TypeTree
from reloader.wording.message import Message

MERGES = {
    "sum": Op.SUM, "max": Op.MAX, "min": Op.MIN, "or": Op.OR, "keep_new": Op.COPY, "keep_old": Op.KEEP_OLD,
}  # fmt: skip
JOINING = frozenset({Op.SUM, Op.MAX, Op.MIN, Op.OR})
ATOMIC = (4, 8)  # bytes that the machine can add, exchange or compare in one go


def merge_word(merge: Mapping[str, str], path: str) -> str:
    """What is said of a field, or of the nearest thing around it."""
    while path and path not in merge:
        path = path[:-2] if path.endswith("[]") else path.rpartition(".")[0]
    return merge.get(path, "keep_new")


def merge_problem(atom: Atom, op: Op) -> Message | None:
    """Why a field's own type cannot be merged so; None when it can."""
    word, t = op.name.lower(), atom.type
    if op not in JOINING:
        return None
    if t.kind != "int" or t.order == "big":
        return texts.MERGE_NEEDS_INTEGER(word=word)
    if t.size not in ATOMIC:
        return texts.MERGE_SIZE(word=word, size=t.size)
    return texts.MERGE_UNALIGNED(word=word) if atom.at % t.size else None


def parts(step: Step, start: int, end: int) -> Iterator[Piece]:
    """The pieces that make bytes start…end, cut to them; a number comes whole."""
    for p in step.pieces:
        a, b = max(p.at, start), min(p.end, end)
        if a >= b:
            continue
        if p.src < 0:
            yield replace(p, at=a, size=b - a, data=p.data[a - p.at : b - p.at])
        elif p.raw:
            yield Piece(at=a, size=b - a, src=p.src + a - p.at, src_size=b - a)
        else:
            yield p


ALL_ZERO = Rule(op=Op.CONST, src_off=0, dst_off=0, src_size=1, dst_size=1, imm=0)
"""Of a key whose every byte becomes zero, which no rule need name: without any rule keys would be the same bytes."""


def key_rules(step: Step, old: TypeTree, new: TypeTree) -> tuple[Rule, ...]:
    """Rules for a key; none when both keys are the same bytes."""
    runs = list(_runs([p for a in _plain(new) for p in parts(step, a.at, a.end)], old, new))
    if old.size == new.size and not step.guards and all(p.raw and p.src == p.at for p in runs):
        return ()
    rules = [r for p in runs for r in _rules_of(Op.COPY, p)]
    return (*(r for g in step.guards for r in _expected(g)), *_repeated(rules)) or (ALL_ZERO,)


def _plain(tree: TypeTree) -> list[Atom]:
    return [a for a in shape.atoms(tree) if not a.type.special]


def _expected(guard: Guard) -> Iterator[Rule]:
    for at, data in _words(guard.at, guard.data):
        yield Rule(
            op=Op.EXPECT, src_off=at, dst_off=0, src_size=len(data), dst_size=len(data),
            imm=int.from_bytes(data, "little"),
        )  # fmt: skip


class ValueRules:
    """Rules for a value by each field's merge rule; `problems` says which rules no instruction can do."""

    def __init__(self, step: Step, old: TypeTree, new: TypeTree, merge: Mapping[str, str], most: int) -> None:
        self.problems: list[tuple[str, Message]] = []  # (path, why)
        self._step, self._old, self._new = step, old, new
        made = [(op, p) for a in _plain(new) for op, p in self._pieces(a, MERGES[merge_word(merge, a.path)])]
        self.rules = _repeated([r for op, p in made for r in _rules_of(op, p)])
        if len(self.rules) > most:
            self.rules = _repeated([r for op, p in self._coarse(made) for r in _rules_of(op, p)])

    def _pieces(self, atom: Atom, op: Op) -> list[tuple[Op, Piece]]:
        if op not in JOINING:
            return [(op, p) for p in parts(self._step, atom.at, atom.end)]
        why = merge_problem(atom, op)
        size = atom.type.size
        out = []
        for at in () if why else range(atom.at, atom.end, size):
            found = list(parts(self._step, at, at + size))
            why = why or _source_problem(found, size, op, atom.type)
            out += [(op, replace(p, signed=p.signed if p.src_size != size else atom.type.signed)) for p in found]
        if not why:
            return out
        self.problems.append((atom.path, why))
        return [(Op.COPY, p) for p in parts(self._step, atom.at, atom.end)]

    def _coarse(self, made: Sequence[tuple[Op, Piece]]) -> Iterator[tuple[Op, Piece]]:
        """Neighbours that move alike, joined."""
        for wanted in MERGES.values():
            mine = [p for op, p in made if op is wanted]
            yield from ((wanted, p) for p in (mine if wanted in JOINING else _runs(mine, self._old, self._new)))


def _source_problem(found: Sequence[Piece], size: int, op: Op, target: TypeTree) -> Message | None:
    word = op.name.lower()
    if all(p.src < 0 for p in found):
        return None
    if len(found) != 1 or found[0].size != size:
        return texts.MERGE_OF_PARTS(word=word)
    p = found[0]
    if op is Op.SUM and p.src_size not in ATOMIC:
        return texts.SUM_EXCHANGE_SIZE(size=p.src_size)
    if p.src % p.src_size:
        return texts.MERGE_UNALIGNED(word=word)
    turned = op in (Op.MAX, Op.MIN) and not p.raw and p.signed != target.signed
    return texts.MERGE_SIGN_CHANGED(word=word) if turned else None


def _runs(pieces: Sequence[Piece], old: TypeTree, new: TypeTree) -> Iterator[Piece]:
    """Raw pieces that move by the same distance, joined where only padding lies between them."""
    used_old, used_new = (shape.mask(t.size, [(a.at, a.end) for a in shape.atoms(t)]) for t in (old, new))
    run: Piece | None = None
    for p in sorted(pieces, key=lambda p: p.at):
        if run and p.raw and run.raw and p.at - p.src == run.at - run.src and p.at >= run.end:
            gap_old = used_old[run.src + run.size : p.src]
            if not any(gap_old) and not any(used_new[run.end : p.at]):
                size = p.end - run.at
                run = replace(run, size=size, src_size=size)
                continue
        if run:
            yield run
        run = p
    if run:
        yield run


def _rules_of(op: Op, p: Piece) -> Iterator[Rule]:
    if p.src < 0:
        for at, data in _words(p.at, p.data):
            if any(data):  # what no rule names becomes zero
                value = int.from_bytes(data, "little")
                yield Rule(op=Op.CONST, src_off=0, dst_off=at, src_size=len(data), dst_size=len(data), imm=value)
    elif op in JOINING or not p.raw:
        yield Rule(
            op=op, src_off=p.src, dst_off=p.at, src_size=p.src_size, dst_size=p.size,
            signed=p.signed, checked=p.checked,
        )  # fmt: skip
    else:
        yield from _moved(op, p.at, p.src, p.size)


def _moved(op: Op, at: int, src: int, left: int) -> Iterator[Rule]:
    """A run of bytes in the widest words that lie aligned on both sides; equal words in a row are one rule."""
    while left:
        size = next(s for s in (8, 4, 2, 1) if at % s == 0 and src % s == 0 and s <= left)
        widest = next(s for s in (8, 4, 2, 1) if (at - src) % s == 0)
        count = left // size if size == widest or left < widest else 1
        yield Rule(op=op, src_off=src, dst_off=at, src_size=size, dst_size=size, imm=count - 1)
        at, src, left = at + size * count, src + size * count, left - size * count


def _words(at: int, data: bytes) -> Iterator[tuple[int, bytes]]:
    """Bytes cut into aligned words."""
    while data:
        size = next(s for s in (8, 4, 2, 1) if at % s == 0 and s <= len(data))
        yield at, data[:size]
        at, data = at + size, data[size:]


def _repeated(rules: Sequence[Rule]) -> tuple[Rule, ...]:
    """Rules for fields that lie in a row, as one."""
    out: list[Rule] = []
    for r in sorted(rules, key=lambda r: r.dst_off):
        last = out[-1] if out else None
        if last and r.op not in (Op.CONST, Op.EXPECT) and _continues(last, r):
            out[-1] = replace(last, imm=last.imm + r.imm + 1)
        else:
            out.append(r)
    return tuple(out)


def _continues(last: Rule, r: Rule) -> bool:
    alike = (last.op, last.src_size, last.dst_size, last.signed, last.checked) == (
        r.op, r.src_size, r.dst_size, r.signed, r.checked,
    )  # fmt: skip
    count = last.imm + 1
    return alike and (r.src_off, r.dst_off) == (
        last.src_off + last.src_size * count,
        last.dst_off + last.dst_size * count,
    )
