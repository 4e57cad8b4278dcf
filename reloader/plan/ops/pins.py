"""Ops that make and delete pins. Pure."""

from __future__ import annotations

from typing import ClassVar

from reloader.frozen import frozen


@frozen
class PinMap:
    TAG: ClassVar[str] = "PinMap"
    map: str
    path: str


@frozen
class PinAgain:
    """Pin what lost its pin but lives, held by a program or link of ours. Stays whatever becomes of the rest."""

    TAG: ClassVar[str] = "PinAgain"
    kind: str  # "map" or "program"
    name: str
    id: int  # kernel id
    path: str


@frozen
class PinProgram:
    TAG: ClassVar[str] = "PinProgram"
    program: str
    path: str
    stage: str = "clean"


@frozen
class Unpin:
    TAG: ClassVar[str] = "Unpin"
    path: str


@frozen
class DropFolder:
    """Unpin everything in one directory, and remove it."""

    TAG: ClassVar[str] = "DropFolder"
    path: str
