"""What pyproject.toml cannot say: compiled BPF objects, schemas and state layouts go into the wheel.

At build time, so that the machine that installs the wheel needs no compiler. An editable install
copies nothing: reloader.paths finds the same files in the checkout.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT))

from tools import build_bpf  # noqa: E402  # the tree is not on the path of an isolated build

DATA_DIRS = ("schemas", "state", "programs")
DATA_SUFFIXES = {".json", ".yaml", ".yml", ".md", ".csv", ".h"}


class BuildWithShipped(build_py):
    """build_py, and after it reloader/_shipped/ in the build directory."""

    def run(self) -> None:
        if not self.editable_mode:
            # What an earlier build left would be shipped too, files that are gone included.
            shutil.rmtree(self.build_lib, ignore_errors=True)
        super().run()
        if not self.editable_mode:
            ship(Path(self.build_lib) / "reloader" / "_shipped")


def ship(target: Path) -> None:
    """Fill `target` with {schemas,state,programs}/ and manifest.json, which has a digest for every object."""
    build_bpf.build(ROOT)
    built = ROOT / "build" / "bpf"
    for folder in DATA_DIRS:
        (target / folder).mkdir(parents=True, exist_ok=True)
        for path in (p for p in (ROOT / folder).rglob("*") if p.suffix in DATA_SUFFIXES):
            _copy(path, target / path.relative_to(ROOT))
    for path in (built / "programs").rglob("*.bpf.o"):
        _copy(path, target / path.relative_to(built))
    (target / "manifest.json").write_text(json.dumps(shipped_manifest(built), indent=1) + "\n")


def shipped_manifest(built: Path) -> dict[str, object]:
    """The build's manifest, reduced to the programs that go into the wheel."""
    whole = json.loads((built / "manifest.json").read_text())
    objects = {n: {"sha256": r["sha256"]} for n, r in whole["objects"].items() if n.startswith("programs/")}
    return {"compiler": whole["compiler"], "objects": objects}


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


setup(cmdclass={"build_py": BuildWithShipped})
