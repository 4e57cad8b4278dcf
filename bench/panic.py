"""panic.time: `reloader panic` as a whole process, beside taking the program off by hand. May import lab."""

from __future__ import annotations

from bench.rows import Row, in_turn, median, note
from bench.stage import Stage, stage

RUNS = 11


def rows() -> list[Row]:
    note(f"panic: {RUNS} times")
    with stage() as opened:
        opened.seconds("apply", opened.write())
        ours, by_hand = in_turn(RUNS, lambda: _panic(opened), lambda: _off(opened))
    return [
        Row(
            name="panic.time", value=median(ours) * 1000, unit="ms", n=RUNS,
            baseline="ip link set xdp off, a process, of a program attached by netlink",
            baseline_value=median(by_hand) * 1000,
        )
    ]  # fmt: skip


def _panic(opened: Stage) -> float:
    """From a serving pipeline to every packet passing, the program to do so loaded anew."""
    seconds = opened.seconds("panic", "edge", "--open")
    opened.seconds("apply", opened.write())
    return seconds


def _off(opened: Stage) -> float:
    """On the other end of the wire, where nothing of ours sits."""
    end, pin = opened.sandbox.tx, f"{opened.sandbox.bpffs}/edge/loads/1/progs/count_flows"
    end.run("bpftool", "net", "attach", "xdpdrv", "pinned", pin, "dev", end.interface)
    return opened.run(end.command("ip", "link", "set", end.interface, "xdpdrv", "off")).seconds
