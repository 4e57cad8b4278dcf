"""Differences between what a config map holds and what it should hold. Pure; bytes in, bytes out."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from reloader.frozen import frozen
from reloader.kernel import ARRAY_TYPES, LRU_TYPES, PERCPU_TYPES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reloader.pipeline.wish import Kept, WishMap


@frozen
class EntryDiff:
    """Keys and values to write (new and changed ones) and keys to delete."""

    put: dict[bytes, bytes]
    delete: tuple[bytes, ...]
    added: int  # how many of `put` are new keys
    live: int  # entries there now
    tight: bool = False  # the additions only fit once the deletions made room

    @property
    def size(self) -> int:
        return len(self.put) + len(self.delete)


def split_records(data: bytes, key_size: int, value_size: int) -> dict[bytes, bytes]:
    """The entries of a stored file: fixed-size `key ‖ value` records."""
    return dict(struct.iter_unpack(f"{key_size}s{value_size}s", data))


def join_records(entries: Mapping[bytes, bytes]) -> bytes:
    """The inverse of split_records, in key order: keys are of one size, so whole records sort alike."""
    return b"".join(sorted(map(bytes.__add__, entries.keys(), entries.values())))


def in_key_order(entries: Mapping[bytes, bytes], key_size: int) -> dict[bytes, bytes]:
    """The same, laid out as listings are: what compares the two then walks through memory instead of hopping."""
    value_size = len(next(iter(entries.values()), b""))
    return split_records(join_records(entries), key_size, value_size) if value_size else dict(entries)


def digest_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def live_entries(kind: int, value_size: int, entries: dict[bytes, bytes]) -> dict[bytes, bytes]:
    """What a config map holds, in the terms of a listing: one value per key, and no zero array slots."""
    if kind in PERCPU_TYPES:
        entries = {k: v[:value_size] for k, v in entries.items()}
    if kind in ARRAY_TYPES:
        zero = bytes(value_size)
        entries = {k: v for k, v in entries.items() if v != zero}
    return entries


def owned(kept: Sequence[Kept], entries: Mapping[bytes, bytes]) -> Mapping[bytes, bytes]:
    """The same entries as a listing has them: counters that programs write are zero."""
    if not kept or not entries:
        return entries
    size = len(next(iter(entries.values())))
    pieces, at = [], 0
    for k in sorted(kept, key=lambda k: k.offset):
        pieces.append(f"{k.offset - at}s{k.size * k.count}x")
        at = k.offset + k.size * k.count
    cut = struct.Struct("=" + "".join(pieces) + f"{size - at}s")
    return {key: cut.pack(*cut.unpack(value)) for key, value in entries.items()}


def uneven(kind: int, value_size: int, entries: Mapping[bytes, bytes]) -> set[bytes]:
    """Keys of a per-CPU map whose value is not the same on every CPU; what is listed holds for all of them."""
    if kind not in PERCPU_TYPES:
        return set()
    slot = -(-value_size // 8) * 8
    return {k for k, v in entries.items() if v != v[:slot] * (len(v) // slot)}


def way_back(wanted: WishMap, before: dict[bytes, bytes], after: dict[bytes, bytes], *, live: int) -> EntryDiff:
    """What takes back the writing of `after` over `before`: the keys that were written, and no other's.

    `live` is how many entries there are now.
    """
    was = owned(wanted.keep, before)
    put = {k: before[k] for k, v in was.items() if after.get(k) != v and (wanted.prune or k in after)}
    gone = [k for k in after if k not in before]
    if wanted.type in ARRAY_TYPES:
        zeros = dict.fromkeys(gone, bytes(wanted.value_size))
        return EntryDiff(put=put | zeros, delete=(), added=0, live=live)
    added = sum(k not in after for k in put)
    tight = wanted.type not in LRU_TYPES and live + added > wanted.max_entries
    return EntryDiff(put=put, delete=tuple(gone), added=added, live=live, tight=tight)


def entry_diff(
    wanted: WishMap,
    live: dict[bytes, bytes],
    target: dict[bytes, bytes],
    *,
    prune: bool | None = None,
    spare: Collection[bytes] = (),
) -> EntryDiff:
    """What to write so that the live map equals `target` (or holds at least it, when not pruned). `spare`: keys that
    stay, listed or not."""
    array = wanted.type in ARRAY_TYPES
    now = live_entries(wanted.type, wanted.value_size, dict(owned(wanted.keep, live)))
    zero = bytes(wanted.value_size)
    if odd := uneven(wanted.type, wanted.value_size, live):
        now = {**now, **{k: live[k] for k in odd}}  # longer than any value, so equal to none
    if array:
        target = {k: v for k, v in target.items() if v != zero or k in now}
    put = {k: v for k, v in target.items() if now.get(k) != v} if now else dict(target)
    kept = sum(map(now.__contains__, target))
    prune = wanted.prune if prune is None else prune
    gone = [k for k in now if k not in target and k not in spare] if prune and kept < len(now) else []
    added = len(target) - kept
    if array:  # an array slot is emptied by writing zeros
        return EntryDiff(put=put | dict.fromkeys(gone, zero), delete=(), added=added, live=len(now))
    tight = wanted.type not in LRU_TYPES and len(now) + added > wanted.max_entries
    return EntryDiff(put=put, delete=tuple(gone), added=added, live=len(now), tight=tight)
