"""One transaction: journal, ops, commit; or back again. The only module that decides between the two.

Called by lifecycle/carry_out.py with a plan and the writer lock.
"""

from __future__ import annotations

import errno
import os
import struct
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext, suppress
from dataclasses import field
from typing import TypedDict

from reloader.disk import jsonable
from reloader.disk.lock import Writer
from reloader.engine import attached, refusal
from reloader.engine.execute import Bench, execute, take_back
from reloader.engine.journal import Journal
from reloader.engine.refusal import describe
from reloader.errors import (
    LIMITS,
    AttachRefused,
    KernelError,
    LoadRejected,
    NeedsHuman,
    NothingSwapped,
    RefusedChange,
    ReloaderError,
    RolledBack,
    TestsFailed,
)
from reloader.frozen import frozen
from reloader.paths import Paths
from reloader.plan.model import Plan
from reloader.plan.ops import Op
from reloader.process.interrupts import Held
from reloader.store import blobs, records
from reloader.store.records import Current, Generation
from reloader.wording.printable import counted

Progress = Callable[[str], None]
DISK = {
    errno.ENOSPC: "the disk of the record directory is full",
    errno.EDQUOT: "the quota on the disk of the record directory is used up: see `quota`",
    errno.EFBIG: "a limit on the size of files is too small for the records: see `ulimit -f`",
    errno.EROFS: "the file system of the record directory is read-only: see `dmesg`",
}
COMMITTED: dict[str, int] = {}
"""Pipeline → generation that this process committed last (0: removed). A command that ends early tells by it what
became of its change."""
BRIDGE_STATS = ("taken", "insert_failed", "lock_failed")  # struct rl_stats


@frozen
class Trip:
    """One pass through a plan: what the engine needs to do it and to record it."""

    plan: Plan
    bench: Bench
    finish: Callable[[Bench], tuple[Generation | None, Current]]  # asked once all ops are done, for the commit record
    progress: Progress
    seconds: dict[str, float] = field(default_factory=dict)  # op name -> time spent


def new_txn_name() -> str:
    """Sorts by time; unique on the host."""
    return f"{time.time_ns():020d}-{os.getpid()}"


def run(trip: Trip, writer: Writer) -> None:
    """Carry out the plan or leave everything as it was.

    Raises NothingSwapped or VerifierRejected (exit 1), RolledBack (3), NeedsHuman (4).
    """
    trip.bench.progress = trip.progress
    with Held() as held:
        _run(trip, writer.paths, held)
    trip.bench.interrupted = held.interrupted


def _run(trip: Trip, paths: Paths, held: Held) -> None:
    """Signals are held, but on the way forward: the first one turns it back, and no second one cuts that short."""
    journal = _open_journal(trip, paths)
    try:
        held.during(lambda: _forward(trip, journal))
    except BaseException as error:  # a mistake of ours, too, must leave everything as it was
        _back(trip, journal, error)
        raise AssertionError("unreachable: going back always raises") from error
    _commit(trip, journal)
    try:
        finish_after_commit(trip.bench, trip.plan.after, journal)
    finally:
        trip.bench.close()
    _require_live(trip.bench)


def _open_journal(trip: Trip, paths: Paths) -> Journal:
    try:
        return Journal(paths.journal_file(trip.bench.pipeline, new_txn_name()))
    except OSError as error:
        raise report(trip.plan, trip.bench, error, swapped=False) from error


def _forward(trip: Trip, journal: Journal) -> None:
    plan, bench = trip.plan, trip.bench
    journal.begin(begin_body(plan, bench))
    for index, op in enumerate(plan.ops):
        bench.done.append(op)
        journal.intent(index)
        started = time.monotonic()
        trip.progress(op.label())
        execute(bench, op)
        name = op.TAG
        trip.seconds[name] = trip.seconds.get(name, 0.0) + time.monotonic() - started
        journal.done(index)


def _commit(trip: Trip, journal: Journal) -> None:
    """Write the commit record, or go back. If it is unclear whether it was written, the undo lines after it decide."""
    try:
        _hear_bridge(trip.bench)
        trip.bench.commit = trip.finish(trip.bench)
        generation, current = trip.bench.commit
        if generation is not None:
            attached.require_own(trip.bench.host, generation, current)
        blobs.reserve(trip.bench.paths, generation, current)
        journal.commit(jsonable.to_json({"generation": generation, "current": current}))
        COMMITTED[current.pipeline] = current.generation
    except BaseException as error:
        with suppress(OSError):
            blobs.release(trip.bench.paths, trip.bench.pipeline)
        _back(trip, journal, error)
        raise AssertionError("unreachable: going back always raises") from error


