"""Programs on a cgroup's connect(): what each socket of the cgroup meets, from the first apply to the removal."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lab.stage import Done, Stage, wait_until
from reloader.bpf import syscall
from reloader.bpf.attach_types import ATTACH_TYPES
from reloader.kernel import Fd, LinkInfo, Loaded, LoadRequest
from reloader.places.cgroup.connect import Connect4
from reloader.places.cgroup.hierarchy import absolute, cgroup_id, mount, moved
from reloader.places.place import Record, Sight
from tests.kernel import test_rescue
from tests.kernel.test_watch import Watch
from tests.support import cgroups, faults

pytestmark = pytest.mark.kernel
Compile = Callable[[str | Path], Path]

SOURCE = Path(__file__).parent / "bpf" / "connect.bpf.c"
SERVICE, REFUSED = 1, 2  # ports on which nothing listens
HERE = {4: "127.0.0.1", 6: "::1"}
CONNECTING = """
import errno, json, os, socket, sys
with open(sys.argv[1] + "/cgroup.procs", "w") as file:
    file.write(str(os.getpid()))
hosts = {4: (socket.AF_INET, "127.0.0.1"), 6: (socket.AF_INET6, "::1")}

def met(family, port):
    kind, host = hosts[family]
    with socket.socket(kind, socket.SOCK_STREAM) as one:
        try:
            one.connect((host, port))
        except OSError as error:
            return errno.errorcode[error.errno]
        return one.recv(16).decode()

print("ready", flush=True)
for line in sys.stdin:
    family, port, count = map(int, line.split())
    print(json.dumps([met(family, port) for _ in range(count)]), flush=True)
"""


class Member:
    """A process in the cgroup that connects as it is told."""

    def __init__(self, cgroup: Path) -> None:
        command = [sys.executable, "-c", CONNECTING, str(cgroup)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._answer() == "ready\n"

    def _answer(self) -> str:
        assert self._process.stdout
        return self._process.stdout.readline()

    def connect(self, port: int, *, family: int = 4, count: int = 1) -> list[str]:
        """What each connect() met: the greeting of a server, or the name of an error."""
        assert self._process.stdin
        self._process.stdin.write(f"{family} {port} {count}\n")
        self._process.stdin.flush()
        answers: list[str] = json.loads(self._answer())
        return answers

    def end(self) -> None:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.wait(timeout=10)
        self._process.stdout.close()


@pytest.fixture
def member(cgroup: Path) -> Iterator[Member]:
    running = Member(cgroup)
    yield running
    running.end()


@contextlib.contextmanager
def server(greeting: str) -> Iterator[int]:
    """A port on which each connection is greeted, for both families."""
    with contextlib.ExitStack() as opened:
        first = opened.enter_context(socket.create_server((HERE[4], 0)))
        port: int = first.getsockname()[1]
        second = opened.enter_context(socket.create_server((HERE[6], port), family=socket.AF_INET6))
        threads = [threading.Thread(target=greet, args=[one, greeting.encode()]) for one in (first, second)]
        for thread in threads:
            thread.start()
        yield port
        for one in (first, second):
            one.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join()


def greet(listening: socket.socket, greeting: bytes) -> None:
    with contextlib.suppress(OSError):  # shut down
        while True:
            channel, _ = listening.accept()
            with channel:
                channel.sendall(greeting)


@pytest.fixture
def backends() -> Iterator[dict[int, int]]:
    """Version → the port of its own server."""
    with server("one") as first, server("two") as second:
        yield {1: first, 2: second}


Spec = Callable[..., dict[str, Any]]


@pytest.fixture
def spec(stage: Stage, cgroup: Path, compile_bpf: Compile, backends: dict[int, int]) -> Spec:
    """spec(1), spec(2, panic="open"): what a version's YAML says."""
    name = stage.put(compile_bpf(SOURCE), "connect.bpf.o")

    def spec(version: int, *, types: tuple[int, ...] = (4,), place: str = "", **more: Any) -> dict[str, Any]:
        ports = {"refused_port": REFUSED, "service_port": SERVICE, "backend_port": backends[version]}
        attach = [{"program": f"steer{n}", "type": f"cgroup_connect{n}", "cgroup": place or str(cgroup)} for n in types]
        maps = {"connects": {"role": "state"}}
        return {"objects": [name], "rodata": {"version": version, **ports}, "attach": attach, "maps": maps, **more}

    return spec


