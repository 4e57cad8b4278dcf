"""What runs in the machine, as root: `python -m tests.vm.guest PHASE FOLDER SERIES CONVERSIONS`. See tools/vm.py.

`tests` runs all tests marked `vm`, then holds a reload open until the power goes. `after` is the next boot.
Everything is written to FOLDER, the one place that lasts.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent


def main(phase: str, folder: str, series: str, conversions: str) -> None:
    out = Path(folder)
    os.environ |= {"RELOADER_VM": series, "RELOADER_VM_FOLDER": folder, "PYTHONDONTWRITEBYTECODE": "1"}
    os.environ["RELOADER_VM_CONVERSIONS"] = conversions
    run("mount", "-t", "bpf", "bpf", "/sys/fs/bpf")
    run("ip", "link", "set", "lo", "up")
    if phase == "tests":
        describe(out)
        features(out)
        pytest("tests/vm", "--ignore=tests/vm/test_power_cut.py")
        run(sys.executable, "-m", "tests.vm.power_cut", folder)
    else:
        pytest("tests/vm/test_power_cut.py")


def run(*words: str) -> None:
    subprocess.run(words, cwd=ROOT, check=False)


def describe(out: Path) -> None:
    library = next(Path("/usr/lib").glob("*/libbpf.so.1")).resolve().name
    told = {"Linux": platform.release(), "libbpf": library.removeprefix("libbpf.so."), "CPUs": os.cpu_count()}
    (out / "host.json").write_text(json.dumps({**told, "booted in": f"{time.monotonic():.0f} s"}))


def features(out: Path) -> None:
    with (out / "features.json").open("w") as file:
        words = [sys.executable, "-m", "reloader", "doctor", "--features", "-o", "json"]
        subprocess.run(words, cwd=ROOT, stdout=file, check=False)


def pytest(*words: str) -> None:
    """Each result is written as it comes: tests/vm/conftest.py."""
    run(sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--color=no", "-v", *words)


if __name__ == "__main__":
    main(*sys.argv[1:])
