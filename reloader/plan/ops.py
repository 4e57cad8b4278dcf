"""What a plan is made of: frozen ops, each naming its inputs as pin paths and digests, never as descriptors.

A plan prints, diffs and goes into the journal as JSON. `undo_of` gives the op that takes one back; an op
without one may stand only after the commit record, where every op may be run again without harm.
Pure; imports spec.wish and state.rules.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from reloader.frozen import frozen
from reloader.plan.entry_ops import CarryEntries as CarryEntries
from reloader.plan.entry_ops import CheckEntries as CheckEntries
from reloader.plan.taking import GiveBack as GiveBack
from reloader.plan.taking import HoldForeign as HoldForeign
from reloader.plan.taking import RemoveFilter as RemoveFilter
from reloader.plan.taking import TakeOver as TakeOver
from reloader.spec.wish import WishAttachment
from reloader.state.nesting import Nesting
from reloader.state.rules import Conversion


@frozen
class StoreBlob:
    """Keep an object or encoded entries by digest in the record directory, linked to the pipeline."""

    TAG: ClassVar[str] = "StoreBlob"
    blob: str  # "objects", "entries" or "tests"
    digest: str


@frozen
class DropBlob:
    TAG: ClassVar[str] = "DropBlob"
    blob: str
    digest: str


@frozen
class Load:
    """Load programs beside the running ones; lasts only as long as this process until pinned."""

    TAG: ClassVar[str] = "Load"
    load: int
    objects: tuple[str, ...]  # digests
    programs: tuple[str, ...]
    rodata: dict[str, bytes]
    omit: tuple[str, ...]  # the header's own maps, which only a bridge needs
    max_entries: dict[str, int]
    reuse: dict[str, str]  # map -> pin path of the live map that serves on
    metadata: dict[str, str]
    stage: str = "clean"  # or "bridge": a second build of the same programs on the same maps


@frozen
class FillMap:
    """Put a config map's entries into the fresh map of this transaction's load."""

    TAG: ClassVar[str] = "FillMap"
    map: str
    entries: str  # digest


@frozen
class Prove:
    """Run the wish's tests on a load of its own with maps of its own, which go with it: no undo is owed."""

    TAG: ClassVar[str] = "Prove"
    tests: str  # digest
    count: int
    against: int = 0  # the generation that budgets are measured against; 0: none
    unmeasured: str = ""  # why none


@frozen
class PinMap:
    TAG: ClassVar[str] = "PinMap"
    map: str
    path: str


@frozen
class PinAgain:
    """Pin what lost its pin but lives, held by a program or link of ours. Stays whatever becomes of the rest."""

    TAG: ClassVar[str] = "PinAgain"
    kind: str  # "map" or "program"
    name: str
    id: int  # kernel id
    path: str


@frozen
class PinProgram:
    TAG: ClassVar[str] = "PinProgram"
    program: str
    path: str
    stage: str = "clean"


@frozen
class Unpin:
    TAG: ClassVar[str] = "Unpin"
    path: str


@frozen
class CreateLink:
    """Attach where nothing of ours is attached, and pin the link."""

    TAG: ClassVar[str] = "CreateLink"
    attachment: WishAttachment
    program: str  # pin path
    path: str  # the link's pin


@frozen
class SwapLink:
    """Compare-and-swap the program behind a pinned link."""

    TAG: ClassVar[str] = "SwapLink"
    attachment: str
    path: str  # the link's pin
    new: str  # program pin path
    old: str  # program pin path; what must be running there
    waits: float = 0.0  # s before it, after a barrier: for packets between two hooks
    grace: float = 0.0  # s that its undo has to wait
    back: bool = False  # an undo: a program that is neither is somebody else's doing since, and stays


@frozen
class SetEntries:
    """Make a live map hold exactly (prune) or at least the entries of a stored file, by the difference."""

    TAG: ClassVar[str] = "SetEntries"
    map: str
    path: str
    entries: str  # digest
    before: str  # digest of what it held when planned
    prune: bool
    back: bool = False  # an undo: only keys that going from `entries` to `before` wrote are touched


@frozen
class MakeInner:
    """A new map like the one pinned at `like`, filled and checked, and pinned; packets do not see it yet."""

    TAG: ClassVar[str] = "MakeInner"
    map: str
    like: str  # pin path of the live one
    path: str
    entries: str  # digest


@frozen
class PutSlot:
    """Put a map on one side of a config map's two. What is there already is left alone."""

    TAG: ClassVar[str] = "PutSlot"
    map: str
    path: str  # pin of the pair of slots
    side: int
    inner: str  # pin path
    before: str  # pin path of what goes there on the way back


@frozen
class FlipSide:
    """One store: from now on packets look at the other side of every config map."""

    TAG: ClassVar[str] = "FlipSide"
    path: str  # pin of the word
    side: int


