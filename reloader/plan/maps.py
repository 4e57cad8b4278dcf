"""What becomes of each map when a new load is made: reuse, replace, reset or refuse. Pure."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from reloader.kernel import MapType
from reloader.observe import Observed, SeenMap
from reloader.plan.compat import MapShape, map_differences
from reloader.plan.model import Line, Outcome, Sign
from reloader.spec.model import Role
from reloader.spec.wish import WishMap


@dataclass(frozen=True, slots=True, kw_only=True)
class MapChoice:
    wanted: WishMap
    outcome: Outcome
    seen: SeenMap | None  # the live map, where one exists
    refusal: str = ""  # why it cannot be done; empty when it can
    notes: tuple[str, ...] = ()

    @property
    def reused(self) -> bool:
        return self.outcome is Outcome.REUSE

    def line(self) -> Line:
        signs = {Outcome.NEW: Sign.ADD, Outcome.REUSE: Sign.KEEP, Outcome.RESET: Sign.REPLACE}
        return Line(
            sign=signs.get(self.outcome, Sign.REPLACE),
            kind="map",
            name=self.wanted.name,
            action=f"{self.wanted.role}: {self.outcome}",
            notes=self.notes,
            interruption="contents dropped" if self.outcome is Outcome.RESET else "none",
        )


def belongs_to_load(wanted: WishMap) -> bool:
    """Maps made anew by each load. A PROG_ARRAY must be: shared, packets would run half old, half new."""
    if wanted.type == MapType.PROG_ARRAY or wanted.role is Role.SCRATCH:
        return True
    return wanted.role is Role.CONFIG and wanted.prune


def choose(wanted: WishMap, seen: Observed, reset: Collection[str]) -> MapChoice:
    """The outcome for one map of a new load."""
    live = seen.maps.get(wanted.name)
    if belongs_to_load(wanted):
        return MapChoice(
            wanted=wanted, outcome=Outcome.REPLACE if live else Outcome.NEW, seen=live, notes=_filled(wanted)
        )
    if wanted.name in reset and wanted.role is not Role.EXTERNAL:
        return MapChoice(wanted=wanted, outcome=Outcome.RESET, seen=live, notes=("--reset names it",))
    if live is None:
        return _absent(wanted, seen)
    return _compare(wanted, live)


def _filled(wanted: WishMap) -> tuple[str, ...]:
    if wanted.entries:
        count = wanted.entries.count
        return (f"{count} {'entry' if count == 1 else 'entries'}",)
    return ("empty",) if wanted.role is Role.SCRATCH else ()


def _absent(wanted: WishMap, seen: Observed) -> MapChoice:
    if wanted.role is Role.EXTERNAL:
        return _refuse(wanted, None, f"nothing is pinned at {wanted.pin}")
    if wanted.name in seen.lost and not seen.rebooted:
        return _refuse(wanted, None, "its pin is gone although the kernel was not restarted")
    notes = ("starts empty: the kernel was restarted",) if wanted.name in seen.lost else _filled(wanted)
    return MapChoice(wanted=wanted, outcome=Outcome.NEW, seen=None, notes=notes)


def _compare(wanted: WishMap, live: SeenMap) -> MapChoice:
    old = MapShape(
        type=live.info.type,
        key_size=live.info.key_size,
        value_size=live.info.value_size,
        max_entries=live.info.max_entries,
        map_flags=live.info.map_flags,
        key=live.key,
        value=live.value,
    )
    differences = map_differences(old, wished_shape(wanted))
    if differences:
        return _refuse(wanted, live, "its layout changes:\n" + "\n".join(f"    {d}" for d in differences))
    if wanted.role is Role.STATE and (wanted.key is None or wanted.value is None):
        return _refuse(
            wanted,
            live,
            "no BTF describes its key and value, so equal sizes prove nothing (compile with -g, declare with __type)",
        )
    return MapChoice(wanted=wanted, outcome=Outcome.REUSE, seen=live, notes=("the very same map",))


def wished_shape(wanted: WishMap) -> MapShape:
    return MapShape(
        type=wanted.type,
        key_size=wanted.key_size,
        value_size=wanted.value_size,
        max_entries=wanted.max_entries,
        map_flags=wanted.map_flags,
        key=wanted.key,
        value=wanted.value,
    )


def _refuse(wanted: WishMap, live: SeenMap | None, why: str) -> MapChoice:
    return MapChoice(wanted=wanted, outcome=Outcome.KEEP, seen=live, refusal=f"{wanted.role} map {wanted.name}: {why}")
