"""Attach types, one small file each: what its YAML looks like and, for the engine, how to attach.

A hook is a module; `Hook` says what the module must hold, and mypy checks it. A new attach type is a new
file here and a line in HOOKS. Imports kernel and errors; spec/ and the engine look hooks up by type.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from reloader.kernel import Fd, Interface, Links
from reloader.places.former import tcx, xdp


class Hook(Protocol):
    """What a module in this folder provides."""

    @property
    def TITLE(self) -> str:
        """A few words for editors."""

    @property
    def PROGRAM_TYPE(self) -> str:
        """The type of program, as elf.py derives it from the section, that may attach here."""

    @property
    def SECTION(self) -> str:
        """How a section of such a program is named, for hints."""

    @property
    def PROPERTIES(self) -> Mapping[str, Any]:
        """JSON Schema of the attachment's own fields."""

    @property
    def REQUIRED(self) -> tuple[str, ...]:
        """Which of them must be given."""

    @property
    def VERDICTS(self) -> Mapping[str, int]:
        """What its programs may return, by name; for tests."""

    @property
    def PACKET_LEAST(self) -> int:
        """Bytes of the shortest packet that BPF_PROG_RUN takes for it."""

    @property
    def PACKET_MOST(self) -> int:
        """Bytes of the longest."""

    def target(self, options: Mapping[str, Any]) -> dict[str, str]:
        """The checked fields of an attachment as the engine's words, with defaults filled in."""

    def attachment_id(self, target: Mapping[str, str]) -> str:
        """A stable name of the place; two attachments of the same id would collide."""

    @property
    def SEVERAL(self) -> bool:
        """Whether programs of others may sit there too; where not, one that is there already is in the way."""

    def missing(self, links: Links) -> str:
        """What this kernel lacks for it; empty when it has all."""

    def attach(self, links: Links, prog: Fd, target: Mapping[str, str], ifindex: int) -> Fd:
        """A new link at that place, held by its descriptor only."""

    def rescue_off(
        self, links: Links, target: Mapping[str, str], interface: Interface, programs: Mapping[int, Fd]
    ) -> None:
        """Take off what `rescue` attached there, if it is one of these programs, by kernel id."""

    def rescue(self, target: Mapping[str, str], program: str) -> tuple[str, ...]:
        """Lines of shell that attach a pinned program (a quoted word) with plain tools, where nothing is attached."""


HOOKS: Mapping[str, Hook] = {"xdp": xdp, "tcx": tcx}


def type_of(attachment: str) -> str:
    """The hook of an attachment, by its id alone: what stands before the place."""
    return attachment.partition(":")[0].partition("-")[0]
