"""What a place answers for itself, so that no other room knows a hook by name.

A place is where one attachment's program runs: XDP or traffic control on an interface, later a cgroup. Each type is a
class that satisfies `Place`; places/__init__.py lists them.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any, ClassVar, Protocol, Self, runtime_checkable

from reloader import kernel
from reloader.errors import AttachRefused
from reloader.frozen import frozen
from reloader.kernel import Fd, Kernel, LinkInfo
from reloader.places import texts
from reloader.structs.elf.sections import load_type
from reloader.wording.message import Message

Fact = str | int | None
Record = Mapping[str, Fact]  # what a record keeps of a place beside its link: read by that place alone
Spot = tuple[object, ...]  # the identity of what has the place's name now; equal for two names of one spot


class Sight(StrEnum):
    """Where a link of ours is, seen from its place."""

    OURS = "ours"  # our link is attached at the place, with any program
    FREE = "free"  # the place exists, and no link of ours is pinned for it
    VANISHED = "vanished"  # the place does not exist
    ELSEWHERE = "elsewhere"  # our link is attached, but not at what has the place's name now
    DETACHED = "detached"  # our link lost its place, which was made again


@frozen
class LoadHints:
    """What a program that attaches here has to be loaded as."""

    program_type: str  # as structs/elf derives it from the section
    section: str  # how a section of such a program is named, for hints
    options: Mapping[str, str]  # fields of the attachment that choose it; {}: its type alone does

    @property
    def loaded_as(self) -> kernel.LoadHints:
        """Return it for LoadRequest.hints, by the names of the kernel."""
        found = load_type(self.section)
        assert found, f"{self.section}: not every libbpf loads it"
        return kernel.LoadHints(program_type=found.program_type, attach_type=found.attach_type)


@frozen
class PacketRules:
    """What tests may ask of a place's programs: BPF_PROG_RUN takes packets for them."""

    verdicts: Mapping[str, int]  # what a program may return, by name
    least: int  # bytes of the shortest packet
    most: int  # bytes of the longest


@frozen
class Neighbour:
    """One program or filter of others beside ours. Packets meet it before ours or after it."""

    before: bool
    prog_id: int  # 0: a filter that runs none
    name: str  # in words
    verdict: str  # which the earlier one has to return so that the later one sees the packet; empty: both always run
    take_over: Message  # what --take-over does with it
    takes: Mapping[str, Any] | None  # what ClearsOthers.remove needs to remove it; None: it stays
    shown: Mapping[str, object]  # as JSON, without its effect

    def effect(self, ours: str) -> Message:
        """Say which packets reach the later of the two. `ours`: the name of our program."""
        if not self.verdict:
            return (texts.BOTH_BEFORE if self.before else texts.BOTH_AFTER)(neighbour=self.name, ours=ours)
        text = texts.RUNS_BEFORE if self.before else texts.RUNS_AFTER
        return text(neighbour=self.name, ours=ours, verdict=self.verdict)

    def to_json(self, *, removed: bool = False) -> dict[str, Any]:
        """Return it as plan, status and doctor print it. `removed`: this change takes it off the hook."""
        effect = "removed" if removed else "runs_before" if self.before else "runs_after"
        return {"hook": self.shown["hook"], "effect": effect, **self.shown}


@frozen
class Foreign:
    """A program that no link of ours runs, at a place where ours has to be alone."""

    prog_id: int
    link_id: int  # 0: attached without a link
    held: Message  # how it is attached and who holds it, in words
    pipeline: str = ""  # which it says that it belongs to
    how: str = ""  # how it is attached, for TakesOver.take; empty: it cannot be taken over


@frozen
class Seen:
    """One look at a place."""

    sight: Sight
    link: LinkInfo | None = None  # from our pin
    spot: Spot | None = None  # None: the place does not exist
    owner: str = ""  # whose program runs there, in words; empty: none does
    foreign: Foreign | None = None  # a program in the way of a link of ours
    neighbours: tuple[Neighbour, ...] = ()  # in the order in which packets meet them
    lacks: Message | None = None  # what this kernel lacks for a new link there
    trouble: Message | None = None  # why the sight is neither OURS nor FREE
    blocked: Message | None = None  # why no link of ours can be created there
    fixed: Message | None = None  # why the living link cannot become the one that is wished

    @property
    def alive(self) -> bool:
        """Return whether our link is attached at this very place."""
        return self.sight is Sight.OURS


class Channel(Protocol):
    """Events of a wake-up that is open."""

    def fileno(self) -> int:
        """Return the descriptor for poll(2)."""

    def read(self) -> Sequence[object]:
        """Return what happened since the last call, without waiting. Events that were lost count as one."""

    def close(self) -> None: ...


class Wake(Protocol):
    """Something to listen to, hashable: an event there means that places have to be looked at again."""

    def identity(self) -> Hashable | None:
        """Return which one has this name now; None: it does not exist."""

    def open(self, kernel: Kernel) -> Channel:
        """Listen from now on. KernelError or MissingFeature when it does not exist any more."""