def _hear_bridge(bench: Bench) -> None:
    """What it counted while it served; what a packet met that should have met its entry is worth a warning."""
    stats = bench.loads["bridge"].maps.get("rl_stats") if "bridge" in bench.loads else None
    if stats is None:
        return
    rows = struct.iter_unpack("=3Q", bench.kernel.maps.lookup(stats, bytes(4)) or b"")
    counts = map(sum, zip(*rows, strict=True))
    bench.bridged = {name: n for name, n in zip(BRIDGE_STATS, counts, strict=True) if n}
    for name, meaning in (("lock_failed", "read as a miss"), ("insert_failed", "found no room, or did not fit")):
        if name in bench.bridged:
            import logging

            what = f"{bench.bridged[name]} packets' entries {meaning} while state moved ({name})"
            logging.getLogger(__name__).warning("%s: %s", bench.pipeline, what)


def begin_body(plan: Plan, bench: Bench) -> dict[str, object]:
    """What the journal's first line says: enough to go back or forward without this process."""
    return {
        "pipeline": plan.pipeline,
        "generation": plan.generation,
        "boot_id": bench.kernel.boot_id(),
        "ops": jsonable.to_json(plan.ops),
        "after": jsonable.to_json(plan.after),
        "wish": jsonable.to_json(bench.wish),
    }


def finish_after_commit(bench: Bench, after: tuple[Op, ...], journal: Journal) -> None:
    """Everything behind the commit record; run again by recovery when it was cut short."""
    step = "end"
    try:
        for op in after:
            step = op.TAG
            execute(bench, op)
        step = "end"
        end(bench, journal)
    except (OSError, ReloaderError) as error:
        journal.close()
        raise _unfinished(bench, journal, error, step) from error
    except BaseException:  # the file stays, and `recover` goes on from it
        journal.close()
        raise


def _unfinished(bench: Bench, journal: Journal, error: OSError | ReloaderError, step: str) -> NeedsHuman:
    """The change is committed, and something behind the commit failed."""
    generation = bench.commit[1].generation if bench.commit else 0
    name, left = bench.pipeline, journal.path.exists()
    stands = f"generation {generation} is live" if generation else "it is removed"
    again = f"remove the cause, then `reloader recover {name}`"
    return NeedsHuman(
        f"{name}: {stands}, but cleaning up failed: {describe(error)}",
        hint=again if left else f"the transaction has ended; `reloader status {name}` shows the current state",
        reason=getattr(error, "reason", "") or "cleanup-failed",
        values={
            **refusal.values_of(error),
            "live_generation": generation,
            "journal_open": left,
            "step": step,
            "committed": True,
        },
    )


def _require_live(bench: Bench) -> None:
    """The last look: NeedsHuman when a link does not run what was committed."""
    generation, current = bench.commit or (None, None)
    if generation is None or current is None:
        return
    try:
        attached.require_own(bench.host, generation, current)
    except (OSError, ReloaderError) as error:
        name, number = bench.pipeline, generation.number
        about = error if isinstance(error, ReloaderError) else ReloaderError(describe(error), reason="unknown")
        raise NeedsHuman(
            f"{name}: generation {number} is committed, but it is not live: {about.message}",
            hint=f"`reloader status {name}` shows the current state; the next `reloader apply FILE` attaches it again",
            reason=about.reason,
            values={**about.values, "live_generation": 0, "generation": number, "journal_open": False},
        ) from error


def end(bench: Bench, journal: Journal) -> None:
    """The transaction is over, either way."""
    journal.end()
    blobs.leave_no_folders(bench.paths, bench.pipeline)


def _back(trip: Trip, journal: Journal, error: BaseException) -> None:
    """Undo in reverse order, then say what happened. Always raises; what is no error of ours goes on as it came."""
    visible = any(op.visible for op in _happened(trip.bench.done, error))
    trip.bench.served = _served(trip.bench.done, error)
    try:
        for index in range(len(trip.bench.done) - 1, -1, -1):
            # On a full disk the pins go all the same; only a commit record that may stand needs a word against it.
            with nullcontext() if journal.last == "commit" else suppress(OSError):
                journal.undo(index)
            take_back(trip.bench, trip.bench.done[index])
        end(trip.bench, journal)
    except (OSError, ReloaderError) as second:
        journal.close()
        left = journal.path.exists()
        again = f"remove the cause, then `reloader recover {trip.plan.pipeline}`"
        raise NeedsHuman(
            f"{trip.plan.pipeline}: {describe(error)}; going back failed too: {describe(second)}",
            hint=again if left else f"`reloader status {trip.plan.pipeline}` shows the current state",
            reason=getattr(second, "reason", "") or "undo-failed",
            values={**refusal.values_of(second), "journal_open": left, "committed": False},
        ) from error
    except BaseException:  # the file stays, and `recover` goes on from it
        journal.close()
        raise
    finally:
        trip.bench.close()
    if not isinstance(error, (OSError, ReloaderError, KeyboardInterrupt)):
        raise error
    raise report(trip.plan, trip.bench, error, swapped=visible) from error


