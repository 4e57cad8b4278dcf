"""What it means that the kernel or a driver refused an attachment: a sentence, a stable reason, and a way out."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from reloader.errors import AttachRefused
from reloader.frozen import frozen
from reloader.kernel import ENOTSUPP, Interface, Kernel, XdpMode
from reloader.places.interface import texts
from reloader.places.interface.fields import At
from reloader.wording.message import Message


@frozen
class Attempt:
    """A program that was to be attached."""

    attachment: str  # id
    at: At
    program: str  # its name
    mode: str = ""  # of XDP


Meaning = tuple[str, Message]  # a stable reason, and why with its hint


def interface_for(kernel: Kernel, at: At) -> Interface:
    """Return the interface; AttachRefused (ENODEV) when it was removed since the plan."""
    found = at.present(kernel)
    if found is None:
        raise _missing(at)
    return found


def _missing(at: At) -> AttachRefused:
    error = AttachRefused("link create", errno.ENODEV, at.interface)
    error.reason, error.values = "interface_missing", {"interface": at.interface, "netns": at.netns or ""}
    text = texts.GONE_SINCE_IN if at.netns else texts.GONE_SINCE
    error.sentence = text(interface=at.interface, netns=at.netns)
    error.hint = error.sentence.hint
    return error


@contextmanager
def explained(attempt: Attempt, interface: Interface) -> Iterator[None]:
    """Give an AttachRefused of the block its meaning."""
    try:
        yield
    except AttachRefused as error:
        raise explanation(error, attempt, interface) from error


def explanation(error: AttachRefused, attempt: Attempt, interface: Interface | None) -> AttachRefused:
    """Return the refusal with its meaning; without one when the interface does not exist any more."""
    number = error.errno or 0
    if interface is None:
        return AttachRefused(error.call, number, attempt.attachment, said=error.said)
    found = AttachRefused(error.call, number, interface.name, said=error.said)
    found.reason, why = _meaning_tcx(number) if not attempt.mode else _meaning_xdp(number, attempt.mode, interface)
    said = texts.KERNEL_SAYS(errno=error.errno_name, kernel=error.said) if error.said else error.errno_name
    found.hint = why.hint
    found.sentence = texts.REFUSED(
        attachment=attempt.attachment, interface=interface.name, mtu=interface.mtu, program=attempt.program,
        in_mode=texts.IN_MODE(mode=attempt.mode) if attempt.mode else "", why=why, said=said,
    )  # fmt: skip
    found.values = {
        "attachment": attempt.attachment, "program": attempt.program, "interface": interface.name,
        "netns": attempt.at.netns or "", "mtu": interface.mtu, "mode": attempt.mode,
        "errno": error.errno_name, "kernel": error.said,
    }  # fmt: skip
    return found


def _meaning_tcx(number: int) -> Meaning:
    if number == errno.ENODEV:
        return "interface_missing", texts.DELETED()
    if number in (errno.ERANGE, errno.E2BIG, errno.ENOSPC):
        return "hook_full", texts.HOOK_FULL()
    return "attach_refused", texts.NOT_TAKEN()


def _meaning_xdp(number: int, mode: str, interface: Interface) -> Meaning:
    native, skb = mode == XdpMode.NATIVE.value, texts.USE_SKB()
    match number:
        case errno.ENODEV:
            return "interface_missing", texts.DELETED()
        case errno.ERANGE:
            return "mtu_too_large", texts.MTU_TOO_LARGE(first=f"{skb}; " if native else "", interface=interface.name)
        case errno.EOPNOTSUPP | _ if number in (errno.EOPNOTSUPP, ENOTSUPP):
            return "mode_unsupported", texts.MODE_UNSUPPORTED(in_mode=texts.IN_MODE(mode=mode), hint=skb * native)
        case errno.EBUSY | errno.EEXIST:
            return "hook_busy", texts.HOOK_BUSY()
        case errno.ENOMEM:
            return "no_memory", texts.NO_MEMORY()
    return "attach_refused", texts.BY_DRIVER(hint=texts.DRIVER_LIMITS(skb=skb) if native else "")
