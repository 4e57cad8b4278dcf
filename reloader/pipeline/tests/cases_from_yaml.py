"""The `test:` part of a pipeline → cases.Case: packets built, names and fields resolved, every problem at its place.

Called by pipeline/compile.py with the raw, schema-checked items. Reads the capture files they name.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from reloader.disk.atomic_files import PLAIN, Inputs
from reloader.errors import ENOUGH, Problem
from reloader.frozen import frozen
from reloader.kernel import PLAIN_TYPES
from reloader.pipeline.did_you_mean import suggestion
from reloader.pipeline.document import Steps, dotted
from reloader.pipeline.entries.listing import nearest
from reloader.pipeline.entries.row import Shape, encode_side
from reloader.pipeline.model import Mark, Pipeline, TestWish
from reloader.pipeline.objects import Objects
from reloader.pipeline.roles import type_name
from reloader.pipeline.source import why_unreadable
from reloader.pipeline.tests import packets, texts
from reloader.pipeline.tests.cases import Budget, Case, OutputCheck, Seed, Step
from reloader.pipeline.tests.expected import Expected, output_check
from reloader.pipeline.tests.pcap import PcapProblem, frames
from reloader.places import place_with_program
from reloader.places.place import LoadHints, PacketRules
from reloader.structs.encode import ValueProblem
from reloader.wording.message import Message

MOST_FRAMES = 10_000  # of one capture
MOST_BYTES = 16 << 20  # of all packets of a pipeline: they are stored with every generation
_LAYERS = (*packets.LAYERS, "payload", "size")


@frozen
class Resolved:
    """Cases with the place of each step: `line:column`, outside what is stored by content."""

    cases: tuple[Case, ...]
    places: tuple[tuple[str, ...], ...]
    files: tuple[str, ...]  # captures that were read


@frozen
class _Subject:
    """The program of a case, and what may be asked of it."""

    program: str
    hints: LoadHints
    rules: PacketRules


class _Wrong(Exception):
    """A finding; `steps` leads to it from the item at hand."""

    def __init__(self, steps: Steps, message: Message, tail: str = "", **more: Any) -> None:
        """`tail` goes on below the steps; `more`: the reason and values where the message's are not meant."""
        super().__init__(message)
        self.steps, self.message, self.tail, self.more = steps, message, tail, more


def resolve(
    pipeline: Pipeline, objects: Objects, programs: Sequence[str], inputs: Inputs = PLAIN
) -> tuple[Resolved, list[Problem]]:
    """Everything `test:` asks for, and all that is wrong with it."""
    reader = _Reader(pipeline, objects, programs, inputs)
    found = [
        (case, places) for index, item in enumerate(pipeline.tests.items) for case, places in reader.case(index, item)
    ]
    if reader.total > MOST_BYTES:
        reader.note(_Wrong((), texts.PACKETS_TOO_LARGE(size=reader.total, limit=MOST_BYTES >> 20)))
    cases, places = tuple(c for c, _ in found), tuple(p for _, p in found)
    return Resolved(cases=cases, places=places, files=tuple(dict.fromkeys(reader.files))), reader.problems


