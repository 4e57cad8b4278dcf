"""What becomes of each map when a new load is made: reuse, replace, reset or refuse. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from reloader.frozen import frozen
from reloader.kernel import MapType
from reloader.observe.pipeline import Observed, SeenMap
from reloader.paths import pin_name, read_state_pin
from reloader.pipeline.model import Role
from reloader.pipeline.wish import WishMap
from reloader.plan import texts
from reloader.plan.model import Line, Outcome, Refusal, Sign
from reloader.plan.state import conversion
from reloader.plan.state.compat import Difference, map_differences, seen_shape, wished_shape
from reloader.plan.state.conversion import Obstacle, Pair


@frozen
class MapChoice:
    wanted: WishMap
    outcome: Outcome
    seen: SeenMap | None  # the live map, where one exists
    refusal: Refusal | None = None  # why it cannot be done; None when it can
    notes: tuple[str, ...] = ()
    pair: Pair | None = None  # the rules, when it is converted

    @property
    def reused(self) -> bool:
        return self.outcome is Outcome.REUSE

    def line(self) -> Line:
        signs = {Outcome.NEW: Sign.ADD, Outcome.REUSE: Sign.KEEP, Outcome.RESET: Sign.REPLACE}
        return Line(
            sign=signs.get(self.outcome, Sign.REPLACE),
            kind="map",
            name=self.wanted.name,
            action=texts.MAP_OUTCOME(role=self.wanted.role, outcome=self.outcome),
            notes=self.notes,
            detail=self.pair.words if self.pair else (),
            interruption=texts.CONTENTS_DROPPED() if self.outcome is Outcome.RESET else texts.NONE(),
        )


def belongs_to_load(wanted: WishMap) -> bool:
    """Maps made anew by each load. A PROG_ARRAY must be: shared, packets would run half old, half new."""
    if wanted.type == MapType.PROG_ARRAY or wanted.role is Role.SCRATCH:
        return True
    return wanted.role is Role.CONFIG and wanted.prune and wanted.entries is not None


Conversions = Mapping[str, Pair | Obstacle]
"""State map → the rules from its live layout to the wished one, or why there are none."""


def choose(
    wanted: WishMap, seen: Observed, reset: Collection[str], conversions: Conversions, spared: Collection[str] = ()
) -> MapChoice:
    """The outcome for one map of a new load. `spared`: config maps that keep entries of others, so they stay."""
    live = seen.maps.get(wanted.name)
    if wanted.role is not Role.STATE and live and _is_state(live, seen):
        return _park(wanted)
    if belongs_to_load(wanted) and wanted.name not in spared:
        return MapChoice(
            wanted=wanted, outcome=Outcome.REPLACE if live else Outcome.NEW, seen=live, notes=_filled(wanted)
        )
    if wanted.name in reset and wanted.role is not Role.EXTERNAL:
        return MapChoice(wanted=wanted, outcome=Outcome.RESET, seen=live, notes=(texts.NAMED_BY_RESET(),))
    if live is None:
        return _absent(wanted, seen)
    return _compare(wanted, live, conversions.get(wanted.name), seen)


def _is_state(live: SeenMap, seen: Observed) -> bool:
    return live.pin in {m.pin for m in (seen.current.state if seen.current else {}).values()}


def _park(wanted: WishMap) -> MapChoice:
    """A map that was state serves nothing else: written, frozen or dropped, its contents would be lost."""
    notes = (*_filled(wanted), texts.STATE_PARKED())
    return MapChoice(wanted=wanted, outcome=Outcome.NEW, seen=None, notes=notes)


def _filled(wanted: WishMap) -> tuple[str, ...]:
    if wanted.entries:
        return (texts.ENTRIES(count=wanted.entries.count), *fields_kept(wanted))
    return (texts.STARTS_EMPTY(),) if wanted.role is Role.SCRATCH else ()


def fields_kept(wanted: WishMap) -> tuple[str, ...]:
    """Say which counters follow a config map into another map, if any do."""
    return (texts.FIELDS_KEPT(fields=[k.name for k in wanted.keep]),) if wanted.keep else ()


def _absent(wanted: WishMap, seen: Observed) -> MapChoice:
    subject = {"role": wanted.role, "map": wanted.name}
    if wanted.role is Role.EXTERNAL:
        return _refuse(wanted, None, Refusal(message=texts.PIN_MISSING(**subject, pin=wanted.pin)))
    if wanted.name in seen.lost and not (seen.rebooted or seen.state_restarted):
        return _refuse(wanted, None, Refusal(message=texts.PIN_LOST(**subject)))
    if wanted.role is Role.STATE and (stray := _stray(wanted, seen)):
        return _refuse(wanted, None, Refusal(message=texts.STRAY_PIN(**subject, pin=stray)))
    notes = (texts.STARTS_EMPTY_RESTART(),) if wanted.name in seen.lost else _filled(wanted)
    return MapChoice(wanted=wanted, outcome=Outcome.NEW, seen=None, notes=notes)


def _stray(wanted: WishMap, seen: Observed) -> str:
    """A pin of what must be this map's state; starting another beside it would forget that one. Empty: none."""
    mine = pin_name(wanted.name)
    return next((pin for pin in seen.strays if read_state_pin(pin)[0] == mine), "")


