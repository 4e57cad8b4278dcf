"""state.cpu_stall, state.bridge_ns, state.lru_recent_kept: what a conversion costs those who are not converted.

May import lab and reloader.
"""

from __future__ import annotations

import contextlib
import functools
import os
import time
from collections.abc import Callable, Iterator

from bench.entries import KERNEL, NEW, OLD, Shape, Stock, back, conversion
from bench.host import preferred
from bench.rows import Aim, Row, in_turn, median, note, percentile
from bench.spin import Spinner
from bench.stage import BUILT
from lab.sender import template
from lab.traffic import ELSEWHERE, Settings
from reloader.bpf import syscall
from reloader.convert import migrate
from reloader.kernel import Fd, Loaded, LoadRequest, MapType
from reloader.plan.state.conversion import Move, Pair, bridge_tables

MILLION = 1_000_000
STALLS = 3
CALLS = 1_000_000  # runs of a program in one system call
TURNS = 15
FIRST = 20_000  # flows; the table holds 65,536
SOURCE = 26  # where a frame has its source address
ROOM = 131_072  # of the LRU maps
FILLED = {"": 100, ".90": 90, ".50": 50}  # row suffix -> how full, in percent
BRIDGE_MAPS = ("rl_old_flows", "rl_locks", "rl_scratch", "rl_stats")


def rows() -> list[Row]:
    return [*cpu_stall(), *bridge_ns(), *lru_recent_kept()]


# how long a CPU is away


def cpu_stall() -> list[Row]:
    note(f"state: a busy task beside a drain of {MILLION:,} entries, {STALLS} times")
    with preferred():
        ours, unbroken, quiet = in_turn(
            STALLS,
            lambda: beside(by_drain),
            lambda: beside(unbroken_drain),
            lambda: longest_gap(lambda: time.sleep(0.5)),
        )
    text = "an unlocked walk over the map in one run"
    return [
        _stall("state.cpu_stall", ours, text, unbroken, Aim(of="value", most=100)),
        _stall("state.cpu_stall.above_idle", ours, "nothing but the machine's other work, half a second", quiet),
    ]


def _stall(name: str, seconds: list[float], text: str, beside_it: list[float], aim: Aim | None = None) -> Row:
    return Row(
        name=name, value=max(seconds) * 1000, unit="ms at most", n=len(seconds), baseline=text,
        baseline_value=max(beside_it) * 1000, aim=aim,
    )  # fmt: skip


def beside(work: Callable[[Stock, Stock], object]) -> float:
    """The longest gap of a busy task on either CPU that moves entries, while they are moved."""
    made = Shape(type=MapType.HASH, room=MILLION)
    with Stock(made, OLD) as source, Stock(made, NEW) as target:
        source.fill(MILLION)
        return longest_gap(lambda: work(source, target))


def longest_gap(work: Callable[[], object]) -> float:
    with contextlib.ExitStack() as stack:
        spinners = [stack.enter_context(Spinner(cpu)) for cpu in sorted(os.sched_getaffinity(0))[:2]]
        for spinner in spinners:
            spinner.longest()
        work()
        return max(spinner.longest() for spinner in spinners)


def unbroken_drain(source: Stock, target: Stock) -> None:
    image = (BUILT / "lab/bpf/unbroken.bpf.o").read_bytes()
    reuse = {"old_flows": source.fd, "new_flows": target.fd}
    loaded = KERNEL.progs.load(LoadRequest(objects=(image,), name="unbroken", programs=("drain",), reuse=reuse))
    KERNEL.progs.run(loaded.progs["drain"], bytes(64), cpu=0)
    loaded.close()


# what the three calls cost a packet


def bridge_ns() -> list[Row]:
    note(f"state: the three calls, {TURNS} times {CALLS:,} packets, and {FIRST:,} flows made and deleted")
    with contextlib.ExitStack() as stack:
        plain, clean, other = (stack.enter_context(loaded(name)) for name in ("plain", "v1", "v2"))
        bridge = stack.enter_context(loaded("v1", bridge_from=other.maps["flows"]))
        programs = [made.progs["count_flows"] for made in (plain, clean, bridge)]
        stack.enter_context(preferred())
        turns = in_turn(TURNS, *[functools.partial(nanoseconds, program) for program in programs])
        sizes = [KERNEL.progs.info(program).xlated_len / 8 for program in programs]
        rest = _misses(programs, other.progs["count_flows"])
    base, cleaned, bridged = map(median, turns)
    above = median([after - before for before, after in zip(turns[0], turns[1], strict=True)])
    noise = max(1.0, percentile(turns[0], 75) - percentile(turns[0], 25))  # of the very same program
    return [
        _call("state.bridge_ns", above, "ns a packet, clean above plain", base, Aim(of="value", most=noise)),
        _call("state.bridge_ns.clean", cleaned, "ns a packet", base),
        _call("state.bridge_ns.bridge_hit", bridged, "ns a packet", base),
        *rest,
        _call("state.bridge_ns.clean_size", sizes[1], "instructions", sizes[0]),
    ]


