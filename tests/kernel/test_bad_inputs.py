"""Bad input of every sort through the real command line: the right exit code, a message with a way on, and the running
generation untouched: the same program on the hook, the same pins and records, and every packet still counted.
"""

from __future__ import annotations

import os
import random
import re
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.sandbox import run
from lab.stage import Done, Stage
from reloader import fault_points
from reloader.disk.lock import writer_lock
from reloader.engine import transaction
from reloader.engine.journal import Journal
from reloader.errors import KernelError
from reloader.kernel import LoadRequest
from tests.support import faults

pytestmark = pytest.mark.kernel

PLAIN = '#include <linux/bpf.h>\n#include <bpf/bpf_helpers.h>\nchar LICENSE[] SEC("license") = "GPL";\n'
PASS_ALL = f'{PLAIN}SEC("xdp") int pass_all(struct xdp_md *ctx) {{ return XDP_PASS; }}\n'
CLASSIFIER = f'{PLAIN}SEC("tc") int count_flows(struct __sk_buff *skb) {{ return 0; }}\n'


@pytest.fixture
def serving(stage: Stage) -> Stage:
    """Generation 1 serves, with a blocklist entry and packets counted."""
    stage.apply(blocking(stage.spec()))
    stage.assert_counts()
    return stage


def blocking(spec: dict[str, Any]) -> dict[str, Any]:
    spec["maps"]["blocklist"]["entries"] = [{"key": "192.0.2.66", "value": {"action": "XDP_DROP"}}]
    return spec


def judge(done: Done, code: int | tuple[int, ...], says: str, *, hint: str = "") -> list[str]:
    """What is wrong with how a command failed: code, message, hint, shape."""
    wrong = []
    codes = (code,) if isinstance(code, int) else code
    if done.code not in codes:
        return [f"exit {done.code} instead of {code}: {done.err}"]
    if "Traceback" in done.err:
        wrong.append(f"a traceback: {done.err}")
    if not re.search(says, done.err):
        wrong.append(f"{says!r} is not in: {done.err}")
    if hint and not re.search(f"hint: .*{hint}|\\({hint}", done.err):
        wrong.append(f"no hint {hint!r} in: {done.err}")
    if done.out and done.error["exit_code"] != done.code:
        wrong.append(f"JSON says {done.error}")
    return wrong


def fails(stage: Stage, done: Done, code: int | tuple[int, ...], says: str, *, hint: str = "") -> None:
    wrong = judge(done, code, says, hint=hint)
    assert not wrong, "\n".join(wrong)


# text


@dataclass(frozen=True, slots=True, kw_only=True)
class Wrong:
    """A YAML text, or a change of a good spec, and what must be said of it."""

    says: str
    text: str = ""
    change: Callable[[dict[str, Any]], object] | None = None
    place: bool = True  # whether a line and column are told


def entry(key: Any, value: Any) -> dict[str, Any]:
    return {"role": "config", "entries": [{"key": key, "value": value}]}


