"""bpf(2), one small function a command: descriptors in and out as plain ints, failures as KernelError.

Buffer sizes are the caller's to know, from the live descriptor's info (map_info), never from a new object:
a buffer that is too short lets the kernel write beyond it. Wrapped by maps.py, progs.py, links.py, pins.py.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import struct
from enum import IntEnum
from typing import NamedTuple

from reloader.bpf import libc
from reloader.bpf.attach_types import LINK_TYPES
from reloader.errors import KernelError
from reloader.kernel import PERCPU_TYPES, LinkInfo, MapInfo, ProgInfo

BPF_F_ALLOW_MULTI = 1 << 1
BPF_F_REPLACE = 1 << 2
BPF_F_TEST_XDP_LIVE_FRAMES = 1 << 1
BPF_F_RDONLY_PROG = 1 << 7
BPF_F_MMAPABLE = 1 << 10
MOST_ON_A_HOOK = 64  # BPF_MPROG_MAX, and BPF_CGROUP_MAX_PROGS
ENOTSUPP = 524  # the kernel's own; not for user space, yet batch commands return it


class Command(IntEnum):
    """enum bpf_cmd, include/uapi/linux/bpf.h."""

    BPF_MAP_CREATE = 0
    BPF_MAP_LOOKUP_ELEM = 1
    BPF_MAP_UPDATE_ELEM = 2
    BPF_MAP_DELETE_ELEM = 3
    BPF_MAP_GET_NEXT_KEY = 4
    BPF_PROG_LOAD = 5
    BPF_OBJ_PIN = 6
    BPF_OBJ_GET = 7
    BPF_PROG_DETACH = 9
    BPF_PROG_TEST_RUN = 10
    BPF_PROG_GET_NEXT_ID = 11
    BPF_MAP_GET_NEXT_ID = 12
    BPF_PROG_GET_FD_BY_ID = 13
    BPF_MAP_GET_FD_BY_ID = 14
    BPF_OBJ_GET_INFO_BY_FD = 15
    BPF_PROG_QUERY = 16
    BPF_RAW_TRACEPOINT_OPEN = 17
    BPF_BTF_LOAD = 18
    BPF_BTF_GET_FD_BY_ID = 19
    BPF_MAP_FREEZE = 22
    BPF_MAP_LOOKUP_BATCH = 24
    BPF_MAP_UPDATE_BATCH = 26
    BPF_MAP_DELETE_BATCH = 27
    BPF_LINK_CREATE = 28
    BPF_LINK_UPDATE = 29
    BPF_LINK_GET_FD_BY_ID = 30
    BPF_LINK_GET_NEXT_ID = 31
    BPF_ENABLE_STATS = 32
    BPF_ITER_CREATE = 33
    BPF_LINK_DETACH = 34
    BPF_PROG_BIND_MAP = 35


def call(command: Command, attr: bytes, subject: str = "") -> tuple[int, bytes]:
    """Run a command on a packed union bpf_attr → (result, the attr as the kernel left it)."""
    buffer = ctypes.create_string_buffer(attr, len(attr))
    result, error = libc.bpf(command, buffer)
    if error:
        raise KernelError(command.name, error, subject)
    return result, buffer.raw


def address(data: bytes) -> int:
    """Where the bytes lie, for the kernel to read only; valid as long as the caller holds `data`."""
    return ctypes.cast(ctypes.c_char_p(data), ctypes.c_void_p).value or 0


# maps


def map_create(
    *, kind: int, name: str, key_size: int, value_size: int, max_entries: int, flags: int = 0, inner_map_fd: int = 0,
    btf_fd: int = 0, btf_key_type_id: int = 0, btf_value_type_id: int = 0,
) -> int:  # fmt: skip
    """A new map's descriptor; `name` is cut at 15 bytes."""
    attr = struct.pack(
        "=7I16s5I4x", kind, key_size, value_size, max_entries, flags, inner_map_fd, 0, name.encode()[:15],
        0, btf_fd, btf_key_type_id, btf_value_type_id, 0,
    )  # fmt: skip
    return call(Command.BPF_MAP_CREATE, attr, name)[0]