def _compare(wanted: WishMap, live: SeenMap, rules: Pair | Obstacle | None, seen: Observed) -> MapChoice:
    shapes = seen_shape(live), wished_shape(wanted)
    differences = map_differences(*shapes, cpus=seen.cpus, page_size=seen.page_size)
    if isinstance(rules, Pair):
        return _convert(wanted, live, differences, rules)
    if differences and wanted.role is Role.CONFIG and wanted.entries is None:
        notes = (texts.STARTS_EMPTY_DECLARATION(), *map(str, differences))
        return MapChoice(wanted=wanted, outcome=Outcome.REPLACE, seen=live, notes=notes)
    if differences:
        return _refuse_layout(wanted, live, differences, rules)
    if rules is not None:
        message = texts.MAP_REFUSED(role=wanted.role, map=wanted.name, why=rules.why, hint=rules.why.hint)
        return _refuse(wanted, live, Refusal(message=message, detail=rules.detail, cause=rules.why))
    if wanted.role is Role.STATE and not _described(wanted):
        return _refuse(wanted, live, Refusal(message=texts.UNDESCRIBED(role=wanted.role, map=wanted.name)))
    return MapChoice(wanted=wanted, outcome=Outcome.REUSE, seen=live, notes=(texts.SAME_MAP(),))


def _described(wanted: WishMap) -> bool:
    return wanted.value is not None and (wanted.key is not None or not wanted.key_size)  # a queue has no key


def _convert(wanted: WishMap, live: SeenMap, differences: tuple[Difference, ...], rules: Pair) -> MapChoice:
    """Another layout or size, by rules; refused with every difference where these maps cannot have them."""
    if why := conversion.obstacle(live.info, wanted, rules):
        return _refuse_layout(wanted, live, differences, Obstacle(why=why))
    notes = conversion.notes(wanted, rules)
    return MapChoice(wanted=wanted, outcome=Outcome.CONVERT, seen=live, notes=notes, pair=rules)


def _refuse_layout(
    wanted: WishMap, live: SeenMap, differences: tuple[Difference, ...], found: Obstacle | None
) -> MapChoice:
    message = texts.LAYOUT_CHANGES(role=wanted.role, map=wanted.name)
    why = (found.why.with_hint(), *(f"    {line}" for line in found.detail)) if found else ()
    detail = (*map(str, differences), *why)
    return _refuse(wanted, live, Refusal(message=message, detail=detail, cause=found.why if found else None))


def _refuse(wanted: WishMap, live: SeenMap | None, refusal: Refusal) -> MapChoice:
    return MapChoice(wanted=wanted, outcome=Outcome.KEEP, seen=live, refusal=refusal)
