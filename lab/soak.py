"""`make soak MINUTES=30`: rounds of new versions, conversions, configuration changes and rollbacks under full traffic.

After each round every packet is accounted for, and nothing may have grown: descriptors, this process's memory, pins,
the machine's programs and maps of ours, files in the record directory. Stops at the first loss. Exits 1 then.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import resource
import sys
import time
from dataclasses import dataclass, fields

from lab.demo import Demo, stage
from lab.sandbox import LabError
from lab.traffic import Generator, settle
from reloader import cli

FLOWS = 10_000
SETTLING = 3  # rounds until caches are warm and twenty generations are stored
ROUND = ("v1", "v2", "v3", "rollback", "v2", "config", "v3", "v1")
MOST = {"descriptors": 0, "pins": 0, "files": 8, "mebibytes": 24}  # of growth over all rounds


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What a leak would show in."""

    descriptors: int
    pins: int
    files: int
    mebibytes: int

    def grown(self, since: Held) -> list[str]:
        more = {f.name: getattr(self, f.name) - getattr(since, f.name) for f in fields(self)}
        return [f"{name}: {count} more" for name, count in more.items() if count > MOST[name]]


def held(demo: Demo) -> Held:
    return Held(
        descriptors=len(os.listdir("/proc/self/fd")),
        pins=len(demo.sandbox.pins()),
        files=sum(len(names) for _, _, names in os.walk(demo.sandbox.records)),
        mebibytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10,
    )


def quietly(demo: Demo, *words: str) -> None:
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        code = cli.main([*words, *demo.where, "-q"])
    if code:
        raise LabError(f"{' '.join(words)}: exit {code}")


def one_round(demo: Demo) -> None:
    for turn in ROUND:
        if turn == "rollback":
            quietly(demo, "rollback", "edge")
        elif turn == "config":
            quietly(demo, "apply", str(demo.write("v2", "192.0.2.66", "192.0.2.67")))
        else:
            quietly(demo, "apply", str(demo.write(turn, "192.0.2.66")))


def soak(demo: Demo, generator: Generator, minutes: float) -> tuple[int, int]:
    """Rounds until the time is up: how many, and packets sent; LabError at the first loss or leak."""
    quietly(demo, "apply", str(demo.write("v1", "192.0.2.66")))
    end, number, start = time.monotonic() + minutes * 60, 0, None
    while time.monotonic() < end:
        generator.start()
        one_round(demo)
        generator.stop()
        number += 1
        balance = settle(generator, lambda: demo.seen().packets)
        seen = demo.seen()
        lost = seen.packets - seen.uncounted - seen.in_flows
        if balance.lost or lost:
            raise LabError(f"round {number}: {balance.lost} packets and {lost} counts lost")
        if number == SETTLING:
            start = held(demo)
        if start and (grown := held(demo).grown(start)):
            raise LabError(f"round {number}: {', '.join(grown)}")
        print(f"round {number}: {balance.traffic.delivered:,} packets, 0 lost, {held(demo)}", flush=True)
    return number, generator.traffic().delivered


def main() -> int:
    parser = argparse.ArgumentParser(prog="soak", description="Reload under full traffic for a long time.")
    parser.add_argument("--minutes", type=float, default=30)
    minutes = parser.parse_args().minutes
    with stage() as demo, Generator(demo.sandbox.tx, flows=FLOWS) as generator:
        try:
            rounds, packets = soak(demo, generator, minutes)
        except LabError as error:
            print(f"soak: {error}", file=sys.stderr)
            return 1
        finally:
            quietly(demo, "remove", "edge", "--state")
    print(f"{rounds} rounds of {len(ROUND)} reloads, {packets:,} packets, nothing lost, nothing grown")
    return 0


if __name__ == "__main__":
    sys.exit(main())
