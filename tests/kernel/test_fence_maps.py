"""Map contents in bulk on the real kernel, type by type."""

from __future__ import annotations

import errno
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from reloader import fault_points
from reloader.bpf import syscall
from reloader.bpf.maps import LiveMaps
from reloader.bpf.syscall import Command
from reloader.errors import KernelError
from reloader.kernel import ARRAY_TYPES, PERCPU_TYPES, Fd, MapType
from tests.support import faults

pytestmark = pytest.mark.kernel

ROOT = Path(__file__).resolve().parents[2]
BPF_F_NO_PREALLOC = 1
KEYED = [
    MapType.HASH, MapType.PERCPU_HASH, MapType.LRU_HASH, MapType.LRU_PERCPU_HASH, MapType.LPM_TRIE,
]  # fmt: skip
SOME = 500

Create = Callable[..., Fd]


@pytest.fixture
def maps() -> LiveMaps:
    return LiveMaps()


@pytest.fixture
def create() -> Iterator[Create]:
    made: list[Fd] = []

    def one(kind: MapType, *, entries: int = 4096, key_size: int = 8, value_size: int = 8, flags: int = 0) -> Fd:
        if kind == MapType.LPM_TRIE:
            flags |= BPF_F_NO_PREALLOC
        if kind in ARRAY_TYPES:
            key_size = 4
        made.append(
            Fd(syscall.map_create(
                kind=kind, name="fence", key_size=key_size, value_size=value_size, max_entries=entries, flags=flags
            ))
        )  # fmt: skip
        return made[-1]

    yield one
    for fd in made:
        fd.close()


def keys_of(kind: MapType, count: int) -> list[bytes]:
    if kind in ARRAY_TYPES:
        return [struct.pack("=I", i) for i in range(count)]
    if kind == MapType.LPM_TRIE:
        return [struct.pack("=I", 32) + struct.pack("!I", i) for i in range(count)]
    return [struct.pack("=Q", i) for i in range(count)]


def values_of(count: int) -> list[bytes]:
    return [struct.pack("=Q", i * 3 + 1) for i in range(count)]


def everywhere(kind: MapType, value: bytes) -> bytes:
    return value * syscall.possible_cpus() if kind in PERCPU_TYPES else value


