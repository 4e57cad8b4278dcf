"""What reloader says of places on network interfaces."""

from __future__ import annotations

from reloader.wording.message import Text

# names
PLACEHOLDER = Text("placeholder", "{name!r} is a placeholder", hint="write the name that `{command}` shows")
PATTERN = Text(
    "pattern",
    "{name!r} is a pattern, and reloader does not expand patterns",
    hint="write one attachment for each, by the name that `{command}` shows",
)

# looks
NO_TCX = Text("tcx-missing", "this kernel does not have links on traffic control (tcx, Linux 6.6)")
INTERFACE_MISSING = Text(
    "interface-missing",
    "interface {interface!r} is missing",
    hint="bring the interface back, then `reloader apply FILE`; or change the YAML",
)
INTERFACE_MISSING_IN = Text(
    "interface-missing-in-namespace",
    "interface {interface!r} is missing in {netns}",
    hint="bring the interface back, then `reloader apply FILE`; or change the YAML",
)
NAMESPACE_MISSING = Text(
    "namespace-missing",
    "interface {interface!r} is missing: the network namespace {netns} does not exist",
    hint="make the namespace again with its interfaces, then `reloader apply FILE`",
)
ELSEWHERE = Text(
    "link-elsewhere",
    "our link is attached to interface {ifindex}, which is no longer {place}",
    hint="rename the interface back; or remove the pipeline with `reloader remove PIPELINE`, then apply it",
)
RECREATED = Text(
    "interface-recreated",
    "the interface was recreated, and nothing of ours is attached to it",
    hint="`reloader apply FILE` attaches it again",
)
RENAMED = Text("interface-renamed", "{interface} is another interface now")
MODE_FIXED = Text(
    "mode-fixed",
    "the mode of a link cannot change ({mode} now); remove the attachment first",
)

# others
BY_LINK = Text("attached-by-link", "by bpf_link {link}, held by {holders}")
BY_NETLINK = Text("attached-by-netlink", "by netlink (held by {holders})")
UNSEEN_HOLDER = Text("holder-not-visible", "a holder that this process cannot see")
HELD_BY_LINK = Text(
    "occupied-by-link",
    "{owner} is already attached, {held}; only the holder of that link can detach it",
)
OCCUPIED = Text(
    "occupied",
    "{owner} is already attached, {held}; --take-over replaces it",
)
TAKES_OVER = Text("taken-over", "--take-over removes it")
NOT_A_FILTER = Text("not-a-filter", "--take-over removes classic filters only")
NOT_EXACT = Text("not-exact", "reloader could not restore it exactly, so it stays")

# refused attachments
GONE_SINCE = Text(
    "interface-missing-since-plan",
    "interface {interface!r} is missing: it was deleted or renamed since the plan",
    hint="look at `ip link`, then apply again",
)
GONE_SINCE_IN = Text(
    "interface-missing-in-namespace-since-plan",
    "interface {interface!r} in {netns} is missing: it was deleted or renamed since the plan",
    hint="look at `ip link`, then apply again",
)
REFUSED = Text(
    "refused",
    "attachment {attachment}: interface {interface} (MTU {mtu}) refused program {program}{in_mode}: {why} ({said})",
)
IN_MODE = Text("in-mode", " in {mode} mode")
KERNEL_SAYS = Text("kernel-says", '{errno}; the kernel says "{kernel}"')
DELETED = Text("refused-deleted", "it was deleted since the plan was made", hint="look at `ip link`, then apply again")
HOOK_FULL = Text(
    "refused-hook-full",
    "the hook holds as many programs as the kernel takes",
    hint="let others detach theirs: `bpftool net show` lists them",
)
NOT_TAKEN = Text(
    "refused-by-kernel", "the kernel refused it", hint="`reloader doctor --features` shows what this kernel has"
)
USE_SKB = Text("use-skb", "write `mode: skb` in the attachment: slower, and every interface takes it")
MTU_TOO_LARGE = Text(
    "refused-mtu",
    "a packet of this size does not fit into the one buffer that the program takes",
    hint='{first}write SEC("xdp.frags") above a program that takes packets in several buffers; or lower the MTU,'
    " of a veth pair on both ends: `ip link set {interface} mtu 1500`",
)
MODE_UNSUPPORTED = Text(
    "refused-mode",
    "its driver does not take XDP{in_mode}",
    hint="`ethtool -i` shows its driver; attach to another interface",
)
HOOK_BUSY = Text(
    "refused-busy",
    "another program was attached since the plan was made",
    hint="`bpftool net show` lists it; then apply again, with --take-over to replace one that netlink attached",
)
NO_MEMORY = Text(
    "refused-memory",
    "the kernel or the driver did not have enough memory for it",
    hint="free memory, then apply again",
)
BY_DRIVER = Text("refused-by-driver", "its driver does not take this program", hint="look at `dmesg`")
DRIVER_LIMITS = Text(
    "driver-limits",
    "{skb}; or look at the driver's limits (queues, ring size, features: `ethtool -l`, `-g`, `-k`)",
)

# a panic
PANIC_OPEN = Text("panic-open", "every packet passes")
PANIC_CLOSED = Text("panic-closed", "every packet is dropped")
