"""What each map role promises, on the real kernel and by the command line: streams, external and config maps of
every shape, global variables as state, tail calls under packets; and what rollback, history and files with
several pipelines promise beside.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import struct
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.sandbox import run
from lab.stage import Stage, wait_until
from lab.traffic import Generator, settle
from reloader.bpf import syscall
from reloader.kernel import Fd, LoadRequest, MapType

pytestmark = pytest.mark.kernel

FIXTURES = Path(__file__).parent / "bpf"
SOURCE = socket.inet_aton("10.0.0.7")  # of the packets that Stage.send sends


class Roles:
    """The pipeline of bpf/roles.bpf.c, with somebody else's map of bans."""

    def __init__(self, stage: Stage, compiled: Path) -> None:
        self.stage = stage
        self.object = stage.put(compiled, "roles.bpf.o")
        self.pin = f"{stage.sandbox.bpffs}/theirs"
        self.bans = self._theirs(compiled)
        self.stage.kernel.pins.pin(self.bans, self.pin)

    def _theirs(self, compiled: Path) -> Fd:
        """The map of somebody else's copy of the object."""
        request = LoadRequest(objects=(compiled.read_bytes(),), name="theirs", programs=("judge",))
        loaded = self.stage.kernel.progs.load(request)
        bans = Fd(os.dup(loaded.maps["bans"].fileno()))
        loaded.close()
        return bans

    def replace_bans(self) -> None:
        """By one with longer values and no BTF."""
        self.stage.kernel.pins.unpin(self.pin)
        self.bans.close()
        shape = {"key_size": 4, "value_size": 8, "max_entries": 16}
        self.bans = Fd(syscall.map_create(kind=MapType.HASH, name="bans", **shape))
        self.stage.kernel.pins.pin(self.bans, self.pin)

    def spec(self, *, version: int = 1, **maps: Any) -> dict[str, Any]:
        roles: dict[str, Any] = {
            ".bss": {"role": "state"},
            "prefixes": {"role": "config", "entries": []},
            "limits": {"role": "config", "entries": []},
            "quotas": {"role": "config", "entries": []},
            "switches": {"role": "config", "entries": []},
            "bans": {"role": "external", "pin": self.pin},
            "recent": {"role": "scratch"},
            **maps,
        }
        rodata, attach = {"version": version}, [self.stage.attach("judge")]
        return {"objects": [self.object], "rodata": rodata, "attach": attach, "maps": roles}

    def apply(self, **words: Any) -> Any:
        return self.stage.apply(self.spec(**words))

    def variables(self) -> tuple[int, int]:
        """packets, dropped."""
        (value,) = self.stage.items("sec-bss").values()
        packets, dropped = struct.unpack_from("=2Q", value)
        return packets, dropped

    def verdicts(self, packets: int = 5) -> tuple[int, int]:
        """Packets counted and dropped of so many sent now."""
        before = self.variables()
        self.stage.send(packets)
        wait_until(lambda: self.variables()[0] >= before[0] + packets)
        after = self.variables()
        return after[0] - before[0], after[1] - before[1]


@pytest.fixture
def roles(stage: Stage, compile_bpf: Callable[[Path], Path]) -> Iterator[Roles]:
    made = Roles(stage, compile_bpf(FIXTURES / "roles.bpf.c"))
    yield made
    made.bans.close()


def listing(*pairs: tuple[Any, Any], **words: Any) -> dict[str, Any]:
    return {"role": "config", "entries": [{"key": k, "value": v} for k, v in pairs], **words}


# config


