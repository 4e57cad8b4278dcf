"""apply, confirm, rollback, remove: the commands that change something, each under the writer lock."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from reloader.commands.environment import Environment, SlowSteps
from reloader.errors import NeedsHuman, ReloaderError, UsageError
from reloader.printable import counted

if TYPE_CHECKING:
    from pathlib import Path

    from reloader.lock import WriterLock
    from reloader.spec.wish import Compiled
    from reloader.txn.carry_out import Result
    from reloader.txn.intake import Intake
    from reloader.txn.on_trial import Watched

LONGEST = 7 * 86400.0  # seconds in which a confirmation may come
AGAIN = 60.0  # seconds to wait for the lock after a window: our own work is not given up because others write


def apply(args: argparse.Namespace, env: Environment) -> int:
    """One transaction per document, in order; the first failure ends it, what was committed before stays. Only a
    pipeline that needs a human does not block those behind it."""
    from reloader.commands.idle import nothing_to_do

    if not args.reset and not args.take_over and nothing_to_do(args.files, env):
        return 0
    from reloader.commands.sources import compiled

    steps = SlowSteps(env.output)
    results: list[Result] = []
    try:
        confirm_within = _seconds(args.confirm_timeout)
        steps.reading(args.files)
        pairs = compiled(args.files, env.layout)
        env.targets = [one.wish.pipeline for _, one in pairs]
        env.not_started = list(env.targets)
        _known_resets(args.reset, pairs)
        _long_enough(confirm_within, pairs)
        _apply_each(args, env, pairs, confirm_within, steps, results)
    except (ReloaderError, OSError, KeyboardInterrupt):
        _say_committed(env, results)
        raise
    finally:
        steps.done()
    return _report(env, results)


def _seconds(text: str | None) -> float:
    from reloader.spec.checks import seconds

    found = seconds(text) if text else 0.0
    if found is None or (text and not 0 < found <= LONGEST):
        raise UsageError(f"--confirm-timeout {text}: no such time", hint="as 120s or 5m, a week at most")
    return found


def _long_enough(confirm_within: float, pairs: list[Any]) -> None:
    for _, one in pairs:
        health = one.wish.health
        if confirm_within and health and confirm_within < health.window:
            why = f"--confirm-timeout is shorter than the health window of {one.wish.pipeline}, {health.window:g} s"
            raise UsageError(why, hint="nobody should confirm what is still looked at")


def _apply_each(
    args: argparse.Namespace,
    env: Environment,
    pairs: list[Any],
    confirm_within: float,
    steps: SlowSteps,
    results: list[Result],
) -> None:
    """One after the other, under one writer lock that is let go during health windows."""
    from reloader.txn import trial
    from reloader.txn.several import worst

    patience, failed = 0.0, list[ReloaderError]()
    while pairs:
        prepared = _prepared(env, pairs, confirm_within, failed)
        watched: Watched | None = None
        try:
            with trial.lock_in_turn(env.layout, patience) as lock:
                while pairs and not (watched and watched.guard):
                    (path, one), watched = pairs.pop(0), prepared.pop(0)
                    env.not_started = [later.wish.pipeline for _, later in pairs]
                    try:
                        results.append(_apply_one(env, _request(args, path, one), watched, lock, steps))
                        if results[-1].interrupted and pairs:
                            raise KeyboardInterrupt
                    except NeedsHuman as error:
                        failed.append(error)
                        watched = None
            steps.done()
            if watched and watched.guard:
                results.append(_outcome(env, watched, results.pop()))
        except NeedsHuman as error:  # it failed its trial and could not be taken back
            failed.append(error)
        except KeyboardInterrupt:
            _take_back(watched, results)
            raise
        patience = AGAIN
    if failed:
        raise worst(failed, [])


def _prepared(
    env: Environment, pairs: list[Any], confirm_within: float, failed: list[ReloaderError]
) -> list[Watched | None]:
    """One for each pair; None: it needs no trial. A pipeline that needs a human is taken out, and does not block the
    others."""
    prepared: list[Watched | None] = []
    for pair in list(pairs):
        wish = pair[1].wish
        if not confirm_within and wish.health is None:
            prepared.append(None)
            continue
        from reloader.txn import on_trial  # late: most changes need none of it

        try:
            prepared.append(on_trial.prepare(env.kernel, env.layout, wish, confirm_within))
        except NeedsHuman as error:
            failed.append(error)
            pairs.remove(pair)
    return prepared


def _request(args: argparse.Namespace, path: Path, one: Compiled) -> Intake:
    from reloader.commands.sources import intake

    lossy, theirs = args.allow_lossy_rollback, args.take_over
    return intake(path, one, reset=args.reset, lossy_rollback=lossy, take_over=theirs, prune=args.prune)


def _apply_one(
    env: Environment, request: Intake, watched: Watched | None, lock: WriterLock, steps: SlowSteps
) -> Result:
    from reloader.txn.lifecycle_apply import apply as apply_version

    if watched is None:
        return apply_version(env.kernel, env.layout, request, lock, progress=steps)
    from reloader.txn import on_trial

    return on_trial.apply(env.kernel, env.layout, request, lock, watched, progress=steps)


def _take_back(watched: Watched | None, results: list[Result]) -> None:
    """After an interrupt: what is on trial by this command is not left so."""
    if watched is None or watched.guard is None:
        return
    from reloader.txn import on_trial

    if results and results[-1].pipeline == watched.wish.pipeline:
        results.pop()
    on_trial.take_back(watched)


def _outcome(env: Environment, watched: Watched, result: Result) -> Result:
    """Wait for it, and say what is waited for."""
    from reloader.txn import on_trial

    health = watched.wish.health
    if health is not None:
        checks = counted(len(health.checks), "check")
        env.output.note(
            f"{result.pipeline}: generation {result.generation} serves, on trial for {health.window:g} s ({checks})"
        )
    return on_trial.outcome(watched, result, env.output.note)


def _known_resets(reset: list[str], pairs: list[Any]) -> None:
    known = {m.name for _, one in pairs for m in one.wish.maps}
    unknown = [name for name in reset if name not in known]
    if unknown:
        raise UsageError(f"--reset names no map of these pipelines: {', '.join(unknown)}")


def _say_committed(env: Environment, results: list[Result]) -> None:
    """Several documents: what was committed before the failing one stays, and is said."""
    committed = [r for r in results if r.changed]
    if committed:
        names = ", ".join(f"{r.pipeline} (generation {r.generation})" for r in committed)
        env.output.note(f"committed before the failure, and left so: {names}")


def _report(env: Environment, results: list[Result]) -> int:
    from reloader.commands.render import result_json, show_result

    for result in results:
        show_result(env.output, result)
        if result.interrupted:
            env.output.note(f"{result.pipeline}: the signal came after the commit: the change stands")
    env.output.document("Result", {"pipelines": [result_json(r) for r in results]})
    return 0


def confirm(args: argparse.Namespace, env: Environment) -> int:
    """The generation on trial stays."""
    from reloader.lock import writer_lock
    from reloader.txn import trial
    from reloader.txn.ready import ready

    with writer_lock(env.layout) as lock:
        recovered = ready(env.kernel, env.layout, args.pipeline, lock)
        for line in recovered:
            env.output.note(line)
        generation = trial.confirm(env.layout, args.pipeline, lock)
    env.output.print(f"{args.pipeline}: generation {generation} is confirmed")
    env.output.document("Confirmation", {"pipeline": args.pipeline, "generation": generation})
    return 0


def rollback(args: argparse.Namespace, env: Environment) -> int:
    from reloader.lock import writer_lock
    from reloader.txn.lifecycle_rollback import rollback as roll_back

    steps = SlowSteps(env.output)
    try:
        with writer_lock(env.layout) as lock:
            result = roll_back(
                env.kernel, env.layout, args.pipeline, args.to, lock,
                progress=steps, tests=not args.skip_tests, leave_out=args.allow_lossy_rollback, reset=args.reset,
            )  # fmt: skip
    finally:
        steps.done()
    return _report(env, [result])


def remove(args: argparse.Namespace, env: Environment) -> int:
    from reloader.lock import writer_lock
    from reloader.txn.lifecycle_remove import remove as remove_pipeline

    with writer_lock(env.layout) as lock:
        result = remove_pipeline(env.kernel, env.layout, args.pipeline, lock, drop_state=args.state)
    return _report(env, [result])


def panic(args: argparse.Namespace, env: Environment) -> int:
    """Without the writer lock: whoever holds it may be what hangs."""
    from reloader.spec.words import Panic
    from reloader.txn.panic import panic as panic_now

    done = panic_now(env.kernel, env.layout, args.pipeline, Panic(args.stance) if args.stance else None)
    what = {Panic.OPEN: "every packet passes", Panic.CLOSED: "no packet passes"}[done.stance]
    env.output.print(f"{done.pipeline}: panic {done.stance}: {what} at {', '.join(done.attachments)}")
    env.output.note(f"`reloader apply FILE` or `reloader rollback {args.pipeline}` ends it")
    document = {"pipeline": done.pipeline, "stance": done.stance, "attachments": list(done.attachments)}
    env.output.document("Panic", document)
    return 0