WRONG: dict[str, Wrong] = {
    "empty file": Wrong(text="", says="does not contain a YAML document", place=False),
    "only a comment": Wrong(text="# nothing\n", says="does not contain a YAML document", place=False),
    "tab for indentation": Wrong(text="apiVersion: reloader/v1\nspec:\n\tobjects: []\n", says="tab|cannot start"),
    "bracket left open": Wrong(text="apiVersion: reloader/v1\nspec: {objects: [a.o\n", says="expected|flow"),
    "key twice": Wrong(text="apiVersion: reloader/v1\nkind: Pipeline\nkind: Pipeline\n", says="twice|duplicate"),
    "aliases as a bomb": Wrong(
        text="a: &a [x, x, x, x, x, x, x, x]\nb: &b [*a, *a, *a, *a, *a, *a, *a, *a]\nc: [*b, *b, *b, *b, *b, *b]\n"
        + "".join(f"d{i}: &d{i} [{', '.join(['*b' if not i else f'*d{i - 1}'] * 9)}]\n" for i in range(9)),
        says="alias|anchor",
    ),
    "nested without end": Wrong(text="a: " + "[" * 5000 + "]" * 5000, says="deep|nest"),
    "no UTF-8": Wrong(text="apiVersion: \udcff\udcfe\n", says="UTF-8|utf-8|character"),
    "NUL bytes": Wrong(text="apiVersion: reloader/v1\0\n", says="character|NUL|printable"),
    "a list": Wrong(text="- a\n- b\n", says="mapping|object"),
    "a word": Wrong(text="hello\n", says="mapping|object"),
    "another tag": Wrong(text="apiVersion: !!python/object:os.system reloader/v1\n", says="tag"),
    "another kind": Wrong(
        text="apiVersion: reloader/v1\nkind: Pod\nmetadata: {name: edge}\nspec: {objects: [a.o]}\n", says="Pod"
    ),
    "another version": Wrong(text="apiVersion: reloader/v9\nkind: Pipeline\n", says="reloader/v9"),
    "no name": Wrong(
        text="apiVersion: reloader/v1\nkind: Pipeline\nmetadata: {}\nspec: {objects: [a.o]}\n", says="name"
    ),
    "a name no path may hold": Wrong(
        text="apiVersion: reloader/v1\nkind: Pipeline\nmetadata: {name: ../edge}\nspec: {objects: [a.o]}\n", says="edge"
    ),
    "unknown field": Wrong(change=lambda s: s.update(attachments=[]), says="attachments.*did you mean 'attach'"),
    "unknown field of a map": Wrong(change=lambda s: s["maps"]["flows"].update(rol="x"), says="rol"),
    "a number for a list": Wrong(change=lambda s: s.update(objects=7), says="objects"),
    "a list for a mapping": Wrong(change=lambda s: s.update(maps=[]), says="maps"),
    "unknown role": Wrong(change=lambda s: s["maps"]["flows"].update(role="stat"), says="did you mean 'state'"),
    "unknown map": Wrong(change=lambda s: s["maps"].update(flow={"role": "state"}), says="did you mean 'flows'"),
    "undeclared map": Wrong(change=lambda s: s["maps"].pop("flows"), says=r"flows.*(role|declare)"),
    "entries of a state map": Wrong(change=lambda s: s["maps"]["flows"].update(entries=[]), says="entries"),
    "a role the type cannot have": Wrong(change=lambda s: s["maps"]["events"].update(role="config"), says="ringbuf"),
    "unknown constant": Wrong(change=lambda s: s["rodata"].update(sample_rat=1), says="did you mean 'sample_rate'"),
    "constant too large": Wrong(change=lambda s: s["rodata"].update(sample_rate=1 << 40), says="1099511627776"),
    "constant of another type": Wrong(change=lambda s: s["rodata"].update(sample_rate="often"), says="often"),
    "unknown enumerator": Wrong(
        change=lambda s: s["rodata"].update(default_verdict="XDP_DORP"), says="did you mean XDP_DROP"
    ),
    "unknown program": Wrong(change=lambda s: s["attach"][0].update(program="count_flow"), says="count_flows"),
    "unknown attach type": Wrong(change=lambda s: s["attach"][0].update(type="xpd"), says="did you mean 'xdp'"),
    "unknown mode": Wrong(change=lambda s: s["attach"][0].update(mode="fast"), says="fast"),
    "interface name too long": Wrong(change=lambda s: s["attach"][0].update(interface="x" * 40), says="interface"),
    "the same place twice": Wrong(change=lambda s: s["attach"].append(s["attach"][0]), says="twice|already|too"),
    "no interface": Wrong(change=lambda s: s["attach"][0].pop("interface"), says="interface"),
    "key of another type": Wrong(
        change=lambda s: s["maps"].update(blocklist=entry("not-an-address", {"action": "XDP_DROP"})),
        says="not-an-address",
    ),
    "unknown field of a value": Wrong(
        change=lambda s: s["maps"].update(blocklist=entry("10.0.0.1", {"acton": "XDP_DROP"})), says="action"
    ),
    "key twice in a map": Wrong(
        change=lambda s: s["maps"]["blocklist"].update(entries=s["maps"]["blocklist"]["entries"] * 2),
        says="has the same key",
    ),
    "more entries than fit": Wrong(
        change=lambda s: s["maps"]["blocklist"].update(
            max_entries=1, entries=[{"key": f"10.0.0.{i}", "value": {"action": "XDP_DROP"}} for i in (1, 2)]
        ),
        says="max_entries|room|entries",
    ),
    "bulk file missing": Wrong(
        change=lambda s: s["maps"].update(blocklist={"role": "config", "from": {"csv": "none.csv"}}),
        says="none.csv: cannot be read",
        place=False,
    ),
    "bulk file with a bad row": Wrong(
        change=lambda s: s["maps"].update(blocklist={"role": "config", "from": {"csv": "bad.csv"}}),
        says=r"bad.csv:3.*10\.0\.0\.300",
        place=False,
    ),
    "bulk file with a bad line": Wrong(
        change=lambda s: s["maps"].update(blocklist={"role": "config", "from": {"jsonl": "bad.jsonl"}}),
        says=r"bad.jsonl:2",
        place=False,
    ),
    "object missing": Wrong(change=lambda s: s.update(objects=["none.bpf.o"]), says="none.bpf.o"),
    "object of another digest": Wrong(
        change=lambda s: s.update(objects=[{"file": "v1.bpf.o", "sha256": "0" * 64}]), says="sha256|digest"
    ),
    "no object at all": Wrong(change=lambda s: s.update(objects=["edge.yaml"]), says="ELF|object"),
    "an empty object": Wrong(change=lambda s: s.update(objects=["empty.bpf.o"]), says="empty.bpf.o"),
    "a directory for an object": Wrong(change=lambda s: s.update(objects=["."]), says="director|regular"),
    "section of another type": Wrong(
        change=lambda s: s.update(objects=["tc.bpf.o"]), says='section .tc.*SEC\\("xdp"\\)'
    ),
}


