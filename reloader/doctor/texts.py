"""The words of this room: what is right or wrong with a host and its pipelines, and the command that repairs it."""

from __future__ import annotations

from reloader.wording.message import Text

_AS_ROOT = "run `reloader doctor` as root"

# host_checks

BPFFS = Text("bpffs", "{path} is on a bpf filesystem")
BPFFS_UNKNOWN = Text("bpffs-unknown", "{why}", hint=_AS_ROOT)
NOT_BPFFS = Text(
    "not-bpffs",
    "{path} is not on a bpf filesystem",
    hint="mount -t bpf bpf /sys/fs/bpf, or name another folder with --bpffs",
)

FEATURE_MISSING = Text("feature-missing", "{feature}: {why} ({purpose})", hint="use a kernel that has it")
FEATURES = Text("features", "all features that every pipeline needs were found, or could not be tried")
PRIVILEGES = Text("privileges", "this process has {capabilities}")
PRIVILEGES_MISSING = Text(
    "privileges-missing",
    "this process does not have {capabilities}",
    hint="run as root, or give it these capabilities",
)
NOT_PERMITTED = Text("not-permitted", "{why}", hint=_AS_ROOT)
PERMISSION_DENIED = Text("permission-denied", "{file}: permission denied")

COMMANDS = Text("commands", "{path} declares {commands}")
COMMANDS_NONE = Text("commands-none", "{path} does not declare commands")
COMMANDS_REFUSED = Text(
    "commands-refused", "{why}", hint="correct {path}: until then pipelines cannot use its commands"
)
COMMANDS_REFUSED_ADVICE = Text(
    "commands-refused-advice", "{why}", hint="{advice}; until then pipelines cannot use the commands of {path}"
)

NOT_A_DIRECTORY = Text("not-a-directory", "{path} is not a folder", hint="name a folder with --records")
RECORDS_CREATED_LATER = Text("records-created-later", "the first apply creates {path}")
RECORDS_READ_ONLY = Text(
    "records-read-only", "{path} cannot be written", hint="run as its owner, or name another folder with --records"
)
RECORDS_WRITABLE = Text("records-writable", "{path} can be written")

TRIALS_GUARDED = Text("trials-guarded", "unconfirmed and guarded: {pipelines}")
TRIAL_OVERDUE = Text(
    "trial-overdue",
    "{pipeline}: the confirmation deadline of generation {generation} passed, and its guard is missing or stuck",
    hint="`reloader recover {pipeline}` ends its trial",
)
TRIAL_UNGUARDED = Text(
    "trial-unguarded",
    "{pipeline}: generation {generation} is unconfirmed, and its guard is missing or stuck",
    hint="`reloader confirm {pipeline}` keeps it, `reloader rollback {pipeline}` takes it back",
)

# pipeline_checks: the disk, folders, records

DISK = Text("disk", "{free} MiB free on the disk of {path}")
_MAKE_ROOM = "make room, for example with `reloader gc`; until then a change is refused before anything is swapped"
DISK_FULL = Text("disk-full", "{free} MiB free on the disk of {path}", hint=_MAKE_ROOM)
INODES_USED_UP = Text("inodes-used-up", "the disk of {path} does not have a free inode", hint=_MAKE_ROOM)
PIN_FOLDERS = Text("pin-folders", "other users cannot change the pin folders")

RECORDS_DAMAGED = Text("records-damaged", "{pipeline}: {why}")
RECORDS_MISSING = Text(
    "records-missing",
    "{pipeline}: it has pins, but its records are missing",
    hint="`reloader recover {pipeline}` rebuilds the records; or name their folder with --records",
)
REBUILD = Text("rebuild", "`reloader recover {pipeline}` rebuilds it from the kernel and the undamaged records")
RESTORE_BACKUP = Text("restore-backup", "restore {path} from a backup; or remove it and apply the YAML")
STORED_FILES_DAMAGED = Text(
    "stored-files-damaged",
    "{pipeline}: stored files are missing or damaged: {files}",
    hint="remove {damaged}, then apply it again from its YAML; until then a restart or a rollback cannot load them",
)
STORED_FILES_MISSING = Text(
    "stored-files-missing",
    "{pipeline}: stored files are missing: {files}",
    hint="apply it again from its YAML; until then a restart or a rollback cannot load them",
)
TRANSACTION_OPEN = Text(
    "transaction-open",
    "{pipeline}: a transaction did not end",
    hint="`reloader recover {pipeline}` completes it or takes it back",
)

# pipeline_checks: the kernel

AS_RECORDED = Text("as-recorded", "{pipeline}: as recorded")
KERNEL_RESTARTED = Text(
    "kernel-restarted",
    "{pipeline}: the kernel was restarted; its programs are not loaded",
    hint="`reloader recover --boot {pipeline}`",
)
LAST_ATTEMPT_FAILED = Text(
    "last-attempt-failed", "{pipeline}: the last attempt failed: {why}", hint="correct the file, then apply it"
)
MAPS_MISSING = Text("maps-missing", "{pipeline}: maps are missing: {maps}", hint="apply creates them again")
PARKED_STATE_LOST = Text(
    "parked-state-lost",
    "{pipeline}: the restart of the kernel deleted its parked state: {maps}",
    hint="`reloader remove {pipeline} --state`",
)
PINS_ALL_MISSING = Text(
    "pins-all-missing", "{pipeline}: all its pins are missing: the bpf filesystem was unmounted or emptied"
)
APPLY_AGAIN = Text("apply-again", "apply it again")
APPLY_AGAIN_RESET = Text(
    "apply-again-reset", "apply it again with {options}: the contents of these state maps are lost"
)
PINS_MISSING = Text(
    "pins-missing",
    "{pipeline}: pins are missing, but the objects are still in use: {names}",
    hint="apply restores them",
)
PROGRAMS_MISSING = Text(
    "programs-missing", "{pipeline}: programs are missing: {programs}", hint="apply loads them again"
)
SIDES_MISSING = Text(
    "sides-missing",
    "{pipeline}: pins that select the side of a config map are missing: {pins}",
    hint="apply loads the programs again, with new pins",
)
STATE_MISSING = Text(
    "state-missing", "{pipeline}: state maps are missing: {maps}", hint="apply with {options} starts them empty"
)

# pipeline_checks: attachments

ATTACHMENT = Text("attachment", "{pipeline}: attachment {attachment}: {what}")
NEIGHBOUR = Text("neighbour", "{pipeline}: attachment {attachment}: {effect}")
NOT_MEASURABLE = Text(
    "not_measurable",
    "{pipeline}: attachment {attachment}: too few packets to tell whether they reach {program}: "
    "{packets:packet} in the sample",
)
NO_PACKET_SEEN = Text(
    "no_packet_seen",
    "{pipeline}: attachment {attachment}: {why}",
    hint="a program that runs before it keeps the packets: see `reloader status`",
)
REMOVED_BY_TAKE_OVER = Text("removed-by-take-over", "`reloader apply FILE --take-over` removes it")
