"""What a plan is made of: frozen ops, each naming its inputs as pin paths and digests, never as descriptors.

A plan prints, diffs and goes into the journal as JSON. `undo_of` gives the op that takes one back; an op
without one may stand only after the commit record, where every op may be run again without harm.
A module for each subject; all of them are to be had from here. Pure; imports spec.wish and state.rules.
"""

from __future__ import annotations

from dataclasses import replace

from reloader.plan.ops.after import DropLoad as DropLoad
from reloader.plan.ops.after import DropPipeline as DropPipeline
from reloader.plan.ops.after import EndPanic as EndPanic
from reloader.plan.ops.after import Freeze as Freeze
from reloader.plan.ops.after import Prune as Prune
from reloader.plan.ops.after import Publish as Publish
from reloader.plan.ops.after import PutRecord as PutRecord
from reloader.plan.ops.after import Share as Share
from reloader.plan.ops.attach import Barrier as Barrier
from reloader.plan.ops.attach import ClearGate as ClearGate
from reloader.plan.ops.attach import CreateLink as CreateLink
from reloader.plan.ops.attach import GiveBack as GiveBack
from reloader.plan.ops.attach import HoldForeign as HoldForeign
from reloader.plan.ops.attach import RemoveFilter as RemoveFilter
from reloader.plan.ops.attach import SetGate as SetGate
from reloader.plan.ops.attach import SwapLink as SwapLink
from reloader.plan.ops.attach import TakeOver as TakeOver
from reloader.plan.ops.convert import Absorb as Absorb
from reloader.plan.ops.convert import CheckFit as CheckFit
from reloader.plan.ops.convert import Convert as Convert
from reloader.plan.ops.convert import CopyOver as CopyOver
from reloader.plan.ops.convert import Drain as Drain
from reloader.plan.ops.convert import FillFromFile as FillFromFile
from reloader.plan.ops.convert import Nesting as Nesting
from reloader.plan.ops.entries import CarryEntries as CarryEntries
from reloader.plan.ops.entries import CheckEntries as CheckEntries
from reloader.plan.ops.entries import FlipSide as FlipSide
from reloader.plan.ops.entries import MakeInner as MakeInner
from reloader.plan.ops.entries import PutSlot as PutSlot
from reloader.plan.ops.entries import SetEntries as SetEntries
from reloader.plan.ops.load import DropBlob as DropBlob
from reloader.plan.ops.load import FillMap as FillMap
from reloader.plan.ops.load import Load as Load
from reloader.plan.ops.load import Prove as Prove
from reloader.plan.ops.load import StoreBlob as StoreBlob
from reloader.plan.ops.pins import DropFolder as DropFolder
from reloader.plan.ops.pins import PinAgain as PinAgain
from reloader.plan.ops.pins import PinMap as PinMap
from reloader.plan.ops.pins import PinProgram as PinProgram
from reloader.plan.ops.pins import Unpin as Unpin

Op = (
    StoreBlob | DropBlob | Load | FillMap | Prove | PinMap | PinAgain | PinProgram | Unpin | CreateLink
    | HoldForeign | TakeOver | GiveBack | RemoveFilter | SwapLink | SetEntries | CheckEntries | CarryEntries
    | MakeInner | PutSlot | FlipSide | SetGate
    | ClearGate | CheckFit | CopyOver | Convert | Drain | FillFromFile | Absorb | DropFolder | EndPanic
    | PutRecord | Publish | Share | Freeze | Barrier | DropLoad | Prune | DropPipeline
)  # fmt: skip

ON_DISK = (StoreBlob, DropBlob, PutRecord, Prune, DropPipeline)  # these outlive a restart of the kernel
INERT = (
    Load,
    FillMap,
    Prove,
    PinAgain,
    CheckEntries,
    CheckFit,
    CopyOver,
    Drain,
    Barrier,
    SetGate,
)  # nothing owed, or by Convert
VISIBLE = (CreateLink, TakeOver, RemoveFilter, SwapLink, SetEntries, FlipSide)  # traffic can notice these
SERVING = (CreateLink, TakeOver, SwapLink)  # from the first of these on, new programs may write to new maps


def undo_of(op: Op) -> Op | None:
    """The op that takes `op` back, or None when nothing is owed; LookupError for one that may only follow a commit."""
    match op:
        case Drain() if op.home is not None:
            return CopyOver(map=op.map, source=op.target, target=op.source, rules=op.home, lossy=True, back=True)
        case Load() | FillMap() | Prove() | PinAgain() | CheckEntries() | CheckFit() | CopyOver() | Drain():
            return None
        case Barrier() | SetGate():
            return None
        case Convert():
            nesting, kept = replace(op.nesting, inner=None) if op.nesting else None, op.kept
            return Drain(
                map=op.map,
                source=op.target,
                target=op.source,
                rules=op.back,
                nesting=nesting,
                kept=kept,
                back=not kept,
                lossy=True,
            )
        case StoreBlob():
            return DropBlob(blob=op.blob, digest=op.digest)
        case PutSlot():
            return PutSlot(map=op.map, path=op.path, side=op.side, inner=op.before, before=op.inner)
        case FlipSide():
            return FlipSide(path=op.path, side=1 - op.side)
        case PinMap() | PinProgram() | CreateLink() | FillFromFile() | MakeInner() | HoldForeign():
            return Unpin(path=op.path)
        case TakeOver():
            return GiveBack(attachment=op.attachment, program=op.program, path=op.path, theirs=op.theirs, mode=op.mode)
        case RemoveFilter():
            return replace(op, back=True)
        case SwapLink():
            return SwapLink(attachment=op.attachment, path=op.path, new=op.old, old=op.new, waits=op.grace, back=True)
        case SetEntries():
            return SetEntries(map=op.map, path=op.path, entries=op.before, before=op.entries, prune=op.prune, back=True)
    raise LookupError(f"{type(op).__name__} has no undo and may only follow the commit")