def test_config_of_every_shape_is_filled_and_changed_in_place(roles: Roles) -> None:
    """LPM, per-CPU and array maps hold exactly what is listed, on every CPU, before and after a change."""
    stage = roles.stage
    roles.apply(
        prefixes=listing(("10.0.0.0/8", 1), ("192.0.2.0/24", 2)),
        limits=listing((0, {"rate": 7}), (2, {"rate": 9})),
        quotas=listing((5, {"rate": 3})),
        switches=listing((3, 1)),
    )
    assert roles.verdicts() == (5, 5)
    load = {m: stage.map_id(m) for m in ("prefixes", "limits", "quotas", "switches")}
    result = roles.apply(
        prefixes=listing(("192.0.2.0/24", 2), ("192.0.0.0/16", 3)),
        limits=listing((0, {"rate": 8})),
        quotas=listing((6, {"rate": 4})),
        switches=listing(),
    )
    assert result["why"] == "entries of limits, prefixes, quotas, switches changed; written in place"
    assert {m: stage.map_id(m) for m in load} == load
    assert prefixes_of(stage) == {"192.0.2.0/24": 2, "192.0.0.0/16": 3}
    assert rates_of(stage, "limits") == {0: {8}, 1: {0}, 2: {0}, 3: {0}}
    assert rates_of(stage, "quotas") == {6: {4}}
    assert set(stage.items("switches").values()) == {bytes(4)}
    assert roles.verdicts() == (5, 0)
    assert stage.call("plan", stage.file)["pipelines"][0]["changes"] is False


def prefixes_of(stage: Stage) -> dict[str, int]:
    items = stage.items("prefixes").items()
    return {
        f"{socket.inet_ntoa(k[4:])}/{int.from_bytes(k[:4], 'little')}": int.from_bytes(v, "little") for k, v in items
    }


def rates_of(stage: Stage, name: str) -> dict[int, set[int]]:
    """Key → the values of all CPUs."""
    items = stage.items(name).items()
    return {int.from_bytes(k, "little"): {r for (r,) in struct.iter_unpack("=Q", v)} for k, v in items}


def test_entries_somebody_changed_are_put_right(roles: Roles) -> None:
    stage, wish = roles.stage, {"prefixes": listing(("10.0.0.0/8", 1)), "switches": listing((1, 1))}
    roles.apply(**wish)
    stage.put_entries("prefixes", {struct.pack("=I", 16) + socket.inet_aton("172.16.0.0"): bytes(4)})
    stage.put_entries("switches", {bytes(4): b"\1\0\0\0"})
    assert stage.run("apply", stage.file).code == 65, "a user has to say that they may go"
    stage.call("apply", stage.file, "--prune")
    assert prefixes_of(stage) == {"10.0.0.0/8": 1}
    assert [v for v in stage.items("switches").values() if any(v)] == [b"\1\0\0\0"]
    assert not roles.apply(**wish)["changed"]


def test_one_cpu_that_somebody_changed_is_put_right(roles: Roles) -> None:
    stage, wish = roles.stage, {"quotas": listing((5, {"rate": 3}))}
    roles.apply(**wish)
    ((key, value),) = stage.items("quotas").items()
    stage.put_entries("quotas", {key: value[:-8] + bytes([9]).ljust(8, b"\0")})
    assert rates_of(stage, "quotas") == {5: {3, 9}}
    assert roles.apply(**wish)["changed"]
    assert rates_of(stage, "quotas") == {5: {3}}
    assert not roles.apply(**wish)["changed"]


def test_a_prefix_moved_within_its_own_bits(roles: Roles) -> None:
    """10.1.0.0/8 is 10.0.0.0/8 to the kernel: refused, or the second would be deleted as the first."""
    spec = roles.spec(prefixes=listing(({"prefixlen": 8, "addr": "10.1.0.0"}, 1)))
    done = roles.stage.run("apply", roles.stage.write(spec))
    assert done.code == 65, done.err
    assert "bits are set beyond the prefix of 8" in done.err


def test_prune_false_keeps_what_others_wrote(roles: Roles) -> None:
    stage = roles.stage
    foreign = struct.pack("=I", 24) + socket.inet_aton("198.51.100.0")
    roles.apply(prefixes=listing(("192.0.2.0/24", 2), prune=False))
    stage.put_entries("prefixes", {foreign: bytes(4)})
    roles.apply(prefixes=listing(("192.0.2.0/24", 5), prune=False))
    assert prefixes_of(stage) == {"192.0.2.0/24": 5, "198.51.100.0/24": 0}
    before = stage.map_id("prefixes")
    assert roles.apply(version=2, prefixes=listing(("192.0.3.0/24", 6), prune=False))["why"].startswith(
        "changed: rodata"
    )
    assert prefixes_of(stage) == {"192.0.2.0/24": 5, "192.0.3.0/24": 6, "198.51.100.0/24": 0}
    assert stage.map_id("prefixes") == before
    with stage.pub("prefixes") as fd:
        assert not stage.kernel.maps.frozen(fd)


