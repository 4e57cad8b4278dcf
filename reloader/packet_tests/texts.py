"""The words of this room, by module: what a test expected and what came, and what its budget measured."""

from __future__ import annotations

from reloader.wording.message import Text

# --- run: a test and its place

OF_PACKET = Text("of-packet", "packet {number} of {count}: {fault}")
OF_STEP = Text("of-step", "step {step}: {fault}")
TEST_FAILED = Text("test-failed", "{place}: test {name}: {fault}")
TESTS_FAILED = Text("tests-failed", "{failed} of {count:test} failed")

# --- run: verdicts and maps

COUNT_DIFFERS = Text("count-differs", "map {map}: {count:entry}, expected {expected}")
ENTRY_EXISTS = Text("entry-exists", "map {map}, key {key}: the entry exists, expected absent")
ENTRY_MISSING = Text("entry-missing", "map {map}, key {key}: the entry is missing")
OF_ENTRY = Text("of-entry", "map {map}, key {key}: {fault}")
RUN_FAILED = Text("run-failed", "the kernel could not run the program: {why}")
VERDICT_DIFFERS = Text("verdict-differs", "verdict {found}, expected {expected}")

# --- run: budgets

ACTIVE_NOT_LOADED = Text("active-not-loaded", "the active version cannot be loaded beside the new one: {why}")
BUDGET_SKIPPED = Text("budget-skipped", "budget skipped: {why}")
PROGRAM_NOT_ACTIVE = Text("program-not-active", "the active version does not contain program {program}")

# --- budget

INSTRUCTIONS = Text(
    "instructions",
    "{new:,} verified instructions, {active:,} in the active version: {ratio:.2f} times as many, at most {limit:g}"
    " allowed",
)
INSTRUCTIONS_UNKNOWN = Text(
    "instructions-unknown", "instructions skipped: this kernel does not report how many it verified"
)
NANOSECONDS = Text(
    "nanoseconds",
    "{new:.1f} ns a packet, {active:.1f} in the active version: {ratio:.2f} times as long, at most {limit:g} allowed",
)

# --- compare

FIELD_DIFFERS = Text("field-differs", "{field} is {found}, expected {expected}")
LENGTHS = Text("lengths", "{what} ({length:byte}, expected {expected})")
OUTPUT_DIFFERS = Text("output-differs", "output differs")
OUTPUT_DIFFERS_FROM = Text("output-differs-from", "output differs from byte {at}")
OUTPUT_FIELD_DIFFERS = Text("output-field-differs", "output {field} is {found}, expected {expected}")
OUTPUT_LENGTH_DIFFERS = Text("output-length-differs", "output has {length:byte}, expected {expected}")
PACKET_CHANGED = Text("packet-changed", "the packet was changed")
PAYLOAD_DIFFERS = Text("payload-differs", "output payload differs")
WHOLE_OUTPUT = Text("whole-output", "the whole output:")
WHOLE_VALUE = Text("whole-value", "the value")
