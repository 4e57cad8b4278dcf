"""`reloader watch` hears of interfaces by rtnetlink: at once, and after an overflow too.

The look that the loop takes by itself every few seconds is put off for an hour here, so that only events can wake it.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab.sandbox import Sandbox, run
from tests.kernel.test_watch import Watch

pytestmark = pytest.mark.kernel
NO_SWEEP = """\
import sys
from reloader import cli
from reloader.daemon import loop
loop.SWEEP = 3600.0
{more}
sys.exit(cli.main(sys.argv[1:]))
"""
DEAF = "from reloader.daemon.place_events import PlaceEvents as Events; Events.point_at = lambda self, wakes: False"


@pytest.fixture
def watch(sandbox: Sandbox, objects: Callable[[str], Path], tmp_path: Path) -> Iterator[Watch]:
    one = Watch(sandbox, objects, tmp_path)
    one.file.write_text(one.text(interface="eph0"))
    make(one)
    yield one
    one.close()


def make(watch: Watch) -> None:
    run("ip", "-n", watch.sandbox.rx.name, "link", "add", "eph0", "type", "veth", "peer", "name", "eph1")


def unmake(watch: Watch) -> None:
    run("ip", "-n", watch.sandbox.rx.name, "link", "del", "eph0")


def attached(watch: Watch) -> int:
    found = watch.kernel.net.interface("eph0", watch.sandbox.rx.netns)
    assert found
    return found.xdp_prog_id


def test_a_recreated_interface_is_attached_again_at_once(watch: Watch) -> None:
    watch.start(NO_SWEEP.format(more=""))
    for generation in (2, 3):
        unmake(watch)
        watch.hears("edge.yaml: ")
        make(watch)
        watch.hears(f"edge: generation {generation} is live")
        assert attached(watch)
    watch.stop()


def test_recreated_between_two_looks(watch: Watch) -> None:
    """Gone and back before anybody looked: only the dead link tells."""
    watch.start(NO_SWEEP.format(more=""))
    watch.send(signal.SIGSTOP)
    unmake(watch)
    make(watch)
    watch.send(signal.SIGCONT)
    watch.hears("edge: generation 2 is live")
    assert attached(watch)
    watch.stop()


def test_regress_a_lost_event_means_a_look_at_everything(watch: Watch) -> None:
    """Trap: rtnetlink overflow (ENOBUFS) loses the event."""
    watch.start(NO_SWEEP.format(more=""))
    watch.send(signal.SIGSTOP)
    names = [f"f{n}" for n in range(40)]
    made = [f"link add {name} type veth peer name {name}p" for name in names]
    turned = [f"link set {name} mtu {1400 + n % 50}" for n in range(60) for name in names]
    run("ip", "-n", watch.sandbox.rx.name, "-batch", "-", text="\n".join([*made, *turned]))
    unmake(watch)
    make(watch)
    watch.send(signal.SIGCONT)
    watch.hears("edge: generation 2 is live")
    assert attached(watch)
    watch.stop()


def test_who_hears_nothing_does_nothing(watch: Watch) -> None:
    """The sabotage: without events the same change goes unnoticed."""
    watch.start(NO_SWEEP.format(more=DEAF))
    unmake(watch)
    make(watch)
    watch.stays_quiet(1.0)
    assert not attached(watch)
    watch.stop()


def test_a_place_without_a_wake_up_is_looked_at(watch: Watch) -> None:
    """As cgroups will be: the loop looks every few seconds by itself."""
    mute = "from reloader.places.interface.xdp import Xdp; Xdp.wake = lambda self: None; loop.SWEEP = 0.3"
    watch.start(NO_SWEEP.format(more=mute))
    unmake(watch)
    make(watch)
    watch.hears("edge: generation 2 is live")
    assert attached(watch)
    watch.stop()


def test_a_namespace_made_anew_is_listened_in(sandbox: Sandbox, watch: Watch) -> None:
    """Our ear does not keep the old one alive, and hears in the new one."""
    name = f"{sandbox.name}-x"
    run("ip", "netns", "add", name)
    try:
        run("ip", "-n", name, "link", "add", "eph0", "type", "veth", "peer", "name", "eph1")
        text = watch.file.read_text().replace(sandbox.rx.netns, f"/run/netns/{name}")
        watch.file.write_text(text)
        watch.start()
        run("ip", "netns", "del", name)
        watch.hears("edge.yaml: ")
        run("ip", "netns", "add", name)
        run("ip", "-n", name, "link", "add", "eph0", "type", "veth", "peer", "name", "eph1")
        watch.hears("edge: generation 2 is live")
        watch.stop()
    finally:
        subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)
        shutil.rmtree(watch.folder, ignore_errors=True)
