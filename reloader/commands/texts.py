"""The words of this room: results, notes and refusals of commands. Rows of tables stand in the command's module."""

from __future__ import annotations

from reloader.wording.message import Text

_RUN_AS_ROOT = "run as root, or with CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON"

# cli: a command that ended early

INTERRUPTED = Text("interrupted", "interrupted")
MISSING_FEATURE = Text("system-call-unsupported", "{why}", hint="nothing was changed")
NO_PERMISSION = Text("no-permission", "{file}: permission denied", hint=_RUN_AS_ROOT)
NOT_PERMITTED = Text("not-permitted", "{why}", hint=_RUN_AS_ROOT)
REPORT_LOST = Text("report-lost", "the report could not be written to standard output: {why}")
RESULT_LOST = Text("result-lost", "the result could not be written to standard output: {why}")
SYSTEM_CALL_FAILED = Text(
    "system-call-failed",
    "{why}",
    hint="the running version is not affected; `reloader status` shows the current state",
)

# aftermath: the state after an early end

CLEANUP_FAILED = Text("cleanup-failed", "{done}, but a later step failed: {why}")
EARLIER_OPEN = Text("earlier-open", "an earlier transaction of {pipeline} is still open")
FINISH_OR_UNDO = Text("finish-or-undo", "`reloader recover {pipelines}` completes the transaction or rolls it back")
FINISH = Text("finish", "`reloader recover {pipelines}` completes the transaction")
INTERRUPTED_EARLY = Text("interrupted-early", "interrupted; {facts}")
INTERRUPTED_LATE = Text("interrupted-late", "interrupted after the commit; {done}")
INTERRUPTED_OPEN = Text("interrupted-open", "interrupted; a transaction of {pipelines} is still open")
INTERRUPTED_ROLLED_BACK = Text("interrupted-rolled-back", "interrupted; rolled back: {live}")
LIVE = Text("live", "{pipeline}: generation {generation} is live")
NOTHING_CHANGED = Text("nothing-changed", "nothing was changed")
NOT_STARTED = Text("not-started", "{pipeline} was not started")
REMOVED = Text("removed", "{pipeline} is removed")
SHOW_STATE = Text("show-state", "`reloader status {pipelines}` shows the current state")
STILL_OPEN = Text("still-open", "a transaction is still open")
UNCONFIRMED = Text("unconfirmed", "generation {generation} of {pipeline} is unconfirmed; its guard process decides")

# environment: standard output

OUTPUT_LOST = Text("output-lost", "standard output cannot be written: {why}; its lines are lost, the command continues")

READING = Text("reading", "reading {file}")
READING_FILES = Text("reading-files", "reading {count:file}")

# sources: files on the command line

DEFINED_TWICE = Text(
    "defined-twice", "pipeline {pipeline!r} is already defined in {file}", hint="rename one of them in metadata.name"
)
NO_YAML_FILE = Text("no-yaml-file", "the directory does not contain a *.yaml file")

# render: plans and results of changes

APPLIED = Text("applied", "{pipeline}: generation {generation} is live{after}: {why}")
DETACHED = Text("detached", "{pipeline}: done{after}: {why}")
LEFT_OUT = Text("left-out", "{map}: {count:entry} dropped: the layout cannot hold them")
NOTHING_TO_DO = Text("nothing-to-do", "{pipeline}: nothing to do, generation {generation} is in force")
NOTHING_TO_DO_WHY = Text("nothing-to-do-why", "nothing to do")
ROLLS_BACK_IN = Text(
    "rolls-back-in", "unconfirmed: rolls back in {seconds:.0f} s unless `reloader confirm {pipeline}` comes first"
)
TESTS_PASSED = Text("tests-passed", "{passed} of {count:test} passed on scratch maps")

# apply

COMMITTED_BEFORE = Text("committed-before", "already applied and kept: {committed}")
CONFIRM_BEFORE_HEALTH = Text(
    "confirm-before-health",
    "--confirm-timeout is shorter than the health window of {pipeline}, {window:g} s",
    hint="use a timeout of at least the health window ({window:g}s)",
)
CONFIRM_TIMEOUT = Text(
    "confirm-timeout",
    "--confirm-timeout {text}: not a time of at most a week",
    hint="write for example 120s or 5m",
)
RESET_UNKNOWN = Text(
    "reset-unknown", "--reset {names}: not a map of these pipelines", hint="`reloader plan FILE` lists the maps"
)
SIGNAL_AFTER_COMMIT = Text("signal-after-commit", "{pipeline}: the signal came after the commit; the new version stays")

# confirm

CONFIRMED = Text("confirmed", "{pipeline}: generation {generation} is confirmed")

# diff

ALIKE = Text("alike", "generations {old} and {new} ask for the same")
LIVE_HAS_NO_NUMBERS = Text(
    "live-has-no-numbers",
    "--live compares the current generation with the kernel; it does not take a number",
    hint="`reloader diff {pipeline} --live`",
)
NO_DRIFT = Text("no-drift", "no drift: the kernel matches generation {generation}")
TWO_GENERATIONS = Text(
    "two-generations",
    "name two generations, or use --live",
    hint="`reloader history {pipeline}` lists the generations",
)

# gc

