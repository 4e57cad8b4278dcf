"""Rules on what is called, with what, and what must be given back: helpers, kernel functions, locks, references.

Pure.
"""

from __future__ import annotations

import re

from reloader.verifier.registers import THINGS
from reloader.verifier.scene import Scene, Words, rule

NAMED = {"fp": "the stack", "map_ptr": "a map", "scalar": "a number", "pkt": "the packet", **THINGS}
ALLOCATED = re.compile(r"alloc_insn=(\d+)")
NO_PROG_ARRAY = ("bpf_tail_call is given a map that is not a PROG_ARRAY", "declare it with BPF_MAP_TYPE_PROG_ARRAY")
UNDER_LOCK = r"calls are not allowed (?:while holding a lock|inside.*lock)"
BOUND = "bound it: `if (size == 0 || size > sizeof(buffer)) return …;`, or `size &= 63`"


def _argument(scene: Scene, match: re.Match[str]) -> Words:
    number, wanted = int(match["reg"]), [w for w in re.split(r",\s*", match["wanted"].strip()) if w]
    place = f"argument {number} of {scene.call}" if scene.call else f"argument {number}"
    if wanted in (["ringbuf_mem"], ["alloc_mem"]) and match["got"] in ("scalar", "inv"):
        text = f"{scene.call} is given a pointer that is not a ring buffer record, or not any more"
        return text, "submit or discard each record once"
    got = NAMED.get(match["got"].removesuffix("_"), match["got"]) + (
        " that may be NULL" if match["got"].endswith("_or_null") else ""
    )
    known = dict.fromkeys(NAMED.get(w.removesuffix("_"), "") for w in wanted)
    words = [w for w in known if w]
    needs = " or ".join(words[:2]) if 0 < len(words) < 3 else "a pointer to readable memory"
    hint = "look at the order of the arguments; a key or value is passed by its address: `&key`"
    return f"{place} is {got}, but must be {needs}", hint


def _helper(scene: Scene, match: re.Match[str]) -> Words:
    if match["name"] == "unknown":
        return f"this kernel does not have helper number {match['number']}", (
            "it is newer than this kernel: ask bpf_core_enum_value_exists() before the call, or go without"
        )
    hint = f"see `bpftool feature probe` for what {scene.programs} may call on this kernel"
    return f"helper {match['name']} is not available to {scene.programs} on this kernel", hint


def _gpl(scene: Scene, _match: re.Match[str]) -> Words:
    licence = f'"{scene.licence}"' if scene.licence else "of the object"
    what = f"{scene.call} is for GPL programs only" if scene.call else "a function for GPL programs only is called"
    hint = 'char LICENSE[] SEC("license") = "GPL"; or "Dual MIT/GPL", or go without that helper'
    return f"{what}, but the licence {licence} is not GPL", hint


def _size(scene: Scene, match: re.Match[str]) -> Words:
    held = scene.register(match["reg"] or 0)  # some kernels do not name it
    if match["reg"] and held.bounds and held.bounds[1] > 1 << 29:
        return f"the size given to {scene.call} does not have an upper bound", BOUND
    return f"the size given to {scene.call} may be zero", BOUND


def _tail_call(scene: Scene, _match: re.Match[str]) -> Words | None:
    """What kernels before 6.18 say of a tail call through anything but a PROG_ARRAY."""
    if scene.call != "bpf_tail_call":
        return None
    return NO_PROG_ARRAY


def _unreleased(scene: Scene, match: re.Match[str]) -> Words:
    taken = ALLOCATED.search(match.string)
    line = scene.walk.lines.get(int(taken[1]), "") if taken else ""
    text, _, place = line.partition(" @ ")
    known = scene.line(int(taken[1])) if scene.line and taken and not place else None
    place = f"{known[0].rpartition('/')[2]}:{known[1]}" if known else place
    if "ringbuf" in text:
        what, hint = (
            "a ring buffer record is neither submitted nor discarded",
            "bpf_ringbuf_submit or bpf_ringbuf_discard",
        )
    elif "sk" in text:
        what, hint = "a socket is not released", "bpf_sk_release"
    else:
        what, hint = "a reference is not given back", "call the function that releases it"
    where = f" on every path to the exit (it was taken at {place})" if place else " on every path to the exit"
    return what + where, f"{hint} before each return"


def _kernel_argument(scene: Scene, match: re.Match[str]) -> Words:
    hint = "kernel functions want pointers of their own types, which the verifier knows to be valid and not NULL"
    return f"argument {int(match['arg']) + 1} of {scene.call or 'a function'} does not fit: {match['why']}", hint


def _null_argument(scene: Scene, match: re.Match[str]) -> Words:
    what = f"argument {int(match['arg']) + 1} of {scene.call or 'a function'}"
    return f"{what} may be NULL: test it before the call", "`if (!pointer) return …;`"


def _second_lock(scene: Scene, _match: re.Match[str]) -> Words | None:
    if scene.call != "bpf_spin_lock":
        return None
    return "a second spin lock is taken while one is held", "hold one at a time"


