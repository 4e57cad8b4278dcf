"""Links, pins, interfaces and namespaces of the fence, in a sandbox."""

from __future__ import annotations

import errno
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab.sandbox import Sandbox, run
from reloader import fault_points
from reloader.bpf import net, syscall
from reloader.bpf.attach_types import ATTACH_TYPES, LINK_TYPES
from reloader.bpf.live import LiveKernel
from reloader.bpf.rawprog import ProgType
from reloader.bpf.syscall import Command
from reloader.errors import KernelError, MissingFeature
from reloader.kernel import Fd, Interface, Loaded, LoadHints, LoadRequest, MapType, XdpMode
from reloader.structs.btf import Btf, Kind
from tests.support import cgroups, faults

pytestmark = pytest.mark.kernel

FIXTURES = Path(__file__).parent / "bpf"


@pytest.fixture
def plain(kernel: LiveKernel, compile_bpf: Callable[[str | Path], Path]) -> Iterator[Loaded]:
    """Two programs, `pass` and `drop`."""
    content = compile_bpf(FIXTURES / "plain.bpf.c").read_bytes()
    loaded = kernel.progs.load(LoadRequest(objects=(content,), name="fence", programs=("pass", "drop")))
    yield loaded
    loaded.close()


@pytest.fixture
def link(kernel: LiveKernel, plain: Loaded, sandbox: Sandbox) -> Iterator[Fd]:
    """`pass` on the receiving interface."""
    with attach(kernel, plain.progs["pass"], sandbox) as fd:
        yield fd


def interface(kernel: LiveKernel, sandbox: Sandbox) -> Interface:
    found = kernel.net.interface(sandbox.rx.interface, sandbox.rx.netns)
    assert found is not None
    return found


def attach(kernel: LiveKernel, prog: Fd, sandbox: Sandbox, mode: XdpMode = XdpMode.NATIVE) -> Fd:
    ifindex = interface(kernel, sandbox).ifindex
    return kernel.links.create_xdp(prog, ifindex=ifindex, mode=mode, netns=sandbox.rx.netns)


def prog_id(kernel: LiveKernel, prog: Fd) -> int:
    return kernel.progs.info(prog).id


# links


@pytest.mark.parametrize("mode", [XdpMode.NATIVE, XdpMode.SKB])
def test_a_link_in_another_namespace(kernel: LiveKernel, plain: Loaded, sandbox: Sandbox, mode: XdpMode) -> None:
    before = interface(kernel, sandbox)
    assert (before.xdp_prog_id, before.xdp_mode, before.name) == (0, None, "rx0")
    with attach(kernel, plain.progs["pass"], sandbox, mode) as fd:
        there = interface(kernel, sandbox)
        assert (there.xdp_prog_id, there.xdp_mode) == (prog_id(kernel, plain.progs["pass"]), mode)
        info = kernel.links.info(fd)
        assert (info.prog_id, info.ifindex) == (there.xdp_prog_id, there.ifindex)
        assert (info.place_id, info.attached) == (there.ifindex, True)
        assert not os.get_inheritable(fd.fileno())
    assert interface(kernel, sandbox).xdp_prog_id == 0


def test_compare_and_swap(kernel: LiveKernel, plain: Loaded, link: Fd, sandbox: Sandbox) -> None:
    kernel.links.update(link, new=plain.progs["drop"], old=plain.progs["pass"])
    assert interface(kernel, sandbox).xdp_prog_id == prog_id(kernel, plain.progs["drop"])
    with pytest.raises(KernelError) as caught:
        kernel.links.update(link, new=plain.progs["drop"], old=plain.progs["pass"])
    assert caught.value.errno == errno.EPERM
    assert kernel.links.info(link).prog_id == prog_id(kernel, plain.progs["drop"])