def map_lookup(fd: int, key: bytes, value_bytes: int) -> bytes | None:
    """The value, `value_bytes` (see value_bytes()) long; None when the key is not there."""
    value = ctypes.create_string_buffer(value_bytes)
    attr = struct.pack("=I4xQQQ", fd, address(key), ctypes.addressof(value), 0)
    try:
        call(Command.BPF_MAP_LOOKUP_ELEM, attr)
    except KernelError as error:
        if error.errno == errno.ENOENT:
            return None
        raise
    return value.raw


def map_update(fd: int, key: bytes, value: bytes, flags: int = 0) -> None:
    attr = struct.pack("=I4xQQQ", fd, address(key), address(value), flags)
    call(Command.BPF_MAP_UPDATE_ELEM, attr)


def map_delete(fd: int, key: bytes) -> None:
    call(Command.BPF_MAP_DELETE_ELEM, struct.pack("=I4xQQQ", fd, address(key), 0, 0))


def map_next_key(fd: int, key: bytes | None, key_size: int) -> bytes | None:
    """The key after `key`, or the first; None at the end. Starts over when `key` has vanished from a hash."""
    following = ctypes.create_string_buffer(key_size)
    attr = struct.pack("=I4xQQQ", fd, address(key) if key is not None else 0, ctypes.addressof(following), 0)
    try:
        call(Command.BPF_MAP_GET_NEXT_KEY, attr)
    except KernelError as error:
        if error.errno == errno.ENOENT:
            return None
        raise
    return following.raw


def map_freeze(fd: int) -> None:
    """No more writes by bpf(2), for ever; programs may still write unless the map is BPF_F_RDONLY_PROG."""
    call(Command.BPF_MAP_FREEZE, struct.pack("=I", fd))


class BatchResult(NamedTuple):
    """How far a batch command came."""

    errno: int  # 0: all of it
    done: int  # elements; after a failure before the first one it may equal what was asked


def map_batch(
    command: Command, fd: int, *, count: int, keys: int, values: int = 0, in_batch: int = 0, out_batch: int = 0
) -> BatchResult:
    """One batch command on addresses. Failures are returned, since the count that goes with them matters."""
    attr = ctypes.create_string_buffer(struct.pack("=QQQQIIQQ", in_batch, out_batch, keys, values, count, fd, 0, 0), 56)
    _, error = libc.bpf(command, attr)
    return BatchResult(errno=error, done=struct.unpack_from("=I", attr, 32)[0])


# pins


def obj_pin(fd: int, path: str, subject: str = "") -> None:
    """`subject`: what errors call the path."""
    name = os.fsencode(path) + b"\0"
    call(Command.BPF_OBJ_PIN, struct.pack("=QII", address(name), fd, 0), subject or path)


def obj_get(path: str) -> int:
    name = os.fsencode(path) + b"\0"
    return call(Command.BPF_OBJ_GET, struct.pack("=QII", address(name), 0, 0), path)[0]


# ids and info


def fd_by_id(command: Command, wanted: int) -> int:
    return call(command, struct.pack("=III", wanted, 0, 0), str(wanted))[0]


def next_id(command: Command, after: int) -> int | None:
    """The next higher id of a kind; None at the end. Starts at 0."""
    try:
        attr = call(command, struct.pack("=III", after, 0, 0))[1]
    except KernelError as error:
        if error.errno == errno.ENOENT:
            return None
        raise
    return int(struct.unpack_from("=I", attr, 4)[0])


def obj_info(fd: int, info: bytes) -> bytes:
    """BPF_OBJ_GET_INFO_BY_FD: `info` goes in (it may hold addresses), what the kernel made of it comes out."""
    buffer = ctypes.create_string_buffer(info, len(info))
    attr = struct.pack("=IIQ", fd, len(info), ctypes.addressof(buffer))
    call(Command.BPF_OBJ_GET_INFO_BY_FD, attr)
    return buffer.raw


def map_info(fd: int) -> MapInfo:
    raw = obj_info(fd, bytes(88))
    kind, found, key_size, value_size, max_entries, flags, name = struct.unpack_from("=6I16s", raw)
    btf_id, key_type, value_type = struct.unpack_from("=3I", raw, 64)
    return MapInfo(
        type=kind, id=found, key_size=key_size, value_size=value_size, max_entries=max_entries, map_flags=flags,
        name=_text(name), btf_id=btf_id, btf_key_type_id=key_type, btf_value_type_id=value_type,
    )  # fmt: skip