def counts(stage: Stage) -> dict[int, int]:
    """Version → how many connects it saw."""
    found = {number(key): number(value) for key, value in stage.items("connects").items()}
    return {version: count for version, count in found.items() if count}


def number(data: bytes) -> int:
    return int.from_bytes(data, sys.byteorder)


def attachment(stage: Stage) -> Any:
    return stage.call("status", "edge")["pipelines"][0]["attachments"][0]


def reasons(done: Done) -> set[str]:
    return {problem["reason"] for problem in done.error["problems"]}


def test_what_connects_meet_before_and_after_a_swap(stage: Stage, spec: Spec, member: Member) -> None:
    assert member.connect(SERVICE) == ["ECONNREFUSED"]
    stage.apply(spec(1))
    assert member.connect(SERVICE, count=3) == ["one"] * 3
    assert member.connect(REFUSED) == ["EPERM"]
    assert counts(stage) == {1: 4}
    done = stage.apply(spec(2))
    assert "link update" in json.dumps(done)
    assert member.connect(SERVICE) == ["two"]
    assert counts(stage) == {1: 4, 2: 1}, "the state map went along"
    stage.call("rollback", "edge")
    assert member.connect(SERVICE) == ["one"]
    assert not stage.apply(spec(1))["changed"]
    assert attachment(stage)["reason"] == "as-recorded"
    stage.call("remove", "edge", "--state")
    assert member.connect(SERVICE) == ["ECONNREFUSED"]
    assert not stage.sandbox.pins()


def test_no_connect_meets_neither_version(stage: Stage, spec: Spec, member: Member) -> None:
    """While versions are swapped, each connect reaches the server of one of them, and is counted by that one."""
    stage.apply(spec(1))
    met: list[str] = []
    swapped = threading.Event()

    def connect() -> None:
        while not swapped.is_set():
            met.extend(member.connect(SERVICE, count=50))

    connecting = threading.Thread(target=connect)
    connecting.start()
    try:
        for version in (2, 1) * 5:
            stage.apply(spec(version))
    finally:
        swapped.set()
        connecting.join()
    assert set(met) == {"one", "two"}
    assert counts(stage) == {1: met.count("one"), 2: met.count("two")}


def test_both_families(stage: Stage, spec: Spec, member: Member) -> None:
    stage.apply(spec(1, types=(4, 6)))
    assert member.connect(SERVICE) == member.connect(SERVICE, family=6) == ["one"]
    assert member.connect(REFUSED, family=6) == ["EPERM"]
    stage.apply(spec(2, types=(6,)))
    assert member.connect(SERVICE) == ["ECONNREFUSED"]
    assert member.connect(SERVICE, family=6) == ["two"]


def test_a_path_below_the_mount(stage: Stage, spec: Spec, cgroup: Path, member: Member) -> None:
    stage.apply(spec(1, place=cgroup.name))
    assert absolute(cgroup.name) == str(cgroup)
    assert member.connect(SERVICE) == ["one"]
    assert attachment(stage)["id"] == f"cgroup_connect4:{cgroup.name}"
    stage.apply(spec(2))  # the same cgroup by its absolute path: another attachment, the first is detached
    assert member.connect(SERVICE) == ["two"]


def test_a_cgroup_below_is_meant_too(stage: Stage, spec: Spec, cgroup: Path) -> None:
    (cgroup / "inner").mkdir()
    stage.apply(spec(1))
    inside = Member(cgroup / "inner")
    try:
        assert inside.connect(SERVICE) == ["one"]
    finally:
        inside.end()


def test_a_cgroup_made_again(stage: Stage, spec: Spec, cgroup: Path) -> None:
    stage.apply(spec(1))
    first = attachment(stage)
    cgroups.remove(cgroup)
    wait_until(lambda: not link(stage).attached)
    gone = attachment(stage)
    assert gone != first
    assert "no cgroup" in json.dumps(gone)
    refused = stage.run("apply", stage.write(spec(2)))
    assert refused.code == 69, refused.err
    assert "no cgroup" in refused.err
    cgroup.mkdir()
    assert "made again" in json.dumps(attachment(stage))
    stage.apply(spec(2))
    again = Member(cgroup)
    try:
        assert again.connect(SERVICE) == ["two"]
    finally:
        again.end()


