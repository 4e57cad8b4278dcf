"""apply: make the kernel match the YAML."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from reloader.commands import texts
from reloader.commands.environment import Environment, SlowSteps
from reloader.commands.parser import Commands, change_options, command, files
from reloader.errors import ReloaderError, UsageError

if TYPE_CHECKING:
    from reloader.lifecycle.carry_out import Result

LONGEST = 7 * 86400.0  # seconds in which a confirmation may come


def arguments(commands: Commands) -> None:
    """Add the command and its options."""
    parser = command(
        commands,
        "apply",
        run,
        "make the kernel match the YAML",
        """Runs one transaction per document, in order. It loads the new version beside the running version, fills
or shares its maps, and swaps each attachment by a compare-and-swap link update. If the verifier, the kernel
or the disk refuses, the running version stays (exit 1) or is restored (exit 3).

With `health:` in the YAML, the new version is unconfirmed until its health window ends. The first check that
fails rolls it back, state included (exit 3). So does ^C. A guard process watches the window: it continues
when the terminal is lost or this command is killed. Until then, another apply of the same pipeline is
refused (exit 75). Other pipelines are not affected.

--confirm-timeout also asks for a confirmation. The command ends with the health window, or at once without
one. The new version rolls back unless `reloader confirm NAME` comes within that time after the swap.""",
        changes=True,
    )
    files(parser)
    change_options(parser)
    parser.add_argument(
        "--confirm-timeout", metavar="TIME", help="roll back unless confirmed within this time, for example 120s or 5m"
    )


def run(args: argparse.Namespace, env: Environment) -> int:
    """One transaction per document, in order; the first failure ends it, what was committed before stays. Only a
    pipeline that needs a human does not block those behind it."""
    from reloader.commands.idle import nothing_to_do

    if not args.reset and not args.take_over and nothing_to_do(args.files, env):
        return 0
    from reloader.commands.render import report_results
    from reloader.commands.sources import compiled

    steps = SlowSteps(env.output)
    results: list[Result] = []
    try:
        confirm_within = _seconds(args.confirm_timeout)
        steps.reading(args.files)
        pairs = compiled(args.files, env.paths)
        env.targets = [one.wish.pipeline for _, one in pairs]
        env.not_started = list(env.targets)
        _require_known(args.reset, pairs)
        _require_long_enough(confirm_within, pairs)
        _apply_each(args, env, pairs, confirm_within, steps, results)
    except (ReloaderError, OSError, KeyboardInterrupt):
        _note_committed(env, results)
        raise
    finally:
        steps.done()
    return report_results(env.output, results)


def _seconds(text: str | None) -> float:
    from reloader.pipeline.checks import seconds

    found = seconds(text) if text else 0.0
    if found is None or (text and not 0 < found <= LONGEST):
        raise UsageError(texts.CONFIRM_TIMEOUT(text=text))
    return found


def _require_long_enough(confirm_within: float, pairs: list[Any]) -> None:
    for _, one in pairs:
        health = one.wish.health
        if confirm_within and health and confirm_within < health.window:
            raise UsageError(texts.CONFIRM_BEFORE_HEALTH(pipeline=one.wish.pipeline, window=health.window))


def _apply_each(
    args: argparse.Namespace,
    env: Environment,
    pairs: list[Any],
    confirm_within: float,
    steps: SlowSteps,
    results: list[Result],
) -> None:
    from reloader.commands.sources import intake
    from reloader.trial.apply_each import Batch, apply_each

    batch = Batch(
        host=env.host, steps=steps, say=env.output.note, todo=[intake(path, one, args) for path, one in pairs],
        confirm_within=confirm_within, results=results, not_started=env.not_started,
    )  # fmt: skip
    apply_each(batch)


def _require_known(reset: list[str], pairs: list[Any]) -> None:
    known = {m.name for _, one in pairs for m in one.wish.maps}
    unknown = [name for name in reset if name not in known]
    if unknown:
        raise UsageError(texts.RESET_UNKNOWN(names=unknown))


def _note_committed(env: Environment, results: list[Result]) -> None:
    """Several documents: what was committed before the failing one stays, and is said."""
    committed = [f"{r.pipeline} (generation {r.generation})" for r in results if r.changed]
    if committed:
        env.output.note(texts.COMMITTED_BEFORE(committed=committed))