@pytest.mark.usefixtures("link")
def test_an_occupied_hook(kernel: LiveKernel, plain: Loaded, sandbox: Sandbox) -> None:
    with pytest.raises(KernelError) as caught:
        attach(kernel, plain.progs["drop"], sandbox)
    assert caught.value.errno == errno.EBUSY
    assert interface(kernel, sandbox).xdp_prog_id == prog_id(kernel, plain.progs["pass"])


def test_an_interface_that_went(kernel: LiveKernel, plain: Loaded, link: Fd, sandbox: Sandbox) -> None:
    run("ip", "-n", sandbox.rx.name, "link", "delete", sandbox.rx.interface)
    info = kernel.links.info(link)
    assert (info.ifindex, info.place_id, info.attached) == (0, 0, False)
    with pytest.raises(KernelError) as caught:
        kernel.links.update(link, new=plain.progs["drop"], old=plain.progs["pass"])
    assert caught.value.errno == errno.ENOLINK
    assert kernel.net.interface(sandbox.rx.interface, sandbox.rx.netns) is None


def test_an_interface_that_never_was(kernel: LiveKernel, plain: Loaded, sandbox: Sandbox) -> None:
    with pytest.raises(KernelError) as caught:
        kernel.links.create_xdp(plain.progs["pass"], ifindex=4711, mode=XdpMode.NATIVE, netns=sandbox.rx.netns)
    assert caught.value.errno == errno.ENODEV


def test_a_pinned_link_outlives_its_descriptor(kernel: LiveKernel, plain: Loaded, sandbox: Sandbox) -> None:
    pin = f"{sandbox.bpffs}/link"
    with attach(kernel, plain.progs["pass"], sandbox) as fd:
        kernel.pins.pin(fd, pin)
    assert interface(kernel, sandbox).xdp_prog_id == prog_id(kernel, plain.progs["pass"])
    with kernel.pins.get(pin) as again:
        kernel.links.update(again, new=plain.progs["drop"], old=plain.progs["pass"])
    kernel.pins.unpin(pin)
    assert interface(kernel, sandbox).xdp_prog_id == 0


CONNECT4 = LoadHints(program_type="cgroup_sock_addr", attach_type="cgroup_inet4_connect")


@pytest.fixture
def connect4(kernel: LiveKernel, compile_bpf: Callable[[str | Path], Path]) -> Iterator[Loaded]:
    """`allow` and `refuse`, for connect() of IPv4 sockets in a cgroup."""
    names = ("allow", "refuse")
    content = compile_bpf(FIXTURES / "elsewhere.bpf.c").read_bytes()
    hints = dict.fromkeys(names, CONNECT4)
    loaded = kernel.progs.load(LoadRequest(objects=(content,), name="fence", programs=names, hints=hints))
    yield loaded
    loaded.close()


def test_a_link_at_a_descriptor(kernel: LiveKernel, connect4: Loaded, cgroup: Path) -> None:
    """A place that is no interface: create, order, compare-and-swap, and the end of the place."""
    links, allow, refuse = kernel.links, connect4.progs["allow"], connect4.progs["refuse"]
    with Fd(os.open(cgroup, os.O_RDONLY)) as place:
        first, second = (links.create(prog, place, "cgroup_inet4_connect") for prog in (refuse, allow))
        with first, second:
            both = (prog_id(kernel, refuse), prog_id(kernel, allow))
            assert links.programs_at(place, "cgroup_inet4_connect") == (both, True)
            assert links.programs_at(place, "cgroup_inet6_connect")[0] == ()
            info = links.info(first)
            assert (info.place_id, info.ifindex, info.attached) == (cgroup.stat().st_ino, 0, True)
            links.update(first, new=allow, old=refuse)
            with pytest.raises(KernelError) as caught:
                links.update(first, new=allow, old=refuse)
            assert caught.value.errno == errno.EPERM
            cgroups.remove(cgroup)
            wait_until(lambda: not links.info(first).attached)
            assert links.info(first).place_id == 0
            with pytest.raises(KernelError) as caught:
                links.update(first, new=refuse, old=allow)
            assert caught.value.errno == errno.ENOLINK