def prepare(stage: Stage, compile_bpf: Callable[[str], Path]) -> None:
    """The files that bad specs name."""
    (stage.folder / "bad.csv").write_text("key,action\n10.0.0.1,XDP_DROP\n10.0.0.300,XDP_DROP\n")
    (stage.folder / "bad.jsonl").write_text(
        '{"key": "10.0.0.1", "value": {"action": "XDP_DROP"}}\n{"key": "10.0.0.2", "valeu": 1}\n'
    )
    (stage.folder / "empty.bpf.o").write_bytes(b"")
    stage.put(compile_bpf(CLASSIFIER), "tc.bpf.o")


def offer(stage: Stage, case: Wrong) -> None:
    """Write the case's YAML in place of the good one."""
    if case.change is None:
        stage.file.write_bytes(case.text.encode(errors="surrogateescape"))
        return
    spec = stage.spec()
    spec["maps"]["blocklist"]["entries"] = [{"key": "10.0.0.9", "value": {"action": "XDP_DROP"}}]
    case.change(spec)
    stage.file.write_text(yaml.safe_dump(stage.document(spec), sort_keys=False))


def test_malformed_text_is_told_with_its_place(serving: Stage, compile_bpf: Callable[[str], Path]) -> None:
    """All of them one after the other over a running generation, which no one may touch."""
    prepare(serving, compile_bpf)
    before, wrong = serving.standing(), []
    for name, case in WRONG.items():
        offer(serving, case)
        place = rf"edge\.yaml:\d+:\d+: .*({case.says})" if case.place else case.says
        found = judge(serving.run("apply", serving.file), 65, place)
        found += judge(serving.run("validate", serving.file, where=False), 65, place)
        found += [] if serving.standing() == before else [f"{serving.standing()} was {before}"]
        wrong += [f"{name}: {what}" for what in found]
    assert not wrong, "\n".join(wrong)
    serving.assert_counts()


def test_all_problems_are_told_at_once(serving: Stage) -> None:
    spec = serving.spec()
    spec["maps"]["flows"]["role"] = "stat"
    spec["rodata"]["sample_rat"] = 1
    spec["attach"][0]["mode"] = "fast"
    done = serving.run("apply", serving.write(spec))
    fails(serving, done, 65, "stat")
    assert len(done.error["problems"]) >= 2
    assert [p["line"] for p in done.error["problems"]] == sorted(p["line"] for p in done.error["problems"])


