"""The health of a pipeline as values: how long a new version is on trial, and what is looked at meanwhile.

Written by pipeline/health/health_from_yaml.py, carried by wishes, judged by trial/judge.py, measured by
trial/look.py. A leaf, apart from
model.py so that a cached wish does not load the whole of it.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import ClassVar

from reloader.frozen import frozen


class Of(StrEnum):
    """What of a counter a bound speaks of."""

    VALUE = "value"  # as it stands; of a program, nanoseconds a run
    RATE = "rate"  # its growth a second since the last look; of a program, runs a second
    RATIO = "ratio"  # that rate to the one before the swap; of a program, nanoseconds a run to those before


@frozen
class Bound:
    of: Of
    above: bool  # it must stay above the limit; else below it
    limit: float

    @property
    def word(self) -> str:
        """As the YAML has it: `rate_below`."""
        return ("" if self.of is Of.VALUE else f"{self.of}_") + ("above" if self.above else "below")

    def text(self) -> str:
        return f"{self.word} {self.limit:g}{'/s' if self.of is Of.RATE else ''}"


@frozen
class MapField:
    """A number in a map's values, summed over its entries and CPUs."""

    TAG: ClassVar[str] = "MapField"
    map: str
    field: str = ""  # dotted, by BTF; empty: the value is the number
    key: bytes | None = None  # None: every entry

    def text(self) -> str:
        return f"{self.map}.{self.field}" if self.field else self.map


@frozen
class ProgramRuns:
    """How often a program runs and how long a run takes, as the kernel counts it."""

    TAG: ClassVar[str] = "ProgramRuns"
    program: str

    def text(self) -> str:
        return f"program {self.program}"


@frozen
class InterfaceCounter:
    TAG: ClassVar[str] = "InterfaceCounter"
    interface: str
    counter: str  # as `ip -s link` or `ethtool -S` name it; of the driver's, those of all queues together
    netns: str | None = None  # absolute path; None: reloader's own

    def text(self) -> str:
        return f"{self.interface}.{self.counter}"


@frozen
class Tcp:
    """A connection that must come about."""

    TAG: ClassVar[str] = "Tcp"
    address: str
    port: int
    netns: str | None = None  # whence it is tried
    timeout: float = 1.0  # seconds

    def text(self) -> str:
        return f"tcp {host_and_port(self.address, self.port)}"


@frozen
class Http:
    """A GET that must be answered so."""

    TAG: ClassVar[str] = "Http"
    address: str
    port: int
    path: str
    status: int = 200
    body: str = ""  # must be somewhere in the answer's body
    netns: str | None = None
    timeout: float = 1.0  # seconds

    def text(self) -> str:
        return f"http {host_and_port(self.address, self.port)}{self.path}"


@frozen
class HostCommand:
    """A command that the host declares; it must end with 0."""

    TAG: ClassVar[str] = "HostCommand"
    command: str  # its name there
    timeout: float = 5.0  # seconds

    def text(self) -> str:
        return f"command {self.command}"


Counter = MapField | ProgramRuns | InterfaceCounter
Question = Tcp | Http | HostCommand


@frozen
class Check:
    what: MapField | ProgramRuns | InterfaceCounter | Tcp | Http | HostCommand
    bounds: tuple[Bound, ...] = ()  # of counters: all of them must hold
    failures: int = 1  # times in a row until it counts

    def text(self) -> str:
        return ", ".join([self.what.text(), *(bound.text() for bound in self.bounds)])


@frozen
class Health:
    window: float  # seconds that a new version is on trial
    interval: float  # seconds between two looks
    checks: tuple[Check, ...]

    @property
    def compares(self) -> bool:
        """Whether the version before has to be measured too."""
        return any(bound.of is Of.RATIO for check in self.checks for bound in check.bounds)

    @property
    def counts_runs(self) -> bool:
        return any(isinstance(check.what, ProgramRuns) for check in self.checks)

    @property
    def commands(self) -> tuple[str, ...]:
        return tuple(check.what.command for check in self.checks if isinstance(check.what, HostCommand))


UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
DURATION = r"^[0-9]+(\.[0-9]+)?(ms|s|m|h)$"


def seconds(text: str) -> float | None:
    """`500ms`, `10s`, `2m`, `1h`; None for anything else."""
    found = re.fullmatch(DURATION, text)
    return float(text[: found.start(2)]) * UNITS[found[2]] if found else None


def host_and_port(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
