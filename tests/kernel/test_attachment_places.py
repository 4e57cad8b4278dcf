"""Names move: an interface or a namespace of the wished name is another one than our link sits on."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from lab.sandbox import run
from reloader.engine.execute import execute, take_back
from reloader.engine.workspace import Workspace
from reloader.errors import KernelError
from reloader.kernel.host import Host
from reloader.observe.in_force import in_force
from reloader.paths import Paths
from reloader.plan import ops
from reloader.store import records
from tests.kernel.test_main_job import Stage, stage

pytestmark = pytest.mark.kernel
__all__ = ["stage"]

TWO_STEPS = "`reloader remove edge` (state stays parked), then apply; nothing runs there in between"


def problems(stage: Stage) -> list[str]:
    found: list[str] = stage.call("status")["pipelines"][0]["problems"]
    return found


def stands(stage: Stage) -> bool:
    """What the short check says of the very YAML that was applied."""
    current = records.read_current(layout_of(stage), "edge")
    assert current is not None
    return in_force(Host(kernel=stage.kernel, paths=layout_of(stage)), "edge", current.wish) > 0


def layout_of(stage: Stage) -> Paths:
    return Paths(bpffs=stage.sandbox.bpffs, records=stage.sandbox.records)


def test_an_interface_renamed_and_its_name_given_to_another(stage: Stage) -> None:
    stage.apply("v1")
    rx = stage.sandbox.rx
    assert stands(stage)
    rx.run("ip", "link", "set", rx.interface, "down")
    rx.run("ip", "link", "set", rx.interface, "name", "was0")
    rx.run("ip", "link", "add", rx.interface, "type", "veth", "peer", "name", "peer0")
    assert not stands(stage)
    assert "our link is attached to interface" in problems(stage)[0]
    detail = stage.apply("v1", code=65)["error"]["detail"]
    assert "our link is attached to interface" in detail
    assert TWO_STEPS in detail
    was = stage.kernel.net.interface("was0", rx.netns)
    assert was is not None
    assert was.xdp_prog_id, "the refusal took the program off the renamed interface"
    stage.call("remove", "edge")
    stage.apply("v1")
    assert stage.attached()
    rx.run("ip", "link", "delete", "was0")


def test_a_namespace_made_anew_while_the_old_one_lives(stage: Stage) -> None:
    stage.apply("v1")
    rx = stage.sandbox.rx
    there = stage.kernel.net.interface(rx.interface, rx.netns)
    assert there is not None
    old = os.open(rx.netns, os.O_RDONLY)
    try:
        run("ip", "netns", "delete", rx.name)
        run("ip", "netns", "add", rx.name)
        assert not stands(stage)
        words = f"link add {rx.interface} index {there.ifindex} type veth peer name peer0 index 99"
        rx.run("ip", *words.split())
        assert not stands(stage)
        assert "our link is attached to interface" in problems(stage)[0]
        assert "our link is attached to interface" in stage.apply("v1", code=65)["error"]["detail"]
    finally:
        os.close(old)


def test_a_live_link_is_never_unpinned_to_make_another(stage: Stage) -> None:
    """Were the plan out of date, neither the op nor its undo may take the running link away."""
    stage.apply("v1")
    paths = layout_of(stage)
    generation = records.read_generation(paths, "edge", 1)
    attachment = generation.wish.attachments[0]
    pin = paths.link_pin("edge", attachment.id)
    bench = Workspace(host=Host(kernel=stage.kernel, paths=paths), pipeline="edge", wish=generation.wish)
    serving = stage.attached()
    op = ops.CreateLink(attachment=attachment, program=paths.prog_pin("edge", 1, "count_flows"), path=pin)
    with pytest.raises(KernelError) as caught:
        execute(bench, op)
    assert caught.value.errno == errno.EBUSY
    rx = stage.sandbox.rx
    rx.run("ip", "link", "set", rx.interface, "down")
    rx.run("ip", "link", "set", rx.interface, "name", "was0")
    take_back(bench, op)
    assert stage.kernel.pins.exists(pin)
    rx.run("ip", "link", "set", "was0", "name", rx.interface)
    assert stage.attached() == serving


def test_one_interface_by_two_names_of_its_namespace(stage: Stage, tmp_path: Path) -> None:
    """The pipeline itself sits there: said, with the way out. /var/run is /run, so that is no other name."""
    stage.apply("v1")
    rx = stage.sandbox.rx
    text = stage.file.read_text()
    stage.file.write_text(text.replace("/run/netns/", "/var/run/netns/"))
    assert stage.call("plan", stage.file)["pipelines"][0]["changes"] is False
    alias = tmp_path / "alias"
    alias.symlink_to(rx.netns)
    stage.file.write_text(text.replace(rx.netns, str(alias)))
    detail = stage.call("apply", stage.file, code=65)["error"]["detail"]
    assert f"the same place as xdp:{rx.interface}@{rx.name} of this pipeline" in detail
    assert TWO_STEPS in detail
    stage.file.write_text(text)
