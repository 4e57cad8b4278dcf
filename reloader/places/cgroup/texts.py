"""What reloader says of places on cgroups."""

from __future__ import annotations

from reloader.wording.message import Text

# names
PLACEHOLDER = Text(
    "placeholder", "{name!r} is a placeholder", hint="write a path below the cgroup2 mount: `systemd-cgls` lists them"
)
OUTSIDE = Text("cgroup-outside", "{name!r} leads out of the cgroup2 mount", hint="write the path without `..`")
TOO_LONG = Text(
    "cgroup-too-long",
    "the name of the link's pin would have {length} characters, and a bpf file system takes {most}",
    hint="attach to a cgroup further up, or write the path relative to the cgroup2 mount",
)

# looks
NO_LINKS = Text("cgroup-links-missing", "this kernel does not have links for {hook} on cgroups (CONFIG_CGROUP_BPF)")
MISSING = Text(
    "cgroup-missing",
    "no cgroup {cgroup!r}",
    hint="make the cgroup again, then `reloader apply FILE`; or change the YAML",
)
NOT_MOUNTED = Text(
    "cgroup2-not-mounted",
    "no cgroup {cgroup!r}: the cgroup2 file system is not mounted",
    hint="`mount -t cgroup2 none /sys/fs/cgroup/unified`, then `reloader apply FILE`",
)
NOT_A_CGROUP = Text(
    "not-a-cgroup",
    "{cgroup!r} is not a cgroup in a cgroup2 file system",
    hint="write a path below the mount that `findmnt -t cgroup2` shows, or one relative to it",
)
HELD_EXCLUSIVELY = Text(
    "hook_exclusive",
    "the program at cgroup {cgroup!r} does not let others run beside it",
    hint="`bpftool cgroup tree` lists it: whoever attached it has to attach it with `multi`",
)
ELSEWHERE = Text(
    "link-elsewhere",
    "our link is attached to cgroup id {id}, which is no longer {cgroup!r}",
    hint="`reloader apply FILE` again once the old cgroup is gone: open sockets of its processes keep it",
)
RECREATED = Text(
    "cgroup-recreated",
    "the cgroup was made again, and nothing of ours is attached to it",
    hint="`reloader apply FILE` attaches it again",
)
REPLACED = Text("cgroup-replaced", "{cgroup} is another cgroup now")

# others
STAYS = Text("not-a-link-of-ours", "--take-over does not remove programs from a cgroup")

# refused attachments
REFUSED = Text("refused", "attachment {attachment}: cgroup {cgroup!r} refused program {program}: {why} ({errno})")
REMOVED = Text(
    "refused-removed", "it was removed since the plan was made", hint="make the cgroup again, then apply again"
)
EXCLUSIVE = Text(
    "refused-exclusive",
    "a program is attached to it, or to a cgroup above it, that does not let others run beside it",
    hint="`bpftool cgroup tree` lists it: whoever attached it has to attach it with `multi`",
)
FULL = Text(
    "refused-full",
    "it has as many programs as the kernel takes",
    hint="let others detach theirs: `bpftool cgroup tree` lists them",
)
NOT_TAKEN = Text(
    "refused-by-kernel", "the kernel refused it", hint="`reloader doctor --features` shows what this kernel has"
)

# a panic
PANIC_OPEN = Text("panic-open", "every connect() is allowed")
PANIC_CLOSED = Text("panic-closed", "every connect() is refused")
