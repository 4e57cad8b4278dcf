"""Count how often one `apply` of a changed object moves between files: `python -m tools.hops`, as root.

A real pipeline is applied in a sandbox, its object is changed, and the `apply` of that change is recorded by
sys.setprofile on the main thread, from the call of the entry function (--entry MODULE:FUNCTION) to its return.

What counts is the *story*: what a reader opens to follow the change.
- A call *acts* when it, or a call below it, enters `reloader/bpf/` or makes a system call on a file (ACTING, IDLE).
- All calls that act belong to the story. Of the calls that do not (they compute), those at most DEPTH calls away from
  one that acts; with DEPTH 3 that is the planner, what it asks, and what that asks in turn.
- Methods that compute, of values that cannot be changed (`@frozen`), do not count: they are read as a field is.
- LEAVES do not count: errors, paths, the kernel's Protocols, fault points, files and locks, bytes and types. What a
  leaf calls is called by the leaf's caller.

files: distinct files of the story.
hops: a call from one file to a function of another; each function counts once, in order of its first such call. The
    entry is the first hop.
returns: hops into a file that an earlier hop went into; this is hops - files.
detours: returns into another file than the one that the hop before went into.

With DEPTH 3, commit 45f2c5f gave 25 files, 58 hops, 33 returns, which is how DEPTH was chosen.
Below the numbers: file names that occur twice below reloader/, and modules that lie directly in it.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from lab.sandbox import Sandbox
from lab.stage import Stage, on_stage
from tools import build_bpf

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "reloader"
ENTRY = "reloader.lifecycle.apply:apply"
DEPTH = 3  # calls that do not act, one below the other
FENCE = "bpf"
LEAVES = frozenset(
    {
        "bpf",
        "disk",
        "pins",
        "process",
        "wording",
        "errors",
        "fault_points",
        "frozen",
        "kernel",
        "paths",
        "structs",
        "btf",
        "effects",
        "elf",
        "files",
        "filters",
        "interrupts",
        "layout",
        "lock",
        "message",
        "printable",
        "record",
        "record_folder",
        "streams",
        "trust",
        "typetree",
    }
)  # the rooms, then what the modules in them were called before
ACTING = frozenset({"posix", "io", "_io", "fcntl"})  # modules of C functions that ask the kernel for something
IDLE = frozenset({"_path_normpath", "fspath", "getcwd", "geteuid", "getpid", "sysconf", "urandom"})  # … but these
UNNAMED = frozenset({"__init__.py", "__main__.py", "texts.py"})  # may occur in each folder


@dataclass(slots=True)
class Call:
    """One call of a function in reloader/, with the calls it made."""

    file: str
    function: str
    of_value: bool  # a method of a class whose values cannot be changed
    acts: bool = False
    calls: list[Call] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hop:
    """A function of another file is called for the first time."""

    origin: str  # the caller's file; empty for the entry
    file: str
    function: str


class Recorder:
    """Records the calls between call and return of one function; `profile` is for sys.setprofile."""

    def __init__(self, entry: CodeType) -> None:
        self.entry = entry
        self.top: Call | None = None
        self.open: list[Call] = []

    def profile(self, frame: FrameType, event: str, what: Any) -> None:
        if event == "c_call":
            if getattr(what, "__module__", None) in ACTING and what.__name__ not in IDLE:
                self._act()
        elif event in ("call", "return") and frame.f_code.co_filename.startswith(f"{PACKAGE}/"):
            self._enter(frame) if event == "call" else self._leave()

    def _enter(self, frame: FrameType) -> None:
        code = frame.f_code
        if not self.open and (self.top or code is not self.entry):
            return
        file = str(Path(code.co_filename).relative_to(PACKAGE))
        call = Call(file, code.co_qualname, of_value=is_value(frame.f_globals.get(code.co_qualname.split(".")[0])))
        if self.open:
            self.open[-1].calls.append(call)
        self.top = self.top or call
        self.open.append(call)
        if room(call.file) == FENCE:
            self._act()

    def _leave(self) -> None:
        if self.open:
            self.open.pop()

    def _act(self) -> None:
        for call in self.open:
            call.acts = True


def is_value(found: object) -> bool:
    """Whether this is a class whose instances refuse to be changed."""
    return isinstance(found, type) and "__setattr__" in vars(found)


def room(file: str) -> str:
    """The part of the package that a file below reloader/ belongs to."""
    return Path(file).parts[0].removesuffix(".py")


def hops_of(entry: Call, depth: int = DEPTH) -> list[Hop]:
    """The hops of a recorded call, in order; see the module for what counts."""
    found: dict[tuple[str, str], Hop] = {(entry.file, entry.function): Hop(origin="", **_place(entry))}
    for caller, call in _story(entry, entry, depth, depth):
        if caller.file != call.file:
            found.setdefault((call.file, call.function), Hop(origin=caller.file, **_place(call)))
    return list(found.values())


def _place(call: Call) -> dict[str, str]:
    return {"file": call.file, "function": call.function}


def _story(at: Call, caller: Call, depth: int, left: int) -> Iterator[tuple[Call, Call]]:
    """Calls of the story below `at`, each with the call of the story that made it. `left`: how many calls that do not
    act may still follow one below the other."""
    for call in at.calls:
        if room(call.file) in LEAVES:
            yield from _story(call, caller, depth, left)
        elif call.acts or (left and not call.of_value):
            yield caller, call
            yield from _story(call, call, depth, depth if call.acts else left - 1)


def numbers(hops: list[Hop]) -> dict[str, int]:
    """Count files, hops, returns and detours."""
    files = [hop.file for hop in hops]
    again = [at for at, file in enumerate(files) if file in files[:at]]
    detours = [at for at in again if files[at] != files[at - 1]]
    return {"files": len(set(files)), "hops": len(files), "returns": len(again), "detours": len(detours)}


def names_used_twice(package: Path) -> dict[str, list[str]]:
    """File names that occur more than once, with their places; a command's file bears the command's name."""
    places = defaultdict[str, list[str]](list)
    for path in sorted(package.rglob("*.py")):
        place = path.relative_to(package)
        if path.name not in UNNAMED and not {"commands", "_shipped"} & set(place.parts):
            places[path.name].append(str(place))
    return {name: found for name, found in places.items() if len(found) > 1}


def loose_modules(package: Path) -> list[str]:
    """Modules that lie directly in the package."""
    return sorted(path.name for path in package.glob("*.py") if path.name not in UNNAMED)


def code_of(entry: str) -> CodeType:
    """The code of MODULE:FUNCTION."""
    module, _, function = entry.partition(":")
    code: CodeType = getattr(importlib.import_module(module), function).__code__
    return code


def record(entry: CodeType) -> Call | None:
    """The recorded `apply` of a changed object; None when the entry was not called."""
    build_bpf.build(ROOT)
    recorder = Recorder(entry)
    with (
        Sandbox() as sandbox,
        tempfile.TemporaryDirectory() as folder,
        on_stage(sandbox, _object, Path(folder)) as stage,
    ):
        for version in ("v1", "v2", "v1"):  # late imports are done with before it counts
            stage.apply(stage.spec(version))
        _record(recorder, stage)
    return recorder.top


def _object(stem: str) -> Path:
    return ROOT / "build" / "bpf" / f"{stem}.bpf.o"


def _record(recorder: Recorder, stage: Stage) -> None:
    spec = stage.spec("v2")
    sys.setprofile(recorder.profile)
    try:
        result = stage.apply(spec)
    finally:
        sys.setprofile(None)
    assert result["changed"], "the object differs, and nothing was changed"


def table(hops: list[Hop]) -> str:
    """One line a hop; `*`: into a file that an earlier hop went into."""
    seen, lines = set[str](), list[str]()
    for at, hop in enumerate(hops, 1):
        lines.append(f"{at:3} {'*' if hop.file in seen else ' '} {hop.origin:24} → {hop.file:24} {hop.function}")
        seen.add(hop.file)
    return "\n".join(lines)


def show(hops: list[Hop], twice: dict[str, list[str]], loose: list[str]) -> None:
    """The table, the numbers, and the names, for people."""
    print(table(hops))
    print("\n{files} files, {hops} hops, {returns} returns ({detours} of them detours)".format(**numbers(hops)))
    print(f"{len(twice)} file names used twice or more:")
    for name, places in twice.items():
        print(f"    {name:20} {' '.join(places)}")
    print(f"{len(loose)} loose modules: {' '.join(loose)}")


def document(hops: list[Hop], twice: dict[str, list[str]], loose: list[str]) -> str:
    """The same as JSON."""
    sequence = [{"from": hop.origin, "file": hop.file, "function": hop.function} for hop in hops]
    return json.dumps({**numbers(hops), "sequence": sequence, "namesUsedTwice": twice, "looseModules": loose}, indent=2)


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.hops", description="Count the hops of one apply.")
    parser.add_argument("--entry", default=ENTRY, metavar="MODULE:FUNCTION", help="what is recorded")
    parser.add_argument("--depth", type=int, default=DEPTH, metavar="N", help="of calls that only compute")
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text")
    args = parser.parse_args(words)
    if os.geteuid():
        parser.error("needs root")
    top = record(code_of(args.entry))
    if top is None:
        parser.error(f"apply did not call {args.entry}: name the function that does the work now")
    hops, twice, loose = hops_of(top, args.depth), names_used_twice(PACKAGE), loose_modules(PACKAGE)
    if args.output == "json":
        print(document(hops, twice, loose))
    else:
        show(hops, twice, loose)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