def test_tied_maps_change_by_a_new_load(roles: Roles) -> None:
    """Both are new, and the old ones are frozen: no packet meets one of each, no stale writer is heard."""
    stage = roles.stage

    def apply(number: int) -> Any:
        tied = {"together_with": ["switches"]}, {"together_with": ["prefixes"]}
        return roles.apply(
            prefixes=listing(("192.0.2.0/24", number), **tied[0]), switches=listing((0, number), **tied[1])
        )

    apply(1)
    with stage.pub("prefixes") as prefixes, stage.pub("switches") as switches:
        result = apply(2)
        assert result["why"] == "entries of prefixes changed and it is tied to switches"
        assert stage.kernel.maps.frozen(prefixes)
        assert stage.kernel.maps.frozen(switches)
        assert stage.map_id("prefixes") != stage.kernel.maps.info(prefixes).id
    assert prefixes_of(stage) == {"192.0.2.0/24": 2}
    assert not apply(2)["changed"]


# state


def test_global_variables_as_state_count_on(roles: Roles) -> None:
    roles.apply()
    assert roles.verdicts(7) == (7, 0)
    for version in (2, 3):
        roles.apply(version=version)
        assert roles.verdicts(7) == (7, 0)
    assert roles.variables() == (21, 0)
    assert roles.stage.call("rollback", "edge")["pipelines"][0]["changed"]
    assert roles.variables() == (21, 0)


def test_removed_and_applied_again_it_counts_on(roles: Roles) -> None:
    stage = roles.stage
    roles.apply()
    roles.verdicts(7)
    variables = stage.map_id("sec-bss")
    stage.call("remove", "edge")
    assert not stage.attached()
    assert [p for p in stage.standing().pins if not p.startswith("edge/state/")] == ["theirs"]
    (status,) = stage.call("status")["pipelines"]
    assert [m["name"] for m in status["maps"] if m["parked"]] == [".bss"]
    roles.apply(version=2)
    assert stage.map_id("sec-bss") == variables
    assert roles.variables() == (7, 0)
    stage.call("remove", "edge", "--state")
    assert stage.standing().pins == ("theirs",)
    assert stage.standing().stored == ()


def test_scratch_starts_empty(roles: Roles) -> None:
    roles.apply()
    roles.verdicts(1)
    assert list(roles.stage.items("recent")) == [SOURCE]
    roles.apply(version=2)
    assert not roles.stage.items("recent")


# stream


def test_a_stream_keeps_its_reader(stage: Stage) -> None:
    """The reader's ring buffer is the one that the next version writes to."""
    stage.apply(stage.spec(rodata={"sample_rate": 1}))
    with stage.pub("events") as reader:
        written = ring_position(stage, reader)
        assert written == 0
        for version in ("v2", "v1"):
            stage.apply(stage.spec(version, rodata={"sample_rate": 1}))
            stage.assert_counts(3)
            assert ring_position(stage, reader) > written
            written = ring_position(stage, reader)


def ring_position(stage: Stage, reader: Fd) -> int:
    """How far producers have written: the second page of the mapping, which starts behind the consumer's."""
    import mmap

    with mmap.mmap(reader.fileno(), mmap.PAGESIZE, mmap.MAP_SHARED, mmap.PROT_READ, offset=mmap.PAGESIZE) as page:
        return int.from_bytes(page[:8], "little")


# external