KEPT = Text("kept", "kept {path}: {why}")
NOTHING_UNUSED = Text("nothing-unused", "nothing to remove")
REMOVED_FILE = Text("removed-file", "removed {kind} {path}: {why}")
WOULD_REMOVE = Text("would-remove", "would remove {kind} {path}: {why}")

# panic

PANIC_CLOSED = Text("panic-closed", "{pipeline}: panic closed: nothing passes at {attachments}")
PANIC_ENDS = Text("panic-ends", "`reloader apply FILE` or `reloader rollback {pipeline}` ends the panic")
PANIC_OPEN = Text("panic-open", "{pipeline}: panic open: everything passes at {attachments}")

# plan

PLANNING = Text("planning", "planning {pipeline}")
TRANSACTION_OPEN = Text(
    "transaction-open",
    "{pipeline}: `apply` recovers an interrupted transaction first; this plan may change by that",
)
TRIAL_OPEN = Text(
    "trial-open",
    "{pipeline}: the running version is unconfirmed; `apply` is refused until it is confirmed or rolled back",
)

# recover

NOTHING_TO_RECOVER = Text("nothing-to-recover", "nothing to recover")
RECOVERY_STOPPED = Text(
    "recovery-stopped", "recovery stopped: {why}", hint="remove the cause, then run `reloader recover`"
)
UNRECORDED = Text(
    "unrecorded", "{pipeline}: pins exist, but records are missing; `reloader recover {pipeline}` rebuilds the records"
)

# show

DIFFERING = Text("differing", "{map}: {count:entry}, {differing} not as generation {generation} lists")
ENTRIES = Text("entries", "{map}: {count:entry}")
LIVE_IS_NOW = Text(
    "live-is-now",
    "--live shows the running version, not a stored generation",
    hint="leave out the number or --live",
)
LIVE_NEEDS_MAP = Text(
    "live-needs-map", "--live needs --map MAP", hint="`reloader diff {pipeline} --live` shows all drift"
)

# state: registry of layouts

COUNTED_QUESTIONS = Text("counted-questions", "{path}: written, {count:question} to answer")
DIFFERS = Text("differs", "{map}: differs from version {head}, the recorded head")
DIFFERS_OLDER = Text("differs-older", "{map}: differs from version {head}, the recorded head; it is version {version}")
ENTRIES_UNLESS = Text("entries-unless", "entries unless {demand}")
FITS = Text("fits", "{map}: version {head}, the recorded head")
LAYOUTS_RECORDED = Text(
    "layouts-recorded",
    "every state map has the recorded layout (for a change of meaning alone: --map NAME --same)",
)
MAP_UNRECORDED = Text("map-unrecorded", "{map}: not recorded")
NO_LAYOUT_TO_WRITE = Text("no-layout-to-write", "{map}: version {version}, nothing to write")
NO_MAP_IN_OBJECT = Text("no-map-in-object", "{object} does not have a map {map}", hint="its maps are {known}")
NO_MAP_IN_SCHEMA = Text("no-map-in-schema", "schema {schema} does not record a map {map}", hint="it records {known}")
NO_SINGLE_PASS = Text("no-single-pass", "{first} → {last} in one pass: {why}")
NO_STATE_IN_SCHEMA = Text("no-state-in-schema", "schema {schema} does not record a state map of this object")
NOT_AN_OBJECT = Text("not-an-object", "{why}", hint="name a BPF object that `clang -target bpf -g` compiled")
ROLLBACK_LOSES = Text("rollback-loses", "a rollback would lose")
SCHEMA_ELSEWHERE = Text(
    "schema-elsewhere",
    "schema {schema} is in {folder}; all versions of a schema are in one directory",
    hint="add --dir {parent}",
)
SCHEMA_NAME = Text(
    "schema-name",
    "{schema!r} is not a name for a schema",
    hint="use a lowercase letter, then lowercase letters, digits, - and _",
)
WRITE_VERSION = Text("write-version", "`reloader state new {object} --schema {schema}{where}` writes the next version")
WRITTEN = Text("written", "{path}: written")

# state export, state import

EXPORTED = Text("exported", "{map}: {count:entry}")
MAP_LEFT_OUT = Text("map-left-out", "{pipeline}: state map {map} is left out: {why}")
TERMINAL = Text(
    "terminal", "a state file cannot be written to a terminal", hint="`reloader state export {pipeline} > FILE`"
)

# status

NO_PIPELINES = Text("no-pipelines", "no pipelines")

# test

BUDGET_NOT_MEASURED = Text("budget-not-measured", "{pipeline}: budgets cannot be measured: {why}")
NO_ACTIVE_VERSION = Text("no-active-version", "the pipeline does not have a running version")
NO_TESTS = Text("no-tests", "{pipeline}: no tests")

TESTING = Text("testing", "testing {pipeline}")

# validate

VALID = Text("valid", "{file}: {pipeline}: valid ({contents})")

# watch

DEBOUNCE = Text("debounce", "--debounce {seconds}: not between 0 and 3600 seconds")
NO_DIRECTORY = Text("no-directory", "the directory does not exist")
STOPPED = Text("stopped", "watch stopped; attached programs keep running")
WATCHING = Text("watching", "watching {directory}")
