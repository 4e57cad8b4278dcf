"""validate: a whole process, which keeps no cache, beside a bare interpreter. Imports bench only."""

from __future__ import annotations

from bench.apply import bare_python, beside_python
from bench.rows import Row, in_turn, note
from bench.stage import stage

RUNS = 21


def rows() -> list[Row]:
    note(f"validate: {RUNS} times")
    with stage() as opened:
        path = opened.write(entries="entries: [{key: 192.0.2.66, value: {action: XDP_DROP}}]")
        opened.seconds("validate", path)
        ours, bare = in_turn(RUNS, lambda: opened.seconds("validate", path), lambda: bare_python(opened))
    return [beside_python("validate", ours, bare, most=12)]