def link(stage: Stage) -> LinkInfo:
    pins = stage.paths.link_pins("edge")
    (name,) = stage.kernel.pins.listdir(pins)
    with stage.kernel.pins.get(f"{pins}/{name}") as fd:
        return stage.kernel.links.info(fd)


def test_a_recorded_cgroup_is_another_one_now(stage: Stage, cgroup: Path) -> None:
    """What the check behind "nothing to do" asks of a link that is attached."""
    number = cgroup_id(str(cgroup))
    assert number == cgroup.stat().st_ino
    link = LinkInfo(id=1, type=3, prog_id=2, place_id=number)
    record: Record = {"cgroup": str(cgroup), "cgroup_id": number}
    assert moved(stage.kernel, [(record, link)]) is None
    assert moved(stage.kernel, [({}, link)]) is None, "a record of before says nothing"
    assert moved(stage.kernel, [({**record, "cgroup_id": number + 1}, link)])
    assert moved(stage.kernel, [(record, replace(link, place_id=number + 1))])
    seen = Connect4(cgroup=str(cgroup)).look(stage.kernel, replace(link, place_id=number + 1), dict)
    assert (seen.sight, seen.blocked) == (Sight.ELSEWHERE, seen.trouble)
    cgroups.remove(cgroup)
    found = moved(stage.kernel, [(record, link)])
    assert found
    assert found.values == {"cgroup": str(cgroup)}


def test_watch_attaches_again_to_a_cgroup_made_again(
    stage: Stage, spec: Spec, cgroup: Path, tmp_path: Path, objects: Callable[[str], Path]
) -> None:
    """It looks by the clock: nothing tells of cgroups."""
    text = stage.write(spec(1)).read_text().replace("connect.bpf.o", str(stage.folder / "connect.bpf.o"))
    (tmp_path / "watched").mkdir()
    watch = Watch(stage.sandbox, objects, tmp_path / "watched")
    try:
        watch.file.write_text(text)
        watch.start()
        cgroups.remove(cgroup)
        assert "no cgroup" in watch.hears("edge.yaml: ")
        cgroup.mkdir()
        watch.hears("edge: generation 2 is live")
        assert link(stage).place_id == cgroup_id(str(cgroup))
        watch.stop()
    finally:
        watch.close()


