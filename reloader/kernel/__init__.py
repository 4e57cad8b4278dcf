"""What the engine may ask of a kernel: records, enums and Protocols. No I/O but closing a descriptor.

`bpf/live.py` implements the Protocols on the running kernel; nothing else does, as tests run on a real one.
All fallible calls raise errors.KernelError (or LoadRejected). Sizes are bytes, ids are the kernel's.
A leaf beside errors.py.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import field
from enum import IntEnum, StrEnum
from typing import Protocol

from reloader.frozen import frozen
from reloader.kernel.interface_links import InterfaceLinks
from reloader.kernel.traffic_control import TrafficControl


class MapType(IntEnum):
    """enum bpf_map_type, include/uapi/linux/bpf.h."""

    UNSPEC = 0
    HASH = 1
    ARRAY = 2
    PROG_ARRAY = 3
    PERF_EVENT_ARRAY = 4
    PERCPU_HASH = 5
    PERCPU_ARRAY = 6
    STACK_TRACE = 7
    CGROUP_ARRAY = 8
    LRU_HASH = 9
    LRU_PERCPU_HASH = 10
    LPM_TRIE = 11
    ARRAY_OF_MAPS = 12
    HASH_OF_MAPS = 13
    DEVMAP = 14
    SOCKMAP = 15
    CPUMAP = 16
    XSKMAP = 17
    SOCKHASH = 18
    CGROUP_STORAGE = 19
    REUSEPORT_SOCKARRAY = 20
    PERCPU_CGROUP_STORAGE = 21
    QUEUE = 22
    STACK = 23
    SK_STORAGE = 24
    DEVMAP_HASH = 25
    STRUCT_OPS = 26
    RINGBUF = 27
    INODE_STORAGE = 28
    TASK_STORAGE = 29
    BLOOM_FILTER = 30
    USER_RINGBUF = 31
    CGRP_STORAGE = 32
    ARENA = 33
    INSN_ARRAY = 34


ENOTSUPP = 524  # the kernel's own, which no errno.h has: its JIT compiler gave up, or a map does not do that
PERCPU_TYPES = frozenset({MapType.PERCPU_HASH, MapType.PERCPU_ARRAY, MapType.LRU_PERCPU_HASH})
LRU_TYPES = frozenset({MapType.LRU_HASH, MapType.LRU_PERCPU_HASH})
ARRAY_TYPES = frozenset({MapType.ARRAY, MapType.PERCPU_ARRAY})
NESTED_TYPES = frozenset({MapType.ARRAY_OF_MAPS, MapType.HASH_OF_MAPS})
PLAIN_TYPES = frozenset({
    MapType.HASH, MapType.ARRAY, MapType.PERCPU_HASH, MapType.PERCPU_ARRAY,
    MapType.LRU_HASH, MapType.LRU_PERCPU_HASH, MapType.LPM_TRIE,
})  # fmt: skip
"""Maps whose contents are plain bytes that user space can list and write."""


class XdpMode(StrEnum):
    """How XDP sits on an interface; fixed when the link is made."""

    NATIVE = "native"  # XDP_FLAGS_DRV_MODE
    SKB = "skb"  # XDP_FLAGS_SKB_MODE
    HW = "hw"  # only ever observed


class Fd:
    """An owned file descriptor of a program, map, link or BTF object; closing twice is harmless."""

    __slots__ = ("_fd",)

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def fileno(self) -> int:
        if self._fd < 0:
            raise ValueError("file descriptor already closed")
        return self._fd

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __enter__(self) -> Fd:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Fd({self._fd})"


@frozen
class MapInfo:
    """struct bpf_map_info as the kernel fills it; `name` is cut at 15 bytes."""

    id: int
    type: int
    name: str
    key_size: int
    value_size: int
    max_entries: int
    map_flags: int
    btf_id: int = 0
    btf_key_type_id: int = 0
    btf_value_type_id: int = 0


@frozen
class ProgInfo:
    """struct bpf_prog_info, the parts we use; `name` is cut at 15 bytes."""

    id: int
    type: int
    name: str
    tag: str
    map_ids: tuple[int, ...]
    xlated_len: int = 0
    jited_len: int = 0
    verified_insns: int = 0
    run_cnt: int = 0
    run_time_ns: int = 0


@frozen
class LinkInfo:
    """struct bpf_link_info, the parts we use."""

    id: int
    type: int
    prog_id: int
    ifindex: int = 0  # of a link on an interface; 0: it is on none, or the interface is missing
    place_id: int = 0  # the kernel's number for the place: ifindex, id of a cgroup, inode of a network namespace
    attached: bool = True  # False: the link lost its place, and its program does not run


@frozen
class Interface:
    """One interface as rtnetlink shows it, with what sits on its XDP hook."""

    name: str
    ifindex: int
    netns: str  # identity of its network namespace, "<st_dev>:<st_ino>" of the nsfs file
    mtu: int
    xdp_prog_id: int = 0  # 0: nothing attached
    xdp_mode: XdpMode | None = None
    xdp_beside: tuple[tuple[XdpMode, int], ...] = ()  # (mode, program id) of others: one in hardware beside ours


class Presence(StrEnum):
    """Whether the kernel has a feature, as far as trying it could tell."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"  # we may not try it


