"""What became of the kernel when a command ended early, by a signal or a failing system call: read from the records,
the open journals and what this process committed, never guessed.

Called by cli.py.
"""

from __future__ import annotations

import os
import sys
from dataclasses import field
from typing import TYPE_CHECKING, Any

from reloader.errors import Interrupted, NeedsHuman, ReloaderError, RolledBack
from reloader.frozen import frozen

if TYPE_CHECKING:
    from reloader.paths import Paths

ENGINE = "reloader.engine.transaction", "reloader.lifecycle.recover"


@frozen
class Aftermath:
    """By pipeline. `ours`: journals that this very process left open."""

    committed: dict[str, int]  # generation
    recovered: dict[str, list[str]]  # what was done to end earlier transactions
    live: dict[str, int | None]  # generation as the records have it now; 0: removed; None: damaged
    on_trial: tuple[str, ...] = ()
    open: tuple[str, ...] = ()
    ours: tuple[str, ...] = ()
    started: bool = field(default=True)  # whether it had come so far that anything could be changed

    @property
    def stands(self) -> bool:
        """Whether all that was committed is live, for good."""
        return bool(self.committed) and all(self.live.get(n) == g for n, g in self.committed.items())

    def values(self) -> dict[str, object]:
        """For an error's `values`."""
        out: dict[str, object] = {
            "live_generations": dict(sorted(self.live.items())),
            "committed": dict(sorted(self.committed.items())),
            "recovered": sorted(self.recovered),
            "unconfirmed": sorted(self.on_trial),
            "open_transactions": sorted(self.open),
            "journal_open": bool(self.open),
        }
        if len(self.live) == 1:
            out["live_generation"] = next(iter(self.live.values()))
        return out


def forget() -> None:
    """At the start of a command, in a process that may run several."""
    for ledger in _ledgers():
        ledger.clear()


def _ledgers() -> tuple[dict[str, Any], dict[str, Any]]:
    transaction, recover = (sys.modules.get(name) for name in ENGINE)
    committed = transaction.COMMITTED if transaction else {}
    return committed, recover.RECOVERED if recover else {}


def look(paths: Paths, targets: list[str]) -> Aftermath:
    """What the records say now of the pipelines that the command was about."""
    if ENGINE[0] not in sys.modules:
        return Aftermath(committed={}, recovered={}, live={}, started=False)
    from reloader.store import records

    committed, recovered = _ledgers()
    live: dict[str, int | None] = {}
    on_trial, opened, ours = [], [], []
    mine = f"-{os.getpid()}"
    for name in dict.fromkeys([*targets, *committed, *recovered]):
        try:
            current = records.read_current(paths, name)
            live[name] = current.generation if current else 0
            on_trial += [name] if current and current.trial else []
        except (OSError, ReloaderError):
            live[name] = None
        try:
            journals = records.open_journals(paths, name)
        except OSError:  # whether one is open cannot be told
            opened.append(name)
            continue
        opened += [name] if journals else []
        ours += [name] if any(path.stem.endswith(mine) for path in journals) else []
    return Aftermath(
        committed=dict(committed),
        recovered=dict(recovered),
        live=live,
        on_trial=tuple(on_trial),
        open=tuple(opened),
        ours=tuple(ours),
    )


def of_interrupt(found: Aftermath, not_started: list[str]) -> ReloaderError | str:
    """The error that an interrupted command ends with; or, where its change stands, a note for exit code 0."""
    values = {**found.values(), "not_started": not_started}
    if found.ours:
        names = ", ".join(found.ours)
        return NeedsHuman(
            f"interrupted; a transaction of {names} is still open",
            hint=f"`reloader recover {' '.join(found.ours)}` finishes it or takes it back",
            reason="interrupted",
            values=values,
        )
    if back := [n for n, g in found.committed.items() if found.live.get(n) not in (g, None)]:
        what = ", ".join(f"{n}: generation {found.live[n]} is live" for n in back)
        return RolledBack(f"interrupted; rolled back: {what}", reason="interrupted", values=values)
    if found.stands and not not_started and not found.on_trial:
        return f"interrupted after the commit; {_lines(found.committed)}"
    told = [_lines(found.committed)] if found.committed else ["nothing was changed"]
    if found.recovered:
        told = [line for lines in found.recovered.values() for line in lines]
    told += [f"generation {found.live[n]} of {n} is unconfirmed; its guard decides" for n in found.on_trial]
    told += [f"{n} was not started" for n in not_started] if found.committed else []
    told += [f"an earlier transaction of {n} is still open" for n in found.open]
    hint = f"`reloader recover {' '.join(found.open)}` finishes it or takes it back" if found.open else ""
    return Interrupted(f"interrupted; {'; '.join(told)}", hint=hint, reason="interrupted", values=values)


def of_failure(found: Aftermath, error: OSError) -> NeedsHuman | None:
    """A system call failed outside a transaction; None when nothing was changed before it did."""
    if not found.committed and not found.ours:
        return None
    names = " ".join([*found.committed, *(n for n in found.ours if n not in found.committed)])
    what = _lines(found.committed) if found.committed else "a transaction is still open"
    again = f"`reloader recover {names}` finishes it" if found.ours else f"`reloader status {names}` shows the state"
    return NeedsHuman(
        f"{what}, but what follows failed: {error}",
        hint=again,
        reason="cleanup-failed",
        values={**found.values(), "errno": error.errno},
    )


def _lines(committed: dict[str, int]) -> str:
    return ", ".join(f"{n}: generation {g} is live" if g else f"{n} is removed" for n, g in committed.items())
