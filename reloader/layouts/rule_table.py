"""Versions to conversions: steps composed or inverted, then written as the rules the kernel walks.

Called when a plan finds a state map in another layout, and by pipeline/registry/registry.py to judge a file. Pure.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise

from reloader.layouts import emit, pieces, shape, texts, units
from reloader.layouts.match import Matcher, left_over
from reloader.layouts.pieces import Piece, Step, Tangled
from reloader.layouts.rules import (
    MAX_KEY,
    MAX_KEY_RULES,
    MAX_VALUE,
    MAX_VALUE_RULES,
    Conversion,
    Fault,
    LayoutVersion,
    Op,
    Rule,
    StateRefused,
    outer_problem,
)
from reloader.layouts.shape import Atom
from reloader.structs.tree import TypeTree
from reloader.wording.message import Message

__all__ = ["StateRefused", "between", "compile_conversion", "compose", "invert"]

SIDES = ("key", "value")
LIMITS = {"key": (MAX_KEY, MAX_KEY_RULES), "value": (MAX_VALUE, MAX_VALUE_RULES)}


def compile_conversion(old: LayoutVersion, new: LayoutVersion) -> Conversion:
    """One version on, by the rules of `new`; StateRefused with every reason why not."""
    return compose((old, new))


def compose(chain: Sequence[LayoutVersion]) -> Conversion:
    """From the first version to the last in one pass."""
    chain = _inside(chain)
    misread: list[str] = []
    steps = _steps(chain, misread)
    one = {side: _one(steps[side]) for side in SIDES}
    merging = any(v.collide for v in chain[1:])
    return replace(_Writer(chain[0], chain[-1], one, merging=merging).conversion(), misread=tuple(misread))


def invert(chain: Sequence[LayoutVersion]) -> Conversion:
    """From the last version back to the first; `lossy` says what does not come back as it was."""
    chain = _inside(chain)
    steps = _steps(chain)
    one = {side: _one([pieces.inverted(s, guarded=side == "key") for s in reversed(steps[side])]) for side in SIDES}
    return _Writer(chain[-1], chain[0], one, back=True).conversion()


def between(versions: Sequence[LayoutVersion], old: int, new: int) -> Conversion:
    """Either way between two versions of a map's history."""
    first, last = min(old, new), max(old, new)
    chain = [v for v in versions if first <= v.version <= last]
    if [v.version for v in chain] != list(range(first, last + 1)):
        raise StateRefused([Fault(message=texts.VERSIONS_UNKNOWN(first=first, last=last))])
    return compose(chain) if old <= new else invert(chain)


def _inside(chain: Sequence[LayoutVersion]) -> list[LayoutVersion]:
    if wrong := outer_problem(chain):
        raise StateRefused([wrong])
    return [v.inside() for v in chain]


def _steps(chain: Sequence[LayoutVersion], misread: list[str] | None = None) -> dict[str, list[Step]]:
    """Every step of both sides; StateRefused with all that is wrong in any of them. `misread` gets what goes along and
    is read otherwise."""
    found: dict[str, list[Step]] = {side: [] for side in SIDES}
    faults: list[Fault] = []
    for old, new in pairwise(chain) if len(chain) > 1 else [(chain[0], chain[0])]:
        step = (old.version, new.version) if len(chain) > 2 else None
        for side in SIDES:
            rules = {} if old is new else (new.key_rules if side == "key" else new.value_rules)
            matcher = Matcher(side, _tree(old, side), _tree(new, side), rules)
            if too_large := _size_problem(side, old, new):
                faults.append(replace(too_large, step=step))
                continue
            found[side].append(matcher.run())
            faults += [replace(fault, step=step) for fault in matcher.faults]
            if misread is not None:
                misread += [_at_step(step, told) for told in dict.fromkeys(matcher.misread)]
    if faults:
        raise StateRefused(faults)
    return found


def _at_step(step: tuple[int, int] | None, why: Message) -> Message:
    return texts.AT_STEP(old=step[0], new=step[1], why=why) if step else why


def _tree(version: LayoutVersion, side: str) -> TypeTree:
    return version.key if side == "key" else version.value


def _size_problem(side: str, old: LayoutVersion, new: LayoutVersion) -> Fault | None:
    size, most = max(_tree(v, side).size for v in (old, new)), LIMITS[side][0]
    return Fault(message=texts.SIDE_TOO_LARGE(size=size, limit=most), side=side) if size > most else None


def _one(steps: Sequence[Step]) -> Step:
    try:
        return functools.reduce(pieces.composed, steps)
    except Tangled as error:
        raise StateRefused([Fault(message=error.message)]) from None


