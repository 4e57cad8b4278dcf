"""What the running kernel has: every feature is tried, versions are never compared.

All in one child process, which leaves nothing behind: it enters a network namespace of its own first, so
that no interface, cgroup or socket of the machine is touched.
"""

from __future__ import annotations

import errno
import functools
from collections.abc import Callable, Iterator

from reloader.bpf import child, libc, probes, rawprog
from reloader.bpf.attach_types import ATTACH_TYPES
from reloader.bpf.rawprog import ProgType
from reloader.errors import KernelError, LoadRejected
from reloader.frozen import frozen
from reloader.kernel import Feature, MapType, Presence

SPARE = 32  # descriptors that trying all features takes
IN_NETNS = frozenset({
    probes.xdp_link, probes.link_replace, probes.sk_lookup, probes.tcx, probes.netkit, probes.inet_diag_destroy,
    probes.xdp_live_frames,
})  # fmt: skip
"""What must not be tried but in a network namespace of our own."""


@frozen
class Probe:
    """A feature, named `<group>.<what>`, and how to try it."""

    name: str
    purpose: str
    attempt: Callable[[], None]
    needed: bool  # nothing works without it
    in_netns: bool

    @property
    def group(self) -> str:
        return self.name.partition(".")[0]


def _probe(name: str, purpose: str, attempt: Callable[..., None], *args: object, needed: bool = False) -> Probe:
    bound = functools.partial(attempt, *args) if args else attempt
    return Probe(name=name, purpose=purpose, attempt=bound, needed=needed, in_netns=attempt in IN_NETNS)


_HELPERS = (
    ("helper.for_each_map_elem", "walks over map elements inside a program", 164),
    ("helper.timer", "timers in map values", 169),
    ("helper.loop", "the migration program's loop", 181),
    ("helper.map_lookup_percpu_elem", "per-CPU state of other CPUs in the migration program", 195),
)


def _table() -> Iterator[Probe]:
    yield _probe("xdp.link", "attachments that outlive us", probes.xdp_link, needed=True)
    yield _probe(
        "xdp.link_replace", "the swap: compare the old program, then replace it", probes.link_replace, needed=True
    )
    yield _probe("xdp.frags", "XDP programs that take packets in several buffers", probes.xdp_frags)
    yield _probe("xdp.live_frames", "the traffic generator of demo and tests", probes.xdp_live_frames)
    yield _probe("prog.bind_map", "who-am-I strings on programs without constants", probes.bind_map)
    yield _probe("prog.run_statistics", "run count and run time of programs", probes.run_statistics)
    yield _probe("prog.jit", "programs as machine code", probes.jit)
    yield _probe("prog.kernel_btf", "iterators, trampolines, kernel functions", probes.kernel_btf)
    yield _probe("prog.syscall", "programs that user space runs on a context", probes.syscall_program)
    yield _probe("map.freeze", "retired configuration that stale writers cannot write to", probes.freeze)
    yield _probe("map.mmapable_array", "arrays as memory", probes.mmapable_array)
    yield _probe("map.inner_sizes", "inner maps of several sizes in one outer map", probes.inner_sizes)
    yield _probe("map.iterator", "walks over a map by a program", probes.map_iterator)
    yield _probe("map.ringbuf", "event streams", probes.create, MapType.RINGBUF)
    yield _probe("map.user_ringbuf", "messages from user space to programs", probes.create, MapType.USER_RINGBUF)
    yield _probe("map.bloom_filter", 'sets that answer "maybe"', probes.bloom_filter)
    for kind in probes.BATCHED:
        yield _probe(f"batch.{kind.name.lower()}", "entries by the thousand in one call", probes.batch, kind)
    for name, purpose, number in _HELPERS:
        yield _probe(name, purpose, rawprog.has_helper, ProgType.XDP, number)
    yield _probe("trampoline.fentry", "programs on the entry of kernel functions", probes.fentry)
    yield _probe("trampoline.freplace", "members of a libxdp chain", probes.freplace)
    yield _probe(
        "hook.cgroup_connect_link", "load balancing in connect()", probes.cgroup_link, ProgType.CGROUP_SOCK_ADDR,
        ATTACH_TYPES["cgroup_inet4_connect"],
    )  # fmt: skip
    yield _probe(
        "hook.cgroup_sock_release_link", "sockets that close", probes.cgroup_link, ProgType.CGROUP_SOCK,
        ATTACH_TYPES["cgroup_inet_sock_release"],
    )  # fmt: skip
    yield _probe("hook.sk_lookup", "steering packets to listeners", probes.sk_lookup)
    yield _probe("hook.sk_reuseport", "choosing a socket, and where it migrates to", probes.sk_reuseport)
    yield _probe("hook.tcx", "traffic control by bpf_link", probes.tcx)
    yield _probe("hook.netkit", "netkit interfaces", probes.netkit)
    yield _probe("socket.kfunc_destroy", "bpf_sock_destroy() in iterators", probes.kfunc_sock_destroy)
    yield _probe("socket.diag_destroy", "SOCK_DESTROY (INET_DIAG_DESTROY)", probes.inet_diag_destroy)
    yield _probe("host.membarrier", "waiting until nobody runs the old program", probes.membarrier)
    for name, number in (("net_admin", 12), ("sys_admin", 21), ("perfmon", 38), ("bpf", 39)):
        yield _probe(f"host.cap_{name}", "this process's privileges", probes.capability, number)
    yield _probe("host.bpffs", "pins", probes.mounted, "bpf")
    yield _probe("host.cgroup2", "cgroup hooks", probes.mounted, "cgroup2")


def probe() -> tuple[Feature, ...]:
    """The whole table, in its order."""
    table = tuple(_table())
    child.require_descriptors(SPARE)  # a feature is not missing because a descriptor is
    found = child.run(lambda: _all(table), subject="that tries kernel features").data["found"]
    return tuple(
        Feature(name=p.name, group=p.group, purpose=p.purpose, needed=p.needed, presence=Presence(presence), why=why)
        for p, (presence, why) in zip(table, found, strict=True)
    )


def _all(table: tuple[Probe, ...]) -> child.Reply:
    """In the child."""
    refused: KernelError | None = None
    try:
        libc.unshare(libc.CLONE_NEWNET)
    except KernelError as error:
        refused = error
    almighty = _succeeds(functools.partial(probes.capability, 21))
    return child.Reply(data={"found": [_try(p, refused if p.in_netns else None, almighty) for p in table]})


def _succeeds(attempt: Callable[[], None]) -> bool:
    try:
        attempt()
    except KernelError:
        return False
    return True


def _try(one: Probe, refused: KernelError | None, almighty: bool) -> tuple[str, str]:
    """Presence and why. What is refused to one who may do everything is not there."""
    try:
        if refused is not None:
            raise refused
        one.attempt()
    except OSError as error:
        hidden = error.errno in (errno.EPERM, errno.EACCES) and not almighty and one.group != "host"
        return (Presence.UNKNOWN if hidden else Presence.NO).value, _said(error)
    return Presence.YES.value, ""


def _said(error: OSError) -> str:
    if not isinstance(error, LoadRejected):
        return str(error)
    skipped = ("processed ", "verification time", "stack depth")
    lines = [line for line in error.log.splitlines() if line.strip() and not line.startswith(skipped)]
    return f"{error}: {lines[-1]}" if lines else str(error)
