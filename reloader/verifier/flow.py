"""Rules on the way through a program: loops, jumps, registers, the stack of calls, the verdict. Pure."""

from __future__ import annotations

import re

from reloader.verifier.scene import Scene, Words, rule

MOST_STACK = 512
MOST_FRAMES = 8
CALLS_DEPTH = r"the call stack of (?P<frames>\d+) frames is too deep"
BOUNDED = "give the loop a constant bound: `for (int i = 0; i < 64; i++)`, or use bpf_loop() or bpf_for()"
VERDICT = re.compile(r"has (?P<what>.*?) should have been in \[?\(?(?P<wanted>[^\])]*)")


def _never_there(scene: Scene, _match: re.Match[str]) -> Words | None:
    """A libbpf before 1.2 leaves `call #0` for a weak kernel function that the kernel lacks."""
    if not scene.walk.called_nothing:
        return None
    hint = "ask bpf_ksym_exists() before the call"
    return "a kernel function is called that this kernel does not have (it was declared __weak)", hint


def _unset(scene: Scene, match: re.Match[str]) -> Words:
    register = int(match["reg"])
    if scene.walk.code == "exit":
        return "the program ends without a return value on this path", "return a verdict on every path"
    if 1 <= register <= 5 and scene.walk.calls:
        hint = "a call clears R1 to R5; keep a value that is needed later in a variable"
        return f"R{register} is read after a call that cleared it", hint
    return f"R{register} is read before it was set", "initialise the variable: `int x = 0;`"


def _steps(_scene: Scene, match: re.Match[str]) -> Words:
    count = int(match["count"])
    hint = (
        "fewer rounds, or bpf_loop(), whose body is verified once; a __noinline global function is verified by itself"
    )
    return f"too many instructions: {count:,} processed, 1,000,000 allowed", hint


def _calls_stack(_scene: Scene, match: re.Match[str]) -> Words:
    hint = "keep large things in a per-CPU array map; inlined functions share one frame"
    text = f"functions that call one another need a stack of {match['size']} bytes together, {MOST_STACK} allowed"
    return text, hint


def _recursion(scene: Scene, _match: re.Match[str]) -> Words | None:
    """The verifier does not notice: it follows the call until there are too many frames."""
    if scene.walk.times < MOST_FRAMES - 2:  # the first call comes from elsewhere, and others may be in between
        return None
    return "a function calls itself, which is not allowed", "write it as a loop with a bound"


def _returned(said: str) -> str:
    """A number or a range; before 6.9 told as its known bits and a mask of the unknown ones."""
    if value := re.search(r"smin=(-?\d+) smax=(-?\d+)", said):
        least, most = int(value[1]), int(value[2])
    elif bits := re.search(r"has value \((0x[0-9a-f]+); (0x[0-9a-f]+)\)", said):
        least, most = int(bits[1], 16), int(bits[1], 16) | int(bits[2], 16)
    else:
        return "anything"
    return str(least) if least == most else f"anything from {least} to {most}"


def _verdict(scene: Scene, match: re.Match[str]) -> Words:
    found = VERDICT.search(match.string)
    allowed = (found["wanted"] if found else "").replace("; ", ", ").replace("0x", "")
    what = _returned(match.string)
    who = "the callback" if "callback" in match[0] else scene.programs
    needs = f"must return a value in [{allowed}]" if who == "the callback" else f"have to return one of [{allowed}]"
    if who == "the callback":
        return f"the callback returns {what}, but {needs}", "0 goes on, 1 ends the loop"
    return f"the program returns {what}, but {who} {needs}", "return a constant of that range on every path"


def _arithmetic(scene: Scene, match: re.Match[str]) -> Words:
    held = scene.register(match["reg"])
    if held.kind == "pkt_end" or "pkt_end" in match.string:
        hint = "move the packet pointer instead: `if (data + 14 > data_end)`, not `data > data_end - 14`"
        return "data_end is calculated with, which may only be compared", hint
    hint = "only adding and subtracting numbers is allowed, in 64 bits, and never two pointers added"
    return "a pointer is calculated with in a way that is not allowed", hint


