"""Whether packets reach our programs: how often each runs, and how many packets its place counts in that time.

The kernel counts runs only while it is asked to (BPF_ENABLE_STATS), so a short sample is taken. Called by status.py
and doctor/pipeline_checks.py. Changes nothing.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack

from reloader.errors import KernelError
from reloader.frozen import frozen
from reloader.kernel import Fd
from reloader.kernel.host import Host
from reloader.observe.pipeline import Observed
from reloader.pins.own_folders import pinned
from reloader.pipeline.wish import WishAttachment
from reloader.places import place_of
from reloader.places.place import Place
from reloader.report import texts
from reloader.wording.message import Message

WINDOW = 0.15  # s of a sample
SETTLE = 0.03  # s that a counted packet may take to a program
LEAST = 3  # packets of a sample below which nothing is said


@frozen
class Arrival:
    """One sample at one attachment."""

    runs: int  # of our program
    packets: int  # that the place counted
    seconds: float

    @property
    def none_reached(self) -> bool:
        """Whether packets came to the place and our program saw none of them."""
        return self.packets >= LEAST and not self.runs

    @property
    def measurable(self) -> bool:
        """Whether there was enough traffic to say anything."""
        return self.packets >= LEAST or self.runs > 0


Key = tuple[str, str]  # pipeline, attachment id


def sample(host: Host, seen: Mapping[str, Observed], wanted: Collection[Key]) -> dict[Key, Arrival]:
    """One sample of all that are wanted and where our link runs. `seen`: by pipeline. Empty without the permission to
    count; a place that cannot count packets has no sample. Where the first look finds that no packet reached a
    program, a second one has to find the same."""
    first = _sample(host, seen, wanted)
    doubtful = [key for key, one in first.items() if one.none_reached]
    return {**first, **_sample(host, seen, doubtful)}


def _sample(host: Host, seen: Mapping[str, Observed], wanted: Collection[Key]) -> dict[Key, Arrival]:
    if not wanted:
        return {}
    with ExitStack() as opened:
        try:
            opened.enter_context(host.kernel.progs.count_runs())
        except KernelError:  # no permission
            return {}
        found = list(_counted(host, seen, wanted, opened))
        runs = {one.key: host.kernel.progs.info(one.program).run_cnt for one in found}
        before = {one.key: one.place.traffic(host.kernel) for one in found}
        started = time.monotonic()
        time.sleep(WINDOW)
        after = {one.key: one.place.traffic(host.kernel) for one in found}
        seconds = time.monotonic() - started
        time.sleep(SETTLE)
        return {
            one.key: Arrival(
                runs=host.kernel.progs.info(one.program).run_cnt - runs[one.key],
                packets=max(0, last - first),
                seconds=seconds,
            )
            for one in found
            if (first := before[one.key]) is not None and (last := after[one.key]) is not None
        }


@frozen
class _Counted:
    """An attachment whose program runs."""

    key: Key
    program: Fd
    place: Place


def _counted(
    host: Host, seen: Mapping[str, Observed], wanted: Collection[Key], opened: ExitStack
) -> Iterator[_Counted]:
    for name, one in seen.items():
        for attachment in _running(one):
            if (name, attachment.id) in wanted and (fd := _program(host, one, attachment)):
                place = place_of(attachment.type, attachment.target)
                yield _Counted(key=(name, attachment.id), program=opened.enter_context(fd), place=place)


def _running(seen: Observed) -> Iterator[WishAttachment]:
    for attachment in seen.generation.wish.attachments if seen.generation else ():
        there = seen.attachments.get(attachment.id)
        if there and there.alive and there.link and there.link.prog_id == seen.progs.get(attachment.program):
            yield attachment


def _program(host: Host, seen: Observed, attachment: WishAttachment) -> Fd | None:
    assert seen.generation
    pin = host.paths.prog_pin(seen.generation.wish.pipeline, seen.generation.load, attachment.program)
    return pinned(host.kernel, pin)


def unreached(program: str, found: Arrival) -> Message:
    """Say that packets pass by a program."""
    return texts.UNREACHED(program=program, packets=found.packets, seconds=found.seconds)


def arrival_json(found: Arrival | None) -> dict[str, object] | None:
    """As status and doctor print it; None: no sample was taken."""
    if found is None:
        return None
    return {"runs": found.runs, "packets": found.packets, "seconds": round(found.seconds, 3)}
