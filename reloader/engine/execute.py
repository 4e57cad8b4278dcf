"""Running ops on a kernel: one match. Also what each op's undo means when it is not known whether it happened.

Called by transaction.py (forwards, then back on failure) and lifecycle/recover.py.
"""

from __future__ import annotations

import errno
import os
import shlex
import time
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, assert_never

from reloader.break_glass import cleanup, script
from reloader.config_maps.entry_changes import split_records
from reloader.engine import attach_ops, config_ops, links, sharing, texts
from reloader.engine.workspace import Workspace
from reloader.errors import KernelError
from reloader.kernel import ENOTSUPP, NESTED_TYPES, Fd, Loaded, LoadRequest
from reloader.paths import load_folders
from reloader.places import load_hints
from reloader.plan import ops
from reloader.plan.ops import Op
from reloader.store import blobs as storage
from reloader.store import records
from reloader.wording.printable import printable

if TYPE_CHECKING:
    pass

FREEZE_TRIES = 250


def execute(bench: Workspace, op: Op) -> None:
    """Do one op. KernelError, OSError or NeedsHuman when it cannot be done."""
    pins = bench.kernel.pins
    match op:
        case ops.StoreBlob():
            storage.store(bench.paths, bench.pipeline, op.blob, op.digest, bench.blobs)
        case ops.DropBlob():
            storage.drop(bench.paths, bench.pipeline, op.blob, op.digest)
        case ops.Load():
            _load(bench, op)
        case ops.FillMap():
            _fill(bench, op)
        case ops.RunTests():
            _prove(bench, op)
        case ops.PinMap():
            _pin(bench, _loaded(bench).maps[op.map], op.path)
        case ops.PinAgain():
            _pin_again(bench, op)
        case ops.PinProgram():
            _pin(bench, _loaded(bench, op.stage).progs[op.program], op.path)
        case ops.CreateLink():
            links.create(bench.kernel, op.attachment, program=op.program, path=op.path)
        case ops.HoldForeign():
            _hold_foreign(bench, op)
        case ops.TakeOver() | ops.GiveBack() | ops.RemoveFilter():
            attach_ops.take_over(bench, op)
        case ops.SwapLink():
            attach_ops.swap(bench, op)
        case ops.SetEntries():
            config_ops.set_entries(bench, op)
        case ops.Unpin():
            pins.unpin(op.path)
            _prune_folders(bench, os.path.dirname(op.path))
        case ops.CheckEntries() | ops.CarryEntries():
            _look_again(bench, op)
        case ops.CreateSpareMap():
            config_ops.make_inner(bench, op)
        case ops.PutSlot():
            config_ops.put_slot(bench, op)
        case ops.FlipSide():
            config_ops.flip_side(bench, op)
        case ops.CheckFit() | ops.CopyOver() | ops.Drain():
            _move(bench, op)
        case ops.FillFromFile() | ops.MergeIntoState():
            _bring_in(bench, op)
        case ops.OweDrainBack():
            pass  # a mark in the journal: from here on its undo is owed
        case ops.EndPanic():
            links.end_panic(bench.host, bench.pipeline)
            cleanup.end(bench.host, bench.pipeline)
        case ops.DropFolder():
            _drop_folder(bench, op.path)
            _prune_folders(bench, os.path.dirname(op.path))
        case ops.PutRecord():
            assert bench.commit is not None
            storage.put_record(bench.paths, *bench.commit, beside=script.write_script)
        case ops.Publish():
            _publish(bench, op)
        case ops.Share():
            sharing.share(bench.host, bench.pipeline, op.group)
        case ops.Freeze():
            _freeze(bench, op)
        case ops.Barrier():
            links.wait(bench.kernel, op.grace)
        case ops.SetGate():
            links.set_gate(bench.kernel, op.path, op.program)
        case ops.ClearGate():
            links.clear_gate(bench.kernel, op.path)
        case ops.DropLoad():
            _drop_load(bench, op)
        case ops.Prune():
            storage.prune(bench.paths, bench.pipeline)
        case ops.DropPipeline():
            _drop_pipeline(bench, op)
        case _:
            assert_never(op)


def take_back(bench: Workspace, op: Op) -> None:
    """Undo an op of which nobody knows whether it happened: what is not there needs no undoing."""
    inverse = op.undo()
    if inverse is None:
        return
    if isinstance(op, ops.CreateLink) and not links.made(bench.kernel, op.attachment, program=op.program, path=op.path):
        return
    if isinstance(inverse, ops.SwapLink) and not links.alive(bench.kernel, inverse.path):
        return  # its place is missing, and with it every program there
    if isinstance(inverse, ops.CopyOver):
        if bench.served and not bench.resumed:  # else the old map is whole, or the old program serves already
            with suppress(KernelError):  # not owed: without it, packets miss entries until the drain comes to them
                execute(bench, inverse)
        return
    if isinstance(inverse, ops.SetEntries) and not all(_stored(bench, d) for d in (inverse.entries, inverse.before)):
        return  # killed before the old contents were stored, so before any write; or once it was taken back
    execute(bench, inverse)