class Place(Protocol):
    """One place. Instances are frozen values: they compare equal when they mean the same place and options."""

    TYPE: ClassVar[str]  # `type:` of an attachment; every id of one begins with it
    TITLE: ClassVar[str]  # a few words for editors
    PROPERTIES: ClassVar[Mapping[str, Any]]  # JSON Schema of the attachment's own fields
    REQUIRED: ClassVar[tuple[str, ...]]  # which of them must be given
    EXAMPLE: ClassVar[Mapping[str, str]]  # a text that each of REQUIRED may have, to check a YAML without them
    REMARK: ClassVar[str]  # the optional ones, for `reloader init`
    LOADS: ClassVar[tuple[LoadHints, ...]]
    PACKETS: ClassVar[PacketRules | None]  # None: its programs take no packets
    SEVERAL: ClassVar[bool]  # whether programs of others may run beside ours

    @classmethod
    def parse(cls, options: Mapping[str, Any]) -> Self:
        """Return the place that the checked fields of an attachment name, with defaults filled in."""

    @classmethod
    def of(cls, target: Mapping[str, str]) -> Self:
        """Return the place that a recorded target means."""

    @staticmethod
    def faults(options: Mapping[str, Any], placeholder: str) -> Iterator[tuple[str, Message]]:
        """Yield fields that fit the schema but cannot name anything. `placeholder`: what `init` writes for a name."""

    @property
    def target(self) -> dict[str, str]:
        """The place in words for wishes and records."""

    @property
    def id(self) -> str:
        """A stable name: two attachments of one id would collide. Link pins are named by it."""

    @property
    def how(self) -> str:
        """How a link is attached there, in a word or two."""

    @property
    def load(self) -> LoadHints:
        """Which of LOADS this very attachment needs."""

    def probe(self, kernel: Kernel) -> Message | None:
        """Say what this kernel lacks for a link there; None: nothing. By trying, never by version."""

    def look(self, kernel: Kernel, link: LinkInfo | None, others: Callable[[], Mapping[int, Record]]) -> Seen:
        """Look at the place. `link`: of our pin. `others`: link id → record of every recorded link; a slow look."""

    def spot(self, kernel: Kernel) -> Spot | None:
        """Return the identity of what has the place's name now; None: it does not exist."""

    def holds(self, kernel: Kernel, link: LinkInfo) -> bool:
        """Return whether a link is attached at what has the place's name now."""

    def record(self, link: LinkInfo, spot: Spot | None) -> dict[str, Fact]:
        """Return what a record keeps: enough for places.MOVED. `spot`: as it was seen; None: it is not known."""

    def wake(self) -> Wake | None:
        """Return what tells that the place came, went or changed; None: nothing does."""

    def attach(self, kernel: Kernel, program: Fd, name: str) -> Fd:
        """Create a link at the place, held by its descriptor only. `name`: of the program, for AttachRefused."""

    def refused(self, kernel: Kernel, error: AttachRefused, name: str) -> AttachRefused:
        """Return the same refusal of the program `name` with its meaning."""

    def rescue(self, program: str) -> tuple[str, ...] | None:
        """Return lines of shell that attach a pinned program (a quoted word) by plain tools, where nothing is attached.
        None: plain tools cannot; the rescue script leaves the link as it is."""

    def rescue_off(self, kernel: Kernel, programs: Mapping[int, Fd]) -> None:
        """Take off what `rescue` attached there, if it is one of these programs, by kernel id."""

    @staticmethod
    def panic(stance: str) -> str | None:
        """Name the program of the panic object that runs there for "open" or "closed"; None: it means nothing there."""

    @staticmethod
    def describe_panic(stance: str) -> Message:
        """Say what the program of `panic` does there."""

    def traffic(self, kernel: Kernel) -> int | None:
        """Count the packets that came to the place since some time; None: they cannot be counted."""

    @staticmethod
    def attached_without_link(kernel: Kernel) -> set[int]:
        """Return the ids of all programs that are attached at places of this type and may have no link."""


@runtime_checkable
class TakesOver(Protocol):
    """A place at which a program of others can give way to our link."""

    def take(self, kernel: Kernel, program: Fd, name: str, *, theirs: Fd, how: str) -> Fd:
        """Put a link for `program` in the place of `theirs`; `how` is Foreign.how. AttachRefused: nothing changed."""

    def give_back(self, kernel: Kernel, theirs: Fd, how: str) -> None:
        """Attach theirs as it was, unless a program is attached there or the place does not exist."""


@runtime_checkable
class ClearsOthers(Protocol):
    """A place at which filters of others can be removed beside our link."""

    def remove(self, kernel: Kernel, taken: Mapping[str, Any]) -> None:
        """Remove a neighbour; `taken` is Neighbour.takes. KernelError EEXIST: another one has come to its place."""

    def restore(self, kernel: Kernel, taken: Mapping[str, Any], theirs: Fd) -> None:
        """Make it again as it was, unless its place is taken or does not exist."""
