"""The rules for what reloader says: a code with values, its words in the `texts.py` of a room, held by golden files."""

from __future__ import annotations

import ast
import re
import string
from collections.abc import Iterator
from pathlib import Path

import pytest

from reloader.errors import InputError, Problem, UsageError
from reloader.wording.message import Text
from tests.golden.make import HERE, PACKAGE, golden, text_modules

ROOMS = dict(text_modules())
MODULES = sorted(p for p in PACKAGE.rglob("*.py") if "_shipped" not in p.parts)
UNDERSCORED = frozenset(  # reasons that were there before the rule
    {
        "hook_exclusive",
        "kconfig_not_set",
        "kconfig_value",
        "license_differs",
        "map_clash",
        "map_extra",
        "map_flags",
        "map_inner",
        "map_key_size",
        "map_max_entries",
        "map_type",
        "map_value_size",
        "map_values",
        "no_packet_seen",
        "not_measurable",
        "twin_program",
        "twin_symbol",
        "unresolved_extern",
        "weak_map_first",
    }
)
SHOWN = frozenset({"message", "words", "hint", "detail", "line", "lines", "notes", "note"})  # attributes that hold text
READING = frozenset(
    {"startswith", "endswith", "removeprefix", "removesuffix", "partition", "rpartition", "split", "find"}
)


BARE = {  # an error with words of its own → why no text has them
    "engine/transaction: AssertionError": "a fault of reloader, which no user can meet; for mypy",
    "kernel/__init__: ValueError": "a fault of reloader: a descriptor is used after it was closed",
    "plan/ops/base: LookupError": "a fault of reloader: an op without an undo stands before the commit",
}
TOOLS = ("bpf", "verifier", "frozen", "wording/message", "disk/jsonable")  # below all texts: faults of calls and fields


def test_a_message_carries_its_code_and_values() -> None:
    text = Text("no-such-map", "{pipeline} has no {map!r}, only {count:map} ({known})", hint="choose one of {known}")
    message = text(pipeline="edge", map="flowz", count=2, known=("flows", "stats"))
    assert message == "edge has no 'flowz', only 2 maps (flows, stats)"
    assert (message.code, message.hint) == ("no-such-map", "choose one of flows, stats")
    error = UsageError(message)
    assert (error.reason, error.hint) == (message.code, message.hint)
    assert error.to_json()["values"] == {"pipeline": "edge", "map": "flowz", "count": 2, "known": ["flows", "stats"]}
    whole = InputError([Problem.at("edge.yaml", message, 3, 4, "spec.maps")])
    assert (whole.problems[0].reason, whole.problems[0].hint, whole.reason) == (
        message.code,
        message.hint,
        message.code,
    )


def test_texts_are_as_the_golden_files_say() -> None:
    held = {path.stem: path.read_text() for path in HERE.glob("*.txt")}
    assert held == {room: golden(texts) for room, texts in ROOMS.items()}, "python -m tests.golden.make; git diff"


