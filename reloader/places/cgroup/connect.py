"""connect() of the sockets in a cgroup and in those below it: a program allows it, refuses it or changes its target.

Held by a bpf_link. Each program on a cgroup runs, whatever those before it return; one that returns 0 refuses the
connect() with EPERM. target: {"cgroup": absolute path, or one relative to the cgroup2 mount}
"""

from __future__ import annotations

import errno
import os
import shlex
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar, Self

from reloader.errors import AttachRefused, KernelError
from reloader.frozen import frozen
from reloader.kernel import Fd, Kernel, LinkInfo
from reloader.paths import pin_name
from reloader.places.cgroup import texts
from reloader.places.cgroup.hierarchy import absolute, cgroup_id, mount
from reloader.places.place import Fact, LoadHints, Neighbour, PacketRules, Record, Seen, Sight, Spot
from reloader.places.programs import named, owner_of, read_program
from reloader.wording.message import Message

MISSING = (errno.ENOENT, errno.ENODEV)  # a cgroup or its program was removed in between
LONGEST = 255  # characters of a file name
CGROUP: Mapping[str, Any] = {
    "title": "Cgroup",
    "description": "Path of a cgroup (version 2): absolute, or relative to the cgroup2 mount; . is its root.",
    "type": "string",
    "pattern": r"^[^\u0000-\u001f]+$",
}


