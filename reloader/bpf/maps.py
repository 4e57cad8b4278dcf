"""Map contents in bulk. Implements kernel.Maps.

Batches first: one call for all entries of a hash, and no GET_NEXT_KEY, which starts over when its key
vanished. One by one, bounded, only where a map type has no batches. Buffers are sized from the live
descriptor's info.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import itertools
import mmap
import struct
from collections.abc import Iterator, Sequence

from reloader.bpf import syscall
from reloader.bpf.syscall import Command
from reloader.errors import KernelError
from reloader.fault_points import lasting
from reloader.kernel import ARRAY_TYPES, Fd, MapInfo, MapType

CHUNK = 64 << 20  # bytes of keys and values in one batch call
TRIES = 100  # of one batch element the kernel calls busy: another CPU, or an NMI, holds its bucket
F_NUMA_NODE = 1 << 2  # info does not tell which
UNSHOWN = frozenset({syscall.ENOTSUPP, errno.EOPNOTSUPP, errno.ENOSPC})  # handles that user space cannot look up
HASHED_HANDLES = frozenset({MapType.SOCKHASH, MapType.DEVMAP_HASH, MapType.HASH_OF_MAPS})
NO_BATCH = frozenset({syscall.ENOTSUPP, errno.EOPNOTSUPP, errno.EINVAL})


class LiveMaps:
    """See kernel.Maps."""

    def info(self, fd: Fd) -> MapInfo:
        return syscall.map_info(fd.fileno())

    def by_id(self, map_id: int) -> Fd:
        return Fd(syscall.fd_by_id(Command.BPF_MAP_GET_FD_BY_ID, map_id))

    def create(self, shape: MapInfo) -> Fd:
        with contextlib.ExitStack() as held:
            btf: dict[str, int] = {}
            if shape.btf_id and (shape.btf_key_type_id or shape.btf_value_type_id):
                fd = held.enter_context(Fd(syscall.fd_by_id(Command.BPF_BTF_GET_FD_BY_ID, shape.btf_id)))
                types = {"btf_key_type_id": shape.btf_key_type_id, "btf_value_type_id": shape.btf_value_type_id}
                btf = {"btf_fd": fd.fileno(), **types}
            return Fd(
                syscall.map_create(
                    kind=shape.type, name=shape.name, key_size=shape.key_size, value_size=shape.value_size,
                    max_entries=shape.max_entries, flags=shape.map_flags & ~F_NUMA_NODE, **btf,
                )
            )  # fmt: skip

    def memory(self, fd: Fd) -> int:
        return int(_fdinfo(fd).get("memlock", 0))

    def frozen(self, fd: Fd) -> bool:
        return _fdinfo(fd).get("frozen") == "1"

    def freeze(self, fd: Fd) -> None:
        lasting(f"map.freeze {self.info(fd).name}", lambda: syscall.map_freeze(fd.fileno()))

    def items(self, fd: Fd) -> dict[bytes, bytes]:
        info = self.info(fd)
        found: dict[bytes, bytes] = {}
        for count, keys, values in _chunks(fd.fileno(), info):
            size = syscall.value_bytes(info)
            found.update(zip(_split(keys, info.key_size, count), _split(values, size, count), strict=True))
        return found

    def keys(self, fd: Fd, at_most: int) -> Iterator[bytes]:
        info = self.info(fd)
        for count, keys, _ in _chunks(fd.fileno(), info, at_most):
            if count:
                yield bytes(keys[: count * info.key_size])

    def pieces(self, fd: Fd, at_most: int) -> Iterator[tuple[bytes, bytes]]:
        info = self.info(fd)
        size = syscall.value_bytes(info)
        for count, keys, values in _chunks(fd.fileno(), info, at_most):
            if count:
                yield bytes(keys[: count * info.key_size]), bytes(values[: count * size])

    def filled(self, fd: Fd) -> Iterator[tuple[bytes, bytes]]:
        info, key = self.info(fd), None
        for _ in range(2 * info.max_entries + 16):
            key = syscall.map_next_key(fd.fileno(), key, info.key_size)
            if key is None:
                return
            try:
                value = syscall.map_lookup(fd.fileno(), key, info.value_size)
            except KernelError as error:
                if error.errno not in UNSHOWN:
                    raise
                value = b"" if info.type in HASHED_HANDLES else None
            if value is not None:
                yield key, value
        raise _too_fast(info)

    def count(self, fd: Fd) -> int:
        # No command counts; a batch copies values too, and is still faster than a walk over the keys.
        info = self.info(fd)
        if info.type in ARRAY_TYPES:
            return info.max_entries
        return sum(count for count, _, _ in _chunks(fd.fileno(), info))

    def lookup(self, fd: Fd, key: bytes) -> bytes | None:
        info = self.info(fd)
        _check_sizes([key], info.key_size, "key", info)
        return syscall.map_lookup(fd.fileno(), key, syscall.value_bytes(info))

    def update_many(self, fd: Fd, keys: Sequence[bytes], values: Sequence[bytes]) -> None:
        info = self.info(fd)
        values = _for_every_cpu(info, values)
        _check_sizes(keys, info.key_size, "key", info)
        _check_sizes(values, syscall.value_bytes(info), "value", info)
        if len(keys) != len(values):
            raise KernelError(Command.BPF_MAP_UPDATE_BATCH.name, errno.EINVAL, f"{info.name}: keys without values")
        if keys:
            lasting(f"map.update {info.name}", lambda: _update(fd.fileno(), info, keys, values))

    def delete_many(self, fd: Fd, keys: Sequence[bytes]) -> None:
        info = self.info(fd)
        _check_sizes(keys, info.key_size, "key", info)
        if keys:
            lasting(f"map.delete {info.name}", lambda: _delete(fd.fileno(), info, keys))

    def btf(self, btf_id: int) -> bytes:
        with Fd(syscall.fd_by_id(Command.BPF_BTF_GET_FD_BY_ID, btf_id)) as fd:
            return syscall.btf_raw(fd.fileno())

    def discard(self, fd: Fd) -> None:
        page = mmap.PAGESIZE
        with mmap.mmap(fd.fileno(), page) as consumer, mmap.mmap(
            fd.fileno(), page, prot=mmap.PROT_READ, offset=page
        ) as producer:  # fmt: skip
            consumer[:8] = producer[:8]  # both begin with a position


def _fdinfo(fd: Fd) -> dict[str, str]:
    """What procfs says of a descriptor."""
    with open(f"/proc/self/fdinfo/{fd.fileno()}") as file:
        return {words[0].rstrip(":"): words[1] for line in file if len(words := line.split()) == 2}


# reading


def _chunks(fd: int, info: MapInfo, at_most: int = CHUNK) -> Iterator[tuple[int, memoryview, memoryview]]:
    """(count, keys, values) of a map's entries, piece by piece; `at_most` entries in one, or a whole bucket."""
    if not info.key_size:
        raise KernelError(Command.BPF_MAP_LOOKUP_BATCH.name, errno.EOPNOTSUPP, f"{info.name}: it has no keys")
    try:
        yield from _batches(fd, info, at_most)
    except KernelError as error:
        if error.errno not in NO_BATCH:
            raise
        yield from _walk(fd, info)


