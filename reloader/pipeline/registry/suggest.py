"""What the next version's rules probably are: the certain ones filled in, the others as questions.

Used by pipeline/registry/next_version.py. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from reloader.frozen import frozen
from reloader.layouts import shape, units
from reloader.layouts.emit import MERGES, merge_problem, merge_word
from reloader.layouts.match import LOSS, NUMBERS, needs_cast
from reloader.layouts.rule_table import StateRefused, compile_conversion, invert
from reloader.layouts.rules import FieldRule, LayoutVersion, Op
from reloader.layouts.shape import Field, joined, type_text
from reloader.pipeline.document import quoted
from reloader.pipeline.registry import texts
from reloader.structs.tree import TypeTree
from reloader.wording.message import Message

_BY_NAME = (  # words that a field's name is made of → how such fields usually merge
    ("min", r"first|oldest|since|created|start|min|lowest"),
    ("max", r"last|latest|newest|seen|updated|max|peak|highest"),
    (
        "sum",
        r"packets?|pkts?|bytes|octets|counts?|counter|hits?|total|drops?|dropped|errors?|failed|lost|sampled|blocked",
    ),
    ("or", r"flags|bits|bitmap"),
)


@frozen
class Question:
    """What only the author knows, with the answers to choose from."""

    side: str
    path: str  # of the field; "." for the whole
    message: Message
    answers: tuple[str, ...] = ()
    about: frozenset[str] = frozenset()  # paths of the fields that an answer decides


class Suggestion:
    """Rules for one step, and questions."""

    def __init__(self, old: LayoutVersion, new: LayoutVersion) -> None:
        self.rules: dict[str, dict[str, dict[str, object]]] = {"key": {}, "value": {}}
        self.questions: list[Question] = []
        self._side = "key"
        for self._side, before, after in (("key", old.key, new.key), ("value", old.value, new.value)):
            self._pair(before, after, "")
        self._ask_the_rest(old, new)

    def _rule(self, path: str, **words: object) -> None:
        self.rules[self._side][path or "."] = words

    def _ask(self, path: str, message: Message, *answers: str, about: Iterable[str] = ()) -> None:
        """`about`: other fields that an answer decides."""
        fields = frozenset([path, *about])
        self.questions.append(
            Question(side=self._side, path=path or ".", message=message, answers=answers, about=fields)
        )

    def _pair(self, old: TypeTree, new: TypeTree, path: str) -> None:
        if old.special or new.special:
            return
        if shape.is_struct(old) and shape.is_struct(new):
            self._structs(old, new, path)
        elif old.element is not None and new.element is not None:
            self._arrays(old, new, path)
        elif old.kind in NUMBERS and new.kind in NUMBERS:
            self._numbers(old, new, path)
        elif not shape.same(old, new) and (old.size == new.size or (units.is_unit(old) and units.is_unit(new))):
            self._same_bytes(old, new, path, const=path)

    def _same_bytes(self, old: TypeTree, new: TypeTree, path: str, *, const: str) -> None:
        """`const`: the field that can be given one value instead; empty: none."""
        wrong, cut = units.misread(old, new), old.size > new.size
        asked = texts.SAME_BYTES_MISREAD if wrong else texts.SAME_BYTES
        message = asked(field=path or self._side, old=type_text(old), new=type_text(new), misread=wrong)
        words = "{cast: true, accept_loss: true}" if wrong else "{cast: true}"
        answers = [f"{quoted(path) if path else '.'}: {words}"]
        if not cut and const and old.size == new.size:
            answers.append(f"{quoted(const)}: {{const: 0}}  # {texts.OLD_VALUES_LOST()}")
        self._ask(path, message, *answers, about=[const])

    def _structs(self, old: TypeTree, new: TypeTree, path: str) -> None:
        before = {f.name: f for f in shape.fields(old)}
        after = {f.name: f for f in shape.fields(new)}
        gone = [f for name, f in before.items() if name not in after]
        for name, f in after.items():
            if name in before:
                self._pair(before[name].type, f.type, joined(path, name))
        added = [f for name, f in after.items() if name not in before and not f.type.special]
        added, gone = self._units(added, gone, path)
        for f in sorted(added, key=lambda f: not any(shape.same(g.type, f.type) for g in gone)):
            gone = self._added(f, joined(path, f.name), path, gone)
        for f in gone:
            self._gone(f, joined(path, f.name))

    def _units(self, added: list[Field], gone: list[Field], path: str) -> tuple[list[Field], list[Field]]:
        """Bit-fields and unions whose members changed: the same bytes under other names, most likely. Returns what is
        neither."""
        found = [(f, [g for g in gone if units.akin(g, f)]) for f in added]
        found = [(f, olds) for f, olds in found if olds]
        claims: dict[str, list[int]] = {}
        for f, olds in found:
            whole = _joint(olds, f)
            claims.setdefault(whole.name, []).append(units.taken(whole.type, f.type)[2])
        dropped: set[str] = set()
        for f, olds in found:
            whole = _joint(olds, f)
            rest = whole.type.size > sum(claims[whole.name])
            others = [g for g in olds if not _within(g, whole)]
            lost = [whole] * rest + others
            self._ask_unit(f, whole, lost, [g for g in olds if g.name not in dropped], path)
            dropped |= {g.name for g in olds}
        told = {f.name for f, _ in found}
        used = {g.name for _, olds in found for g in olds}
        return [f for f in added if f.name not in told], [g for g in gone if g.name not in used]

    def _ask_unit(self, new: Field, old: Field, lost: list[Field], olds: list[Field], path: str) -> None:
        here, was = joined(path, new.name), joined(path, old.name)
        wrong = units.misread(old.type, new.type)
        accept = ", accept_loss: true" if wrong else ""
        drops = "".join(f"; {quoted(joined(path, g.name))}: {self._drop_words()}" for g in lost)
        start = "{const: 0}" if self._side == "key" else "{default: 0}"
        gone = "".join(f"; {quoted(joined(path, g.name))}: {self._drop_words()}" for g in olds)
        some = texts.SAME_UNIT_LOSES if lost else texts.SAME_UNIT
        asked = texts.SAME_UNIT_MISREAD if wrong else some
        losing = [joined(path, g.name) for g in lost]
        self._ask(
            here, asked(field=here, old=was, misread=wrong, lost=losing),
            f"{quoted(here)}: {{rename: {quoted(was)}, cast: true{accept}}}{drops}",
            f"{quoted(here)}: {start}{gone}",
            about=[was, *losing, *(joined(path, g.name) for g in olds)],
        )  # fmt: skip

    def _drop_words(self) -> str:
        return "{drop: true}" if self._side == "key" else LOSS

    def _added(self, new: Field, here: str, path: str, gone: list[Field]) -> list[Field]:
        """A field that is new, or a gone one of another name, perhaps width; returns who is still gone."""
        akin = [f for f in gone if _akin(f, new, numbers=self._side == "value")]
        twins = [f for f in akin if shape.same(f.type, new.type)] or akin
        start = "{const: 0}" if self._side == "key" else "{default: 0}"
        if twins:
            names = [joined(path, f.name) for f in twins]
            renames = [f"{here}: {{rename: {quoted(joined(path, f.name))}{_resized(f, new)}}}" for f in twins]
            drops = "; ".join(f"{joined(path, f.name)}: {self._drop_words()}" for f in twins)
            question = texts.RENAMED_OR_NEW(field=here, olds=names)
            self._ask(here, question, *renames, f"{here}: {start}; {drops}", about=names)
            return [f for f in gone if f not in twins]
        if self._side == "key" and not units.is_padding(new.name):
            self._ask(here, texts.KEY_FIELD_NEW(field=here), f"{here}: {start}")
        else:
            self._rule(here, default=0)
        return gone

    def _gone(self, old: Field, here: str) -> None:
        if old.type.special:
            return
        if self._side == "value" and units.is_padding(old.name):
            self._rule(here, drop=True, was=0)
        elif self._side == "value":
            self._ask(
                here, texts.FIELD_DROPPED(field=here),
                f"{quoted(here)}: {LOSS}", f"{quoted(here)}: {{drop: true, was: 0}}  # {texts.ALWAYS_ZERO()}",
            )  # fmt: skip
        else:
            self._ask(
                here, texts.KEY_FIELD_DROPPED(field=here),
                f"{here}: {{drop: true, was: 0}}", f"{here}: {{drop: true}}; and under rules: collide: merge",
            )  # fmt: skip

    def _arrays(self, old: TypeTree, new: TypeTree, path: str) -> None:
        assert old.element is not None
        assert new.element is not None
        inner = shape.same(old.element, new.element)
        if old.size == new.size and old.count != new.count and not inner and not shape.holds_special(old):
            self._same_bytes(old, new, path, const=path)
            return
        if old.count < new.count:
            self._rule(path, widen=True)
        elif old.count > new.count:
            question = texts.ARRAY_SHORTER(field=path or self._side, new=new.count, old=old.count)
            self._ask(path, question, f"{path}: {{narrow: true}}")
        before, after = shape.flat(old)[0], shape.flat(new)[0]
        if shape.is_struct(after):
            self._pair(old.element, new.element, path + "[]")
        elif units.is_unit(before) and units.is_unit(after) and not shape.same(before, after):
            self._same_bytes(before, after, path + "[]", const=path if old.size == new.size else "")
        elif old.element.kind in NUMBERS and new.element.kind in NUMBERS and not shape.same(old.element, new.element):
            self._numbers(old.element, new.element, path)

    def _numbers(self, old: TypeTree, new: TypeTree, path: str) -> None:
        words = _words(old, new)
        if words == ["widen"]:
            self._rule(path, widen=True)
        elif words:
            answer = ", ".join(f"{w}: true" for w in words)
            asked = texts.SAME_NUMBER_NARROW if "narrow" in words else texts.SAME_NUMBER
            question = asked(field=path or self._side, old=type_text(old), new=type_text(new))
            self._ask(path, question, f"{path or '.'}: {{{answer}}}")

    def _ask_the_rest(self, old: LayoutVersion, new: LayoutVersion) -> None:
        """Whatever these rules leave open, in the compiler's words."""
        trial = _tried(old, new, self.rules)
        try:
            compile_conversion(old, trial)
            invert((old, trial))
        except StateRefused as refused:
            for fault in refused.faults:
                if not self._asked(fault.side, fault.path):
                    question = Question(side=fault.side or "key", path=fault.path or ".", message=fault.text())
                    self.questions.append(question)

    def _asked(self, side: str, path: str) -> bool:
        """Whether a question decides about this field already, or about the array that it is in."""
        mine = [q for q in self.questions if q.side == side]
        return any(path in q.about or path.startswith(f"{q.path}[]") for q in mine)


