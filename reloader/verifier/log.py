"""The kernel verifier's log, read: the reason it ends with, the instruction, the line of C, what registers held.

The log's format is no interface: what is not recognised is taken for a message, so that a new kernel's words
are shown, not lost. Used by explain.py. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from reloader.frozen import frozen

TAIL_LINES = 10
REASON_LINES = 3
REASON_LENGTH = 300
WALKED = 1 << 20  # characters of a long log, from its end, in which registers are followed

_INSN = re.compile(r"(?P<insn>\d{1,9}): \([0-9a-f]{2}\) (?P<code>.*)")
_STATE = re.compile(r"((from \d+ to )?\d+:|cur state:|old state:)?\s*(frame\d+: ?)?R\d+(_\w+)?=")
_SOURCE = re.compile(r"; (?P<text>.*?)(?: @ (?P<file>[^@]+):(?P<line>\d+))?$")
_AT_INSN = re.compile(r"\b(?:insn|instruction|at) (\d{1,9})\b")
_GLUED = re.compile(r"(?<=\S)(processed \d+ insns)")  # some kernels forget the newline of a message
_NOISE = re.compile(
    r"processed \d+ insns|verification time |stack depth |mark_precise: |last_idx |regs=|parent didn't have|"
    r"parent already had|propagating |func#\d+ @|caller:|callee:|returning from callee:|to caller at |"
    r"from \d+ to \d+: (safe|frame)|\d+: safe|Live regs before insn|-- (BEGIN|END) PROG LOAD LOG"
)
_FRAME = re.compile(r"\bframe(\d{1,3}):")
_REGISTER = re.compile(r"\bR(\d{1,2})(?:_[a-zA-Z]+)?=((?:[\w.-]+)?(?:\((?:[^()]|\([^()]*\))*\))?)")
_TARGET = re.compile(r"[rw](\d{1,2}) (?:[-+*/%&|^]|<<|s?>>|s?[/%])?= ")
_CALL = re.compile(r"call (?:pc[+-]\d+|(?P<name>\w+)?#(?P<number>-?\d+))")


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
    lines = spoken(log)
    reason = _reason(lines)
    insn = _insn(lines, reason)
    return VerifierSummary(
        reason=reason, insn=insn, source=_source(lines, insn, source), tail=tuple(lines[-TAIL_LINES:])
    )


def spoken(log: str) -> list[str]:
    """The log's lines without its statistics."""
    lines = [line.rstrip() for line in _GLUED.sub(r"\n\1", log).splitlines()]
    return [line for line in lines if line.strip() and not _NOISE.match(line.strip())]


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


@dataclass(slots=True)
class Walk:
    """What stood where the log ends: register states in the kernel's words, and what led there."""

    code: str = ""  # the last instruction, disassembled
    registers: dict[int, str] = field(default_factory=dict)
    pointed: dict[int, tuple[str, int]] = field(
        default_factory=dict
    )  # the last pointer, and how many calls came before
    calls: list[str] = field(default_factory=list)  # functions called, in order; of this object's own: ""
    lines: dict[int, str] = field(default_factory=dict)  # instruction → its line of C
    times: int = 0  # how often the last call was met
    called_nothing: bool = False  # the last call went to function number 0, which there is not
    validating: str = ""  # the global function being looked at by itself
    _frames: dict[int, dict[int, str]] = field(default_factory=dict)
    _met: dict[int, int] = field(default_factory=dict)  # instruction of a call → how often it was met
    _line: str = ""
    _called: bool = False  # the last instruction was a call: what it leaves is told with the next one

    def called_since(self, register: int) -> list[str]:
        """Functions called after the register was last seen to hold a pointer."""
        return self.calls[self.pointed[register][1] :] if register in self.pointed else []

    def take(self, line: str) -> None:
        text = line.strip()
        if found := _INSN.match(text):
            self._instruct(int(found["insn"]), found["code"])
        elif text.startswith("; "):
            self._line = text[2:]
        elif text.startswith("Validating "):
            self.validating = text.split()[1].split("(")[0]
        elif _STATE.match(text) and not text.startswith("old state"):
            self._enter(text)
            self._note(text, own=None)

    def _instruct(self, insn: int, text: str) -> None:
        code, _, after = text.partition(";")
        branch = re.search(r" (\d+): (?:frame\d+: ?)?R\d", code)  # the other branch's state follows on the same line
        if branch:
            code, after = code[: branch.start()], code[branch.start() :]
        if self._called:  # a call leaves its result in R0 and nothing in R1 to R5
            self._forget(range(1, 6))
        self.code = code.strip()
        self.lines[insn] = self._line
        call, target = _CALL.match(self.code), _TARGET.match(self.code)
        self._called = bool(call)
        if call:
            self.calls.append(call["name"] or "")
            self.called_nothing = call["number"] == "0"
            self.times = self._met[insn] = self._met.get(insn, 0) + 1
            self._forget([0])
        if branch:
            self._enter(after)
        self._note(after, own=int(target[1]) if target else None)

    def _forget(self, registers: Iterable[int]) -> None:
        for register in registers:
            self.registers.pop(register, None)
            self.pointed.pop(register, None)

    def _enter(self, text: str) -> None:
        """A whole state follows: of another branch, or of another frame."""
        self._called = False
        frame = _FRAME.search(text)
        self.registers = self._frames.setdefault(int(frame[1]) if frame else 0, {})
        self.registers.clear()

    def _note(self, text: str, own: int | None) -> None:
        if own is not None:
            self.pointed.pop(own, None)
        for number, state in _REGISTER.findall(text):
            register = int(number)
            self.registers[register] = state
            if is_pointer(state):
                self.pointed[register] = state, len(self.calls)


def is_pointer(state: str) -> bool:
    return not re.match(r"(scalar|inv|unknown|-?\d|0x|P)", state)


def walk(log: str) -> Walk:
    """Follow the log's end line by line."""
    found = Walk()
    for line in log[-WALKED:].splitlines():
        found.take(line)
    return found
