"""What it means that the kernel or a driver refused an attachment: a sentence, a stable reason, and a way out.

Called by links.py and takeover.py.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from reloader.errors import AttachRefused, MissingFeature
from reloader.kernel import Interface, Kernel, XdpMode
from reloader.pipeline.wish import WishAttachment
from reloader.places import type_of

ENOTSUPP = 524  # the kernel's own, which no errno.h has
SKB = "write `mode: skb` in the attachment: slower, and every interface takes it"


def missing(target: Mapping[str, str]) -> AttachRefused:
    """The error for an interface, or its namespace, that went since the plan was made."""
    found = AttachRefused("link create", errno.ENODEV, target["interface"])
    where = f" in {target['netns']}" if target.get("netns") else ""
    found.reason, found.values = (
        "interface_missing",
        {"interface": target["interface"], "netns": target.get("netns", "")},
    )
    found.sentence = f"interface {target['interface']!r}{where} is missing: it was deleted or renamed since the plan"
    found.hint = "look at `ip link`, then apply again"
    return found


@contextmanager
def explained(attachment: WishAttachment, interface: Interface) -> Iterator[None]:
    """Fill in what an AttachRefused of the block means."""
    try:
        yield
    except AttachRefused as error:
        raise _told(error, attachment, interface) from error


def refused_update(kernel: Kernel, attachment: WishAttachment | None, name: str, error: AttachRefused) -> AttachRefused:
    """The same for a link of ours that refused the new program. An undo of another process knows no attachment."""
    try:
        target = attachment.target if attachment else {}
        interface = kernel.net.interface(target["interface"], target.get("netns")) if attachment else None
    except MissingFeature:
        interface = None
    if attachment is None or interface is None:
        return AttachRefused(error.call, error.errno or 0, name, said=error.said)
    return _told(error, attachment, interface)


def _told(error: AttachRefused, attachment: WishAttachment, interface: Interface) -> AttachRefused:
    found = AttachRefused(error.call, error.errno or 0, interface.name, said=error.said)
    number, mode = error.errno or 0, attachment.target.get("mode", "")
    found.reason, why, found.hint = _meaning(number, type_of(attachment.id), mode, interface)
    how = f" in {mode} mode" if mode else ""
    kernel = f'; the kernel says "{error.said}"' if error.said else ""
    found.sentence = (
        f"attachment {attachment.id}: interface {interface.name} (MTU {interface.mtu}) refused program"
        f" {attachment.program}{how}: {why} ({error.errno_name}{kernel})"
    )
    found.values = {
        "attachment": attachment.id, "program": attachment.program, "interface": interface.name,
        "netns": attachment.target.get("netns", ""), "mtu": interface.mtu, "mode": mode,
        "errno": error.errno_name, "kernel": error.said,
    }  # fmt: skip
    return found


def _meaning(number: int, hook: str, mode: str, interface: Interface) -> tuple[str, str, str]:
    """(reason, why, hint)."""
    native = mode == XdpMode.NATIVE.value
    if number == errno.ENODEV:
        return "interface_missing", "it was deleted since the plan was made", "look at `ip link`, then apply again"
    if hook == "tcx":
        if number in (errno.ERANGE, errno.E2BIG, errno.ENOSPC):
            hint = "let others detach theirs: `bpftool net show` lists them"
            return "hook_full", "the hook holds as many programs as the kernel takes", hint
        return "attach_refused", "the kernel refused it", "`reloader doctor --features` shows what this kernel has"
    if number == errno.ERANGE:
        frags = 'or write SEC("xdp.frags") above a program that takes packets in several buffers'
        lower = f"or lower the MTU, of a veth pair on both ends: `ip link set {interface.name} mtu 1500`"
        hint = "; ".join([*([SKB] if native else []), frags, lower])
        return "mtu_too_large", "a packet of this size does not fit into the one buffer that the program takes", hint
    if number in (errno.EOPNOTSUPP, ENOTSUPP):
        hint = SKB if native else "`ethtool -i` shows its driver; attach to another interface"
        return "mode_unsupported", f"its driver does not take XDP{f' in {mode} mode' if mode else ''}", hint
    if number in (errno.EBUSY, errno.EEXIST):
        hint = "`bpftool net show` lists it; then apply again, with --take-over to replace one that netlink attached"
        return "hook_busy", "another program was attached since the plan was made", hint
    if number == errno.ENOMEM:
        return (
            "no_memory",
            "the kernel or the driver did not have enough memory for it",
            "free memory, then apply again",
        )
    hint = f"{SKB}; or look at the driver's limits (queues, ring size, features: `ethtool -l`, `-g`, `-k`)"
    return "attach_refused", "its driver does not take this program", hint if native else "look at `dmesg`"
