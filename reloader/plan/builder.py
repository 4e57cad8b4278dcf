"""A plan in the making: what becomes of each map and attachment, and the ops that come of it. Pure.

Made by planner.py, read by lines.py.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from reloader.config_maps import keep
from reloader.config_maps.entry_changes import EntryDiff, digest_of, join_records, live_entries
from reloader.frozen import frozen
from reloader.layouts.rules import Conversion
from reloader.observe.pipeline import Observed, SeenMap
from reloader.paths import Paths
from reloader.pipeline.model import Apply, Role
from reloader.pipeline.wish import Wish, WishMap
from reloader.plan import ops, texts
from reloader.plan.attach import gate
from reloader.plan.attach.attachments import AttachmentChoice, choose_attachment
from reloader.plan.attach.gate import Gate
from reloader.plan.attach.same_place import same_places
from reloader.plan.config import map_exchange
from reloader.plan.config.foreign import Foreign, refusal
from reloader.plan.config.losses import Losses
from reloader.plan.config.map_exchange import Carried, Flip, LoadPaths
from reloader.plan.config.strategy import Way, ways
from reloader.plan.map_choices import Conversions, MapChoice, choose
from reloader.plan.model import Outcome, Refusal
from reloader.plan.ops import Op
from reloader.plan.program_metadata import metadata
from reloader.plan.removal import drop_load
from reloader.plan.state import conversion
from reloader.plan.state.conversion import Move, Pair
from reloader.structs.btf import layout_digest

OLD = "rl_old_"  # reloader_state.h: the map that a state map is bridged from


@frozen
class PlanInputs:
    """What a plan is asked for, besides the wish."""

    reset: Collection[str] = ()  # maps whose contents may go
    diffs: Mapping[str, EntryDiff] = field(default_factory=dict)  # config map -> what its live map lacks
    conversions: Conversions = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)  # map that is to be emptied -> its live entries
    cgroup: str = ""  # the memory cgroup that new maps are charged to
    lossy_rollback: bool = False  # accept rules whose way back loses something
    leave_out: bool = False  # entries without a place in the wished layout may go
    tests: bool = True  # run the wish's tests
    budget: bool = True  # and hold it to their budgets
    take_over: bool = False  # somebody else's programs on our hooks give way
    group: int = -1  # that may read the published maps; -1: none
    notes: tuple[str, ...] = ()  # about the group
    foreign: Mapping[str, Foreign] = field(default_factory=dict)  # map -> what it holds that reloader did not write
    overwritten: Mapping[str, Foreign] = field(default_factory=dict)  # map -> what it holds otherwise than written
    prune: bool = False  # that may be deleted
    way_back: bool = False  # an earlier version returns: that is kept where it can be, and stops nothing

    @property
    def spared(self) -> Collection[str]:
        """Config maps that keep such entries, and so the very map."""
        return {n for n, found in self.foreign.items() if found.spare} if self.way_back else ()


@dataclass(slots=True, kw_only=True)
class PlanBuilder:
    """One plan in the making: choices per map and attachment, then ops from them."""

    wish: Wish
    seen: Observed
    paths: Paths
    request: PlanInputs
    fresh: bool  # whether a new load is made
    load: int = 0
    maps: list[MapChoice] = field(default_factory=list)
    attachments: list[AttachmentChoice] = field(default_factory=list)
    gate: Gate = field(default_factory=Gate)
    refusals: list[Refusal] = field(default_factory=list)
    ways: dict[str, Way] = field(default_factory=dict)  # config map whose entries changed -> how
    before: dict[str, bytes] = field(default_factory=dict)  # digest -> what a changed config map held
    losses: Losses = field(init=False)  # of entries that reloader did not write

    def __post_init__(self) -> None:
        current, generation = self.seen.current, self.seen.generation
        last = current.last_load if current else 0
        self.load = last + 1 if self.fresh or generation is None else generation.load
        if self.fresh:
            asked = self.request
            self.maps = [choose(m, self.seen, asked.reset, asked.conversions, asked.spared) for m in self.wish.maps]
        self.attachments = [
            choose_attachment(a, self.seen, self.paths, self.wish.pipeline, self.load, take_over=self.request.take_over)
            for a in self.wish.attachments
        ]
        converting = bool(self.moves())
        self.gate = gate.gate_of(self.wish, self.seen, self.attachments, fresh=self.fresh, converting=converting)
        self.attachments = gate.told(self.attachments, self.gate)
        self.ways = ways(self.wish, self.seen, self.request.diffs, self.request.spared)
        asked = self.request
        self.losses = Losses(
            wish=self.wish, seen=self.seen, foreign=asked.foreign, spared=asked.spared, reset=asked.reset,
            prune=asked.prune, way_back=asked.way_back, fresh=self.fresh, maps=self.maps, ways=self.ways,
        )  # fmt: skip
        self.refusals = [c.refusal for c in self.maps if c.refusal]
        self.refusals += [r for c in self.maps if (r := self._lossy(c))]
        self.refusals += [c.refusal for c in self.attachments if c.refusal]
        self.refusals += same_places(self.wish, self.seen)
        self.refusals += [Refusal(message=refusal(found)) for found in self.losses.unasked()]

    def _lossy(self, choice: MapChoice) -> Refusal | None:
        """What the way there destroys, so that the way back cannot have it again."""
        lost = choice.pair.forward.lossy if choice.pair else ()
        if not lost or self.request.lossy_rollback:
            return None
        message = texts.ROLLBACK_LOSES(map=choice.wanted.name)
        return Refusal(message=message, detail=(*lost, texts.USE_LOSSY_ROLLBACK()))

    # -- before the commit ------------------------------------------------------------------------

    def blobs(self) -> list[Op]:
        blobs: list[Op] = [ops.StoreBlob(blob="objects", digest=o.digest) for o in self.wish.objects]
        return [*blobs, *([ops.StoreBlob(blob="tests", digest=self.wish.tests.digest)] if self.wish.tests else [])]

    def body(self, proof: Sequence[Op] = ()) -> list[Op]:
        """`proof` comes once the new version is loaded, before anything of it is pinned or written."""
        entries = [*self._entry_blobs(), *self._pins_again()]
        if self.fresh:
            loads = [self._load_op(), *self._fills(), *proof, *self._pins(), *self._bridge_load()]
            return [*entries, *loads, *self.losses.checks(), *self._set_entries(), *self._convert_and_attach()]
        return [*entries, *proof, *self._set_entries(), *self._flip(), *self._attach()]

    def proof(self) -> list[Op]:
        """The wish's tests, unless it is in force already and only something about it is mended."""
        tests, generation = self.wish.tests, self.seen.generation
        same = generation is not None and generation.wish.digest() == self.wish.digest()
        if tests is None or not self.request.tests or (same and not self.fresh):
            return []
        why = "" if generation and not self.seen.rebooted else texts.NO_ACTIVE_VERSION()
        why = why if self.request.budget else texts.EARLIER_NOT_MEASURED()
        active = generation.number if generation and not why else 0
        return [ops.RunTests(tests=tests.digest, count=tests.count, against=active, unmeasured=why)]

    def unpinned(self) -> dict[str, SeenMap]:
        """Maps that lost their pin while a program of ours holds them."""
        return {n: m for n, m in self.seen.maps.items() if m.unpinned}

    def unpublished(self) -> tuple[str, ...]:
        """What is to be published again although no new load is made."""
        return () if self.fresh else tuple(n for n in self.seen.unpublished if n in self.seen.maps)

    def _pins_again(self) -> list[Op]:
        again: list[Op] = [
            ops.PinAgain(kind="map", name=n, id=m.info.id, path=m.pin) for n, m in self.unpinned().items()
        ]
        generation, seen = self.seen.generation, self.seen
        for name in seen.unpinned_progs if generation else ():
            path = self.paths.prog_pin(self.wish.pipeline, generation.load if generation else 0, name)
            again.append(ops.PinAgain(kind="program", name=name, id=seen.progs[name], path=path))
        return again

    def _entry_blobs(self) -> list[Op]:
        stored = (
            {m.entries.digest for m in self.seen.generation.wish.maps if m.entries} if self.seen.generation else set()
        )
        wanted = {m.entries.digest for m in self.wish.maps if m.entries}
        return [ops.StoreBlob(blob="entries", digest=d) for d in sorted(wanted - stored)]

    def _load_op(self) -> ops.Load:
        new = [c.wanted for c in self.maps if not c.reused]
        return ops.Load(
            load=self.load,
            objects=tuple(o.digest for o in self.wish.objects),
            programs=self.wish.programs,
            rodata={**self.wish.rodata, **gate.rodata(self.wish, self.load)},
            omit=self.wish.engine_maps,
            max_entries={m.name: m.max_entries for m in new if m.max_entries and not m.name.startswith(".")},
            reuse={c.wanted.name: c.seen.pin for c in self.maps if c.reused and c.seen},
            metadata=self._metadata(),
        )

    def _metadata(self) -> dict[str, str]:
        last = self.seen.current.last_generation if self.seen.current else 0
        return metadata(self.wish, load=self.load, generation=last + 1)

    def _fills(self) -> list[Op]:
        fresh = [c.wanted for c in self.maps if not c.reused]
        return [ops.FillMap(map=m.name, entries=m.entries.digest) for m in fresh if m.entries and m.entries.count]

    def _pins(self) -> list[Op]:
        pins: list[Op] = [
            ops.PinMap(map=c.wanted.name, path=path) for c in self.maps if (path := self._new_pin(c)) is not None
        ]
        programs = [
            ops.PinProgram(program=p, path=self.paths.prog_pin(self.wish.pipeline, self.load, p))
            for p in self.wish.programs
        ]
        ours = [*self.place().pins(self.wish.maps), *gate.pins(self.wish, self.place())]
        return [*pins, *ours, *programs]

    def place(self) -> LoadPaths:
        return LoadPaths(paths=self.paths, pipeline=self.wish.pipeline, load=self.load)

    def _new_pin(self, choice: MapChoice) -> str | None:
        path = self.map_pin(choice)
        return None if choice.seen and path == choice.seen.pin else path

    def map_pin(self, choice: MapChoice) -> str | None:
        """Where a map of the new load is pinned; a reused state map keeps the pin it has."""
        wanted, pipeline = choice.wanted, self.wish.pipeline
        if wanted.role is Role.EXTERNAL:
            return wanted.pin if choice.seen else None
        if wanted.role is not Role.STATE:
            return self.paths.map_pin(pipeline, self.load, wanted.name)
        if choice.reused and choice.seen and self.seen.current and wanted.name in self.seen.current.state:
            return choice.seen.pin
        return self.paths.state_pin(pipeline, wanted.name, _layout_word(wanted), self.load)

    def moves(self) -> list[Move]:
        """The state maps that change their layout, and how."""
        out = []
        for choice in self.maps:
            target = self.map_pin(choice)
            if choice.pair is not None and choice.seen and target:
                found = (choice.seen.pin, target, choice.pair)
                out.append(replace(_move(choice.wanted, *found), lossy=self.request.leave_out))
        return out

    def _bridge_load(self) -> list[Op]:
        """The second build of the programs, on the new load's maps and the old ones."""
        moves = [m for m in self.moves() if m.bridge]
        if not moves:
            return []
        shared = {c.wanted.name: pin for c in self.maps if (pin := self.map_pin(c)) is not None}
        shared |= self.place().shared(self.wish.maps)
        clean = self._load_op()
        load = replace(
            clean,
            rodata={**clean.rodata, **conversion.bridge_tables(moves)},
            omit=tuple(n for n in self.wish.engine_maps if n.startswith(OLD) and n not in {OLD + m.map for m in moves}),
            max_entries={},
            reuse={**shared, **{OLD + m.map: m.source for m in moves}},
            stage="bridge",
        )
        pins: list[Op] = [
            ops.PinProgram(program=p, path=self._bridge_pin(p), stage="bridge") for p in self.wish.programs
        ]
        return [load, *pins]

    def _bridge_pin(self, program: str) -> str:
        return self.paths.bridge_pin(self.wish.pipeline, self.load, program)

    def _convert_and_attach(self) -> list[Op]:
        """Swaps, with the conversions of state around them."""
        moves, attach, carried = self.moves(), self._attach(), self.carried()
        if not moves:
            return [*map_exchange.marks(carried), *attach, *map_exchange.drains(carried)]
        swaps = [op for op in attach if isinstance(op, ops.SwapLink)]
        others = [op for op in attach if not isinstance(op, ops.SwapLink)]
        first, second = swaps, list[ops.SwapLink]()
        if any(m.bridge for m in moves):
            bridges = {op.new: self._bridge_pin(self._program_of(op.attachment)) for op in swaps}
            first = [replace(op, new=bridges[op.new]) for op in swaps]
            second = [replace(op, old=bridges[op.new]) for op in swaps]
        settled: list[Op] = [ops.Barrier()] if second else []
        return [
            *conversion.before_swap(moves), *map_exchange.marks(carried), *first, *conversion.after_swap(moves),
            *second, *settled, *map_exchange.drains(carried), *others,
        ]  # fmt: skip

    def carried(self) -> list[Carried]:
        """Config maps of a new load that take over counters from the ones they replace."""
        found = []
        for choice in self.maps:
            live, target, wanted = choice.seen, self.map_pin(choice), choice.wanted
            if choice.outcome is Outcome.REPLACE and live and target and (rules := self._carry_rules(wanted, live)):
                found.append(Carried(map=wanted.name, source=live.pin, target=target, rules=rules))
        return found

    def _carry_rules(self, wanted: WishMap, live: SeenMap) -> Conversion | None:
        """None when there is nothing to carry, or the keys are others."""
        if not wanted.keep or layout_digest(live.key, None) != layout_digest(wanted.key, None):
            return None
        old = wanted.keep
        if layout_digest(None, live.value) != layout_digest(None, wanted.value):
            generation = self.seen.generation
            old = generation.wish.map(wanted.name).keep if generation else ()
        rules = keep.carry(old, wanted.keep, wanted, old_value_size=live.info.value_size)
        return rules if rules.value else None

    def _program_of(self, attachment: str) -> str:
        return next(a.program for a in self.wish.attachments if a.id == attachment)

    def flipping(self) -> list[Flip]:
        """Config maps that are exchanged as a whole, within their load."""
        if self.fresh or self.seen.side is None:
            return []
        number = (self.seen.current.last_generation if self.seen.current else 0) + 1
        names = [n for n, way in self.ways.items() if way.apply is Apply.MAP]
        pin = self.paths.inner_pin
        return [
            Flip(
                wanted=self.wish.map(n), live=self.seen.maps[n].pin, path=pin(self.wish.pipeline, self.load, n, number)
            )
            for n in names
        ]

    def _flip(self) -> list[Op]:
        flipping = self.flipping()
        if not flipping or self.seen.side is None:
            return []
        changed = {f.wanted.name for f in flipping}
        same = {m.name: self.seen.maps[m.name].pin for m in self.wish.maps if m.flips and m.name not in changed}
        return map_exchange.before_commit(self.place(), self.seen.side, flipping, same, self.losses.checks())

    def _set_entries(self) -> list[Op]:
        out: list[Op] = []
        for wanted, _ in self.changed_entries():
            live = self.seen.maps[wanted.name]
            spare = self._spare(wanted.name)
            held = {k: v for k, v in (live.entries or {}).items() if k not in spare}  # its undo leaves those alone
            before = join_records(live_entries(wanted.type, wanted.value_size, held))
            digest = digest_of(before)
            self.before[digest] = before
            assert wanted.entries is not None
            out.append(ops.StoreBlob(blob="entries", digest=digest))
            target = wanted.entries.digest
            out.append(
                ops.SetEntries(map=wanted.name, path=live.pin, entries=target, before=digest, prune=wanted.prune)
            )
        return out

    def _spare(self, name: str) -> Collection[bytes]:
        return frozenset(self.request.foreign[name].spare) if name in self.request.spared else ()

    def changed_entries(self) -> list[tuple[WishMap, EntryDiff]]:
        """Config maps that keep their map and get a difference written."""
        written = {n for n, way in self.ways.items() if way.apply is Apply.ENTRIES}
        kept = {c.wanted.name for c in self.maps if c.reused} if self.fresh else written
        diffs = self.request.diffs
        return [(m, diffs[m.name]) for m in self.wish.maps if m.name in kept and m.name in diffs and diffs[m.name].size]

    def _attach(self) -> list[Op]:
        if not self.wish.gates:
            return [op for choice in self.attachments for op in choice.ops]
        opened = self.gate.open
        handed = gate.handed_back(self.wish, self.place(), self.attachments) if opened else []
        return [*handed, *gate.in_order(self.wish, self.attachments, opened=opened)]

    # -- after the commit -------------------------------------------------------------------------

    def after(self) -> list[Op]:
        bridged = any(m.bridge for m in self.moves())
        folder: list[Op] = (
            [ops.DropFolder(path=self.paths.bridge_pins(self.wish.pipeline, self.load))] if bridged else []
        )
        retired = conversion.retire(self.moves())
        flipped = self._after_flip()
        flipped += gate.closed(self.wish, self.place()) if self.gate.open else []
        taken = [ops.Unpin(path=path) for c in self.attachments for path in c.taken]
        gone = [*self._retire(), *self.detach(), *taken, *self._drop_old()]
        ended: list[Op] = [ops.EndPanic()] if self.seen.panics or self.seen.rescued else []
        shared: list[Op] = [ops.Share(group=self.request.group)] if self.sharing() else []
        return [*ended, *self._publish(), *flipped, *shared, *folder, *retired, *gone]

    def sharing(self) -> bool:
        """Whether other users may open the published maps than before."""
        return self.request.group != self.seen.readers

    def _after_flip(self) -> list[Op]:
        flipping = self.flipping()
        pub = {f.wanted.name: self.paths.pub_pin(self.wish.pipeline, f.wanted.name) for f in flipping}
        carried = {f.wanted.name: self.losses.carry(f.wanted.name, f.path) for f in flipping}
        return list(
            map_exchange.after_commit(self.place(), self.seen.side or 0, flipping, pub, carried, self.request.group)
        )

    def _publish(self) -> list[Op]:
        pub, out, group = self.paths.pub_pin, list[Op](), self.request.group
        for name in self.unpublished():
            out.append(ops.Publish(source=self.seen.maps[name].pin, path=pub(self.wish.pipeline, name), group=group))
        for choice in self.maps:
            source = self.map_pin(choice)
            if source is not None and choice.wanted.role is not Role.EXTERNAL:
                out.append(ops.Publish(source=source, path=pub(self.wish.pipeline, choice.wanted.name), group=group))
        return out

    def _retire(self) -> list[Op]:
        """Freeze replaced config maps; take away the pub pins of maps that are gone; drop reset state."""
        out: list[Op] = []
        for name, pin in self._old_maps().items():
            choice = next((c for c in self.maps if c.wanted.name == name), None)
            if choice is None:
                out.append(ops.Unpin(path=self.paths.pub_pin(self.wish.pipeline, name)))
            elif choice.outcome is Outcome.REPLACE and choice.wanted.role is Role.CONFIG:
                out.append(ops.Freeze(path=pin))
                out += self.losses.carry(name, self.map_pin(choice) or "")
        dropped = [c.seen.pin for c in self.maps if c.outcome is Outcome.RESET and c.seen]  # parked ones too
        return [*out, *(ops.Unpin(path=pin) for pin in dropped)]

    def _old_maps(self) -> dict[str, str]:
        if not self.fresh or self.seen.generation is None or self.seen.rebooted:
            return {}
        recorded = self.seen.generation.maps
        return {n: m.pin for n, m in recorded.items() if n in self.seen.maps}

    def detach(self) -> list[Op]:
        """Remove the links of attachments that are not wished any more, but never a pin that a wished one uses: two ids
        may share a file name, as eth0.1 and eth0-1 do."""
        link_pin, name = self.paths.link_pin, self.wish.pipeline
        wished = {link_pin(name, a.id) for a in self.wish.attachments}
        recorded = (link_pin(name, a) for a in self.recorded_attachments())
        return [ops.Unpin(path=pin) for pin in recorded if pin not in wished]

    def recorded_attachments(self) -> list[str]:
        generation = self.seen.generation
        return [a.id for a in generation.wish.attachments] if generation else []

    def _drop_old(self) -> list[Op]:
        generation = self.seen.generation
        if not self.fresh or generation is None:
            return []
        return drop_load(generation, self.paths)


def _move(wanted: WishMap, source: str, target: str, pair: Pair) -> Move:
    bridge = conversion.bridged(wanted, pair)
    return Move(
        map=wanted.name,
        source=source,
        target=target,
        pair=pair,
        bridge=bridge,
        kind=wanted.type,
        inner=wanted.inner,
    )


def _layout_word(wanted: WishMap) -> str:
    return layout_digest(wanted.key, wanted.value)
