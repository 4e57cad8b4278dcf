"""The words of this room: what `watch` says of files and pipelines."""

from __future__ import annotations

from reloader.wording.message import Text

# attempts: pipelines

AND_MORE = Text("and-more", "{why} (and {count} more)")
DEFINED_TWICE = Text(
    "defined-twice", "pipeline {pipeline!r} is already defined in {file}", hint="rename one of them in metadata.name"
)
LIVE = Text("live", "{pipeline}: generation {generation} is live ({ms:.0f} ms)")
LIVE_ON_TRIAL = Text(
    "live-on-trial", "{pipeline}: generation {generation} is live ({ms:.0f} ms), on trial for {seconds:.0f} s"
)
NOT_ORPHANED = Text("not-orphaned", "{pipeline}: not orphaned any more; generation {generation} is live")
ORPHANED = Text(
    "orphaned",
    "{pipeline}: orphaned; generation {generation} keeps running (`reloader remove {pipeline}` detaches it)",
)

# attempts: a file that is not applied again

APPLIED_BY_HAND = Text(
    "applied-by-hand",
    "{pipeline}: generation {generation} is live, applied by hand; its file is not applied until it changes",
)
FAILED_TRIAL = Text(
    "failed-trial",
    "{pipeline}: generation {generation} failed its trial and is detached; its file is not applied until it changes",
)
IN_PANIC = Text("in-panic", "{pipeline}: in a panic; its file is not applied until it changes")
RESCUED = Text("rescued", "{pipeline}: loaded by a rescue script; its file is not applied until it changes")
ROLLED_BACK = Text(
    "rolled-back",
    "{pipeline}: generation {generation} is live after a {reason}; its file is not applied until it changes",
)

# attempts: the end of a trial

NOW_DETACHED = Text("now-detached", "the pipeline is detached")
NOW_LIVE = Text("now-live", "generation {generation} is live")
TRIAL_ENDED = Text("trial-ended", "{pipeline}: generation {generation}: {outcome}; {now}")
TRIAL_OVER = Text("trial-over", "its trial has ended")

# file_events

NOT_WATCHED = Text(
    "not-watched", "{directory} cannot be watched ({why}); its files are compared every few seconds instead"
)

# loop: files

CORRECT_NOW = Text("correct-now", "{file}: correct now")
LISTED_AGAIN = Text("listed-again", "can be listed again")
MISSING = Text("missing", "{file}: missing")
NOT_LISTED = Text("not-listed", "cannot be listed: {why}")
SAME_ERRORS = Text("same-errors", "{file}: same errors as before")
WAITING = Text("waiting", "{file}: waiting: {why}")
