"""Finishing or taking back a transaction whose process died. `decide` is pure; `recover` acts on it.

Every changing command calls recover first, under the writer lock.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from reloader.disk import jsonable
from reloader.disk.lock import Writer
from reloader.engine.execute import take_back
from reloader.engine.journal import Journal, JournalLine, read_journal
from reloader.engine.transaction import end, finish_after_commit, left_out
from reloader.engine.workspace import Workspace, silent
from reloader.errors import NeedsHuman, ReloaderError
from reloader.fault_points import lasting
from reloader.frozen import frozen
from reloader.kernel.host import Host
from reloader.lifecycle import texts
from reloader.paths import BLOBS, FRAGMENTS, Paths
from reloader.pipeline.wish import Wish
from reloader.plan.ops import Op
from reloader.process.interrupts import Held
from reloader.store import records
from reloader.store.records import Current, Generation
from reloader.wording.message import Message, Text

RECOVERED: dict[str, list[Message]] = {}
"""Pipeline → what this process did to end its open transactions, a line for each."""


@frozen
class Decision:
    """forward: the commit record stands, `ops` are still to run. Else `ops` are to be taken back, in this order."""

    forward: bool
    ops: tuple[Op, ...]
    wish: Wish | None = None
    commit: tuple[Generation | None, Current] | None = None


def decide(lines: list[JournalLine]) -> Decision:
    """What an unfinished journal asks for. Pure. Only an op whose intent was written can have happened."""
    try:
        return _decide(lines)
    except (ValueError, TypeError, KeyError) as error:
        raise NeedsHuman(texts.OTHER_JOURNAL(why=error)) from error


def _decide(lines: list[JournalLine]) -> Decision:
    begin = next((line.body for line in lines if line.kind == "begin"), None)
    if begin is None:
        return Decision(forward=False, ops=())
    wish: Wish | None = jsonable.from_json(Wish | None, begin["wish"])
    commit = next((line.body for line in lines if line.kind == "commit"), None)
    if any(line.kind == "undo" for line in lines):
        commit = None  # writing it failed, and going back had begun
    if commit is None:
        begun = max((line.body["op"] + 1 for line in lines if line.kind == "intent"), default=0)
        return Decision(forward=False, ops=tuple(reversed(_ops(begin["ops"])[:begun])), wish=wish)
    generation: Generation | None = jsonable.from_json(Generation | None, commit["generation"])
    current: Current = jsonable.from_json(Current, commit["current"])
    return Decision(forward=True, ops=_ops(begin["after"]), wish=wish, commit=(generation, current))


def after_restart(decision: Decision, lines: list[JournalLine], boot_id: str) -> Decision:
    """Pins, links and maps went with the kernel they were in: only what is on disk is still owed. Pure."""
    began = next((line.body.get("boot_id", boot_id) for line in lines if line.kind == "begin"), boot_id)
    if began == boot_id:
        return decision
    return replace(decision, ops=tuple(op for op in decision.ops if op.on_disk))


def _ops(data: list[Any]) -> tuple[Op, ...]:
    return tuple(jsonable.from_json(Op, item) for item in data)


def recover(writer: Writer, pipeline: str, progress: Callable[[str], None] = silent) -> list[Message]:
    """Bring a pipeline whose transaction died to entirely old or entirely new; one line per journal found.

    Signals are held back during this; one that came is raised afterwards."""
    try:
        found = records.open_journals(writer.paths, pipeline)
        if not found:
            return []
        with Held() as held:
            done = [_recover_one(writer.host, pipeline, path, progress) for path in found]
            _sweep_fragments(writer.paths, pipeline)
            RECOVERED[pipeline] = done
    except OSError as error:
        raise stopped(pipeline, error) from error
    if held.interrupted:
        raise KeyboardInterrupt
    return done


def stopped(pipeline: str, error: OSError) -> NeedsHuman:
    """Return the error of a recovery that a system call ended. An open journal is not lost by it."""
    values: dict[str, object] = {"pipeline": pipeline, "errno": error.errno or 0}
    return NeedsHuman(texts.RECOVERY_STOPPED(pipeline=pipeline, why=error), values=values)


def _recover_one(host: Host, pipeline: str, path: Path, progress: Callable[[str], None]) -> Message:
    lines = read_journal(path)
    decision = after_restart(decide(lines), lines, host.kernel.boot_id())
    bench = Workspace(host=host, pipeline=pipeline, wish=decision.wish, commit=decision.commit)
    bench.progress = progress
    bench.served = any(op.serving for op in decision.ops)
    bench.resumed = _links_were_back(lines)
    journal = Journal(path, seq=len(lines))
    if decision.forward:
        finish_after_commit(bench, decision.ops, journal)
        return texts.COMPLETED(pipeline=pipeline, more=_moved(bench, texts.MOVED_ON))
    try:
        for op in decision.ops:
            if op.returns_state:
                with suppress(OSError):  # a full disk: the next attempt takes the links for not yet swapped back
                    journal.undo(_planned(lines).index(op))
            take_back(bench, op)
        end(bench, journal)
    except (OSError, ReloaderError) as error:
        journal.close()
        values: dict[str, object] = {"journal_open": path.exists(), "committed": False}
        raise NeedsHuman(texts.UNDO_FAILED(pipeline=pipeline, why=error, journal=path), values=values) from error
    return texts.ROLLED_BACK_AFTER_KILL(pipeline=pipeline, more=_moved(bench, texts.MOVED_BACK))


def _links_were_back(lines: list[JournalLine]) -> bool:
    """Whether an attempt before this one came as far as the state, which goes back after the links."""
    planned = _planned(lines)
    return any(line.kind == "undo" and planned[line.body["op"]].returns_state for line in lines)


def _planned(lines: list[JournalLine]) -> tuple[Op, ...]:
    begin = next((line.body for line in lines if line.kind == "begin"), None)
    return _ops(begin["ops"]) if begin else ()


def _moved(bench: Workspace, text: Text) -> str:
    """How much state of each map was not where it belongs, and how much of it was dropped."""
    moved = (text(map=name, count=count) for name, count in sorted(bench.moved.items()) if count)
    return "".join(moved) + left_out(bench.left_out)


def _sweep_fragments(paths: Paths, pipeline: str) -> None:
    """Half-written files of a process that was killed inside a write."""
    with suppress(OSError):  # nothing is owed for them: `gc` finds those that are left
        for folder in (paths.record_dir(pipeline), *map(paths.blob_dir, BLOBS)):
            for path in folder.rglob(FRAGMENTS):
                lasting("fragment.remove", partial(path.unlink, missing_ok=True))