RULES = (
    rule(
        "field-missing",
        r"failed to resolve CO-RE relocation <(?P<what>\w+)> \[\d+\] (?P<name>[^(]+?) \(",
        "this kernel does not have {name} (CO-RE relocation {what})",
        "ask bpf_core_field_exists() or bpf_core_type_exists() first, and do without where it is missing",
    ),
    rule(
        "kernel-function-missing",
        r"kfunc '(?P<name>\w+)' is referenced but wasn't resolved",
        "this kernel does not have function {name}",
        "ask bpf_ksym_exists() before the call",
    ),
    rule(
        "map-missing",
        r"BPF map '(?P<name>[^']+)' is referenced but wasn't created",
        "map {name} is used, but was left out of this load",
        "code that names it has to be dead: guard it by a constant",
    ),
    rule(
        "kernel-function-refused",
        r"calling kernel function (?P<name>\w+) is not allowed",
        "kernel function {name} may not be called by {programs}",
        "see which program types the kernel registers it for",
    ),
    rule(
        "kernel-function-argument",
        r"arg#(?P<arg>\d+) (?P<why>(?:pointer type|expected|is|has|must|doesn't|reference|"
        r"cannot).*)",
        _kernel_argument,
    ),
    rule(
        "null-argument",
        r"Possibly NULL pointer passed to (?:trusted )?arg(?P<arg>\d+)",
        _null_argument,
    ),
    rule(
        "untrusted-argument",
        r"R\d+ must be (referenced|a rcu pointer|referenced or trusted)",
        "{call} wants a pointer that is held, and this one may vanish at any time",
        "take a reference first, or stay inside bpf_rcu_read_lock()",
    ),
    rule("helper-unavailable", r"program of this type cannot use helper (?P<name>\w+)#(?P<number>\d+)", _helper),
    rule("helper-unavailable", r"(?:unknown|invalid) func (?P<name>\w+)#(?P<number>\d+)", _helper),
    rule("licence", r"cannot call GPL[- ](?:restricted|only) function from non-GPL compatible program", _gpl),
    rule(
        "sleeping",
        r"(?:helper call|kernel func \w+|kernel function \w+).*(?:might sleep|is sleepable|sleep within)",
        "{call} may sleep, which {programs} must not",
        'use a sleepable program (a section with ".s") or another helper',
    ),
    rule(
        "map-of-another-type",
        r"cannot pass map_type (?P<type>\d+) into func (?P<name>\w+)#",
        "{name} does not work on a map of this type (bpf_map_type {type})",
        "see its arguments in bpf-helpers(7)",
    ),
    rule(
        "map-of-another-type",
        r"expected prog array map for tail call",
        *NO_PROG_ARRAY,
    ),
    rule("map-of-another-type", r"kernel subsystem misconfigured verifier", _tail_call),
    rule("size-unchecked", r"(?:R(?P<reg>\d+) )?invalid zero-sized read", _size),
    rule("size-unchecked", r"invalid access to (?:map value|memory), \w+=\d+ off=\d+ size=0(?P<reg>)\b", _size),
    rule(
        "size-unchecked",
        r"R(?P<reg>\d+) unbounded memory access, use 'var",
        "the size given to {call} does not have an upper bound",
        BOUND,
    ),
    rule(
        "size-unchecked",
        r"R(?P<reg>\d+) min value is negative, either use unsigned or 'var",
        "the size given to {call} may be negative",
        "make it unsigned and bound it",
    ),
    rule(
        "size-not-constant",
        r"R(?P<reg>\d+) is not a known constant",
        "a size given to {call} must be a constant",
        "use a constant; bpf_ringbuf_output and bpf_dynptr take sizes of run time",
    ),
    rule("argument-type", r"R(?P<reg>\d+) type=(?P<got>\w+) expected=(?P<wanted>[\w, ]+)", _argument),
    rule(
        "argument-type",
        r"Caller passes invalid args into func#\d+(?: \('(?P<name>\w+)'\))?",
        "a global function is given arguments that its signature does not allow",
        "or make the function `static`, so that it is verified in its place",
    ),
    rule(
        "leak",
        r"R(?P<reg>\d+) leaks addr (?P<where>as return value|into \w+|as .*)",
        "a kernel pointer would leak {where}",
        "store what it points to, not the pointer; with CAP_PERFMON the kernel lets it pass",
    ),
    rule("reference-kept", r"Unreleased reference id=\d+|would lead to reference leak", _unreleased),
    rule(
        "lock-kept",
        r"bpf_spin_unlock is missing|cannot be used inside bpf_spin_lock-ed region",
        "the spin lock is still held when the program ends",
        "bpf_spin_unlock on every path to the exit, also before a return in the middle",
    ),
    rule(
        "rcu-kept",
        r"bpf_rcu_read_(?:un)?lock.*(?:missing|unmatched)|cannot be used inside bpf_rcu_read_lock-ed region|"
        r"bpf_rcu_read_unlock is missing",
        "bpf_rcu_read_lock is still held when the program ends",
        "bpf_rcu_read_unlock on every path to the exit",
    ),
    rule(
        "preempt-kept",
        r"cannot be used inside (bpf_preempt_disable|bpf_local_irq_save)-ed region",
        "preemption or interrupts are still off when the program ends",
        "turn them on again on every path to the exit",
    ),
    rule("lock-order", UNDER_LOCK, _second_lock),
    rule(
        "call-under-lock",
        UNDER_LOCK,
        "{call} is called while a spin lock is held",
        "call it before the lock, and keep only plain memory access inside",
    ),
    rule(
        "lock-order",
        r"bpf_spin_unlock without taking a lock|bpf_spin_unlock of different lock",
        "a spin lock is given back that is not held",
        "lock and unlock the same lock, on the same path",
    ),
    rule(
        "lock-order",
        r"Locking two bpf_spin_locks are not allowed",
        "a second spin lock is taken while one is held",
        "hold one at a time",
    ),
)
