"""Where tests replace a part of reloader, by name: this table alone knows in which module each part stands.

`inject(monkeypatch, "execute", otherwise)` puts something else at a point; `real("execute")` is what stands there now.
What is patched often has a function of its own below. `tests/test_architecture.py` forbids other ways.
"""

from __future__ import annotations

import importlib
from typing import Any

import pytest

from reloader.bpf.live import LiveKernel
from reloader.plan import ops

ANOTHER_BOOT = "00000000-0000-0000-0000-000000000002"

POINTS = {
    # a transaction
    "execute": "reloader.txn.transaction:execute",
    "execute within apply": "reloader.txn.apply:execute",
    "way forward": "reloader.txn.transaction:_forward",
    "plan": "reloader.txn.lifecycle_planning:make_plan",
    "records of a commit": "reloader.txn.carry_out:records_of",
    "own folders": "reloader.txn.lifecycle_planning:require_own_folders",
    "swap a link": "reloader.txn.attach_ops:swap",
    "reserve disk space": "reloader.txn.storage:reserve",
    "prove": "reloader.txn.apply:_prove",
    "shadow request": "reloader.txn.shadow:request_of",
    "absorb an import": "reloader.txn.transfer_entries:absorb",
    "group id": "reloader.txn.sharing:group_id",
    "journal version": "reloader.txn.journal:VERSION",
    "journal checksum": "reloader.txn.journal:zlib",
    # a trial
    "judge": "reloader.txn.duty:judge",
    "astray": "reloader.txn.duty:astray",
    # the plan
    "bridged": "reloader.plan.conversion:bridged",
    "before the swap": "reloader.plan.conversion:before_swap",
    "after the swap": "reloader.plan.conversion:after_swap",
    "retire": "reloader.plan.conversion:retire",
    "convert and attach": "reloader.plan.draft:Draft._convert_and_attach",
    "flips before the commit": "reloader.plan.flips:before_commit",
    "gate in order": "reloader.plan.gate:in_order",
    "gate handed back": "reloader.plan.gate:handed_back",
    # moving entries
    "conversions": "reloader.txn.lifecycle_planning:_conversions",
    "drain": "reloader.txn.migrate:drain",
    "copy over": "reloader.txn.migrate:copy_over",
    "check of a conversion": "reloader.txn.migrate:check",
    "keys seen": "reloader.txn.migrate:key_set",
    "migration shapes": "reloader.txn.migrate:SHAPES",
    "migration CPUs": "reloader.txn.migrate:online_cpus",
    "seconds between looks": "reloader.txn.migrate:EVERY",
    "check of prefixes": "reloader.txn.prefixes:check",
    # config maps
    "put config": "reloader.txn.config:_put",
    "put a slot": "reloader.txn.config_ops:put_slot",
    "flip a side": "reloader.txn.config_ops:flip_side",
    "carry": "reloader.txn.config_ops:carry",
    # reading what is wanted
    "compile a source": "reloader.spec.compile:compile_source",
    "compiled": "reloader.commands.sources:compiled",
    "cache write": "reloader.spec.cache:write_atomic",
    "schema digest": "reloader.spec.cache:schema_digest",
    "bulk chunk": "reloader.spec.bulk:CHUNK",
    "longest bulk line": "reloader.spec.bulk:LONGEST",
    "bulk batch": "reloader.spec.bulk:_BATCH",
    "kernel configuration": "reloader.spec.kconfig:_configuration",
    "scaffold check": "reloader.spec.scaffold:_require_valid",
    "scaffold quotes": "reloader.spec.scaffold:quoted",
    "sound part": "reloader.spec.parse:sound_part",
    "netlink attributes": "reloader.bpf.netlink:attrs",
    "YAML parser": "reloader.spec.text:_parser",
    "ELF sections": "reloader.elf.faults:_sections",
    "verifier rules": "reloader.verifier.explain:RULES",
    # the command line
    "version": "reloader:__version__",
    "kernel of a command": "reloader.cli:live_kernel",
    "printable output": "reloader.commands.environment:printable",
    "patience": "reloader.commands.environment:SlowSteps.PATIENCE",
    "slow look": "reloader.commands.environment:SlowSteps.LOOK",
    # the kernel
    "barrier": "reloader.bpf.live:LiveKernel.barrier",
    "boot id": "reloader.bpf.live:LiveKernel.boot_id",
    "load": "reloader.bpf.progs:LiveProgs.load",
    "child's load": "reloader.bpf.loader:_load",
    "libbpf": "reloader.bpf.libbpf:SONAME",
    "membarrier": "reloader.bpf.libc:membarrier_global",
    "discard maps": "reloader.bpf.maps:LiveMaps.discard",
    "keys": "reloader.bpf.maps:LiveMaps.keys",
    "map chunk": "reloader.bpf.maps:CHUNK",
    "bpf batch": "reloader.bpf.syscall:map_batch",
    "bpf next key": "reloader.bpf.syscall:map_next_key",
    "bpf update": "reloader.bpf.syscall:map_update",
    "bpf btf load": "reloader.bpf.syscall:btf_load",
    "possible CPUs": "reloader.bpf.syscall:possible_cpus",
    "tcx ingress": "reloader.bpf.syscall:BPF_TCX_INGRESS",
}


def owner(point: str) -> tuple[Any, str]:
    """The module or class that a point stands in, and its name there."""
    module, _, path = POINTS[point].partition(":")
    *within, name = path.split(".")
    holder: Any = importlib.import_module(module)
    for part in within:
        holder = getattr(holder, part)
    return holder, name


def real(point: str) -> Any:
    """What stands at a point now."""
    holder, name = owner(point)
    return getattr(holder, name)


def inject(patch: pytest.MonkeyPatch, point: str, replacement: Any) -> None:
    patch.setattr(*owner(point), replacement)


def no_barrier(patch: pytest.MonkeyPatch) -> None:
    """Nobody waits until running programs have ended."""
    inject(patch, "barrier", lambda _: None)


def no_bridge(patch: pytest.MonkeyPatch) -> None:
    """A conversion has no bridge between the old map and the new one."""
    inject(patch, "bridged", lambda *_: False)


def retire_at_once(patch: pytest.MonkeyPatch) -> None:
    """The old map of a conversion is dropped without a last drain."""
    inject(patch, "retire", lambda moves: [ops.Unpin(path=m.source) for m in moves])


class Restarted(LiveKernel):
    """The kernel, after it was restarted."""

    def boot_id(self) -> str:
        return ANOTHER_BOOT


def restarted(patch: pytest.MonkeyPatch) -> None:
    """Commands find another boot than the records'."""
    inject(patch, "kernel of a command", Restarted)
