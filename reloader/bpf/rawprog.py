"""Programs of a few instructions, written by hand: what a probe loads, without a compiler or libbpf.

Used by probes.py, extack.py and links.py; loader.py asks it for numbers of types.
"""

from __future__ import annotations

import ctypes
import re
import struct
from enum import IntEnum

from reloader.bpf import attach_types, syscall
from reloader.bpf.syscall import Command
from reloader.errors import KernelError, LoadRejected
from reloader.kernel import LoadHints

BPF_F_SLEEPABLE = 1 << 4
PSEUDO_KFUNC_CALL = 2
LOG_BYTES = 1 << 14
NO_HELPER = re.compile(r"(invalid|unknown) func |cannot use helper")
_ATTR = struct.Struct("=IIQQIIQII16sIIIIQIIQIII4x")


class ProgType(IntEnum):
    """enum bpf_prog_type, up to Linux 6.18."""

    UNSPEC = 0
    SOCKET_FILTER = 1
    KPROBE = 2
    SCHED_CLS = 3
    SCHED_ACT = 4
    TRACEPOINT = 5
    XDP = 6
    PERF_EVENT = 7
    CGROUP_SKB = 8
    CGROUP_SOCK = 9
    LWT_IN = 10
    LWT_OUT = 11
    LWT_XMIT = 12
    SOCK_OPS = 13
    SK_SKB = 14
    CGROUP_DEVICE = 15
    SK_MSG = 16
    RAW_TRACEPOINT = 17
    CGROUP_SOCK_ADDR = 18
    LWT_SEG6LOCAL = 19
    LIRC_MODE2 = 20
    SK_REUSEPORT = 21
    FLOW_DISSECTOR = 22
    CGROUP_SYSCTL = 23
    RAW_TRACEPOINT_WRITABLE = 24
    CGROUP_SOCKOPT = 25
    TRACING = 26
    STRUCT_OPS = 27
    EXT = 28
    LSM = 29
    SK_LOOKUP = 30
    SYSCALL = 31
    NETFILTER = 32


def expected(hints: LoadHints) -> int:
    """Return the number of the attach type that a program is loaded for; 0: none."""
    return attach_types.ATTACH_TYPES[hints.attach_type] if hints.attach_type else 0


def insn(code: int, *, dst: int = 0, src: int = 0, off: int = 0, imm: int = 0) -> bytes:
    """struct bpf_insn."""
    return struct.pack("=BBhi", code, src << 4 | dst, off, imm)


def returns(value: int) -> bytes:
    """r0 = value; exit."""
    return insn(0xB7, imm=value) + insn(0x95)


def call(number: int, *, src: int = 0) -> bytes:
    return insn(0x85, src=src, imm=number)


def load(
    kind: ProgType, code: bytes, *, flags: int = 0, attach: int = 0, btf_id: int = 0, target: int = 0, btf: int = 0,
    function: int = 0,
) -> int:  # fmt: skip
    """The program's descriptor; LoadRejected with the verifier's log. `function` is its BTF id in `btf`."""
    log = ctypes.create_string_buffer(LOG_BYTES)
    gpl, functions = b"GPL\0", struct.pack("=II", 0, function)
    attr = _ATTR.pack(
        kind, len(code) // 8, syscall.address(code), syscall.address(gpl), 1, LOG_BYTES, ctypes.addressof(log), 0,
        flags, b"reloader_probe", 0, attach, btf, 8 if function else 0, syscall.address(functions) if function else 0,
        1 if function else 0, 0, 0, 0, btf_id, target,
    )  # fmt: skip
    try:
        return syscall.call(Command.BPF_PROG_LOAD, attr, kind.name)[0]
    except KernelError as error:
        raise LoadRejected(kind.name, error.errno or 0, log.value.decode("utf-8", "replace")) from error


def has_helper(kind: ProgType, number: int) -> None:
    """LoadRejected unless programs of that kind may call the helper: its arguments are wrong, which comes later."""
    try:
        load(kind, call(number) + insn(0x95))
    except LoadRejected as error:
        if NO_HELPER.search(error.log) or not error.log:
            raise


def xdp_btf() -> int:
    """BTF of `int main(struct xdp_md *ctx)`, whose function is type 5: what freplace needs of both sides."""
    strings = b"\0int\0xdp_md\0ctx\0main\0"
    at = {name: strings.index(b"\0" + name.encode() + b"\0") + 1 for name in ("int", "xdp_md", "ctx", "main")}
    types = b"".join(
        (
            struct.pack("=IIII", at["int"], 1 << 24, 4, 1 << 24 | 32),
            struct.pack("=III", at["xdp_md"], 4 << 24, 4),
            struct.pack("=III", 0, 2 << 24, 2),
            struct.pack("=IIIII", 0, 13 << 24 | 1, 1, at["ctx"], 3),
            struct.pack("=III", at["main"], 12 << 24 | 1, 4),
        )
    )
    header = struct.pack("=HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(types), len(types), len(strings))
    return syscall.btf_load(header + types + strings)


MAIN = 5  # the function's type in xdp_btf()
