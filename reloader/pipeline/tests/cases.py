"""A pipeline's tests, resolved: packets as bytes, expectations as masks. What a generation keeps of `test:`.

Made by pipeline/tests/cases_from_yaml.py, stored as one blob by digest, run by packet_tests/run.py. Places in the
text are kept apart, in the
wish, so that a moved line is no change. Pure.
"""

from __future__ import annotations

import json

from reloader.disk import jsonable
from reloader.frozen import frozen


@frozen
class Seed:
    """Entries written into one map before a packet; what else is in there stays."""

    map: str
    records: bytes  # key ‖ value, as often as there are entries


@frozen
class FieldCheck:
    """One field of a map's value, exact or in a range."""

    path: str  # below the value, as `packets`; empty for the whole
    offset: int  # bytes into the value
    mask: bytes  # which bits count, from `offset` on
    want: bytes  # under the mask; without meaning when a range is given
    low: int | None = None  # a range, both ends included
    high: int | None = None
    signed: bool = False
    order: str = "little"
    said: str = ""  # as the author wrote it


@frozen
class EntryCheck:
    key: bytes
    said: str  # the key as the author wrote it
    fields: tuple[FieldCheck, ...] = ()
    absent: bool = False


@frozen
class MapCheck:
    map: str
    entries: tuple[EntryCheck, ...] = ()
    low: int | None = None  # how many entries there must be
    high: int | None = None


@frozen
class OutputCheck:
    """What must have become of a packet."""

    same: bool = False
    at: int | None = None  # None: `want` is the whole packet
    want: bytes = b""
    mask: bytes = b""
    length: int | None = None
    fields: dict[str, str] | None = None  # `udp.dport` -> as packets.shown writes it
    payload: bytes | None = None


@frozen
class Step:
    """Seeds, then packets, then what must hold."""

    seeds: tuple[Seed, ...] = ()
    packets: tuple[bytes, ...] = ()
    repeat: int = 1
    verdict: int | None = None
    output: OutputCheck | None = None
    maps: tuple[MapCheck, ...] = ()


@frozen
class Budget:
    """How much slower or longer than the active version it may be; None: not asked."""

    ns: float | None = None
    insns: float | None = None


@frozen
class Case:
    name: str
    program: str
    type: str  # the hook whose verdicts it has
    steps: tuple[Step, ...]
    budget: Budget | None = None


def dump(cases: tuple[Case, ...]) -> bytes:
    """The blob."""
    return json.dumps(jsonable.to_json(cases), separators=(",", ":"), sort_keys=True).encode()


def load(blob: bytes) -> tuple[Case, ...]:
    cases: tuple[Case, ...] = jsonable.from_json(tuple[Case, ...], json.loads(blob))
    return cases
