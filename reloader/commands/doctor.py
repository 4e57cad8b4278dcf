"""doctor: faults of this host and its pipelines, and the features of its kernel."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from reloader.commands.environment import Environment, Output
from reloader.commands.parser import Commands, command
from reloader.kernel import Feature, Presence

if TYPE_CHECKING:
    from reloader.doctor.finding import Finding

COLOUR = {Presence.YES: "green", Presence.NO: "yellow", Presence.UNKNOWN: "dim"}


def arguments(commands: Commands) -> None:
    """Add the command and its options."""
    parser = command(
        commands,
        "doctor",
        run,
        "find faults of this host and its pipelines",
        """Checks the bpf filesystem, the record directory, the kernel and every pipeline. Each fault comes with
a hint on how to correct it. Changes nothing. Exit 69 when it finds a fault.

Each kernel feature is tried in a child process with a network namespace of its own: a version number does not
tell what a distribution has removed or backported. `unknown` is a feature that this user may not try.""",
    )
    parser.add_argument("--features", action="store_true", help="print every feature, and why it is missing")


def run(args: argparse.Namespace, env: Environment) -> int:
    """Exit 69 when something is wrong; features that only some pipelines need are no fault of the host."""
    from reloader.doctor.examine import examine

    features = env.kernel.features()
    findings = examine(env.host, features)
    _show_findings(env.output, findings)
    if args.features:
        env.output.print()
        _show_features(env.output, features)
    env.output.document("Doctor", _document(findings, features if args.features else ()))
    return 0 if all(f.ok for f in findings) else 69


def _show_findings(output: Output, findings: tuple[Finding, ...]) -> None:
    for finding in findings:
        mark = ("ok", "green") if finding.ok else ("!!", "red")
        output.print(mark, f"  {finding.check}: {finding.what}")
        if finding.hint:
            output.print(f"    hint: {finding.hint}")


def _show_features(output: Output, features: tuple[Feature, ...]) -> None:
    rows = [(f.name, f.presence.value, f.why or f.purpose) for f in features]
    output.table(("FEATURE", "PRESENT", "WHY NOT, OR PURPOSE"), rows, colours=[COLOUR[f.presence] for f in features])


def _document(findings: tuple[Finding, ...], features: tuple[Feature, ...]) -> dict[str, Any]:
    return {
        "well": all(f.ok for f in findings),
        "findings": [_finding(f) for f in findings],
        "features": [
            {
                "name": f.name, "group": f.group, "presence": f.presence.value, "needed": f.needed,
                "purpose": f.purpose, "why": f.why,
            }
            for f in features
        ],
    }  # fmt: skip


def _finding(found: Finding) -> dict[str, Any]:
    more = {key: value for key in ("reason", "values") if (value := getattr(found, key))}
    return {"check": found.check, "ok": found.ok, "what": found.what, "hint": found.hint, **more}