@frozen
class Feature:
    """One thing that a kernel may lack, and what came of trying it."""

    name: str
    group: str
    purpose: str  # what reloader does with it
    needed: bool  # nothing works without it
    presence: Presence
    why: str = ""  # what the kernel said; empty when it is there


@frozen
class LoadHints:
    """What a program is loaded as, whatever its section is called. Names as in structs/elf/sections.py."""

    program_type: str
    attach_type: str = ""  # expected at load; empty: none


@frozen
class LoadRequest:
    """One loading of objects. More than one object is joined by libbpf's linker first."""

    objects: tuple[bytes, ...]  # the ELF files' contents, already hashed by the caller
    name: str  # object name for libbpf; prefixes internal maps' kernel names
    programs: tuple[str, ...]  # only these are loaded (autoload)
    rodata: Mapping[str, bytes] = field(default_factory=dict)  # variable name -> its whole new value
    max_entries: Mapping[str, int] = field(default_factory=dict)  # map name -> override
    reuse: Mapping[str, Fd] = field(default_factory=dict)  # map name -> live map to use instead of a new one
    omit: tuple[str, ...] = ()  # maps not to create: code that names them must be dead
    metadata: Mapping[str, str] = field(default_factory=dict)  # bound to every program as bpf_metadata_<key>
    hints: Mapping[str, LoadHints] = field(default_factory=dict)  # program name -> instead of what its section says


@frozen
class Loaded:
    """What a load made: the caller owns every Fd. Map names are the ELF's (`.bss`, not `edge.bss`)."""

    progs: Mapping[str, Fd]
    maps: Mapping[str, Fd]

    def close(self) -> None:
        for fd in (*self.progs.values(), *self.maps.values()):
            fd.close()


@frozen
class Ran:
    """What running a program on a packet brought back."""

    verdict: int
    data: bytes  # the packet as the program left it
    ns: float  # mean CPU time of one run, what it costs to begin (some 0.1 ms) included


@frozen
class WeakFolder:
    """A folder of pins that another user could change."""

    path: str
    kind: str  # "owner": it belongs to another; "link": it is one's symbolic link; "writable": others may write to it
    owner: int  # user id
    mode: int  # permission bits


class Pins(Protocol):
    """bpffs paths. pin, unpin, rename, mkdir and rmdir are lasting effects."""

    def is_bpffs(self, path: str) -> bool:
        """Whether `path` (or its nearest existing parent) lies on a bpf filesystem."""

    def pin(self, fd: Fd, path: str) -> None: ...

    def get(self, path: str) -> Fd:
        """A new descriptor for a pinned object; KernelError ENOENT when there is none."""

    def exists(self, path: str) -> bool: ...

    def listdir(self, path: str) -> list[str]:
        """Sorted names; empty when the directory does not exist."""

    def readers(self, folder: str) -> int:
        """The group that may read a folder and every pin in it, as one number; -1: only the owner may; -2: the modes
        of folder and pins differ."""

    def give(self, path: str, group: int, mode: int) -> None:
        """Set group and permission bits of a pin or folder of ours; a missing one is fine. A lasting effect. `group`
        -1: the group of this process."""

    def unpin(self, path: str) -> None:
        """Remove a pin; a missing one is fine."""

    def rename(self, old: str, new: str) -> None:
        """rename(2): atomic, replaces `new`."""

    def mkdir(self, path: str) -> None:
        """Make a directory and its parents, mode 0700; existing ones are fine. KernelError EPERM, as for pin, where
        other users could change one on the way."""

    def weak_folders(self, own: str, names: Sequence[str] = ()) -> tuple[WeakFolder, ...]:
        """Folders that other users could change: from the root of the bpf filesystem to the folder `own`, and its
        sub-folders `names` with all that is in them. What does not exist is not weak."""

    def rmdir(self, path: str) -> None:
        """Remove an empty directory; a missing one is fine."""