class _Reader:
    def __init__(self, pipeline: Pipeline, objects: Objects, programs: Sequence[str], inputs: Inputs) -> None:
        self.inputs = inputs
        self.wish: TestWish = pipeline.tests
        self.file = pipeline.file
        self.objects = objects
        self.programs = programs
        self.attached = sorted({a.program for a in pipeline.attach})
        self.orders = {m.name: m.byteorder for m in pipeline.maps}
        self.problems: list[Problem] = []
        self.files: list[str] = []
        self.total = 0

    # places and findings

    def mark(self, steps: Steps) -> Mark:
        return nearest(self.wish.marks, dotted(steps), self.wish.mark)

    def note(self, wrong: _Wrong) -> None:
        path = dotted(("spec", "test", *wrong.steps)) + wrong.tail
        mark = nearest(self.wish.marks, dotted(wrong.steps) + wrong.tail, self.wish.mark)
        found = Problem.at(self.file, wrong.message, mark.line, mark.column, path, **wrong.more)
        if len(self.problems) < ENOUGH and found not in self.problems:
            self.problems.append(found)

    # cases

    def case(self, index: int, item: dict[str, Any]) -> Iterator[tuple[Case, tuple[str, ...]]]:
        """The case, unless something in it is wrong, with the place of each step."""
        before = len(self.problems)
        try:
            subject = self._subject((index,), item)
            self._whole((index,), item)
        except _Wrong as wrong:
            self.note(wrong)
            return
        scenario: list[tuple[Steps, dict[str, Any]]] = [
            ((index, "steps", i), step) for i, step in enumerate(item.get("steps", ()))
        ]
        at = scenario or [((index,), item)]
        steps = [self._step(steps, step, subject) for steps, step in at]
        budget = self._budget(index, item, steps) if "budget" in item else None
        if len(self.problems) == before:
            named = item.get("name", f"#{index + 1}")
            kind = subject.hints.program_type
            case = Case(name=named, program=subject.program, type=kind, steps=tuple(steps), budget=budget)
            yield case, tuple(self._place(steps, step) for steps, step in at)

    def _place(self, steps: Steps, step: dict[str, Any]) -> str:
        mark = self.mark((*steps, "expect") if "expect" in step else steps)
        return f"{mark.line}:{mark.column}"

    def _subject(self, at: Steps, item: dict[str, Any]) -> _Subject:
        name = item.get("program")
        if name is None:
            if len(self.attached) != 1:
                raise _Wrong(at, texts.PROGRAM_MISSING(programs=self.attached))
            name = self.attached[0]
        steps: Steps = (*at, "program")
        found = self.objects.programs.get(name)
        if found is None:
            hint = suggestion(name, self.objects.programs)
            raise _Wrong(steps, texts.NO_SUCH_PROGRAM(program=name, hint=hint))
        if name not in self.programs:
            hint = suggestion(name, self.programs)
            raise _Wrong(steps, texts.PROGRAM_NOT_ATTACHED(program=name, hint=hint))
        place = place_with_program(found.type)
        if place is None or place.PACKETS is None:
            known = texts.PROGRAM_TYPE_UNTESTED if found.type else texts.PROGRAM_TYPE_UNKNOWN
            raise _Wrong(steps, known(type=found.type))
        hints = next(h for h in place.LOADS if h.program_type == found.type)
        return _Subject(program=str(name), hints=hints, rules=place.PACKETS)

    def _whole(self, at: Steps, item: dict[str, Any]) -> None:
        """What belongs together, and what does not."""
        if "steps" in item:
            for word in ("packet", "expect", "repeat", "budget"):
                if word in item:
                    wrong = texts.BUDGET_WITH_STEPS if word == "budget" else texts.FIELD_BESIDE_STEPS
                    raise _Wrong((*at, word), wrong(field=word))
        elif "packet" not in item:
            raise _Wrong(at, texts.PACKET_MISSING())
        if not any(word in item for word in ("steps", "expect", "budget")):
            raise _Wrong(at, texts.EXPECTATION_MISSING())

    def _budget(self, index: int, item: dict[str, Any], steps: list[Step]) -> Budget:
        if steps and len(steps[0].packets) > 1:
            self.note(_Wrong((index, "packet"), texts.BUDGET_WITH_FRAMES(count=len(steps[0].packets))))
        asked = item["budget"]
        return Budget(ns=_factor(asked, "ns_max_vs_active"), insns=_factor(asked, "insns_max_vs_active"))

    # steps

    def _step(self, at: Steps, item: dict[str, Any], subject: _Subject) -> Step:
        inherited = self.wish.items[int(at[0])].get("seed", {}) if len(at) > 1 and at[-1] == 0 else {}
        seeds = [*self._seeds((at[0], "seed"), inherited), *self._seeds((*at, "seed"), item.get("seed", {}))]
        expect = item.get("expect", {})
        if "packet" not in item and expect.keys() & {"verdict", "output"}:
            self.note(_Wrong((*at, "expect"), texts.VERDICT_WITHOUT_PACKET()))
        checks = Expected(self.objects.maps, self.orders)
        return Step(
            seeds=tuple(seeds),
            packets=self._packets((*at, "packet"), item["packet"], subject) if "packet" in item else (),
            repeat=item.get("repeat", 1),
            verdict=self._verdict((*at, "expect", "verdict"), expect["verdict"], subject)
            if "verdict" in expect
            else None,
            output=self._output((*at, "expect", "output"), expect["output"]) if "output" in expect else None,
            maps=tuple(
                found
                for name, wanted in expect.get("maps", {}).items()
                for found in self._caught((*at, "expect", "maps", name), checks.map_check, name, wanted)
            ),
        )

    def _caught(self, at: Steps, ask: Any, *given: Any) -> list[Any]:
        """The answer, or nothing and a note of what was wrong."""
        try:
            return [ask(*given)]
        except ValueProblem as wrong:
            joint = "." if wrong.path and not wrong.path.startswith("[") else ""
            self.note(_Wrong(at, wrong.message, joint + wrong.path))
            return []

    def _verdict(self, at: Steps, given: Any, subject: _Subject) -> int | None:
        known = subject.rules.verdicts
        if isinstance(given, str) and given not in known:
            hint = suggestion(given, known)
            self.note(_Wrong(at, texts.NO_SUCH_VERDICT(verdict=given, section=subject.hints.section, hint=hint)))
            return None
        return known[given] if isinstance(given, str) else int(given)

    def _output(self, at: Steps, given: Any) -> OutputCheck | None:
        found = self._caught(at, output_check, given)
        return found[0] if found else None

    # seeds

    def _seeds(self, at: Steps, given: dict[str, Any]) -> list[Seed]:
        return [seed for name, rows in given.items() for seed in self._seed((*at, name), name, rows)]

    def _seed(self, at: Steps, name: str, rows: list[Any]) -> list[Seed]:
        found = self.objects.maps.get(name)
        if found is None or not found.writable:
            names = [m.name for m in self.objects.maps.values() if m.writable]
            self.note(_Wrong(at, texts.NO_SUCH_MAP(map=name, hint=suggestion(name, names))))
            return []
        if found.type not in PLAIN_TYPES:
            self.note(_Wrong(at, texts.MAP_WITHOUT_ENTRIES(type=type_name(found.type))))
            return []
        order = self.orders.get(name)
        shape = Shape(
            key=found.key, value=found.value, key_size=found.key_size, value_size=found.value_size, byteorder=order
        )
        sides = [(i, side, row[side]) for i, row in enumerate(rows) for side in ("key", "value")]
        pieces = [p for i, side, value in sides for p in self._caught((*at, i), encode_side, shape, side, value)]
        return [Seed(map=name, records=b"".join(pieces))]

    # packets

    def _packets(self, at: Steps, form: dict[str, Any], subject: _Subject) -> tuple[bytes, ...]:
        kinds: list[str] = [word for word in ("hex", "pcap") if word in form]
        kinds += ["layers"] if any(word in form for word in _LAYERS) else []
        if len(kinds) != 1:
            self.note(_Wrong(at, texts.PACKET_FORMS(forms=kinds) if kinds else texts.PACKET_WITHOUT_FORM()))
            return ()
        if "frames" in form and kinds != ["pcap"]:
            self.note(_Wrong((*at, "frames"), texts.FRAMES_WITHOUT_CAPTURE()))
        try:
            found = list(self._read(at, kinds[0], form))
        except _Wrong as wrong:
            self.note(wrong)
            return ()
        cut = form.get("truncate")
        found = [frame[:cut] for frame in found] if kinds[0] != "layers" else found
        for number, frame in enumerate(found, 1):
            self._fits(at, frame, subject, number if len(found) > 1 else 0)
        self.total += sum(map(len, found))
        return tuple(found)

    def _fits(self, at: Steps, frame: bytes, subject: _Subject, number: int) -> None:
        """`number`: of the frame where there are several, otherwise 0."""
        least, most = subject.rules.least, subject.rules.most
        if not least <= len(frame) <= most:
            wrong = texts.FRAME_SIZE if number else texts.PACKET_SIZE
            message = wrong(frame=number, length=len(frame), section=subject.hints.section, least=least, most=most)
            self.note(_Wrong(at, message))

    def _read(self, at: Steps, kind: str, form: dict[str, Any]) -> Iterator[bytes]:
        if kind == "hex":
            yield _hex((*at, "hex"), form["hex"])
        elif kind == "pcap":
            yield from self._capture(at, form)
        else:
            yield from self._caught(at, packets.build, form)

    def _capture(self, at: Steps, form: dict[str, Any]) -> list[bytes]:
        path = self.wish.beside(form["pcap"])
        wanted = _numbers((*at, "frames"), form["frames"]) if "frames" in form else None
        last = max(wanted) if wanted else MOST_FRAMES + 1
        self.files.append(path)
        try:
            with self.inputs.stream(path) as stream:
                read = list(islice(frames(stream), last))
        except OSError as error:
            cause = why_unreadable(error)
            message = texts.CAPTURE_UNREADABLE(path=path, why=cause.text, hint=cause.hint)
            more: dict[str, Any] = {"reason": cause.reason, "values": cause.values} if cause.reason else {}
            raise _Wrong((*at, "pcap"), message, **more) from error
        except PcapProblem as error:
            why = error.message
            message = texts.CAPTURE_UNFIT(path=path, why=why, hint=why.hint)
            raise _Wrong((*at, "pcap"), message, reason=why.code, values={"path": path, **why.values}) from error
        if wanted and last > len(read):
            raise _Wrong((*at, "frames"), texts.NO_SUCH_FRAME(path=path, frame=last, count=len(read)))
        if len(read) > MOST_FRAMES and not wanted:
            raise _Wrong((*at, "pcap"), texts.TOO_MANY_FRAMES(path=path, limit=MOST_FRAMES))
        if not read:
            raise _Wrong((*at, "pcap"), texts.CAPTURE_EMPTY(path=path))
        return [read[n - 1] for n in wanted] if wanted else read


