"""The words of this room: what becomes of programs, maps and contents, and why a plan is refused."""

from __future__ import annotations

from reloader.wording.message import Text

# planner: why a plan is refused

REFUSED = Text("refused", "{pipeline}: the change is refused; nothing was touched")
PLACE_MISSING = Text("place-missing", "{pipeline}: {why}", hint="nothing was touched; see `reloader doctor --features`")
NOTHING_TOUCHED = Text("nothing-touched", "nothing was touched; {advice}")

DISCARD = Text("discard", "to discard the contents of a map, use --reset MAP")
LIST_OR_KEEP = Text("list-or-keep", "list them in the YAML, keep them with `prune: false`, or delete them with --prune")
REBUILD_RECORDS = Text("rebuild-records", "`reloader recover {pipeline}` rebuilds its records from the kernel")
REMOVE_OTHER = Text(
    "remove-other",
    "to put {pipeline} in its place, run `reloader remove {other}`, then apply; the state of {other} is not moved",
)
START_EMPTY = Text("start-empty", "{options} starts it empty; the process that filled it must fill it again")

# planner: what made a new load necessary

ENTRIES_NEED_LOAD = Text("entries-need-load", "entries of {map} changed; a new load, because {why}")
FIRST_LOAD = Text("first-load", "first load")
KERNEL_RESTARTED = Text("kernel-restarted", "the kernel was restarted")
PINS_OF_MAPS_MISSING = Text("pins-of-maps-missing", "pinned maps are missing: {maps}")
PINS_OF_PROGRAMS_MISSING = Text("pins-of-programs-missing", "pinned programs of the running load are missing")
PINS_OF_SIDES_MISSING = Text("pins-of-sides-missing", "pins that select the side of a config map are missing: {pins}")
RECORDS_REBUILT = Text("records-rebuilt", "its records were rebuilt from the kernel")
RESET = Text("reset", "reset of {maps}")
WISH_CHANGED = Text("wish-changed", "changed: {parts}")

CHANGED_CONSTANTS = Text("changed-constants", "rodata {names}")
CHANGED_MAPS = Text("changed-maps", "map declarations")
CHANGED_OBJECTS = Text("changed-objects", "objects")
CHANGED_PROGRAMS = Text("changed-programs", "programs")

# builder

EARLIER_NOT_MEASURED = Text("earlier-not-measured", "an earlier version is not measured")
NO_ACTIVE_VERSION = Text("no-active-version", "no version is active")
ROLLBACK_LOSES = Text("rollback-loses", "state map {map}: a rollback would lose:")
USE_LOSSY_ROLLBACK = Text("use-lossy-rollback", "use --allow-lossy-rollback to accept this")

# map_choices: why a map cannot be what is wanted

LAYOUT_CHANGES = Text("layout-changes", "{role} map {map}: its layout changes:")
MAP_REFUSED = Text("map-refused", "{role} map {map}: {why}")
PIN_LOST = Text("pin-lost", "{role} map {map}: its pin is missing, but the kernel was not restarted")
PIN_MISSING = Text("pin-missing", "{role} map {map}: {pin} does not exist")
STRAY_PIN = Text(
    "stray-pin",
    "{role} map {map}: {pin} is not in the records",
    hint="are the records lost, or in another --records directory?",
)
UNDESCRIBED = Text(
    "undescribed",
    "{role} map {map}: BTF does not describe its key and value, so equal sizes do not prove an equal layout",
    hint="compile with -g and declare it with __type, or write its layout into a state schema",
)

# map_choices: what becomes of a map

ENTRIES = Text("entries", "{count:entry}")
FIELDS_KEPT = Text("fields-kept", "{fields} carried over")
MAP_OUTCOME = Text("map-outcome", "{role}: {outcome}")
NAMED_BY_RESET = Text("named-by-reset", "--reset names it")
SAME_MAP = Text("same-map", "the very same map")
STARTS_EMPTY = Text("starts-empty", "empty")
STARTS_EMPTY_DECLARATION = Text("starts-empty-declaration", "starts empty: its declaration changes")
STARTS_EMPTY_RESTART = Text("starts-empty-restart", "starts empty: the kernel was restarted")
STATE_PARKED = Text("state-parked", "the state it held is parked")

CONTENTS_DROPPED = Text("contents-dropped", "contents dropped")

# removal

PROGRAM_STOPS = Text("program-stops", "the program stops there")
REMOVED_STATE_DROPPED = Text("removed-state-dropped", "removed; state dropped")
REMOVED_STATE_PARKED = Text("removed-state-parked", "removed; state stays parked")
STATE_DROP = Text("state-drop", "state: drop")
STATE_KEEP = Text("state-keep", "state: keep")
STATE_LOST = Text("state-lost", "state: lost")

