"""Two versions of one side of a map, paired field by field by names and rules: a step, and all that is wrong.

Nothing is guessed: what is not the same field of the same type needs a rule that says so. Called by
layouts/rule_table.py.
Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

from reloader.frozen import frozen
from reloader.layouts import pieces, shape, texts, units
from reloader.layouts.pieces import Guard, Piece, Step
from reloader.layouts.rules import Fault, FieldRule
from reloader.layouts.shape import Atom, joined, type_text
from reloader.structs.tree import TypeTree
from reloader.wording.message import Message, Text

NUMBERS = frozenset({"int", "bool", "char", "enum"})
NO_RULE = FieldRule()
LOSS = "{drop: true, accept_loss: true}"


@frozen
class Node:
    """A part of a layout where it stands."""

    path: str  # without indices
    at: int
    type: TypeTree

    def child(self, field: shape.Field) -> Node:
        return Node(path=joined(self.path, field.name), at=self.at + field.at, type=field.type)

    def item(self, index: int, element: TypeTree) -> Node:
        return Node(path=self.path + "[]", at=self.at + index * element.size, type=element)


class Matcher:
    """One side ("key" or "value") of one step; `faults` is empty when `step` is exact."""

    def __init__(self, side: str, old: TypeTree, new: TypeTree, rules: Mapping[str, FieldRule]) -> None:
        self.side = side
        self.faults: list[Fault] = []
        self.misread: list[Message] = []  # fields whose bytes go along, and that the new layout reads otherwise or not
        self._old, self._new, self._rules = old, new, rules
        self._pieces: list[Piece] = []
        self._guards: list[Guard] = []
        self._returns: list[Piece] = []
        self._used: set[str] = set()
        self._taken: list[tuple[int, int, str]] = []  # spans of the old layout, and which new field took them
        self._gone: list[tuple[int, int]] = []  # spans that a rule lets go
        self._reach: list[Node] = []  # a rename looks for the old field in these, innermost last

    def run(self) -> Step:
        for name, tree in (("old", self._old), ("new", self._new)):
            self._check_shape(name, tree)
        if not self.faults:
            root = Node(path="", at=0, type=self._old)
            self._pair(root, Node(path="", at=0, type=self._new), self._rule(""))
            self._drops()
            self._check_rules()
            self._check_successors()
        return Step(pieces=pieces.ordered(self._pieces), guards=tuple(self._guards), returns=tuple(self._returns))

    def _say(self, path: str, message: Message) -> None:
        fault = Fault(message=message, side=self.side, path=path)
        if fault not in self.faults:  # once for all elements of an array
            self.faults.append(fault)

    def _rule(self, path: str) -> FieldRule:
        if path in self._rules:
            self._used.add(path)
        return self._rules.get(path, NO_RULE)

    def _check_shape(self, name: str, tree: TypeTree) -> None:
        end, before = 0, ""
        for atom in shape.atoms(tree):
            if atom.at < end:
                self._say(atom.path, texts.SHARES_BYTES(other=before, layout=name))
            end, before = max(end, atom.end), atom.path
            special = shape.holds_special(atom.type)
            if special and not (atom.type.special and special in shape.LOCKS):
                self._say(atom.path, texts.SPECIAL_FIELD(special=special, layout=name))

    # --- pairing

    def _pair(self, old: Node, new: Node, rule: FieldRule) -> None:
        a, b = old.type, new.type
        if a.special or b.special:
            self._locks(old, new)
        elif shape.is_struct(a) and shape.is_struct(b) and not rule.cast:
            self._structs(old, new)
        elif a.element is not None and b.element is not None and not (rule.cast and _same_bytes(a, b)):
            self._arrays(old, new, rule)
        elif a.kind in NUMBERS and b.kind in NUMBERS:
            self._numbers(old, new, rule)
        elif (rule.cast or shape.same(a, b)) and a.size == b.size:
            self._whole(old, new, rule)
        elif rule.cast and (units.is_unit(a) or units.is_unit(b)):
            self._shared(old, new, rule)
        else:
            self._differs(old, new, rule)

    def _locks(self, old: Node, new: Node) -> None:
        """A lock starts open in every converted entry; no rule may touch it."""
        if old.type.name != new.type.name:
            self._say(new.path, texts.LOCK_CHANGED(old=type_text(old.type), new=type_text(new.type)))

    def _whole(self, old: Node, new: Node, rule: FieldRule) -> None:
        for node in (old, new):
            if special := shape.holds_special(node.type):
                self._say(node.path, texts.SPECIAL_NOT_COPIED(special=special))
        if not shape.same(old.type, new.type) and (units.is_unit(old.type) or units.is_unit(new.type)):
            self._shared(old, new, rule)
        else:
            self._take(pieces.raw(new.at, new.type.size, old.at), new)

    def _shared(self, old: Node, new: Node, rule: FieldRule) -> None:
        """The bytes that two units have in common; the new one's others are zero, the old one's need another rule."""
        at, src, count = units.taken(old.type, new.type)
        wrong = units.misread(old.type, new.type)
        if wrong and not rule.accept_loss:
            self._say(new.path, texts.WOULD_BE_MISREAD(fields=wrong))
        place = joined(self.side, new.path.removesuffix(_last(new.path)).removesuffix("."))
        unread = units.unread(old.type, new.type, _last(new.path))
        self.misread += [texts.MISREAD(field=joined(place, what)) for what in wrong]
        self.misread += [texts.NOT_READ(field=joined(place, name)) for name in unread]
        for start, end in ((0, at), (at + count, new.type.size)):
            if start < end:
                self._pieces.append(pieces.filled(new.at + start, bytes(end - start)))
        if count:
            self._take(pieces.raw(new.at + at, count, old.at + src), new)

    def _take(self, piece: Piece, new: Node) -> None:
        self._pieces.append(piece)
        self._taken.append((piece.src, piece.src + piece.src_size, new.path))

    def _structs(self, old: Node, new: Node) -> None:
        known = {f.name: old.child(f) for f in shape.fields(old.type)}
        self._reach.append(old)
        for field in shape.fields(new.type):
            node = new.child(field)
            rule = self._rule(node.path)
            source = self._renamed(rule.rename, node) if rule.rename else known.get(field.name)
            self._field(source, node, rule)
        self._reach.pop()

    def _renamed(self, name: str, new: Node) -> Node | None:
        """The old field a rename names: beside the new one's counterpart, or by its path from the top."""
        beside = self._reach[-1]
        prefix = beside.path + "." * bool(beside.path)
        for start, path in ((beside, name.removeprefix(prefix)), (beside, name), (self._reach[0], name)):
            found = _descend(start, path)
            if found is not None:
                return found
        self._say(new.path, texts.NO_SUCH_OLD_FIELD(field=name))
        return None

    def _field(self, source: Node | None, node: Node, rule: FieldRule) -> None:
        data = rule.const if rule.const is not None else rule.default
        if data is not None:
            self._made_up(source, node, rule, data)
        elif node.type.special and source is None:
            return  # a lock that was added: open
        elif source is not None:
            self._pair(source, node, rule)
        elif not rule.rename:
            near = self._bits_near(node) if node.type.kind == "bits" else ""
            self._say(node.path, texts.BIT_FIELDS_CHANGED(old=near) if near else texts.FIELD_IS_NEW())

    def _bits_near(self, node: Node) -> str:
        """The old bit-fields that share a name with these."""
        names = set(node.type.name.split(","))
        olds = [a.type.name for a in shape.atoms(self._old) if a.type.kind == "bits"]
        return next((n for n in olds if names & set(n.split(","))), "")

    def _made_up(self, source: Node | None, node: Node, rule: FieldRule, data: bytes) -> None:
        if source is not None and rule.const is None:
            self._say(node.path, texts.DEFAULT_OF_OLD_FIELD())
        if len(data) != node.type.size:
            self._say(node.path, texts.WRONG_SIZE(given=len(data), wanted=node.type.size))
            return
        if source is not None:
            self._let_go(source)
        for atom in shape.atoms(node.type, node.path, node.at):
            if not atom.type.special:
                start = atom.at - node.at
                self._pieces.append(pieces.filled(atom.at, data[start : start + atom.end - atom.at]))

    def _let_go(self, old: Node) -> None:
        self._gone += [(a.at, a.end) for a in shape.atoms(old.type, old.path, old.at)]

    def _arrays(self, old: Node, new: Node, rule: FieldRule) -> None:
        a, b = old.type, new.type
        assert a.element is not None
        assert b.element is not None
        for grows, wanted, word in (
            (a.count < b.count, rule.widen, "widen"),
            (a.count > b.count, rule.narrow, "narrow"),
        ):
            if grows and not wanted:
                self._say(new.path, texts.ELEMENTS_CHANGED(new=b.count, old=a.count, word=word))
        shared = min(a.count, b.count) if a.size and b.size else 0
        if shape.same(a.element, b.element) and not shape.is_struct(shape.flat(a)[0]):
            self._take(pieces.raw(new.at, shared * b.element.size, old.at), new)
        else:
            for i in range(shared):
                inner = new.item(i, b.element)
                told = self._rule(inner.path) if inner.path in self._rules else rule
                self._pair(old.item(i, a.element), inner, told)
        if a.count > shared:
            rest = TypeTree(
                kind="array", size=(a.count - shared) * a.element.size, element=a.element, count=a.count - shared
            )
            self._let_go(Node(path=old.path, at=old.at + shared * a.element.size, type=rest))
        for atom in shape.atoms(b.element, new.path):
            for i in range(shared, b.count) if not atom.type.special else ():
                at = new.at + i * b.element.size + atom.at
                self._pieces.append(pieces.filled(at, bytes(atom.end - atom.at)))

    def _numbers(self, old: Node, new: Node, rule: FieldRule) -> None:
        a, b = old.type, new.type
        if wrong := _number_problem(a, b, rule):
            self._say(new.path, wrong)
            self._let_go(old)
        elif a.size != b.size and "big" in (a.order, b.order):  # bytes in front, the number at the end
            self._pieces.append(pieces.filled(new.at, bytes(b.size - a.size)))
            self._take(pieces.raw(new.at + b.size - a.size, a.size, old.at), new)
        else:
            piece = Piece(
                at=new.at, size=b.size, src=old.at, src_size=a.size,
                signed=a.signed and a.size != b.size, checked=b.size < a.size,
            )  # fmt: skip
            self._take(piece, new)

    def _differs(self, old: Node, new: Node, rule: FieldRule) -> None:
        a, b = old.type, new.type
        self._let_go(old)
        if units.is_unit(a) and units.is_unit(b) and a.size != b.size:
            why = texts.UNIT_CHANGED
        elif "union" in (a.kind, b.kind) and a.size == b.size:
            why = texts.UNION_CHANGED
        else:
            why = texts.TYPE_CHANGED if a.size == b.size and not rule.cast else texts.TYPE_CANNOT_CHANGE
        self._say(new.path, why(old=type_text(a), new=type_text(b), old_size=a.size, new_size=b.size))

    # --- what is left

    def _drops(self) -> None:
        for path, rule in self._rules.items():
            if not rule.drop:
                continue
            self._used.add(path)
            found = [n for n in _instances(Node(path="", at=0, type=self._old)) if n.path == path]
            if not found:
                self._say(path, texts.DROPPED_FIELD_UNKNOWN())
            if self.side == "value" and rule.was is None and not rule.accept_loss and not _special(found):
                self._say(path, texts.DROP_LOSES_VALUES(loss=LOSS))
            for node in found:
                self._drop(node, rule.was)

    def _drop(self, node: Node, was: bytes | None) -> None:
        self._let_go(node)
        if was is None:
            return
        if len(was) != node.type.size:
            self._say(node.path, texts.WRONG_SIZE(given=len(was), wanted=node.type.size))
            return
        for atom in shape.atoms(node.type, node.path, node.at):
            data = was[atom.at - node.at : atom.end - node.at]
            self._returns.append(pieces.filled(atom.at, data))
            if self.side == "key":
                self._guards.append(Guard(at=atom.at, data=data))

    def _check_rules(self) -> None:
        for path in self._rules.keys() - self._used:
            if shape.find(self._new, path) is None:
                self._say(path, texts.RULE_WITHOUT_FIELD())
            else:
                self._say(path, texts.RULE_NOT_USED())

    def _check_successors(self) -> None:
        spans = sorted(self._taken)
        for (_, end, one), (start, _, other) in pairwise(spans):
            if start < end:
                self._say(other, texts.SOURCE_TAKEN_TWICE(other=one))
        held = shape.mask(self._old.size, [*((a, b) for a, b, _ in spans), *self._gone])
        for atom in left_over(self._old, held):
            drop = LOSS if self.side == "value" else "{drop: true}"
            self._say(atom.path, texts.FIELD_ONLY_BEFORE(type=type_text(atom.type), drop=drop))