class Maps(Protocol):
    """Map contents. Writes to a map that is pinned or in use are lasting effects."""

    def info(self, fd: Fd) -> MapInfo: ...

    def by_id(self, map_id: int) -> Fd: ...

    def create(self, shape: MapInfo) -> Fd:
        """A new, empty map of that type, name, sizes, flags and BTF. Gone with its last user."""

    def memory(self, fd: Fd) -> int:
        """Bytes that the kernel accounts for the map; of a map of maps, those of the maps in it are not among them."""

    def frozen(self, fd: Fd) -> bool: ...

    def freeze(self, fd: Fd) -> None: ...

    def items(self, fd: Fd) -> dict[bytes, bytes]:
        """All entries; of a per-CPU map the value is every possible CPU's, each padded to 8 bytes."""

    def keys(self, fd: Fd, at_most: int) -> Iterator[bytes]:
        """All keys, about `at_most` in a piece, one behind the other. Entries may come and go meanwhile."""

    def pieces(self, fd: Fd, at_most: int) -> Iterator[tuple[bytes, bytes]]:
        """Keys and values, one behind the other each, about `at_most` entries in a piece; as items() otherwise."""

    def filled(self, fd: Fd) -> Iterator[tuple[bytes, bytes]]:
        """The entries of a map of handles, as the kernel shows them: ids of programs and maps, or what a device map
        holds. Where it shows no value (sockets), the keys of hashes with an empty one, and nothing of arrays."""

    def count(self, fd: Fd) -> int:
        """Live entries (max_entries for arrays), without copying values where the kernel allows."""

    def lookup(self, fd: Fd, key: bytes) -> bytes | None: ...

    def update_many(self, fd: Fd, keys: Sequence[bytes], values: Sequence[bytes]) -> None:
        """Insert or replace, in batches where the kernel has them. A value as long as value_size is
        written to every CPU of a per-CPU map."""

    def delete_many(self, fd: Fd, keys: Sequence[bytes]) -> None:
        """Delete; keys already gone are fine."""

    def btf(self, btf_id: int) -> bytes:
        """The raw BTF blob that a map or program was created with."""

    def discard(self, fd: Fd) -> None:
        """Throw away what a ring buffer holds, as a reader that looks at nothing would."""


class Progs(Protocol):
    def load(self, request: LoadRequest) -> Loaded:
        """Open, relocate and load in a child process; LoadRejected carries the verifier's log."""

    def info(self, fd: Fd) -> ProgInfo: ...

    def by_id(self, prog_id: int) -> Fd: ...

    def run(self, fd: Fd, data: bytes, *, cpu: int | None = None) -> int:
        """BPF_PROG_RUN once with `data` (at least 14 bytes) as its packet; the return value. `cpu` None: wherever
        this thread is, which is cheaper, for to move there and back takes two turns of the scheduler."""

    def try_out(self, fd: Fd, data: bytes, *, repeat: int = 1) -> Ran:
        """BPF_PROG_RUN on this CPU, of a program whose maps are scratch: no lasting effect. The verdict does nothing;
        `repeat` runs go over the packet that the one before left."""

    def count_runs(self) -> Fd:
        """While it is open, run_cnt and run_time_ns of all programs of the host count (BPF_ENABLE_STATS)."""

    def metadata(self, prog_id: int) -> dict[str, str]:
        """The bpf_metadata_ strings bound to a program; empty when it has none."""