def test_a_code_has_one_text_in_its_room() -> None:
    for texts in ROOMS.values():
        codes = [text.code for text in texts.values()]
        assert len(codes) == len(set(codes))
        kebab = [code.replace("_", "-") if code in UNDERSCORED else code for code in codes]
        assert all(re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", code) for code in kebab)


def calls(path: Path) -> Iterator[tuple[Text, ast.Call]]:
    """Calls of a text in a module, as `texts.NAME(…)`."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    rooms = {
        alias.asname or "texts": str(node.module).removeprefix("reloader").lstrip(".")
        for node in nodes
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.name == "texts"
    }
    for node in nodes:
        if isinstance(node, ast.Call):
            name, _, attribute = ast.unparse(node.func).partition(".")
            text = ROOMS.get(rooms.get(name, "-"), {}).get(attribute)
            if text is not None:
                yield text, node


def test_regress_a_mapping_is_not_shown_as_python_writes_it() -> None:
    """Trap: `panic closed: nothing passes at {'xdp:eth0': ''}`."""
    with pytest.raises(TypeError):
        Text("x", "at {places}")(places={"xdp:eth0": ""})


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_call_gives_every_value_of_its_text(path: Path) -> None:
    for text, call in calls(path):
        if any(keyword.arg is None for keyword in call.keywords):
            continue  # `**values`: only a run can tell
        given = {str(keyword.arg) for keyword in call.keywords}
        template = text.message + ("" if "hint" in given else text.hint)
        wanted = {re.split(r"[.\[]", name)[0] for _, name, _, _ in string.Formatter().parse(template) if name}
        assert wanted <= given, f"{path.name}:{call.lineno}: {text.code} needs {sorted(wanted - given)}"


def test_every_text_is_used() -> None:
    source = "\n".join(path.read_text() for path in MODULES)
    unused = [
        f"{room}: {name}"
        for room, texts in ROOMS.items()
        for name in texts
        if not re.search(rf"\btexts\.{name}\b", source)
    ]
    assert not unused


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_no_code_reads_a_text_back(path: Path) -> None:
    """Neither a comparison with an attribute that holds words, nor with a Message, nor a search in one."""
    wrong = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            literal = any(_is_sentence(s) for s in sides)
            shown = any(isinstance(s, ast.Attribute) and s.attr in SHOWN for s in sides)
            texts = any(_is_text_call(s) for s in sides)
            words = any(isinstance(s, ast.Constant) and isinstance(s.value, str) and s.value for s in sides)
            if (literal and not _is_source(path)) or (shown and words) or texts:
                wrong.append(f"{path.name}:{node.lineno}: {ast.unparse(node)}")
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in READING:
            value = node.func.value
            if isinstance(value, ast.Attribute) and value.attr in SHOWN - {"line"}:
                wrong.append(f"{path.name}:{node.lineno}: {ast.unparse(node)}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_an_error_takes_its_words_from_a_text(path: Path) -> None:
    """Not from a literal or an f-string beside the `raise`; BARE lists the exceptions."""
    module = path.relative_to(PACKAGE).with_suffix("").as_posix()
    if any(f"{module}/".startswith(f"{tool}/") for tool in TOOLS):
        return
    found = {
        f"{module}: {ast.unparse(node.exc.func)}": node.lineno
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and any(map(_has_words, _given(node.exc)))
    }
    allowed = {error for error in BARE if error.startswith(f"{module}: ")}
    assert found.keys() == allowed, found


@pytest.mark.parametrize(
    ("error", "bare"),
    [
        ("InputError('it is broken')", True),
        ("InputError(f'{name} is broken')", True),
        ("InputError(texts.BROKEN(name=name), hint='write it ' + 'again now')", True),
        ("KernelError('link create', errno.EBUSY, f'{path}: busy with {name}')", True),
        ("KernelError('link create', errno.EBUSY, path)", False),
        ("InputError(texts.BROKEN(type=f'struct {name}'))", False),
        ("ValueProblem(f'value.{below}', text)", False),
    ],
)
def test_words_beside_a_raise_are_found(error: str, bare: bool) -> None:
    call = ast.parse(error, mode="eval").body
    assert isinstance(call, ast.Call)
    assert any(map(_has_words, _given(call))) is bare


def _given(call: ast.Call) -> list[ast.expr]:
    """What an error is given; the first of a failed call's arguments is the call's name."""
    named = ast.unparse(call.func) in ("KernelError", "StepFailed", "AttachRefused")
    return [*call.args[named:], *(keyword.value for keyword in call.keywords)]


def _has_words(node: ast.AST) -> bool:
    """Whether a literal or an f-string in an expression has words; those inside a text's call are its values."""
    if isinstance(node, ast.JoinedStr):
        words = "".join(str(part.value) if isinstance(part, ast.Constant) else "x" for part in node.values)
        return bool(re.search("[A-Za-z]+ [a-z]+", words))
    if isinstance(node, ast.Constant):
        return isinstance(node.value, str) and bool(re.search("[A-Za-z]+ [a-z]+", node.value))
    return not _is_text_call(node) and any(map(_has_words, ast.iter_child_nodes(node)))


def _is_sentence(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Constant) and isinstance(node.value, str) and bool(re.search("[a-z]+ [a-z]+", node.value))
    )


def _is_source(path: Path) -> bool:
    """The verifier's log and PyYAML's errors are texts of others and have no codes."""
    return path.parent.name == "verifier" or path.stem in ("text", "document")


def _is_text_call(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and ast.unparse(node.func).startswith("texts.")
