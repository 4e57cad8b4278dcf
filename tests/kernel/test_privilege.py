"""Which capabilities suffice, and what is said without each: an ordinary user in a network namespace of its own."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab.sandbox import Sandbox
from lab.stage import Done, Stage, on_stage

pytestmark = pytest.mark.kernel

USER = 12345
ENOUGH = ("bpf", "net_admin", "perfmon")


@pytest.fixture
def stage(sandbox: Sandbox, objects: Callable[[str], Path]) -> Iterator[Stage]:
    """Everything of the pipeline belongs to an ordinary user, who is in the namespace of its interface."""
    folder = sandbox.dir / "conf"
    folder.mkdir()
    with on_stage(sandbox, objects, folder) as opened:
        sandbox.dir.chmod(0o755)
        Path(sandbox.bpffs).parent.chmod(0o755)
        Path(sandbox.bpffs).mkdir(exist_ok=True)
        spec = opened.spec("v1", stateSchema="flow-count")
        for attach in spec["attach"]:
            del attach["netns"]
        opened.write(spec)
        for path in (Path(sandbox.bpffs), sandbox.records, folder, *folder.rglob("*")):
            os.chown(path, USER, USER)
        yield opened


def as_user(stage: Stage, capabilities: tuple[str, ...], *words: str | Path) -> Done:
    held = ",".join(f"+{c}" for c in capabilities)
    prefix = (
        *stage.sandbox.rx.command("setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups"),
        f"--inh-caps={held or '-all'}", f"--ambient-caps={held or '-all'}",
        f"--bounding-set={'-all,' + held if held else '-all'}",
    )  # fmt: skip
    return stage.spawn(*words, prefix=prefix)


def layout_changes(stage: Stage) -> None:
    """The next version's state map has another layout."""
    text = stage.file.read_text().replace("v1.bpf.o", stage.put("v3"))
    stage.file.write_text(text)


def test_three_capabilities_suffice(stage: Stage) -> None:
    """Create, see, convert state, go back, remove: by pins of one's own in one's own namespace."""
    for words in (
        ["plan", stage.file], ["apply", stage.file], ["apply", stage.file], ["status"], ["history", "edge"],
    ):  # fmt: skip
        done = as_user(stage, ENOUGH, *words)
        assert done.code == 0, (words, done.err)
    stage.assert_counts()
    layout_changes(stage)
    changed = as_user(stage, ENOUGH, "apply", stage.file)
    assert changed.code == 0, changed.err
    assert "state: convert" in changed.out
    for words in (["rollback", "edge"], ["recover"], ["remove", "edge", "--state"]):
        done = as_user(stage, ENOUGH, *words)
        assert done.code == 0, (words, done.err)
    assert not stage.sandbox.pins()


def test_a_trial_needs_no_more(stage: Stage) -> None:
    """Its guard goes home with the same three; what takes more is told before anything is touched."""
    assert as_user(stage, ENOUGH, "apply", stage.file).code == 0
    text = stage.file.read_text().replace("XDP_DROP", "XDP_PASS")
    health = "  health: {window: 200ms, interval: 100ms, checks: [{%s}]}\n"
    stage.file.write_text(text + health % "map: counters, field: packets, below: 0")
    done = as_user(stage, ENOUGH, "apply", stage.file)
    assert done.code == 3, done.err
    assert "rolled back: generation 3 restores generation 1" in done.err
    stage.file.write_text(text + health % "program: count_flows, above: 0")
    done = as_user(stage, ENOUGH, "apply", stage.file)
    assert done.code == 77, done.err
    assert "CAP_SYS_ADMIN" in done.err


@pytest.mark.parametrize("missing", ENOUGH)
def test_each_capability_removed_in_turn(stage: Stage, missing: str) -> None:
    rest = tuple(c for c in ENOUGH if c != missing)
    done = as_user(stage, rest, "apply", stage.file)
    assert done.code == 77, done.err
    assert f"CAP_{missing.upper()} is missing" in done.err
    assert "hint: run as root, or with CAP_BPF" in done.err
    assert not stage.sandbox.pins()
    assert not stage.attached()


def test_with_none_at_all(stage: Stage) -> None:
    done = as_user(stage, (), "apply", stage.file)
    assert done.code == 77
    assert "CAP_BPF is missing" in done.err
    assert "CAP_NET_ADMIN is missing" in done.err


def test_what_needs_more_says_so(stage: Stage) -> None:
    """To find what lost its pin by its id."""
    assert as_user(stage, ENOUGH, "apply", stage.file).code == 0
    stage.kernel.pins.unpin(stage.paths.state_pin("edge", "flows", pin_layout(stage), 1))
    lost = as_user(stage, ENOUGH, "apply", stage.file)
    assert lost.code == 77, lost.err
    assert "CAP_SYS_ADMIN" in lost.err


def test_another_namespace_is_not_entered(stage: Stage) -> None:
    text = stage.file.read_text()
    stage.file.write_text(text.replace("type: xdp", f"type: xdp\n    netns: {stage.sandbox.tx.netns}"))
    elsewhere = as_user(stage, ENOUGH, "apply", stage.file)
    assert elsewhere.code == 77, elsewhere.err
    assert stage.sandbox.tx.netns in elsewhere.err


def test_a_user_s_files_are_not_root_s(stage: Stage) -> None:
    """Root does not load what an ordinary user could change meanwhile."""
    done = stage.run("apply", stage.file, json_too=False)
    assert done.code == 77
    assert f"{stage.file}: belongs to user {USER}" in done.err


def pin_layout(stage: Stage) -> str:
    names = stage.kernel.pins.listdir(stage.paths.state_pins("edge"))
    return next(n.split("-")[1] for n in names if n.startswith("flows-"))


def test_regress_yaml_that_others_write_is_root(stage: Stage) -> None:
    """Whoever can change an object file runs what they like in the kernel: refused, and the old version serves on."""
    assert as_user(stage, ENOUGH, "apply", stage.file).code == 0
    serving = stage.attached()
    layout_changes(stage)
    for path in (stage.file, stage.folder / "v3.bpf.o", stage.folder):
        mode = path.stat().st_mode
        path.chmod(mode | 0o002)
        refused = as_user(stage, ENOUGH, "apply", stage.file)
        assert refused.code == 77, refused.err
        assert f"{path}" in refused.err
        assert "can be written by all users" in refused.err
        assert stage.attached() == serving
        path.chmod(mode)


def test_a_record_directory_that_others_write(stage: Stage) -> None:
    stage.records.chmod(0o777)
    refused = as_user(stage, ENOUGH, "apply", stage.file)
    assert refused.code == 77, refused.err
    assert f"{stage.records}: can be written by all users" in refused.err


def test_regress_a_panic_needs_no_more(stage: Stage) -> None:
    """What serves is found by its pins; by its id only CAP_SYS_ADMIN finds it, which is said once."""
    assert as_user(stage, ENOUGH, "apply", stage.file).code == 0
    done = as_user(stage, ENOUGH, "panic", "edge", "--open")
    assert done.code == 0, done.err
    assert as_user(stage, ENOUGH, "apply", stage.file).code == 0
    (Path(stage.sandbox.bpffs) / "edge/loads/1/progs/count_flows").unlink()
    refused = as_user(stage, ENOUGH, "panic", "edge", "--open")
    assert refused.code == 4
    assert "needs CAP_SYS_ADMIN" in refused.err
    assert stage.run("panic", "edge", "--open").code == 0