class _Writer:
    """From steps to a Conversion: rules, what is lost, and a line for each field."""

    def __init__(
        self,
        source: LayoutVersion,
        target: LayoutVersion,
        steps: dict[str, Step],
        *,
        merging: bool = False,
        back: bool = False,
    ) -> None:
        self._source, self._target, self._steps = source, target, steps
        self._merging, self._back = merging, back
        self._faults: list[Fault] = []
        self._lossy: list[str] = []

    def conversion(self) -> Conversion:
        old, new = self._source, self._target
        values = emit.ValueRules(self._steps["value"], old.value, new.value, new.merge, MAX_VALUE_RULES)
        keys = emit.key_rules(self._steps["key"], old.key, new.key)
        self._judge_merges(values.problems)
        collides = self._judge_keys()
        self._count("key", len(keys))
        self._count("value", len(values.rules))
        if self._faults:
            raise StateRefused([*dict.fromkeys(self._faults)])
        self._lossy += self._lost("value")
        if self._back:
            self._lossy += [*self._made_up("key"), *self._made_up("value")]
        told = dict([*self._lines("key"), *self._lines("value")])
        return Conversion(
            key=keys,
            value=values.rules,
            old_key_size=old.key.size,
            new_key_size=new.key.size,
            old_value_size=old.value.size,
            new_value_size=new.value.size,
            lossy=tuple(dict.fromkeys(self._lossy)),
            demands=tuple(
                dict.fromkeys([*self._expected(), *self._fits("key", keys), *self._fits("value", values.rules)])
            ),
            notes=tuple(told),
            same=tuple(index for index, same in enumerate(told.values()) if same),
            collides=collides,
        )

    def _count(self, side: str, count: int) -> None:
        most = LIMITS[side][1]
        if count > most:
            self._faults.append(Fault(message=texts.TOO_MANY_RULES(count=count, limit=most), side=side))

    def _judge_merges(self, problems: Sequence[tuple[str, Message]]) -> None:
        """On the way back nothing can be chosen any more, so a rule that does not fit gives way, and is named."""
        for path, why in problems:
            if self._back:
                self._lossy.append(texts.RUNNING_VALUE_KEPT(field=shape.joined("value", path), why=why))
            else:
                self._faults.append(Fault(message=why, side="value", path=path))

    def _judge_keys(self) -> bool:
        """Whether keys fall together; that they may, and how, must have been said."""
        step, tree = self._steps["key"], self._source.key
        spans = [*_sources(step.pieces), *((g.at, g.at + len(g.data)) for g in step.guards)]
        loose = left_over(tree, shape.mask(tree.size, spans))
        if not loose:
            return False
        names = [*dict.fromkeys(shape.joined("key", a.path) for a in loose)]
        if not self._merging:
            self._faults.append(Fault(message=texts.KEYS_COLLIDE(fields=names)))
        else:
            self._faults += self._unmerged()
            self._lossy.append(texts.ENTRIES_MERGED(fields=names))
        return True

    def _expected(self) -> Iterator[str]:
        tree = self._source.key
        for guard in self._steps["key"].guards:
            value = _shown(_type_at(tree, guard.at), guard.data)
            yield texts.ENTRY_HOLDS(field=f"key.{_named(tree, guard.at)}", value=value)

    def _fits(self, side: str, rules: Sequence[Rule]) -> Iterator[str]:
        """Fields that get smaller; of a count the engine looks always (rl_fits)."""
        old, new = _tree(self._source, side), _tree(self._target, side)
        for r in rules:
            if r.dst_size < r.src_size and (r.checked or r.op is Op.SUM) and r.op not in (Op.CONST, Op.EXPECT):
                smaller = shape.type_text(_type_at(new, r.dst_off))
                yield texts.ENTRY_FITS(field=shape.joined(side, _named(old, r.src_off)), type=smaller)

    def _unmerged(self) -> Iterator[Fault]:
        for atom in shape.atoms(self._target.value):
            word = emit.merge_word(self._target.merge, atom.path)
            taken = [p for p in emit.parts(self._steps["value"], atom.at, atom.end) if p.src >= 0]
            if taken and emit.MERGES[word] not in emit.JOINING:
                yield Fault(message=texts.MERGE_NOT_JOINING(word=word), side="value", path=atom.path)

    def _lost(self, side: str) -> Iterator[str]:
        tree = _tree(self._source, side)
        held = shape.mask(tree.size, _sources(self._steps[side].pieces))
        for atom in left_over(tree, held):
            for named in _each(side, atom, held):
                yield texts.FIELD_NOT_KEPT(field=named, version=self._target.version)

    def _made_up(self, side: str) -> Iterator[str]:
        """What the version gone back to has, and the one left behind did not keep."""
        tree, step = _tree(self._target, side), self._steps[side]
        held = shape.mask(tree.size, [(p.at, p.end) for p in step.pieces if p.src >= 0])
        for atom in left_over(tree, held):
            data = b"".join(p.data for p in emit.parts(step, atom.at, atom.end) if p.src < 0)
            was = _shown(atom.type, data) if len(data) == atom.type.size and atom.count == 1 else texts.ZERO()
            yield texts.FIELD_RESTORED_AS(field=_at(side, atom), value=was)

    def _lines(self, side: str) -> Iterator[tuple[str, bool]]:
        """Field by field, for the plan; and whether it stays as it is, so that there is nothing more to say."""
        old, new, step = _tree(self._source, side), _tree(self._target, side), self._steps[side]
        told: set[str] = set()
        for atom in shape.atoms(new):
            if atom.path in told:  # one element of an array speaks for all
                continue
            told.add(atom.path)
            how: list[str] = [texts.STARTS_UNLOCKED()] if atom.type.special else list(_origin(atom, step, old))
            merges = side == "value" and any(p.src >= 0 for p in emit.parts(step, atom.at, atom.end))
            if merges:
                how.append(emit.merge_word(self._target.merge, atom.path))
            same = not (atom.type.special or merges) and _stays(atom, step, old)
            yield texts.FIELD_LINE(field=_at(side, atom), changes=how), same
        for atom in left_over(old, shape.mask(old.size, _sources(step.pieces))):
            yield texts.FIELD_LINE(field=_at(side, atom), changes=texts.DROPPED()), False