def _served(done: list[Op], error: BaseException) -> bool:
    """Whether a new program may have run: a swap is a single call, so one that the kernel refused has not happened."""
    sure = done[:-1] if done and done[-1].one_call and isinstance(error, KernelError) else done
    return any(op.serving for op in sure)


def _happened(done: list[Op], error: BaseException) -> list[Op]:
    """Without a last op that the kernel refused: it attached and swapped nothing."""
    refused = isinstance(error, AttachRefused) and done and done[-1].clean_refusal
    return done[:-1] if refused else done


def report(plan: Plan, bench: Bench, error: BaseException, *, swapped: bool) -> ReloaderError:
    """The error a user sees once everything was put back."""
    if isinstance(error, LoadRejected) and not swapped:
        return refusal.rejected(bench, error, plan.ops)
    about = _about(plan, bench, error)
    stays = _what_stays(plan, about)
    if isinstance(error, TestsFailed):
        why = f"{plan.pipeline}: {error.message}; nothing was swapped, {stays}"
        return TestsFailed(why, tests=error.tests, detail=error.lines, hint=error.hint)
    if isinstance(error, RefusedChange) and not swapped:
        why = f"{plan.pipeline}: {error.message}; nothing was swapped, {stays}"
        return RefusedChange(why, hint=error.hint, detail=error.lines, reason=error.reason, values=error.values)
    hint = error.hint if isinstance(error, (KernelError, ReloaderError)) and error.hint else _hint(error)
    if swapped:
        why = f"{plan.pipeline}: {describe(error)}; rolled back, {stays}{left_out(bench.left_out)}"
        return RolledBack(why, hint=hint, **about)
    told = refusal.of_load(error)
    return NothingSwapped(
        f"{plan.pipeline}: {told.sentence if told else describe(error)}; nothing was swapped, {stays}",
        hint=told.hint if told else hint,
        detail=told.said if told else "",
        rejection=told.to_json() if told else None,
        **about,
    )


class About(TypedDict):
    """What an error says beside its sentence."""

    reason: str
    values: dict[str, object]


def _about(plan: Plan, bench: Bench, error: BaseException) -> About:
    """Why it went back, and what the kernel shows now."""
    values: dict[str, object] = {"live_generation": plan.from_generation, "journal_open": False, "committed": False}
    reason = getattr(error, "reason", "")
    values |= refusal.values_of(error)
    if isinstance(error, KeyboardInterrupt):
        reason = "interrupted"
    elif not reason and isinstance(error, OSError) and error.errno in LIMITS:
        reason = LIMITS[error.errno].reason
    try:
        current = records.read_current(bench.paths, plan.pipeline)
        other = attached.displaced(bench.kernel, current) if current and current.generation else {}
        if other and attached.panicking(bench.host, plan.pipeline):
            reason, values = attached.PANICKED, {**values, "live_generation": 0, "attachments": other}
    except (OSError, ReloaderError):  # the error that is on its way says more
        values["live_generation"] = None
    return {"reason": reason, "values": values}


def _what_stays(plan: Plan, about: About) -> str:
    if about["reason"] == attached.PANICKED:
        return "and the panic program stays attached"
    if not plan.from_generation:
        return "nothing of it is left"
    return f"generation {plan.from_generation} serves as before"


def left_out(counts: Mapping[str, int]) -> str:
    """What a conversion gave up, in words; empty when nothing."""
    rows = (f"{name}: {counted(n, 'entry')}" for name, n in sorted(counts.items()))
    return "".join(f"; {row} without a place in that layout left out" for row in rows)


def _hint(error: BaseException) -> str:
    if isinstance(error, KernelError) and error.errno == errno.ERANGE:
        return "`reloader show PIPELINE --map MAP` lists the entries: delete or mend these, or keep the layout they fit"
    if isinstance(error, OSError) and error.errno in LIMITS:
        return LIMITS[error.errno].hint
    if isinstance(error, KernelError) and error.errno == errno.ENOLINK:
        return "the place of the link was deleted since the plan: see `reloader status`, then apply again"
    if isinstance(error, KernelError) and error.errno == errno.E2BIG:
        return "max_entries is more than the kernel takes"
    if isinstance(error, KernelError) and error.errno == errno.EAGAIN and error.call == "fork":
        return "the user may not start more processes: see `ulimit -u`"
    if isinstance(error, OSError) and not isinstance(error, KernelError):
        return DISK.get(error.errno or 0, "")
    return ""
