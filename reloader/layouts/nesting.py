"""What is in a map of maps: the maps that it holds, as the object declares them and as a conversion treats them.

Part of wishes, plans and the journal.
"""

from __future__ import annotations

from reloader.frozen import frozen
from reloader.kernel import ARRAY_TYPES

F_INNER_MAP = 1 << 12  # arrays of any size may take the place of one another


@frozen
class InnerMap:
    """The maps that a map of maps holds, as the object declares them."""

    type: int  # kernel.MapType
    key_size: int
    value_size: int
    max_entries: int
    map_flags: int

    def room(self, live: int, template: int) -> int:
        """Entries of the successor of a map that has `live`: another size than its template's was somebody's choice."""
        fixed = self.type in ARRAY_TYPES and not self.map_flags & F_INNER_MAP
        return self.max_entries if fixed or live == template else max(self.max_entries, live)


@frozen
class Nesting:
    """What is in a map of maps that is converted."""

    inner: InnerMap | None  # what successors of its maps look like; None: none are made, as on the way back
    template: int = 0  # entries that the old object declares for each; 0: not known
    own: tuple[int, ...] = ()  # ids of others in it: maps of the pipeline itself, whose successors a load puts there
