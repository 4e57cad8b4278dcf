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
    "execute": "reloader.engine.transaction:execute",
    "execute within apply": "reloader.engine.execute:execute",
    "way forward": "reloader.engine.transaction:_forward",
    "plan": "reloader.lifecycle.planning:make_plan",
    "records of a commit": "reloader.lifecycle.carry_out:records_of",
    "own folders": "reloader.lifecycle.planning:require_own_folders",
    "swap a link": "reloader.engine.attach_ops:swap",
    "reserve disk space": "reloader.store.blobs:reserve",
    "prove": "reloader.engine.execute:_prove",
    "shadow request": "reloader.packet_tests.shadow:request_of",
    "absorb an import": "reloader.convert.transfer:absorb",
    "group id": "reloader.engine.sharing:group_id",
    "journal version": "reloader.engine.journal:VERSION",
    "journal checksum": "reloader.engine.journal:zlib",
    # a trial
    "judge": "reloader.trial.duty:judge",
    "astray": "reloader.trial.duty:detached_reason",
    # the plan
    "bridged": "reloader.plan.state.conversion:bridged",
    "before the swap": "reloader.plan.state.conversion:before_swap",
    "after the swap": "reloader.plan.state.conversion:after_swap",
    "retire": "reloader.plan.state.conversion:retire",
    "convert and attach": "reloader.plan.builder:PlanBuilder._convert_and_attach",
    "flips before the commit": "reloader.plan.config.map_exchange:before_commit",
    "gate in order": "reloader.plan.attach.gate:in_order",
    "gate handed back": "reloader.plan.attach.gate:handed_back",
    # moving entries
    "conversions": "reloader.lifecycle.conversions:conversions",
    "drain": "reloader.convert.migrate:drain",
    "copy over": "reloader.convert.migrate:copy_over",
    "check of a conversion": "reloader.convert.migrate:check",
    "keys seen": "reloader.convert.migrate:key_set",
    "migration shapes": "reloader.convert.migrate:SHAPES",
    "migration CPUs": "reloader.convert.migrate:online_cpus",
    "seconds between looks": "reloader.convert.migrate:EVERY",
    "check of prefixes": "reloader.convert.tries:check",
    # config maps
    "put config": "reloader.config_maps.write:_put",
    "put a slot": "reloader.engine.config_ops:put_slot",
    "flip a side": "reloader.engine.config_ops:flip_side",
    "carry": "reloader.engine.config_ops:carry",
    # reading what is wanted
    "compile a source": "reloader.pipeline.compile:compile_source",
    "compiled": "reloader.commands.sources:compiled",
    "cache write": "reloader.pipeline.cache:write_atomic",
    "schema digest": "reloader.pipeline.cache:schema_digest",
    "bulk chunk": "reloader.pipeline.entries.bulk:CHUNK",
    "longest bulk line": "reloader.pipeline.entries.bulk:LONGEST",
    "bulk batch": "reloader.pipeline.entries.bulk:_BATCH",
    "kernel configuration": "reloader.pipeline.kconfig:_configuration",
    "scaffold check": "reloader.pipeline.scaffold:_require_valid",
    "scaffold quotes": "reloader.pipeline.scaffold:quoted",
    "sound part": "reloader.pipeline.parse:sound_part",
    "netlink attributes": "reloader.bpf.netlink:attrs",
    "mountinfo": "reloader.places.cgroup.hierarchy:MOUNTINFO",
    "panic at a place": "reloader.places.interface.xdp:Xdp.panic",
    "traffic at a place": "reloader.places.interface.xdp:Xdp.traffic",
    "rescue of a place": "reloader.places.interface.xdp:Xdp.rescue",
    "packets of a place": "reloader.places.interface.xdp:Xdp.PACKETS",
    "YAML parser": "reloader.pipeline.document:_parser",
    "ELF sections": "reloader.structs.elf.faults:_sections",
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
    "attach types": "reloader.bpf.attach_types:ATTACH_TYPES",
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
