"""apply, rollback, remove: the commands that change something, each under the writer lock."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from reloader.commands.environment import Environment, SlowSteps
from reloader.errors import ReloaderError, UsageError

if TYPE_CHECKING:
    from reloader.txn.session import Result


def apply(args: argparse.Namespace, env: Environment) -> int:
    """One transaction per document, in order; the first failure ends it, what was committed before stays."""
    from reloader.commands.idle import nothing_to_do

    if not args.reset and nothing_to_do(args.files, env):
        return 0
    from reloader.commands.sources import compiled, intake
    from reloader.lock import writer_lock
    from reloader.txn import session

    steps = SlowSteps(env.output)
    results: list[Result] = []
    try:
        steps.reading(args.files)
        pairs = compiled(args.files, env.layout)
        _known_resets(args.reset, pairs)
        with writer_lock(env.layout) as lock:
            for path, one in pairs:
                request = intake(
                    path, one, reset=args.reset, lossy_rollback=args.allow_lossy_rollback, take_over=args.take_over
                )
                results.append(session.apply(env.kernel, env.layout, request, lock, progress=steps))
    except (ReloaderError, OSError, KeyboardInterrupt):
        _say_committed(env, results)
        raise
    finally:
        steps.done()
    return _report(env, results)


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
    env.output.document("Result", {"pipelines": [result_json(r) for r in results]})
    return 0


def rollback(args: argparse.Namespace, env: Environment) -> int:
    from reloader.lock import writer_lock
    from reloader.txn import session

    steps = SlowSteps(env.output)
    try:
        with writer_lock(env.layout) as lock:
            result = session.rollback(env.kernel, env.layout, args.pipeline, args.to, lock, progress=steps)
    finally:
        steps.done()
    return _report(env, [result])


def remove(args: argparse.Namespace, env: Environment) -> int:
    from reloader.lock import writer_lock
    from reloader.txn import session

    with writer_lock(env.layout) as lock:
        result = session.remove(env.kernel, env.layout, args.pipeline, lock, drop_state=args.state)
    return _report(env, [result])
