"""A plan: ops before and after the commit, and the lines that tell a person what they come to. Pure."""

from __future__ import annotations

from dataclasses import field
from enum import StrEnum
from typing import Any

from reloader.frozen import frozen
from reloader.plan.ops import Op
from reloader.wording.message import Message, code_of, values_of
from reloader.wording.printable import Block


class Sign(StrEnum):
    ADD = "+"
    REMOVE = "-"
    CHANGE = "~"
    REPLACE = "-/+"
    KEEP = " "


class Outcome(StrEnum):
    """What becomes of a map."""

    NEW = "new"  # made empty or with its entries
    REUSE = "reuse"  # the very same map serves on
    REPLACE = "replace"  # a fresh map with the new load
    CONVERT = "convert"  # another layout or size: every entry is moved by rules
    RESET = "reset"  # a fresh map, contents dropped because a flag named it
    KEEP = "keep"  # no version uses it now; parked


class Method(StrEnum):
    """How a state map comes to what it is after the change."""

    NONE = "none"  # the very same map
    BRIDGE = "bridge and drain"
    COPY = "copy, swap, drain"
    RESET = "reset"
    START_EMPTY = "start empty"


@frozen
class Refusal:
    """One reason why a plan cannot be carried out."""

    message: Message
    detail: tuple[str, ...] = ()  # lines below it
    cause: Message | None = None  # one of these lines, where it tells the fault more exactly

    def text(self) -> Block:
        """The message with its hint, and the lines below it."""
        first = self.message.with_hint()
        return Block(first, *(f"    {line}" for line in self.detail))

    def to_json(self) -> dict[str, object]:
        """The reason as `-o json` prints it."""
        told = self.cause or self.message
        values = {**values_of(self.message), **values_of(told)}
        return {"message": str(self.message), "detail": list(self.detail), "reason": code_of(told), "values": values}


@frozen
class StateFacts:
    """What becomes of one state map, for machines."""

    method: Method
    entries: int | None  # live now; None: not counted, since nothing happens to them
    bytes_now: int  # memory of the live map as the kernel accounts for it; 0: there is none, or it does not say
    bytes_new: int  # about as much for the map that takes over; 0: none is made
    cgroup: str  # the memory cgroup that is charged for that one
    seconds: float  # about, for all entries
    noticed: str  # what packets of established flows can notice


@frozen
class Line:
    """One row of `plan`: a program, attachment or map and what happens to it."""

    sign: Sign
    kind: str  # "program", "rodata", "attachment", "map", "tests", "health"
    name: str
    action: str  # "load 3", "link update", "reuse" …
    cas: bool | None = None  # whether the kernel compares before it swaps; None: nothing is swapped
    interruption: str = "none"  # what traffic can notice
    notes: tuple[str, ...] = ()
    detail: tuple[str, ...] = ()  # of a conversion: field by field
    state: StateFacts | None = None  # of a state map
    neighbours: tuple[dict[str, Any], ...] = ()  # of an attachment: others on the hook, as Neighbour.to_json

    def text(self) -> str:
        told = self.notes[:1] if self.detail else self.notes
        notes = f" ({'; '.join(told)})" if told else ""
        return f"{self.sign} {self.kind} {self.name}: {self.action}{notes}"


def sign_of(text: str) -> Sign | None:
    """Return the sign in the first column of a line that `Line.text` made, as records keep them; None: it has none."""
    return next((sign for sign in Sign if text.startswith(f"{sign} ")), None)


@frozen
class Plan:
    pipeline: str
    from_generation: int  # 0: none
    generation: int  # the one this plan commits
    load: int
    why: str  # one line: what made it necessary and which way it goes
    lines: tuple[Line, ...]
    ops: tuple[Op, ...]  # before the commit record; each has an undo or lasts no longer than the process
    after: tuple[Op, ...]  # after it; each may be run again
    blobs: dict[str, bytes]  # digest -> contents that ops store: what live config maps held before
    left_out: dict[str, int] = field(default_factory=dict)  # map -> entries of others that a way back cannot keep
    overwritten: tuple[dict[str, Any], ...] = ()  # listed entries that others wrote otherwise, as Foreign.values

    @property
    def changes(self) -> bool:
        return bool(self.ops or self.after)
