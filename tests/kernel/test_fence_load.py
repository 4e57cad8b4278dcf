"""The loader: objects through the child process to programs that run."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import signal
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from reloader.bpf import child, libbpf, loader, syscall
from reloader.bpf.live import LiveKernel
from reloader.errors import KernelError, LoadRejected
from reloader.kernel import Fd, Loaded, LoadHints, LoadRequest
from reloader.verifier import summarise
from tests.support import faults

pytestmark = pytest.mark.kernel

FIXTURES = Path(__file__).parent / "bpf"
PACKET = bytes(64)
XDP_DROP, XDP_PASS = 1, 2

Load = Callable[..., Loaded]


@pytest.fixture
def compiled(compile_bpf: Callable[[str | Path], Path]) -> Callable[[str], bytes]:
    return lambda name: compile_bpf(FIXTURES / f"{name}.bpf.c").read_bytes()


@pytest.fixture
def load(kernel: LiveKernel, compiled: Callable[[str], bytes]) -> Iterator[Load]:
    """load("plain", programs=("pass",), …): fixture objects as loaded; closed when the test ends."""
    opened: list[Loaded] = []

    def loaded(*names: str, **words: object) -> Loaded:
        request = LoadRequest(objects=tuple(map(compiled, names)), **{"name": "fence", **words})  # type: ignore[arg-type]
        opened.append(kernel.progs.load(request))
        return opened[-1]

    yield loaded
    for one in opened:
        one.close()


def verdict(prog: Fd, *, repeat: int = 1) -> int:
    return syscall.prog_test_run(prog.fileno(), data=PACKET, repeat=repeat).retval


def u64(kernel: LiveKernel, fd: Fd, at: int = 0) -> int:
    value = kernel.maps.lookup(fd, bytes(4))
    assert value is not None
    return int(struct.unpack_from("=Q", value, at)[0])


def test_loads_only_what_is_asked(kernel: LiveKernel, load: Load) -> None:
    loaded = load("plain", programs=("drop",))
    assert set(loaded.progs) == {"drop"}
    assert verdict(loaded.progs["drop"], repeat=3) == XDP_DROP
    assert u64(kernel, loaded.maps["runs"]) == 3
    assert kernel.progs.info(loaded.progs["drop"]).name == "drop"


def test_descriptors_close_on_exec(load: Load) -> None:
    loaded = load("plain", programs=("pass",))
    assert not any(os.get_inheritable(fd.fileno()) for fd in (*loaded.progs.values(), *loaded.maps.values()))


def test_constants_and_names_of_sections(kernel: LiveKernel, load: Load) -> None:
    rodata = {"verdict": struct.pack("=I", XDP_DROP), "wide": struct.pack("=Q", 1 << 40), "more": struct.pack("=I", 5)}
    loaded = load("constants", programs=("judge",), rodata=rodata)
    assert set(loaded.maps) == {".rodata", ".rodata.more", ".data", ".bss"}
    assert verdict(loaded.progs["judge"]) == XDP_DROP
    assert u64(kernel, loaded.maps[".data"]) == 100 + (1 << 40) + 7 + 5
    assert u64(kernel, loaded.maps[".bss"]) == 1


@pytest.mark.parametrize("metadata", [{}, {"pipeline": "edge"}], ids=["bare", "metadata"])
def test_the_verifier_folds_constants(load: Load, metadata: dict[str, str]) -> None:
    load("constants", programs=("judge",), rodata={"unsafe": b"\0"}, metadata=metadata)
    with pytest.raises(LoadRejected):
        load("constants", programs=("judge",), rodata={"unsafe": b"\1"}, metadata=metadata)


@pytest.mark.parametrize(
    ("words", "subject", "number"),
    [
        ({"programs": ("absent",)}, "absent", errno.ENOENT),
        ({"rodata": {"absent": b"\0"}}, "absent", errno.ENOENT),
        ({"rodata": {"verdict": b"\0"}}, "verdict", errno.EINVAL),
        ({"rodata": {"sum": bytes(8)}}, "sum", errno.ENOENT),  # .data is not constant
        ({"max_entries": {"absent": 1}}, "absent", errno.ENOENT),
    ],
)
def test_wishes_the_object_cannot_meet(load: Load, words: dict[str, object], subject: str, number: int) -> None:
    with pytest.raises(KernelError, match=subject) as caught:
        load("constants", **{"programs": ("judge",), **words})
    assert caught.value.errno == number


def test_max_entries(kernel: LiveKernel, load: Load) -> None:
    loaded = load("plain", programs=("drop",), max_entries={"fence_pinned_by_name": 77})
    assert kernel.maps.info(loaded.maps["fence_pinned_by_name"]).max_entries == 77


def test_a_map_the_kernel_refuses_is_named(load: Load) -> None:
    with pytest.raises(KernelError, match="fence_pinned_by_name") as caught:
        load("plain", programs=("drop",), max_entries={"fence_pinned_by_name": 0xFFFFFFFF})
    assert caught.value.errno == errno.E2BIG
    assert not isinstance(caught.value, LoadRejected)


def test_reused_maps_are_the_same(kernel: LiveKernel, load: Load) -> None:
    first = load("constants", programs=("judge",))
    verdict(first.progs["judge"])
    second = load("constants", programs=("judge",), reuse={".bss": first.maps[".bss"]}, metadata={"load": "2"})
    verdict(second.progs["judge"])
    assert kernel.maps.info(second.maps[".bss"]).id == kernel.maps.info(first.maps[".bss"]).id
    assert u64(kernel, second.maps[".bss"]) == 2
    assert u64(kernel, second.maps[".data"]) == 100 + 1 + 7 + 11


CONNECT4 = LoadHints(program_type="cgroup_sock_addr", attach_type="cgroup_inet4_connect")


def test_the_attachment_decides_what_a_program_is_loaded_as(kernel: LiveKernel, load: Load, cgroup: Path) -> None:
    """A section that libbpf does not know, and one of another attach type."""
    hints = {"allow": CONNECT4, "refuse": CONNECT4, "drop": LoadHints(program_type="xdp", attach_type="xdp")}
    loaded = load("elsewhere", programs=("allow", "refuse", "drop"), hints=hints)
    assert verdict(loaded.progs["drop"]) == XDP_DROP
    for name in ("allow", "refuse"):
        with Fd(os.open(cgroup, os.O_RDONLY)) as place:
            kernel.links.create(loaded.progs[name], place, "cgroup_inet4_connect").close()


def test_without_hints_the_section_decides(load: Load) -> None:
    with pytest.raises(KernelError):
        load("elsewhere", programs=("allow",))


def test_pin_by_name_pins_nothing(kernel: LiveKernel, load: Load) -> None:
    # If libbpf pinned, the second load would find the first one's map below /sys/fs/bpf.
    ids = {kernel.maps.info(load("plain", programs=("drop",)).maps["fence_pinned_by_name"]).id for _ in range(2)}
    assert len(ids) == 2
    assert not os.path.exists("/sys/fs/bpf/fence_pinned_by_name")


def test_several_objects_are_linked(kernel: LiveKernel, load: Load) -> None:
    rodata = {"front_step": struct.pack("=I", 2), "back_base": struct.pack("=I", 0)}
    loaded = load("part_front", "part_back", programs=("joined",), rodata=rodata, metadata={"pipeline": "linked"})
    assert verdict(loaded.progs["joined"]) == 2
    assert u64(kernel, loaded.maps["steps"]) == 2
    assert kernel.progs.metadata(kernel.progs.info(loaded.progs["joined"]).id) == {"pipeline": "linked"}


def test_objects_that_do_not_link(load: Load) -> None:
    with pytest.raises(KernelError, match=r"fence .*back_verdict"):
        load("part_back", "part_back", programs=("joined",))


@pytest.mark.parametrize("cut", [0, 10, 100, 1000, -300])
def test_a_truncated_object(kernel: LiveKernel, compiled: Callable[[str], bytes], cut: int) -> None:
    with pytest.raises(KernelError) as caught:
        kernel.progs.load(LoadRequest(objects=(compiled("plain")[:cut],), name="cut", programs=("pass",)))
    assert caught.value.errno in errno.errorcode


def test_flipped_bits_never_reach_us(kernel: LiveKernel, compiled: Callable[[str], bytes]) -> None:
    whole = compiled("constants")
    for at in range(0, len(whole), max(1, len(whole) // 40)):
        flipped = whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :]
        request = LoadRequest(objects=(flipped,), name="flip", programs=("judge",), metadata={"pipeline": "flip"})
        with contextlib.suppress(KernelError):  # ours to see: nothing else, and no crash
            kernel.progs.load(request).close()


# rejections


def test_a_rejection_carries_the_whole_log(load: Load) -> None:
    with pytest.raises(LoadRejected) as caught:
        load("constants", programs=("judge",), rodata={"unsafe": b"\1"})
    rejected = caught.value
    assert (rejected.program, rejected.errno) == ("judge", errno.EACCES)
    assert rejected.log.splitlines()[-1].startswith("processed ")
    summary = summarise(rejected.log)
    assert "invalid access to packet" in summary.reason
    assert summary.source.startswith("constants.bpf.c:") or "return *(__u8 *)" in summary.source
    assert summary.insn is not None
    assert not any("processed" in line for line in summary.tail)


def test_a_log_longer_than_the_buffer(load: Load) -> None:
    with pytest.raises(LoadRejected) as caught:
        load("long_log", programs=("refused",))
    assert len(caught.value.log) > loader.LOG_BYTES[0]
    assert caught.value.errno == errno.EACCES
    assert caught.value.log.startswith(("0: ", "func#0", "Live regs", "arg#0"))
    assert "invalid access to packet" in summarise(caught.value.log).reason


# the child


def test_a_crash_costs_the_command_only(kernel: LiveKernel, load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(_request: LoadRequest) -> child.Reply:
        os.kill(os.getpid(), signal.SIGSEGV)
        return child.Reply()

    faults.inject(monkeypatch, "child's load", crash)
    for _ in range(5):
        with pytest.raises(child.ChildDied, match="that loads fence died of SIGSEGV"):
            load("plain", programs=("pass",))
    monkeypatch.undo()
    load("plain", programs=("pass",))


def test_a_child_that_hangs_is_ended() -> None:
    def hang() -> child.Reply:
        time.sleep(60)
        return child.Reply()

    with pytest.raises(child.ChildDied, match=r"that hangs was ended after 0\.2 s") as caught:
        child.run(hang, subject="that hangs", patience=0.2)
    assert caught.value.errno == errno.ETIMEDOUT


def test_descriptors_that_came_before_a_crash_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The leak check of every kernel test is the judge here."""

    def send(channel: socket.socket, parts: list[bytes], fds: list[int]) -> int:
        sent = original(channel, parts, fds)
        os.kill(os.getpid(), signal.SIGKILL)
        return sent

    original = socket.send_fds
    monkeypatch.setattr(socket, "send_fds", send)
    with pytest.raises(child.ChildDied, match="SIGKILL"):
        child.run(lambda: child.Reply(fds=(os.open("/dev/null", os.O_RDONLY),)), subject="that sends")


