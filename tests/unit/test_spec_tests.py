"""pipeline/tests/cases_from_yaml.py and pipeline/tests/expected.py: what `test:` asks for, resolved against a real
object, or every problem with its place.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from reloader.errors import InputError, Problem
from reloader.pipeline.compile import Compiled, compile_file
from reloader.pipeline.tests import cases
from reloader.pipeline.tests.packets import LAYERS as LAYER_FIELDS
from reloader.pipeline.tests.packets import build
from tests.unit.test_packets import classic

SOURCE = Path(__file__).parent.parent / "kernel" / "bpf" / "proved.bpf.c"
HEAD = """\
apiVersion: reloader/v1
kind: Pipeline
metadata: {name: edge}
spec:
  objects: [proved.bpf.o]
  attach: [{program: judge, type: xdp, interface: eth0}]
  maps:
    tallies: {role: state}
    totals: {role: state}
    recent: {role: state}
    events: {role: stream}
    policies: {role: config, entries: []}
    .bss: {role: state}
  test:
"""
FIRST = HEAD.count("\n") + 1  # the line of the first test


@pytest.fixture
def place(tmp_path: Path, compile_bpf: Callable[[str | Path], Path]) -> Path:
    (tmp_path / "proved.bpf.o").write_bytes(compile_bpf(SOURCE).read_bytes())
    frame = build({"udp": {}})
    (tmp_path / "two.pcap").write_bytes(classic(frame, frame))
    (tmp_path / "cut.pcap").write_bytes(classic(frame, frame)[:-7])
    (tmp_path / "none.pcap").write_bytes(classic())
    (tmp_path / "text.pcap").write_bytes(b"once upon a time")
    return tmp_path


def compiled(place: Path, test: str) -> Compiled:
    (place / "t.yaml").write_text(HEAD + test)
    (one,) = compile_file(place / "t.yaml")
    return one


def cases_of(one: Compiled) -> tuple[cases.Case, ...]:
    assert one.wish.tests is not None
    return cases.load(one.tests[one.wish.tests.digest])


def test_a_whole_case(place: Path) -> None:
    one = compiled(
        place,
        """\
    - name: busy
      seed: {tallies: [{key: 192.0.2.1, value: {packets: 40, hops: 3}}]}
      packet: {udp: {src: 192.0.2.1}}
      repeat: 2
      expect:
        verdict: XDP_TX
        maps:
          tallies: [{key: 192.0.2.1, value: {packets: 42, hops: 2..9, mood: busy}}]
          recent: {count: 1.., entries: [{key: 192.0.2.2, absent: true}]}