def test_somebody_elses_map_is_used_and_left_alone(roles: Roles) -> None:
    stage = roles.stage
    roles.apply()
    assert roles.verdicts() == (5, 0)
    stage.kernel.maps.update_many(roles.bans, [SOURCE], [bytes(4)])
    assert roles.verdicts() == (5, 5)
    roles.apply(version=2)
    assert roles.verdicts() == (5, 5)
    assert not [p for p in stage.standing().pins if p.endswith("/bans")]
    stage.call("remove", "edge", "--state")
    assert stage.kernel.maps.items(roles.bans) == {SOURCE: bytes(4)}
    assert not stage.kernel.maps.frozen(roles.bans)


def test_somebody_elses_map_of_another_shape_is_refused(roles: Roles) -> None:
    stage = roles.stage
    roles.replace_bans()
    done = stage.run("apply", stage.write(roles.spec()))
    assert done.code == 65
    assert "external map bans" in done.error["detail"]
    assert "value_size: 8 → 4 bytes" in done.error["detail"]
    assert "hint" not in done.error, "no --reset gives up what is somebody else's"
    stage.kernel.pins.unpin(roles.pin)
    done = stage.run("apply", stage.write(roles.spec()))
    assert done.code == 65
    assert done.error["detail"] == f"external map bans: nothing is pinned at {roles.pin}"
    assert not stage.attached()


# tail calls


ENTERED, MIDDLE, LEFT, FELL_THROUGH, MIXED = range(5)


def chain_spec(stage: Stage, compile_bpf: Callable[[Path], Path], version: int) -> dict[str, Any]:
    maps = {"places": {"role": "state"}, "entered_by": {"role": "scratch"}, "jumps": {"role": "live"}}
    rodata, attach = {"version": version}, [stage.attach("enter")]
    name = stage.put(compile_bpf(FIXTURES / "chain.bpf.c"), "chain.bpf.o")
    return {"objects": [name], "rodata": rodata, "attach": attach, "maps": maps}


def places(stage: Stage) -> list[int]:
    """Packets by the place they reached, over all CPUs."""
    values = stage.items("places")
    return [sum(n for (n,) in struct.iter_unpack("=Q", values[i.to_bytes(4, "little")])) for i in range(5)]


def test_regress_prog_array_reused_under_packets(stage: Stage, compile_bpf: Callable[[Path], Path]) -> None:
    """At full rate: who enters leaves, by programs of the version he entered by."""
    stage.apply(chain_spec(stage, compile_bpf, 1))
    with Generator(stage.sandbox.tx, flows=4) as generator:
        generator.start()
        for version in range(2, 14):
            stage.apply(chain_spec(stage, compile_bpf, version))
        generator.stop()
        balance = settle(generator, lambda: places(stage)[ENTERED])
    found = places(stage)
    assert balance.traffic.sent > 10_000, "hardly any traffic"
    assert balance.lost == 0
    assert found[ENTERED] == found[MIDDLE] == found[LEFT]
    assert found[FELL_THROUGH] == found[MIXED] == 0


def test_sabotage_a_prog_array_let_go_too_early_is_seen(stage: Stage, compile_bpf: Callable[[Path], Path]) -> None:
    """It empties itself with its last pin, and packets fall through: the check above would turn red."""
    stage.apply(chain_spec(stage, compile_bpf, 1))
    stage.send(5)
    wait_until(lambda: places(stage)[LEFT] == 5)
    assert places(stage)[FELL_THROUGH] == 0
    for path in (stage.paths.map_pin("edge", 1, "jumps"), stage.paths.pub_pin("edge", "jumps")):
        stage.kernel.pins.unpin(path)

    def falls_through() -> bool:
        stage.send(1)
        return places(stage)[FELL_THROUGH] > 0

    wait_until(falls_through)  # the kernel clears it in a worker of its own
    assert falls_through()


# generations


