"""verifier.*: how many of the refused programs of the corpus get the sentence expected of them, on this kernel."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench.rows import Row, note
from lab import corpus
from lab.traffic import ROOT
from tools import build_bpf

LESS = ["setpriv", "--bounding-set", "-sys_admin,-perfmon"]


def rows() -> list[Row]:
    wanted = corpus.expected()
    note(f"verifier: {len(wanted)} programs that the kernel refuses")
    told = explanations()
    right = sum(told.get(name) == (one["code"], one["says"]) for name, one in wanted.items())
    return [
        Row(
            name="verifier.explained", value=right, unit="programs", n=1, baseline="programs of the corpus",
            baseline_value=len(wanted),
        )
    ]  # fmt: skip


def explanations() -> dict[str, tuple[str, str]]:
    """(class, sentence) of every program that was refused; one process a file."""
    tools, found = build_bpf.Toolchain.find(), {}
    with tempfile.TemporaryDirectory() as folder:
        for source in corpus.SOURCES:
            target = Path(folder) / f"{source.name}.o"
            build_bpf.compile_object(tools, str(source), target)
            found.update(asked(target, LESS if source.name.startswith(corpus.UNPRIVILEGED) else []))
    return found


def asked(target: Path, prefix: list[str]) -> dict[str, tuple[str, str]]:
    command = [*prefix, sys.executable, "-m", "lab.corpus", str(target)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    told: dict[str, Any] = json.loads(done.stdout)
    return {name: (one["code"], one["sentence"]) for name, one in told.items() if one}
