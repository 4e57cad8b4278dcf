"""Programs: loading and asking about them. Implements kernel.Progs."""

from __future__ import annotations

import errno
import os
import struct
import time

from reloader.bpf import syscall
from reloader.bpf.syscall import Command
from reloader.errors import KernelError
from reloader.fault_points import lasting
from reloader.kernel import Fd, Loaded, LoadRequest, ProgInfo, Ran

TRIES = 5  # of a run that a signal broke off
PROG_TYPE_XDP = 6  # enum bpf_prog_type
XDP_MD = struct.Struct("=6I")  # struct xdp_md; as a context since Linux 5.14 (commit 47316f4a3053)


class LiveProgs:
    """See kernel.Progs."""

    def load(self, request: LoadRequest) -> Loaded:
        from reloader.bpf import loader

        return loader.load(request)

    def info(self, fd: Fd) -> ProgInfo:
        return syscall.prog_info(fd.fileno())

    def by_id(self, prog_id: int) -> Fd:
        return Fd(syscall.fd_by_id(Command.BPF_PROG_GET_FD_BY_ID, prog_id))

    def run(self, fd: Fd, data: bytes, *, cpu: int | None = None) -> int:
        def once() -> int:
            return lasting("prog.run", lambda: syscall.prog_test_run(fd.fileno(), data=data).retval)

        if cpu is None:
            return once()
        allowed = os.sched_getaffinity(0)  # of this thread only
        os.sched_setaffinity(0, {cpu})
        try:
            return once()
        finally:
            os.sched_setaffinity(0, allowed)

    def try_out(self, fd: Fd, data: bytes, *, repeat: int = 1) -> Ran:
        ctx = XDP_MD.pack(0, len(data), 0, 0, 0, 0) if self.info(fd).type == PROG_TYPE_XDP else b""
        before = time.thread_time_ns()  # the kernel's own figure is in whole ns, and counts what pre-empts it
        for attempt in range(TRIES):
            try:
                found = syscall.prog_test_run(fd.fileno(), data=data, ctx=ctx, repeat=repeat)
                break
            except KernelError as error:
                if error.errno == errno.EINVAL and ctx:  # an older kernel; metadata is not told apart there
                    ctx = b""
                elif error.errno != errno.EINTR or attempt == TRIES - 1:
                    raise
                before = time.thread_time_ns()
        took = time.thread_time_ns() - before
        start = XDP_MD.unpack(found.ctx)[0] if ctx else 0  # metadata comes out in front of the packet
        return Ran(verdict=found.retval, data=found.data[start:], ns=took / repeat)

    def count_runs(self) -> Fd:
        return Fd(syscall.enable_stats())

    def metadata(self, prog_id: int) -> dict[str, str]:
        from reloader.bpf import metadata

        with self.by_id(prog_id) as fd:
            return metadata.read(self.info(fd).map_ids)