WORDS: list[tuple[list[str], int, str]] = [
    (["aply", "x.yaml"], 64, "invalid choice: 'aply'|aply"),
    (["apply"], 64, "FILE|required"),
    (["apply", "/nowhere/x.yaml"], 65, "/nowhere/x.yaml"),
    (["apply", "/"], 65, "does not contain a \\*.yaml"),
    (["rollback", "nobody"], 65, "pipeline nobody does not exist"),
    (["history", "nobody"], 65, "pipeline nobody does not exist"),
    (["show", "edge", "99"], 65, "generation 99 is not stored"),
    (["diff", "edge", "1", "99"], 65, "generation 99 is not stored"),
    (["rollback", "edge", "--to", "99"], 65, "generation 99 is not stored"),
    (["rollback", "edge"], 65, "nothing to roll back to"),
    (["remove", "nobody"], 65, "pipeline nobody does not exist"),
    (["status", "nobody"], 65, "pipeline nobody does not exist"),
    (["show", "../edge"], 65, "no pipeline|name|does not exist"),
    (["remove", "../edge", "--state"], 65, "no pipeline|name|does not exist"),
    (["recover", "nobody"], 65, "pipeline nobody does not exist"),
    (["recover", "../edge"], 65, "no pipeline|name|does not exist"),
    (["init", "/nowhere/x.bpf.o"], 65, "/nowhere/x.bpf.o"),
    (["init", "/etc/passwd"], 65, "ELF|object"),
]


def test_words_that_make_no_sense(serving: Stage) -> None:
    before, wrong = serving.standing(), []
    for words, code, says in WORDS:
        report = words[0] not in ("init", "aply")
        done = serving.run(*words, json_too=report, where=words[0] != "aply")
        wrong += [f"{words}: {what}" for what in judge(done, code, says)]
        assert serving.standing() == before
    assert not wrong, "\n".join(wrong)


# objects


