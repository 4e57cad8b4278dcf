"""The words of this room: why a version fails its trial, how the trial ends, and why a trial cannot begin."""

from __future__ import annotations

from reloader.wording.message import Text

# apply_each, start: the command that waits

ANOTHER_DECIDED = Text(
    "another-decided",
    "{pipeline}: another command rolled back generation {generation}",
    hint="see `reloader history {pipeline}`",
)
TRIAL_FAILED = Text(
    "trial-failed",
    "{pipeline}: generation {generation} failed: {why}; {result}",
    hint="`reloader history {pipeline}` shows the reason",
)
GUARD_KILLED = Text("guard-killed", "its guard process was killed")
ON_TRIAL = Text("on-trial", "{pipeline}: generation {generation} is live, on trial for {window:g} s ({checks:check})")
ROLLING_BACK = Text("rolling-back", "{pipeline}: interrupted; rolling back generation {generation}")

# start: before the swap

REBUILT_BEFORE = Text(
    "rebuilt-before",
    "{pipeline}: generation {generation} was rebuilt from the kernel: if the trial fails, it cannot be restored",
    hint="apply once without `health:` and --confirm-timeout",
)
TAKE_OVER_ON_TRIAL = Text(
    "take-over-on-trial",
    "{pipeline}: --take-over of {attachments} with a trial; nothing was changed:"
    " if the trial fails, the replaced program cannot be restored",
    hint="apply first without `health:` and --confirm-timeout; use a trial for the next version",
)

# duty: the guard process

CHECK_FAILS = Text("check-fails", "{check} fails, {streak} of {failures}")
GUARD_FAILED = Text("guard-failed", "its guard process failed: {error}")
HEALTHY = Text("healthy", "healthy for {window:g} s")
HEALTHY_SO_FAR = Text("healthy-so-far", "healthy so far, {seconds:.0f} s left")
INTERRUPTED = Text("interrupted", "interrupted")
NOT_CONFIRMED = Text("not-confirmed", "not confirmed in time")
NOT_TRIED = Text("not-tried", "not tried")

# guard: its start

GUARD_ENDED = Text(
    "guard-ended",
    "the guard process ended at once; nothing was swapped",
    hint="check process limits and free memory: `ulimit -u`, `free`",
)
GUARD_NOT_STARTED = Text(
    "guard-not-started",
    "the guard process could not start: {why}; nothing was swapped",
    hint="check the limit of processes: `ulimit -u`",
)

# judge: checks that fail

CHECK_UNANSWERED = Text("check-unanswered", "{check}: {why}")
OUT_OF_BOUNDS = Text("out-of-bounds", "{check}: {found}, must be {bound}")
TIMES_BEFORE = Text("times-before", "{number} times as much as before")

# look: counters

CANNOT_BE_READ = Text("cannot-be-read", "cannot be read: {why}")
COUNTER_MISSING = Text(
    "counter-missing", "{interface} does not have a counter {counter}", hint="its counters are {known}"
)
FIELD_MISSING = Text("field-missing", "generation {generation} does not have {what}")
HEALTH_COUNTER_MISSING = Text("health-counter-missing", "health: {why}; nothing was changed")
NOT_COMPARED = Text("not-compared", "not compared")
ATTACHMENT_ASTRAY = Text("attachment-astray", "attachment {attachment}: {why}")
ATTACHMENT_UNREADABLE = Text("attachment-unreadable", "cannot be read: {why}")
LINK_PIN_MISSING = Text("link-pin-missing", "its link's pin is missing")
LINK_DETACHED = Text("link-detached", "its link lost its place")
ANOTHER_PROGRAM = Text("another-program", "another program runs there")
PROGRAM_MISSING = Text("program-missing", "generation {generation} does not have a program {program}")
STATISTICS_REFUSED = Text(
    "statistics-refused",
    "health: counting the runs of programs needs CAP_SYS_ADMIN; nothing was changed",
    hint="run as root, or remove the checks with `program:`",
)

# network_checks: answers

BODY_DIFFERS = Text("body-differs", "the answer does not contain {body!r}")
COMMAND_FAILED = Text("command-failed", "exit {code}: {line}")
COMMAND_FAILED_SILENTLY = Text("command-failed-silently", "exit {code}")
NO_ANSWER = Text("no-answer", "no answer within {timeout:g} s")
NO_CONNECTION = Text("no-connection", "{why}")
NOT_HTTP = Text("not-http", "the answer is not HTTP")
STATUS_DIFFERS = Text("status-differs", "status {status}, not {wanted}")
