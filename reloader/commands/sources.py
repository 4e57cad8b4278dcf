"""From file arguments to compiled pipelines: directories expanded, duplicate names refused."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from reloader.commands import texts
from reloader.daemon.sources.files import is_yaml
from reloader.disk.atomic_files import PLAIN, Inputs
from reloader.errors import ENOUGH, InputError, Problem
from reloader.paths import Paths

if TYPE_CHECKING:
    from reloader.engine.apply_request import ApplyRequest
    from reloader.pipeline.compile import Compiled


def yaml_files(arguments: list[str]) -> list[Path]:
    """The files named, directories replaced by their *.yaml and *.yml, in order."""
    files: list[Path] = []
    for argument in arguments:
        path = Path(argument)
        found = sorted(p for p in path.iterdir() if is_yaml(p.name)) if path.is_dir() else [path]
        if not found:
            raise InputError([Problem.at(argument, texts.NO_YAML_FILE())])
        files += found
    return files


def compiled(arguments: list[str], paths: Paths) -> list[tuple[Path, Compiled]]:
    """Every pipeline of the named files, by the cache; InputError with all problems of all files."""
    from reloader.pipeline.cache import load_wishes

    return _read(arguments, lambda path: load_wishes(path, paths))


def checked(arguments: list[str], inputs: Inputs = PLAIN) -> list[tuple[Path, Compiled]]:
    """The same without a record directory: nothing is cached or written. `inputs` opens the files."""
    from reloader.pipeline.compile import compile_file

    return _read(arguments, lambda path: compile_file(path, inputs))


def _read(arguments: list[str], read: Callable[[Path], tuple[Compiled, ...]]) -> list[tuple[Path, Compiled]]:
    pairs: list[tuple[Path, Compiled]] = []
    problems: list[Problem] = []
    for path in yaml_files(arguments):
        try:
            pairs += [(path, one) for one in read(path)]
        except InputError as error:
            problems += error.problems
        if len(problems) >= ENOUGH:
            break
    if problems or (problems := _twice(pairs)):
        raise InputError(problems)
    return pairs


def _twice(pairs: list[tuple[Path, Compiled]]) -> list[Problem]:
    first: dict[str, Path] = {}
    problems = []
    for path, one in pairs:
        name = one.wish.pipeline
        if name in first:
            problems.append(
                Problem.at(str(path), texts.DEFINED_TWICE(pipeline=name, file=first[name]), path="metadata.name")
            )
        first.setdefault(name, path)
    return problems


def intake(path: Path, one: Compiled, args: argparse.Namespace) -> ApplyRequest:
    """A compiled pipeline as the engine takes it, with the options of parser.change_options."""
    from reloader.engine.apply_request import ApplyRequest

    mine = [name for name in args.reset if any(m.name == name for m in one.wish.maps)]
    return ApplyRequest(
        wish=one.wish,
        blobs=one.blobs,
        reset=mine,
        lossy_rollback=args.allow_lossy_rollback,
        prune=args.prune,
        take_over=args.take_over,
        source=os.path.abspath(path),
        unrecorded=one.unrecorded,
    )