@frozen
class CheckFit:
    """Look whether the kernel takes the migration program, and every value its narrowed field; changes nothing."""

    TAG: ClassVar[str] = "CheckFit"
    map: str
    source: str  # pin path
    target: str
    rules: Conversion
    nesting: Nesting | None = None  # of maps of maps
    kept: bool = False  # as for Drain
    lossy: bool = False
    entries: int = 0  # as counted for the plan; 0: unknown


@frozen
class CopyOver:
    """Give the new map every entry of the old, counters at zero, while the old program still serves."""

    TAG: ClassVar[str] = "CopyOver"
    map: str
    source: str  # pin path
    target: str
    rules: Conversion
    nesting: Nesting | None = None  # of maps of maps
    lossy: bool = False  # as for Drain
    entries: int = 0  # as counted for the plan; 0: unknown
    back: bool = False  # an undo: the old map gets what was moved out of it before the old program serves again


@frozen
class Convert:
    """From here on the new map may hold state. Does nothing itself; its undo brings everything back."""

    TAG: ClassVar[str] = "Convert"
    map: str
    source: str
    target: str
    back: Conversion  # target's layout → source's
    nesting: Nesting | None = None
    kept: bool = False  # as for Drain


@frozen
class Drain:
    """Move what is left in `source` into `target`, counts exactly once, until nothing is left."""

    TAG: ClassVar[str] = "Drain"
    map: str
    source: str
    target: str
    rules: Conversion
    nesting: Nesting | None = None
    late: bool = False  # after the commit: for what user space wrote to the old map last
    kept: bool = False  # of a config map: counters only, into entries that both maps hold
    lossy: bool = False  # entries without a place in `target` are left out and counted; else they stop it
    entries: int = 0  # as counted for the plan; 0: unknown
    back: bool = False  # an undo: nothing is owed unless a new program may have run
    home: Conversion | None = None  # target's layout → source's: the undo copies ahead by it; None: it need not


@frozen
class FillFromFile:
    """Put one map of an exported file into a map of its own, of the file's layout, that nobody uses, and pin that."""

    TAG: ClassVar[str] = "FillFromFile"
    map: str
    file: str
    path: str
    signature: tuple[int, ...] = ()  # of the file that was judged; another one is not read


@frozen
class Absorb:
    """Move what `source` holds into a live state map, counts exactly once; what finds no room there is given up."""

    TAG: ClassVar[str] = "Absorb"
    map: str
    source: str  # pin path
    target: str
    rules: Conversion


@frozen
class DropFolder:
    """Unpin everything in one directory, and remove it."""

    TAG: ClassVar[str] = "DropFolder"
    path: str


@frozen
class EndPanic:
    """Unpin the programs of a panic, but for one that a link of ours has come to run again meanwhile; take off what
    a rescue script attached."""

    TAG: ClassVar[str] = "EndPanic"


@frozen
class PutRecord:
    """Write the generation and make it current; the content stands in the journal's commit record."""

    TAG: ClassVar[str] = "PutRecord"


@frozen
class Publish:
    """Let pub/<map> show the map pinned at `source`, by rename."""

    TAG: ClassVar[str] = "Publish"
    source: str
    path: str
    group: int = -1  # that may read it; -1: none


@frozen
class Share:
    """Let a group read the maps below pub/ and pass the folders on the way to them, or take that back."""

    TAG: ClassVar[str] = "Share"
    group: int  # -1: none


@frozen
class Freeze:
    """Refuse user-space writes to a retired config map, so that a stale writer sees EPERM."""

    TAG: ClassVar[str] = "Freeze"
    path: str
    own: tuple[int, ...] = ()  # ids of maps in a map of maps that are not retired with it


@frozen
class Barrier:
    """Wait until no instance of a replaced program still runs."""

    TAG: ClassVar[str] = "Barrier"
    grace: float = 0.0  # s more: for packets on their way from one hook to another


@frozen
class SetGate:
    """Let a later hook's new program find the version before it, for packets of that generation."""

    TAG: ClassVar[str] = "SetGate"
    path: str  # pin of the program array
    program: str  # pin path of the version before


@frozen
class ClearGate:
    """Let go of the version before."""

    TAG: ClassVar[str] = "ClearGate"
    path: str


@frozen
class DropLoad:
    """Unpin a retired load's programs and maps."""

    TAG: ClassVar[str] = "DropLoad"
    path: str  # loads/<n>


@frozen
class Prune:
    """Forget generations past the newest few, and blobs that no stored generation needs."""

    TAG: ClassVar[str] = "Prune"


@frozen
class DropPipeline:
    """Remove what is left of a pipeline: empty directories, and its records unless state is parked."""

    TAG: ClassVar[str] = "DropPipeline"
    records: bool
    sources: tuple[str, ...] = ()  # YAML files it came from, whose compiled form is forgotten too


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
