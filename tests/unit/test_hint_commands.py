"""Trap F10: a command that a message names is one that can be typed. All are collected from the source and parsed.

What stands for a name in a message is a word in capitals (FILE, NAME) or the name itself.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import io
import re
import shlex
from collections.abc import Iterator

import pytest
import yaml

from reloader.commands.parser import COMMANDS as COMMANDS_OF
from reloader.commands.parser import build
from reloader.pipeline.registry.layout_schema import layout_schema
from reloader.pipeline.schema import pipeline_schema
from tests.test_architecture import MODULES, docstring_nodes, named, tree

COMMAND = re.compile(rf"`(reloader [^`]*)`|^(reloader (?:{'|'.join(COMMANDS_OF)}) .*)$")
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]+")
NOT_HINTS = ("reloader state layout", "# Written by `reloader state new`")  # a title; the first line of a file
SAMPLES = {"back": "rollback"}  # what stands in braces, where "1" makes no sense
FOREIGN = frozenset({"--net", "--system"})  # of nsenter and groupadd


def texts() -> Iterator[tuple[str, str]]:
    """(place, text) of every text in the source that is no docstring; what is filled in is "1"."""
    for path in MODULES:
        skipped = {id(node) for node in docstring_nodes(tree(path))}
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.JoinedStr):
                skipped |= {id(part) for part in node.values}
                yield f"{named(path)}:{node.lineno}", "".join(map(_filled, node.values))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in skipped:
                yield f"{named(path)}:{node.lineno}", _template(node.value) if path.name == "texts.py" else node.value


def _filled(part: ast.expr) -> str:
    if isinstance(part, ast.Constant):
        return str(part.value)
    assert isinstance(part, ast.FormattedValue)
    return SAMPLES.get(ast.unparse(part.value), "1")


def _template(text: str) -> str:
    """A template of a Text, filled in."""
    plain = text.replace("{{", "\0").replace("}}", "\1")
    return (
        re.sub(r"\{([^{}]*)\}", lambda found: SAMPLES.get(found[1], "1"), plain).replace("\0", "{").replace("\1", "}")
    )


def parses(words: str) -> str:
    """What the parser has against a command line; empty when nothing."""
    words = words.partition(" > ")[0]
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
        try:
            build().parse_args(shlex.split(words)[1:])
        except SystemExit as left:
            return said.getvalue() if left.code else ""
    return ""


COMMANDS = sorted(
    {
        (place, found[1] or found[2])
        for place, text in texts()
        for found in COMMAND.finditer(text)
        if not text.startswith(NOT_HINTS)
    }
)


def test_f10_every_command_in_a_message_parses() -> None:
    wrong = [f"{place}: {words}: {told.splitlines()[-2]}" for place, words in COMMANDS if (told := parses(words))]
    assert not wrong, "\n".join(wrong)
    assert len(COMMANDS) > 40


def options(parser: argparse.ArgumentParser) -> set[str]:
    found = set(parser._option_string_actions)
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            found |= {o for one in action.choices.values() for o in options(one)}
    return found


def test_f10_every_option_in_a_message_exists() -> None:
    known = options(build()) | FOREIGN
    wrong = {f"{place}: {o}" for place, text in texts() for o in OPTION.findall(text) if o not in known}
    assert not wrong, "\n".join(sorted(wrong))


FRAGMENT = re.compile(r"`([a-z][A-Za-z_]*: [^`]+)`")
FORMATTED = {"{{": "{", "}}": "}", "{path}": "key.port"}  # of texts that a format call fills in


def fields(schema: object) -> Iterator[str]:
    """Every field that a schema names, wherever it stands."""
    if isinstance(schema, dict):
        yield from schema.get("properties", {})
        for below in schema.values():
            yield from fields(below)
    elif isinstance(schema, list):
        for below in schema:
            yield from fields(below)


def unknown_fields(text: str, known: set[str]) -> list[str]:
    """The outermost fields of YAML in a message that no schema knows."""
    for old, new in FORMATTED.items() if "{{" in text else ():
        text = text.replace(old, new)
    document = yaml.safe_load(text)
    return [name for name in document if name not in known] if isinstance(document, dict) else [text]


def test_f10_yaml_in_a_message_is_yaml_of_a_known_field() -> None:
    known = {*fields(pipeline_schema()), *fields(layout_schema())}
    found = [(place, text) for place, whole in texts() for text in FRAGMENT.findall(whole)]
    wrong = [f"{place}: {text}" for place, text in found if unknown_fields(text, known)]
    assert not wrong, "\n".join(wrong)
    assert len(found) > 5
    assert unknown_fields("mood: skb", known)


@pytest.mark.parametrize(
    "words", ["reloader apply", "reloader confirm", "reloader rolback edge", "reloader show x --mpa y"]
)
def test_the_check_can_fail(words: str) -> None:
    assert parses(words)
