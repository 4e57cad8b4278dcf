"""The words of this room: folders of pins that other users could change. The codes of weaknesses are WeakFolder's."""

from __future__ import annotations

from reloader.wording.message import Text

# --- own_folders

BPFFS_UNREADABLE = Text("bpffs-unreadable", "cannot look at {path}: {why}", hint="run as root, or pass --bpffs DIR")
LINK = Text("link", "{path} is a symbolic link of user {owner}")
OWNER = Text("owner", "{path} belongs to user {owner}")
PIN_FOLDER_NOT_OURS = Text(
    "pin-folder-not-ours", "{pipeline}: other users can change the pins in {path}; nothing was touched"
)
WRITABLE = Text("writable", "{path} can be written by other users (mode {mode})")
