"""`make soak MINUTES=30`, `make soak RELOADS=10000`: new versions, conversions, configuration changes and rollbacks
under traffic, for so long or so often.

After each round every packet is accounted for, and nothing may have grown: descriptors, this process's memory, pins,
programs, maps and links of ours in the kernel, files in the record directory. Stops at the first loss. Exits 1 then.
By RELOADS the traffic has a fixed rate, so that the number of reloads is what counts; what is held is said at the
start, in the middle and at the end, and stands in build/soak.json.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from lab.demo import Demo, stage
from lab.sandbox import LabError
from lab.traffic import ROOT, Generator, settle
from reloader import cli

FLOWS = 10_000
RATE = 20_000  # packets a second, when reloads are counted
SETTLING = 3  # rounds until caches are warm and twenty generations are stored
ROUND = ("v1", "v2", "v3", "rollback", "v2", "config", "v3", "v1")
MOST = {"descriptors": 0, "pins": 0, "files": 8, "kibibytes": 24 << 10, "programs": 0, "maps": 0, "links": 0}
"""Of growth over all rounds."""
FREED = 10.0  # seconds that the kernel has to free what was let go


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What a leak would show in."""

    descriptors: int
    pins: int
    files: int  # in the record directory
    kibibytes: int  # resident, of this process
    programs: int  # of this sandbox, whoever holds them
    maps: int  # of these programs
    links: int

    def grown(self, since: Held) -> list[str]:
        more = {f.name: getattr(self, f.name) - getattr(since, f.name) for f in fields(self)}
        return [f"{name}: {count} more" for name, count in more.items() if count > MOST[name]]


@dataclass(slots=True)
class Soaked:
    """How it went so far."""

    rounds: int = 0
    reloads: int = 0
    packets: int = 0
    held: list[tuple[int, Held]] = field(default_factory=list)  # reloads done -> what was held then


def held(demo: Demo) -> Held:
    return Held(
        descriptors=len(os.listdir("/proc/self/fd")),
        pins=len(demo.sandbox.pins()),
        files=sum(len(names) for _, _, names in os.walk(demo.sandbox.records)),
        kibibytes=int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 10,
        **objects(demo),
    )


def objects(demo: Demo) -> dict[str, int]:
    """What the kernel holds of this sandbox: programs name its namespace in their metadata."""
    programs = [p for p in _bpftool("prog") if demo.sandbox.name in p.get("metadata", {}).get("attach", "")]
    ids = {p["id"] for p in programs}
    links = [link for link in _bpftool("link") if link.get("prog_id") in ids]
    return {"programs": len(ids), "maps": len({m for p in programs for m in p.get("map_ids", ())}), "links": len(links)}


def _bpftool(kind: str) -> list[dict[str, Any]]:
    """Objects of the whole machine; those of others may vanish while bpftool looks, which it is asked again for."""
    for _ in range(20):
        done = subprocess.run(["bpftool", "-j", kind, "show"], capture_output=True, text=True, check=False)
        with contextlib.suppress(ValueError):
            found = json.loads(done.stdout)
            if isinstance(found, list):
                return found
        time.sleep(0.1)
    raise LabError(f"bpftool {kind} show: {done.stderr.strip() or done.stdout.strip()[:200]}")


def settled(demo: Demo, start: Held) -> Held:
    """What is held, once the kernel has freed what was let go."""
    deadline = time.monotonic() + FREED
    while (now := held(demo)).grown(start) and time.monotonic() < deadline:
        time.sleep(0.2)
    return now


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


def soak(demo: Demo, generator: Generator, minutes: float, reloads: int) -> Soaked:
    """Rounds until the time is up, or until so many reloads are done; LabError at the first loss or leak."""
    quietly(demo, "apply", str(demo.write("v1", "192.0.2.66")))
    end, so_far, start = time.monotonic() + minutes * 60, Soaked(), None
    while so_far.reloads < reloads if reloads else time.monotonic() < end:
        generator.start(rate=RATE if reloads else None)
        one_round(demo)
        generator.stop()
        so_far.rounds += 1
        so_far.reloads += len(ROUND)
        check_balance(demo, generator, so_far)
        if so_far.rounds == SETTLING:
            start = held(demo)
        now = settled(demo, start) if start else held(demo)
        if start and (grown := now.grown(start)):
            raise LabError(f"round {so_far.rounds}: {', '.join(grown)}")
        note(so_far, now, reloads)
    return so_far


def check_balance(demo: Demo, generator: Generator, so_far: Soaked) -> None:
    balance = settle(generator, lambda: demo.seen().packets)
    seen = demo.seen()
    lost = seen.packets - seen.uncounted - seen.in_flows
    if balance.lost or lost:
        raise LabError(f"round {so_far.rounds}: {balance.lost} packets and {lost} counts lost")
    so_far.packets = balance.traffic.delivered


def note(so_far: Soaked, now: Held, reloads: int) -> None:
    """Say how far it is. Of a count of reloads the start, the middle and the end are kept."""
    marks = [SETTLING * len(ROUND), reloads // 2, reloads]
    if reloads and len(so_far.held) < len(marks) and so_far.reloads >= marks[len(so_far.held)]:
        so_far.held.append((so_far.reloads, now))
    if not reloads or so_far.rounds % 10 == 0 or so_far.rounds <= SETTLING:
        print(f"round {so_far.rounds}: {so_far.packets:,} packets, 0 lost, {now}", flush=True)


def report(so_far: Soaked, seconds: float) -> None:
    for name, (count, now) in zip(("start", "middle", "end"), so_far.held, strict=False):
        print(f"{name:>6}, {count:>6,} reloads: {now}")
    figures = {
        "reloads": so_far.reloads,
        "packets": so_far.packets,
        "seconds": round(seconds, 1),
        "held": [{"reloads": count, **asdict(now)} for count, now in so_far.held],
    }
    (ROOT / "build" / "soak.json").write_text(json.dumps(figures, indent=2) + "\n")


def main() -> int:
    parser = argparse.ArgumentParser(prog="soak", description="Reload under traffic for a long time, or very often.")
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--reloads", type=int, default=0, help="so many reloads, however long they take")
    args = parser.parse_args()
    started = time.monotonic()
    with stage() as demo, Generator(demo.sandbox.tx, flows=FLOWS) as generator:
        try:
            done = soak(demo, generator, args.minutes, args.reloads)
        except LabError as error:
            print(f"soak: {error}", file=sys.stderr)
            return 1
        finally:
            quietly(demo, "remove", "edge", "--state")
        left = objects(demo)
        deadline = time.monotonic() + FREED
        while any(left.values()) and time.monotonic() < deadline:
            time.sleep(0.2)
            left = objects(demo)
    report(done, time.monotonic() - started)
    if any(left.values()):
        print(f"soak: left in the kernel after the removal: {left}", file=sys.stderr)
        return 1
    print(f"{done.reloads:,} reloads, {done.packets:,} packets, nothing lost, nothing grown")
    return 0


if __name__ == "__main__":
    sys.exit(main())
