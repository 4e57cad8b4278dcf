"""A refused load to one plain sentence, the line of C, what the verifier knew, and how to repair it.

Called by engine/refusal.py when a load failed. Where no rule knows the class, the verifier's own last words stand in
the sentence's place. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import field

from reloader.frozen import frozen
from reloader.verifier import access, calls, flow, loading
from reloader.verifier.log import SourceOf, Walk, summarise, walk
from reloader.verifier.registers import in_words
from reloader.verifier.scene import Rule, Scene

UNKNOWN = "unknown"
RULES: tuple[Rule, ...] = (*calls.RULES, *access.RULES, *flow.RULES, *loading.RULES)
NEAR = 3  # lines of C before and after that are worth showing


@frozen
class Code:
    """What the object says of the refused program; all of it may be unknown."""

    section: str = ""
    licence: str = ""
    line: SourceOf | None = None
    lines: Mapping[tuple[str, int], str] = field(default_factory=dict)  # (file, line) → text, where there is code


@frozen
class Explanation:
    code: str  # the class, stable; "unknown"
    sentence: str
    hint: str
    said: str  # the verifier's own words, in one line
    insn: int | None
    source: str  # `file.c:22: text`, or the text alone; may be empty
    around: tuple[str, ...] = ()  # the lines of C beside it, the failing one marked
    knew: tuple[str, ...] = ()
    tail: tuple[str, ...] = ()  # the log's last lines

    @property
    def known(self) -> bool:
        return self.code != UNKNOWN

    def detail(self) -> list[str]:
        """All but sentence and hint, line by line."""
        lines = [self.source.expandtabs()] if self.source else []
        lines += [f"  {line.expandtabs()}" for line in self.around]
        lines += [f"known there: {line}" for line in self.knew]
        if not self.known:
            return [*lines, *self.tail]
        return [*lines, *([f"verifier: {self.said}"] if self.said else [])]

    def to_json(self) -> dict[str, object]:
        file, line, text = split_source(self.source)
        return {
            "code": self.code,
            "sentence": self.sentence,
            "insn": self.insn,
            "source": {"file": file, "line": line, "text": text, "around": list(self.around)},
            "knew": list(self.knew),
            "said": self.said,
            "hint": self.hint,
        }


def split_source(source: str) -> tuple[str, int, str]:
    """(file, line, text) of `file.c:22: text`."""
    found = re.match(r"([^:]+):(\d+): (.*)", source)
    return (found[1], int(found[2]), found[3]) if found else ("", 0, source)


def explain(log: str, code: Code | None = None) -> Explanation:
    """Read a refused program's whole log."""
    code = code or Code()
    summary = summarise(log, source=code.line)
    scene = Scene(walk=walk(log), section=code.section, licence=code.licence, line=code.line)
    name, sentence, hint = _judge(scene, summary.reason or log)
    return Explanation(
        code=name,
        sentence=sentence or _last(summary.reason),
        hint=hint,
        said=summary.reason,
        insn=summary.insn,
        source=summary.source,
        around=_around(code, summary.source),
        knew=_knew(scene, summary.reason),
        tail=summary.tail,
    )


def explain_load(words: str) -> Explanation | None:
    """The same where libbpf or a system call failed before any program was looked at; None: nothing to add."""
    for rule in loading.RULES:
        found = rule.pattern.search(words)
        told = rule.say(Scene(walk=Walk()), found) if found else None
        if told:
            return Explanation(code=rule.code, sentence=told[0], hint=told[1], said=words, insn=None, source="")
    return None


def _judge(scene: Scene, reason: str) -> tuple[str, str, str]:
    for rule in RULES:
        found = rule.pattern.search(reason)
        words = rule.say(scene, found) if found else None
        if words:
            return (rule.code, *words)
    return UNKNOWN, "", ""


def _last(reason: str) -> str:
    return reason.rpartition("; ")[2]


def _knew(scene: Scene, reason: str) -> tuple[str, ...]:
    """What the registers held that the message names, or that the failing instruction goes by."""
    code = "" if scene.walk.code.startswith("call") else scene.walk.code
    through = re.findall(r"\([rw](\d+) ?[-+]", code) or re.findall(r"\b[rw](\d+)\b", code)
    named = dict.fromkeys(int(n) for n in (*re.findall(r"\bR(\d+)\b", reason), *through))
    return tuple(_told(scene, n, reason) for n in named if n < 10 and n in scene.walk.registers)


def _told(scene: Scene, number: int, reason: str) -> str:
    words, calls = in_words(number, scene.register(number)), scene.walk.called_since(number)
    if calls and re.search(access.NUMBER, reason):  # the log does not tell what a call takes away
        return words.partition(";")[0].replace(" is ", " was ", 1) + f", until {calls[-1] or 'a call'}"
    return words


def _around(code: Code, source: str) -> tuple[str, ...]:
    """The nearest lines with code before and after the failing one."""
    file, line, text = split_source(source)
    base = file.rpartition("/")[2]
    beside = {n: t for (f, n), t in code.lines.items() if f.rpartition("/")[2] == base and abs(n - line) <= NEAR}
    shown = [
        n
        for n in (max((n for n in beside if n < line), default=0), min((n for n in beside if n > line), default=0))
        if n
    ]
    if not file or not shown:
        return ()
    lines = {**{n: beside[n].strip() for n in shown}, line: text}
    width = len(str(max(lines)))
    return tuple(f"{'>' if n == line else ' '} {n:{width}} | {lines[n]}" for n in sorted(lines))
