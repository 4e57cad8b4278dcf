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
from reloader.engine import attached, refusal, texts
from reloader.engine.execute import execute, take_back
from reloader.engine.journal import Journal
from reloader.engine.refusal import describe
from reloader.engine.workspace import Workspace
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
from reloader.wording.message import Message

Progress = Callable[[str], None]
DISK_HINTS = {
    errno.ENOSPC: texts.DISK_FULL,
    errno.EDQUOT: texts.DISK_QUOTA,
    errno.EFBIG: texts.FILE_SIZE_LIMIT,
    errno.EROFS: texts.DISK_READ_ONLY,
}
KERNEL_HINTS = {errno.ENOLINK: texts.PLACE_DELETED, errno.E2BIG: texts.MAP_TOO_LARGE}
COMMITTED: dict[str, int] = {}
"""Pipeline → generation that this process committed last (0: removed). A command that ends early tells by it what
became of its change."""
BRIDGE_STATS = ("taken", "insert_failed", "lock_failed")  # struct rl_stats
BRIDGE_WARNINGS = {"lock_failed": texts.LOCK_FAILED, "insert_failed": texts.INSERT_FAILED}


@frozen
class Transaction:
    """One pass through a plan: what the engine needs to do it and to record it."""

    plan: Plan
    bench: Workspace
    finish: Callable[
        [Workspace], tuple[Generation | None, Current]
    ]  # asked once all ops are done, for the commit record
    progress: Progress
    seconds: dict[str, float] = field(default_factory=dict)  # op name -> time spent


def new_txn_name() -> str:
    """Sorts by time; unique on the host."""
    return f"{time.time_ns():020d}-{os.getpid()}"


def run(trip: Transaction, writer: Writer) -> None:
    """Carry out the plan or leave everything as it was.

    Raises NothingSwapped or VerifierRejected (exit 1), RolledBack (3), NeedsHuman (4).
    """
    trip.bench.progress = trip.progress
    with Held() as held:
        _run(trip, writer.paths, held)
    trip.bench.interrupted = held.interrupted


def _run(trip: Transaction, paths: Paths, held: Held) -> None:
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


def _open_journal(trip: Transaction, paths: Paths) -> Journal:
    try:
        return Journal(paths.journal_file(trip.bench.pipeline, new_txn_name()))
    except OSError as error:
        raise report(trip.plan, trip.bench, error, swapped=False) from error


def _forward(trip: Transaction, journal: Journal) -> None:
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


def _commit(trip: Transaction, journal: Journal) -> None:
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


def _hear_bridge(bench: Workspace) -> None:
    """Take what the bridge counted; warn of lookups that should have found their entry."""
    stats = bench.loads["bridge"].maps.get("rl_stats") if "bridge" in bench.loads else None
    if stats is None:
        return
    rows = struct.iter_unpack("=3Q", bench.kernel.maps.lookup(stats, bytes(4)) or b"")
    counts = map(sum, zip(*rows, strict=True))
    bench.bridged = {name: n for name, n in zip(BRIDGE_STATS, counts, strict=True) if n}
    for name, text in BRIDGE_WARNINGS.items():
        if name in bench.bridged:
            import logging

            warning = text(pipeline=bench.pipeline, count=bench.bridged[name])
            logging.getLogger(__name__).warning("%s", warning)


def begin_body(plan: Plan, bench: Workspace) -> dict[str, object]:
    """What the journal's first line says: enough to go back or forward without this process."""
    return {
        "pipeline": plan.pipeline,
        "generation": plan.generation,
        "boot_id": bench.kernel.boot_id(),
        "ops": jsonable.to_json(plan.ops),
        "after": jsonable.to_json(plan.after),
        "wish": jsonable.to_json(bench.wish),
    }


def finish_after_commit(bench: Workspace, after: tuple[Op, ...], journal: Journal) -> None:
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