@pytest.fixture(params=["batch", "singly"])
def ways(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """With batches, and as on a map type or kernel without them."""
    if request.param == "singly":
        refused = syscall.BatchResult(errno=syscall.ENOTSUPP, done=SOME)
        faults.inject(monkeypatch, "bpf batch", lambda *_, **__: refused)
    return str(request.param)


@pytest.mark.usefixtures("ways")
@pytest.mark.parametrize("kind", [*KEYED, *ARRAY_TYPES], ids=lambda kind: kind.name)
def test_write_read_delete(maps: LiveMaps, create: Create, kind: MapType) -> None:
    fd = create(kind, entries=SOME if kind in ARRAY_TYPES else 4096)
    keys, values = keys_of(kind, SOME), values_of(SOME)
    maps.update_many(fd, keys, values)
    wanted = {k: everywhere(kind, v) for k, v in zip(keys, values, strict=True)}
    assert maps.items(fd) == wanted
    assert maps.count(fd) == SOME
    assert maps.lookup(fd, keys[7]) == wanted[keys[7]]
    if kind in ARRAY_TYPES:
        return
    maps.delete_many(fd, keys[: SOME // 2])
    assert maps.items(fd) == {k: wanted[k] for k in keys[SOME // 2 :]}
    assert maps.lookup(fd, keys[0]) is None


@pytest.mark.usefixtures("ways")
def test_deleting_what_is_gone_is_fine(maps: LiveMaps, create: Create) -> None:
    fd = create(MapType.HASH)
    keys = keys_of(MapType.HASH, 100)
    maps.update_many(fd, keys[::3], values_of(34))
    maps.delete_many(fd, keys)
    assert maps.items(fd) == {}
    maps.delete_many(fd, keys)


@pytest.mark.usefixtures("ways")
def test_empty_maps_and_empty_batches(maps: LiveMaps, create: Create) -> None:
    fd = create(MapType.HASH)
    maps.update_many(fd, [], [])
    maps.delete_many(fd, [])
    assert maps.items(fd) == {}
    assert maps.count(fd) == 0


@pytest.mark.usefixtures("ways")
def test_a_full_map_says_which_entry(maps: LiveMaps, create: Create) -> None:
    fd = create(MapType.HASH, entries=10)
    with pytest.raises(KernelError, match="fence, entry 11") as caught:
        maps.update_many(fd, keys_of(MapType.HASH, 20), values_of(20))
    assert caught.value.errno == errno.E2BIG
    assert maps.count(fd) == 10


def test_several_batches(maps: LiveMaps, create: Create, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading in pieces smaller than a bucket grows them; writing in pieces writes all of them."""
    faults.inject(monkeypatch, "map chunk", 32)
    fd = create(MapType.HASH)
    keys, values = keys_of(MapType.HASH, SOME), values_of(SOME)
    maps.update_many(fd, keys, values)
    assert maps.items(fd) == dict(zip(keys, values, strict=True))
    maps.delete_many(fd, keys)
    assert maps.count(fd) == 0


def test_busy_buckets_are_tried_again(maps: LiveMaps, create: Create, monkeypatch: pytest.MonkeyPatch) -> None:
    def busy_at_first(command: Command, fd: int, *, count: int, **words: int) -> syscall.BatchResult:
        calls.append(count)
        if command == Command.BPF_MAP_UPDATE_BATCH and len(calls) % 2:  # one element, then busy; or none
            done = batch(command, fd, count=1, **words).done if len(calls) == 1 else count
            return syscall.BatchResult(errno=errno.EBUSY, done=done)
        return batch(command, fd, count=count, **words)

    calls: list[int] = []
    batch = syscall.map_batch
    faults.inject(monkeypatch, "bpf batch", busy_at_first)
    fd = create(MapType.HASH)
    keys, values = keys_of(MapType.HASH, 10), values_of(10)
    maps.update_many(fd, keys, values)
    assert calls == [10, 9]
    assert maps.items(fd) == dict(zip(keys, values, strict=True))
    faults.inject(monkeypatch, "bpf batch", lambda *_, count, **__: syscall.BatchResult(errno=errno.EBUSY, done=count))
    with pytest.raises(KernelError, match="EBUSY"):
        maps.update_many(fd, keys, values)


def test_values_for_one_cpu_each(maps: LiveMaps, create: Create) -> None:
    """A value as long as all CPUs' is written as it is; odd sizes are padded to eight bytes."""
    fd = create(MapType.PERCPU_ARRAY, entries=1, value_size=5)
    cpus = syscall.possible_cpus()
    each = b"".join(bytes([cpu] * 5) + bytes(3) for cpu in range(cpus))
    maps.update_many(fd, [bytes(4)], [each])
    assert maps.items(fd) == {bytes(4): each}
    maps.update_many(fd, [bytes(4)], [b"hello"])
    assert maps.lookup(fd, bytes(4)) == (b"hello" + bytes(3)) * cpus


@pytest.mark.parametrize(("key", "value"), [(7, 8), (9, 8), (8, 7), (8, 9), (8, 0)])
def test_sizes_are_checked_before_the_kernel_reads(maps: LiveMaps, create: Create, key: int, value: int) -> None:
    fd = create(MapType.HASH)
    with pytest.raises(KernelError, match="EINVAL"):
        maps.update_many(fd, [bytes(8), bytes(key)], [bytes(8), bytes(value)])
    assert maps.count(fd) == 0


def test_keys_without_values(maps: LiveMaps, create: Create) -> None:
    with pytest.raises(KernelError, match="EINVAL"):
        maps.update_many(create(MapType.HASH), keys_of(MapType.HASH, 2), values_of(1))


def test_frozen(maps: LiveMaps, create: Create) -> None:
    fd = create(MapType.HASH)
    assert not maps.frozen(fd)
    maps.freeze(fd)
    assert maps.frozen(fd)
    with pytest.raises(KernelError, match="EPERM"):
        maps.update_many(fd, [bytes(8)], [bytes(8)])


def test_by_id(maps: LiveMaps, create: Create) -> None:
    fd = create(MapType.LRU_HASH)
    info = maps.info(fd)
    assert (info.type, info.name, info.key_size, info.max_entries) == (MapType.LRU_HASH, "fence", 8, 4096)
    with maps.by_id(info.id) as again:
        assert maps.info(again) == info
    with pytest.raises(KernelError, match=r"BPF_MAP_GET_FD_BY_ID 4294967295: .*ENOENT"):
        maps.by_id(0xFFFFFFFF)


def test_a_type_that_cannot_be_listed(maps: LiveMaps, create: Create) -> None:
    with pytest.raises(KernelError):
        maps.items(create(MapType.QUEUE, key_size=0))


def test_reading_while_others_write(maps: LiveMaps, create: Create) -> None:
    """What stays is found once; that others come and go makes no error."""
    fd = create(MapType.HASH, entries=20_000)
    stable = keys_of(MapType.HASH, 2000)
    maps.update_many(fd, stable, values_of(2000))
    passing = [struct.pack("=Q", 1 << 40 | i) for i in range(2000)]
    stop = threading.Event()

    def churn() -> None:
        while not stop.is_set():
            maps.update_many(fd, passing, values_of(2000))
            maps.delete_many(fd, passing)

    writer = threading.Thread(target=churn)
    writer.start()
    try:
        for _ in range(20):
            assert maps.items(fd).keys() >= set(stable)
    finally:
        stop.set()
        writer.join()


def test_walking_ends_though_keys_vanish(maps: LiveMaps, create: Create, monkeypatch: pytest.MonkeyPatch) -> None:
    faults.inject(monkeypatch, "bpf next key", lambda *_: bytes(8))  # as if it started over for ever
    faults.inject(monkeypatch, "bpf batch", lambda *_, **__: syscall.BatchResult(errno=syscall.ENOTSUPP, done=0))
    with pytest.raises(KernelError, match="changes faster than it reads"):
        maps.items(create(MapType.HASH, entries=10))


def test_each_batch_is_one_effect(maps: LiveMaps, create: Create) -> None:
    seen: list[tuple[str, str]] = []
    fd = create(MapType.HASH)
    fault_points.install(lambda when, name: seen.append((when, name)))
    try:
        maps.update_many(fd, keys_of(MapType.HASH, 10), values_of(10))
        maps.delete_many(fd, keys_of(MapType.HASH, 10))
        maps.items(fd)
        maps.freeze(fd)
    finally:
        fault_points.install(None)
    names = ["map.update fence", "map.delete fence", "map.freeze fence"]
    assert seen == [(when, name) for name in names for when in ("before", "after")]


@pytest.mark.alone
def test_many_entries_take_what_the_kernel_needs(maps: LiveMaps, create: Create) -> None:
    """200,000 entries: far from a system call an entry, in either direction."""
    count = 200_000
    fd = create(MapType.HASH, entries=count, key_size=8, value_size=8)
    keys, values = keys_of(MapType.HASH, count), values_of(count)
    start = time.monotonic()
    maps.update_many(fd, keys, values)
    assert len(maps.items(fd)) == count
    assert time.monotonic() - start < 2.0  # about 0.15 s when nobody else is on the machine


def test_no_privilege_is_told_as_such() -> None:
    """Without capabilities bpf(2) says EPERM, and so do we."""
    code = (
        "import os\n"
        "from reloader.bpf import syscall\n"
        "from reloader.errors import KernelError\n"
        "os.setuid(65534)\n"
        "try: syscall.map_create(kind=1, name='x', key_size=4, value_size=4, max_entries=1)\n"
        "except KernelError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == "BPF_MAP_CREATE x: Operation not permitted (EPERM)\n"
