"""YAML text → plain values and the place of each: the first step of pipeline/, before the schema sees anything.

Reads PyYAML's *events* only (libyaml's parser where it was built in) and does the rest itself: the YAML 1.2
core resolver, so that a MAC or a date stays text; no duplicate keys, no tags, no text too deep, too large or
too entangled to be meant. Every finding is a Problem; nothing raises.
"""

from __future__ import annotations

import gc
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from reloader.errors import ENOUGH, Problem
from reloader.frozen import frozen
from reloader.pipeline import texts
from reloader.pipeline.model import Mark
from reloader.pipeline.source import MAX_BYTES
from reloader.wording.message import Message
from reloader.wording.printable import printable

MAX_NODES = 500_000  # with every alias counted as what it stands for
MAX_DEPTH = 64
_MAX_NUMBER = 80  # characters; 2**128 has 39 digits

_PLAIN = re.compile(r"[\w-]+").fullmatch

Steps = tuple[str | int, ...]

_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_BOOL = {**dict.fromkeys(("true", "True", "TRUE"), True), **dict.fromkeys(("false", "False", "FALSE"), False)}
_INT = re.compile(r"[-+]?[0-9]+\Z|0o[0-7]+\Z|0x[0-9a-fA-F]+\Z")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?\Z")
_SPECIAL = re.compile(r"([-+]?)\.(inf|Inf|INF)\Z|\.(?:nan|NaN|NAN)\Z")
_PRINTABLE = (  # YAML 1.2 c-printable, without the byte order mark and the line breaks that only YAML 1.1 knew
    (0x9, 0xA), (0xD, 0xD), (0x20, 0x7E), (0xA0, 0x2027), (0x202A, 0xD7FF), (0xE000, 0xFEFE), (0xFF00, 0xFFFD),
    (0x10000, 0x10FFFF),
)  # fmt: skip
_PLAIN_WORD = re.compile(r"[A-Za-z_./][A-Za-z0-9_./+@-]*( [A-Za-z_]\w*)*", re.ASCII)
_WORDS_OF_1_1 = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})  # other readers mean values
_STRING_TAGS = frozenset({None, "!", "tag:yaml.org,2002:str"})


@frozen
class Document:
    """One YAML document: its value, and where each value and each mapping key stands."""

    value: Any
    marks: dict[Steps, Mark]
    key_marks: dict[Steps, Mark]

    def mark(self, steps: Steps, *, key: bool = False) -> Mark:
        """The place of the value (or key) at `steps`, else of the nearest thing around it."""
        while True:
            found = (self.key_marks.get(steps) if key else None) or self.marks.get(steps)
            if found or not steps:
                return found or Mark(line=0, column=0)
            steps = steps[:-1]


