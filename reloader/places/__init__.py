"""Where programs attach, by type. A new type is a class that satisfies place.Place, and a line in both tables here."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Protocol

    from reloader.kernel import Kernel, LinkInfo, LoadHints
    from reloader.places.place import Place, Record
    from reloader.wording.message import Message

    Moved = Callable[[Kernel, Sequence[tuple[Record, LinkInfo]]], Message | None]

    class Attachment(Protocol):
        """A program at a place, as a wish has it."""

        @property
        def type(self) -> str: ...
        @property
        def target(self) -> Mapping[str, str]: ...
        @property
        def program(self) -> str: ...


def _interface_moved(kernel: Kernel, links: Sequence[tuple[Record, LinkInfo]]) -> Message | None:
    from reloader.places.interface.moved import moved

    return moved(kernel, links)


def _cgroup_moved(kernel: Kernel, links: Sequence[tuple[Record, LinkInfo]]) -> Message | None:
    from reloader.places.cgroup.hierarchy import moved

    return moved(kernel, links)


MOVED: Mapping[str, Moved] = {
    "xdp": _interface_moved,
    "tcx": _interface_moved,
    "cgroup_connect4": _cgroup_moved,
    "cgroup_connect6": _cgroup_moved,
}
"""What tells that a recorded place is another one now. Apart from the classes, in modules that import little, and each
imported when it is asked: the check behind "nothing to do" needs nothing else."""


@functools.cache
def places() -> Mapping[str, type[Place]]:
    """Return all types of places. Late, because most commands end before one is needed."""
    from reloader.places.cgroup.connect import Connect4, Connect6
    from reloader.places.interface.tcx import Tcx
    from reloader.places.interface.xdp import Xdp

    return {"xdp": Xdp, "tcx": Tcx, "cgroup_connect4": Connect4, "cgroup_connect6": Connect6}


def place_of(kind: str, target: Mapping[str, str]) -> Place:
    """Return the place of an attachment by its type and target."""
    return places()[kind].of(target)


def load_hints(attachments: Iterable[Attachment]) -> dict[str, LoadHints]:
    """Return what each attached program has to be loaded as: its place decides, whatever its section is called."""
    return {one.program: place_of(one.type, one.target).load.loaded_as for one in attachments}


def type_of(attachment: str) -> str:
    """Return the type of an attachment by its id alone."""
    return attachment.partition(":")[0].partition("-")[0]


def first_moved(kernel: Kernel, links: Iterable[tuple[str, Record, LinkInfo]]) -> Message | None:
    """Say which of these links (attachment id, record, link) is not where it was recorded; None: all are. Types that
    look in the same way are asked together."""
    asked: dict[Moved, list[tuple[Record, LinkInfo]]] = {}
    for attachment, record, link in links:
        moved = MOVED.get(type_of(attachment))
        if moved is None:
            return _unknown(attachment)
        asked.setdefault(moved, []).append((record, link))
    answers = (moved(kernel, pairs) for moved, pairs in asked.items())
    return next((answer for answer in answers if answer), None)


def _unknown(attachment: str) -> Message:
    from reloader.places import texts

    return texts.UNKNOWN_TYPE(attachment=attachment)


def place_with_program(program_type: str) -> type[Place] | None:
    """Return the type of place that takes programs of this type; None: none does."""
    return next((k for k in places().values() if any(hints.program_type == program_type for hints in k.LOADS)), None)