def _number_problem(a: TypeTree, b: TypeTree, rule: FieldRule) -> Message | None:
    """What keeps one number from becoming the other; None when nothing does."""
    why = _number_fault(a, b, rule)
    return why(old=type_text(a), new=type_text(b)) if why else None


def _number_fault(a: TypeTree, b: TypeTree, rule: FieldRule) -> Text | None:
    if needs_cast(a, b) and not rule.cast:
        return texts.MEANING_CHANGED
    if a.kind != "bool" and b.kind == "bool":
        return texts.BOOLEAN_FROM_NUMBER
    if a.size < b.size and not rule.widen:
        return texts.WIDEN_NOT_SAID
    if a.size > b.size and not rule.narrow:
        return texts.NARROW_NOT_SAID
    if a.size != b.size and 16 in (a.size, b.size):
        return texts.SIXTEEN_BYTES
    if a.size != b.size and a.order != b.order:
        return texts.SIZE_AND_ORDER
    if a.size > b.size and (a.order == "big" or a.signed != b.signed):
        return texts.NARROW_NOT_POSSIBLE
    return None


def needs_cast(a: TypeTree, b: TypeTree) -> bool:
    """Whether the number means something else, whatever its size."""
    return a.kind != b.kind or a.signed != b.signed or a.order != b.order or _meanings_lost(a, b)


