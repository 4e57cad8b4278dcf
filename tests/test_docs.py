"""What the documents say is what happens: README's commands run as printed and print what is printed there; every
command has its help, and the README names each.

The tour of the README runs in a sandbox, from its first `reloader init` to the last block. Numbers, times, ids and
digests differ from run to run; all else in a documented answer must be in the real one.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.sandbox import Sandbox
from reloader import errors
from reloader.commands.parser import build
from reloader.paths import DEFAULT_BPFFS

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
DOCUMENTS = sorted(ROOT.glob("*.md"))
Subcommands = argparse._SubParsersAction  # the only way to walk a parser


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One command of a ```console block, and the answer printed below it (empty: none is shown)."""

    command: str
    answer: tuple[str, ...]


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def examples(text: str) -> list[Example]:
    """All commands of a document, in order."""
    found: list[Example] = []
    for block in blocks(text, "console"):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, *answer = part.rstrip("\n").split("\n")
            found.append(Example(command=command, answer=tuple(answer)))
    return found


# the command line


def parsers() -> dict[str, argparse.ArgumentParser]:
    """Every command by its words, as `apply` and `state diff`."""
    return dict(_walk(build(), ""))


def _walk(parser: argparse.ArgumentParser, words: str) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    inner = [a for a in parser._actions if isinstance(a, Subcommands)]
    if words:
        yield words, parser
    for action in inner:
        for name, child in action.choices.items():
            yield from _walk(child, f"{words} {name}".strip())


def helped(*words: str) -> str:
    """What --help prints, in this process."""
    from reloader import cli

    out = io.StringIO()
    with contextlib.redirect_stdout(out), pytest.raises(SystemExit) as left:
        cli.main([*words, "--help"])
    assert left.value.code == 0
    return out.getvalue()


def exit_codes(kind: type[errors.ReloaderError] = errors.ReloaderError) -> set[int]:
    return {kind.exit_code}.union(*(exit_codes(child) for child in kind.__subclasses__()))


@pytest.mark.parametrize("words", ["", *parsers()], ids=lambda w: w or "reloader")
def test_help_runs_and_tells_the_exit_codes(words: str) -> None:
    text = helped(*words.split())
    assert text.startswith(f"usage: reloader {words}".rstrip())
    for code in sorted({0, 2} | exit_codes()):
        assert re.search(rf"(^|\s){code}  ", text), f"exit code {code} is not explained"


def test_help_runs_as_installed_and_as_a_module() -> None:
    for command in ([sys.executable, "-m", "reloader"], [str(Path(sys.executable).with_name("reloader"))]):
        done = subprocess.run([*command, "--help"], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("usage: reloader"), done.stdout


def test_help_lists_every_command_with_a_line() -> None:
    text = helped()
    for words in parsers():
        if " " not in words:
            assert re.search(rf"^    {words}\s+\S.*", text, re.MULTILINE), words


def named_in(text: str) -> set[str]:
    """Commands that a text names as `reloader WORD`, in blocks and within sentences."""
    code = "\n".join([*blocks(text, "console"), *re.findall(r"`([^`\n]+)`", text)])
    return set(re.findall(r"(?<![\w/.-])reloader ([a-z]+)", code))


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: p.name)
def test_documents_name_only_commands_that_exist(path: Path) -> None:
    assert named_in(path.read_text()) <= set(parsers())


def test_the_readme_names_every_command() -> None:
    commands = {words for words in parsers() if " " not in words}
    assert commands - named_in(README) == set()


def test_options_in_the_readme_exist() -> None:
    for example in examples(README):
        words = example.command.removeprefix("sudo ").split()
        if words[0] != "reloader":
            continue
        parser = max((p for p in parsers().items() if " ".join(words[1:]).startswith(p[0])), key=lambda p: len(p[0]))[1]
        known = {option for action in parser._actions for option in action.option_strings}
        assert {w for w in words if w.startswith("-")} <= known, example.command


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: p.name)
def test_make_targets_and_links_exist(path: Path) -> None:
    text = path.read_text()
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"(?:^\$ |`|^    )make ([a-z]+)", text, re.MULTILINE)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"make {target}"
    for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
        assert (path.parent / link).exists(), link


# the tour