def prog_info(fd: int) -> ProgInfo:
    """Asked twice: how many maps, then which."""
    count = struct.unpack_from("=I", obj_info(fd, bytes(232)), 52)[0]
    ids = (ctypes.c_uint32 * count)()
    request = bytearray(232)
    struct.pack_into("=IQ", request, 52, count, ctypes.addressof(ids) if count else 0)
    raw = obj_info(fd, bytes(request))
    kind, found, tag, jited, xlated = struct.unpack_from("=II8sII", raw)
    run_time, runs, _, verified = struct.unpack_from("=QQQI", raw, 192)
    held = struct.unpack_from("=I", raw, 52)[0]
    return ProgInfo(
        type=kind, id=found, name=_text(raw[64:80]), tag=tag.hex(), map_ids=tuple(ids[: min(held, count)]),
        xlated_len=xlated, jited_len=jited, verified_insns=verified, run_cnt=runs, run_time_ns=run_time,
    )  # fmt: skip


def link_info(fd: int) -> LinkInfo:
    """Links of a type that is not in PLACE_IDS keep their place as long as they exist."""
    raw = obj_info(fd, bytes(64))
    kind, found, prog_id = struct.unpack_from("=3I", raw)
    place = struct.unpack_from(PLACE_IDS[kind], raw, 16)[0] if kind in PLACE_IDS else 0
    return LinkInfo(
        type=kind, id=found, prog_id=prog_id, ifindex=place if kind in ON_INTERFACES else 0, place_id=place,
        attached=kind not in PLACE_IDS or place != 0,
    )  # fmt: skip


ON_INTERFACES = frozenset(LINK_TYPES[name] for name in ("xdp", "tcx", "netkit"))
PLACE_IDS = {
    **dict.fromkeys(ON_INTERFACES, "=I"),  # ifindex
    LINK_TYPES["cgroup"]: "=Q",  # id of the cgroup
    LINK_TYPES["netns"]: "=I",  # inode of the network namespace
    LINK_TYPES["struct_ops"]: "=I",  # id of the map
    LINK_TYPES["sockmap"]: "=I",
}
"""What the union in struct bpf_link_info begins with, by link type; 0 once the link lost its place."""


def _text(name: bytes) -> str:
    return name.split(b"\0", 1)[0].decode("utf-8", "replace")


@functools.cache
def possible_cpus() -> int:
    """How many CPUs a per-CPU value has room for: as `0-3,8-11` in sysfs."""
    with open("/sys/devices/system/cpu/possible") as file:
        ranges = [part.split("-") for part in file.read().strip().split(",")]
    return sum(int(r[-1]) - int(r[0]) + 1 for r in ranges)


def value_bytes(info: MapInfo) -> int:
    """What the kernel copies for one value between user space and this map."""
    if info.type in PERCPU_TYPES:
        return (info.value_size + 7) // 8 * 8 * possible_cpus()
    return info.value_size


# BTF


def btf_load(blob: bytes) -> int:
    return call(Command.BPF_BTF_LOAD, struct.pack("=QQIIII", address(blob), 0, len(blob), 0, 0, 0), "BTF")[0]


def btf_raw(fd: int) -> bytes:
    """The blob behind a BTF descriptor."""
    size = struct.unpack_from("=I", obj_info(fd, bytes(32)), 8)[0]
    blob = ctypes.create_string_buffer(size)
    obj_info(fd, struct.pack("=QI4xQII", ctypes.addressof(blob), size, 0, 0, 0))
    return blob.raw


# programs and links


def prog_bind_map(prog_fd: int, map_fd: int) -> None:
    """Make a program hold a map it does not name."""
    call(Command.BPF_PROG_BIND_MAP, struct.pack("=III", prog_fd, map_fd, 0))


def enable_stats() -> int:
    """A descriptor; run_cnt and run_time_ns of all programs count while one is open."""
    return call(Command.BPF_ENABLE_STATS, struct.pack("=I", 0))[0]


def link_create(prog_fd: int, target: int, attach_type: int, flags: int = 0, subject: str = "") -> int:
    """`target`: an ifindex or a descriptor, by attach type."""
    attr = struct.pack("=IIII", prog_fd, target, attach_type, flags)
    return call(Command.BPF_LINK_CREATE, attr, subject)[0]


