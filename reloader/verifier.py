"""The kernel verifier's log to the few lines a person needs: the reason, the instruction, the line of C.

Called by txn/ when a load was rejected. Pure; imports nothing of the package. The log's format is no
interface: what is not recognised is taken for a message, so that a new kernel's words are shown, not lost.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from reloader.frozen import frozen

TAIL_LINES = 10
REASON_LINES = 3
REASON_LENGTH = 300

_INSN = re.compile(r"(\d+): \([0-9a-f]{2}\) ")
_STATE = re.compile(r"((from \d+ to )?\d+:|cur state:|old state:)?\s*(frame\d+: ?)?R\d+(_\w+)?=")
_SOURCE = re.compile(r"; (?P<text>.*?)(?: @ (?P<file>[^@]+):(?P<line>\d+))?$")
_AT_INSN = re.compile(r"\binsn (\d+)\b")
_NOISE = re.compile(
    r"processed \d+ insns|verification time |stack depth |mark_precise: |last_idx |regs=|parent didn't have|"
    r"parent already had|propagating |func#\d+ @|caller:|callee:|returning from callee:|to caller at |"
    r"from \d+ to \d+: (safe|frame)|\d+: safe|Live regs before insn|-- (BEGIN|END) PROG LOAD LOG"
)


@frozen
class VerifierSummary:
    """What the log comes down to; fields are empty, or None, where it does not say."""

    reason: str  # one line, in the verifier's words
    insn: int | None  # the failing instruction, counted from the program's start
    source: str  # `file.c:22: text`, or the text alone
    tail: tuple[str, ...]  # the last lines that say something, in order


SourceOf = Callable[[int], tuple[str, int, str] | None]
"""Instruction → (file, line, text), as elf.ElfObject.source_line gives it."""


def summarise(log: str, *, source: SourceOf | None = None) -> VerifierSummary:
    """Read a whole log. `source` helps out where the log, of an older kernel, names no file and line."""
    lines = [line.rstrip() for line in log.splitlines()]
    lines = [line for line in lines if line.strip() and not _NOISE.match(line.strip())]
    reason = _reason(lines)
    insn = _insn(lines, reason)
    return VerifierSummary(
        reason=reason, insn=insn, source=_source(lines, insn, source), tail=tuple(lines[-TAIL_LINES:])
    )


def _is_message(line: str) -> bool:
    text = line.strip()
    return not (_INSN.match(text) or _STATE.match(text) or text.startswith(";"))


def _reason(lines: list[str]) -> str:
    """The messages at the log's end; the states a message is about may follow it."""
    found: list[str] = []
    for line in reversed(lines):
        if _is_message(line):
            found.append(line.strip())
        elif found:
            break
        elif not _STATE.match(line.strip()):  # the log breaks off in the midst of the program
            return ""
    return "; ".join(reversed(found[:REASON_LINES]))[:REASON_LENGTH]


def _insn(lines: list[str], reason: str) -> int | None:
    """The last instruction that was looked at; before any was, the one that the message names."""
    walked = _first(_INSN.match(line.strip()) for line in reversed(lines))
    named = _AT_INSN.search(reason)
    match = walked or named
    return int(match[1]) if match else None


def _source(lines: list[str], insn: int | None, source: SourceOf | None) -> str:
    said = _first(_SOURCE.match(line.strip()) for line in reversed(lines))
    if said and said["file"]:
        return f"{said['file']}:{said['line']}: {said['text'].strip()}"
    text = said["text"].strip() if said else ""
    found = source(insn) if source and insn is not None else None
    # Line information counts from the section's start, the log from the program's: believe it if both agree.
    if found and (not text or found[2].strip() == text):
        return f"{found[0]}:{found[1]}: {found[2].strip()}"
    return text


def _first(matches: Iterable[re.Match[str] | None]) -> re.Match[str] | None:
    return next((m for m in matches if m), None)
