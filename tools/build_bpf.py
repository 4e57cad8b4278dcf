"""Compile every *.bpf.c of programs/ and lab/bpf/ into build/bpf/, whatever of it is not up to date.

`python3 tools/build_bpf.py` needs nothing but Python, clang and llvm-strip: it runs before the
virtual environment exists and when a wheel is built. build/bpf/manifest.json records of each object
its digest and the digests of all it was made from, so that "up to date" means content, not time.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SOURCE_DIRS = ("programs", "lab/bpf")
INCLUDE_DIRS = ("programs/include", "programs")
CLANGS = ("clang-19", "clang")
STRIPS = ("llvm-strip-19", "llvm-strip")
CPU = "v3"  # atomics that return a value


class BuildError(Exception):
    """A missing compiler, or what the compiler said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Toolchain:
    clang: str  # path
    strip: str  # path
    identity: str  # changes when the compiler does

    @classmethod
    def find(cls) -> Toolchain:
        clang, strip = _first_of(CLANGS), _first_of(STRIPS)
        facts = [f"{Path(p).resolve().name}:{os.stat(p).st_size}:{os.stat(p).st_mtime_ns}" for p in (clang, strip)]
        return cls(clang=clang, strip=strip, identity=" ".join(facts))

    def version(self) -> str:
        out = subprocess.run([self.clang, "--version"], check=True, capture_output=True, text=True).stdout
        return out.splitlines()[0]


def _first_of(names: Sequence[str]) -> str:
    for name in names:
        if found := shutil.which(name):
            return found
    raise BuildError(f"none of {', '.join(names)} is installed (hint: `make deps` installs clang-19 and llvm-19)")


def sources(root: Path) -> list[str]:
    """All BPF sources, relative to the root and sorted."""
    found = [p for folder in SOURCE_DIRS for p in (root / folder).rglob("*.bpf.c")]
    return sorted(str(p.relative_to(root)) for p in found)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def flags() -> list[str]:
    """Relative include directories and a fixed compilation directory: objects do not depend on where they are built."""
    multiarch = f"/usr/include/{platform.machine()}-linux-gnu"
    own = [f"-I{folder}" for folder in INCLUDE_DIRS]
    return ["-g", "-O2", "-Wall", "-Werror", "-target", "bpf", f"-mcpu={CPU}", *own, "-idirafter", multiarch,
            "-ffile-compilation-dir=."]  # fmt: skip


def compile_object(tools: Toolchain, source: str, target: Path, *, root: Path = ROOT) -> dict[str, str]:
    """Compile one source to `target`; returns the digest of each of the project's files that went into it.

    `source` is relative to `root`, or absolute. The object appears by rename, complete or not at all.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".making-") as scratch:
        made, depfile = Path(scratch) / "object", Path(scratch) / "deps"
        _run([tools.clang, *flags(), "-MMD", "-MF", str(depfile), "-c", source, "-o", str(made)], root)
        _run([tools.strip, "-g", str(made)], root)
        inputs = _inputs(depfile, root)
        made.replace(target)
    return inputs


def _run(command: list[str], cwd: Path) -> None:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BuildError(f"{' '.join(command)}\n{done.stderr}{done.stdout}".rstrip())


def _inputs(depfile: Path, root: Path) -> dict[str, str]:
    """The files that a make rule names as prerequisites, but for the system's."""
    names = depfile.read_text().replace("\\\n", " ").split(":", 1)[1].split()
    own = {os.path.normpath(n) for n in names if not n.startswith("/usr/")}
    return {name: sha256(root / name) for name in sorted(own)}


def build(root: Path = ROOT, out: Path | None = None) -> list[str]:
    """Bring build/bpf/ up to date and return the objects that were compiled; BuildError when one does not compile."""
    out = out or root / "build" / "bpf"
    tools = Toolchain.find()
    known = _read_manifest(out)
    same_tools = known.get("toolchain") == tools.identity and known.get("flags") == flags()
    records: dict[str, Any] = known.get("objects", {}) if same_tools else {}
    names = {object_name(source): source for source in sources(root)}
    stale = [name for name in names if not _is_current(records.get(name), out / name, root)]
    if stale or set(known.get("objects", {})) != set(names):
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            made = pool.map(lambda name: _make(tools, names[name], out / name, root), stale)
            records = {**{n: r for n, r in records.items() if n in names}, **dict(zip(stale, made, strict=True))}
        _write_manifest(out, tools, records)
        _remove_strays(out, set(names))
    _put_examples(root, out)
    return stale


def object_name(source: str) -> str:
    """`programs/a/a.bpf.c` → `programs/a/a.bpf.o`"""
    return source.removesuffix(".c") + ".o"


def _make(tools: Toolchain, source: str, target: Path, root: Path) -> dict[str, Any]:
    inputs = compile_object(tools, source, target, root=root)
    return {"sha256": sha256(target), "source": source, "inputs": inputs}


def _is_current(record: dict[str, Any] | None, target: Path, root: Path) -> bool:
    if record is None or not target.is_file() or sha256(target) != record["sha256"]:
        return False
    return all((root / n).is_file() and sha256(root / n) == digest for n, digest in record["inputs"].items())


def _read_manifest(out: Path) -> dict[str, Any]:
    try:
        data: dict[str, Any] = json.loads((out / "manifest.json").read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return data


def _write_manifest(out: Path, tools: Toolchain, records: dict[str, Any]) -> None:
    data = {
        "compiler": tools.version(),
        "toolchain": tools.identity,
        "flags": flags(),
        "objects": {name: records[name] for name in sorted(records)},
    }
    fresh = out / f".manifest-{os.getpid()}"
    fresh.write_text(json.dumps(data, indent=1) + "\n")
    fresh.replace(out / "manifest.json")


def _remove_strays(out: Path, names: set[str]) -> None:
    """Objects whose source is gone would otherwise be shipped for ever."""
    for path in out.rglob("*.bpf.o"):
        if str(path.relative_to(out)) not in names:
            path.unlink()


def _put_examples(root: Path, out: Path) -> None:
    """Example pipelines name their object as it lies in the wheel: beside them. So they do in the build folder."""
    for source in sorted((root / "programs").rglob("*.yaml")):
        target = out / source.relative_to(root)
        if target.parent.is_dir() and not (target.is_file() and target.read_bytes() == source.read_bytes()):
            shutil.copyfile(source, target)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="compile the BPF objects that are not up to date")
    parser.parse_args(argv)
    try:
        made = build()
    except BuildError as error:
        print(error, file=sys.stderr)
        return 1
    for name in made:
        print(f"compiled build/bpf/{name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
