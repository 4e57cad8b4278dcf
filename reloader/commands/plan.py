"""plan: what apply would do."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from reloader.commands import texts
from reloader.commands.environment import Environment, SlowSteps
from reloader.commands.parser import Commands, change_options, command, files
from reloader.errors import ReloaderError

if TYPE_CHECKING:
    from reloader.plan.model import Plan


def arguments(commands: Commands) -> None:
    """Add the command and its options."""
    parser = command(
        commands,
        "plan",
        run,
        "show what apply would change, how, and what packets could notice",
        """Changes nothing. Signs: + add, - remove, ~ change in place, -/+ replace. The column CAS tells whether the
kernel compares the old program before the swap. A change that would lose state is refused with all
differences.""",
    )
    files(parser)
    change_options(parser)
    parser.add_argument("--ops", action="store_true", help="print the ops too, in their order")
    parser.add_argument("--detailed-exitcode", action="store_true", help="exit 2 when changes are pending")


def run(args: argparse.Namespace, env: Environment) -> int:
    """What apply would do. Every document is planned, then all refusals are reported."""
    from reloader.commands.render import plan_json, show_plan

    steps = SlowSteps(env.output)
    try:
        plans, errors = _planned(args, env, steps)
    finally:
        steps.done()
    for made in plans:
        show_plan(env.output, made, ops=args.ops)
    if errors:
        for refused in errors[:-1]:
            env.output.tell(refused)
        raise errors[-1]
    env.output.document("Plan", {"pipelines": [plan_json(made, ops=args.ops) for made in plans]})
    return 2 if args.detailed_exitcode and any(made.changes for made in plans) else 0


def _planned(args: argparse.Namespace, env: Environment, steps: SlowSteps) -> tuple[list[Plan], list[ReloaderError]]:
    from reloader.commands.sources import compiled, intake
    from reloader.lifecycle.planning import plan
    from reloader.trial import start

    plans, errors = [], []
    steps.reading(args.files)
    for path, one in compiled(args.files, env.paths):
        _note_unfinished(env, one.wish.pipeline)
        steps(f"planning {one.wish.pipeline}")
        try:
            plans.append(plan(env.host, intake(path, one, args)))
            start.checkable(env.host, one.wish)
        except ReloaderError as error:
            errors.append(error)
    return plans, errors


def _note_unfinished(env: Environment, pipeline: str) -> None:
    """A plan is made of what stands there now; `apply` recovers before it makes its own, and waits for trials."""
    from reloader.store import records

    if records.on_trial(env.paths, [pipeline]):
        env.output.note(texts.TRIAL_OPEN(pipeline=pipeline))
    if records.open_journals(env.paths, pipeline):
        env.output.note(texts.TRANSACTION_OPEN(pipeline=pipeline))
