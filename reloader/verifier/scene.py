"""Where a log ends, put so that a rule can speak of it, and what a rule is. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

from reloader.frozen import frozen
from reloader.verifier.log import SourceOf, Walk
from reloader.verifier.registers import Register, map_name, parse

Words = tuple[str, str]
"""The sentence, and the hint that mends it."""
Say = Callable[["Scene", "re.Match[str]"], Words | None]
"""A rule's words; None when, on a closer look, it is not of this class."""
GETTERS = {
    "map_value": "bpf_map_lookup_elem",
    "ringbuf_mem": "bpf_ringbuf_reserve",
    "alloc_mem": "bpf_ringbuf_reserve",
}
ANY_CALL = "the call that returned it"


@frozen
class Scene:
    """The failing moment of one program."""

    walk: Walk
    section: str = ""  # the program's, as in SEC(); empty when the object does not say
    licence: str = ""  # the object's
    line: SourceOf | None = None  # where the log names no file

    def register(self, number: int | str) -> Register:
        held = parse(self.walk.registers.get(int(number)))
        return replace(held, fields=held.fields | {"r": str(self._range(held))}) if held.kind == "pkt" else held

    def _range(self, held: Register) -> int:
        """A comparison with data_end counts for all pointers of the same origin; the log tells it of one."""
        others = (parse(state) for state in self.walk.registers.values())
        return max(p.number("r") for p in others if p.kind == "pkt" and p.number("id") == held.number("id"))

    def last_pointer(self, number: int | str) -> Register:
        """What it pointed to before it became a number."""
        return parse(self.walk.pointed.get(int(number), ("", 0))[0])

    @property
    def call(self) -> str:
        """The function that the failing instruction calls; empty for any other instruction."""
        found = re.match(r"call (\w+)#", self.walk.code)
        return found[1] if found else ""

    @property
    def verb(self) -> str:
        """What happens to the bytes at the failing instruction, in the passive."""
        if self.walk.code.startswith("call"):
            return f"passed to {self.call}" if self.call else "passed on"
        return (
            "written" if re.match(r"(lock |w\d+ = atomic|r\d+ = atomic)?\s*\*\(u\d+ \*\)", self.walk.code) else "read"
        )

    @property
    def programs(self) -> str:
        """`XDP programs`, by the section's name."""
        kind = self.section.lstrip("?")
        if kind.partition("/")[0] in ("xdp", "xdp.frags"):
            return "XDP programs"
        return f'SEC("{kind}") programs' if kind else "programs of this type"


@frozen
class Rule:
    """One class of refusals: the verifier's words for it, on all kernels, and ours."""

    code: str  # stable
    pattern: re.Pattern[str]
    say: Say


def rule(code: str, pattern: str, sentence: str | Say, hint: str = "") -> Rule:
    """A rule; a sentence as text may name the pattern's groups and `{call}`, `{verb}`, `{programs}`."""
    say = sentence if callable(sentence) else _template(sentence, hint)
    return Rule(code=code, pattern=re.compile(pattern), say=say)


def _template(sentence: str, hint: str) -> Say:
    def say(scene: Scene, match: re.Match[str]) -> Words:
        words = {"call": scene.call or "a function", "verb": scene.verb, "programs": scene.programs}
        words |= {name: text or "" for name, text in match.groupdict().items()}
        return sentence.format(**words), hint.format(**words)

    return say


def span(first: int, size: int) -> str:
    """`bytes 14..33`, with their verb's `is` or `are`."""
    return f"byte {first} is" if size == 1 else f"bytes {first}..{first + size - 1} are"


def thing(held: Register) -> str:
    """What a pointer points into, for a sentence."""
    if held.kind.startswith("map_"):
        return f"a value of map{map_name(held)}" if map_name(held) else "a map value"
    return "a ring buffer record" if held.kind in ("ringbuf_mem", "alloc_mem") else "a piece of memory"


def getter(held: Register) -> str:
    """The call whose result has to be tested."""
    return GETTERS.get(held.kind, ANY_CALL)