def _stored(bench: Workspace, digest: str) -> bool:
    return digest in bench.blobs or bench.paths.blob_file("entries", digest).exists()


def _loaded(bench: Workspace, stage: str = "clean") -> Loaded:
    assert stage in bench.loads, "the plan pins before it loads"
    return bench.loads[stage]


def _load(bench: Workspace, op: ops.Load) -> None:
    reuse: dict[str, Fd] = {}
    try:
        for name, pin in op.reuse.items():
            reuse[name] = bench.kernel.pins.get(pin)
        request = LoadRequest(
            objects=tuple(bench.blob("objects", d) for d in op.objects),
            name=bench.pipeline.replace("-", "_"),
            programs=op.programs,
            rodata=op.rodata,
            max_entries=op.max_entries,
            reuse=reuse,
            omit=op.omit,
            metadata=op.metadata,
            hints=load_hints(bench.wish.attachments if bench.wish else ()),
        )
        bench.loads[op.stage] = bench.kernel.progs.load(request)
    finally:
        for fd in reuse.values():
            fd.close()


def _fill(bench: Workspace, op: ops.FillMap) -> None:
    assert bench.wish is not None
    wanted = bench.wish.map(op.map)
    entries = split_records(bench.blob("entries", op.entries), wanted.key_size, wanted.value_size)
    bench.kernel.maps.update_many(_loaded(bench).maps[op.map], list(entries), list(entries.values()))


def _prove(bench: Workspace, op: ops.RunTests) -> None:
    """TestsFailed when the new version does not do what its tests say."""
    from reloader.packet_tests import run

    assert bench.wish is not None
    active = records.read_generation(bench.paths, bench.pipeline, op.against).wish if op.against else None
    bench.proof = run.prove(bench.kernel, bench.wish, bench.blob, active, op.unmeasured)
    failed = run.failures(bench.proof)
    if failed:
        file = shlex.quote(bench.wish.tests.file) if bench.wish and bench.wish.tests else "FILE"
        failed.hint = texts.RUN_TESTS_ALONE(file=file)
        raise failed


def _pin(bench: Workspace, fd: Fd, path: str) -> None:
    bench.kernel.pins.mkdir(os.path.dirname(path))
    bench.kernel.pins.pin(fd, path)


def _pin_again(bench: Workspace, op: ops.PinAgain) -> None:
    if bench.kernel.pins.exists(op.path):
        return
    by_id = bench.kernel.maps.by_id if op.kind == "map" else bench.kernel.progs.by_id
    with by_id(op.id) as fd:
        _pin(bench, fd, op.path)


def _prune_folders(bench: Workspace, folder: str) -> None:
    """Remove directories of ours that became empty, up to the bpffs root."""
    while folder.startswith(bench.paths.bpffs) and not bench.kernel.pins.listdir(folder):
        try:
            bench.kernel.pins.rmdir(folder)
        except KernelError as error:
            kept = (errno.EBUSY, errno.EACCES, errno.EPERM)  # a mount point of its own, or made for us by somebody
            if error.errno in kept and folder == bench.paths.bpffs:
                return
            raise
        folder = os.path.dirname(folder)


def _move(bench: Workspace, op: ops.CheckFit | ops.CopyOver | ops.Drain) -> None:
    """Run the migration program over two pinned maps; a source that is gone was emptied before."""
    from reloader.convert import migrate, tries
    from reloader.plan.state.conversion import outlived

    pins, bridge = bench.kernel.pins, bench.loads.get("bridge")
    if not pins.exists(op.source) or not pins.exists(op.target):
        return
    if isinstance(op, ops.Drain) and op.back and not bench.served:
        return  # nobody has written to the new map; the old one is as whole as it was
    if isinstance(op, ops.Drain) and op.back and bench.resumed:
        op = replace(op, rules=outlived(op.rules))
    said = partial(_so_far, bench, op)
    with pins.get(op.source) as source, pins.get(op.target) as target:
        if bench.kernel.maps.info(source).type in NESTED_TYPES:
            _move_nested(bench, op, source, target)
            return
        if isinstance(op, ops.CopyOver):
            known = migrate.key_set(bench.kernel, source)
            bench.remember(op, known)
            migrate.copy_over(bench.kernel, source, target, op.rules, copied=known, lossy=op.lossy, said=said)
            return
        if op.kept:
            _leave_out(bench, op, config_ops.carry(bench, op, source, target))
            return
        if isinstance(op, ops.CheckFit):
            migrate.check(bench.kernel, source, target, op.rules, lossy=op.lossy, said=said)
            tries.check(bench.kernel, source, target, op.rules)
            return
        bench.kernel.barrier()
        locks = bridge.maps.get("rl_locks") if bridge else None
        known = None if op.late else bench.copied.get((op.map, op.back))
        moved = migrate.drain(
            bench.kernel, source, target, op.rules, locks, copied=known, late=op.late, lossy=op.lossy, said=said
        )
        bench.moved[op.map] = bench.moved.get(op.map, 0) + moved.moved
        _leave_out(bench, op, moved.left_out)


