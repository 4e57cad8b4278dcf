"""libc through ctypes: the few calls Python has no name for. The floor of the fence.
A number that is missing for this machine raises at import, not in the middle of a swap.
"""

from __future__ import annotations

import ctypes
import os

from reloader.errors import KernelError

CLONE_NEWNET = 0x40000000
PR_SET_PDEATHSIG = 1
BPF_FS_MAGIC = 0xCAFE4A11
MEMBARRIER_CMD_GLOBAL = 1

# (bpf, membarrier): asm/unistd_64.h and asm-generic/unistd.h
_NUMBERS = {
    "x86_64": (321, 324),
    "aarch64": (280, 283),
    "riscv64": (280, 283),
    "loongarch64": (280, 283),
    "ppc64le": (361, 365),
    "s390x": (351, 356),
}
_BPF, _MEMBARRIER = _NUMBERS[os.uname().machine]

_libc = ctypes.CDLL(None, use_errno=True)
_PROTOTYPES: dict[str, tuple[type, list[type]]] = {
    "syscall": (ctypes.c_long, [ctypes.c_long] * 4),
    "unshare": (ctypes.c_int, [ctypes.c_int]),
    "setns": (ctypes.c_int, [ctypes.c_int, ctypes.c_int]),
    "prctl": (ctypes.c_int, [ctypes.c_int] + [ctypes.c_ulong] * 4),
    "statfs": (ctypes.c_int, [ctypes.c_char_p, ctypes.c_void_p]),
}
for _name, (_restype, _argtypes) in _PROTOTYPES.items():
    _function = getattr(_libc, _name)
    _function.restype, _function.argtypes = _restype, _argtypes


def bpf(command: int, attr: ctypes.Array[ctypes.c_char]) -> tuple[int, int]:
    """bpf(2) → (result, errno): the result is -1 on failure, errno 0 on success. The kernel may write to `attr`."""
    result: int = _libc.syscall(_BPF, command, ctypes.addressof(attr), len(attr))
    return result, ctypes.get_errno() if result < 0 else 0


def membarrier_global() -> None:
    """membarrier(MEMBARRIER_CMD_GLOBAL): one RCU grace period. KernelError EINVAL where the kernel has none."""
    _check(_libc.syscall(_MEMBARRIER, MEMBARRIER_CMD_GLOBAL, 0, 0), "membarrier")


def unshare(kind: int) -> None:
    """Move the calling process to a new namespace of that kind (os.unshare is there from Python 3.12)."""
    _check(_libc.unshare(kind), "unshare")


def setns(fd: int, kind: int) -> None:
    """Move the calling thread to another namespace (os.setns is there from Python 3.12)."""
    _check(_libc.setns(fd, kind), "setns")


def die_with_parent(signal_number: int) -> None:
    """prctl(PR_SET_PDEATHSIG): receive a signal when the thread that forked us ends."""
    _check(_libc.prctl(PR_SET_PDEATHSIG, signal_number, 0, 0, 0), "prctl")


def filesystem_magic(path: str) -> int:
    """statfs(2).f_type, the first word of struct statfs, which is larger on no machine than our buffer."""
    buffer = ctypes.create_string_buffer(256)
    _check(_libc.statfs(os.fsencode(path), ctypes.addressof(buffer)), "statfs", path)
    return ctypes.c_ulong.from_buffer(buffer).value & 0xFFFFFFFF


def _check(result: int, call: str, subject: str = "") -> None:
    if result < 0:
        raise KernelError(call, ctypes.get_errno(), subject)