@contextmanager
def uncollected() -> Iterator[None]:
    """Without the cyclic collector: a file of many documents makes a million objects, none of them garbage, and to
    walk through them again and again takes longer than all the rest."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def dotted(steps: Steps) -> str:
    """`spec.attach[0].mode`; a key that is no plain word is quoted: `spec.maps[".bss"]`."""
    out = ""
    for step in steps:
        if isinstance(step, int):
            out += f"[{step}]"
        elif _PLAIN(step):
            out += f".{step}" if out else step
        else:
            out += f'["{step}"]'
    return out


def read_documents(data: bytes, file: str) -> tuple[tuple[Document, ...], list[Problem]]:
    """Every non-empty document of a file, and everything wrong with the text. Broken text gives no documents."""
    text, problems = _decode(data, file)
    if text is None or problems:
        return (), problems
    composer = _Composer(file, text)
    nodes = composer.documents()
    if composer.stopped:
        return (), composer.problems
    documents = tuple(_construct(n) for n in nodes if not (n.kind == "scalar" and n.value is None))
    if not documents and not composer.problems:
        composer.problems.append(_problem(file, None, texts.EMPTY_FILE()))
    return documents, composer.problems


def _problem(file: str, mark: Mark | None, message: Message) -> Problem:
    line, column = mark or (0, 0)
    return Problem.at(file, message, line, column)


def _decode(data: bytes, file: str) -> tuple[str | None, list[Problem]]:
    if len(data) > MAX_BYTES:
        return None, [_problem(file, None, texts.DOCUMENT_TOO_LARGE(limit=MAX_BYTES >> 20))]
    if data.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        return None, [_problem(file, Mark(line=1, column=1), texts.BYTE_ORDER_MARK())]
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        before = data[: error.start].decode()
        return None, [_problem(file, _place(before, len(before)), texts.NOT_UTF8())]
    return text, [
        _problem(file, _place(text, i), texts.FORBIDDEN_CHARACTER(number=ord(text[i]))) for i in _unprintable(text)
    ]


def _unprintable(text: str) -> list[int]:
    """Where the first few characters stand that YAML excludes; to compile an expression for them takes 9 ms."""
    wrong = {c for c in set(text) if not any(first <= ord(c) <= last for first, last in _PRINTABLE)}
    return [i for i, c in enumerate(text) if c in wrong][:20] if wrong else []


def _place(text: str, offset: int) -> Mark:
    breaks = [m.end() for m in re.finditer(r"\r\n|\r|\n", text[:offset])]
    return Mark(line=len(breaks) + 1, column=offset - (breaks[-1] if breaks else 0) + 1)


class _Stop(Exception):
    """Nothing useful can be read beyond this point; the problem is already noted."""


class _Node:
    """One value with its place. Plain, as the composer makes one for every word of the file."""

    __slots__ = ("height", "kind", "mark", "size", "value")

    def __init__(self, kind: str, mark: Mark, value: Any = None) -> None:
        self.kind = kind  # "scalar", "list" or "map"
        self.mark = mark
        self.value = value  # the scalar; [_Node, ...]; [(key, key's mark, _Node), ...]
        self.size = 1  # nodes in it, aliases expanded
        self.height = 1


def _parser(text: str) -> Any:
    import yaml  # late: a cached spec needs none of it

    if yaml.__with_libyaml__:
        from yaml._yaml import CParser

        return CParser(text)
    return _pure_parser(text)


def _pure_parser(text: str) -> Any:
    """The same events without libyaml."""
    from yaml.parser import Parser
    from yaml.reader import Reader
    from yaml.scanner import Scanner

    class PureParser(Reader, Scanner, Parser):
        def __init__(self, stream: str) -> None:
            Reader.__init__(self, stream)
            Scanner.__init__(self)
            Parser.__init__(self)

    return PureParser(text)


class _Composer:
    """Events → nodes, one document after the other; notes problems and goes on where that makes sense."""

    def __init__(self, file: str, text: str) -> None:
        self.file = file
        self.text = text
        self.problems: list[Problem] = []
        self.stopped = False
        self._anchors: dict[str, _Node | None] = {}  # None: still open, so an alias would be a loop
        self._budget = MAX_NODES
        self._next: Callable[[], Any] = lambda: None  # the next event; None at the end

    def documents(self) -> list[_Node]:
        import yaml

        nodes: list[_Node] = []
        try:
            try:
                self._next = _parser(self.text).get_event
                while (event := self._next()) is not None:
                    if type(event).__name__ == "DocumentStartEvent":
                        self._anchors.clear()
                        nodes.append(self._node(self._next(), 1))
            except yaml.MarkedYAMLError as error:
                self._syntax(error)
            except (yaml.YAMLError, ValueError, OverflowError) as error:  # ValueError: chr() in PyYAML's own scanner
                self._stop(None, texts.NOT_YAML(why=str(error).splitlines()[0]))
        except _Stop:
            self.stopped = True
        return nodes

    def _note(self, mark: Mark | None, message: Message) -> None:
        self.problems.append(_problem(self.file, mark, message))
        if len(self.problems) >= ENOUGH:
            raise _Stop

    def _stop(self, mark: Mark | None, message: Message) -> NoReturn:
        self._note(mark, message)
        raise _Stop

    def _syntax(self, error: Any) -> None:
        place = error.problem_mark or error.context_mark
        mark = _mark(place) if place else None
        lines = re.split(r"\r\n|\r|\n", self.text)
        here = lines[mark.line - 1][mark.column - 1 :] if mark and mark.line <= len(lines) else ""
        if here.startswith("\t"):
            self._stop(mark, texts.TAB())
        parts = [error.problem, error.context]
        if error.context_mark and mark and (start := _mark(error.context_mark)) != mark:
            parts.append(texts.STARTED_AT(line=start.line, column=start.column))
        self._stop(mark, texts.NOT_YAML(why=" ".join(filter(None, parts)), hint=_syntax_hint(str(error.problem))))

    def _node(self, event: Any, depth: int) -> _Node:
        name, place = type(event).__name__, event.start_mark
        mark = Mark(place.line + 1, place.column + 1)
        if depth > MAX_DEPTH:
            self._stop(mark, texts.TOO_DEEP(limit=MAX_DEPTH))
        if name == "AliasEvent":
            return self._alias(event.anchor, mark, depth)
        self._spend(1, mark)
        if event.anchor is None:
            return (
                _Node("scalar", mark, self._scalar(event, mark))
                if name == "ScalarEvent"
                else self._fill(event, mark, depth)
            )
        self._anchors[event.anchor] = None
        node = self._fill(event, mark, depth)
        self._anchors[event.anchor] = node
        return node

    def _spend(self, nodes: int, mark: Mark) -> None:
        self._budget -= nodes
        if self._budget < 0:
            self._stop(mark, texts.TOO_MANY_VALUES(limit=MAX_NODES))

    def _alias(self, name: str, mark: Mark, depth: int) -> _Node:
        if name not in self._anchors:
            self._note(mark, texts.UNKNOWN_ALIAS(name=name))
            return _Node("scalar", mark)
        node = self._anchors[name]
        if node is None:
            self._stop(mark, texts.ALIAS_LOOP(name=name))
        if depth + node.height > MAX_DEPTH + 1:
            self._stop(mark, texts.TOO_DEEP(limit=MAX_DEPTH))
        self._spend(node.size, mark)
        return node

    def _fill(self, event: Any, mark: Mark, depth: int) -> _Node:
        name = type(event).__name__
        if name == "ScalarEvent":
            return _Node("scalar", mark, self._scalar(event, mark))
        if event.tag is not None:
            self._note(mark, texts.UNKNOWN_TAG(tag=event.tag))
        if name == "SequenceStartEvent":
            items = [self._node(e, depth + 1) for e in self._until("SequenceEndEvent")]
            return _grown(_Node("list", mark, items), items)
        pairs = self._pairs(depth)
        return _grown(_Node("map", mark, pairs), [node for _, _, node in pairs])

    def _until(self, end: str) -> Iterator[Any]:
        following = self._next
        while (event := following()) is not None:
            if type(event).__name__ == end:
                return
            yield event
        self._stop(None, texts.YAML_CUT_OFF())

    def _pairs(self, depth: int) -> list[tuple[str, Mark, _Node]]:
        pairs: dict[str, tuple[str, Mark, _Node]] = {}
        for event in self._until("MappingEndEvent"):
            key = self._node(event, depth + 1)
            mark = key.mark if type(event).__name__ != "AliasEvent" else _mark(event.start_mark)
            value = self._node(self._next(), depth + 1)
            name = self._key(key, mark)
            if name in pairs:
                first = pairs[name][1]
                self._note(mark, texts.DUPLICATE_KEY(key=name, line=first.line, column=first.column))
            elif name is not None:
                pairs[name] = (name, mark, value)
        return list(pairs.values())

    def _key(self, node: _Node, mark: Mark) -> str | None:
        if node.kind != "scalar":
            self._note(mark, texts.COLLECTION_AS_KEY())
        elif not isinstance(node.value, str):
            self._note(mark, texts.KEY_NOT_TEXT(value=_word(node.value)))
        elif node.value == "<<":
            self._note(mark, texts.MERGE_KEY())
        else:
            return str(node.value)
        return None

    def _scalar(self, event: Any, mark: Mark) -> Any:
        if event.tag not in _STRING_TAGS:
            self._note(mark, texts.UNKNOWN_TAG(tag=event.tag))
        text = str(event.value)
        if not event.implicit[0] or event.style not in (None, ""):  # quoted, a block, or tagged
            if re.search("[\0\ud800-\udfff]", text):
                self._note(mark, texts.UNFIT_TEXT())
            return text
        if len(text) > _MAX_NUMBER and (_INT.match(text) or _FLOAT.match(text)):
            self._note(mark, texts.NUMBER_TOO_LONG(limit=_MAX_NUMBER))
            return None
        return resolve(text)


def resolve(text: str) -> Any:
    """A plain scalar by the YAML 1.2 core schema."""
    if text in _NULL:
        return None
    if text in _BOOL:
        return _BOOL[text]
    if text[0] not in "+-.0123456789":
        return text
    if _INT.match(text):
        return int(text, {"0x": 16, "0o": 8}.get(text[:2], 10))
    if _FLOAT.match(text):
        return float(text)
    if special := _SPECIAL.match(text):
        return float(f"{special[1]}inf" if special[2] else "nan")
    return text


def quoted(text: str) -> str:
    """A text as a YAML scalar, wherever it stands: this reader and any other reads it back as that text.

    What is not a plain word to all of them stands in double quotes. ValueError: it is not Unicode; YAML cannot hold it.
    """
    if _PLAIN_WORD.fullmatch(text) and text.lower() not in _WORDS_OF_1_1 and isinstance(resolve(text), str):
        return text
    text.encode()  # UnicodeEncodeError, a ValueError
    return '"' + "".join(rf"\{c}" if c in '"\\' else printable(c) for c in text) + '"'


def _word(value: Any) -> str:
    """A scalar as YAML writes it."""
    return "null" if value is None else str(value).lower()


def _mark(place: Any) -> Mark:
    return Mark(line=place.line + 1, column=place.column + 1)


def _syntax_hint(problem: str) -> str:
    if "mapping values are not allowed" in problem:
        return texts.QUOTE_COLON()
    if "cannot start any token" in problem:
        return texts.QUOTE_START()
    return texts.CHECK_STRUCTURE() if "expected" in problem else ""


def _grown(node: _Node, children: list[_Node]) -> _Node:
    node.size += sum(c.size for c in children)
    node.height += max((c.height for c in children), default=0)
    return node


def _construct(root: _Node) -> Document:
    marks: dict[Steps, Mark] = {}
    key_marks: dict[Steps, Mark] = {}

    def build(node: _Node, steps: Steps) -> Any:
        marks[steps] = node.mark
        if node.kind == "list":
            return [build(item, (*steps, index)) for index, item in enumerate(node.value)]
        if node.kind == "map":
            for key, mark, _ in node.value:
                key_marks[(*steps, key)] = mark
            return {key: build(value, (*steps, key)) for key, _, value in node.value}
        return node.value

    return Document(value=build(root, ()), marks=marks, key_marks=key_marks)
