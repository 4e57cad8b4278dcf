"""A generation on trial, as the records have it: how long it still is, who guards it, and whether nobody does."""

from __future__ import annotations

import time
from contextlib import suppress

from reloader.store.records import OutcomeKind, Trial, TrialOutcome

AGAINST = (OutcomeKind.BACK, OutcomeKind.STAYS, OutcomeKind.REMOVED)


def failed(outcome: TrialOutcome | None) -> bool:
    """Whether a trial ended against its generation: it never comes back by itself."""
    return outcome is not None and outcome.kind in AGAINST


def now() -> float:
    """Seconds since boot, suspended ones too."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def born(pid: int) -> int:
    """When a process started, in clock ticks since boot; 0: there is none."""
    with suppress(OSError), open(f"/proc/{pid}/stat", "rb") as file:
        fields = file.read().rpartition(b")")[2].split()
        return 0 if fields[0] in (b"Z", b"X") else int(fields[19])
    return 0


def guarded(trial: Trial) -> bool:
    """Whether its guard lives."""
    return trial.guard_born > 0 and born(trial.guard) == trial.guard_born


def overdue(trial: Trial, boot_id: str) -> bool:
    """Whether nobody will decide any more: its time is up and its guard gone, or stuck; or all that was in a boot
    that is over."""
    if trial.boot_id != boot_id:
        return True
    late = now() - trial.until
    return late >= 0 and (late > trial.grace or not guarded(trial))


def left(trial: Trial, boot_id: str) -> float:
    """Seconds until it is decided, one way or the other."""
    return max(0.0, trial.until - now()) if trial.boot_id == boot_id else 0.0