def _leave_out(bench: Workspace, op: ops.CheckFit | ops.Drain, count: int) -> None:
    if count:
        bench.left_out[op.map] = bench.left_out.get(op.map, 0) + count


def _so_far(bench: Workspace, op: ops.CheckFit | ops.CopyOver | ops.Drain, seen: int) -> None:
    text = texts.PROGRESS_OF if op.entries >= seen else texts.PROGRESS
    bench.progress(text(step=op.label(), done=seen, count=op.entries))


def _hold_foreign(bench: Workspace, op: ops.HoldForeign) -> None:
    with bench.kernel.progs.by_id(op.id) as fd:
        _pin(bench, fd, op.path)


def _look_again(bench: Workspace, op: ops.CheckEntries | ops.CarryEntries) -> None:
    from reloader.engine import strangers

    if isinstance(op, ops.CheckEntries):
        strangers.check(bench, op)
    else:
        strangers.carry(bench, op)


def _bring_in(bench: Workspace, op: ops.FillFromFile | ops.MergeIntoState) -> None:
    from reloader.convert import transfer

    if isinstance(op, ops.FillFromFile):
        bench.kernel.pins.mkdir(os.path.dirname(op.path))
        transfer.fill(bench.kernel, op.map, op.path, file=op.file, signature=op.signature)
    else:
        bench.told += transfer.absorb(bench.kernel, op.map, op.source, op.target, op.rules)


def _move_nested(bench: Workspace, op: ops.CheckFit | ops.CopyOver | ops.Drain, source: Fd, target: Fd) -> None:
    from reloader.convert import nested

    known = bench.inner.setdefault(op.map, nested.Succession())
    assert op.nesting is not None
    outer = nested.Outer(
        kernel=bench.kernel, source=source, target=target, rules=op.rules, nesting=op.nesting, lossy=op.lossy
    )
    match op:
        case ops.CheckFit():
            outer.check()
        case ops.CopyOver():
            outer.copy_over(known)
        case ops.Drain():
            bench.kernel.barrier()
            # On the way back the maps have changed sides, and what is known of one side says nothing of the other.
            _leave_out(bench, op, outer.drain(known if op.nesting.inner else nested.Succession(), late=op.late))


def _publish(bench: Workspace, op: ops.Publish) -> None:
    pins, fresh = bench.kernel.pins, op.path + "~"
    pins.mkdir(os.path.dirname(op.path))
    pins.unpin(fresh)
    with pins.get(op.source) as fd:
        pins.pin(fd, fresh)
    if op.group >= 0:
        pins.give(fresh, op.group, sharing.PIN)
    pins.rename(fresh, op.path)


def _freeze(bench: Workspace, op: ops.Freeze) -> None:
    """From here on bpf(2) writes to a retired map fail. One with a spin lock, or mapped writable, cannot be frozen."""
    if not bench.kernel.pins.exists(op.path):
        return
    with bench.kernel.pins.get(op.path) as fd:
        _freeze_one(bench, fd, op.path)
        if bench.kernel.maps.info(fd).type in NESTED_TYPES:
            from reloader.convert import nested

            for inner in nested.inner_maps(bench.kernel, fd, op.own):
                _freeze_one(bench, inner, texts.INNER_MAP(path=op.path))


def _freeze_one(bench: Workspace, fd: Fd, path: str) -> None:
    for attempt in range(FREEZE_TRIES):
        if bench.kernel.maps.frozen(fd):
            return
        try:
            bench.kernel.maps.freeze(fd)
        except KernelError as error:
            if error.errno not in (errno.EBUSY, ENOTSUPP):
                raise
            if error.errno == ENOTSUPP or attempt == FREEZE_TRIES - 1:
                _warn(texts.FREEZE_FAILED(path=path, why=error))
                return
        time.sleep(0.002)  # EBUSY: somebody is inside a write


def _warn(text: str) -> None:
    import logging

    logging.getLogger(__name__).warning("%s", printable(text))


def _drop_load(bench: Workspace, op: ops.DropLoad) -> None:
    for folder in load_folders(op.path):
        _drop_folder(bench, folder)
    bench.kernel.pins.rmdir(op.path)
    _prune_folders(bench, os.path.dirname(op.path))


def _drop_folder(bench: Workspace, folder: str) -> None:
    for name in bench.kernel.pins.listdir(folder):
        bench.kernel.pins.unpin(f"{folder}/{name}")
    bench.kernel.pins.rmdir(folder)


def _drop_pipeline(bench: Workspace, op: ops.DropPipeline) -> None:
    root = bench.paths.pipeline_pins(bench.pipeline)
    for folder in bench.paths.emptied_folders(bench.pipeline):
        if not bench.kernel.pins.listdir(folder):
            bench.kernel.pins.rmdir(folder)
    _prune_folders(bench, root)
    storage.forget_compiled(bench.paths, op.sources)
    if op.records:
        storage.drop_records(bench.paths, bench.pipeline)
