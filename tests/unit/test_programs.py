"""The shipped programs: each folder whole, its example valid, its sources in the house's order."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from reloader import cli

ROOT = Path(__file__).resolve().parent.parent.parent
SOURCES = sorted((ROOT / "programs").glob("*/*.bpf.c"))
ENGINES = frozenset({"migrate", "panic"})  # run by reloader itself: no pipeline, so no example
PIPELINES = [source for source in SOURCES if source.parent.name not in ENGINES]
ALL_SOURCES = sorted([*SOURCES, *(ROOT / "lab" / "bpf").glob("*.bpf.c")])


def named(path: Path) -> str:
    return path.name


@pytest.mark.parametrize("source", SOURCES, ids=named)
def test_a_folder_is_whole(source: Path) -> None:
    stem = source.name.removesuffix(".bpf.c")
    wanted = {f"{stem}.h"} | ({f"{stem}.yaml", "README.md"} if source in PIPELINES else set())
    assert wanted <= {p.name for p in source.parent.iterdir()}


@pytest.mark.parametrize("source", PIPELINES, ids=named)
def test_the_example_is_valid(
    source: Path, objects: Callable[[str], Path], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    stem = source.name.removesuffix(".bpf.c")
    built = objects(f"programs/{stem}/{stem}")
    assert cli.main(["validate", str(built.with_name(f"{stem}.yaml")), "--records", str(tmp_path)]) == 0, (
        capsys.readouterr()
    )


@pytest.mark.kernel
@pytest.mark.parametrize("source", PIPELINES, ids=named)
def test_the_example_passes_its_own_tests(
    source: Path, objects: Callable[[str], Path], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    stem = source.name.removesuffix(".bpf.c")
    built = objects(f"programs/{stem}/{stem}")
    assert cli.main(["test", str(built.with_name(f"{stem}.yaml")), "--records", str(tmp_path)]) == 0, (
        capsys.readouterr()
    )
    assert "passed" in capsys.readouterr().out


@pytest.mark.parametrize("source", ALL_SOURCES, ids=named)
def test_sources_keep_the_order_of_the_house(source: Path) -> None:
    """Licence first; structs and maps before functions, programs last; a comment over each map."""
    text = source.read_text()
    assert text.startswith("// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0\n")
    assert "#ifdef" not in text
    assert not re.search(r'#include ".*\.c"', text)
    maps = [m.start() for m in re.finditer(r"^struct \{", text, re.MULTILINE)]
    assert all(text[:at].rstrip().endswith("*/") for at in maps)
    functions = [m.start() for m in re.finditer(r"^static __always_inline", text, re.MULTILINE)]
    programs = [m.start() for m in re.finditer(r'^SEC\("xdp"\)', text, re.MULTILINE)]
    order = [max(maps, default=0), min(functions, default=len(text)), max(functions, default=0)]
    assert order[0] < order[1]
    assert all(max(order[0], order[2]) < at for at in programs)
