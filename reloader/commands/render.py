"""Plans and results as tables and JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reloader.commands import texts
from reloader.commands.environment import Output
from reloader.disk import jsonable
from reloader.lifecycle.carry_out import Result
from reloader.packet_tests.outcome import Outcome
from reloader.plan.model import Line, Plan, Sign

if TYPE_CHECKING:
    from reloader.packet_tests.run import Result as Proof

SIGN_COLOUR = {Sign.ADD: "green", Sign.REMOVE: "red", Sign.CHANGE: "yellow", Sign.REPLACE: "yellow", Sign.KEEP: ""}
CAS = {True: "yes", False: "no", None: "-"}


def plan_json(plan: Plan, *, ops: bool = True) -> dict[str, Any]:
    """A plan as `plan -o json` prints it (schemas/plan.schema.json)."""
    body: dict[str, Any] = {
        "pipeline": plan.pipeline,
        "from_generation": plan.from_generation,
        "generation": plan.generation,
        "load": plan.load,
        "why": plan.why,
        "changes": plan.changes,
        "lines": [line_json(line) for line in plan.lines],
        "overwritten": list(plan.overwritten),
    }
    if ops:
        body |= {"ops": jsonable.to_json(plan.ops), "after": jsonable.to_json(plan.after)}
    return body


def line_json(line: Line) -> dict[str, Any]:
    return {**jsonable.to_json(line), "sign": line.sign.value.strip()}


def show_plan(output: Output, plan: Plan, *, ops: bool = False) -> None:
    """A plan for people."""
    if not plan.changes:
        output.print(texts.NOTHING_TO_DO(pipeline=plan.pipeline, generation=plan.from_generation))
        return
    before = (
        f"generation {plan.from_generation} → {plan.generation}"
        if plan.from_generation
        else f"generation {plan.generation}, new"
    )
    output.print((f"{plan.pipeline}: {before}: {plan.why}", "bold"))
    show_lines(output, plan.lines)
    if ops:
        _show_ops(output, plan)


def show_lines(output: Output, lines: tuple[Line, ...]) -> None:
    rows = [
        (line.sign.value, line.kind, line.name, line.action, CAS[line.cas], line.interruption, _brief(line))
        for line in lines
    ]
    header = ("", "KIND", "NAME", "WHAT", "CAS", "INTERRUPTION", "NOTES")
    output.table(header, rows, colours=[SIGN_COLOUR[line.sign] for line in lines])
    for line in lines:
        if line.detail:
            output.print(f"{line.kind} {line.name}:")
            for text in (*line.notes[1:], *line.detail):
                output.print(f"    {text}")


def _brief(line: Line) -> str:
    """Notes that fit a column; a conversion's stand below the table."""
    return line.notes[0] if line.detail else "; ".join(line.notes)


def _show_ops(output: Output, plan: Plan) -> None:
    for title, ops in (("ops", plan.ops), ("after the commit", plan.after)):
        output.print(f"{title}:")
        for number, op in enumerate(ops, 1):
            fields = {k: v for k, v in jsonable.to_json(op).items() if k != jsonable.IS}
            words = " ".join(f"{k}={v}" for k, v in fields.items() if isinstance(v, (str, int)))
            output.print(f"  {number:2} {op.TAG} {words}")


def result_json(result: Result) -> dict[str, Any]:
    """One pipeline's part of a Result document (schemas/result.schema.json)."""
    return {
        "pipeline": result.pipeline,
        "changed": result.changed,
        "generation": result.generation,
        "why": result.plan.why if result.plan else texts.NOTHING_TO_DO_WHY(),
        "lines": [line_json(line) for line in result.plan.lines] if result.plan and result.changed else [],
        "seconds": {k: round(v, 6) for k, v in result.seconds.items()},
        "recovered": list(result.recovered),
        "bridge": dict(result.bridge),
        "tests": [one.to_json() for one in result.proof],
        "outcome": result.outcome.words if result.outcome else "",
        "outcome_kind": result.outcome.kind.value if result.outcome else "",
        "left_out": result.left_out,
        "unconfirmed": round(result.unconfirmed, 3),
    }


def report_results(output: Output, results: list[Result]) -> int:
    """Print what each pipeline's change came to, and return the exit code."""
    for result in results:
        show_result(output, result)
        if result.interrupted:
            output.note(texts.SIGNAL_AFTER_COMMIT(pipeline=result.pipeline))
    output.document("Result", {"pipelines": [result_json(r) for r in results]})
    return 0


def show_proof(output: Output, proof: tuple[Proof, ...]) -> None:
    """How many tests passed, and what of them was skipped."""
    if proof:
        passed = sum(one.outcome is Outcome.PASSED for one in proof)
        output.print(f"  {texts.TESTS_PASSED(passed=passed, count=len(proof))}")
    for one in proof:
        for line in one.said:
            output.print(f"    {one.name}: {line}")


def show_result(output: Output, result: Result) -> None:
    """What was done, a line for each change; `plan` and `history` have the details."""
    for note in result.recovered:
        output.note(note)
    if not result.changed or result.plan is None:
        output.print(texts.NOTHING_TO_DO(pipeline=result.pipeline, generation=result.generation))
        return
    after = f" after {result.seconds['total'] * 1000:.0f} ms" if "total" in result.seconds else ""
    text = texts.APPLIED if result.generation else texts.DETACHED
    output.print(text(pipeline=result.pipeline, generation=result.generation, after=after, why=result.plan.why))
    show_proof(output, result.proof)
    if result.bridge:
        output.print("  the bridge: " + ", ".join(f"{count:,} {name}" for name, count in result.bridge.items()))
    for name, count in sorted(result.left_out.items()):
        output.print(f"  {texts.LEFT_OUT(map=name, count=count)}")
    if result.outcome:
        output.print(f"  {result.outcome.words}")
    if result.unconfirmed:
        output.print(f"  {texts.ROLLS_BACK_IN(pipeline=result.pipeline, seconds=result.unconfirmed)}")
    for line in result.plan.lines:
        if line.sign is not Sign.KEEP:
            output.print("  ", (line.text(), SIGN_COLOUR[line.sign]))
