"""Whether packets reach our programs: how often each runs, and how many packets its interface counts in that time.

The kernel counts runs only while it is asked to (BPF_ENABLE_STATS), so a short sample is taken. Called by status.py
and doctor/pipeline_checks.py. Changes nothing.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack

from reloader.errors import KernelError, MissingFeature
from reloader.frozen import frozen
from reloader.kernel import Fd, Kernel
from reloader.kernel.host import Host
from reloader.observe.pipeline import Observed
from reloader.pins.own_folders import pinned
from reloader.pipeline.wish import WishAttachment

WINDOW = 0.15  # s of a sample
SETTLE = 0.03  # s that a counted packet may take to a program
LEAST = 3  # packets of a sample below which nothing is said


@frozen
class Arrival:
    """One sample at one attachment."""

    runs: int  # of our program
    packets: int  # that the interface counted, in the attachment's direction
    seconds: float

    @property
    def none_reached(self) -> bool:
        """Whether the interface had packets and our program saw none of them."""
        return self.packets >= LEAST and not self.runs

    @property
    def measurable(self) -> bool:
        """Whether there was enough traffic to say anything."""
        return self.packets >= LEAST or self.runs > 0


Place = tuple[str, str]  # pipeline, attachment id


def sample(host: Host, seen: Mapping[str, Observed], wanted: Collection[Place]) -> dict[Place, Arrival]:
    """One sample of all that are wanted and where our link runs. `seen`: by pipeline. Empty without the permission to
    count. Where the first look finds that no packet reached a program, a second one has to find the same."""
    first = _sample(host, seen, wanted)
    doubtful = [place for place, one in first.items() if one.none_reached]
    return {**first, **_sample(host, seen, doubtful)}


def _sample(host: Host, seen: Mapping[str, Observed], wanted: Collection[Place]) -> dict[Place, Arrival]:
    if not wanted:
        return {}
    with ExitStack() as opened:
        try:
            opened.enter_context(host.kernel.progs.count_runs())
        except KernelError:  # no permission
            return {}
        found = [
            (place, opened.enter_context(fd), attachment)
            for name, one in seen.items()
            for attachment in _running(one)
            if (place := (name, attachment.id)) in wanted and (fd := _program(host, one, attachment))
        ]
        runs = {place: host.kernel.progs.info(fd).run_cnt for place, fd, _ in found}
        packets = {place: _packets(host.kernel, attachment) for place, _, attachment in found}
        started = time.monotonic()
        time.sleep(WINDOW)
        after = {place: _packets(host.kernel, attachment) for place, _, attachment in found}
        seconds = time.monotonic() - started
        time.sleep(SETTLE)
        return {
            place: Arrival(
                runs=host.kernel.progs.info(fd).run_cnt - runs[place],
                packets=max(0, after[place] - packets[place]),
                seconds=seconds,
            )
            for place, fd, _ in found
        }


def _running(seen: Observed) -> Iterator[WishAttachment]:
    for attachment in seen.generation.wish.attachments if seen.generation else ():
        there = seen.attachments.get(attachment.id)
        if there and there.alive and there.link and there.link.prog_id == seen.progs.get(attachment.program):
            yield attachment


def _program(host: Host, seen: Observed, attachment: WishAttachment) -> Fd | None:
    assert seen.generation
    pin = host.paths.prog_pin(seen.generation.wish.pipeline, seen.generation.load, attachment.program)
    return pinned(host.kernel, pin)


def _packets(kernel: Kernel, attachment: WishAttachment) -> int:
    """0 where the interface has gone since."""
    target = attachment.target
    name = "tx_packets" if target.get("direction") == "egress" else "rx_packets"
    try:
        return kernel.net.counters(target["interface"], target.get("netns")).get(name, 0)
    except (KernelError, MissingFeature):
        return 0


def unreached(program: str, found: Arrival) -> str:
    """What a sample says of a program that packets pass by, as a sentence."""
    return f"{program} saw none of {found.packets} packets that the interface counted in {found.seconds:.1f} s"


def arrival_json(found: Arrival | None) -> dict[str, object] | None:
    """As status and doctor print it; None: no sample was taken."""
    if found is None:
        return None
    return {"runs": found.runs, "packets": found.packets, "seconds": round(found.seconds, 3)}
