"""One small experiment per feature: returns when the kernel can do it, raises what the kernel said when not.

Run by features.py in a child process, in a network namespace that ends with it: its loopback interface is
free for the taking, and no descriptor needs closing.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import socket
import struct
from collections.abc import Callable

from reloader.bpf import libc, netlink, rawprog, syscall, vmlinux
from reloader.bpf.attach_types import ATTACH_TYPES
from reloader.bpf.rawprog import ProgType
from reloader.bpf.syscall import Command
from reloader.errors import KernelError
from reloader.kernel import PERCPU_TYPES, Fd, MapType

LOOPBACK = 1  # ifindex in a fresh namespace
XDP_FLAGS_SKB_MODE = 1 << 1
BPF_F_NO_PREALLOC = 1 << 0
BPF_F_INNER_MAP = 1 << 12
BPF_F_XDP_HAS_FRAGS = 1 << 5
BATCHED = (
    MapType.HASH, MapType.PERCPU_HASH, MapType.LRU_HASH, MapType.LRU_PERCPU_HASH, MapType.ARRAY,
    MapType.PERCPU_ARRAY, MapType.LPM_TRIE, MapType.HASH_OF_MAPS, MapType.ARRAY_OF_MAPS,
)  # fmt: skip


# XDP


def _xdp() -> int:
    return rawprog.load(ProgType.XDP, rawprog.returns(2))


def _on_loopback(prog: int) -> Fd:
    """Attached; to be closed, since the next probe wants the hook bare."""
    return Fd(syscall.link_create(prog, LOOPBACK, ATTACH_TYPES["xdp"], XDP_FLAGS_SKB_MODE))


def xdp_link() -> None:
    with _on_loopback(_xdp()):
        pass


def link_replace() -> None:
    """The swap, and that the kernel refuses it when another program runs there."""
    first, second = _xdp(), _xdp()
    with _on_loopback(first) as link:
        syscall.link_update(link.fileno(), second, first)
        _refused("a wrong old program is taken", lambda: syscall.link_update(link.fileno(), first, first))


def _refused(otherwise: str, attempt: Callable[[], None]) -> None:
    try:
        attempt()
    except KernelError:
        return
    raise KernelError("probe", errno.EOPNOTSUPP, otherwise)


def xdp_frags() -> None:
    rawprog.load(ProgType.XDP, rawprog.returns(2), flags=BPF_F_XDP_HAS_FRAGS)


def xdp_live_frames() -> None:
    drop = rawprog.load(ProgType.XDP, rawprog.returns(1))
    syscall.prog_test_run(drop, data=bytes(64), flags=syscall.BPF_F_TEST_XDP_LIVE_FRAMES)


def bind_map() -> None:
    syscall.prog_bind_map(_xdp(), _array())


def jit() -> None:
    if not syscall.prog_info(_xdp()).jited_len:
        raise KernelError("prog_info", errno.EOPNOTSUPP, "programs are interpreted")


def run_statistics() -> None:
    syscall.enable_stats()


# maps


def _array(**more: int) -> int:
    return syscall.map_create(
        kind=MapType.ARRAY, name="reloader_probe", **{"key_size": 4, "value_size": 4, "max_entries": 1, **more}
    )


def freeze() -> None:
    made = _array()
    syscall.map_freeze(made)
    _refused("a frozen map takes writes", lambda: syscall.map_update(made, bytes(4), bytes(4)))


def mmapable_array() -> None:
    made = _array(flags=syscall.BPF_F_MMAPABLE, value_size=mmap.PAGESIZE)
    with mmap.mmap(made, mmap.PAGESIZE) as memory:
        memory[0] = 1


def inner_sizes() -> None:
    """An outer array takes inner ones of other sizes."""
    small, large = (_array(flags=BPF_F_INNER_MAP, max_entries=entries) for entries in (1, 8))
    outer = syscall.map_create(
        kind=MapType.ARRAY_OF_MAPS, name="reloader_probe", key_size=4, value_size=4, max_entries=1, inner_map_fd=small
    )
    syscall.map_update(outer, bytes(4), struct.pack("=I", large))


def create(kind: MapType) -> None:
    """A map of a kind without keys."""
    syscall.map_create(kind=kind, name="reloader_probe", key_size=0, value_size=0, max_entries=mmap.PAGESIZE)


def bloom_filter() -> None:
    syscall.map_create(kind=MapType.BLOOM_FILTER, name="reloader_probe", key_size=0, value_size=8, max_entries=16)


def batch(kind: MapType) -> None:
    """Entries written and read back by one call each."""
    nested = kind in (MapType.HASH_OF_MAPS, MapType.ARRAY_OF_MAPS)
    inner = _array() if nested else 0
    key = bytes(8 if kind is MapType.LPM_TRIE else 4)
    made = syscall.map_create(
        kind=kind, name="reloader_probe", key_size=len(key), value_size=4 if nested else 8, max_entries=4,
        inner_map_fd=inner, flags=BPF_F_NO_PREALLOC if kind is MapType.LPM_TRIE else 0,
    )  # fmt: skip
    cpus = syscall.possible_cpus() if kind in PERCPU_TYPES else 1
    value = struct.pack("=I", inner) if nested else bytes(8) * cpus
    for command in (Command.BPF_MAP_UPDATE_BATCH, Command.BPF_MAP_LOOKUP_BATCH):
        _one_batch(command, made, key, value)


def _one_batch(command: Command, made: int, key: bytes, value: bytes) -> None:
    room = [bytes(512), bytes(512 * len(value)), bytes(64)]
    keys, values = (key, value) if command is Command.BPF_MAP_UPDATE_BATCH else room[:2]
    done = syscall.map_batch(
        command, made, count=1 if command is Command.BPF_MAP_UPDATE_BATCH else 4, keys=syscall.address(keys),
        values=syscall.address(values), out_batch=syscall.address(room[2]),
    )  # fmt: skip
    if done.errno not in (0, errno.ENOENT):  # ENOENT: these were all
        raise KernelError(command.name, done.errno)


def map_iterator() -> None:
    """A program that the kernel runs for every element of a map."""
    target = _kernel_function("bpf_iter_bpf_map_elem")
    prog = rawprog.load(ProgType.TRACING, rawprog.returns(0), attach=ATTACH_TYPES["trace_iter"], btf_id=target)
    made = struct.pack("=I", _array())
    attr = struct.pack("=IIIIQI4x", prog, 0, ATTACH_TYPES["trace_iter"], 0, syscall.address(made), len(made))
    link = syscall.call(Command.BPF_LINK_CREATE, attr)[0]
    walk = syscall.call(Command.BPF_ITER_CREATE, struct.pack("=II", link, 0))[0]
    os.read(walk, 64)


# programs


def kernel_btf() -> None:
    vmlinux.ids(["bpf_iter_bpf_map_elem"])


def _kernel_function(name: str) -> int:
    found = vmlinux.ids([name])
    if name not in found:
        raise KernelError("BTF", errno.ENOENT, f"{name} is not in the kernel")
    return found[name]


def fentry() -> None:
    target = _kernel_function("bpf_fentry_test1")  # called by the kernel's own test run only
    _trampoline(rawprog.load(ProgType.TRACING, rawprog.returns(0), attach=ATTACH_TYPES["trace_fentry"], btf_id=target))


def freplace() -> None:
    described = {"btf": rawprog.xdp_btf(), "function": rawprog.MAIN}
    target = rawprog.load(ProgType.XDP, rawprog.returns(2), **described)
    _trampoline(rawprog.load(ProgType.EXT, rawprog.returns(1), btf_id=rawprog.MAIN, target=target, **described))


def _trampoline(prog: int) -> None:
    """Attach to what the program was loaded against."""
    syscall.call(Command.BPF_RAW_TRACEPOINT_OPEN, struct.pack("=QI4x", 0, prog))


def syscall_program() -> None:
    prog = rawprog.load(ProgType.SYSCALL, rawprog.returns(0), flags=rawprog.BPF_F_SLEEPABLE)
    syscall.prog_test_run(prog, ctx=bytes(8))


def sk_reuseport() -> None:
    for attach in (0, ATTACH_TYPES["sk_reuseport_select_or_migrate"]):
        rawprog.load(ProgType.SK_REUSEPORT, rawprog.returns(1), attach=attach)


def kfunc_sock_destroy() -> None:
    """iter/tcp: r1 = ctx->sk_common; if it is there, bpf_sock_destroy(r1)."""
    kfunc, target = _kernel_function("bpf_sock_destroy"), _kernel_function("bpf_iter_tcp")
    code = b"".join(
        (
            rawprog.insn(0x79, dst=1, src=1, off=8),
            rawprog.insn(0x15, dst=1, off=1),
            rawprog.call(kfunc, src=rawprog.PSEUDO_KFUNC_CALL),
            rawprog.returns(0),
        )
    )
    rawprog.load(ProgType.TRACING, code, attach=ATTACH_TYPES["trace_iter"], btf_id=target)


# hooks


def cgroup_link(kind: ProgType, attach: int) -> None:
    """On a descriptor that is no cgroup, which the kernel finds out only where it has such links (EBADF)."""
    prog = rawprog.load(kind, rawprog.returns(1), attach=attach)
    with open(os.devnull, "rb") as nothing:
        try:
            syscall.link_create(prog, nothing.fileno(), attach)
        except KernelError as error:
            if error.errno != errno.EBADF:
                raise


def sk_lookup() -> None:
    prog = rawprog.load(ProgType.SK_LOOKUP, rawprog.returns(1), attach=ATTACH_TYPES["sk_lookup"])
    with open("/proc/thread-self/ns/net", "rb") as own:
        syscall.link_create(prog, own.fileno(), ATTACH_TYPES["sk_lookup"])


def tcx() -> None:
    prog = rawprog.load(ProgType.SCHED_CLS, rawprog.returns(-1))
    syscall.link_create(prog, LOOPBACK, ATTACH_TYPES["tcx_ingress"])


def netkit() -> None:
    """A pair of netkit interfaces can be made."""
    with netlink.open_socket() as channel:
        netlink.new_link(channel, "netkit")


# sockets and the rest


def membarrier() -> None:
    libc.membarrier_global()


def inet_diag_destroy() -> None:
    """SOCK_DESTROY of a UDP socket: it must be aborted, not only the request be taken."""
    _loopback_up()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as victim:
        victim.bind(("127.0.0.1", 0))
        victim.connect(("127.0.0.1", 9))
        _destroy(victim)
        if victim.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != errno.ECONNABORTED:
            raise KernelError("SOCK_DESTROY", errno.EOPNOTSUPP, "the socket lives on")


def _destroy(victim: socket.socket) -> None:
    ends = victim.getsockname(), victim.getpeername()
    ports = struct.pack("!HH", ends[0][1], ends[1][1])
    addresses = b"".join(socket.inet_aton(address).ljust(16, b"\0") for address, _ in ends)
    wanted = ports + addresses + struct.pack("=I", 0) + b"\xff" * 8  # any interface, any cookie
    body = struct.pack("=BBBBI", socket.AF_INET, socket.IPPROTO_UDP, 0, 0, 0xFFFFFFFF) + wanted
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, netlink.NETLINK_SOCK_DIAG) as channel:
        netlink.ask(channel, netlink.SOCK_DESTROY, body, "SOCK_DESTROY")


def _loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as channel:
        request = struct.pack("=16sh22x", b"lo", 1)  # struct ifreq: IFF_UP
        fcntl.ioctl(channel, 0x8914, request)  # SIOCSIFFLAGS


def capability(number: int) -> None:
    """In this process's effective set."""
    with open("/proc/self/status") as file:
        held = next(int(line.split()[1], 16) for line in file if line.startswith("CapEff:"))
    if not held >> number & 1:
        raise KernelError("capabilities", errno.EPERM, "not in the effective set")


def mounted(kind: str) -> None:
    """A filesystem of that kind, anywhere in this mount namespace."""
    with open("/proc/self/mountinfo", "rb") as file:  # a mount's path may hold any byte
        kinds = {line.split(b" - ", 1)[1].split(b" ", 1)[0] for line in file}
    if kind.encode() not in kinds:
        raise KernelError("mount", errno.ENOENT, f"no {kind} is mounted")
