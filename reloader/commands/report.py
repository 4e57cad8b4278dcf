"""init, validate, plan, status, history, show, diff: the commands that only read."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reloader.commands.environment import Environment, SlowSteps
from reloader.errors import ReloaderError
from reloader.wording.printable import counted

if TYPE_CHECKING:
    from reloader.pipeline.wish import Wish
    from reloader.plan.model import Plan


def init(args: argparse.Namespace, env: Environment) -> int:
    """A first YAML from object files, to stdout."""
    from reloader.pipeline.scaffold import first_yaml

    for line in first_yaml([Path(p) for p in args.objects]).rstrip("\n").split("\n"):
        env.output.print(line)
    return 0


def validate(args: argparse.Namespace, env: Environment) -> int:
    """Everything that can be said without a kernel. Writes nothing, not even the cache."""
    from reloader.commands.sources import checked

    pipelines = checked(args.files)
    for path, one in pipelines:
        wish = one.wish
        env.output.print(
            f"{path}: {wish.pipeline}: valid ({counted(len(wish.programs), 'program')}, "
            f"{counted(len(wish.maps), 'map')}, {counted(len(wish.attachments), 'attachment')}{_tests(wish)})"
        )
    env.output.document("Validation", {"valid": True, "pipelines": [c.wish.pipeline for _, c in pipelines]})
    return 0


def _tests(wish: Wish) -> str:
    return f", {counted(wish.tests.count, 'test')}" if wish.tests else ""


def plan(args: argparse.Namespace, env: Environment) -> int:
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
    from reloader.lifecycle.planning import plan as plan_change
    from reloader.trial import start

    plans, errors = [], []
    steps.reading(args.files)
    for path, one in compiled(args.files, env.paths):
        _say_unfinished(env, one.wish.pipeline)
        steps(f"planning {one.wish.pipeline}")
        lossy, theirs = args.allow_lossy_rollback, args.take_over
        request = intake(path, one, reset=args.reset, lossy_rollback=lossy, take_over=theirs, prune=args.prune)
        try:
            plans.append(plan_change(env.host, request))
            start.checkable(env.host, one.wish)
        except ReloaderError as error:
            errors.append(error)
    return plans, errors


def _say_unfinished(env: Environment, pipeline: str) -> None:
    """A plan is made of what stands there now; `apply` recovers before it makes its own, and waits for trials."""
    from reloader.store import records

    if records.on_trial(env.paths, [pipeline]):
        env.output.note(
            f"{pipeline}: what serves is unconfirmed; it may go back first, and apply is refused until then"
        )
    if records.open_journals(env.paths, pipeline):
        env.output.note(f"{pipeline}: an interrupted transaction will be recovered first; this plan may change by that")


def status(args: argparse.Namespace, env: Environment) -> int:
    """Every pipeline, as records and kernel tell."""
    from reloader.report import status as status_of

    found = status_of.collect(env.host, args.pipelines)
    if not found:
        env.output.print("no pipelines")
    for one in found:
        _show_status(env, one)
    env.output.document("Status", {"pipelines": found})
    return 0


STATE_COLOUR = {"serving": "green", "unconfirmed": "yellow", "removed": "dim", "orphaned": "yellow"}
"""All others are red."""


def _show_status(env: Environment, one: dict[str, Any]) -> None:
    out = env.output
    where, states = "", list[str | tuple[str, str]]()
    for state in one["states"]:
        states += [", " if states else "  ", (state, STATE_COLOUR.get(state, "red"))]
    if one["generation"]:
        where = f"  generation {one['generation']}, load {one['load']}, since {one['since']} ({one['reason']})"
    out.print((one["pipeline"], "bold"), *states, where)
    for problem in one["problems"]:
        out.print("  ", (f"! {problem}", "yellow"))
    for note in one["notes"]:
        out.print(f"  {note}")
    rows = [(f"  {a['id']}", a["program"], a["prog_id"], a["link_id"], a["seen"]) for a in one["attachments"]]
    out.table(("  ATTACHMENT", "PROGRAM", "PROG ID", "LINK ID", "SEEN"), rows)
    maps = [(f"  {m['name']}", _role(m), m["type"], m["id"], m["entries"], m["pub"] or m["pin"]) for m in one["maps"]]
    out.table(("  MAP", "ROLE", "TYPE", "ID", "ENTRIES", "PIN"), maps)


def _role(row: dict[str, Any]) -> str:
    return f"{row['role']}, parked" if row["parked"] else str(row["role"])


def history(args: argparse.Namespace, env: Environment) -> int:
    """Stored generations, newest last."""
    from reloader.report import status as status_of

    rows = status_of.history(env.paths, args.pipeline)
    env.output.table(
        ("GENERATION", "LOAD", "CREATED", "SOURCE", "WHY", "TRIAL", "CHANGES"),
        [
            (
                f"{'*' if r['current'] else ' '} {r['generation']}",
                r["load"],
                r["created"],
                r["source"],
                r["reason"],
                r["outcome"] or "-",
                _short(r),
            )
            for r in rows
        ],
    )
    env.output.document("History", {"pipeline": args.pipeline, "generations": rows})
    return 0


def _short(row: dict[str, Any]) -> str:
    lines = [line for line in row["changes"] if not line.startswith(" ")]
    return lines[0] + (f" (+{len(lines) - 1} more)" if len(lines) > 1 else "") if lines else ""


def show(args: argparse.Namespace, env: Environment) -> int:
    """One generation, whole, or the contents of one of its maps."""
    if args.map or args.live:
        from reloader.commands.live import show_map

        return show_map(args, env)
    from reloader.report import status as status_of

    body = status_of.show(env.paths, args.pipeline, args.generation)
    _show_tree(env, body)
    env.output.document("Generation", body)
    return 0


def _show_tree(env: Environment, body: dict[str, Any], indent: int = 0) -> None:
    """Nested values as indented lines, a list of flat records as one line each."""
    pad = "  " * indent
    for key, value in body.items():
        if isinstance(value, dict) and value:
            env.output.print(f"{pad}{key}:")
            _show_tree(env, value, indent + 1)
        elif isinstance(value, list) and value:
            env.output.print(f"{pad}{key}:")
            for item in value:
                env.output.print(f"{pad}  - {_one_line(item)}")
        else:
            env.output.print(f"{pad}{key}: {_one_line(value)}")


def _one_line(item: Any) -> str:
    if isinstance(item, dict):
        return "  ".join(f"{k}={_one_line(v)}" for k, v in item.items() if v not in (None, "", [], {}))
    if isinstance(item, bool):
        return "yes" if item else "no"
    return "none" if item in (None, "", [], {}) else str(item)


def diff(args: argparse.Namespace, env: Environment) -> int:
    """What differs between two generations, or between the current one and the kernel."""
    if args.live or args.new is None:
        from reloader.commands.live import show_drift

        return show_drift(args, env)
    from reloader.report import status as status_of

    lines = status_of.diff(env.paths, args.pipeline, args.old, args.new)
    colours = {"+": "green", "-": "red", "~": "yellow"}
    for line in lines:
        env.output.print((line, colours.get(line[0], "")))
    if not lines:
        env.output.print(f"generations {args.old} and {args.new} ask for the same")
    env.output.document(
        "Diff", {"pipeline": args.pipeline, "old": args.old, "new": args.new, "live": False, "lines": lines}
    )
    return 0