class Links(InterfaceLinks, TrafficControl, Protocol):
    def create(self, prog: Fd, target: Fd | int, attach_type: str, *, flags: int = 0, netns: str | None = None) -> Fd:
        """Create a bpf_link, held by its descriptor only. `target`: an ifindex in the namespace `netns`, or the
        descriptor that the attach type asks for: of a cgroup, of a network namespace, of a map. AttachRefused."""

    def can_create(self, hints: LoadHints, attach_type: str) -> bool:
        """Return whether this kernel creates such links for programs that are loaded so. Attaches nothing. Not for XDP,
        where the kernel says the same of a missing interface as of an unknown attach type."""

    def detach_program(self, prog: Fd, target: Fd, attach_type: str) -> None:
        """Detach a program that was attached to a descriptor without a link; ENOENT when it is not. Lasting."""

    def programs_at(self, target: Fd, attach_type: str) -> tuple[tuple[int, ...], bool]:
        """Return the ids of all programs at a place that is a descriptor, by link or not, in the order in which they
        run, and whether further ones may be attached (BPF_F_ALLOW_MULTI); what runs at a parent is not among them."""

    def update(self, link: Fd, *, new: Fd, old: Fd) -> None:
        """Compare-and-swap (BPF_F_REPLACE with old_prog_fd): EPERM when `old` is not what runs there,
        ENOLINK when the interface is gone."""

    def detach(self, link: Fd) -> None:
        """Off the hook at once, whoever else holds the link."""

    def all(self) -> Iterator[LinkInfo]:
        """Every link of the machine."""

    def info(self, fd: Fd) -> LinkInfo: ...


class Net(Protocol):
    def interface(self, name: str, netns: str | None) -> Interface | None:
        """The interface of that name in a network namespace (a path; None is the caller's own), or None.
        MissingFeature when the namespace does not exist."""

    def indices(self, names: Collection[str], netns: str | None) -> tuple[str, dict[str, int]]:
        """The identity of a namespace, and the ifindex of those of the named interfaces that are in it. Cheap for
        many names: the namespace is entered once. MissingFeature as above."""

    def counters(self, name: str, netns: str | None) -> dict[str, int]:
        """What the interface and its driver count, by the names of `ip -s link` and `ethtool -S`; those a driver
        keeps for each queue also summed up. MissingFeature when there is no such interface."""

    def stream(self, family: int, netns: str | None) -> Fd:
        """A TCP socket of that address family that belongs to a network namespace, not connected."""

    def xdp_programs(self, netns: str | None) -> set[int]:
        """Kernel ids of the programs on XDP hooks of a namespace, by link or not. MissingFeature as above."""

    def changes(self, netns: str | None) -> LinkChanges:
        """Changes of a namespace's interfaces from now on; the caller closes it. MissingFeature as above."""


class LinkChanges(Protocol):
    """rtnetlink events of one namespace."""

    def fileno(self) -> int:
        """For poll(2)."""

    def read(self) -> Sequence[object]:
        """What happened since the last call; does not wait. Events that were lost count as one."""

    def close(self) -> None: ...


class Kernel(Protocol):
    """All of it; engine functions take this and nothing else from below."""

    @property
    def pins(self) -> Pins: ...
    @property
    def maps(self) -> Maps: ...
    @property
    def progs(self) -> Progs: ...
    @property
    def links(self) -> Links: ...
    @property
    def net(self) -> Net: ...

    def possible_cpus(self) -> int:
        """How many values an entry of a per-CPU map has."""

    def holders(self, kind: str, number: int) -> tuple[str, ...]:
        """Who keeps the program, map or link ("prog", "map", "link") of that id: processes and pins, in words. Slow."""

    def boot_id(self) -> str:
        """/proc/sys/kernel/random/boot_id."""

    def features(self) -> tuple[Feature, ...]:
        """What this kernel has, each thing tried in a child process and a network namespace of its own."""

    def capabilities(self) -> frozenset[str]:
        """Those of CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON and CAP_SYS_ADMIN that are effective."""

    def barrier(self) -> None:
        """Return once no program instance that was running at the call still runs (non-sleepable ones)."""
