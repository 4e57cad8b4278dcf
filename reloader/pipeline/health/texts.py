"""The words of this room: faults in the health checks of a pipeline."""

from __future__ import annotations

from reloader.wording.message import Text

# pipeline/health/health_from_yaml: window and interval

FAILURES_BEYOND_WINDOW = Text(
    "failures-beyond-window",
    "{failures} failures in a row cannot happen: the window has {looks:look}",
    hint="choose a longer window, a shorter interval, or fewer failures",
)
INTERVAL_OUT_OF_RANGE = Text(
    "interval-out-of-range",
    "the interval must be between {least} and the window",
    hint="interval is the time between two looks",
)
WINDOW_TOO_LONG = Text(
    "window-too-long",
    "the window is longer than a day",
    hint="to decide later by hand, remove health and use `reloader apply FILE --confirm-timeout 48h`",
)

# pipeline/health/health_from_yaml: one check

BOUND_MISSING = Text("bound-missing", "the check does not have a bound", hint="add at least one of {bounds}")
COUNTER_MISSING = Text(
    "counter-missing", "the field 'counter' is missing", hint="write for example rx_dropped, rx_errors or xdp_drops"
)
FIELD_NOT_USED = Text("field-not-used", "a {kind} check does not use {field!r}", hint="remove it")
KIND_MISSING = Text("kind-missing", "the check does not say what to look at", hint="add one of {kinds}")
NOT_AN_ADDRESS = Text(
    "not-an-address", "{value!r} is not an address with a port", hint="write it as 192.0.2.1:80 or [2001:db8::1]:80"
)
SEVERAL_KINDS = Text("several-kinds", "the check looks at several things: {kinds}", hint="keep one of them")
TIMEOUT_OUT_OF_RANGE = Text(
    "timeout-out-of-range",
    "the timeout must be between {least} and {most}",
    hint="timeout is the longest wait for one answer",
)

# pipeline/health/health_from_yaml: against the objects

FIELD_MISSING = Text("field-missing", "the check does not name a field of {map}")
MAP_NOT_SUMMED = Text("map-not-summed", "the values of {map} cannot be summed")
NO_SUCH_MAP = Text("no-such-map", "the objects do not have a map {map!r}")
NO_SUCH_PROGRAM = Text("no-such-program", "the pipeline does not load a program {program!r}")
NOT_A_NUMBER = Text("not-a-number", "{field!r} is not a number")
