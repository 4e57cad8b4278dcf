"""What the next version's rules probably are: the certain ones filled in, the others as questions.

Used by scaffold.py. Pure; imports typetree and state.{match,shape,emit,compile,layouts,rules}.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace

from reloader.state import shape
from reloader.state.compile import StateRefused, compile_conversion, invert
from reloader.state.emit import MERGES, merge_problem, merge_word
from reloader.state.layouts import quoted
from reloader.state.match import NUMBERS, needs_cast
from reloader.state.rules import FieldRule, LayoutVersion, Op
from reloader.state.shape import Field, joined, type_text
from reloader.typetree import TypeTree

_BY_NAME = (  # words that a field's name is made of → how such fields usually merge
    ("min", r"first|oldest|since|created|start|min|lowest"),
    ("max", r"last|latest|newest|seen|updated|max|peak|highest"),
    (
        "sum",
        r"packets?|pkts?|bytes|octets|counts?|counter|hits?|total|drops?|dropped|errors?|failed|lost|sampled|blocked",
    ),
    ("or", r"flags|bits|bitmap"),
)
_PAD = re.compile(r"_*(pad|padding|reserved|unused)\d*_*\Z", re.IGNORECASE)


class Suggestion:
    """Rules for one step; `questions` are (side, field, what is asked, answers to choose from)."""

    def __init__(self, old: LayoutVersion, new: LayoutVersion) -> None:
        self.rules: dict[str, dict[str, dict[str, object]]] = {"key": {}, "value": {}}
        self.questions: list[tuple[str, str, str, tuple[str, ...]]] = []
        self._side = "key"
        for self._side, before, after in (("key", old.key, new.key), ("value", old.value, new.value)):
            self._pair(before, after, "")
        self._ask_the_rest(old, new)

    def _rule(self, path: str, **words: object) -> None:
        self.rules[self._side][path or "."] = words

    def _ask(self, path: str, text: str, *answers: str) -> None:
        self.questions.append((self._side, path or ".", text, answers))

    def _pair(self, old: TypeTree, new: TypeTree, path: str) -> None:
        if old.special or new.special:
            return
        if shape.is_struct(old) and shape.is_struct(new):
            self._structs(old, new, path)
        elif old.element is not None and new.element is not None:
            self._arrays(old, new, path)
        elif old.kind in NUMBERS and new.kind in NUMBERS:
            self._numbers(old, new, path)
        elif not shape.same(old, new) and old.size == new.size:
            self._ask(
                path, f"{path} was {type_text(old)} and is {type_text(new)}: the same bytes?", f"{path}: {{cast: true}}"
            )

    def _structs(self, old: TypeTree, new: TypeTree, path: str) -> None:
        before = {f.name: f for f in shape.fields(old)}
        after = {f.name: f for f in shape.fields(new)}
        gone = [f for name, f in before.items() if name not in after]
        for name, f in after.items():
            if name in before:
                self._pair(before[name].type, f.type, joined(path, name))
        added = [f for name, f in after.items() if name not in before and not f.type.special]
        for f in sorted(added, key=lambda f: not any(shape.same(g.type, f.type) for g in gone)):
            gone = self._added(f, joined(path, f.name), path, gone)
        for f in gone:
            self._gone(f, joined(path, f.name))

    def _added(self, new: Field, here: str, path: str, gone: list[Field]) -> list[Field]:
        """A field that is new, or a gone one of another name, perhaps width; returns who is still gone."""
        akin = [f for f in gone if _akin(f, new, numbers=self._side == "value")]
        twins = [f for f in akin if shape.same(f.type, new.type)] or akin
        start = "{const: 0}" if self._side == "key" else "{default: 0}"
        if twins:
            names = " or ".join(joined(path, f.name) for f in twins)
            renames = [f"{here}: {{rename: {quoted(joined(path, f.name))}{_resized(f, new)}}}" for f in twins]
            drops = "; ".join(f"{joined(path, f.name)}: {{drop: true}}" for f in twins)
            self._ask(here, f"is {here} what was {names}, or is it new?", *renames, f"{here}: {start}; {drops}")
            return [f for f in gone if f not in twins]
        if self._side == "key" and not _PAD.match(new.name):
            self._ask(here, f"what is {here} in keys that have no such field yet?", f"{here}: {start}")
        else:
            self._rule(here, default=0)
        return gone

    def _gone(self, old: Field, here: str) -> None:
        if old.type.special:
            return
        if self._side == "value":
            self._rule(here, drop=True)
        else:
            self._ask(
                here, f"{here} is no more in the key: was it always the same, or do keys fall together?",
                f"{here}: {{drop: true, was: 0}}", f"{here}: {{drop: true}}; and under rules: collide: merge",
            )  # fmt: skip

    def _arrays(self, old: TypeTree, new: TypeTree, path: str) -> None:
        assert old.element is not None
        assert new.element is not None
        if old.count < new.count:
            self._rule(path, widen=True)
        elif old.count > new.count:
            text = f"{path} has {new.count} elements, not {old.count}: may the others be lost?"
            self._ask(path, text, f"{path}: {{narrow: true}}")
        if shape.is_struct(shape.flat(new)[0]):
            self._pair(old.element, new.element, path + "[]")
        elif old.element.kind in NUMBERS and new.element.kind in NUMBERS and not shape.same(old.element, new.element):
            self._numbers(old.element, new.element, path)

    def _numbers(self, old: TypeTree, new: TypeTree, path: str) -> None:
        words = _words(old, new)
        if words == ["widen"]:
            self._rule(path, widen=True)
        elif words:
            answer = ", ".join(f"{w}: true" for w in words)
            note = " (a value that does not fit stops the conversion)" if "narrow" in words else ""
            text = f"{path or 'it'} was {type_text(old)} and is {type_text(new)}: the same number?{note}"
            self._ask(path, text, f"{path or '.'}: {{{answer}}}")

    def _ask_the_rest(self, old: LayoutVersion, new: LayoutVersion) -> None:
        """Whatever these rules leave open, in the compiler's words."""
        trial = _tried(new, self.rules)
        try:
            compile_conversion(old, trial)
            invert((old, trial))
        except StateRefused as refused:
            for reason in refused.reasons:
                side, _, path = reason.partition(": ")[0].partition(".")
                if not self._mentioned(side, path):
                    self.questions.append((side if side in self.rules else "key", path or ".", reason, ()))

    def _mentioned(self, side: str, path: str) -> bool:
        """Whether a question about this field stands already."""
        word = re.compile(rf"(?<![\w.]){re.escape(path)}(?![\w.])")
        return any(s == side and word.search(" ".join([text, *answers])) for s, _, text, answers in self.questions)


