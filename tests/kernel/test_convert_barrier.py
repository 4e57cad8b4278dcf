"""An old program that is inside while the drain is due: what it still counts must arrive. The barrier sees to it, and
without it the count is lost.
"""

from __future__ import annotations

import mmap
import os
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bench.entries import NEW, OLD, conversion
from lab.sandbox import Sandbox
from reloader.bpf.live import LiveKernel
from reloader.engine.execute import execute
from reloader.engine.workspace import Workspace
from reloader.kernel import LoadRequest, MapInfo, MapType
from reloader.kernel.host import Host
from reloader.paths import Paths
from reloader.plan import ops
from tests.support import faults

pytestmark = pytest.mark.kernel

SOURCE = Path(__file__).with_name("bpf") / "slow_count.bpf.c"
KEY = bytes(16)
BEFORE = 41  # packets


@pytest.fixture
def drained(sandbox: Sandbox, compile_bpf: Callable[[str | Path], Path]) -> Iterator[Callable[[], int]]:
    """drained(): drain while the old program is in the middle of a packet; packets in the new map once it is out."""
    kernel = LiveKernel()
    request = LoadRequest(objects=(compile_bpf(SOURCE).read_bytes(),), name="slow", programs=("count_slowly",))
    loaded = kernel.progs.load(request)
    shape = MapInfo(
        id=0, type=MapType.HASH, name="flows", key_size=16, value_size=NEW, max_entries=16, map_flags=0
    )  # fmt: skip
    old, new = f"{sandbox.bpffs}/old", f"{sandbox.bpffs}/new"
    paths = Paths(bpffs=sandbox.bpffs, records=sandbox.records)
    bench = Workspace(host=Host(kernel=kernel, paths=paths), pipeline="edge", wish=None)
    target = kernel.maps.create(shape)
    variables = mmap.mmap(loaded.maps[".bss"].fileno(), mmap.PAGESIZE)

    def drain() -> int:
        kernel.maps.update_many(loaded.maps["flows"], [KEY], [struct.pack("=2Q", BEFORE, 0).ljust(OLD, b"\0")])
        kernel.pins.pin(loaded.maps["flows"], old)
        kernel.pins.pin(target, new)
        last = max(os.sched_getaffinity(0))
        packet = threading.Thread(target=lambda: kernel.progs.run(loaded.progs["count_slowly"], bytes(64), cpu=last))
        packet.start()
        while not any(variables[:8]) and packet.is_alive():
            time.sleep(0.001)
        assert packet.is_alive(), "it was too quick for this test"
        execute(bench, ops.Drain(map="flows", source=old, target=new, rules=conversion()))
        variables[8:16] = (1).to_bytes(8, "little")
        packet.join()
        return int(struct.unpack("=4Q", kernel.maps.lookup(target, KEY) or b"")[2])

    yield drain
    variables.close()
    for pin in (old, new):
        kernel.pins.unpin(pin)
    target.close()
    loaded.close()


def test_what_an_old_program_still_counts_arrives(drained: Callable[[], int]) -> None:
    assert drained() == BEFORE + 1


def test_sabotage_no_barrier_turns_the_check_red(drained: Callable[[], int], monkeypatch: pytest.MonkeyPatch) -> None:
    faults.no_barrier(monkeypatch)
    assert drained() == BEFORE, "nothing was lost"