RULES = (
    rule("too-many-instructions", r"BPF program is too large\. Processed (?P<count>\d+) insn", _steps),
    rule(
        "too-many-instructions",
        r"(?P<what>program too large|too many instructions|BPF_MAXINSNS)",
        "the program has more instructions than the kernel takes",
        "split it by tail calls or global functions",
    ),
    rule(
        "too-complex",
        r"The sequence of (?P<count>\d+) jumps is too complex",
        "too many branches at once: {count} jumps wait to be looked at",
        "simplify the conditions, or split the program",
    ),
    rule("unbounded-loop", r"infinite loop detected", "unbounded loop", BOUNDED),
    rule(
        "unbounded-loop",
        r"back-edge from insn (?P<insn>\d+) to (?P<to>\d+)",
        "it goes back from instruction {insn} to {to}: a function that calls itself, or a loop where none is allowed",
        "the verifier does not allow recursion; loops need Linux 5.3 and CAP_BPF, or `#pragma clang loop unroll(full)`",
    ),
    rule(
        "unreachable",
        r"unreachable insn (?P<insn>\d+)",
        "unreachable code (instruction {insn})",
        "hand-written assembly or a function that never returns? The compiler drops such code by itself",
    ),
    rule(
        "jump",
        r"jump out of range from insn (?P<insn>\d+) to (?P<to>\d+)",
        "a jump leaves the program or function (from instruction {insn} to {to})",
        "look at hand-written assembly and its labels",
    ),
    rule(
        "no-exit",
        r"last insn is not an exit or jmp|no exit|jump out of range",
        "the program does not end with a return",
        "every function ends with a return; is one `__noreturn`, or undefined?",
    ),
    rule("kernel-function-missing", r"R0 !read_ok", _never_there),
    rule("uninitialised-register", r"R(?P<reg>\d+) !read_ok", _unset),
    rule("calls-stack", r"combined stack size of (?P<calls>\d+) calls is (?P<size>\d+)", _calls_stack),
    rule("recursion", CALLS_DEPTH, _recursion),
    rule(
        "calls-depth",
        CALLS_DEPTH,
        "calls nest {frames} deep, 8 allowed",
        "inline some of the functions; recursion is not allowed at all",
    ),
    rule(
        "verdict",
        r"At (?P<where>\w+ (?:exit|return)|callback return) the register R0|At async callback|"
        r"At program exit the register R0",
        _verdict,
    ),
    rule(
        "pointer-comparison",
        r"R(?P<reg>\d+) pointer comparison prohibited",
        "a pointer is compared with a number or another pointer",
        "compare packet pointers with data_end, any other only with NULL; CAP_PERFMON lets it pass",
    ),
    rule(
        "pointer-arithmetic",
        r"R(?P<reg>\d+) (?:32-bit )?pointer (?:arithmetic|\+= pointer|-=).*prohibited",
        _arithmetic,
    ),
    rule(
        "pointer-arithmetic",
        r"R(?P<reg>\d+) (?:bitwise operator .* on pointer|has pointer with unsupported|"
        r"tried to (?:add|subtract)|subtraction from stack pointer)",
        _arithmetic,
    ),
    rule("frame-pointer", r"frame pointer is read only", "R10, the frame pointer, is written", "use another register"),
    rule(
        "division", r"div by zero", "something is divided by a constant zero", "look at the constants of the division"
    ),
    rule(
        "shift",
        r"invalid shift (?P<by>-?\d+)",
        "something is shifted by {by} bits",
        "shift by 0 to 63, in 32 bits to 31",
    ),
    rule(
        "instruction-unknown",
        r"unknown opcode (?P<op>\w+)|(?:unknown|invalid) atomic op|BPF_\w+ uses reserved fields",
        "this kernel does not know an instruction of the program",
        "compile for an older one: clang -mcpu=v2 (or v3)",
    ),
    rule(
        "address-space",
        r"BPF_(?:LD|ST|ATOMIC)\w* (?:from|into|stores into|loads from) R\d+ (?P<what>\w+) is not allowed",
        "an atomic or direct access to {what} is not allowed",
        "copy it into a variable first",
    ),
)