def _meanings_lost(a: TypeTree, b: TypeTree) -> bool:
    """Enumerators may be added; one that is gone or has another value changes what entries mean."""
    new = dict(b.enumerators)
    return a.kind == "enum" == b.kind and any(new.get(name) != value for name, value in a.enumerators)


def _descend(start: Node, path: str) -> Node | None:
    """A field below a node; arrays are not entered."""
    node = start
    for step in path.split("."):
        found = (
            next((f for f in shape.fields(node.type) if f.name == step), None) if shape.is_struct(node.type) else None
        )
        if found is None and "," in step and shape.is_struct(node.type):
            found = units.joined_unit(shape.fields(node.type), step)
        if found is None:
            return None
        node = node.child(found)
    return node


def _same_bytes(old: TypeTree, new: TypeTree) -> bool:
    """Whether {cast: true} may take an array whole: of units, one by one, what is misread is looked for."""
    (one, many), (other, count) = shape.flat(old), shape.flat(new)
    return old.size == new.size and not (many == count and units.is_unit(one) and units.is_unit(other))


def _last(path: str) -> str:
    return path.rpartition(".")[2]


def _special(nodes: list[Node]) -> bool:
    """Whether the kernel alone writes a field: a lock has no values to lose."""
    return all(node.type.special for node in nodes)


def _instances(node: Node) -> list[Node]:
    """Every field, and every field of every element."""
    out = []
    if shape.is_struct(node.type):
        for f in shape.fields(node.type):
            out += [node.child(f), *_instances(node.child(f))]
    elif node.type.element is not None and shape.is_struct(shape.flat(node.type)[0]):
        for i in range(node.type.count if node.type.size else 0):
            out += _instances(node.item(i, node.type.element))
    return out


def left_over(tree: TypeTree, held: bytearray) -> list[Atom]:
    """The atoms of a layout of which some byte is not held."""
    return [a for a in shape.atoms(tree) if not a.type.special and not all(held[a.at : a.end])]
