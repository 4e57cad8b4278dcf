"""What reports say."""

from __future__ import annotations

from reloader.wording.message import Text

# attachments
AS_RECORDED = Text("as-recorded", "as recorded")
LINK_PIN_MISSING = Text(
    "link-pin-missing", "our link's pin is missing", hint="`reloader apply FILE` makes the link again"
)
PANIC = Text("panic", "{panic}", hint="`reloader apply FILE` or `rollback` ends it")
ANOTHER_PROGRAM = Text(
    "another-program",
    "our link runs {owner}, which another process attached",
    hint="`reloader apply FILE --take-over` restores ours",
)
OCCUPIED = Text("occupied", "{cause}; {owner} runs there, {held}", hint="`reloader apply FILE --take-over` replaces it")
OCCUPIED_BY_LINK = Text(
    "occupied-by-link",
    "{cause}; {owner} runs there, {held}",
    hint="only the process that holds that link can detach it; then run `reloader apply FILE`",
)
RESCUED = Text(
    "occupied-by-rescue-script",
    "{cause}; {owner} runs there, {held}",
    hint="a rescue script attached it: `reloader apply FILE` takes over from it, `reloader remove PIPELINE` removes it",
)

# arrivals
UNREACHED = Text("no-packet-seen", "{program} saw none of {packets:packet} that came to its place in {seconds:.1f} s")

# drift: what cannot be shown

ENTRIES_NOT_LISTED = Text(
    "entries-not-listed",
    "{pipeline}: generation {generation} does not list entries for map {map}",
    hint="add --live to show what the map holds",
)
ENTRIES_NOT_SHOWN = Text(
    "entries-not-shown", "{pipeline}: map {map} is a {type}; the entries of such a map cannot be shown"
)
MAP_NOT_FOUND = Text(
    "map-not-found",
    "{pipeline}: map {map} is missing in the kernel",
    hint="`reloader diff {pipeline} --live` shows all drift",
)
NO_SUCH_MAP = Text(
    "no-such-map", "{pipeline}: generation {generation} does not have a map {map}", hint="known maps: {known}"
)
PIPELINE_REMOVED = Text("pipeline-removed", "{pipeline} is removed; its programs are not loaded")

# drift: one entry

ENTRY = Text("entry", "{key}: {value}")
ENTRY_CHANGED = Text("entry-changed", "{key}: {value}; listed is {listed}")
ENTRY_EXTRA = Text("entry-extra", "{key}: {value}, which the generation does not list")
ENTRY_MISSING = Text("entry-missing", "{key}: missing; listed is {listed}")

# drift: what the kernel shows otherwise

KERNEL_RESTARTED = Text("kernel-restarted", "the kernel was restarted")
MAP_IN_USE = Text("map-in-use", "pin missing; the map is still in use")
MAP_MISSING = Text("map-missing", "missing")
MORE_ENTRIES = Text("more-entries", "and {count:more entry|more entries}")
OTHER_MAP = Text("other-map", "another map is pinned (id {old} → {new})")
OTHER_PROGRAM = Text("other-program", "another program is pinned (id {old} → {new})")
PROGRAM_IN_USE = Text("program-in-use", "pin missing; the program is still in use")
PROGRAM_MISSING = Text("program-missing", "missing")
PUBLISHED_MISSING = Text("published-missing", "{pin} is missing")
PUBLISHED_OTHER = Text("published-other", "{pin} is another map (id {id})")

# status: pipelines

KNOWN_PIPELINES = Text("known-pipelines", "known pipelines: {known}")
NONE = Text("none", "none")
NO_SUCH_PIPELINE = Text("no-such-pipeline", "pipeline {pipeline} does not exist")
NO_SUCH_PIPELINES = Text("no-such-pipelines", "pipelines {pipelines} do not exist")

# status: problems

FAILED_ATTEMPT = Text("failed-attempt", "last attempt: {why}")
NOT_CONFIRMED = Text(
    "not-confirmed",
    "generation {generation} was not confirmed in time",
    hint="`reloader recover {pipeline}` takes it back",
)
PIN_MISSING = Text("pin-missing", "map {map}: pin missing")
PIN_OF_MAP_MISSING = Text(
    "pin-of-map-missing",
    "map {map}: pin missing; the map is still in use",
    hint="`reloader apply FILE` restores the pin",
)
PIN_OF_PROGRAM_MISSING = Text(
    "pin-of-program-missing",
    "program {program}: pin missing; the program is still in use",
    hint="`reloader apply FILE` restores the pin",
)
RESTARTED = Text("restarted", "the kernel was restarted", hint="`reloader apply FILE` loads it again")
TRANSACTION_OPEN = Text(
    "transaction-open",
    "a transaction did not end",
    hint="`reloader recover {pipeline}` completes it or takes it back",
)

# status: notes

DEADLINE_PASSED = Text(
    "deadline-passed",
    "unconfirmed: confirmation deadline passed, {guard}; the next apply, rollback, remove or recover {end}",
    hint="`reloader recover {pipeline}` does it now",
)
DEADLINE_PASSED_PANIC = Text(
    "deadline-passed-panic",
    "unconfirmed: confirmation deadline passed, {guard}; the next command ends its trial and keeps the panic",
)
DETACHED = Text("detached", "detaches it")
GUARDED = Text("guarded", "guarded by process {pid}")
GUARD_MISSING = Text("guard-missing", "its guard is missing")
RECORDS_REBUILT = Text(
    "records-rebuilt",
    "its records were lost and rebuilt from the kernel; a rollback is possible after the next apply",
)
RESTORED = Text("restored", "restores generation {generation}")
STATE_STARTED_EMPTY = Text(
    "state-started-empty",
    "state map {map} started empty at {when}: the kernel was restarted",
    hint="`reloader state import {pipeline} FILE` restores an export",
)
UNCONFIRMED = Text(
    "unconfirmed",
    "unconfirmed: {seconds:.0f} s left, {guard}; `reloader confirm {pipeline}` keeps it, otherwise reloader {end}",
)
UNCONFIRMED_HEALTH = Text(
    "unconfirmed-health",
    "unconfirmed: {seconds:.0f} s left of its health window, {guard}; `reloader confirm {pipeline}` keeps it, "
    "otherwise reloader {end}",
)

# diff of two generations

ENTRIES_CHANGED = Text("entries-changed", "entries {old} → {new}")
ROLE_CHANGED = Text("role-changed", "role {old} → {new}")
TESTS_CHANGED = Text("tests-changed", "{old} → {new}")