def _unfinished(bench: Workspace, journal: Journal, error: OSError | ReloaderError, step: str) -> NeedsHuman:
    """The change is committed, and something behind the commit failed."""
    generation = bench.commit[1].generation if bench.commit else 0
    name, left = bench.pipeline, journal.path.exists()
    state = texts.GENERATION_IS_LIVE(generation=generation) if generation else texts.PIPELINE_IS_REMOVED()
    hint = texts.RECOVER(pipeline=name) if left else texts.TRANSACTION_ENDED(pipeline=name)
    return NeedsHuman(
        texts.CLEANUP_FAILED(pipeline=name, state=state, why=describe(error), hint=hint),
        reason=getattr(error, "reason", ""),
        values={
            **refusal.values_of(error),
            "live_generation": generation,
            "journal_open": left,
            "step": step,
            "committed": True,
        },
    )


def _require_live(bench: Workspace) -> None:
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
            texts.NOT_LIVE(pipeline=name, generation=number, why=about.message),
            reason=about.reason,
            values={**about.values, "live_generation": 0, "generation": number, "journal_open": False},
        ) from error


def end(bench: Workspace, journal: Journal) -> None:
    """The transaction is over, either way."""
    journal.end()
    blobs.leave_no_folders(bench.paths, bench.pipeline)


def _back(trip: Transaction, journal: Journal, error: BaseException) -> None:
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
        name = trip.plan.pipeline
        hint = texts.RECOVER(pipeline=name) if left else texts.SEE_STATUS(pipeline=name)
        raise NeedsHuman(
            texts.UNDO_FAILED(pipeline=name, why=describe(error), second=describe(second), hint=hint),
            reason=getattr(second, "reason", ""),
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


def report(plan: Plan, bench: Workspace, error: BaseException, *, swapped: bool) -> ReloaderError:
    """The error a user sees once everything was put back."""
    if isinstance(error, LoadRejected) and not swapped:
        return refusal.rejected(bench, error, plan.ops)
    about, name = _about(plan, bench, error), plan.pipeline
    stays = _what_stays(plan, about)
    if isinstance(error, TestsFailed):
        message = texts.NOTHING_SWAPPED(pipeline=name, why=error.message, stays=stays)
        return TestsFailed(message, tests=error.tests, detail=error.lines, hint=error.hint, reason=error.reason)
    if isinstance(error, RefusedChange) and not swapped:
        message = texts.NOTHING_SWAPPED(pipeline=name, why=error.message, stays=stays)
        return RefusedChange(message, hint=error.hint, detail=error.lines, reason=error.reason, values=error.values)
    hint = error.hint if isinstance(error, (KernelError, ReloaderError)) and error.hint else _hint(error)
    if swapped:
        dropped = left_out(bench.left_out)
        message = texts.ROLLED_BACK(pipeline=name, why=describe(error), stays=stays, left_out=dropped)
        return RolledBack(message, hint=hint, **about)
    told = refusal.of_load(error)
    why = told.sentence if told else describe(error)
    return NothingSwapped(
        texts.NOTHING_SWAPPED(pipeline=name, why=why, stays=stays),
        hint=told.hint if told else hint,
        detail=told.said if told else "",
        rejection=told.to_json() if told else None,
        **about,
    )


class About(TypedDict):
    """What an error says beside its sentence."""

    reason: str
    values: dict[str, object]


def _about(plan: Plan, bench: Workspace, error: BaseException) -> About:
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


def _what_stays(plan: Plan, about: About) -> Message:
    if about["reason"] == attached.PANICKED:
        return texts.PANIC_STAYS()
    if not plan.from_generation:
        return texts.EVERYTHING_UNDONE()
    return texts.GENERATION_IS_LIVE(generation=plan.from_generation)


def left_out(counts: Mapping[str, int]) -> str:
    """What a conversion gave up, in words; empty when nothing."""
    return "".join(texts.LEFT_OUT(map=name, count=count) for name, count in sorted(counts.items()))


def _hint(error: BaseException) -> str:
    if not isinstance(error, OSError):
        return ""
    number = error.errno or 0
    if number in LIMITS:
        return LIMITS[number].hint
    if isinstance(error, KernelError) and number == errno.EAGAIN and error.call == "fork":
        return texts.PROCESS_LIMIT()
    hints = KERNEL_HINTS if isinstance(error, KernelError) else DISK_HINTS
    return hints[number]() if number in hints else ""