def test_damaged_objects_are_refused(serving: Stage) -> None:
    """Cut short anywhere, or full of noise: found in Python, before libbpf sees it."""
    spec, before = blocking(serving.spec("v2")), serving.standing()
    serving.write(spec)
    path = serving.folder / "v2.bpf.o"
    whole = path.read_bytes()
    noise = random.Random(2).randbytes(len(whole))
    lengths = [1, 16, 63, 64, 65, *(len(whole) * i // 9 for i in range(1, 9)), len(whole) - 1]
    wrong = []
    for data in (*(whole[:n] for n in lengths), noise, whole[:64] + noise[64:], b"\x7fELF" + bytes(60)):
        path.write_bytes(data)
        found = judge(serving.run("apply", serving.file), 65, r"v2\.bpf\.o")
        wrong += [f"{len(data)} bytes: {what}" for what in found]
        assert serving.standing() == before
    assert not wrong, "\n".join(wrong)
    serving.assert_counts()


def test_turned_bits_never_take_the_hook_away(serving: Stage) -> None:
    """A turned bit may go unnoticed (a string, a debug record); then a version serves that the verifier passed."""
    spec = blocking(serving.spec("v2"))
    serving.write(spec)
    path = serving.folder / "v2.bpf.o"
    whole, dice = path.read_bytes(), random.Random(7)
    codes = set()
    for _ in range(16):
        turned = bytearray(whole)
        turned[dice.randrange(len(whole))] ^= 1 << dice.randrange(8)
        path.write_bytes(turned)
        before = serving.standing()
        done = serving.run("apply", serving.file)
        codes.add(done.code)
        assert done.code in (0, 1, 65), done.err
        assert "Traceback" not in done.err
        assert done.code == 0 or serving.standing() == before
        assert serving.attached()
    assert codes - {0}, "not one of the turned bits was noticed"


def test_a_version_the_verifier_rejects(serving: Stage) -> None:
    before = serving.standing()
    done = serving.run("apply", serving.write(blocking(serving.spec("broken"))))
    fails(serving, done, 1, r"the verifier rejected program count_flows: .*nothing was swapped", hint="whole log: ")
    assert done.error["code"] == "verifier-rejected"
    log = Path(re.search(r"whole log: (\S+)", done.err)[1])  # type: ignore[index]
    assert "processed" in log.read_text()
    assert re.search(r"flow_count_broken.bpf.c:\d+|; ", done.error["detail"])
    assert serving.standing() == before
    serving.assert_counts()


# hosts


def test_an_interface_that_does_not_exist(serving: Stage) -> None:
    before = serving.standing()
    for place in ({"interface": "nope0"}, {"netns": "/run/netns/rl-none"}):
        spec = blocking(serving.spec("v2"))
        spec["attach"].append({**spec["attach"][0], **place})
        done = serving.run("apply", serving.write(spec))
        fails(serving, done, 69, r"interface '(nope0|rx0)' is missing", hint="nothing was touched")
        assert serving.standing() == before
    serving.assert_counts()


def vanishing(stage: Stage, when: str, effect: str) -> fault_points.Gate:
    """A gate that deletes the interface at the first effect of that name."""
    rx, todo = stage.sandbox.rx, [effect]

    def gate(moment: str, name: str) -> None:
        if moment == when and name in todo:
            todo.clear()
            rx.run("ip", "link", "delete", rx.interface)

    return gate


@pytest.fixture
def gated() -> Iterator[Callable[[fault_points.Gate], None]]:
    yield fault_points.install
    fault_points.install(None)


@pytest.mark.parametrize(
    ("when", "effect"), [("before", "link.update"), ("after", "link.update"), ("after", "journal.begin")]
)
def test_an_interface_that_vanishes_in_the_middle(
    when: str, effect: str, serving: Stage, gated: Callable[[fault_points.Gate], None]
) -> None:
    """Between planning and swap, or right after the swap. What is left must be the old generation or the new, whole."""
    before, counted = serving.standing(), serving.counted()
    serving.write(blocking(serving.spec("v2")))
    gated(vanishing(serving, when, effect))
    done = serving.run("apply", serving.file)
    if when == "before" or effect == "journal.begin":
        fails(
            serving, done, 3, "BPF_LINK_UPDATE xdp:rx0.*generation 1 is live", hint="the place of the link was deleted"
        )
        assert serving.standing().pins == before.pins
        assert serving.standing().stored == before.stored
    else:
        assert done.code in (0, 1, 3), done.err
    assert serving.counted() == counted
    (status,) = serving.call("status")["pipelines"]
    assert status["state"] == "drift"
    assert "interface" in status["attachments"][0]["seen"]
    assert serving.call("recover")["recovered"] == []


def test_one_of_two_interfaces_vanishes_between_their_swaps(
    serving: Stage, gated: Callable[[fault_points.Gate], None]
) -> None:
    """The other one, swapped already, goes back to the old program."""
    rx = serving.sandbox.rx
    rx.run("ip", "link", "add", "rx1", "type", "veth", "peer", "name", "rx2")
    spec = blocking(serving.spec())
    spec["attach"] = [serving.attach(), serving.attach(interface="rx1")]
    serving.apply(spec)
    before = serving.standing()
    swaps = iter(["", "rx1"])

    def gate(moment: str, name: str) -> None:
        if (moment, name) == ("before", "link.update") and next(swaps, ""):
            rx.run("ip", "link", "delete", "rx1")

    gated(gate)
    done = serving.run(
        "apply", serving.write({**spec, "objects": [serving.put("v2")], "maps": serving.spec("v2")["maps"]})
    )
    fails(serving, done, 3, "rolled back; generation 2 is live")
    assert serving.standing() == before
    serving.assert_counts()


def test_pins_that_are_on_no_bpffs(stage: Stage, tmp_path: Path) -> None:
    words = ["--bpffs", str(tmp_path), "--records", str(stage.records)]
    for command in (["apply", stage.write(stage.spec())], ["plan", stage.file], ["status"]):
        if command == ["status"]:
            continue  # nothing is recorded, so nothing is looked for
        done = stage.run(*command, *words, where=False)
        fails(stage, done, 69, "not on a bpf filesystem", hint=".*mount -t bpf")
    assert not stage.standing().stored


def test_without_privilege(serving: Stage, tmp_path: Path) -> None:
    """As nobody: what changes or looks at the kernel is refused, what needs no kernel works."""
    before = serving.standing()
    for folder in (serving.folder, *serving.folder.parents):
        if folder.is_relative_to(Path("/tmp")) and folder != Path("/tmp"):
            folder.chmod(0o755)
    nobody = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
    for words in (["apply", serving.file], ["remove", "edge"], ["status"], ["history", "edge"], ["recover"]):
        done = serving.spawn(*words, prefix=nobody)
        fails(serving, done, 77, "[Pp]ermission|cannot (write|read)", hint=".*root")
    assert serving.spawn("validate", serving.file, prefix=nobody).code == 0
    assert serving.standing() == before
    serving.assert_counts()


def test_without_privilege_in_a_record_directory_of_ones_own(stage: Stage, tmp_path: Path) -> None:
    """It is the kernel, or its bpffs, that refuses then."""
    mine = tmp_path / "records"
    mine.mkdir()
    os.chown(mine, 65534, 65534)
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    stage.write(stage.spec())
    nobody = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
    stage.records = mine
    fails(stage, stage.spawn("apply", stage.file, prefix=nobody), 77, "Permission denied", hint=".*root")


def test_while_another_reloader_is_at_work(serving: Stage) -> None:
    before = serving.standing()
    serving.write(blocking(serving.spec("v2")))
    with writer_lock(serving.paths):
        for words in (["apply", serving.file], ["remove", "edge"], ["rollback", "edge"], ["recover"]):
            fails(serving, serving.run(*words), 75, f"pid {os.getpid()}", hint="wait until it ends")
        assert serving.call("plan", serving.file)["pipelines"][0]["changes"]
        assert serving.call("status")["pipelines"][0]["state"] == "serving"
    assert serving.standing() == before


@pytest.fixture
def small_disk(stage: Stage) -> Iterator[Stage]:
    """Records on a disk of their own, 512 KiB."""
    run("mount", "-t", "tmpfs", "-o", "size=512k,mode=0700", "none", str(stage.records))
    yield stage
    run("umount", str(stage.records))


def fill(folder: Path, *, leave: int = 0) -> Path:
    """Take all room of a disk, but for so many pages."""
    path = folder / "filler"
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass
        file.truncate(max(file.tell() - leave * 4096, 0))
    return path


def test_a_full_disk(small_disk: Stage) -> None:
    """Wherever it runs out: nothing is left of the attempt, the old generation serves, and with room it works."""
    stage, codes = small_disk, set()
    stage.apply(blocking(stage.spec()))
    for pages, version in zip((0, 1, 2, 3, 5, 7, 9, 12, 16, 20), "2121212121", strict=True):
        before = stage.standing()
        stage.write(blocking(stage.spec(f"v{version}")))
        filler = fill(stage.records, leave=pages)
        done = stage.run("apply", stage.file)
        filler.unlink()
        codes.add(done.code)
        if done.code:
            fails(stage, done, (1, 3), "No space left", hint=".*disk")
            assert stage.standing() == before
        stage.assert_counts()
        stage.call("apply", stage.file)
    assert codes == {0, 1, 3}, "the disk was never full after the swap, or never large enough"
    stage.assert_counts()


def test_a_full_disk_does_not_hide_what_the_verifier_said(small_disk: Stage) -> None:
    stage = small_disk
    stage.apply(blocking(stage.spec()))
    before = stage.standing()
    stage.write(blocking(stage.spec("broken")))
    said = set()
    for pages in range(4, 24, 3):
        filler = fill(stage.records, leave=pages)
        done = stage.run("apply", stage.file)
        filler.unlink()
        fails(stage, done, 1, "No space left|the verifier rejected program count_flows: .*; nothing was swapped")
        said.add(done.error["code"])
        assert stage.standing() == before
    assert said == {"nothing-swapped", "verifier-rejected"}


def test_a_full_disk_lets_go(small_disk: Stage) -> None:
    """`remove` frees room, so it must not need any."""
    stage = small_disk
    stage.apply(stage.spec())
    filler = fill(stage.records)
    done = stage.run("remove", "edge", "--state")
    filler.unlink()
    if done.code:
        fails(stage, done, 1, "[Nn]o space left", hint=".*disk")


def test_a_record_directory_that_cannot_be_written(small_disk: Stage) -> None:
    stage = small_disk
    stage.apply(blocking(stage.spec()))
    before = stage.standing()
    stage.write(blocking(stage.spec("v2")))
    run("mount", "-o", "remount,ro", str(stage.records))
    fails(stage, stage.run("apply", stage.file), 77, "cannot write", hint=".*--records")
    assert stage.call("status")["pipelines"][0]["state"] == "serving"
    assert stage.call("plan", stage.file)["pipelines"][0]["changes"]
    assert stage.standing() == before
    stage.assert_counts()


def test_a_map_too_large_for_the_kernel(serving: Stage) -> None:
    before = serving.standing()
    spec = blocking(serving.spec())
    spec["maps"]["blocklist"]["max_entries"] = 4_000_000_000
    done = serving.run("apply", serving.write(spec))
    assert done.code == 65
    assert [(p["reason"], p["values"]["map"]) for p in done.error["problems"]] == [("map_max_entries", "blocklist")]
    assert serving.standing() == before
    serving.assert_counts()


@pytest.mark.parametrize("effect", ["link.update", "journal.begin", "pin ", "write objects/"])
def test_memory_that_runs_out(effect: str, serving: Stage, gated: Callable[[fault_points.Gate], None]) -> None:
    before, todo = serving.standing(), [effect]

    def gate(moment: str, name: str) -> None:
        if moment == "before" and name.startswith(tuple(todo)):
            todo.clear()
            raise KernelError(name, 12)

    gated(gate)
    done = serving.run("apply", serving.write(blocking(serving.spec("v2"))))
    fails(serving, done, (1, 3), "ENOMEM.*generation 1 is live")
    assert serving.standing() == before
    serving.assert_counts()


INTERRUPTED = """
import os, signal, sys
from reloader import cli, fault_points as effects
when, effect = sys.argv[1:3]
todo = [effect]
def gate(moment, name):
    if moment == when and name.startswith(tuple(todo)):
        todo.clear()
        os.kill(os.getpid(), signal.{number})
effects.install(gate)
sys.argv = ["reloader", *sys.argv[3:]]
cli.entry()
"""


@pytest.mark.parametrize(
    ("when", "effect", "number", "codes"),
    [
        ("before", "journal.begin", "SIGINT", (1,)),
        ("after", "blob.link", "SIGINT", (1,)),
        ("after", "pin ", "SIGTERM", (1,)),
        ("before", "link.update", "SIGINT", (1, 3)),
        ("after", "link.update", "SIGTERM", (3,)),
        ("before", "journal.commit", "SIGINT", (0,)),
        ("after", "journal.commit", "SIGTERM", (0,)),
        ("before", "rename ", "SIGINT", (0,)),
    ],
)
def test_interrupted(when: str, effect: str, number: str, codes: tuple[int, ...], serving: Stage) -> None:
    """^C and SIGTERM anywhere: before the commit all is put back, after it all is finished."""
    before = serving.standing()
    serving.write(blocking(serving.spec("v2")))
    done = serving.spawn(when, effect, "apply", serving.file, code=INTERRUPTED.replace("{number}", number))
    assert done.code in codes, f"{done.code}: {done.err}"
    assert "Traceback" not in done.err
    if done.code in (1, 3):
        assert "interrupted" in done.err
        assert serving.standing() == before
    else:
        assert serving.standing().generation == 2
    assert serving.call("recover")["recovered"] == []
    serving.assert_counts()


def test_interrupted_between_the_last_op_and_the_commit(serving: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """The signal comes just before signals are held back: the swap is done, the commit record is not."""
    forward = transaction._forward

    def impatient(trip: transaction.Transaction, journal: Journal) -> None:
        forward(trip, journal)
        signal.raise_signal(signal.SIGINT)

    before = serving.standing()
    serving.write(blocking(serving.spec("v2")))
    faults.inject(monkeypatch, "way forward", impatient)
    was = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored, in a background job
    done = serving.run("apply", serving.file)
    signal.signal(signal.SIGINT, was)
    assert (done.code, done.error["reason"], done.error["values"]["live_generation"]) == (3, "interrupted", 1)
    assert serving.standing() == before
    serving.assert_counts()


# others


@pytest.fixture
def theirs(stage: Stage, compile_bpf: Callable[[str], Path]) -> Iterator[Any]:
    """Somebody else's loaded program."""
    loaded = stage.kernel.progs.load(
        LoadRequest(objects=(compile_bpf(PASS_ALL).read_bytes(),), name="theirs", programs=("pass_all",))
    )
    yield loaded.progs["pass_all"]
    loaded.close()


def test_somebody_elses_program_on_the_interface(stage: Stage, theirs: Any) -> None:
    """Attached by netlink, as `ip link set … xdp` does it: named, and left alone."""
    rx = stage.sandbox.rx
    pin = f"{stage.sandbox.bpffs}/theirs"
    stage.kernel.pins.pin(theirs, pin)
    rx.run("bpftool", "net", "attach", "xdpdrv", "pinned", pin, "dev", rx.interface)
    mine = stage.attached()
    assert mine
    for words in (["plan"], ["apply"]):
        done = stage.run(*words, stage.write(stage.spec()))
        fails(stage, done, 65, rf"program 'pass_all' \(id {mine}\) is already attached, .*--take-over replaces it")
    assert stage.attached() == mine
    assert not stage.standing().stored


def test_somebody_elses_link_on_the_interface(stage: Stage, theirs: Any) -> None:
    rx = stage.sandbox.rx
    interface = stage.kernel.net.interface(rx.interface, rx.netns)
    assert interface
    with stage.kernel.links.create_xdp(theirs, ifindex=interface.ifindex, mode="native", netns=rx.netns):  # type: ignore[arg-type]
        fails(
            stage,
            stage.run("apply", stage.write(stage.spec())),
            65,
            "program 'pass_all'.*only the holder of that link can detach it",
        )
        assert stage.attached()


def test_another_pipeline_on_the_interface(serving: Stage) -> None:
    """It is told which one of ours sits there."""
    before = serving.standing()
    path = serving.folder / "second.yaml"
    path.write_text(yaml.safe_dump(serving.document(serving.spec(), name="second")))
    done = serving.run("apply", path)
    fails(serving, done, 65, "count_flows.*pipeline edge.*only the holder of that link can detach it")
    assert serving.standing() == before


def test_our_link_was_updated_by_somebody_else(serving: Stage, theirs: Any) -> None:
    kernel, paths = serving.kernel, serving.paths
    pin = paths.link_pin("edge", next(p for p in serving.standing().pins if "/links/" in p).rsplit("/", 1)[1])
    with kernel.pins.get(pin) as link, kernel.pins.get(paths.prog_pin("edge", 1, "count_flows")) as ours:
        kernel.links.update(link, new=theirs, old=ours)
        mine = serving.attached()
        serving.write(blocking(serving.spec("v2")))
        for words in (["plan", serving.file], ["apply", serving.file], ["rollback", "edge", "--to", "1"]):
            done = serving.run(*words)
            fails(serving, done, 65, "our link runs program 'pass_all'.*not in the records")
        assert serving.attached() == mine
        assert serving.call("status")["pipelines"][0]["state"] == "drift"
        kernel.links.update(link, new=ours, old=theirs)
    serving.call("apply", serving.file)
    serving.assert_counts()


# records


def test_damaged_records_need_a_human(serving: Stage) -> None:
    serving.write(blocking(serving.spec("v2")))
    before, current = serving.standing(), serving.paths.current_file("edge")
    generation = serving.paths.generation_file("edge", 1)
    for path in (current, generation):
        sound = path.read_bytes()
        for data in (b"", sound[:-40], sound.replace(b'"edge"', b"7"), b"[]", b"\xff\xfe", b"{}"):
            path.write_bytes(data)
            fails(serving, serving.run("apply", serving.file), 4, f"{path.name}.*damaged")
            (shown,) = serving.call("status")["pipelines"]
            assert shown["state"] == "damaged"
            assert serving.attached() == before.attached
        path.write_bytes(sound)
    assert serving.standing() == before
    serving.assert_counts()


def test_a_damaged_blob_stops_a_rollback(serving: Stage) -> None:
    serving.apply(blocking(serving.spec("v2")))
    before = serving.standing()
    stored = next(
        p
        for p in (serving.records / "objects").iterdir()
        if p.read_bytes() == serving.objects("programs/flow_count/flow_count").read_bytes()
    )
    sound = stored.read_bytes()
    stored.write_bytes(sound[:-1] + b"x")
    done = serving.run("rollback", "edge")
    assert done.code in (1, 4), done.err
    assert "does not match its digest" in done.err
    assert serving.standing() == before
    serving.assert_counts()
    stored.unlink()
    done = serving.run("rollback", "edge")
    assert done.code in (1, 4, 65), done.err
    assert serving.standing().attached == before.attached


def test_a_journal_that_is_damaged_needs_a_human(serving: Stage) -> None:
    folder = serving.paths.journal_file("edge", "").parent
    folder.mkdir(exist_ok=True)
    journal = folder / "00000000000000000001-1.jsonl"
    journal.write_bytes(b'{"v":1}\n')
    before = serving.standing()
    serving.write(blocking(serving.spec("v2")))
    for words in (["apply", serving.file], ["rollback", "edge"], ["recover"], ["remove", "edge"]):
        fails(serving, serving.run(*words), 4, "journal is damaged", hint=".*remove the journal")
    assert serving.call("status")["pipelines"][0]["state"] == "unfinished"
    assert serving.standing() == before
    serving.assert_counts()
    journal.unlink()
