"""The words of this room, by module: records, stored files, generations to go back to."""

from __future__ import annotations

from reloader.wording.message import Text

# --- records: a record cannot be used

CHECKSUM = Text("checksum", "its checksum does not match; if you edited it by hand, remove the member `sum`")
FOREIGN_PIN = Text(
    "foreign-pin",
    "the record {path} names {pin}, which is not below {folder}",
    hint="pass the --bpffs that was in use when this record was written",
)
OF_OTHER_GENERATION = Text("of-other-generation", "it is the record of generation {generation} of {pipeline}")
OF_OTHER_PIPELINE = Text("of-other-pipeline", "it is the record of pipeline {pipeline}")
RECORD_DAMAGED = Text(
    "record-damaged",
    "the record {path} is damaged: {why}",
    hint="restore it from a backup, or run `reloader recover`",
)
RECORD_VERSION = Text("record-version", "{path} has format version {found}; this reloader reads version {wanted}")
REBUILD_RECORDS = Text(
    "rebuild-records",
    "the running version is not affected; `reloader recover {pipeline}` rebuilds its records from the kernel",
)
REMOVE_RECORD = Text("remove-record", "remove {path}; then restore it from a backup, or run `reloader recover`")
VERSION_NOT_NUMBER = Text("version-not-number", "`{member}` is {value!r}, not a number")
WRITTEN_BY_LATER = Text("written-by-later", "use the version of reloader that wrote it")

# --- records: stored generations and files

NO_SUCH_GENERATION = Text(
    "no-such-generation", "{pipeline}: generation {generation} is not stored", hint="stored generations: {known}"
)
REMOVE_AND_APPLY = Text("remove-and-apply", "remove {file}, then apply the source files again")
STORED_FILE_DAMAGED = Text(
    "stored-file-damaged", "{file} {fault}", hint="remove {file}, then apply the source files again"
)
STORED_FILE_MISSING = Text("stored-file-missing", "{file} is missing", hint="apply the source files again")
UNREADABLE = Text("unreadable", "cannot be read: {why}")
WRONG_DIGEST = Text("wrong-digest", "does not match its digest")

# --- rollback_targets

GENERATION_REBUILT = Text(
    "generation-rebuilt",
    "{pipeline}: generation {generation} was rebuilt from the kernel; its objects are missing",
    hint="apply the YAML file of {pipeline}",
)
KNOWN_PIPELINES = Text("known-pipelines", "known pipelines: {names}")
NOTHING_TO_ROLL_BACK_TO = Text(
    "nothing-to-roll-back-to",
    "nothing to roll back to: no earlier generation of {pipeline} is different and healthy",
    hint="`reloader history {pipeline}` lists the generations",
)
NO_SUCH_PIPELINE = Text("no-such-pipeline", "pipeline {pipeline} does not exist")
ONLY_FAILED_GENERATIONS = Text(
    "only-failed-generations",
    "nothing to roll back to: every stored generation of {pipeline} failed its trial",
    hint="`reloader rollback {pipeline} --to {generation}` restores the last one anyway",
)
