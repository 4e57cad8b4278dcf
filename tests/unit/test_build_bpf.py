"""tools/build_bpf.py: objects follow content, a manifest says what they are, and failures leave nothing half done."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tools import build_bpf

SOURCE = """
#include "shared.h"
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
SEC("xdp") int pass(struct xdp_md *ctx) { return VERDICT; }
char LICENSE[] SEC("license") = "GPL";
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A project with two programs, one of which includes a header."""
    for folder in ("programs/include", "programs/a", "lab/bpf"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "programs/include/shared.h").write_text("#define VERDICT XDP_PASS\n")
    (tmp_path / "programs/a/a.bpf.c").write_text(SOURCE)
    (tmp_path / "lab/bpf/b.bpf.c").write_text(SOURCE.replace('#include "shared.h"', "#define VERDICT XDP_DROP"))
    return tmp_path


def manifest(tree: Path) -> dict[str, dict[str, object]]:
    objects: dict[str, dict[str, object]] = json.loads((tree / "build/bpf/manifest.json").read_text())["objects"]
    return objects


def test_everything_is_compiled_once(tree: Path) -> None:
    assert build_bpf.build(tree) == ["lab/bpf/b.bpf.o", "programs/a/a.bpf.o"]
    assert build_bpf.build(tree) == []


def test_time_alone_compiles_nothing(tree: Path) -> None:
    build_bpf.build(tree)
    os.utime(tree / "programs/a/a.bpf.c", (1, 1))
    assert build_bpf.build(tree) == []


def test_a_header_compiles_what_includes_it(tree: Path) -> None:
    build_bpf.build(tree)
    before = manifest(tree)["programs/a/a.bpf.o"]["sha256"]
    (tree / "programs/include/shared.h").write_text("#define VERDICT XDP_DROP\n")
    assert build_bpf.build(tree) == ["programs/a/a.bpf.o"]
    assert manifest(tree)["programs/a/a.bpf.o"]["sha256"] != before


@pytest.mark.parametrize("damage", [Path.unlink, lambda p: p.write_bytes(b"\x7fELF")], ids=["gone", "cut"])
def test_a_damaged_object_is_made_again(tree: Path, damage: object) -> None:
    build_bpf.build(tree)
    assert callable(damage)
    damage(tree / "build/bpf/lab/bpf/b.bpf.o")
    assert build_bpf.build(tree) == ["lab/bpf/b.bpf.o"]


def test_the_manifest_has_the_digests(tree: Path) -> None:
    build_bpf.build(tree)
    for name, record in manifest(tree).items():
        assert build_bpf.sha256(tree / "build/bpf" / name) == record["sha256"]


def test_an_object_without_a_source_goes(tree: Path) -> None:
    build_bpf.build(tree)
    (tree / "lab/bpf/b.bpf.c").unlink()
    build_bpf.build(tree)
    assert not (tree / "build/bpf/lab/bpf/b.bpf.o").exists()
    assert set(manifest(tree)) == {"programs/a/a.bpf.o"}


def test_objects_do_not_depend_on_the_place(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    build_bpf.build(tree)
    moved = tmp_path_factory.mktemp("elsewhere") / "tree"
    tree.rename(moved)
    digests = {name: record["sha256"] for name, record in manifest(moved).items()}
    for name in digests:
        (moved / "build/bpf" / name).unlink()
    build_bpf.build(moved)
    assert {name: record["sha256"] for name, record in manifest(moved).items()} == digests


def test_an_error_says_what_the_compiler_said(tree: Path) -> None:
    build_bpf.build(tree)
    (tree / "programs/include/shared.h").write_text("#define VERDICT nonsense\n")
    with pytest.raises(build_bpf.BuildError, match="nonsense"):
        build_bpf.build(tree)
    assert not list((tree / "build").rglob(".making-*"))
    (tree / "programs/include/shared.h").write_text("#define VERDICT XDP_PASS\n")
    assert build_bpf.build(tree) == []


def test_a_missing_compiler_is_named(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tree))
    with pytest.raises(build_bpf.BuildError, match="clang-19"):
        build_bpf.build(tree)


def test_examples_lie_beside_their_objects(tree: Path) -> None:
    example = tree / "programs/a/a.yaml"
    for text in ("first", "second"):
        example.write_text(text)
        build_bpf.build(tree)
        assert (tree / "build/bpf/programs/a/a.yaml").read_text() == text