def _factor(asked: dict[str, Any], word: str) -> float | None:
    return float(asked[word]) if word in asked else None


def _hex(at: Steps, text: str) -> bytes:
    try:
        return bytes.fromhex(text.removeprefix("hex:").replace(":", " "))
    except ValueError as error:
        wrong = next((c for c in text if c not in "0123456789abcdefABCDEF :\t\n"), None)
        raise _Wrong(at, texts.NOT_A_DIGIT(digit=wrong) if wrong else texts.HALF_A_BYTE()) from error


def _numbers(at: Steps, given: Any) -> list[int]:
    """`3`, `2-5`, or a list of those."""
    found: list[int] = []
    for word in given if isinstance(given, list) else [given]:
        first, dash, last = str(word).partition("-")
        ends = (first, last if dash else first)
        if not all(end.isascii() and end.isdecimal() and int(end) for end in ends) or int(ends[0]) > int(ends[1]):
            raise _Wrong(at, texts.NOT_FRAMES(value=word))
        if int(ends[1]) > 10_000_000 or len(found) + int(ends[1]) - int(ends[0]) > MOST_FRAMES:
            raise _Wrong(at, texts.TOO_MANY_FRAMES_CHOSEN(limit=MOST_FRAMES))
        found += range(int(ends[0]), int(ends[1]) + 1)
    if not found:
        raise _Wrong(at, texts.FRAMES_EMPTY())
    return found