def wait_until(condition: Callable[[], bool]) -> None:
    """The kernel takes links off a removed cgroup a little later."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_what_links_this_kernel_creates(kernel: LiveKernel, monkeypatch: pytest.MonkeyPatch) -> None:
    tcx = LoadHints(program_type="sched_cls")
    assert kernel.links.can_create(CONNECT4, "cgroup_inet4_connect")
    assert kernel.links.can_create(tcx, "tcx_ingress")
    unknown = {"cgroup_inet4_connect": 199, "tcx_ingress": 199}
    faults.inject(monkeypatch, "attach types", {**faults.real("attach types"), **unknown})
    assert not kernel.links.can_create(CONNECT4, "cgroup_inet4_connect")
    assert not kernel.links.can_create(tcx, "tcx_ingress")


def test_detaching(kernel: LiveKernel, link: Fd, sandbox: Sandbox) -> None:
    syscall.link_detach(link.fileno())
    assert interface(kernel, sandbox).xdp_prog_id == 0
    assert kernel.links.info(link).ifindex == 0


def kernel_enum(name: str, prefix: str) -> dict[str, int]:
    """The enumerators of one enum of the running kernel, in our spelling."""
    btf = Btf.parse(Path("/sys/kernel/btf/vmlinux").read_bytes())
    found = btf.find(Kind.ENUM, name)
    assert found is not None
    values = {btf.string(text): value for text, value in btf.items(found, 8)}
    return {text.removeprefix(prefix).lower(): n for text, n in values.items() if text.startswith(prefix)}


@pytest.mark.parametrize(
    ("enum", "prefix", "ours"),
    [
        ("bpf_attach_type", "BPF_", ATTACH_TYPES),
        ("bpf_link_type", "BPF_LINK_TYPE_", LINK_TYPES),
        ("bpf_prog_type", "BPF_PROG_TYPE_", {kind.name.lower(): kind.value for kind in ProgType}),
    ],
)
def test_our_numbers_are_the_kernels(enum: str, prefix: str, ours: dict[str, int]) -> None:
    """An older kernel has fewer, a newer one more."""
    theirs = kernel_enum(enum, prefix)
    assert len(theirs) > 10
    shared = ours.keys() & theirs.keys()
    assert len(shared) == min(len(ours), len(theirs))
    assert {name: ours[name] for name in shared} == {name: theirs[name] for name in shared}


def test_programs_and_links_by_id(kernel: LiveKernel, plain: Loaded, link: Fd) -> None:
    wanted = prog_id(kernel, plain.progs["pass"])
    with kernel.progs.by_id(wanted) as fd:
        info = kernel.progs.info(fd)
    assert (info.name, info.type) == ("pass", 6)
    assert kernel.maps.info(plain.maps["runs"]).id in info.map_ids
    link_id = kernel.links.info(link).id
    assert syscall.next_id(Command.BPF_LINK_GET_NEXT_ID, link_id - 1) == link_id
    with Fd(syscall.fd_by_id(Command.BPF_LINK_GET_FD_BY_ID, link_id)) as again:
        assert kernel.links.info(again).prog_id == wanted
    assert syscall.next_id(Command.BPF_PROG_GET_NEXT_ID, 0x7FFFFFFE) is None


def test_run_counts(kernel: LiveKernel, plain: Loaded) -> None:
    with Fd(syscall.enable_stats()):
        syscall.prog_test_run(plain.progs["pass"].fileno(), data=bytes(64), repeat=10)
    info = kernel.progs.info(plain.progs["pass"])
    assert (info.run_cnt, info.run_time_ns > 0) == (10, True)


# pins


def test_pins(kernel: LiveKernel, plain: Loaded, sandbox: Sandbox) -> None:
    pins, root = kernel.pins, f"{sandbox.bpffs}/edge"
    assert pins.is_bpffs(f"{root}/not/yet")
    assert not pins.is_bpffs(str(sandbox.records))
    pins.mkdir(f"{root}/loads/1")
    pins.mkdir(f"{root}/loads/1")
    assert os.stat(f"{root}/loads").st_mode & 0o777 == 0o700
    for name in ("pass", "drop"):
        pins.pin(plain.progs[name], f"{root}/loads/1/{name}")
    assert pins.listdir(f"{root}/loads/1") == ["drop", "pass"]
    pins.rename(f"{root}/loads/1/drop", f"{root}/loads/1/pass")
    with pins.get(f"{root}/loads/1/pass") as fd:
        assert kernel.progs.info(fd).name == "drop"
    assert (pins.exists(f"{root}/loads/1/pass"), pins.exists(f"{root}/loads/1/drop")) == (True, False)
    pins.unpin(f"{root}/loads/1/pass")
    pins.unpin(f"{root}/loads/1/pass")
    pins.rmdir(f"{root}/loads/1")
    pins.rmdir(f"{root}/loads/1")
    assert pins.listdir(f"{root}/loads/1") == []


def test_pins_that_fail(kernel: LiveKernel, plain: Loaded, sandbox: Sandbox) -> None:
    pins, root = kernel.pins, sandbox.bpffs
    pins.pin(plain.maps["runs"], f"{root}/runs")
    failing: list[tuple[int, Callable[[], object]]] = [
        (errno.ENOENT, lambda: pins.get(f"{root}/absent")),
        (errno.EEXIST, lambda: pins.pin(plain.maps["runs"], f"{root}/runs")),
        (errno.EPERM, lambda: pins.pin(plain.maps["runs"], f"{root}/with.dot")),
        (errno.EPERM, lambda: pins.pin(plain.maps["runs"], str(sandbox.records / "runs"))),
        (errno.ENOENT, lambda: pins.rename(f"{root}/absent", f"{root}/other")),
        (errno.ENOTEMPTY, lambda: pins.rmdir(root)),
        (errno.ENOTDIR, lambda: pins.listdir(f"{root}/runs")),
        (errno.EEXIST, lambda: pins.mkdir(f"{root}/runs")),
    ]
    for number, action in failing:
        with pytest.raises(KernelError) as caught:
            action()
        assert (caught.value.errno, bool(caught.value.subject)) == (number, True)
    assert not pins.exists(f"{root}/runs/below")


def test_every_lasting_effect_passes_the_gate(kernel: LiveKernel, plain: Loaded, sandbox: Sandbox) -> None:
    seen: list[str] = []
    root = sandbox.bpffs
    fault_points.install(lambda when, name: seen.append(name) if when == "after" else None)
    try:
        kernel.pins.mkdir(f"{root}/a/b")
        with attach(kernel, plain.progs["pass"], sandbox) as link:
            kernel.pins.pin(link, f"{root}/a/b/link")
            kernel.links.update(link, new=plain.progs["drop"], old=plain.progs["pass"])
        kernel.pins.rename(f"{root}/a/b/link", f"{root}/a/link")
        kernel.pins.unpin(f"{root}/a/link")
        kernel.pins.rmdir(f"{root}/a/b")
    finally:
        fault_points.install(None)
    words = [name.split(" ")[0] for name in seen]
    assert words == ["mkdir", "mkdir", "link.create", "pin", "link.update", "rename", "unpin", "rmdir"]


def test_a_gate_that_refuses_prevents_the_effect(kernel: LiveKernel, plain: Loaded, sandbox: Sandbox) -> None:
    def refuse(when: str, _name: str) -> None:
        if when == "before":
            raise KernelError("gate", errno.ENOMEM)

    fault_points.install(refuse)
    try:
        with pytest.raises(KernelError, match="ENOMEM"):
            attach(kernel, plain.progs["pass"], sandbox)
        with pytest.raises(KernelError, match="ENOMEM"):
            kernel.pins.pin(plain.maps["runs"], f"{sandbox.bpffs}/runs")
    finally:
        fault_points.install(None)
    assert interface(kernel, sandbox).xdp_prog_id == 0
    assert sandbox.pins() == []


# interfaces and namespaces


def test_interfaces_of_our_own_namespace(kernel: LiveKernel) -> None:
    lo = kernel.net.interface("lo", None)
    status = os.stat("/proc/self/ns/net")
    assert lo is not None
    assert (lo.name, lo.ifindex, lo.netns) == ("lo", 1, f"{status.st_dev}:{status.st_ino}")
    assert kernel.net.interface("lo", "/proc/self/ns/net") == lo
    for absent in ("absent0", "", "a-name-much-longer-than-any"):
        assert kernel.net.interface(absent, None) is None


def test_the_two_ends_are_in_different_namespaces(kernel: LiveKernel, sandbox: Sandbox) -> None:
    ours = os.readlink("/proc/self/ns/net")
    tx = kernel.net.interface(sandbox.tx.interface, sandbox.tx.netns)
    assert tx is not None
    assert tx.netns != interface(kernel, sandbox).netns
    assert tx.mtu == 1500
    assert os.readlink("/proc/self/ns/net") == ours


@pytest.mark.parametrize(
    "path", ["/run/netns/absent", "relative", "/proc/self/ns/mnt", "/etc/passwd", "/", "/etc/passwd/x"]
)
def test_what_is_no_network_namespace(kernel: LiveKernel, path: str) -> None:
    with pytest.raises(MissingFeature, match="no network namespace"):
        kernel.net.interface("lo", path)


def test_changes_of_interfaces(kernel: LiveKernel, sandbox: Sandbox) -> None:
    ifindex = interface(kernel, sandbox).ifindex
    with net.link_events(sandbox.rx.netns) as events:
        assert events.read() == []
        run("ip", "-n", sandbox.rx.name, "link", "set", sandbox.rx.interface, "mtu", "1400")
        found = events.read()
        assert {(e.kind, e.ifindex, e.name) for e in found} == {("new", ifindex, "rx0")}
        run("ip", "-n", sandbox.rx.name, "link", "delete", sandbox.rx.interface)
        assert ("gone", ifindex) in {(e.kind, e.ifindex) for e in events.read()}


def test_lost_changes_ask_for_a_new_look(sandbox: Sandbox) -> None:
    with net.link_events(sandbox.rx.netns) as events:
        with socket.socket(fileno=os.dup(events.fileno())) as channel:
            channel.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        flaps = "".join(f"link set {sandbox.rx.interface} mtu {1300 + i % 2}\n" for i in range(50))
        run("ip", "-n", sandbox.rx.name, "-batch", "-", text=flaps)
        assert "resync" in {event.kind for event in events.read()}


# the rest


def test_the_boot_and_the_barrier(kernel: LiveKernel, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent() -> None:
        raise KernelError("membarrier", errno.EINVAL)

    def update(*arguments: object) -> None:
        updates.append(arguments)
        original(*arguments)  # type: ignore[arg-type]

    updates: list[object] = []
    original = syscall.map_update
    faults.inject(monkeypatch, "bpf update", update)
    assert kernel.boot_id() == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    kernel.barrier()
    assert updates == []
    faults.inject(monkeypatch, "membarrier", absent)
    kernel.barrier()  # by way of a map-in-map, which needs no nohz_full-free kernel
    assert len(updates) == 1


def test_btf_of_a_map(kernel: LiveKernel, plain: Loaded) -> None:
    info = kernel.maps.info(plain.maps["runs"])
    assert info.type == MapType.ARRAY
    assert kernel.maps.btf(info.btf_id)[:2] in (b"\x9f\xeb", b"\xeb\x9f")
