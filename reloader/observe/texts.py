"""The words of this room: why the kernel cannot be looked at."""

from __future__ import annotations

from reloader.wording.message import Text

# pipeline

NOT_BPFFS = Text(
    "not-bpffs",
    "{path} is not on a bpf filesystem",
    hint="mount one (mount -t bpf bpf /sys/fs/bpf), or name a folder below a mounted one with --bpffs DIR",
)
NOT_PERMITTED = Text(
    "not-permitted",
    "not permitted: {why}",
    hint="run as root, or with CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON",
)
OBJECT_NOT_FOUND = Text(
    "object-not-found",
    "a pin is missing, and this process may not look whether {kind} {id} is still in use",
    hint="only CAP_SYS_ADMIN finds objects by their ids: run `reloader apply FILE` as root once",
)