def test_more_descriptors_than_a_message_holds() -> None:
    def task() -> child.Reply:
        return child.Reply(fds=tuple(os.open("/dev/null", os.O_RDONLY) for _ in range(600)), data={"n": 600})

    reply = child.run(task, subject="that opens")
    assert len(set(reply.fds)) == reply.data["n"] == 600
    for fd in reply.fds:
        os.close(fd)


def test_no_room_for_descriptors() -> None:
    def task() -> child.Reply:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limits[1], limits[1]))  # the child alone has room
        return child.Reply(fds=tuple(os.open("/dev/null", os.O_RDONLY) for _ in range(200)))

    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (100, limits[1]))
    try:
        with pytest.raises(KernelError) as caught:
            child.run(task, subject="that opens")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert caught.value.errno == errno.EMFILE


def test_errors_of_the_task_come_back() -> None:
    def task() -> child.Reply:
        raise KernelError("BPF_MAP_CREATE", errno.EPERM, "flows")

    with pytest.raises(KernelError, match=r"BPF_MAP_CREATE flows: .*EPERM"):
        child.run(task, subject="that fails")


def test_a_machine_without_libbpf(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    faults.inject(monkeypatch, "libbpf", "libabsent.so.1")
    with pytest.raises(KernelError, match=r"dlopen .*libabsent.so.1 .*ENOENT"):
        load("plain", programs=("pass",))


def test_a_libbpf_that_is_too_old(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(libbpf.PROTOTYPES, "bpf_absent", libbpf.PROTOTYPES["bpf_object__load"])
    with pytest.raises(KernelError, match=r"dlsym .*bpf_absent .*ENOSYS"):
        load("plain", programs=("pass",))


def test_no_more_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> int:
        raise BlockingIOError(errno.EAGAIN, "no")

    monkeypatch.setattr(os, "fork", refuse)
    with pytest.raises(KernelError, match=r"fork: .*EAGAIN"):
        child.run(child.Reply, subject="that never was")


def test_where_the_kernel_reaps_children() -> None:
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        assert child.run(lambda: child.Reply(data={"n": 1}), subject="that is reaped").data == {"n": 1}
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_a_bug_in_the_task_is_no_hang(capfd: pytest.CaptureFixture[str]) -> None:
    def task() -> child.Reply:
        raise ZeroDivisionError("of the test")

    with pytest.raises(child.ChildDied, match="ended with status 1"):
        child.run(task, subject="that is wrong")
    assert "of the test" in capfd.readouterr().err


def test_the_child_runs_no_handlers_of_ours() -> None:
    """It passes over what ends a command: the command decides what becomes of the load."""

    def task() -> child.Reply:
        os.kill(os.getpid(), signal.SIGTERM)
        return child.Reply(data={"went": "on"})

    def handler(_number: int, _frame: object) -> None:
        raise AssertionError("ran in the child")

    before = signal.signal(signal.SIGTERM, handler)
    try:
        assert child.run(task, subject="that is told to end").data == {"went": "on"}
    finally:
        signal.signal(signal.SIGTERM, before)


def test_loading_from_several_threads(load: Load) -> None:
    load("plain", programs=("pass",))  # compiled once
    done: list[int] = []
    threads = [
        threading.Thread(target=lambda: done.append(verdict(load("plain", programs=("pass",)).progs["pass"])))
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert done == [XDP_PASS] * 6


def test_libbpf_stays_in_the_child(load: Load) -> None:
    load("plain", programs=("pass",))
    assert "libbpf" not in Path("/proc/self/maps").read_text()


# metadata


METADATA = {"pipeline": "edge", "generation": "3", "digest": "ab" * 32, "note": 'with "quotes", ümlaut\n'}
READ_BACK = {**METADATA, "note": 'with "quotes", \\xfcmlaut\\x0a'}


def shown(prog_id: int, *words: str) -> str:
    return subprocess.run(
        ["bpftool", *words, "prog", "show", "id", str(prog_id)], check=True, capture_output=True, text=True
    ).stdout


@pytest.mark.parametrize(
    ("name", "program"),
    [("plain", "pass"), ("plain", "drop"), ("constants", "judge"), ("constants", "judge_more")],
)
def test_bpftool_prints_the_metadata(kernel: LiveKernel, load: Load, name: str, program: str) -> None:
    loaded = load(name, programs=(program,), metadata=METADATA)
    prog_id = kernel.progs.info(loaded.progs[program]).id
    assert kernel.progs.metadata(prog_id) == READ_BACK
    plain = shown(prog_id)
    assert 'pipeline = "edge"' in plain
    assert f'digest = "{METADATA["digest"]}"' in plain
    assert '"metadata":{"pipeline":"edge","generation":"3"' in shown(prog_id, "-j")
    assert not any("metadata" in name for name in loaded.maps)


def test_constants_still_dump(kernel: LiveKernel, load: Load) -> None:
    loaded = load("constants", programs=("judge",), rodata={"more": struct.pack("=I", 5)}, metadata=METADATA)
    for section, text in {".rodata": '"hidden": 7', ".rodata.more": '"more": 5'}.items():
        info = kernel.maps.info(loaded.maps[section])
        dump = subprocess.run(
            ["bpftool", "map", "dump", "id", str(info.id)], check=True, capture_output=True, text=True
        ).stdout
        assert text in dump
        assert kernel.maps.frozen(loaded.maps[section])


def test_programs_without_metadata(kernel: LiveKernel, load: Load) -> None:
    for name, program in {"plain": "pass", "constants": "judge"}.items():
        loaded = load(name, programs=(program,))
        assert kernel.progs.metadata(kernel.progs.info(loaded.progs[program]).id) == {}


def test_a_kernel_that_refuses_the_objects_btf(kernel: LiveKernel, load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    """The strings alone are described then; the constants are as they were."""

    def refuse(blob: bytes) -> int:
        if b"verdict\0" in blob:
            raise KernelError("BPF_BTF_LOAD", errno.EINVAL)
        return accept(blob)

    accept = syscall.btf_load
    faults.inject(monkeypatch, "bpf btf load", refuse)
    loaded = load("constants", programs=("judge",), rodata={"verdict": struct.pack("=I", XDP_DROP)}, metadata=METADATA)
    assert verdict(loaded.progs["judge"]) == XDP_DROP
    assert kernel.progs.metadata(kernel.progs.info(loaded.progs["judge"]).id) == READ_BACK


def test_a_kernel_that_takes_no_metadata(
    kernel: LiveKernel, load: Load, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The load goes on without, and says so."""

    def refuse(_blob: bytes) -> int:
        raise KernelError("BPF_BTF_LOAD", errno.EINVAL)

    faults.inject(monkeypatch, "bpf btf load", refuse)
    for name, program in {"plain": "pass", "constants": "judge"}.items():
        loaded = load(name, programs=(program,), metadata=METADATA)
        assert verdict(loaded.progs[program]) == XDP_PASS
        assert kernel.progs.metadata(kernel.progs.info(loaded.progs[program]).id) == {}
    assert "no metadata" in caplog.text


# running


def test_a_program_on_a_context(load: Load) -> None:
    twice = load("context", programs=("twice",)).progs["twice"]
    run = syscall.prog_test_run(twice.fileno(), ctx=struct.pack("=QQ", 21, 0))
    assert (run.retval, struct.unpack("=QQ", run.ctx)) == (5, (21, 42))


def test_live_frames(kernel: LiveKernel, load: Load) -> None:
    """XDP_DROP on live frames: they are counted, and go nowhere."""
    loaded = load("plain", programs=("drop",))
    syscall.prog_test_run(
        loaded.progs["drop"].fileno(),
        data=PACKET, repeat=1000, batch_size=64, flags=syscall.BPF_F_TEST_XDP_LIVE_FRAMES,
    )  # fmt: skip
    assert u64(kernel, loaded.maps["runs"]) == 1000


def test_regress_a_child_forked_below_an_except_has_not_failed() -> None:
    """It inherits what the parent is handling, as on every way back."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        try:
            raise KeyError("the parent's")
        except KeyError:
            pid = child._fork(lambda: child.Reply(fds=(), data={}), theirs)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
