"""The words of this room, by module: panic, the rescue script."""

from __future__ import annotations

from reloader.wording.message import Text

# --- panic: the command

NOTHING_ATTACHED = Text(
    "nothing-attached", "nothing of a pipeline {pipeline} is attached", hint="known pipelines: {known}"
)
STANCE_MISSING = Text(
    "stance-missing",
    "{pipeline} declares neither `panic: open` nor `panic: closed`",
    hint="add --open to let everything pass, or --closed to drop everything",
)
STANCE_NOT_READABLE = Text(
    "stance-not-readable",
    "{pipeline}: {why}",
    hint="add --open to let everything pass, or --closed to drop everything",
)
STANCE_NOT_RECORDED = Text("stance-not-recorded", "no record says how it panics")
NOT_EVERYWHERE = Text(
    "panic-not-everywhere",
    "{pipeline}: {failed} of {attachments:attachment} could not be made to panic",
    hint="run {commands}: it detaches the program, and everything passes",
)
NOWHERE_TO_DETACH = Text(
    "panic-without-links",
    "{pipeline}: {failed} of {attachments:attachment} could not be made to panic",
    hint="their links are not pinned any more: `bpftool link` lists what is attached",
)
DETACH = Text("detach", "`bpftool link detach pinned {pin}`")

# --- panic: why an attachment does not

ATTACHMENT = Text("attachment", "{attachment}: {why}")
WITHOUT_MEANING = Text("panic-without-meaning", "a panic does not mean anything at such a place: its program runs on")
LINK_PIN_MISSING = Text("link-pin-missing", "the pin of its link, {pin}, is missing")
DETACHED = Text("link-detached", "its link lost its place")
PROGRAM_NOT_PINNED = Text(
    "program-not-pinned",
    "it runs program {program}, which has no pin here: finding a program by its id needs CAP_SYS_ADMIN",
)

# --- script

SCRIPT_NOT_WRITTEN = Text("script-not-written", "{pipeline}: the rescue script was not written: {why}")