KEEPING = """
import os, socket, sys
home = next(line[3:] for line in open("/proc/self/cgroup").read().splitlines() if line.startswith("0::"))
def enter(folder):
    with open(folder + "/cgroup.procs", "w") as file:
        file.write(str(os.getpid()))
enter(sys.argv[1])
kept = socket.socket()
enter(sys.argv[2] + home)
print("ready", flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def kept_by_a_socket(cgroup: Path) -> Iterator[None]:
    """A process outside the cgroup that keeps a socket which was made inside: the kernel keeps the removed cgroup."""
    command = [sys.executable, "-c", KEEPING, str(cgroup), str(cgroups.mount())]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        yield
        assert process.stdin
        process.stdin.close()


def test_watch_sees_that_the_link_is_attached_to_the_old_cgroup(
    stage: Stage, spec: Spec, cgroup: Path, tmp_path: Path, objects: Callable[[str], Path]
) -> None:
    """The link is attached and runs our program, but no process of the new cgroup meets it. Said once, with the hint of
    `status`; attached as soon as the old cgroup is gone."""
    text = stage.write(spec(1)).read_text().replace("connect.bpf.o", str(stage.folder / "connect.bpf.o"))
    (tmp_path / "watched").mkdir()
    watch = Watch(stage.sandbox, objects, tmp_path / "watched")
    try:
        watch.file.write_text(text)
        watch.start()
        with kept_by_a_socket(cgroup):
            cgroups.remove(cgroup)
            cgroup.mkdir()
            watch.hears("is no longer")
            hint = "again once the old cgroup is gone: open sockets of its processes keep it"
            watch.hears(hint)
            watch.stays_quiet(5.0)
            assert link(stage).attached
            assert hint in json.dumps(stage.call("status", "edge"))
        watch.hears("edge: generation 2 is live")
        assert link(stage).place_id == cgroup_id(str(cgroup))
        watch.stop()
    finally:
        watch.close()


@pytest.mark.parametrize(("stance", "meets"), [("open", "ECONNREFUSED"), ("closed", "EPERM")])
def test_panic(stage: Stage, spec: Spec, member: Member, stance: str, meets: str) -> None:
    stage.apply(spec(1, types=(4, 6), panic=stance))
    assert stage.call("panic", "edge")["stance"] == stance
    for family in (4, 6):
        assert member.connect(SERVICE, family=family) == member.connect(REFUSED, family=family) == [meets]
    does = {"open": "allowed", "closed": "refused"}[stance]
    assert f"panic {stance}: every connect() is {does} (" in attachment(stage)["seen"]
    stage.apply(spec(1, types=(4, 6), panic=stance))
    assert member.connect(SERVICE) == member.connect(SERVICE, family=6) == ["one"]


def test_a_program_that_cannot_panic_does_not_stop_the_others(
    stage: Stage, spec: Spec, cgroup: Path, member: Member
) -> None:
    """The first program of the panic cannot be opened: the second attachment panics nevertheless, and both are named.
    What is to be done by hand is said of pins that exist."""
    stage.apply(spec(1, types=(4, 6), panic="closed"))
    in_the_way = stage.paths.panic_pin("edge", "cgroup_connect4_closed")
    stage.kernel.pins.mkdir(in_the_way)
    failed = stage.run("panic", "edge")
    assert failed.code == 4, failed.err
    assert "1 of 2 attachments" in failed.err
    fourth, sixth = (stage.paths.link_pin("edge", f"cgroup_connect{n}:{cgroup}") for n in (4, 6))
    assert f"detach pinned {fourth}" in failed.error["hint"]
    assert sixth not in failed.error["hint"]
    assert member.connect(SERVICE, family=6) == ["EPERM"]
    assert member.connect(SERVICE) == ["one"]
    stage.kernel.pins.unpin(fourth)
    failed = stage.run("panic", "edge")
    assert (failed.code, "detach pinned" in failed.error["hint"]) == (4, False), failed.err
    stage.kernel.pins.rmdir(in_the_way)


@contextlib.contextmanager
def theirs(stage: Stage, compile_bpf: Compile) -> Iterator[Loaded]:
    source = SOURCE.read_text().replace("steer4", "guard4")
    request = LoadRequest(objects=(compile_bpf(source).read_bytes(),), name="theirs", programs=("guard4",))
    loaded = stage.kernel.progs.load(request)
    yield loaded
    loaded.close()


def test_programs_of_others_are_neighbours(stage: Stage, spec: Spec, cgroup: Path, compile_bpf: Compile) -> None:
    with theirs(stage, compile_bpf) as loaded, Fd(os.open(cgroup, os.O_RDONLY)) as place:
        create = stage.kernel.links.create
        with create(loaded.progs["guard4"], place, "cgroup_inet4_connect"):
            stage.apply(spec(1))
            with create(loaded.progs["guard4"], place, "cgroup_inet4_connect"):
                found = [(n["effect"], n["program"]) for n in attachment(stage)["neighbours"]]
                assert found == [("runs_before", "guard4"), ("runs_after", "guard4")]
                stage.apply(spec(2))
        assert attachment(stage)["neighbours"] == []


def test_a_program_that_wants_to_be_alone(stage: Stage, spec: Spec, cgroup: Path, compile_bpf: Compile) -> None:
    """Attached in the way of before Linux 4.15, without a link and without leave for others."""
    with theirs(stage, compile_bpf) as loaded, Fd(os.open(cgroup, os.O_RDONLY)) as place:
        pin = f"{stage.sandbox.bpffs}/theirs"
        stage.kernel.pins.pin(loaded.progs["guard4"], pin)
        subprocess.run(["bpftool", "cgroup", "attach", str(cgroup), "connect4", "pinned", pin], check=True)
        try:
            for command in ("plan", "apply"):
                done = stage.run(command, stage.write(spec(1)))
                assert done.code == 65, command
                assert "does not let others run beside it" in json.dumps(done.error)
            assert stage.sandbox.pins() == ["theirs"]
        finally:
            stage.kernel.links.detach_program(loaded.progs["guard4"], place, "cgroup_inet4_connect")
            stage.kernel.pins.unpin(pin)
        stage.apply(spec(1))


def test_a_link_of_a_removed_cgroup_is_garbage(stage: Stage, spec: Spec, cgroup: Path) -> None:
    """A link that no record knows stays while it is attached."""
    stage.apply(spec(1))
    other, pin = cgroup / "other", stage.paths.link_pin("edge", "cgroup_connect4:other")
    other.mkdir()
    program = stage.kernel.pins.get(stage.paths.prog_pin("edge", 1, "steer4"))
    with (
        program,
        Fd(os.open(other, os.O_RDONLY)) as place,
        stage.kernel.links.create(program, place, "cgroup_inet4_connect") as link,
    ):
        stage.kernel.pins.pin(link, pin)
        assert pin not in dead(stage)
        cgroups.remove(other)
        wait_until(lambda: not stage.kernel.links.info(link).attached)
    assert pin in dead(stage)
    stage.call("gc")
    assert not stage.kernel.pins.exists(pin)


def dead(stage: Stage) -> set[str]:
    return {one["path"] for one in stage.call("gc", "--dry-run")["removed"]}


def test_validate(stage: Stage, spec: Spec) -> None:
    plain = spec(1)

    def refused(**changes: Any) -> set[str]:
        done = stage.run("validate", stage.write({**plain, **changes}), where=False)
        assert done.code == 65
        return reasons(done)

    attach = plain["attach"][0]
    assert refused(attach=[{**attach, "program": "steer6"}]) == {"section"}
    assert refused(attach=[{**attach, "cgroup": "../other"}]) == {"cgroup-outside"}
    assert refused(attach=[{**attach, "cgroup": "a" * 250}]) == {"cgroup-too-long"}
    assert refused(test=[{"packet": {"hex": "00"}, "expect": {"verdict": "XDP_PASS"}}]) == {"program-type-untested"}


def test_one_cgroup_under_two_names_is_refused(stage: Stage, spec: Spec, cgroup: Path, tmp_path: Path) -> None:
    """By a symbolic link, or relative to the mount: each connect() would meet the program twice."""
    (tmp_path / "link").symlink_to(cgroup)
    for other in (cgroup.name, str(tmp_path / "link")):
        wanted = spec(1)
        wanted["attach"].append({**wanted["attach"][0], "cgroup": other})
        done = stage.run("plan", stage.write(wanted))
        assert done.code == 65, done.err
        assert f"cgroup_connect4:{other}" in json.dumps(done.error)
        assert f"as attachment cgroup_connect4:{cgroup}" in json.dumps(done.error)
    wanted["attach"][1]["cgroup"] = f"{cgroup.parent}//{cgroup.name}/"  # the very same id
    assert stage.run("validate", stage.write(wanted), where=False).code == 65


def test_a_path_that_is_no_cgroup(stage: Stage, spec: Spec, tmp_path: Path) -> None:
    done = stage.run("apply", stage.write(spec(1, place=str(tmp_path))))
    assert done.code == 69
    assert "cgroup2" in done.err


def test_a_file_inside_a_cgroup_is_not_a_cgroup(stage: Stage, spec: Spec, cgroup: Path) -> None:
    """It has the device of the file system, and an inode number of its own."""
    done = stage.run("apply", stage.write(spec(1, place=f"{cgroup}/cgroup.procs")))
    assert done.code == 69
    assert "is not a cgroup" in done.err


MOUNTINFO = """\
20 1 0:1 / /nowhere/covered rw - cgroup2 cgroup2 rw
21 1 {device} /below /sys rw - cgroup2 cgroup2 rw
22 1 {device} / {mount} rw - cgroup2 cgroup2 rw
"""


def test_the_mount_of_the_root_is_taken_and_a_covered_one_is_not(
    stage: Stage, spec: Spec, cgroup: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = cgroup.stat().st_dev
    listed = tmp_path / "mountinfo"
    faults.inject(monkeypatch, "mountinfo", str(listed))
    text = MOUNTINFO.format(device=f"{os.major(device)}:{os.minor(device)}", mount=cgroups.mount())
    listed.write_text(text)
    assert mount() == str(cgroups.mount())
    assert absolute("x") == f"{cgroups.mount()}/x"
    listed.write_text(text.splitlines()[0] + "\n")
    assert (mount(), cgroup_id(str(cgroup))) == (None, None)
    done = stage.run("apply", stage.write(spec(1)))
    assert done.code == 69
    assert "mount -t cgroup2" in done.err
    listed.unlink()  # as without /proc
    assert mount() is None


def test_a_kernel_without_such_links(stage: Stage, spec: Spec, monkeypatch: pytest.MonkeyPatch) -> None:
    faults.inject(monkeypatch, "attach types", {**ATTACH_TYPES, "cgroup_inet4_connect": 199})
    done = stage.run("apply", stage.write(spec(1)))
    assert done.code == 69, done.err
    assert "connect4" in done.err


def test_init_writes_a_yaml_for_it(stage: Stage, spec: Spec) -> None:
    name = spec(1)["objects"][0]
    text = stage.run("init", stage.folder / name, json_too=False, where=False).out
    assert "type: cgroup_connect4" in text
    assert "cgroup: " in text


def test_without_reloader(stage: Stage, spec: Spec, member: Member) -> None:
    """The rescue script attaches it by bpftool, and the next apply takes it off again."""
    stage.apply(spec(1))
    stage.apply(spec(2))
    done = test_rescue.rescue(stage, 1)
    assert done.returncode == 0, done.stderr
    assert member.connect(SERVICE) == ["one"]
    stage.apply(spec(2))
    assert member.connect(SERVICE) == ["two"]
    assert len(attached(stage)) == 1


def test_the_rescue_script_run_twice_leaves_one_program(stage: Stage, spec: Spec, member: Member) -> None:
    """The second run attaches beside the first one's program: that is detached, and known until reloader serves."""
    stage.apply(spec(1))
    stage.apply(spec(2))
    for _ in range(3):
        done = test_rescue.rescue(stage, 1)
        assert done.returncode == 0, done.stderr
        assert member.connect(SERVICE) == ["one"]
        assert len(attached(stage)) == 1
    stage.apply(spec(2))
    assert member.connect(SERVICE) == ["two"]
    assert len(attached(stage)) == 1
    assert not [pin for pin in stage.sandbox.pins() if "/rescue/" in pin]


