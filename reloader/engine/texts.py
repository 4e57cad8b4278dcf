"""The words of this room, by module: a journal, a transaction and its end, groups of readers."""

from __future__ import annotations

from reloader.wording.message import Text

# --- journal

_COMPARE_LINKS = "compare `bpftool link show` with the records of the generations, then remove the journal"
JOURNAL_DAMAGED = Text("journal-damaged", "the journal {path} is damaged: {why}", hint=_COMPARE_LINKS)
JOURNAL_LINE_DAMAGED = Text("journal-line-damaged", "{path}:{line}: the journal is damaged", hint=_COMPARE_LINKS)
JOURNAL_VERSION = Text(
    "record-version",
    "the journal {path} has format version {found}; this reloader reads version {wanted}",
    hint="run `reloader recover` with the version of reloader that wrote it",
)

# --- transaction: how a change ended

CLEANUP_FAILED = Text("cleanup-failed", "{pipeline}: {state}, but the cleanup failed: {why}")
NOTHING_SWAPPED = Text("nothing-swapped", "{pipeline}: {why}; nothing was swapped; {stays}")
NOT_LIVE = Text(
    "not-live",
    "{pipeline}: generation {generation} is committed, but it is not live: {why}",
    hint="`reloader status {pipeline}` shows the current state; the next `reloader apply FILE` attaches it again",
)
ROLLED_BACK = Text("rolled-back", "{pipeline}: {why}; rolled back; {stays}{left_out}")
UNDO_FAILED = Text("undo-failed", "{pipeline}: {why}; the rollback failed too: {second}")

# --- transaction: parts of these

EVERYTHING_UNDONE = Text("everything-undone", "everything was undone")
GENERATION_IS_LIVE = Text("generation-is-live", "generation {generation} is live")
LEFT_OUT = Text("left-out", "; {map}: dropped {count:entry} that the layout cannot hold")
PANIC_STAYS = Text("panic-stays", "the panic program stays attached")
PIPELINE_IS_REMOVED = Text("pipeline-is-removed", "the pipeline is removed")

# --- transaction: hints

DISK_FULL = Text("disk-full", "free space on the disk of the record directory: it is full")
DISK_QUOTA = Text("disk-quota", "the quota on the disk of the record directory is exceeded: see `quota`")
DISK_READ_ONLY = Text("disk-read-only", "the file system of the record directory is read-only: see `dmesg`")
FILE_SIZE_LIMIT = Text("file-size-limit", "the limit on file sizes is too small for the records: see `ulimit -f`")
PLACE_DELETED = Text("place-deleted", "the place of the link was deleted during the change: run `reloader status`")
MAP_TOO_LARGE = Text("map-too-large", "reduce max_entries: the kernel does not accept this size")
PROCESS_LIMIT = Text("process-limit", "this user cannot start more processes: see `ulimit -u`")
RECOVER = Text("recover", "remove the cause, then run `reloader recover {pipeline}`")
SEE_STATUS = Text("see-status", "`reloader status {pipeline}` shows the current state")
TRANSACTION_ENDED = Text(
    "transaction-ended", "the transaction has ended; `reloader status {pipeline}` shows the current state"
)

# --- transaction: lookups during a conversion

INSERT_FAILED = Text(
    "insert-failed",
    '{pipeline}: {count:lookup} returned "not found" during the conversion because the new map was full or the entry'
    " did not fit (insert_failed)",
)
LOCK_FAILED = Text(
    "lock-failed",
    '{pipeline}: {count:lookup} returned "not found" during the conversion because the entry was locked (lock_failed)',
)

# --- refusal: an error in the words of its reader

ERROR_OF_FILE = Text("error-of-file", "{file}: {why}")
INTERRUPTED = Text("interrupted", "interrupted")
LOG_NOT_WRITTEN = Text("log-not-written", "the whole log could not be written: {why}")
PROGRAM_REJECTED = Text("program-rejected", "the verifier rejected program {program}: {why}")
VERIFIER_REJECTED = Text(
    "verifier-rejected", "{pipeline}: the verifier rejected program {program}: {why}; nothing was swapped"
)
WHOLE_LOG = Text("whole-log", "whole log: {path}")

# --- execute

FREEZE_FAILED = Text(
    "freeze-failed", "could not freeze the retired map {path}: later writes to it will be lost silently: {why}"
)
INNER_MAP = Text("inner-map", "in {path}")
PROGRESS = Text("progress", "{step}: {done:entry}")
PROGRESS_OF = Text("progress-of", "{step}: {done:,} of {count:entry}")
RUN_TESTS_ALONE = Text("run-tests-alone", "`reloader test {file}` runs only the tests and changes nothing")

# --- attached, links: what runs at a place

LINK_ELSEWHERE = Text("link-elsewhere", "{path}: our link is attached to another place")
LINKS_MISSING = Text("links-missing", "the link is missing at {places}")
OTHER_ATTACHED = Text("displaced", "another program is attached at {places}")
PANIC_ATTACHED = Text("panicked", "a panic program is attached at {places}")

# --- sharing: a group that reads the published maps

CANNOT_PASS = Text("cannot-pass", "the group cannot pass {folder}: run `chmod o+x {folder}`")
GROUP_MISSING = Text("group-missing", "group {group} does not exist on this host")
NOT_A_MEMBER = Text(
    "not-a-member",
    "{pipeline}: user {user} is not a member of group {group} and cannot share maps with it",
    hint="as root: `usermod -aG {group} {user}`; or name a group of this user under spec.share",
)
USER_NOT_IN_GROUP = Text("user-not-in-group", "user {user} is not a member of group {group}")

# --- strangers

WRITTEN_NOW = Text("written-now", "another process writes to the map now; `reloader plan FILE` shows its entries")
