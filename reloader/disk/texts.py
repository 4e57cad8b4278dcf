"""The words of this room, by module: unfit files, files that others can change, locks."""

from __future__ import annotations

from reloader.wording.message import Text

# --- atomic_files: a file that is not read; the words continue "cannot be read: "

NOT_A_REGULAR_FILE = Text("not-a-regular-file", "it is a {type}, not a regular file")
TOO_LARGE = Text("too-large", "larger than {limit}")
UNREADABLE = Text("cannot-be-read", "{why}")

# --- trust: who could change a file; the codes of weaknesses are the words of `weakness` in -o json

ACL = Text("acl", "can be written by other users through its access control list")
EVERYBODY = Text("everybody", "can be written by all users")
GROUP = Text("group", "can be written by group {group}")
OWNER = Text("owner", "belongs to user {owner}")
OTHERS_CAN_CHANGE = Text(
    "others-can-change",
    "other users can change {what}; nothing was touched",
    hint="other users could decide what runs in the kernel: run `chown root FILE && chmod go-w FILE` for each",
)
PIPELINE_FILES = Text("pipeline-files", "the files of this pipeline")

# --- record_folder

RECORDS = Text("records", "the records")
RECORD_DIRECTORY = Text("record-directory", "the record directory")
RESTORE_RECORDS = Text(
    "restore-records",
    "another user could have written them: remove them or restore them from a backup; then run"
    " `chown -Rh {user} {folder} && chmod -R go-w {folder}`",
)

# --- lock: who holds it

BPFFS_SUBJECT = Text("bpffs-subject", "the bpf filesystem of {path}")
LOCKED_BY = Text("locked-by", "another reloader (pid {holder}) holds the lock of {what}", hint="try again later")
RECORDS_SUBJECT = Text("records-subject", "the record directory {path}")
SHOW_HOLDER = Text("show-holder", "wait until it ends; `ps -fp {pid}` shows it")

# --- lock: files and folders for locks

BELONGS_TO_OTHER = Text("belongs-to-other", "belongs to user {owner}, not to user {user}")
BPFFS_NOT_OURS = Text(
    "bpffs-not-ours",
    "the pin folder {path} belongs to user {owner}, not to user {user}",
    hint="as root: `chown {user} {path}`; or use your own folder of a bpf filesystem: --bpffs DIR",
)
CANNOT_BE_CREATED = Text("cannot-be-created", "cannot be created: {why}")
CANNOT_BE_OPENED = Text("cannot-be-opened", "cannot be opened: {why}")
LOCK_FILE_NOT_OURS = Text(
    "lock-file-not-ours", "the lock file {path} {why}", hint="stop every reloader, then run `rm {path}`"
)
LOCK_FOLDER_READ_ONLY = Text(
    "read-only",
    "cannot write the folder {folder}: {why}",
    hint="remount it writable, or use other folders: --records DIR, RELOADER_RUN=/DIR",
)
LOCK_NOT_REGULAR = Text("lock-not-regular", "is not a regular file")
LOCK_FILES = Text("lock-files", "the lock files")
NO_PRIVATE_LOCK = Text(
    "no-private-lock",
    "user {user} does not have a runtime directory for lock files, and others can open {path}",
    hint="run `chmod go-r {path}`, or set XDG_RUNTIME_DIR to your own folder with mode 0700",
)
RECORDS_NOT_WRITABLE = Text(
    "records-not-writable", "cannot write the record directory {path}", hint="run as root, or pass --records DIR"
)
RELATIVE_PATH = Text("relative-path", "is not an absolute path, so it depends on the working directory")
RUN_DIR_NOT_OURS = Text(
    "run-dir-not-ours",
    "the folder {path} for lock files {why}",
    hint="as root: `chown {user} {path} && chmod 0700 {path}`; or set RELOADER_RUN=/DIR, the same for every reloader",
)
