"""From file arguments to compiled pipelines: directories expanded, duplicate names refused."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from reloader.daemon.sources.files import is_yaml
from reloader.disk.atomic_files import PLAIN, Inputs
from reloader.errors import ENOUGH, InputError, Problem
from reloader.paths import Paths

if TYPE_CHECKING:
    from reloader.engine.apply_request import Intake
    from reloader.pipeline.compile import Compiled


def yaml_files(arguments: list[str]) -> list[Path]:
    """The files named, directories replaced by their *.yaml and *.yml, in order."""
    files: list[Path] = []
    for argument in arguments:
        path = Path(argument)
        found = sorted(p for p in path.iterdir() if is_yaml(p.name)) if path.is_dir() else [path]
        if not found:
            raise InputError([Problem(file=argument, line=0, column=0, path="", message="no *.yaml file in here")])
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
            message = f"pipeline {name!r} is defined in {first[name]} too"
            problems.append(Problem(file=str(path), line=0, column=0, path="metadata.name", message=message))
        first.setdefault(name, path)
    return problems


def intake(
    path: Path, one: Compiled, *, reset: list[str], lossy_rollback: bool, take_over: bool, prune: bool = False
) -> Intake:
    """A compiled pipeline as the engine takes it."""
    from reloader.engine.apply_request import Intake

    mine = [name for name in reset if any(m.name == name for m in one.wish.maps)]
    return Intake(
        wish=one.wish,
        blobs=one.blobs,
        reset=mine,
        lossy_rollback=lossy_rollback,
        prune=prune,
        take_over=take_over,
        source=os.path.abspath(path),
        unrecorded=one.unrecorded,
    )
