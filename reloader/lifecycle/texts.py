"""The words of this room: what was done to a pipeline, and why it cannot be done."""

from __future__ import annotations

from reloader.wording.message import Text

_RUN_AS_ROOT = "run as root, or with CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON"

NO_SUCH_PIPELINE = Text("no-such-pipeline", "pipeline {names} does not exist")
KNOWN_PIPELINES = Text("known-pipelines", "known pipelines: {names}")

# each: several pipelines

SYSTEM_CALL_FAILED = Text("system-call-failed", "{pipeline}: {why}")

# boot: loaded again after a reboot

BOOTED = Text("booted", "{pipeline}: generation {generation} is live, loaded from stored objects{more}")
BOOTED_FROM = Text(
    "booted-from",
    "{pipeline}: generation {generation} is live, loaded from stored objects of generation {source}{more}",
)
IN_FORCE = Text("in-force", "{pipeline}: generation {generation} is in force")
NEWER_FAILED = Text("newer-failed", "; generation {generation} failed its trial")
NEWER_REFUSED = Text("newer-refused", "; this kernel refuses the newer generation: {why}")
NOT_ROLLED_BACK = Text("not-rolled-back", "{why}")
OBJECTS_MISSING = Text(
    "objects-missing",
    "{pipeline}: generation {generation} cannot be loaded: its objects are missing",
    hint="run `reloader apply FILE` with its YAML",
)

STATE_EMPTY = Text("state-empty", "; state starts empty: {maps}")

# carry_out: removal

REMOVED_ALREADY = Text(
    "removed-already",
    "{pipeline} is removed already; only {kept} left",
    hint="`reloader remove {pipeline} --state` deletes that too",
)
HISTORY_KEPT = Text("history-kept", "its history is")
STATE_KEPT = Text("state-kept", "its state maps are")

# planning: what an apply asks for

RESET_EXTERNAL = Text(
    "reset-external",
    "{pipeline}: --reset {maps}: reloader does not own an external map; nothing was changed",
    hint="let the program that pinned it empty it, or leave out --reset",
)
RESET_UNKNOWN = Text(
    "reset-unknown", "--reset {maps}: not a map of {pipeline}", hint="`reloader plan FILE` lists the maps"
)

# privilege: capabilities

CAP_BPF_MISSING = Text("cap-bpf-missing", "CAP_BPF is missing, needed to load programs and create maps")
CAP_NET_ADMIN_MISSING = Text(
    "cap-net-admin-missing", "CAP_NET_ADMIN is missing, needed to load networking programs and attach them"
)
CAP_PERFMON_MISSING = Text(
    "cap-perfmon-missing",
    "{why}; CAP_PERFMON is missing: without it the verifier checks pointers more strictly than for root",
    hint=f"{_RUN_AS_ROOT}; {{verifier_hint}}",
)
CAPABILITIES_MISSING = Text("capabilities-missing", "{pipeline}: {missing}; nothing was changed", hint=_RUN_AS_ROOT)

# recover: interrupted transactions

COMPLETED = Text("completed", "{pipeline}: an interrupted transaction was completed{more}")
MOVED_BACK = Text("moved-back", "; {map}: moved {count:entry} back")
MOVED_ON = Text("moved-on", "; {map}: moved {count:entry} that the old map still held")
OTHER_JOURNAL = Text(
    "other-journal",
    "the journal is not damaged, but another version of reloader wrote it: {why}",
    hint="recover with the version of reloader that was killed",
)
RECOVERY_STOPPED = Text(
    "recovery-stopped",
    "{pipeline}: recovery stopped: {why}; an open journal is kept",
    hint="remove the cause, then run `reloader recover {pipeline}`",
)
ROLLED_BACK_AFTER_KILL = Text("rolled-back-after-kill", "{pipeline}: an interrupted transaction was rolled back{more}")
UNDO_FAILED = Text(
    "undo-failed",
    "{pipeline}: rolling back an interrupted transaction failed: {why}",
    hint="remove the cause, then run `reloader recover {pipeline}`; its journal is {journal}",
)

# rebuild: records made again

DAMAGED_AND_OPEN = Text(
    "damaged-and-open",
    "{pipeline}: its records are damaged and a transaction is open",
    hint="remove {journals}, then run `reloader recover {pipeline}`",
)
LINK_UNEXPLAINED = Text(
    "link-unexplained", "{pipeline}: the metadata of its programs does not name link {pin}; the link was not touched"
)
NO_PROGRAM_OF_OURS = Text(
    "no-program-of-ours",
    "{pipeline}: {folder} does not contain a program with the metadata of this pipeline",
    hint="run `reloader apply FILE` with its YAML",
)
REBUILT = Text("rebuilt", "rebuilt from the kernel")
RECORDS_REBUILT = Text(
    "records-rebuilt",
    "{pipeline}: records rebuilt: generation {generation}, load {load}, {links:link}, state maps: {maps}",
)

# return_to_previous: the end of a trial that failed

