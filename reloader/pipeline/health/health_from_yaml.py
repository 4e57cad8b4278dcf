"""`health:` of a pipeline: its schema, and from the checked text to frozen checks.

What needs the objects (fields, keys, programs) is settled by pipeline/compile.py, through `resolved` here.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Any, Protocol

from reloader.kernel import PLAIN_TYPES
from reloader.pipeline.checks import (
    UNITS,
    Bound,
    Check,
    Counter,
    Health,
    HostCommand,
    Http,
    InterfaceCounter,
    MapField,
    Of,
    ProgramRuns,
    Question,
    Tcp,
    seconds,
)
from reloader.pipeline.did_you_mean import suggestion
from reloader.pipeline.document import Document, Steps
from reloader.pipeline.field import find
from reloader.pipeline.health import texts
from reloader.pipeline.health.health_schema import BOUNDS
from reloader.pipeline.model import CheckPlace, HealthWish, Mark
from reloader.pipeline.wish import orders_below
from reloader.places.interface.fields import netns_path
from reloader.structs import encode
from reloader.structs.elf import ElfMap
from reloader.structs.tree import leaves
from reloader.wording.message import Message

INTERVAL = "1s"
SHORTEST = 0.05  # seconds between looks
_LEAST = f"{SHORTEST * 1000:g}ms"
LONGEST = 24 * 3600.0  # seconds of a window
LONGEST_ANSWER = 600.0  # seconds for one
_COUNTED = frozenset(BOUNDS)
_FIELDS: Mapping[str, frozenset[str]] = {  # kind of check -> the fields it may have besides
    "map": _COUNTED | {"field", "key"},
    "program": _COUNTED,
    "interface": _COUNTED | {"counter", "netns"},
    "tcp": frozenset({"netns", "timeout"}),
    "http": frozenset({"status", "body", "netns", "timeout"}),
    "command": frozenset({"timeout"}),
}
_ROOT: Steps = ("spec", "health")


class Note(Protocol):
    """How a finding is told."""

    def __call__(self, steps: Steps, message: Message, *, key: bool = False) -> None: ...


def read(document: Document, item: Mapping[str, Any], note: Note) -> HealthWish:
    """The checks of one document; what does not fit together is noted."""
    window, interval = seconds(item["window"]) or 0.0, seconds(item.get("interval", INTERVAL)) or 0.0
    sound = SHORTEST <= interval <= window <= LONGEST
    if not SHORTEST <= interval <= window:
        note((*_ROOT, "interval"), texts.INTERVAL_OUT_OF_RANGE(least=_LEAST))
    if window > LONGEST:
        note((*_ROOT, "window"), texts.WINDOW_TOO_LONG())
    checks, places = [], []
    for index, one in enumerate(item["checks"]):
        steps: Steps = (*_ROOT, "checks", index)
        found = _Reader(one, steps, note, item.get("failures", 1)).check()
        if found is not None:
            if sound:
                _fits_window(found, steps, window, interval, note)
            checks.append(found)
            marks = {name: document.mark((*steps, name)) for name in one}
            places.append(CheckPlace(index=index, mark=document.mark(steps), marks=marks, key=one.get("key")))
    return HealthWish(health=Health(window=window, interval=interval, checks=tuple(checks)), places=tuple(places))


def _fits_window(check: Check, steps: Steps, window: float, interval: float, note: Note) -> None:
    looks = int(window / interval + 1e-9) + (0 if check.bounds else 1)  # a rate needs two looks
    if check.failures > looks:
        note(steps, texts.FAILURES_BEYOND_WINDOW(failures=check.failures, looks=looks))


class _Reader:
    """One check of a kind that its fields tell."""

    def __init__(self, item: Mapping[str, Any], steps: Steps, note: Note, failures: int) -> None:
        self._item = item
        self._steps = steps
        self._note = note
        self._failures = int(item.get("failures", failures))

    def check(self) -> Check | None:
        kinds = [kind for kind in _FIELDS if kind in self._item]
        if len(kinds) != 1:
            self._note(self._steps, texts.SEVERAL_KINDS(kinds=kinds) if kinds else texts.KIND_MISSING(kinds=[*_FIELDS]))
            return None
        (kind,) = kinds
        self._only(kind)
        what: Counter | Question | None = getattr(self, f"_{kind}")()
        bounds = self._bounds(kind)
        return None if what is None else Check(what=what, bounds=bounds, failures=self._failures)

    def _only(self, kind: str) -> None:
        for name in self._item:
            if name not in _FIELDS[kind] | {kind, "failures"}:
                self._note((*self._steps, name), texts.FIELD_NOT_USED(field=name, kind=kind), key=True)

    def _bounds(self, kind: str) -> tuple[Bound, ...]:
        found = [_bound(word, self._item[word]) for word in BOUNDS if word in self._item]
        if not found and "above" in _FIELDS[kind]:
            self._note(self._steps, texts.BOUND_MISSING(bounds=BOUNDS))
        return tuple(found)

    def _map(self) -> MapField:
        return MapField(map=self._item["map"], field=self._item.get("field", ""))

    def _program(self) -> ProgramRuns:
        return ProgramRuns(program=self._item["program"])

    def _interface(self) -> InterfaceCounter | None:
        if "counter" not in self._item:
            self._note(self._steps, texts.COUNTER_MISSING(), key=True)
            return None
        return InterfaceCounter(
            interface=self._item["interface"], counter=self._item["counter"], netns=self._netns()
        )  # fmt: skip

    def _tcp(self) -> Tcp | None:
        place = self._address("tcp", self._item["tcp"])
        return place and Tcp(address=place[0], port=place[1], netns=self._netns(), timeout=self._timeout(1.0))

    def _http(self) -> Http | None:
        host, rest = re.fullmatch(r"http://([^/?]*)(.*)", self._item["http"]).groups()  # type: ignore[union-attr]
        place = self._address("http", host if re.search(r":\d+$", host.rpartition("]")[2]) else f"{host}:80")
        path = rest if rest.startswith("/") else f"/{rest}"
        return place and Http(
            address=place[0], port=place[1], path=path, status=int(self._item.get("status", 200)),
            body=self._item.get("body", ""), netns=self._netns(), timeout=self._timeout(1.0),
        )  # fmt: skip

    def _command(self) -> HostCommand:
        return HostCommand(command=self._item["command"], timeout=self._timeout(5.0))

    def _netns(self) -> str | None:
        return netns_path(self._item["netns"]) if "netns" in self._item else None

    def _timeout(self, default: float) -> float:
        if "timeout" not in self._item:
            return default
        found = seconds(self._item["timeout"]) or 0.0
        if not SHORTEST <= found <= LONGEST_ANSWER:
            wrong = texts.TIMEOUT_OUT_OF_RANGE(least=_LEAST, most=f"{LONGEST_ANSWER / 60:g}m")
            self._note((*self._steps, "timeout"), wrong)
        return found

    def _address(self, field: str, text: str) -> tuple[str, int] | None:
        """An address and a port. A name would be looked up elsewhere than the check is made."""
        host, _, port = text.rpartition(":")
        try:
            address = ipaddress.ip_address(host[1:-1] if host.startswith("[") else host)
            if not 0 < int(port) < 65536:
                raise ValueError(port)
        except ValueError:
            self._note((*self._steps, field), texts.NOT_AN_ADDRESS(value=text))
            return None
        return str(address), int(port)


def _bound(word: str, limit: Any) -> Bound:
    of, _, side = word.rpartition("_")
    if isinstance(limit, str):
        number, unit = limit.split("/")
        limit = float(number) / UNITS[unit]
    return Bound(of=Of(of or "value"), above=side == "above", limit=float(limit))


# against the objects

Tell = Callable[[Mark, str, Message], None]


def resolved(
    wish: HealthWish, maps: Mapping[str, ElfMap], programs: Collection[str], byteorder: Mapping[str, Any], tell: Tell
) -> Health:
    """The checks with their keys encoded; what the objects do not have is told by place, path and message."""
    checks = []
    for check, place in zip(wish.health.checks, wish.places, strict=True):
        match check.what:
            case ProgramRuns(program=name) if name not in programs:
                wrong = texts.NO_SUCH_PROGRAM(program=name, hint=suggestion(name, programs))
                tell(place.at("program"), place.path("program"), wrong)
            case MapField() as what:
                check = replace(check, what=_map_field(what, place, maps, byteorder, tell))
        checks.append(check)
    return replace(wish.health, checks=tuple(checks))


def _map_field(
    what: MapField, place: CheckPlace, maps: Mapping[str, ElfMap], byteorder: Mapping[str, Any], tell: Tell
) -> MapField:
    found = maps.get(what.map)
    if found is None or found.type not in PLAIN_TYPES:
        missing = texts.NO_SUCH_MAP(map=what.map, hint=suggestion(what.map, maps))
        tell(place.at("map"), place.path("map"), texts.MAP_NOT_SUMMED(map=what.map) if found else missing)
        return what
    if find(found.value, what.field) is None:
        there = [leaf.path for leaf in leaves(found.value)][:50] if found.value else []
        hint = suggestion(what.field, filter(None, there))
        none = texts.FIELD_MISSING(map=what.map, hint=hint)
        wrong = texts.NOT_A_NUMBER(field=what.text(), hint=hint) if what.field else none
        tell(place.at("field"), place.path("field"), wrong)
    if place.key is None:
        return what
    try:
        orders = orders_below(byteorder.get(what.map), "key")
        key = encode.encode(found.key, place.key, path="key", byteorder=orders, size=found.key_size)
    except encode.ValueProblem as misfit:
        tell(place.at("key"), f"{place.path('')}{misfit.path}", misfit.message)
        return what
    return replace(what, key=key)
