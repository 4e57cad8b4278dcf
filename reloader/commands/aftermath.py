"""What became of the kernel when a command ended early, by a signal or a failing system call: read from the records,
the open journals and what this process committed, never guessed.

Called by cli.py.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import field
from typing import TYPE_CHECKING, Any

from reloader.commands import texts
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
        open_still = texts.INTERRUPTED_OPEN(pipelines=found.ours)
        return NeedsHuman(open_still, hint=_finish_or_undo(found.ours), reason="interrupted", values=values)
    if back := [(n, found.live[n]) for n, g in found.committed.items() if found.live.get(n) not in (g, None)]:
        live = ", ".join(texts.LIVE(pipeline=n, generation=g) for n, g in back)
        return RolledBack(texts.INTERRUPTED_ROLLED_BACK(live=live), reason="interrupted", values=values)
    if found.stands and not not_started and not found.on_trial:
        return texts.INTERRUPTED_LATE(done=_done(found.committed))
    facts = [_done(found.committed)] if found.committed else [texts.NOTHING_CHANGED()]
    if found.recovered:
        facts = [line for lines in found.recovered.values() for line in lines]
    facts += [texts.UNCONFIRMED(generation=found.live[n], pipeline=n) for n in found.on_trial]
    facts += [texts.NOT_STARTED(pipeline=n) for n in not_started] if found.committed else []
    facts += [texts.EARLIER_OPEN(pipeline=n) for n in found.open]
    early = texts.INTERRUPTED_EARLY(facts="; ".join(facts))
    hint = _finish_or_undo(found.open) if found.open else ""
    return Interrupted(early, hint=hint, reason="interrupted", values=values)


def of_failure(found: Aftermath, error: OSError) -> NeedsHuman | None:
    """A system call failed outside a transaction; None when nothing was changed before it did."""
    if not found.committed and not found.ours:
        return None
    names = " ".join([*found.committed, *(n for n in found.ours if n not in found.committed)])
    done = _done(found.committed) if found.committed else texts.STILL_OPEN()
    hint = (texts.FINISH if found.ours else texts.SHOW_STATE)(pipelines=names)
    failed = texts.CLEANUP_FAILED(done=done, why=error)
    return NeedsHuman(failed, hint=hint, values={**found.values(), "errno": error.errno})


def _finish_or_undo(pipelines: Sequence[str]) -> str:
    return texts.FINISH_OR_UNDO(pipelines=" ".join(pipelines))


def _done(committed: dict[str, int]) -> str:
    return ", ".join(
        texts.LIVE(pipeline=n, generation=g) if g else texts.REMOVED(pipeline=n) for n, g in committed.items()
    )