DETACH = Text("detach", "detach")
DROPPED_BY_STATE = Text("dropped-by-state", "--state")
LOST_WITHOUT_RESTART = Text("lost-without-restart", "its pin is missing, but the kernel was not restarted")
PARKED = Text("parked", "parked")
UNLOAD = Text("unload", "unload")

# lines: why

ATTACHMENTS_CHANGED = Text("attachments-changed", "attachments changed")
ENTRIES_BY_NEW_MAP = Text("entries-by-new-map", "entries of {map} changed; a new map, because {why}")
ENTRIES_IN_PLACE = Text("entries-in-place", "entries of {maps} changed; written in place")
ENTRIES_IN_PLACE_BECAUSE = Text(
    "entries-in-place-because", "entries of {maps} changed; written in place, because {why}"
)
NOTHING_TO_DO = Text("nothing-to-do", "nothing to do")
PINS_RESTORED = Text("pins-restored", "pins of {names} were missing and are restored")
READERS_CHANGED = Text("readers-changed", "other users may read the published maps")
TESTS_CHANGED = Text("tests-changed", "tests changed")

# lines: programs, constants, tests, health, share

CHECKS_UNCONFIRMED = Text("checks-unconfirmed", "unconfirmed for {window:g} s, checked every {interval:g} s")
CONSTANT_COMPILED = Text("constant-compiled", "not in the YAML: the compiled value")
LOAD = Text("load", "load {load}")
OTHERWISE_DETACHED = Text("otherwise-detached", "otherwise it is detached")
OTHERWISE_RESTORED = Text("otherwise-restored", "otherwise generation {generation} is restored")
PIN_AGAIN = Text("pin-again", "pin again")
PROGRAM_IN_USE = Text("program-in-use", "pin missing; the program is still in use")
SHARE_ALLOWED = Text("share-allowed", "the group may read the maps in pub/")
SHARE_ENDS = Text("share-ends", "pub/ becomes private")
SHARE_STAYS_PRIVATE = Text("share-stays-private", "pub/ stays private")
TESTS_RUN = Text("tests-run", "run on scratch maps before the swap")

# lines: maps and their entries

COUNTS = Text("counts", "{added} added, {changed} changed, {deleted} deleted")
DELETES_FIRST = Text("deletes-first", "deletes first: the map is too full")
ENTRIES_DELETED = Text("entries-deleted", "deletes {entries}")
ENTRIES_DO_NOT_FIT = Text("entries-do-not-fit", "{count} more do not fit")
ENTRIES_KEPT = Text("entries-kept", "keeps {count:entry} that reloader did not write")
ENTRIES_OVERWRITTEN = Text("entries-overwritten", "overwrites {entries}")
ENTRIES_WRITTEN = Text("entries-written", "entries: {counts}")
MAP_IN_USE = Text("map-in-use", "pin missing; the map is still in use")
MAP_REPLACED = Text("map-replaced", "map: {counts}")
NEW_MAP = Text("new-map", "a new map; one store makes packets use it")
TWICE_UNTIL_COMMIT = Text("twice-until-commit", "about {size} more until the commit")
UNCHANGED = Text("unchanged", "unchanged")
WRITTEN_IN_PLACE = Text("written-in-place", "written in place, in batches")

ENTRIES_MISSING = Text("entries-missing", "{count:entry} missing")
MIXTURE = Text("mixture", "old and new entries mixed for about {milliseconds} ms")
NONE = Text("none", "none")
TAIL_CALLS_STOP = Text("tail-calls-stop", "tail calls into {count:entry} stop")

# state_costs

CHARGED = Text("charged", "{now} now; about {new} more until the commit, charged to cgroup {cgroup}")
CHARGED_WITH_KEYS = Text(
    "charged-with-keys",
    "{now} now; about {new} more until the commit ({keys} of it for the keys copied), charged to cgroup {cgroup}",
)
ENTRIES_DROPPED = Text("entries-dropped", "{count:entry} dropped")
MEMORY = Text("memory", "{size}")
MEMORY_NOW = Text("memory-now", "{size} now")
SEE_BELOW = Text("see-below", "see below")

ARRAY_COUNTS_FOLLOW = Text(
    "array-counts-follow", "values without counts for about {seconds:.2f} s, other fields as of the copy"
)
EVICTION = Text("eviction", "{noticed}; the kernel may evict entries")
MISSES = Text(
    "misses",
    "lookup misses for entries created since the copy, for about {seconds:.2f} s; other fields as of the copy",
)
MISSES_INNER = Text(
    "misses-inner",
    "lookup misses for entries created since the copy of their map, for about {seconds:.2f} s; "
    "other fields as of the copy",
)
NOTHING = Text("nothing", "nothing")

# same_place

PLACE_WISHED_TWICE = Text(
    "place-wished-twice",
    "attachment {attachment}: it is the same place as attachment {other}",
    hint="keep one of the two",
)