class Tour:
    """The README's files in a folder, an interface of the name it uses, and `reloader` and `sudo` on the path."""

    def __init__(self, sandbox: Sandbox, objects: Callable[[str], Path], folder: Path) -> None:
        self.sandbox, self.folder = sandbox, folder / "tour"
        self.folder.mkdir()
        self.bin = folder / "bin"
        self.bin.mkdir()
        self._script("reloader", f'exec {sys.executable} -m reloader "$@"')
        self._script("sudo", 'exec "$@"')
        for name, stem in (
            ("my", "programs/flow_count/flow_count"),
            ("v1", "programs/flow_count/flow_count"),
            ("v3", "lab/bpf/flow_count_v3"),
        ):
            shutil.copyfile(objects(stem), self.folder / f"{name}.bpf.o")
        sandbox.rx.run("ip", "link", "add", "rl0", "type", "veth", "peer", "name", "rl1")
        self.file = self.folder / "edge.yaml"
        self.times: dict[str, int] = {}

    def _script(self, name: str, text: str) -> None:
        path = self.bin / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    def run(self, command: str) -> str:
        """All that a command prints. What stands between two commands in the text is done here, by hand."""
        self.times[command] = self.times.get(command, 0) + 1
        self.before(command, self.times[command])
        done = subprocess.run(
            self.sandbox.rx.command("sh", "-c", command), cwd=self.folder, env=self.environment(),
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=60,
        )  # fmt: skip
        assert done.returncode == self.expected(command), f"$ {command}\nexit {done.returncode}\n{done.stdout}"
        return done.stdout.replace(self.sandbox.bpffs, DEFAULT_BPFFS)

    def before(self, command: str, time: int) -> None:
        """The edits that the reader is told to make."""
        match command.removeprefix("sudo "), time:
            case "reloader validate edge.yaml", 1:
                (text,) = [t for t in blocks(README, "yaml") if "metadata: {name: edge}" in t]
                self.edited_first_yaml()
                self.file.write_text(text)
            case "reloader apply edge.yaml", 2:
                self.edit("entries: [", "entries: [{key: 192.0.2.67, value: {action: XDP_DROP}}, ")
            case "reloader apply edge.yaml", 4:
                self.edit("  attach:", "  rodata: {sample_rate: 1}\n  attach:")
            case "reloader test edge.yaml", 1:
                (text,) = [t for t in blocks(README, "yaml") if t.startswith("  test:")]
                self.file.write_text(self.file.read_text() + text)
            case "reloader apply edge.yaml", 5:
                self.edit("rodata: {", "rodata: {default_verdict: XDP_DROP, ")
            case "reloader validate edge.yaml", 2:
                self.edit("role: config", "role: confg")

    def edited_first_yaml(self) -> None:
        """Check that what `init` wrote is valid after the edits that the README names, and not before."""
        document = yaml.safe_load(self.file_text())
        validate = self.sandbox.rx.command("reloader", "validate", "edge.yaml")
        options: dict[str, Any] = {
            "cwd": self.folder,
            "env": self.environment(),
            "check": False,
            "capture_output": True,
        }
        assert subprocess.run(validate, **options).returncode == 65
        document["metadata"]["name"] = "edge"
        document["spec"]["attach"][0]["interface"] = "rl0"
        (wanted,) = [yaml.safe_load(t) for t in blocks(README, "yaml") if "metadata: {name: edge}" in t]
        undecided = [n for n, m in document["spec"]["maps"].items() if m["role"] == "TODO"]
        assert undecided
        for name in undecided:
            document["spec"]["maps"][name] = wanted["spec"]["maps"][name]
        assert document == wanted
        self.file.write_text(yaml.safe_dump(document))
        assert subprocess.run(validate, **options).returncode == 0

    def expected(self, command: str) -> int:
        if "default_verdict: XDP_DROP" in self.file_text() and " apply " in command:
            return 1
        return 65 if "confg" in self.file_text() and " validate " in command else 0

    def file_text(self) -> str:
        return self.file.read_text() if self.file.exists() else ""

    def edit(self, old: str, new: str) -> None:
        assert old in self.file_text(), f"the README's YAML has no {old!r} any more"
        self.file.write_text(self.file_text().replace(old, new, 1))

    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "PATH": f"{self.bin}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "RELOADER_BPFFS": self.sandbox.bpffs,
            "RELOADER_RECORDS": str(self.sandbox.records),
        }


def shape(line: str) -> str:
    """A line without what differs from run to run: numbers, digests, the width of columns."""
    line = re.sub(r"\b\d{4}-\d\d-\d\dT[\d:+]+", "TIME", line)
    line = re.sub(r"\b(?=[0-9a-f]*\d)[0-9a-f]{8,}\b", "DIGEST", line)
    line = re.sub(r"\d+(,\d+)*", "N", line)
    return re.sub(r"\s+", " ", line).strip()


def unlike(answer: tuple[str, ...], printed: str) -> list[str]:
    """Documented lines that the real answer does not have, in this order."""
    rest = iter([shape(line) for line in printed.splitlines()])
    return [line for line in answer if shape(line) not in rest]


@pytest.mark.kernel
def test_the_tour_of_the_readme(sandbox: Sandbox, objects: Callable[[str], Path], tmp_path: Path) -> None:
    """Every console block, in order, literally."""
    tour = Tour(sandbox, objects, tmp_path)
    wrong, ran = [], 0
    for example in examples(README):
        if example.command.startswith("make "):
            continue  # it is this very suite, or the demo, which takes a minute
        printed = tour.run(example.command)
        wrong += [f"$ {example.command}\n{printed}does not print: {line}" for line in unlike(example.answer, printed)]
        ran += 1
    assert not wrong, "\n\n".join(wrong)
    assert ran >= 10
    tour.run("reloader remove edge --state")


def test_a_wrong_answer_is_noticed() -> None:
    """Sabotage: another word, a missing line, another order."""
    printed = "edge: generation 7 is live after 120 ms\n  ~ map blocklist: entries: 2 added\n"
    assert unlike(("edge: generation 2 is live after 20 ms", "  ~ map blocklist: entries: 1 added"), printed) == []
    assert unlike(("edge: generation 2 runs in 20 ms",), printed)
    assert unlike(("  ~ map blocklist: entries: 1 added", "edge: generation 2 is live after 20 ms"), printed)
    assert unlike(("and more",), printed)


def test_examples_are_read_as_they_stand() -> None:
    text = "a\n```console\n$ one --two\nthree\n  four\n$ five\n```\n```yaml\n$ six\n```\n"
    assert examples(text) == [
        Example(command="one --two", answer=("three", "  four")),
        Example(command="five", answer=()),
    ]