DETACHED = Text("detached", "detached, because it was the first version")
GENERATION_FAILED = Text("generation-failed", "generation {generation} failed: {why}")
GUARD_ENDED = Text("guard-ended", "not confirmed in time, and its guard process has ended")
RESTORED = Text("restored", "rolled back: generation {generation} restores generation {source}{left_out}")
ROLLBACK_TO = Text("rollback-to", "rollback to {generation}")
ROLLBACK_TO_BECAUSE = Text("rollback-to-because", "rollback to {generation}: {why}")
ROLLBACK_FAILED = Text("rollback-failed", "{why}; the rollback failed: {failure}")
STAYS = Text("stays", "failed, and stays: {why}")
NO_WAY_BACK = Text(
    "no-way-back",
    "{pipeline}: generation {generation} failed: {why}; the rollback failed: {failure}",
    hint="generation {generation} is still live; remove the cause, then run `reloader rollback {pipeline}`,"
    " or apply another version",
)
TRIAL_ENDED = Text("trial-ended", "{pipeline}: generation {generation}: {why}; {result}")

# rollback

ALLOW_LOSSY = Text("allow-lossy", "--allow-lossy-rollback drops these entries and rolls back")

# state_export, state_import

CANNOT_BE_EXPORTED = Text("cannot-be-exported", "entries of a map of type {type} cannot be exported")
NO_MAP_IN_FILE = Text("no-map-in-file", "{file} does not contain a map {map}", hint="its maps are {known}")
NO_STATE_MAP = Text("no-state-map", "{pipeline} does not have a state map {map}", hint="its state maps are {known}")
NOT_LIVE = Text(
    "not-live",
    "{pipeline} does not have a state map {map} in its running version",
    hint="--map names the map to import",
)
NOT_LOADED = Text(
    "not-loaded",
    "{pipeline}: the host was rebooted, and the pipeline is not loaded",
    hint="run `reloader recover --boot {pipeline}` first",
)
PIPELINE_REMOVED = Text(
    "pipeline-removed",
    "{pipeline} is removed: it does not have live maps",
    hint="run `reloader apply FILE` first",
)
READING = Text("reading", "reading {file}")
SEE_STATUS = Text("see-status", "`reloader status` lists the pipelines")
TRANSACTION_OPEN = Text(
    "transaction-open",
    "{pipeline}: a transaction is open; its counts may be in two maps",
    hint="run `reloader recover {pipeline}` first",
)

# sweep: unused pins and files, and those that are kept

ATTACHED_LINK = Text("attached-link", "the link is not in a record, but it is attached")
ATTACHED_LOAD = Text("attached-load", "the load is not in a record, but a program of it is attached")
CACHE_OF_NONE = Text("cache-of-none", "compiled from the YAML of a pipeline without records")
DETACHED_LINK = Text("detached-link", "a link that lost its place")
EMPTY_FOLDER = Text("empty-folder", "empty")
EMPTY_STATE = Text("empty-state", "an empty state map that is not in a record")
HALF_WRITTEN = Text("half-written", "half-written by a process that has ended")
OTHER_OWNER = Text("other-owner", "it holds a program of another owner")
RECORDS_UNSOUND = Text("records-unsound", "its records cannot be read: {why}")
RESCUE_LOAD = Text(
    "rescue-load",
    "a rescue script loaded it; `reloader apply FILE` takes over from it, `reloader remove {pipeline}` detaches it",
)
STATE_WITH_ENTRIES = Text(
    "state-with-entries",
    "the state map is not in a record, but it holds {count:entry}; remove the pin by hand to delete it",
)
SWEEP_OPEN = Text("sweep-open", "a transaction is open; run `reloader recover {pipeline}` first")
UNRECORDED_IMPORT = Text("unrecorded-import", "of an import that has ended")
UNRECORDED_LIVE = Text(
    "unrecorded-live",
    "it is attached, but its records are missing; `reloader recover {pipeline}` rebuilds them",
)
UNRECORDED_LOAD = Text("unrecorded-load", "of a load that is not in a record")
UNRECORDED_NAME = Text("unrecorded-name", "a public name of a map that is not in a record")
UNRECORDED_TAKEN = Text("unrecorded-taken", "of a take-over that has ended")
UNUSED_BLOB = Text("unused-blob", "not used by a pipeline")

# trial_record: how a trial ends

CONFIRMED = Text("confirmed", "confirmed")
NOTHING_TO_CONFIRM = Text(
    "nothing-to-confirm",
    "{pipeline}: nothing to confirm: generation {generation} is live and not on trial",
    hint="see `reloader history {pipeline}`",
)
NOTHING_TO_CONFIRM_REMOVED = Text(
    "nothing-to-confirm-removed",
    "{pipeline}: nothing to confirm: the pipeline is removed",
    hint="see `reloader history {pipeline}`",
)
PANICKED = Text("panicked", "a panic ended its trial")
PANICKED_BECAUSE = Text("panicked-because", "a panic ended its trial ({why})")
REMOVED = Text("removed", "removed before its trial ended")
ROLLED_BACK_BECAUSE = Text("rolled-back-because", "rolled back: {why}{left_out}")
ROLLED_BACK_BY_HAND = Text("rolled-back-by-hand", "rolled back by hand")
UNCONFIRMED = Text(
    "unconfirmed",
    "{pipeline}: generation {generation} is unconfirmed for another {seconds:.0f} s",
    hint="wait for the outcome, or decide now: `reloader confirm {pipeline}` keeps it,"
    " `reloader {back} {pipeline}` rolls it back",
)