def test_the_rescue_script_skips_a_missing_cgroup(stage: Stage, spec: Spec, cgroup: Path, member: Member) -> None:
    """The others are attached, and the script says at its end that it failed."""
    other = cgroup / "other"
    other.mkdir()
    first = spec(1)
    first["attach"].insert(0, {**first["attach"][0], "cgroup": str(other)})
    stage.apply(first)
    cgroups.remove(other)
    done = test_rescue.rescue(stage, 1)
    assert (done.returncode, str(other) in done.stderr) == (1, True), done.stderr
    assert member.connect(SERVICE) == ["one"]


def test_what_was_detached_in_between_does_not_keep_the_others_attached(
    stage: Stage, cgroup: Path, compile_bpf: Compile
) -> None:
    """A program that a link attached cannot be detached in this way (ENOENT); the other one is."""
    attach_type, pin = "cgroup_inet4_connect", f"{stage.sandbox.bpffs}/theirs"
    with (
        theirs(stage, compile_bpf) as linked,
        theirs(stage, compile_bpf) as plain,
        Fd(os.open(cgroup, os.O_RDONLY)) as place,
        stage.kernel.links.create(linked.progs["guard4"], place, attach_type),
    ):
        stage.kernel.pins.pin(plain.progs["guard4"], pin)
        subprocess.run(["bpftool", "cgroup", "attach", str(cgroup), "connect4", "pinned", pin, "multi"], check=True)
        stage.kernel.pins.unpin(pin)
        ours = {stage.kernel.progs.info(one).id: one for one in (linked.progs["guard4"], plain.progs["guard4"])}
        Connect4(cgroup=str(cgroup)).rescue_off(stage.kernel, ours)
        found, _ = stage.kernel.links.programs_at(place, attach_type)
        assert found == (stage.kernel.progs.info(linked.progs["guard4"]).id,)


def attached(stage: Stage) -> list[tuple[int, int]]:
    wanted = Path(attachment(stage)["id"].partition(":")[2])
    with Fd(os.open(wanted, os.O_RDONLY)) as place:
        number = ATTACH_TYPES["cgroup_inet4_connect"]
        return syscall.prog_query(place.fileno(), number, subject="", link_ids=False)