def link_update(link_fd: int, new_prog_fd: int, old_prog_fd: int) -> None:
    """Compare-and-swap: EPERM unless the program of `old_prog_fd` is the one that runs."""
    call(Command.BPF_LINK_UPDATE, struct.pack("=IIII", link_fd, new_prog_fd, BPF_F_REPLACE, old_prog_fd))


def link_detach(link_fd: int) -> None:
    call(Command.BPF_LINK_DETACH, struct.pack("=I", link_fd))


def prog_detach(prog_fd: int, target: int, attach_type: int, subject: str = "") -> None:
    """Detach a program that was attached without a link."""
    call(Command.BPF_PROG_DETACH, struct.pack("=IIIII", target, prog_fd, attach_type, 0, 0), subject)


def prog_query(target: int, attach_type: int, *, subject: str, link_ids: bool) -> list[tuple[int, int]]:
    """(program id, link id or 0) of each program on a hook, in the order in which they run. `link_ids`: the hook is an
    interface's; others do not tell them, and refuse the question before Linux 6.6."""
    return _prog_query(target, attach_type, subject, link_ids=link_ids)[0]


def prog_query_flags(target: int, attach_type: int, subject: str) -> tuple[list[tuple[int, int]], int]:
    """The same of a cgroup, and the flags with which its programs are attached."""
    return _prog_query(target, attach_type, subject, link_ids=False)


def _prog_query(target: int, attach_type: int, subject: str, *, link_ids: bool) -> tuple[list[tuple[int, int]], int]:
    programs, links = (ctypes.c_uint32 * MOST_ON_A_HOOK)(), (ctypes.c_uint32 * MOST_ON_A_HOOK)()
    attr = struct.pack(
        "=IIIIQIIQQQQ", target, attach_type, 0, 0, ctypes.addressof(programs), MOST_ON_A_HOOK, 0, 0,
        ctypes.addressof(links) if link_ids else 0, 0, 0,
    )  # fmt: skip
    raw = call(Command.BPF_PROG_QUERY, attr, subject)[1]
    (flags,), (count,) = struct.unpack_from("=I", raw, 12), struct.unpack_from("=I", raw, 24)
    return [(programs[i], links[i]) for i in range(min(count, MOST_ON_A_HOOK))], flags


class TestRun(NamedTuple):
    """What BPF_PROG_TEST_RUN brought back."""

    retval: int
    duration_ns: int  # mean of one run
    data: bytes  # the packet as the program left it; empty with live frames
    ctx: bytes  # the context as the program left it


def prog_test_run(
    fd: int, *, data: bytes = b"", ctx: bytes = b"", repeat: int = 1, flags: int = 0, cpu: int = 0, batch_size: int = 0
) -> TestRun:
    """Run a program on a packet, with a context if its type has one, or a syscall program on a context.

    With BPF_F_TEST_XDP_LIVE_FRAMES the verdict takes effect, `repeat` counts packets, `batch_size` packets
    per NAPI-like round, and nothing comes back. KernelError EINTR when a signal broke a long run off.
    """
    live = bool(flags & BPF_F_TEST_XDP_LIVE_FRAMES)
    out = ctypes.create_string_buffer(0 if live or not data else len(data) + 512)
    # A context comes out beside a packet only: a buffer for it is refused for syscall programs, which write theirs
    # in place.
    held = ctypes.create_string_buffer(ctx, len(ctx))
    back = (len(ctx), ctypes.addressof(held)) if ctx and data else (0, 0)
    attr = struct.pack(
        "=IIIIQQIIIIQQIII4x", fd, 0, len(data), len(out), address(data) if data else 0,
        ctypes.addressof(out) if len(out) else 0, 0 if ctx and not data else repeat, 0, len(ctx), back[0],
        ctypes.addressof(held) if ctx else 0, back[1], flags, cpu, batch_size,
    )  # fmt: skip
    raw = call(Command.BPF_PROG_TEST_RUN, attr)[1]
    retval, _, size = struct.unpack_from("=III", raw, 4)
    duration = struct.unpack_from("=I", raw, 36)[0]
    return TestRun(retval=retval, duration_ns=duration, data=out.raw[: min(size, len(out))], ctx=held.raw)
