"""`python -m bench [--only SUBJECT]`: measure, print one table, write build/bench.json."""

from __future__ import annotations

import argparse
import importlib
import json
import sys

from bench import host
from bench.rows import Row, note, table
from lab.traffic import ROOT

SUBJECTS = ("swap", "apply", "validate", "scale", "config", "state", "health", "crash", "verifier", "fuzz", "panic")
REPORT = ROOT / "build" / "bench.json"


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench", description="Measure reloader beside what else does the work.")
    parser.add_argument("--only", choices=SUBJECTS, metavar="SUBJECT", help=f"one of: {', '.join(SUBJECTS)}")
    only = parser.parse_args().only
    about, rows = host.facts(), []
    for subject in [only] if only else SUBJECTS:
        note(subject)
        rows += measured(subject)
    about["load_after"] = host.load()
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.write_text(json.dumps({"host": about, "rows": [r.to_json() for r in rows]}, indent=2) + "\n")
    print("\n".join(table(rows)))
    busy = f"load {about['load_before']} to {about['load_after']}"
    machine = f"{about['cpus']} CPUs, {busy}, kernel {about['kernel']}, Python {about['python']}"
    print(f"\n{machine}: {REPORT.relative_to(ROOT)}")
    return 0


def measured(subject: str) -> list[Row]:
    rows: list[Row] = importlib.import_module(f"bench.{subject}").rows()
    return rows


if __name__ == "__main__":
    sys.exit(main())
