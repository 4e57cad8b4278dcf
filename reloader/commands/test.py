"""test: the YAML's tests on this kernel and scratch maps, as a table, JSON or JUnit XML. Changes nothing."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from reloader.commands import texts
from reloader.commands.environment import Environment, SlowSteps
from reloader.commands.parser import Commands, command, files
from reloader.errors import ReloaderError
from reloader.packet_tests.outcome import Outcome
from reloader.wording.printable import printable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from xml.etree.ElementTree import Element

    from reloader.packet_tests.run import Result
    from reloader.pipeline.wish import Compiled
    from reloader.store.records import Generation

COLOUR = {Outcome.PASSED: "", Outcome.FAILED: "red", Outcome.SKIPPED: "yellow"}


def arguments(commands: Commands) -> None:
    """Add the command and its options."""
    parser = command(
        commands,
        "test",
        run,
        "run the tests in the YAML on scratch maps",
        """Loads the objects of each pipeline on this kernel, with maps of their own, the listed entries and the
constants. It runs the tests below `test:` by BPF_PROG_RUN: packets go in; verdicts, bytes and map contents are
compared. It touches neither an interface nor a pin nor a live map, and nothing has to be attached. `apply` runs
the same tests before it swaps.

  test:
    - name: DNS passes                      # program: where several are attached
      seed: {blocklist: [{key: 192.0.2.9, value: {action: XDP_DROP}}]}
      packet: {udp: {src: 192.0.2.1, dport: 53, payload: hello}}
      repeat: 3
      expect:
        verdict: XDP_PASS
        output: same                        # or {hex: "45 ??", at: 14}, {ipv4: {ttl: 63}}
        maps: {counters: [{key: 0, value: {packets: 3, blocked: 0..1}}], flows: {count: 1}}
      budget: {ns_max_vs_active: 1.1, insns_max_vs_active: 1.2}

A packet is `hex: …`, the frames of a `pcap: FILE`, or layers: eth, vlan, ipv4, ipv6, udp, tcp, icmp. Checksums
and fields that are left out are filled in. `steps:` is a scenario of several packets over the same maps.

A budget is measured against the running version. Without one it is skipped, and the report says so. Exit 1 when
a test fails or the verifier refuses a program.""",
    )
    files(parser)
    parser.add_argument("--junit", metavar="FILE", help="also write the results as JUnit XML")


def run(args: argparse.Namespace, env: Environment) -> int:
    """Every pipeline's tests; 1 when one fails."""
    from reloader.commands.sources import checked
    from reloader.disk.trust import Judge

    steps = SlowSteps(env.output)
    found: list[tuple[Path, Compiled, Generation | None, tuple[Result, ...]]] = []
    try:
        steps.reading(args.files)
        judge = Judge()
        pairs = checked(args.files, judge)
        judge.refuse()
        for path, one in pairs:
            steps(texts.TESTING(pipeline=one.wish.pipeline))
            active = _active(env, one.wish.pipeline)
            found.append((path, one, active, _results(env, one, active)))
    finally:
        steps.done()
    for _, one, _, results in found:
        _show(env, one.wish.pipeline, results)
    if args.junit:
        _write_junit(Path(args.junit), [(one.wish.pipeline, results) for _, one, _, results in found])
    failed = any(r.outcome is Outcome.FAILED for *_, results in found for r in results)
    rows = [
        {
            "pipeline": one.wish.pipeline,
            "file": str(path),
            "against": active.number if active else 0,
            "tests": [r.to_json() for r in results],
        }
        for path, one, active, results in found
    ]
    env.output.document("Tests", {"passed": not failed, "pipelines": rows})
    return int(failed)


def _active(env: Environment, pipeline: str) -> Generation | None:
    """The generation that serves, of this boot. Who may not read the records has none to compare with."""
    from reloader.store import records

    try:
        current = records.read_current(env.paths, pipeline)
        if current is None or not current.generation:
            return None
        generation = records.read_generation(env.paths, pipeline, current.generation)
    except (OSError, ReloaderError) as error:
        env.output.note(texts.BUDGET_NOT_MEASURED(pipeline=pipeline, why=error))
        return None
    return generation if generation.boot_id == env.kernel.boot_id() else None


def _results(env: Environment, one: Compiled, active: Generation | None) -> tuple[Result, ...]:
    from reloader.engine.refusal import rejected
    from reloader.engine.workspace import Workspace
    from reloader.errors import LoadRejected
    from reloader.observe.pipeline import privileged
    from reloader.packet_tests.run import prove

    if one.wish.tests is None:
        return ()
    bench = Workspace(
        host=env.host, pipeline=one.wish.pipeline, wish=one.wish, blobs=one.blobs
    )  # fmt: skip
    with privileged(env.paths):
        try:
            wish = active.wish if active else None
            return prove(env.kernel, one.wish, bench.blob, wish, texts.NO_ACTIVE_VERSION())
        except LoadRejected as error:
            raise rejected(bench, error, ()) from error


def _show(env: Environment, pipeline: str, results: tuple[Result, ...]) -> None:
    if not results:
        env.output.print(texts.NO_TESTS(pipeline=pipeline))
        return
    rows = [
        (f"{pipeline}: {r.name}", r.program, r.outcome, f"{r.seconds * 1000:.1f} ms", r.said[0] if r.said else "")
        for r in results
    ]
    header = ("TEST", "PROGRAM", "OUTCOME", "TOOK", "NOTES")
    env.output.table(header, rows, colours=[COLOUR[r.outcome] for r in results])
    for line in (line for result in results if result.outcome is Outcome.FAILED for line in result.lines()):
        env.output.print(line)


def _write_junit(path: Path, suites: list[tuple[str, tuple[Result, ...]]]) -> None:
    """What CI systems read: a suite for each pipeline."""
    from xml.etree import ElementTree as Xml

    root = Xml.Element("testsuites", name="reloader test")
    for pipeline, results in suites:
        outcomes = [r.outcome for r in results]
        counts = {"tests": len(results), "failures": outcomes.count(Outcome.FAILED)}
        counts["skipped"] = outcomes.count(Outcome.SKIPPED)
        seconds = f"{sum(r.seconds for r in results):.6f}"
        words = {"name": pipeline, "errors": "0", "time": seconds, **{k: str(n) for k, n in counts.items()}}
        suite = Xml.SubElement(root, "testsuite", words)
        for result in results:
            _add_case(suite, pipeline, result)
    Xml.indent(root)
    Xml.ElementTree(root).write(path, encoding="utf-8", xml_declaration=True)


def _add_case(suite: Element, pipeline: str, result: Result) -> None:
    from xml.etree import ElementTree as Xml

    file, line, _ = result.place.rsplit(":", 2)
    words = {"classname": f"{pipeline}.{result.program}", "name": result.name, "file": file, "line": line}
    masked = {key: printable(text) for key, text in words.items()}
    case = Xml.SubElement(suite, "testcase", {**masked, "time": f"{result.seconds:.6f}"})
    if result.outcome is Outcome.FAILED:
        Xml.SubElement(case, "failure", message=printable(result.said[0])).text = _xml_text(result.lines())
    elif result.outcome is Outcome.SKIPPED:
        Xml.SubElement(case, "skipped", message=printable(result.said[0]))
    elif result.said:
        Xml.SubElement(case, "system-out").text = _xml_text(result.said)


def _xml_text(lines: Sequence[str]) -> str:
    """XML has no way to write most control characters, and UTF-8 none to write surrogates."""
    return "\n".join(map(printable, lines))