""",
    )
    (case,) = cases_of(one)
    (step,) = case.steps
    assert (case.name, case.program, case.type, case.budget) == ("busy", "judge", "xdp", None)
    assert (step.packets, step.repeat, step.verdict) == ((build({"udp": {"src": "192.0.2.1"}}),), 2, 3)
    (seed,) = step.seeds
    assert seed.records[:4] == bytes([192, 0, 2, 1])
    assert struct.unpack_from("<QI", seed.records, 4) == (40, 3 << 20)
    tallies, recent = step.maps
    packets, hops, mood = tallies.entries[0].fields
    assert (packets.path, packets.offset, packets.want) == ("packets", 0, struct.pack("<Q", 42))
    assert (hops.offset, hops.mask, hops.low, hops.high) == (10, bytes([0xF0, 0xFF]), 2, 9)
    assert (mood.offset, mood.want) == (12, struct.pack("<I", 2))
    assert (recent.low, recent.high, recent.entries[0].absent) == (1, None, True)
    assert one.wish.tests is not None
    assert one.wish.tests.places == ((f"{FIRST + 5}:9",),)


def test_places_are_no_part_of_the_content(place: Path) -> None:
    text = "    - {packet: {udp: {}}, expect: {verdict: XDP_PASS}}\n"
    one, moved = compiled(place, text), compiled(place, f"    # a line more\n{text}")
    assert one.wish.digest() == moved.wish.digest()
    assert one.wish.tests != moved.wish.tests
    other = compiled(place, text.replace("PASS", "DROP"))
    assert other.wish.digest() != one.wish.digest()
    assert other.wish.load_digest() == one.wish.load_digest()


def test_a_pipeline_without_tests_reads_as_it_always_did(place: Path) -> None:
    one, none = compiled(place, "    []\n"), HEAD.removesuffix("  test:\n")
    (place / "t.yaml").write_text(none)
    (bare,) = compile_file(place / "t.yaml")
    assert bare.wish.tests is None
    assert bare.wish.digest() == one.wish.digest()


def test_captures_are_files_of_the_pipeline(place: Path) -> None:
    one = compiled(place, "    - {packet: {pcap: two.pcap, frames: 2}, expect: {verdict: XDP_PASS}}\n")
    assert str(place / "two.pcap") in one.files
    assert len(cases_of(one)[0].steps[0].packets) == 1


OK = "expect: {verdict: XDP_PASS}"
WRONG = [  # (the test, line below the first, column, path, message)
    ("{packet: {hex: 0xzz00}, %s}", 0, 22, "[0].packet.hex", "not-a-digit"),
    ("{packet: {hex: '00 0'}, %s}", 0, 22, "[0].packet.hex", "half-a-byte"),
    ("{packet: {hex: '00'}, %s}", 0, 16, "[0].packet", "packet-size"),
    ("{packet: {udp: {}, size: 3521}, %s}", 0, 16, "[0].packet", "packet-size"),
    ("{packet: {pcap: cut.pcap}, %s}", 0, 23, "[0].packet.pcap", "capture-cut-off"),
    ("{packet: {pcap: no.pcap}, %s}", 0, 23, "[0].packet.pcap", "no such file"),
    ("{packet: {pcap: text.pcap}, %s}", 0, 23, "[0].packet.pcap", "not-a-capture"),
    ("{packet: {pcap: none.pcap}, %s}", 0, 23, "[0].packet.pcap", "capture-empty"),
    ("{packet: {pcap: two.pcap, frames: 3}, %s}", 0, 41, "[0].packet.frames", "no-such-frame"),
    ("{packet: {pcap: two.pcap, frames: 2-1}, %s}", 0, 41, "[0].packet.frames", "not-frames"),
    ("{packet: {hex: ff, udp: {}}, %s}", 0, 16, "[0].packet", "packet-forms"),
    ("{packet: {frames: 1}, %s}", 0, 16, "[0].packet", "packet-without-form"),
    ("{packet: {udp: {port: 1}}, %s}", 0, 23, "[0].packet.udp.port", "unknown field 'port'"),
    ("{packet: {udp: {sport: 99999}}, %s}", 0, 30, "[0].packet.udp.sport", "number-too-large"),
    ("{program: jugde, packet: {udp: {}}, %s}", 0, 17, "[0].program", "no-such-program"),
    ("{packet: {udp: {}}, expect: {verdict: XDP_PAS}}", 0, 45, "[0].expect.verdict", "no-such-verdict"),
    ("{packet: {udp: {}}, expect: {verdict: TC_ACT_OK}}", 0, 45, "[0].expect.verdict", "no-such-verdict"),
    ("{packet: {udp: {}}, expect: {output: {hex: 0g}}}", 0, 50, "[0].expect.output.hex", "not-a-digit-or-any"),
    ("{packet: {udp: {}}, expect: {output: changed}}", 0, 44, "[0].expect.output", "is not allowed here"),
    ("{packet: {udp: {}}, expect: {maps: {talies: []}}}", 0, 51, "[0].expect.maps.talies", "no-such-map"),
    ("{packet: {udp: {}}, expect: {maps: {events: []}}}", 0, 51, "[0].expect.maps.events", "entries-not-listed"),
    ("{packet: {udp: {}}}", 0, 7, "[0]", "expectation-missing"),
    ("{%s}", 0, 7, "[0]", "packet-missing"),
    ("{steps: [{packet: {udp: {}}}], %s}", 0, 46, "[0].expect", "field-beside-steps"),
    ("{steps: [{expect: {verdict: 1}}]}", 0, 25, "[0].steps[0].expect", "verdict-without-packet"),
    ("{packet: {pcap: two.pcap}, budget: {ns_max_vs_active: 1.1}}", 0, 16, "[0].packet", "budget-with-frames"),
    ("{packet: {udp: {}}, budget: {}}", 0, 35, "[0].budget", "must not be empty"),
    ("{packet: {udp: {}}, budget: {max_vs_active: 1}}", 0, 36, "[0].budget.max_vs_active", "unknown field"),
    ("{seed: {nix: []}, packet: {udp: {}}, %s}", 0, 20, "[0].seed.nix", "no-such-map"),
    ("{seed: {tallies: [{key: 1.2.3.4, value: {x: 1}}]}, packet: {udp: {}}, %s}", 0, 47,
     "[0].seed.tallies[0].value", "no-such-field"),
]  # fmt: skip
ENTRY = "{packet: {udp: {}}, expect: {maps: {tallies: [{key: 192.0.2.1, value: {%s}}]}}}"
WRONG_ENTRIES = [
    ("packet: 1", 86, "value.packet", "no-such-field"),
    ("packets: 5..1", 87, "value.packets", "empty-range"),
    ("packets: a..b", 87, "value.packets", "not-a-range"),
    ("packets: many", 87, "value.packets", "not-of-type"),
    ("mood: angry", 84, "value.mood", "not-in-enum"),
]


def only_problem(place: Path, test: str) -> Problem:
    with pytest.raises(InputError) as caught:
        compiled(place, f"    - {test}\n")
    (problem,) = caught.value.problems
    return problem


@pytest.mark.parametrize(
    ("test", "line", "column", "path", "says"), WRONG, ids=lambda v: v if isinstance(v, str) else ""
)
def test_one_wrong_thing(place: Path, test: str, line: int, column: int, path: str, says: str) -> None:
    problem = only_problem(place, test.replace("%s", OK))
    assert says == problem.reason or says in problem.message  # a code, or words of others
    assert problem.path == f"spec.test{path}"
    assert (problem.line, problem.column) == (FIRST + line, column), problem
    assert problem.file == str(place / "t.yaml")


@pytest.mark.parametrize(("value", "column", "path", "says"), WRONG_ENTRIES)
def test_one_wrong_field(place: Path, value: str, column: int, path: str, says: str) -> None:
    problem = only_problem(place, ENTRY % value)
    assert says == problem.reason
    assert problem.path == f"spec.test[0].expect.maps.tallies[0].{path}"
    assert (problem.line, problem.column) == (FIRST, column), problem


def test_all_problems_at_once(place: Path) -> None:
    schema = ("budget: {", "port:", "changed")  # what the schema finds keeps the rest from being looked at
    tests = [t.replace("%s", OK) for t, *_ in WRONG if not any(word in t for word in schema)]
    with pytest.raises(InputError) as caught:
        compiled(place, "".join(f"    - {test}\n" for test in tests))
    assert len(caught.value.problems) >= 20
    assert [p.line for p in caught.value.problems] == sorted(p.line for p in caught.value.problems)


# whatever stands there, as long as it has the shape the schema asks for

TEXTS = ["192.0.2.1", "::1", "hex:00", "1..5", "..", "XDP_PASS", "02:00:00:00:00:01", "right", "SYN", "echo_request"]
SCALARS = some.one_of(
    some.integers(-2, 70000), some.sampled_from(TEXTS), some.text("0123456789abcdefx:.?- é", max_size=20)
)
LAYERS = {
    name: some.dictionaries(
        some.sampled_from([*fields, *(["src", "dst", "payload"] if "sport" in fields else [])]), SCALARS
    )
    for name, fields in LAYER_FIELDS.items()
}
BYTES = some.text("0123456789abcdef: ?", min_size=1, max_size=80)
SHAPED = some.fixed_dictionaries({}, optional={**LAYERS, "payload": some.text(max_size=9), "hex": BYTES})
FIELDS = some.dictionaries(some.sampled_from(["packets", "hops", "mood", "last", "mac", "length", "nix"]), SCALARS)
ENTRIES = some.lists(
    some.fixed_dictionaries({"key": SCALARS}, optional={"value": FIELDS | SCALARS, "absent": some.booleans()})
)
MAP_NAMES = some.sampled_from(["tallies", "totals", "recent", "policies", "events", ".bss", "nix"])
EXPECTED = some.fixed_dictionaries(
    {},
    optional={
        "verdict": SCALARS,
        "output": some.just("same") | SHAPED,
        "maps": some.dictionaries(MAP_NAMES, ENTRIES | some.fixed_dictionaries({"count": SCALARS, "entries": ENTRIES})),
    },
)
SIZES = some.fixed_dictionaries({}, optional={"size": some.integers(14, 4000), "truncate": some.integers(14, 90)})


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(packet=SHAPED, sizes=SIZES, expect=EXPECTED)
def test_whatever_stands_there_is_a_case_or_a_problem_with_its_place(
    place: Path, packet: dict[str, Any], sizes: dict[str, int], expect: dict[str, Any]
) -> None:
    case = yaml.safe_dump([{"packet": packet | sizes, "expect": expect}], allow_unicode=True)
    problems = []
    try:
        cases_of(compiled(place, "".join(f"    {line}\n" for line in case.splitlines())))
    except InputError as error:
        problems = error.problems
    assert all(p.line >= FIRST for p in problems), problems