def test_a_rollback_needs_no_source(stage: Stage) -> None:
    """The YAML, the objects, the bulk file, the cache: all gone."""
    (stage.folder / "list.csv").write_text("key,action\n10.0.0.7,XDP_PASS\n")
    bulk = {"blocklist": {"role": "config", "from": {"csv": "list.csv"}}}
    stage.apply(stage.spec(maps=bulk))
    stage.apply(stage.spec("v2"))
    stage.assert_counts()
    for folder in (stage.folder, stage.paths.cache_dir):
        shutil.rmtree(folder, ignore_errors=True)
    (result,) = stage.call("rollback", "edge")["pipelines"]
    assert result["generation"] == 3
    assert list(stage.items("blocklist")) == [SOURCE]
    assert "sizes" not in {m["name"] for m in stage.call("show", "edge")["maps"]}
    stage.assert_counts()
    stage.call("rollback", "edge", "--to", "2")
    assert not stage.items("blocklist")
    stage.assert_counts()
    stage.folder.mkdir()


def test_twenty_generations_are_kept_with_what_they_need(stage: Stage) -> None:
    def apply(number: int) -> None:
        entries = [{"key": f"10.1.0.{number}", "value": {"action": "XDP_DROP"}}]
        version = "v2" if number <= 2 else "v1"
        stage.apply(stage.spec(version, maps={"blocklist": {"role": "config", "entries": entries}}))

    for number in range(1, 24):
        apply(number)
    kept = [g["generation"] for g in stage.call("history", "edge")["generations"]]
    assert kept == list(range(4, 24))
    for kind, count in (("objects", 1), ("entries", 20)):
        stored = {p.name for p in (stage.records / kind).iterdir()}
        assert len(stored) == count, kind
        assert stored == {p.name for p in (stage.paths.record_dir("edge") / kind).iterdir()}
    assert stage.run("rollback", "edge", "--to", "3").code == 65
    stage.call("rollback", "edge", "--to", "4")
    assert list(stage.items("blocklist")) == [socket.inet_aton("10.1.0.4")]


def test_bpftool_prints_who_a_program_is(stage: Stage) -> None:
    """Plain `bpftool prog show`, for an object with constants and one without."""
    stage.apply(stage.spec())
    stage.apply(stage.spec("v2"))
    said = run("bpftool", "prog", "show", "id", str(stage.attached()))
    (generation,) = [g for g in stage.call("history", "edge")["generations"] if g["current"]]
    words = dict(re_pairs(said))
    assert words["pipeline"] == "edge"
    assert (words["load"], words["generation"]) == ("2", "2")
    assert words["objects"] == generation["objects"][0]
    assert words["source"] == generation["source"]
    assert [w.split("=")[0] for w in words["layouts"].split(",")] == ["counters", "flows"]


def re_pairs(text: str) -> list[tuple[str, str]]:
    import re

    return re.findall(r'^\t+(\w+) = "(.*)"$', text, re.MULTILINE)


def test_metadata_of_a_program_without_constants(stage: Stage, compile_bpf: Callable[[str], Path]) -> None:
    source = (
        "#include <linux/bpf.h>\n#include <bpf/bpf_helpers.h>\n"
        'SEC("xdp") int bare(struct xdp_md *ctx) { return XDP_PASS; }\n'
        'char LICENSE[] SEC("license") = "GPL";\n'
    )
    spec = {"objects": [stage.put(compile_bpf(source), "bare.bpf.o")], "attach": [stage.attach("bare")]}
    stage.apply(spec)
    said = dict(re_pairs(run("bpftool", "prog", "show", "id", str(stage.attached()))))
    assert (said["pipeline"], said["load"]) == ("edge", "1")


# several pipelines


@pytest.fixture
def second(stage: Stage) -> dict[str, Any]:
    """A good document for another interface."""
    stage.sandbox.rx.run("ip", "link", "add", "rx1", "type", "veth", "peer", "name", "rx2")
    return stage.document({**stage.spec(), "attach": [stage.attach(interface="rx1")]}, name="second")


def test_documents_of_one_file_are_a_transaction_each(stage: Stage, second: dict[str, Any]) -> None:
    results = stage.call("apply", stage.write(stage.spec(), second))["pipelines"]
    assert [(r["pipeline"], r["generation"]) for r in results] == [("edge", 1), ("second", 1)]
    assert stage.attached()
    assert stage.attached("rx1")
    stage.call("remove", "second", "--state")
    stage.assert_counts()
    assert not stage.attached("rx1")


