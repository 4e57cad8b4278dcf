"""The records of a plan whose ops are all done, with the kernel's ids: what the commit line carries.

Called by lifecycle/carry_out.py once nothing is left to do but to commit.
"""

from __future__ import annotations

import datetime

from reloader.config_maps.entry_changes import digest_of, join_records, live_entries, split_records
from reloader.engine.apply_request import ApplyRequest
from reloader.engine.workspace import Workspace
from reloader.kernel import ARRAY_TYPES
from reloader.observe.pipeline import Observed, side_pins
from reloader.paths import Paths
from reloader.pipeline.model import Role
from reloader.pipeline.wish import WishAttachment
from reloader.places import place_of
from reloader.plan import ops
from reloader.plan.model import Plan
from reloader.store.records import Current, Generation, LinkRecord, MapRecord


def records_of(bench: Workspace, made: Plan, seen: Observed, intake: ApplyRequest) -> tuple[Generation, Current]:
    """The records of a plan whose ops are all done, with the kernel's ids."""
    wish, old = intake.wish, seen.generation
    clean = bench.loads.get("clean")
    maps = _map_records(bench, seen) if clean or old is None else {**old.maps, **_exchanged(bench)}
    progs = {n: bench.kernel.progs.info(fd).id for n, fd in clean.progs.items()} if clean else {}
    generation = Generation(
        number=made.generation,
        load=made.load,
        wish=wish,
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        reason=intake.reason,
        cause=intake.cause,
        boot_id=seen.boot_id,
        progs=progs or (old.progs if old else {}),
        maps=maps,
        origin=intake.origin or made.generation,
        changes=tuple(line.text() for line in made.lines),
    )
    return generation, _current(bench, generation, seen, intake)


def _current(bench: Workspace, generation: Generation, seen: Observed, intake: ApplyRequest) -> Current:
    before, wish = seen.current, intake.wish
    state = {m.name: generation.maps[m.name] for m in wish.maps if m.role is Role.STATE and m.name in generation.maps}
    kept = {n: m for n, m in (before.state if before else {}).items() if n not in seen.lost}
    tried = {**(before.tried if before else {}), **({intake.source: wish.digest()} if intake.source else {})}
    return Current(
        pipeline=wish.pipeline,
        generation=generation.number,
        last_generation=generation.number,
        last_load=max(generation.load, before.last_load if before else 0),
        wish=wish.digest(),
        links={a.id: _link_record(bench, a, seen) for a in wish.attachments},
        entries=_entry_digests(bench, generation),
        kept={generation.maps[m.name].pin: m.keep for m in wish.maps if m.keep},
        state={**kept, **state},
        boot_id=seen.boot_id,
        pins=_pins(bench.paths, generation),
        tried=tried,
        orphaned=bool(before and before.orphaned and not intake.source),  # a rollback brings no file back
        restarted=_restarted(generation, seen, intake),
    )


def _restarted(generation: Generation, seen: Observed, intake: ApplyRequest) -> dict[str, str]:
    """State maps that lost their contents with the last kernel, until an import or a reset."""
    known = seen.current.restarted if seen.current else {}
    lost = dict.fromkeys(seen.lost, generation.created) if seen.rebooted or seen.state_restarted else {}
    here = {m.name for m in generation.wish.maps if m.role is Role.STATE} - set(intake.reset)
    return {name: when for name, when in {**known, **lost}.items() if name in here}


def _pins(paths: Paths, generation: Generation) -> tuple[str, ...]:
    """What the fast check looks for, besides the links."""
    name = generation.wish.pipeline
    return (
        *(paths.prog_pin(name, generation.load, p) for p in generation.progs),
        *(m.pin for m in generation.maps.values()),
        *(paths.pub_pin(name, m) for m in generation.maps),
        *side_pins(paths, generation),
    )


def _map_records(bench: Workspace, seen: Observed) -> dict[str, MapRecord]:
    """Every map of the fresh load with the pin this plan gave or left it."""
    assert bench.wish is not None
    made = {op.map: op.path for op in bench.done if isinstance(op, ops.PinMap)}
    pins = {**{n: m.pin for n, m in seen.maps.items()}, **made}
    wanted = {m.name for m in bench.wish.maps if m.role is not Role.EXTERNAL}
    info = bench.kernel.maps.info
    return {n: MapRecord(pin=pins[n], id=info(fd).id) for n, fd in bench.loads["clean"].maps.items() if n in wanted}


def _exchanged(bench: Workspace) -> dict[str, MapRecord]:
    """Config maps that a flip put in the place of the recorded ones."""
    found = {}
    for op in bench.done:
        if isinstance(op, ops.CreateSpareMap):
            with bench.kernel.pins.get(op.path) as fd:
                found[op.map] = MapRecord(pin=op.path, id=bench.kernel.maps.info(fd).id)
    return found


def _link_record(bench: Workspace, attachment: WishAttachment, seen: Observed) -> LinkRecord:
    pin = bench.paths.link_pin(bench.pipeline, attachment.id)
    with bench.kernel.pins.get(pin) as fd:
        info = bench.kernel.links.info(fd)
    place = place_of(attachment.type, attachment.target).record(info, seen.attachments[attachment.id].spot)
    return LinkRecord(pin=pin, id=info.id, prog=info.prog_id, place=place)


def _entry_digests(bench: Workspace, generation: Generation) -> dict[str, str]:
    """What the fast check compares: a digest of each owned config map's contents as they are now."""
    digests = {}
    for wanted in generation.wish.maps:
        if wanted.entries is None or not wanted.prune:
            continue
        data = bench.blob("entries", wanted.entries.digest)
        if wanted.type in ARRAY_TYPES:
            entries = split_records(data, wanted.key_size, wanted.value_size)
            data = join_records(live_entries(wanted.type, wanted.value_size, entries))
        digests[generation.maps[wanted.name].pin] = digest_of(data)
    return digests
