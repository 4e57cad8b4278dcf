"""LiveKernel: kernel.Kernel on the machine we run on. What cli.py hands to the engine."""

from __future__ import annotations

import errno
import sys

from reloader.bpf import libc, syscall
from reloader.bpf.links import LiveLinks
from reloader.bpf.maps import LiveMaps
from reloader.bpf.net import LiveNet
from reloader.bpf.pins import LivePins
from reloader.bpf.progs import LiveProgs
from reloader.errors import KernelError
from reloader.kernel import Fd, Feature, Links, Maps, MapType, Net, Pins, Progs

CAPABILITIES = {"CAP_NET_ADMIN": 12, "CAP_SYS_ADMIN": 21, "CAP_PERFMON": 38, "CAP_BPF": 39}  # linux/capability.h


class LiveKernel:
    """See kernel.Kernel. Holds nothing open."""

    def __init__(self) -> None:
        self._pins, self._maps, self._progs, self._links, self._net = (
            LivePins(), LiveMaps(), LiveProgs(), LiveLinks(), LiveNet(),
        )  # fmt: skip

    @property
    def pins(self) -> Pins:
        return self._pins

    @property
    def maps(self) -> Maps:
        return self._maps

    @property
    def progs(self) -> Progs:
        return self._progs

    @property
    def links(self) -> Links:
        return self._links

    @property
    def net(self) -> Net:
        return self._net

    def possible_cpus(self) -> int:
        return syscall.possible_cpus()

    def holders(self, kind: str, number: int) -> tuple[str, ...]:
        from reloader.bpf.holders import holders  # seldom asked

        return holders(kind, number)

    def boot_id(self) -> str:
        with open("/proc/sys/kernel/random/boot_id") as file:
            return file.read().strip()

    def features(self) -> tuple[Feature, ...]:
        from reloader.bpf import features

        return features.probe()

    def capabilities(self) -> frozenset[str]:
        with open("/proc/self/status") as file:
            mask = next(int(line.split()[1], 16) for line in file if line.startswith("CapEff:"))
        return frozenset(name for name, bit in CAPABILITIES.items() if mask >> bit & 1)

    def barrier(self) -> None:
        try:
            libc.membarrier_global()
        except KernelError as error:
            if error.errno not in (errno.EINVAL, errno.ENOSYS):
                raise
            wait_for_programs()


def wait_for_programs() -> None:
    """A grace period where membarrier has none (nohz_full): the kernel waits for one itself after an update
    of a map-in-map, lest programs still run with the old inner map (commit 1ae80cf31938)."""
    shape = {"key_size": 4, "value_size": 4, "max_entries": 1}
    with (
        Fd(syscall.map_create(kind=MapType.ARRAY, name="barrier_inner", **shape)) as inner,
        Fd(
            syscall.map_create(kind=MapType.ARRAY_OF_MAPS, name="barrier", inner_map_fd=inner.fileno(), **shape)
        ) as outer,
    ):
        syscall.map_update(outer.fileno(), bytes(4), inner.fileno().to_bytes(4, sys.byteorder))