def _akin(gone: Field, new: Field, *, numbers: bool) -> bool:
    """Whether one may be the other under another name: the same type, or with `numbers` one of another width."""
    if _PAD.match(gone.name) or _PAD.match(new.name):
        return False
    return shape.same(gone.type, new.type) or (numbers and gone.type.kind in NUMBERS and new.type.kind in NUMBERS)


def _words(old: TypeTree, new: TypeTree) -> list[str]:
    """What a number's rule must say beyond its name."""
    return ["cast"] * needs_cast(old, new) + ["widen"] * (old.size < new.size) + ["narrow"] * (old.size > new.size)


def _resized(old: Field, new: Field) -> str:
    same = shape.same(old.type, new.type)
    return "" if same else "".join(f", {word}: true" for word in _words(old.type, new.type))


def _tried(new: LayoutVersion, rules: Mapping[str, Mapping[str, Mapping[str, object]]]) -> LayoutVersion:
    """The version with suggested rules, to try them."""

    def made(side: str, tree: TypeTree) -> dict[str, FieldRule]:
        paths = {("" if path == "." else path): words for path, words in rules[side].items()}
        return {path: _field_rule(shape.find(tree, path), words) for path, words in paths.items()}

    return replace(new, key_rules=made("key", new.key), value_rules=made("value", new.value))


def _field_rule(tree: TypeTree | None, words: Mapping[str, object]) -> FieldRule:
    zero = bytes(tree.size) if tree else b""
    return FieldRule(
        default=zero if "default" in words else None,
        widen="widen" in words,
        drop="drop" in words,
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
        elif not merge_problem(atom, Op.SUM) and not _PAD.match(atom.path.rpartition(".")[2]):
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