def _akin(gone: Field, new: Field, *, numbers: bool) -> bool:
    """Whether one may be the other under another name: the same type, or with `numbers` one of another width."""
    if units.PAD.match(gone.name) or units.PAD.match(new.name):
        return False
    return shape.same(gone.type, new.type) or (numbers and gone.type.kind in NUMBERS and new.type.kind in NUMBERS)


def _words(old: TypeTree, new: TypeTree) -> list[str]:
    """What a number's rule must say beyond its name."""
    return ["cast"] * needs_cast(old, new) + ["widen"] * (old.size < new.size) + ["narrow"] * (old.size > new.size)


def _resized(old: Field, new: Field) -> str:
    same = shape.same(old.type, new.type)
    return "" if same else "".join(f", {word}: true" for word in _words(old.type, new.type))


def _joint(olds: list[Field], new: Field) -> Field:
    """The old field that a new unit most likely was: several units in a row as one, or the one that shares most."""
    both = units.joined_unit(olds, ",".join(f.name for f in olds if f.type.kind == "bits"))
    if both is not None and new.type.kind == "bits":
        return both
    return max(olds, key=lambda f: (len(set(f.name.split(",")) & set(new.name.split(","))), units.overlap(f, new)))


def _within(one: Field, whole: Field) -> bool:
    return whole.at <= one.at and one.at + one.type.size <= whole.at + whole.type.size


