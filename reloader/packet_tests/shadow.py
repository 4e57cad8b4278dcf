"""A load of a wish with maps of its own, for tests: same objects, constants and listed entries; state starts empty.

Nothing of it is pinned, attached or shared, so it goes with its descriptors. Used by packet_tests/run.py.
"""

from __future__ import annotations

from collections.abc import Callable

from reloader.config_maps.entry_changes import split_records
from reloader.kernel import PLAIN_TYPES, Fd, Kernel, Loaded, LoadRequest, MapType
from reloader.pipeline.tests.cases import Seed
from reloader.pipeline.wish import Wish, WishMap
from reloader.places import load_hints
from reloader.structs.tree import layout_digest

Blobs = Callable[[str, str], bytes]  # (kind, digest) -> contents

HANDLES = frozenset({
    MapType.PROG_ARRAY, MapType.PERF_EVENT_ARRAY, MapType.DEVMAP, MapType.DEVMAP_HASH, MapType.CPUMAP,
    MapType.XSKMAP, MapType.SOCKMAP, MapType.SOCKHASH, MapType.CGROUP_ARRAY, MapType.REUSEPORT_SOCKARRAY,
})  # fmt: skip
"""Maps of a load that a program run on a packet cannot change."""
ONE_WAY = 1 << 3 | 1 << 4  # BPF_F_RDONLY, BPF_F_WRONLY: not for user space to write, or to read


class Shadow:
    """One such load, for so many `uses` of fresh(). Close it."""

    def __init__(self, kernel: Kernel, wish: Wish, blobs: Blobs, *, uses: int) -> None:
        self.kernel, self.wish = kernel, wish
        self._blobs = blobs
        self._wiped = all(map(_can_be_wiped, wish.maps)) and uses > 1  # one use leaves nothing to be wiped for
        self._used = False
        self._start()

    def _start(self) -> None:
        self.loaded: Loaded = self.kernel.progs.load(request_of(self.wish, self._blobs))
        try:
            for wanted in self.wish.maps:
                if wanted.entries and wanted.entries.count:
                    data = self._blobs("entries", wanted.entries.digest)
                    entries = split_records(data, wanted.key_size, wanted.value_size)
                    self.kernel.maps.update_many(self.map(wanted.name), list(entries), list(entries.values()))
            self._base = {m.name: self.items(m.name) for m in self._plain()} if self._wiped else {}
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self.loaded.close()

    def __enter__(self) -> Shadow:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def program(self, name: str) -> Fd:
        return self.loaded.progs[name]

    def map(self, name: str) -> Fd:
        return self.loaded.maps[name]

    def items(self, name: str) -> dict[bytes, bytes]:
        return self.kernel.maps.items(self.map(name))

    def plant(self, seed: Seed, like: Wish | None = None) -> None:
        """Put a test's entries into a map, on every CPU where it has values for each. `like`: the wish the seed was
        made for; where this one's map is laid out otherwise, it gets none."""
        wanted = next((m for m in self.wish.maps if m.name == seed.map), None)
        if wanted is None or (like and _layout(wanted) != _layout(like.map(seed.map))):
            return
        entries = split_records(seed.records, wanted.key_size, wanted.value_size)
        self.kernel.maps.update_many(self.map(seed.map), list(entries), list(entries.values()))

    def fresh(self) -> None:
        """As it was right after the load, for the next test."""
        if not self._used:
            self._used = True
        elif self._wiped:
            self._wipe()
        else:
            self.close()
            self._start()

    def _plain(self) -> list[WishMap]:
        return [m for m in self.wish.maps if m.type in PLAIN_TYPES and m.name in self.loaded.maps]

    def _wipe(self) -> None:
        maps = self.kernel.maps
        for wanted in self._plain():
            base, now, fd = self._base[wanted.name], self.items(wanted.name), self.map(wanted.name)
            maps.delete_many(fd, [k for k in now if k not in base])
            changed = {k: v for k, v in base.items() if now.get(k) != v}
            maps.update_many(fd, list(changed), list(changed.values()))
        for wanted in self.wish.maps:
            if wanted.type == MapType.RINGBUF:
                maps.discard(self.map(wanted.name))


def _layout(wanted: WishMap) -> str:
    return layout_digest(wanted.key, wanted.value)


def _can_be_wiped(wanted: WishMap) -> bool:
    """Whether what a program did to it can be undone from user space; else each test has a load of its own."""
    plain = wanted.type in PLAIN_TYPES and not wanted.map_flags & ONE_WAY
    return plain or wanted.type in HANDLES or wanted.type == MapType.RINGBUF


def request_of(wish: Wish, blobs: Blobs) -> LoadRequest:
    """Nothing reused, and no metadata: whoever looks for our programs by it must not find these."""
    return LoadRequest(
        objects=tuple(blobs("objects", o.digest) for o in wish.objects),
        name=wish.pipeline.replace("-", "_"),
        programs=wish.programs,
        rodata=wish.rodata,
        max_entries={m.name: m.max_entries for m in wish.maps if m.max_entries and not m.name.startswith(".")},
        omit=wish.engine_maps,
        hints=load_hints(wish.attachments),
    )
