"""docs/kernels.md from what `reloader doctor --features` said: `python -m tools.feature_table`, after `make test-vm`.

A column for each kernel that was booted, and one for the machine this runs on.
"""

from __future__ import annotations

import json
import platform
import re
import subprocess
import sys
from typing import Any

from tools.vm_kernels import ROOT, SERIES

TARGET = ROOT / "docs" / "kernels.md"
TEXT = """\
# What kernels have

Output of `reloader doctor --features`, as root: each thing is tried, no version is looked at. 6.1 and 6.12 are
Debian 12's stock kernels, booted by `make test-vm`, which fails when they lack anything else; {here} is the kernel
of a hardened sandbox that refuses BPF trampolines. `python -m tools.feature_table` writes this page.

| feature | {columns} | what for |
|---|{rule}---|
{rows}

Met on the way: before 6.4 map operations return `int`, and a program finds anything in the upper half of the
register, so look at the result of `bpf_map_update_elem` as an `int`; the verifier of 6.1 does not carry the bound of
a 32-bit comparison over to the register's upper half.
"""


def main() -> int:
    here = ".".join(re.findall(r"\d+", platform.release())[:2])
    found = {series: json.loads((ROOT / "build" / "vm" / series / "features.json").read_text()) for series in SERIES}
    words = [sys.executable, "-m", "reloader", "doctor", "--features", "-o", "json"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    found[here] = json.loads(done.stdout)
    TARGET.write_text(page(found, here))
    return 0


def page(found: dict[str, Any], here: str) -> str:
    by_name = {series: {f["name"]: f["presence"] for f in document["features"]} for series, document in found.items()}
    rows = [
        f"| `{f['name']}` | {' | '.join(by_name[series].get(f['name'], '?') for series in found)} | {f['purpose']} |"
        for f in found[here]["features"]
    ]
    return TEXT.format(here=here, columns=" | ".join(found), rule="---|" * len(found), rows="\n".join(rows))


if __name__ == "__main__":
    sys.exit(main())
