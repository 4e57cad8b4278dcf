"""What a plan is made of: frozen ops, each naming its inputs as pin paths and digests, never as descriptors.

A plan prints, diffs and goes into the journal as JSON. `undo` gives the op that takes one back; an op
without one may stand only after the commit record, where every op may be run again without harm.
Each module holds the ops of one subject. Import them from here. Pure.
"""

from __future__ import annotations

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
from reloader.plan.ops.base import NothingOwed as NothingOwed
from reloader.plan.ops.base import OpBase as OpBase
from reloader.plan.ops.convert import CheckFit as CheckFit
from reloader.plan.ops.convert import CopyOver as CopyOver
from reloader.plan.ops.convert import Drain as Drain
from reloader.plan.ops.convert import FillFromFile as FillFromFile
from reloader.plan.ops.convert import MergeIntoState as MergeIntoState
from reloader.plan.ops.convert import OweDrainBack as OweDrainBack
from reloader.plan.ops.entries import CarryEntries as CarryEntries
from reloader.plan.ops.entries import CheckEntries as CheckEntries
from reloader.plan.ops.entries import CreateSpareMap as CreateSpareMap
from reloader.plan.ops.entries import FlipSide as FlipSide
from reloader.plan.ops.entries import PutSlot as PutSlot
from reloader.plan.ops.entries import SetEntries as SetEntries
from reloader.plan.ops.load import DropBlob as DropBlob
from reloader.plan.ops.load import FillMap as FillMap
from reloader.plan.ops.load import Load as Load
from reloader.plan.ops.load import RunTests as RunTests
from reloader.plan.ops.load import StoreBlob as StoreBlob
from reloader.plan.ops.pins import DropFolder as DropFolder
from reloader.plan.ops.pins import PinAgain as PinAgain
from reloader.plan.ops.pins import PinMap as PinMap
from reloader.plan.ops.pins import PinProgram as PinProgram
from reloader.plan.ops.pins import Unpin as Unpin

Op = (
    StoreBlob | DropBlob | Load | FillMap | RunTests | PinMap | PinAgain | PinProgram | Unpin | CreateLink
    | HoldForeign | TakeOver | GiveBack | RemoveFilter | SwapLink | SetEntries | CheckEntries | CarryEntries
    | CreateSpareMap | PutSlot | FlipSide | SetGate
    | ClearGate | CheckFit | CopyOver | OweDrainBack | Drain | FillFromFile | MergeIntoState | DropFolder | EndPanic
    | PutRecord | Publish | Share | Freeze | Barrier | DropLoad | Prune | DropPipeline
)  # fmt: skip
