"""What the kernel says when it refuses a link on XDP: the text of its extended acknowledgement.

A bpf_link gives user space an errno and no words. The tracepoint bpf_xdp_link_attach_failed has them (since Linux 6.6,
commit bf4ea1d0b2cb): a few instructions on it copy the text into a map while the attempt is repeated. Where this
process may not trace, or the kernel has no such tracepoint, there are no words.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from contextlib import ExitStack

from reloader.bpf import rawprog, syscall
from reloader.bpf.rawprog import ProgType, call, insn
from reloader.bpf.syscall import Command
from reloader.errors import KernelError

TRACEPOINT = b"bpf_xdp_link_attach_failed\0"
TEXT_BYTES = 128
ARRAY = 2  # enum bpf_map_type
LOOKUP, PID_TGID, READ_STRING = 1, 14, 115  # helpers: map_lookup_elem, get_current_pid_tgid, probe_read_kernel_str
FIRST_PID_NAMESPACE = 0xEFFFFFFC  # inode of the one whose process ids the kernel shows to programs


def again(attempt: Callable[[], int], refused: KernelError) -> int:
    """Repeat an attempt that was refused. Its result where it succeeds now; otherwise KernelError with the words."""
    with ExitStack() as opened:
        texts = _listen(opened)
        try:
            return attempt()
        except KernelError as error:
            text = syscall.map_lookup(texts, bytes(4), TEXT_BYTES) if texts >= 0 else None
            said = (text or b"").split(b"\0", 1)[0].decode("utf-8", "replace")
            raise KernelError(error.call, error.errno or 0, error.subject, said=said) from refused


def _listen(opened: ExitStack) -> int:
    """The map that the text will be in; -1 where nothing can be heard."""
    try:
        texts = syscall.map_create(kind=ARRAY, name="reloader_said", key_size=4, value_size=TEXT_BYTES, max_entries=1)
        opened.callback(os.close, texts)
        prog = rawprog.load(ProgType.RAW_TRACEPOINT, _code(texts))
        opened.callback(os.close, prog)
        attr = struct.pack("=QI4x", syscall.address(TRACEPOINT), prog)
        opened.callback(os.close, syscall.call(Command.BPF_RAW_TRACEPOINT_OPEN, attr)[0])
    except KernelError:
        return -1
    return texts


def _code(texts: int) -> bytes:
    """Copy the tracepoint's first argument into the map's only entry, if this process failed."""
    own = os.stat("/proc/self/ns/pid").st_ino == FIRST_PID_NAMESPACE
    mine = call(PID_TGID) + insn(0x77, imm=32) + insn(0x55, off=12, imm=os.getpid()) if own else b""
    return b"".join(
        (
            insn(0x79, dst=6, src=1),  # r6 = ctx->args[0]
            mine,
            insn(0x62, dst=10, off=-4),  # key = 0
            insn(0xBF, dst=2, src=10) + insn(0x07, dst=2, imm=-4),
            insn(0x18, dst=1, src=1, imm=texts) + insn(0),
            call(LOOKUP),
            insn(0x15, off=4),  # no entry: to the end
            insn(0xBF, dst=1),
            insn(0xB7, dst=2, imm=TEXT_BYTES),
            insn(0xBF, dst=3, src=6),
            call(READ_STRING),
            rawprog.returns(0),
        )
    )