def _batches(fd: int, info: MapInfo, at_most: int) -> Iterator[tuple[int, memoryview, memoryview]]:
    size = syscall.value_bytes(info)
    room = max(1, min(info.max_entries, at_most, CHUNK // (info.key_size + size)))
    token = ctypes.create_string_buffer(max(8, info.key_size))  # a bucket or an index; a key of generic batches
    first, left = True, 2 * info.max_entries + 16
    while left > 0:
        keys, values = bytearray(room * info.key_size), bytearray(room * size)
        result = syscall.map_batch(
            Command.BPF_MAP_LOOKUP_BATCH, fd, count=room, keys=_writable(keys), values=_writable(values),
            in_batch=0 if first else ctypes.addressof(token), out_batch=ctypes.addressof(token),
        )  # fmt: skip
        if result.errno == errno.ENOSPC:  # a bucket holds more than there is room for
            room *= 2
            continue
        if result.errno not in (0, errno.ENOENT):
            raise KernelError(Command.BPF_MAP_LOOKUP_BATCH.name, result.errno, info.name)
        yield result.done, memoryview(keys), memoryview(values)
        if result.errno:  # ENOENT: this was the last piece
            return
        first = False
        left -= result.done if info.type == MapType.LPM_TRIE else 0  # its walk starts over when the last key vanished
    raise _too_fast(info)


def _walk(fd: int, info: MapInfo) -> Iterator[tuple[int, memoryview, memoryview]]:
    """Key by key. A key that vanishes sends the kernel back to the start, hence the bound."""
    size, key = syscall.value_bytes(info), None
    for _ in range(2 * info.max_entries + 16):
        key = syscall.map_next_key(fd, key, info.key_size)
        if key is None:
            return
        value = syscall.map_lookup(fd, key, size)
        if value is not None:
            yield 1, memoryview(key), memoryview(value)
    raise _too_fast(info)


def _too_fast(info: MapInfo) -> KernelError:
    return KernelError(Command.BPF_MAP_GET_NEXT_KEY.name, errno.EAGAIN, f"{info.name}: it changes faster than it reads")


def _split(data: memoryview, size: int, count: int) -> list[bytes]:
    return list(itertools.chain.from_iterable(struct.iter_unpack(f"{size}s", data[: size * count])))


def _writable(buffer: bytearray) -> int:
    """The address of a bytearray's bytes, which stay where they are while nobody resizes it."""
    return ctypes.addressof(ctypes.c_char.from_buffer(buffer))


# writing


def _for_every_cpu(info: MapInfo, values: Sequence[bytes]) -> Sequence[bytes]:
    """Per-CPU values as the kernel wants them: one as long as value_size is repeated for every CPU."""
    whole = syscall.value_bytes(info)
    if whole == info.value_size:
        return values
    padding = bytes(-info.value_size % 8)
    cpus = syscall.possible_cpus()
    return [(v + padding) * cpus if len(v) == info.value_size else v for v in values]


def _check_sizes(pieces: Sequence[bytes], size: int, what: str, info: MapInfo) -> None:
    """The kernel reads `size` bytes of each, however short it is."""
    if not set(map(len, pieces)) <= {size}:
        raise KernelError("bpf", errno.EINVAL, f"{info.name}: a {what} has not the map's {size} bytes")


def _update(fd: int, info: MapInfo, keys: Sequence[bytes], values: Sequence[bytes]) -> None:
    step = max(1, CHUNK // (info.key_size + len(values[0])))
    for at in range(0, len(keys), step):
        batch_keys, batch_values = b"".join(keys[at : at + step]), b"".join(values[at : at + step])
        _write(Command.BPF_MAP_UPDATE_BATCH, fd, info, batch_keys, batch_values)


def _delete(fd: int, info: MapInfo, keys: Sequence[bytes]) -> None:
    step = max(1, CHUNK // info.key_size)
    for at in range(0, len(keys), step):
        _write(Command.BPF_MAP_DELETE_BATCH, fd, info, b"".join(keys[at : at + step]), b"")


def _write(command: Command, fd: int, info: MapInfo, keys: bytes, values: bytes) -> None:
    """One batch to its end: on from where the kernel stopped, past keys gone already and busy buckets."""
    total = len(keys) // info.key_size
    value_size = len(values) // total
    at, tries = 0, 0
    while at < total:
        result = syscall.map_batch(
            command, fd, count=total - at, keys=syscall.address(keys) + at * info.key_size,
            values=syscall.address(values) + at * value_size if values else 0,
        )  # fmt: skip
        # A batch that failed before its first element leaves the count as it was asked.
        moved = result.done if not result.errno or result.done < total - at else 0
        at, tries = at + moved, tries + 1 if not moved else 0
        if result.errno in NO_BATCH and at == 0:
            _write_singly(command, fd, info, keys, values)
            return
        if result.errno == errno.ENOENT and command == Command.BPF_MAP_DELETE_BATCH:
            at, tries = at + 1, 0
        elif result.errno and not (result.errno == errno.EBUSY and tries < TRIES):
            raise KernelError(command.name, result.errno, f"{info.name}, entry {at + 1}")


def _write_singly(command: Command, fd: int, info: MapInfo, keys: bytes, values: bytes) -> None:
    """For map types, and kernels, without batches."""
    total = len(keys) // info.key_size
    value_size = len(values) // total
    for i in range(total):
        key = keys[i * info.key_size : (i + 1) * info.key_size]
        try:
            if command == Command.BPF_MAP_UPDATE_BATCH:
                syscall.map_update(fd, key, values[i * value_size : (i + 1) * value_size])
            else:
                syscall.map_delete(fd, key)
        except KernelError as error:
            if error.errno == errno.ENOENT and command == Command.BPF_MAP_DELETE_BATCH:
                continue
            raise KernelError(error.call, error.errno or errno.EIO, f"{info.name}, entry {i + 1}") from error