@frozen
class _Connect:
    """See place.Place. What both address families share."""

    TYPE: ClassVar[str]
    TITLE: ClassVar[str]
    HOOK: ClassVar[str]  # as bpftool calls it
    LOADS: ClassVar[tuple[LoadHints, ...]]
    REQUIRED: ClassVar[tuple[str, ...]] = ("cgroup",)
    EXAMPLE: ClassVar[Mapping[str, str]] = {"cgroup": "system.slice"}
    REMARK: ClassVar[str] = "cgroup: absolute, or relative to the cgroup2 mount"
    SEVERAL: ClassVar[bool] = True
    PACKETS: ClassVar[PacketRules | None] = None
    PROPERTIES: ClassVar[Mapping[str, Any]] = {"cgroup": CGROUP}

    cgroup: str

    @classmethod
    def parse(cls, options: Mapping[str, Any]) -> Self:
        return cls(cgroup=os.path.normpath(options["cgroup"]))

    @classmethod
    def of(cls, target: Mapping[str, str]) -> Self:
        return cls(cgroup=target["cgroup"])

    @staticmethod
    def faults(options: Mapping[str, Any], placeholder: str) -> Iterator[tuple[str, Message]]:
        name = os.path.normpath(options["cgroup"])
        length = len(pin_name(f"cgroup_connect4:{name}"))
        if name.startswith(placeholder):
            yield "cgroup", texts.PLACEHOLDER(name=name)
        elif name.split("/")[0] == "..":
            yield "cgroup", texts.OUTSIDE(name=name)
        elif length > LONGEST:
            yield "cgroup", texts.TOO_LONG(length=length, most=LONGEST)

    @property
    def target(self) -> dict[str, str]:
        return {"cgroup": self.cgroup}

    @property
    def id(self) -> str:
        return f"{self.TYPE}:{self.cgroup}"

    @property
    def how(self) -> str:
        return self.HOOK

    @property
    def load(self) -> LoadHints:
        return self.LOADS[0]

    @property
    def _attach_type(self) -> str:
        return self.load.loaded_as.attach_type

    def probe(self, kernel: Kernel) -> Message | None:
        able = kernel.links.can_create(self.load.loaded_as, self._attach_type)
        return None if able else texts.NO_LINKS(hook=self.HOOK)

    def look(self, kernel: Kernel, link: LinkInfo | None, others: Callable[[], Mapping[int, Record]]) -> Seen:
        here = cgroup_id(self.cgroup)
        sight = _sight(here, link)
        trouble = self._trouble(sight, link)
        present, shared = tuple[int, ...](), True
        if here:
            with _unless(errno.EPERM, errno.EACCES):  # not ours to look at: neighbours are not named
                present, shared = self._present(kernel)
        exclusive = texts.HELD_EXCLUSIVELY(cgroup=self.cgroup) if present and not shared else None
        return Seen(
            sight=sight,
            link=link,
            spot=(self.TYPE, here) if here else None,
            owner=owner_of(kernel, link.prog_id) if link else "",
            neighbours=tuple(self._neighbours(kernel, link, present)),
            lacks=None if link else self.probe(kernel),
            trouble=trouble,
            blocked=trouble if sight is Sight.ELSEWHERE else exclusive,
        )

    def _trouble(self, sight: Sight, link: LinkInfo | None) -> Message | None:
        match sight:
            case Sight.VANISHED:
                if mount() is None:
                    return texts.NOT_MOUNTED(cgroup=self.cgroup)
                text = texts.NOT_A_CGROUP if os.path.exists(absolute(self.cgroup)) else texts.MISSING
                return text(cgroup=self.cgroup)
            case Sight.ELSEWHERE:
                return texts.ELSEWHERE(id=link.place_id if link else 0, cgroup=self.cgroup)
            case Sight.DETACHED:
                return texts.RECREATED()
        return None

    def _neighbours(self, kernel: Kernel, link: LinkInfo | None, programs: tuple[int, ...]) -> Iterator[Neighbour]:
        """Programs at the very same cgroup; those at the cgroups above it run as well and are not looked for."""
        ours = programs.index(link.prog_id) if link and link.prog_id in programs else len(programs)
        for at, number in enumerate(programs):
            if at != ours:
                program = read_program(kernel, number)
                yield Neighbour(
                    before=at < ours,
                    prog_id=number,
                    name=named(self.HOOK, program.words),
                    verdict="",
                    take_over=texts.STAYS(),
                    takes=None,
                    shown=program.shown(self.TYPE),
                )

    def _present(self, kernel: Kernel) -> tuple[tuple[int, ...], bool]:
        return _programs_of(kernel, absolute(self.cgroup), self._attach_type)

    def spot(self, kernel: Kernel) -> Spot | None:
        here = cgroup_id(self.cgroup)
        return (self.TYPE, here) if here else None

    def holds(self, kernel: Kernel, link: LinkInfo) -> bool:
        return _sight(cgroup_id(self.cgroup), link) is Sight.OURS

    def record(self, link: LinkInfo, spot: Spot | None) -> dict[str, Fact]:
        return {"cgroup": self.cgroup, "cgroup_id": link.place_id}

    def wake(self) -> None:
        """The kernel tells of new cgroups by inotify on the folder above only; `watch` looks again by the clock."""

    def attach(self, kernel: Kernel, program: Fd, name: str) -> Fd:
        """Behind what others have there."""
        try:
            with _opened(absolute(self.cgroup)) as place:
                return kernel.links.create(program, place, self._attach_type)
        except AttachRefused as error:
            raise self.refused(kernel, error, name) from error

    def refused(self, kernel: Kernel, error: AttachRefused, name: str) -> AttachRefused:
        found = AttachRefused(error.call, error.errno or 0, self.cgroup, said=error.said)
        found.reason, why = _meaning(found.errno or 0)
        found.hint = why.hint
        found.sentence = texts.REFUSED(
            attachment=self.id, cgroup=self.cgroup, program=name, why=why, errno=found.errno_name
        )
        found.values = {"attachment": self.id, "cgroup": self.cgroup, "program": name, "errno": found.errno_name}
        return found

    def rescue(self, program: str) -> tuple[str, ...]:
        """By attachment without a link, beside others; `again`, `detach_earlier` and `skip` are of the script these
        lines go into. What an earlier run attached is detached last, so that each connect() meets a program."""
        path = shlex.quote(absolute(self.cgroup))
        return (
            f"if [ -d {path} ]; then",
            f"\tagain bpftool cgroup attach {path} {self.HOOK} pinned {program} multi",
            f"\tdetach_earlier {path} {self.HOOK}",
            f"else skip {shlex.quote(f'{self.id}: the cgroup is missing; skipped')}; fi",
        )

    def rescue_off(self, kernel: Kernel, programs: Mapping[int, Fd]) -> None:
        """Those that a link attached stay: the kernel does not detach them in this way."""
        present, _ = self._present(kernel)
        for number in programs.keys() & set(present):
            with _unless(*MISSING), _opened(absolute(self.cgroup)) as place:
                kernel.links.detach_program(programs[number], place, self._attach_type)

    @classmethod
    def panic(cls, stance: str) -> str | None:
        """Allow every connect(), or refuse it."""
        return f"{cls.TYPE}_{stance}"

    @staticmethod
    def describe_panic(stance: str) -> Message:
        return (texts.PANIC_OPEN if stance == "open" else texts.PANIC_CLOSED)()

    def traffic(self, kernel: Kernel) -> int | None:
        """The kernel does not count what a cgroup's sockets connect to."""
        return None

    @classmethod
    def attached_without_link(cls, kernel: Kernel) -> set[int]:
        """Return the programs at all cgroups, by link or not: the kernel does not tell which."""
        attach_type = cls.LOADS[0].loaded_as.attach_type
        folders = (folder for folder, _, _ in os.walk(mount() or os.devnull))
        return {number for folder in folders for number in _programs_of(kernel, folder, attach_type)[0]}