def _tried(
    old: LayoutVersion, new: LayoutVersion, rules: Mapping[str, Mapping[str, Mapping[str, object]]]
) -> LayoutVersion:
    """The version with suggested rules, to try them."""

    def made(side: str, before: TypeTree, tree: TypeTree) -> dict[str, FieldRule]:
        paths = {("" if path == "." else path): words for path, words in rules[side].items()}
        return {p: _field_rule(shape.find(before if "drop" in w else tree, p), w) for p, w in paths.items()}

    key_rules, value_rules = made("key", old.key, new.key), made("value", old.value, new.value)
    return replace(new, key_rules=key_rules, value_rules=value_rules)


def _field_rule(tree: TypeTree | None, words: Mapping[str, object]) -> FieldRule:
    zero = bytes(tree.size) if tree else b""
    return FieldRule(
        default=zero if "default" in words else None,
        widen="widen" in words,
        drop="drop" in words,
        was=zero if "was" in words else None,
    )


def merges(value: TypeTree, before: Mapping[str, str]) -> Iterator[tuple[str, str, bool]]:
    """(field, merge word, whether that is certain) for each field that can be joined, and what was said before."""
    seen = set()
    for atom in shape.atoms(value, most=2):
        if atom.path in seen or atom.type.special:
            continue
        seen.add(atom.path)
        said = merge_word(before, atom.path)
        if any(path in before for path in _upwards(atom.path)) and not merge_problem(atom, MERGES[said]):
            yield atom.path, said, True
        elif not merge_problem(atom, Op.SUM) and not units.PAD.match(atom.path.rpartition(".")[2]):
            yield atom.path, *_guess(atom.path)


def _upwards(path: str) -> Iterator[str]:
    while path:
        yield path
        path = path[:-2] if path.endswith("[]") else path.rpartition(".")[0]
    yield ""


def _guess(path: str) -> tuple[str, bool]:
    words = re.split(r"[^a-z]+", path.rpartition(".")[2].lower())
    for word, pattern in _BY_NAME:
        if any(re.fullmatch(pattern, w) for w in words):
            return word, True
    return "keep_new", False
