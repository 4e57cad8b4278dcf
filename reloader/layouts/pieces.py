"""Where the bytes of one layout come from in another, and how such answers are joined and turned round.

A step between two versions is a list of pieces; the way from version 1 to 4 is three steps composed into one,
the way back is each step inverted. match.py makes pieces, layouts/rule_table.py turns them into rules. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from reloader.frozen import frozen
from reloader.layouts import texts
from reloader.wording.message import Message


class Tangled(ValueError):
    """Two steps that no single rule can do."""

    def __init__(self, message: Message) -> None:
        super().__init__(message)
        self.message = message


@frozen
class Piece:
    """`size` bytes at `at` of the target: bytes of the source, a number of it in another size, or `data`."""

    at: int
    size: int
    src: int = -1  # -1: not from the source
    src_size: int = 0  # another than `size`: an integer, widened or narrowed
    signed: bool = False
    checked: bool = False
    data: bytes = b""

    @property
    def end(self) -> int:
        return self.at + self.size

    @property
    def raw(self) -> bool:
        return self.src >= 0 and self.src_size == self.size


@frozen
class Guard:
    """Bytes of the source that an entry must hold, or it has no counterpart in the target. For keys."""

    at: int
    data: bytes


@frozen
class Step:
    pieces: tuple[Piece, ...]  # by `at`, none overlapping; bytes without a piece become zero
    guards: tuple[Guard, ...] = ()
    returns: tuple[Piece, ...] = ()  # bytes of the source that nothing takes: what they get on the way back


def raw(at: int, size: int, src: int) -> Piece:
    return Piece(at=at, size=size, src=src, src_size=size)


def filled(at: int, data: bytes) -> Piece:
    return Piece(at=at, size=len(data), data=data)


def ordered(pieces: Sequence[Piece]) -> tuple[Piece, ...]:
    return tuple(sorted(pieces, key=lambda p: p.at))


def inverted(step: Step, *, guarded: bool) -> Step:
    """Target and source exchanged. What was made up is lost; where `guarded`, it must be found as it was made."""
    back = [
        Piece(
            at=p.src, size=p.src_size, src=p.at, src_size=p.size, signed=p.signed, checked=p.src_size < p.size
        )
        for p in step.pieces
        if p.src >= 0
    ]  # fmt: skip
    guards = [Guard(at=p.at, data=p.data) for p in step.pieces if p.src < 0 and guarded]
    return Step(pieces=ordered([*back, *step.returns]), guards=tuple(guards))


def composed(first: Step, second: Step) -> Step:
    """`first`, then `second`, in one."""
    pieces = [made for p in second.pieces for made in _through(first, p)]
    guards = [made for g in second.guards for made in _guard_through(first, g)]
    return Step(pieces=ordered(pieces), guards=(*first.guards, *guards))


def _through(first: Step, piece: Piece) -> list[Piece]:
    if piece.src < 0:
        return [piece]
    if not piece.raw:
        return [_number_through(first, piece)]
    out = []
    for p, start, end in _covering(first, piece.src, piece.src + piece.size):
        at = piece.at + start - piece.src
        if p is None:
            out.append(filled(at, bytes(end - start)))
        elif p.src < 0:
            out.append(filled(at, p.data[start - p.at : end - p.at]))
        elif p.raw:
            out.append(raw(at, end - start, p.src + start - p.at))
        elif (start, end) == (p.at, p.end):
            out.append(replace(p, at=at))
        else:
            raise Tangled(texts.PART_MOVED())
    return out


def _covering(first: Step, start: int, end: int) -> list[tuple[Piece | None, int, int]]:
    """The pieces that make bytes start…end, cut to them; None where there is none."""
    out: list[tuple[Piece | None, int, int]] = []
    at = start
    for p in first.pieces:
        if p.end <= start or p.at >= end:
            continue
        if p.at > at:
            out.append((None, at, p.at))
        out.append((p, max(p.at, start), min(p.end, end)))
        at = min(p.end, end)
    if at < end:
        out.append((None, at, end))
    return out


def _number_through(first: Step, piece: Piece) -> Piece:
    start, end = piece.src, piece.src + piece.src_size
    parts = _covering(first, start, end)
    if all(p is None or p.src < 0 for p, _, _ in parts):
        data = b"".join(p.data[s - p.at : e - p.at] if p else bytes(e - s) for p, s, e in parts)
        return filled(piece.at, number(int.from_bytes(data, "little", signed=piece.signed), piece.size))
    head = parts[0][0]
    if len(parts) == 1 and head is not None and not head.raw and (head.at, head.end) == (start, end):
        return _joined(head, piece)
    if head is None or any(p is None or not p.raw or p.at - p.src != head.at - head.src for p, _, _ in parts):
        raise Tangled(texts.PARTS_RESIZED())
    return replace(piece, src=head.src + start - head.at)


def _joined(inner: Piece, outer: Piece) -> Piece:
    """A number that changes its size twice, in one."""
    if inner.signed != outer.signed and not (
        not inner.signed and inner.size > inner.src_size and outer.size > inner.src_size
    ):
        raise Tangled(texts.SIZE_SIGN_SIZE())
    if inner.src_size == outer.size:
        return raw(outer.at, outer.size, inner.src)
    return Piece(
        at=outer.at, size=outer.size, src=inner.src, src_size=inner.src_size, signed=inner.signed,
        checked=outer.size < inner.src_size,
    )  # fmt: skip


def number(value: int, size: int) -> bytes:
    """The low bytes of a number, as narrowing leaves them."""
    return (value & ((1 << 8 * size) - 1)).to_bytes(size, "little")


def _guard_through(first: Step, guard: Guard) -> list[Guard]:
    out = []
    for p, start, end in _covering(first, guard.at, guard.at + len(guard.data)):
        want = guard.data[start - guard.at : end - guard.at]
        if p is None:
            continue  # of no meaning in the middle, so it may be what is wanted
        if p.src < 0:
            if p.data[start - p.at : end - p.at] != want:
                raise Tangled(texts.CONSTANT_NOT_EXPECTED())
        elif p.raw:
            out.append(Guard(at=p.src + start - p.at, data=want))
        else:
            out.append(_number_guard(p, start, end, want))
    return out


def _number_guard(p: Piece, start: int, end: int, want: bytes) -> Guard:
    value = int.from_bytes(want, "little", signed=p.signed)
    data = number(value, p.src_size)
    if (start, end) != (p.at, p.end) or int.from_bytes(data, "little", signed=p.signed) != value:
        raise Tangled(texts.PART_EXPECTED_CONSTANT())
    return Guard(at=p.src, data=data)