def _misses(programs: list[Fd], other: Fd) -> list[Row]:
    """Of flows that are met for the first time, and of deletions; `other` is the version the bridge takes over from."""
    plain, clean, bridge = programs
    known, unknown = range(FIRST), range(FIRST, 2 * FIRST)
    each(other, known)
    first, cleaned = each(plain, known), each(clean, known)
    new, taken = each(bridge, unknown), each(bridge, known)
    gone, clean_gone, bridge_gone = (each(program, known, port=10) for program in programs)
    return [
        _call("state.bridge_ns.first.clean", cleaned, "ns a first packet", first, n=FIRST),
        _call("state.bridge_ns.first.bridge_new", new, "ns a first packet", first, n=FIRST),
        _call("state.bridge_ns.first.bridge_taken", taken, "ns a first packet, taken over", first, n=FIRST),
        _call("state.bridge_ns.delete.clean", clean_gone, "ns a deletion", gone, n=FIRST),
        _call("state.bridge_ns.delete.bridge", bridge_gone, "ns a deletion", gone, n=FIRST),
    ]


def each(program: Fd, flows: range, *, port: int = 9) -> float:
    """Nanoseconds of one run on a packet of each flow; the mean."""
    runs = [syscall.prog_test_run(program.fileno(), data=packet(flow, port)) for flow in flows]
    return sum(run.duration_ns for run in runs) / len(runs)


def _call(name: str, value: float, unit: str, base: float, aim: Aim | None = None, n: int = TURNS) -> Row:
    text = "the same program with plain map calls"
    return Row(name=name, value=value, unit=unit, n=n, baseline=text, baseline_value=base, aim=aim)


@contextlib.contextmanager
def loaded(version: str, bridge_from: Fd | None = None) -> Iterator[Loaded]:
    """The lab's flow_state program as a clean build or a bridge from the other layout."""
    image = (BUILT / "lab/bpf" / f"flow_state_{version}.bpf.o").read_bytes()
    omit = () if bridge_from or version == "plain" else BRIDGE_MAPS
    pair = Pair(forward=back(), back=conversion(), entries=0)
    move = Move(map="flows", source="", target="", pair=pair, bridge=True)
    request = LoadRequest(
        objects=(image,), name="calls", programs=("count_flows",), omit=omit,
        rodata=bridge_tables([move]) if bridge_from else {}, reuse={"rl_old_flows": bridge_from} if bridge_from else {},
    )  # fmt: skip
    made = KERNEL.progs.load(request)
    try:
        yield made
    finally:
        made.close()


def nanoseconds(program: Fd) -> float:
    """Of one run on a packet of a flow that is known; the mean of many."""
    syscall.prog_test_run(program.fileno(), data=packet(2 * FIRST))
    return float(syscall.prog_test_run(program.fileno(), data=packet(2 * FIRST), repeat=CALLS).duration_ns)


def packet(flow: int, port: int = 9) -> bytes:
    settings = Settings(
        interface="", flows=1, length=64, destination="192.0.2.1", mac=ELSEWHERE, source_mac=ELSEWHERE, port=port, cpu=0
    )
    frame = template(settings)
    return frame[:SOURCE] + flow.to_bytes(4, "big") + frame[SOURCE + 4 :]


# what an LRU map forgets


def lru_recent_kept() -> list[Row]:
    note("state: an LRU map 50, 90 and 100 % full")
    return [_lru(suffix, percent) for suffix, percent in FILLED.items()]


def _lru(suffix: str, percent: int) -> Row:
    kept, copied = kept_of_recent(percent, by_drain), kept_of_recent(percent, by_batch)
    return Row(
        name=f"state.lru_recent_kept{suffix}", value=kept, unit=f"% of the recent half, {percent} % full", n=1,
        baseline="read and written in batches from user space", baseline_value=copied,
    )  # fmt: skip


def kept_of_recent(percent: int, move: Callable[[Stock, Stock], object]) -> float:
    """Fill a map one entry after the other, move it: how many of the later half that it held are in the new one."""
    made, count = Shape(type=MapType.LRU_HASH, room=ROOM), ROOM * percent // 100
    with Stock(made, OLD) as source, Stock(made, NEW) as target:
        source.fill(count)
        recent = {key for key in KERNEL.maps.items(source.fd) if int.from_bytes(key[:4], "little") >= count // 2}
        move(source, target)
        return len(recent & set(KERNEL.maps.items(target.fd))) / len(recent) * 100


def by_drain(source: Stock, target: Stock) -> None:
    migrate.drain(KERNEL, source.fd, target.fd, conversion())


def by_batch(source: Stock, target: Stock) -> None:
    items = KERNEL.maps.items(source.fd)
    KERNEL.maps.update_many(target.fd, list(items), [value.ljust(NEW, b"\0") for value in items.values()])
