"""What every change does first: end what a dead predecessor left, and take back what nobody confirmed in time.

`recover_all` does it for several pipelines. Called by lifecycle/apply.py, lifecycle/rollback.py, lifecycle/remove.py
and commands/.
"""

from __future__ import annotations

from collections.abc import Collection

from reloader.disk.atomic_files import listing
from reloader.disk.lock import Writer
from reloader.engine.transaction import Progress
from reloader.errors import NotFoundError
from reloader.lifecycle import texts
from reloader.lifecycle.carry_out import Result, quiet
from reloader.lifecycle.each import each
from reloader.lifecycle.recover import recover, stopped
from reloader.lifecycle.return_to_previous import describe_return, end_or_give_up
from reloader.paths import PIPELINE_NAME, Paths
from reloader.pins.own_folders import require_own_folders
from reloader.process.interrupts import Held
from reloader.store import records, trial_terms
from reloader.store.rollback_targets import known
from reloader.wording.message import Message


def ready(writer: Writer, pipeline: str) -> list[Message]:
    """What every change does first: end what a dead predecessor left, and take back what nobody confirmed in time.
    NoWayBack when that cannot be done; it is not tried again."""
    return make_ready(writer, pipeline)[0]


def make_ready(writer: Writer, pipeline: str, progress: Progress = quiet) -> tuple[list[Message], Result | None]:
    """What was done, and the result of taking a forgotten version back, if there was one."""
    require_own_folders(writer.host, pipeline)
    done = recover(writer, pipeline, progress)
    current = records.read_current(writer.paths, pipeline)
    if current is None or not current.trial or not trial_terms.overdue(current.trial, writer.kernel.boot_id()):
        return done, None
    with Held() as held:
        sent = end_or_give_up(writer, current, texts.GUARD_ENDED())
    if held.interrupted:
        raise KeyboardInterrupt
    number, result = current.trial.generation, describe_return(current, sent)
    done.append(texts.TRIAL_ENDED(pipeline=pipeline, generation=number, why=texts.GUARD_ENDED(), result=result))
    return done, sent


def recover_all(writer: Writer, names: Collection[str], *, progress: Progress = quiet) -> list[Message]:
    """Recover the named pipelines (when none is named, all with an open journal or on trial); one bad one does not
    stop the rest."""
    unknown = sorted(n for n in set(names) if not PIPELINE_NAME.match(n) or not writer.paths.record_dir(n).is_dir())
    if unknown:
        raise NotFoundError(texts.NO_SUCH_PIPELINE(names=unknown, hint=known(writer.paths)))
    todo = sorted(set(names) or {p.name for p in listing(writer.paths.pipelines_dir) if _owes(writer.paths, p.name)})
    return each(todo, lambda name: _recovered(writer, name, progress))


def _owes(paths: Paths, pipeline: str) -> bool:
    """Whether a pipeline has an open journal, a version on trial, or files that cannot be read."""
    try:
        return bool(records.open_journals(paths, pipeline) or records.on_trial(paths, [pipeline]))
    except OSError:
        return True


def _recovered(writer: Writer, pipeline: str, progress: Progress) -> list[Message]:
    try:
        return make_ready(writer, pipeline, progress)[0]
    except OSError as error:
        raise stopped(pipeline, error) from error
