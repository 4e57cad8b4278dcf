"""Which entries that reloader did not write go with a change, whether the user asked for that, and the ops that look
once more. Pure.

Made by plan/builder.py once it knows what becomes of each map.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from reloader.frozen import frozen
from reloader.observe.pipeline import Observed
from reloader.pipeline.model import Apply
from reloader.pipeline.wish import Wish, WishMap
from reloader.plan import ops
from reloader.plan.config.foreign import Foreign, is_watched, same_keys
from reloader.plan.config.strategy import Way
from reloader.plan.map_choices import MapChoice
from reloader.plan.model import Outcome
from reloader.plan.ops import Op
from reloader.plan.state.compat import map_differences, seen_shape, wished_shape


@frozen
class Losses:
    wish: Wish
    seen: Observed
    foreign: Mapping[str, Foreign]  # map → what it holds that reloader did not write
    spared: Collection[str]  # config maps that keep that
    reset: Collection[str]  # as --reset names them
    prune: bool  # --prune
    way_back: bool  # an earlier version returns: nothing of this stops it
    fresh: bool  # whether a new load is made
    maps: Sequence[MapChoice]
    ways: Mapping[str, Way]

    def lost(self) -> list[Foreign]:
        """Those that are not all kept."""
        return [found for name, found in self.foreign.items() if self._loses(name)]

    def unasked(self) -> list[Foreign]:
        """Those of them for which a word of the user is missing."""
        return [] if self.way_back else [found for found in self.lost() if not self._may_lose(found.map)]

    def left_out(self) -> dict[str, int]:
        """Map → entries that a way back does not keep."""
        return {found.map: found.count - len(found.spare) for found in self.lost()} if self.way_back else {}

    def checks(self) -> list[Op]:
        """Once more before anything is written: what others put into these maps since the plan was made."""
        generation, out = self.seen.generation, list[Op]()
        for name, wanted in self._retired().items():
            assert generation is not None
            live, pin = self.seen.maps[name], generation.maps[name].pin
            listing = wanted.entries if wanted and live.pin == pin and same_keys(live, wanted) else None
            out.append(
                ops.CheckEntries(
                    map=name,
                    path=pin,
                    entries=listing.digest if listing else "",
                    recorded=self._recorded(name),
                )
            )
        return out

    def carry(self, name: str, target: str) -> list[Op]:
        """After the commit: what others wrote to a retired config map since then."""
        wanted, live = self._retired().get(name), self.seen.maps.get(name)
        if wanted is None or wanted.entries is None or live is None:
            return []
        seen = self.seen
        if map_differences(seen_shape(live), wished_shape(wanted), cpus=seen.cpus, page_size=seen.page_size):
            return []
        digest, recorded = wanted.entries.digest, self._recorded(name)
        return [ops.CarryEntries(map=name, source=live.pin, target=target, entries=digest, recorded=recorded)]

    def _recorded(self, name: str) -> str:
        """The digest of what reloader wrote to the live map; empty when it wrote nothing."""
        was = self.seen.generation.wish.map(name) if self.seen.generation else None
        return was.entries.digest if was and was.entries else ""

    def _retired(self) -> dict[str, WishMap | None]:
        """Recorded maps that this change takes out of service although it may not lose what others put there → what is
        wanted instead."""
        generation = self.seen.generation
        if generation is None or self.seen.rebooted or self.way_back:
            return {}
        wished = {m.name: m for m in self.wish.maps}
        flipped = [n for n, way in self.ways.items() if way.apply is Apply.MAP]
        names = [n for n in generation.maps if self._ends(n)] if self.fresh else flipped
        return {n: wished.get(n) for n in names if not self._may_lose(n)}

    def _ends(self, name: str) -> bool:
        generation = self.seen.generation
        if generation is None or name not in self.seen.maps:
            return False
        return is_watched(generation.wish.map(name)) and self._replaced(name)

    def _loses(self, name: str) -> bool:
        found = self.foreign[name]
        if name in self.spared:
            return len(found.spare) < found.count
        if self.fresh:
            return self._replaced(name)
        return name in self.ways and self.wish.map(name).prune

    def _replaced(self, name: str) -> bool:
        """Whether a new load takes the recorded map of that name out of service."""
        pin = self.seen.generation.maps[name].pin if self.seen.generation else ""
        choice = next((c for c in self.maps if c.wanted.name == name), None)
        if choice is None or choice.refusal or choice.outcome is Outcome.RESET:
            return choice is None
        return choice.outcome is Outcome.REPLACE or choice.seen is None or choice.seen.pin != pin

    def _may_lose(self, name: str) -> bool:
        """Whether the user gave them up: by --reset, or by pruning, where they are no handles of a map that stays."""
        wanted = next((m for m in self.wish.maps if m.name == name), None)
        handles = name in self.foreign and self.foreign[name].handles
        pruned = self.prune or bool(wanted and wanted.may_prune)
        return name in self.reset or (pruned and not (handles and wanted))