def _origin(atom: Atom, step: Step, old: TypeTree) -> Iterator[str]:
    found = list(emit.parts(step, atom.at, atom.end))
    taken = [p for p in found if p.src >= 0]
    if not taken:
        data = b"".join(p.data for p in found)
        told = any(data) and len(data) == atom.type.size and atom.count == 1
        yield texts.STARTS_AS(value=_shown(atom.type, data) if told else texts.ZERO())
        return
    name, p = _named(old, taken[0].src), taken[0]
    if name != atom.path:
        yield texts.WAS(field=name) if name else texts.WAS_WHOLE()
    if p.src != p.at:
        yield texts.OFFSET_CHANGED(old=p.src, new=p.at)
    if p.size != p.src_size:
        changed = texts.SIZE_CHANGED_MUST_FIT if p.checked else texts.SIZE_CHANGED
        yield changed(old=p.src_size, new=p.size)
    if _stays(atom, step, old):
        yield texts.UNCHANGED()


def _stays(atom: Atom, step: Step, old: TypeTree) -> bool:
    """Whether a field has the name, place and size that it had."""
    taken = next((p for p in emit.parts(step, atom.at, atom.end) if p.src >= 0), None)
    if taken is None or _named(old, taken.src) != atom.path:
        return False
    return taken.src == taken.at and taken.size == taken.src_size


def _sources(found: Sequence[Piece]) -> list[tuple[int, int]]:
    return [(p.src, p.src + p.src_size) for p in found if p.src >= 0]


def _at(side: str, atom: Atom) -> str:
    shown = shape.type_text(atom.type) + (f"[{atom.count}]" if atom.count > 1 else "")
    return f"{shape.joined(side, atom.path)} ({shown})"


def _each(side: str, atom: Atom, held: bytearray) -> Iterator[str]:
    """What of an atom is not held, by the names that C has for it."""
    names = units.missing(atom.type, held, atom.at) if atom.count == 1 else []
    if not names:
        yield _at(side, atom)
    above = atom.path.rpartition(".")[0] if atom.type.kind == "bits" or "|" in atom.path else atom.path
    yield from (shape.joined(side, shape.joined(above, name)) for name in names)


def _atom_at(tree: TypeTree, at: int) -> Atom | None:
    return next((a for a in shape.atoms(tree) if a.at <= at < a.end), None)


def _named(tree: TypeTree, at: int) -> str:
    found = _atom_at(tree, at)
    return found.path if found else texts.BYTE(offset=at)


def _type_at(tree: TypeTree, at: int) -> TypeTree:
    found = _atom_at(tree, at)
    return found.type if found else tree


def _shown(tree: TypeTree, data: bytes) -> str:
    """A value as the registry writes it."""
    if tree.kind in ("int", "bool", "char", "enum") and len(data) == tree.size:
        value = int.from_bytes(data, "big" if tree.order == "big" else "little", signed=tree.signed)
        return next((name for name, number in tree.enumerators if number == value), str(value))
    return f"hex:{data.hex()}" if any(data) else texts.ZERO()