@pytest.mark.parametrize(
    ("version", "place", "code"), [("broken", "rx1", 1), ("v1", "nope0", 69), ("v1", "rx0", 65)], ids=str
)
def test_what_was_committed_before_a_failure_stays_and_is_said(
    version: str, place: str, code: int, stage: Stage, second: dict[str, Any]
) -> None:
    second["spec"] = {**stage.spec(version), "attach": [stage.attach(interface=place)]}
    done = stage.run("apply", stage.write(stage.spec(), second))
    assert done.code == code, done.err
    assert "already applied and kept: edge (generation 1)" in done.err
    assert done.error["message"].startswith("second: ")
    assert [p["pipeline"] for p in stage.call("status")["pipelines"]] == ["edge"]
    stage.assert_counts()
    done = stage.run("apply", stage.file)
    assert "committed before" not in done.err, "nothing was committed this time"
    assert done.code == code


def test_one_name_twice_changes_nothing(stage: Stage, second: dict[str, Any]) -> None:
    second["metadata"]["name"] = "edge"
    done = stage.run("apply", stage.write(stage.spec(), second))
    assert done.code == 65
    assert "edge" in done.err
    other = stage.folder / "other.yaml"
    other.write_text(yaml.safe_dump(second))
    stage.write(stage.spec())
    done = stage.run("apply", stage.file, other)
    assert done.code == 65
    assert "'edge' is already defined in" in done.err
    assert not stage.standing().stored
    assert not stage.attached()


def test_a_directory_is_all_its_files(stage: Stage, second: dict[str, Any]) -> None:
    stage.write(stage.spec())
    (stage.folder / "second.yml").write_text(yaml.safe_dump(second))
    (stage.folder / "notes.txt").write_text("no pipeline")
    results = stage.call("apply", stage.folder)["pipelines"]
    assert [r["pipeline"] for r in results] == ["edge", "second"]


def test_a_pipeline_of_two_attachments(stage: Stage, second: dict[str, Any]) -> None:
    """One program, two links, one state map; both are swapped, and each can go on its own."""
    spec = stage.spec()
    both = [stage.attach(), stage.attach(interface="rx1")]
    stage.apply({**spec, "attach": both})
    assert stage.attached() == stage.attached("rx1") != 0
    stage.apply({**stage.spec("v2"), "attach": both})
    assert stage.attached() == stage.attached("rx1")
    stage.apply({**stage.spec("v2"), "attach": both[:1]})
    assert stage.attached("rx1") == 0
    stage.assert_counts()
    result = stage.apply({**stage.spec("v2"), "attach": both[1:]})
    assert result["why"] == "attachments changed"
    assert (stage.attached(), bool(stage.attached("rx1"))) == (0, True)


def test_an_interface_made_anew_is_attached_again(stage: Stage, second: dict[str, Any]) -> None:
    """A recreated interface leaves a dead link; the next apply, unchanged, mends it."""
    spec = {**stage.spec(), "attach": [stage.attach(interface="rx1")]}
    stage.apply(spec)
    rx = stage.sandbox.rx
    rx.run("ip", "link", "delete", "rx1")
    rx.run("ip", "link", "add", "rx1", "type", "veth", "peer", "name", "rx2")
    assert "recreated" in stage.call("status")["pipelines"][0]["problems"][0]
    result = stage.apply(spec)
    assert result["changed"]
    assert result["lines"][0]["action"].startswith("attach by bpf_link")
    assert stage.attached("rx1")
    assert stage.call("status")["pipelines"][0]["state"] == "serving"


def test_records_are_json_that_others_may_read(stage: Stage) -> None:
    stage.apply(stage.spec())
    current = json.loads(stage.paths.current_file("edge").read_text())
    assert current["generation"] == 1
    assert oct(stage.paths.current_file("edge").stat().st_mode & 0o777) == "0o600"
    assert subprocess.run(["ls", stage.records], check=True, capture_output=True).stdout
