"""gated.py with a link made outside fault_points.lasting: what the audit must catch, or it proves nothing."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TypeVar

from lab.crash.gated import gate
from reloader import fault_points
from reloader.bpf import links
from reloader.cli import main

T = TypeVar("T")


def bypass(_name: str, effect: Callable[[], T]) -> T:
    return effect()


if __name__ == "__main__":
    mode, when, point, _, *words = sys.argv[1:]
    fault_points.install(gate(mode, when, point))
    vars(links)["lasting"] = bypass
    sys.exit(main(words))
