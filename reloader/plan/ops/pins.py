"""Ops that make and delete pins. Pure."""

from __future__ import annotations

from typing import ClassVar

from reloader.frozen import frozen
from reloader.plan.ops.base import NothingOwed, OpBase


@frozen
class PinMap(OpBase):
    """Pin a map of this transaction's load."""

    TAG: ClassVar[str] = "PinMap"
    map: str
    path: str

    def undo(self) -> Unpin:
        return Unpin(path=self.path)


@frozen
class PinAgain(NothingOwed):
    """Pin what lost its pin but lives, held by a program or link of ours. Stays whatever becomes of the rest."""

    TAG: ClassVar[str] = "PinAgain"
    kind: str  # "map" or "program"
    name: str
    id: int  # kernel id
    path: str


@frozen
class PinProgram(OpBase):
    """Pin a program of this transaction's load."""

    TAG: ClassVar[str] = "PinProgram"
    program: str
    path: str
    stage: str = "clean"

    def undo(self) -> Unpin:
        return Unpin(path=self.path)


@frozen
class Unpin(OpBase):
    """Delete one pin, and the folders that are empty then. A missing pin is not an error."""

    TAG: ClassVar[str] = "Unpin"
    path: str


@frozen
class DropFolder(OpBase):
    """Unpin everything in one directory, and remove it."""

    TAG: ClassVar[str] = "DropFolder"
    path: str
