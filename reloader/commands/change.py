"""apply, confirm, rollback, remove: the commands that change something, each under the writer lock."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from reloader.commands.environment import Environment, SlowSteps
from reloader.errors import ReloaderError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from reloader.engine.apply_request import Intake
    from reloader.lifecycle.carry_out import Result
    from reloader.pipeline.wish import Compiled

LONGEST = 7 * 86400.0  # seconds in which a confirmation may come


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
        pairs = compiled(args.files, env.paths)
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
    from reloader.pipeline.checks import seconds

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
    from reloader.trial.apply_each import Batch, apply_each

    requests = [_request(args, path, one) for path, one in pairs]
    batch = Batch(
        host=env.host, steps=steps, say=env.output.note, todo=requests,
        confirm_within=confirm_within, results=results, not_started=env.not_started,
    )  # fmt: skip
    apply_each(batch)


def _request(args: argparse.Namespace, path: Path, one: Compiled) -> Intake:
    from reloader.commands.sources import intake

    lossy, theirs = args.allow_lossy_rollback, args.take_over
    return intake(path, one, reset=args.reset, lossy_rollback=lossy, take_over=theirs, prune=args.prune)


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
    from reloader.disk.lock import writer_of
    from reloader.lifecycle import trial_record
    from reloader.lifecycle.ready import ready

    with writer_of(env.host) as writer:
        recovered = ready(writer, args.pipeline)
        for line in recovered:
            env.output.note(line)
        generation = trial_record.confirm(writer, args.pipeline)
    env.output.print(f"{args.pipeline}: generation {generation} is confirmed")
    env.output.document("Confirmation", {"pipeline": args.pipeline, "generation": generation})
    return 0


def rollback(args: argparse.Namespace, env: Environment) -> int:
    from reloader.disk.lock import writer_of
    from reloader.lifecycle.rollback import rollback as roll_back

    steps = SlowSteps(env.output)
    try:
        with writer_of(env.host) as writer:
            result = roll_back(
                writer, args.pipeline, args.to,
                progress=steps, tests=not args.skip_tests, leave_out=args.allow_lossy_rollback, reset=args.reset,
            )  # fmt: skip
    finally:
        steps.done()
    return _report(env, [result])


def remove(args: argparse.Namespace, env: Environment) -> int:
    from reloader.disk.lock import writer_of
    from reloader.lifecycle.remove import remove as remove_pipeline

    with writer_of(env.host) as writer:
        result = remove_pipeline(writer, args.pipeline, drop_state=args.state)
    return _report(env, [result])


def panic(args: argparse.Namespace, env: Environment) -> int:
    """Without the writer lock: whoever holds it may be what hangs."""
    from reloader.break_glass.panic import panic as panic_now
    from reloader.pipeline.enums import Panic

    done = panic_now(env.host, args.pipeline, Panic(args.stance) if args.stance else None)
    what = {Panic.OPEN: "every packet passes", Panic.CLOSED: "no packet passes"}[done.stance]
    env.output.print(f"{done.pipeline}: panic {done.stance}: {what} at {', '.join(done.attachments)}")
    env.output.note(f"`reloader apply FILE` or `reloader rollback {args.pipeline}` ends it")
    document = {"pipeline": done.pipeline, "stance": done.stance, "attachments": list(done.attachments)}
    env.output.document("Panic", document)
    return 0