class Connect4(_Connect):
    """connect() of IPv4 sockets."""

    __slots__ = ()
    TYPE: ClassVar[str] = "cgroup_connect4"
    TITLE: ClassVar[str] = "connect() of IPv4 sockets in a cgroup"
    HOOK: ClassVar[str] = "connect4"
    LOADS: ClassVar[tuple[LoadHints, ...]] = (
        LoadHints(program_type="cgroup_inet4_connect", section="cgroup/connect4", options={}),
    )


class Connect6(_Connect):
    """connect() of IPv6 sockets."""

    __slots__ = ()
    TYPE: ClassVar[str] = "cgroup_connect6"
    TITLE: ClassVar[str] = "connect() of IPv6 sockets in a cgroup"
    HOOK: ClassVar[str] = "connect6"
    LOADS: ClassVar[tuple[LoadHints, ...]] = (
        LoadHints(program_type="cgroup_inet6_connect", section="cgroup/connect6", options={}),
    )


def _sight(here: int | None, link: LinkInfo | None) -> Sight:
    if here is None:
        return Sight.VANISHED
    if link is None:
        return Sight.FREE
    if not link.attached:
        return Sight.DETACHED
    return Sight.OURS if link.place_id == here else Sight.ELSEWHERE


def _opened(path: str) -> Fd:
    """Return a descriptor of a cgroup; AttachRefused when it was removed since the plan."""
    try:
        return Fd(os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
    except OSError as error:
        raise AttachRefused("open", error.errno or errno.EIO, path) from error


@contextmanager
def _unless(*numbers: int) -> Iterator[None]:
    """Go on after a KernelError with one of these errno."""
    try:
        yield
    except KernelError as error:
        if error.errno not in numbers:
            raise


def _programs_of(kernel: Kernel, path: str, attach_type: str) -> tuple[tuple[int, ...], bool]:
    """Return the ids of the programs at a cgroup, and whether they let others run beside them."""
    with _unless(*MISSING, errno.EINVAL), _opened(path) as place:  # EINVAL: this kernel does not have the hook
        return kernel.links.programs_at(place, attach_type)
    return (), True


def _meaning(number: int) -> tuple[str, Message]:
    """Return a stable reason, and why with its hint."""
    match number:
        case errno.ENOENT | errno.ENODEV | errno.ENOLINK | errno.ENOTDIR | errno.EBADF:
            return "cgroup_missing", texts.REMOVED()
        case errno.EPERM:
            return "hook_exclusive", texts.EXCLUSIVE()
        case errno.E2BIG:
            return "hook_full", texts.FULL()
    return "attach_refused", texts.NOT_TAKEN()
