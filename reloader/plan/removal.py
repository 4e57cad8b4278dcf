"""The plan of `remove`: commit first, then let go; nothing here can be undone, all of it can be run again. Pure."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import replace

from reloader.kernel import MapType
from reloader.observe.pipeline import Observed
from reloader.paths import Paths
from reloader.plan import ops, texts
from reloader.plan.model import Line, Plan, Sign
from reloader.plan.ops import Op
from reloader.store.records import Current, Generation


def make_removal(
    seen: Observed, current: Current, paths: Paths, *, drop_state: bool, failed: str = ""
) -> tuple[Plan, Current]:
    """The plan and the record that stands after it. A version that failed leaves one in any case: why, and what not to
    try again."""
    name, generation = current.pipeline, seen.generation
    attachments = [a.id for a in generation.wish.attachments] if generation else []
    maps = list(generation.maps) if generation else []
    state = current.state if drop_state else {}
    after: list[Op] = [
        ops.PutRecord(),
        *(ops.Unpin(path=paths.link_pin(name, a)) for a in attachments),
        *([ops.EndPanic()] if seen.panics or seen.rescued else []),
        *(ops.Unpin(path=paths.pub_pin(name, m)) for m in maps),
        *(drop_load(generation, paths) if generation else []),
        *(ops.Unpin(path=m.pin) for m in state.values()),
        *([ops.Share(group=-1)] if seen.readers != -1 else []),
        ops.DropPipeline(records=drop_state or not (current.state or failed), sources=tuple(current.tried)),
    ]
    plan = Plan(
        pipeline=name,
        from_generation=current.generation,
        generation=0,
        load=0,
        why=texts.REMOVED_STATE_DROPPED() if drop_state else texts.REMOVED_STATE_PARKED(),
        lines=tuple(_lines(seen, current, attachments, drop_state=drop_state)),
        ops=tuple(_pins_again(seen, state)),
        after=tuple(after),
        blobs={},
    )
    parked = replace(
        current,
        generation=0,
        wish="",
        links={},
        entries={},
        pins=(),
        state={} if drop_state else current.state,
        tried=current.tried if failed else {},
        last_error=failed or current.last_error,
        trial=None,
    )
    return plan, parked


def _pins_again(seen: Observed, dropped: Container[str]) -> list[Op]:
    """State whose pin is lost is held by the programs alone: pinned, it can be parked."""
    kept = seen.current.state if seen.current else {}
    return [
        ops.PinAgain(kind="map", name=n, id=m.info.id, path=m.pin)
        for n, m in seen.maps.items()
        if m.unpinned and n in kept and n not in dropped
    ]


def drop_load(generation: Generation, paths: Paths) -> list[Op]:
    """Let go of a generation's load, once nothing attached runs it."""
    drop = ops.DropLoad(path=paths.load_pins(generation.wish.pipeline, generation.load))
    tail_calls = any(m.type == MapType.PROG_ARRAY for m in generation.wish.maps)
    # A PROG_ARRAY empties itself with its last user reference: wait until nobody can be inside a chain.
    return [ops.Barrier(), drop] if tail_calls else [drop]


def _lines(seen: Observed, current: Current, attachments: list[str], *, drop_state: bool) -> list[Line]:
    lines = [
        Line(sign=Sign.REMOVE, kind="attachment", name=a, action=texts.DETACH(), interruption=texts.PROGRAM_STOPS())
        for a in attachments
    ]
    programs = seen.generation.progs if seen.generation else {}
    lines += [Line(sign=Sign.REMOVE, kind="program", name=p, action=texts.UNLOAD()) for p in programs]
    for name in current.state:
        if drop_state:
            notes = (texts.DROPPED_BY_STATE(),)
            lines.append(Line(sign=Sign.REMOVE, kind="map", name=name, action=texts.STATE_DROP(), notes=notes))
        else:
            lines.append(parked_line(name, seen))
    return lines


def parked_line(name: str, seen: Observed) -> Line:
    """State that nothing uses now; said only of what is there."""
    if name not in seen.lost:
        return Line(sign=Sign.KEEP, kind="map", name=name, action=texts.STATE_KEEP(), notes=(texts.PARKED(),))
    restarted = seen.rebooted or seen.state_restarted
    why = texts.KERNEL_RESTARTED() if restarted else texts.LOST_WITHOUT_RESTART()
    return Line(sign=Sign.REMOVE, kind="map", name=name, action=texts.STATE_LOST(), notes=(why,))
