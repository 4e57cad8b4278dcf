"""Rules on what is read and written: packets, map values, the stack, the context. Pure."""

from __future__ import annotations

import re

from reloader.verifier.registers import map_name
from reloader.verifier.scene import Scene, Words, getter, rule, span, thing

PACKET_MOST = 0xFFFF  # MAX_PACKET_OFF
CHECK_PACKET = (
    "compare the end of what is {verb} with data_end first: `if ((void *)(p + 1) > data_end) return XDP_PASS;`, "
    "by the very pointer that is then used"
)
MOVERS = re.compile(r"adjust|change|pull_data|push|pop|store_bytes|l3_csum|l4_csum|clone|set_tunnel|lwt_")
PACKET = (
    r"invalid access to packet, off=(?P<off>-?\d+) size=(?P<size>\d+), "
    r"R(?P<reg>\d+)\(id=(?P<id>\d+),off=-?\d+,r=(?P<r>\d+)\)"
)
NUMBER = r"R(?P<reg>\d+) invalid mem access '(?:scalar|inv|unknown)'"
INDEX = "bound the index by an `if` just before its use, or mask it: `at &= SIZE - 1` where SIZE is a power of two"


def _packet_far(scene: Scene, match: re.Match[str]) -> Words | None:
    held = scene.register(match["reg"])
    if match["id"] == "0" or (held.bounds and held.bounds[1] <= PACKET_MOST):
        return None
    most = f"{held.bounds[1]:,}" if held.bounds else "any number"
    hint = f"bound the offset before it is added: `if (offset > {PACKET_MOST // 2}) return XDP_PASS;`"
    why = "the verifier ignores comparisons with data_end behind such an offset"
    return f"the offset into the packet may be {most}; {why}", hint


def _packet(scene: Scene, match: re.Match[str]) -> Words:
    first, size, checked = int(match["off"]), int(match["size"]), int(match["r"])
    held = scene.register(match["reg"])
    hint = CHECK_PACKET.format(verb=scene.verb)
    if match["id"] != "0":
        least, most_of = held.bounds or (0, 0)
        where = f"packet {span(first, size)} {scene.verb} behind a variable offset ({least} to {most_of})"
        return f"{where} without comparing that place with data_end", hint
    if checked:
        verb = f"packet {span(first, size)} {scene.verb}"
        return f"{verb}, but only the first {checked} bytes were compared with data_end", hint
    return f"packet {span(first, size)} {scene.verb} without first comparing with data_end", hint


def _outside(scene: Scene, match: re.Match[str]) -> Words:
    """Map values and other memory of known size: before the start, behind the end, by a fixed or variable offset."""
    whole, first, size = int(match["whole"]), int(match["off"]), int(match["size"])
    pointer = re.search(r"R(\d+) (min|max) value", match.string)
    held = scene.register(pointer[1]) if pointer else scene.register(0)
    where = thing(held) if held.kind else "a map value" if "map" in match[0] else "a piece of memory"
    if held.variable and held.bounds:
        least, most = held.bounds
        if first < 0 or least < 0:
            return f"the index into {where} may be negative", "make the index unsigned, or test `index >= 0` too"
        return f"the index into {where} may be {most}, but it has {whole} bytes", INDEX
    if scene.call and first == 0:
        hint = "pass the size of what the pointer leads to, at most"
        return f"{scene.call} is given {size} bytes of {where}, but it has {whole}", hint
    hint = "is the struct the one that the map was declared with?"
    return f"{span(first, size)} {scene.verb} in {where}, but it has {whole} bytes", hint


def _unbounded(scene: Scene, match: re.Match[str]) -> Words:
    held = scene.register(match["reg"])
    what = "the packet" if held.kind == "pkt" else thing(held)
    return f"the index into {what} does not have an upper bound", INDEX


def _negative(scene: Scene, match: re.Match[str]) -> Words:
    held = scene.register(match["reg"])
    what = "a number that may be negative" if held.kind == "scalar" else f"the index into {thing(held)} may be negative"
    if held.kind == "scalar":
        what = f"{scene.call or 'the call'} is given a size that may be negative"
    return what, "make it unsigned, or test `>= 0` before"


def _out_of_value(scene: Scene, match: re.Match[str]) -> Words:
    value = int(match["value"])
    less = "negative, as little as" if value < 0 else "as much as"
    hint = "make the index unsigned and bound it by an `if` before it is added" if value < 0 else INDEX
    return f"the index into a {match['what'].replace('_', ' ')} may be {less} {value}", hint


def _null(scene: Scene, match: re.Match[str]) -> Words:
    held = scene.register(match["reg"])
    kind = match["kind"]
    if scene.walk.validating and kind.startswith("mem"):
        name = scene.walk.validating
        hint = "test it, or make the function `static`: a global function is verified by itself, for all callers"
        return f"an argument of the global function {name} may be NULL", hint
    if kind.startswith("map_value"):
        what = f"the value of map{map_name(held)}" if map_name(held) else "the map value"
    else:
        what = {"ringbuf_mem": "the ring buffer record", "alloc_mem": "the ring buffer record"}.get(kind)  # type: ignore[assignment]
        what = what or ("the socket" if "sock" in kind else "the pointer")
    got = getter(held) if held.kind else {"map_value": "bpf_map_lookup_elem"}.get(kind, "the call that returned it")
    got = f"the result of {got}" if got.startswith("bpf_") else "it"
    return f"{what} may be NULL: test {got} before use", "`if (!pointer) return …;` right behind the call"


def _moved(scene: Scene, match: re.Match[str]) -> Words | None:
    """A packet pointer that a call made worthless."""
    calls = scene.walk.called_since(int(match["reg"]))
    mover = next((name for name in reversed(calls) if MOVERS.search(name)), "")
    if not mover or not scene.last_pointer(match["reg"]).kind.startswith("pkt"):
        return None
    hint = "read ctx->data and ctx->data_end again behind the call, and compare again"
    return f"a packet pointer is used that was made before {mover}, which may move the packet", hint


def _given_back(scene: Scene, match: re.Match[str]) -> Words | None:
    was, calls = scene.last_pointer(match["reg"]), scene.walk.called_since(int(match["reg"]))
    if was.kind not in ("ringbuf_mem", "alloc_mem", "sock", "tcp_sock", "sock_common") or not calls:
        return None
    what = "a ring buffer record" if "mem" in was.kind else "a socket"
    return f"{what} is used after {calls[-1]} gave it back", "use it before, or not at all"


def _number(scene: Scene, match: re.Match[str]) -> Words:
    """A number where a pointer is needed, and nothing says that it ever was one."""
    number = scene.register(match["reg"])
    if number.kind == "scalar" and number.value == 0:
        return "NULL is followed like a pointer", "is the test for NULL the wrong way round?"
    hint = (
        "memory of the kernel is read by bpf_probe_read_kernel or BPF_CORE_READ; a pointer cast from a number is none"
    )
    return f"a number is used as a pointer (R{match['reg']})", hint


def _stack(scene: Scene, match: re.Match[str]) -> Words:
    first = int(match["off"])
    if first < -512:
        return (
            f"stack of {-first} bytes, 512 allowed",
            "keep large things in a per-CPU array map instead of on the stack",
        )
    size = int(match["size"] or 0)
    if first >= 0:
        return f"the stack is {scene.verb} above the program's frame", "look at the index"
    if first + size > 0:
        what = f"{size} bytes from fp{first}, but only {-first} are there"
        return f"{scene.call or 'the access'} reads {what}", "is the variable as large as what the call or map wants?"
    return (
        f"the stack at fp{first} ({size} bytes) is {scene.verb} in a way that is not allowed",
        "look at the index and the size",
    )


def _uninitialised(_scene: Scene, match: re.Match[str]) -> Words:
    hole = int(match["off"]) + int(match["hole"] or 0)
    hint = "set all of it, padding too: `struct key key = {};` or __builtin_memset, before the fields"
    return f"stack at fp{hole} is used before anything was written there", hint


def _context(scene: Scene, match: re.Match[str]) -> Words:
    first, size = int(match["off"]), int(match["size"])
    if scene.verb == "written":
        hint = "only few fields of a context may be written, and none in XDP; change the packet through its data"
        return (
            f"the context may not be written here ({span(first, size).removesuffix(' is').removesuffix(' are')})",
            hint,
        )
    hint = (
        "does the context's type fit SEC()? A field may also be unknown to this kernel, or want a read of its own size"
    )
    return f"{span(first, size)} {scene.verb} in the context, but {scene.programs} do not have such a field", hint


def _forbidden(scene: Scene, match: re.Match[str]) -> Words:
    pointer = re.search(r"\(r(\d+) ?[+-]", scene.walk.code)
    held = scene.register(pointer[1]) if pointer else scene.register(0)
    name = map_name(held)
    if match["what"] == "read from":
        what = f"map{name} is" if name else "a map is read that is"
        return f"{what} write-only for programs", "remove BPF_F_WRONLY_PROG, or read another map"
    if ".kconfig" in name:
        return (
            "a kernel setting (.kconfig) is written",
            "its value comes from the running kernel; copy it into a variable",
        )
    if ".rodata" in name:
        hint = "constants are set in the YAML, under `rodata`; a variable that programs write must not be const"
        return "a constant (.rodata) is written", hint
    what = f"map{name} is" if name else "a map is written that is"
    return f"{what} read-only for programs", "remove BPF_F_RDONLY_PROG, or write another map"


RULES = (
    rule("packet-offset", PACKET, _packet_far),
    rule("packet-unchecked", PACKET, _packet),
    rule(
        "packet-read-only",
        r"cannot write into packet",
        "{programs} may only read the packet",
        "change packets in an XDP or tc program, or by bpf_skb_store_bytes",
    ),
    rule(
        "packet-offset",
        r"math between pkt pointer and register with unbounded",
        "a number without bounds is added to a packet pointer",
        "bound the offset by an `if` first; lengths from packets are unsigned: `__u32`, not `int`",
    ),
    rule("null-unchecked", r"R(?P<reg>\d+) invalid mem access '(?P<kind>\w+?)_or_null'", _null),
    rule("null-unchecked", r"R(?P<reg>\d+) pointer arithmetic on (?P<kind>\w+?)_or_null prohibited", _null),
    rule("packet-moved", NUMBER, _moved),
    rule("used-after-release", NUMBER, _given_back),
    rule("not-a-pointer", NUMBER, _number),
    rule(
        "value-bounds",
        r"invalid access to (map value|memory|map key|map_value), "
        r"(?:value_size|mem_size|key_size)=(?P<whole>\d+) off=(?P<off>-?\d+) size=(?P<size>\d+)",
        _outside,
    ),
    rule("value-bounds", r"value (?P<value>-?\d+) makes (?P<what>\w+) pointer be out of bounds", _out_of_value),
    rule(
        "value-bounds",
        r"math between (?P<what>map_value|mem|ringbuf_mem|fp|ctx) pointer and (register with unbounded .*|"
        r"-?\d+) .*is not allowed",
        "a number that may be far too large or small is added to a pointer",
        INDEX,
    ),
    rule("index-unbounded", r"R(?P<reg>\d+) unbounded memory access, make sure to bounds check", _unbounded),
    rule("index-negative", r"R(?P<reg>\d+) min value is negative", _negative),
    rule("map-forbidden", r"(?P<what>write into|read from) map forbidden", _forbidden),
    rule(
        "uninitialised-stack",
        r"invalid (?:indirect )?read from stack (?:R\d+ )?off (?P<off>-?\d+)\+(?P<hole>\d+) size",
        _uninitialised,
    ),
    rule(
        "stack-misaligned",
        r"misaligned stack access off .*?(?P<off>[+-]?\d+) size (?P<size>\d+)",
        "the stack is accessed misaligned: {size} bytes at an address that is not a multiple of {size}",
        "keep variables of their natural alignment; copy packed structs by __builtin_memcpy",
    ),
    rule(
        "misaligned",
        r"misaligned (?P<what>packet|value|pointer|.*) access off .* size (?P<size>\d+)",
        "{size} bytes are accessed at an address that is not a multiple of {size}",
        "read it in smaller pieces, or by __builtin_memcpy",
    ),
    rule(
        "stack-index",
        r"invalid (unbounded )?variable-offset .*stack",
        "the stack is indexed by a number without bounds",
        INDEX,
    ),
    rule(
        "stack-bounds",
        r"invalid (?:write to |(?:indirect )?read from |indirect access to )?stack (?:type )?(?:R\d+ )?"
        r"off=(?P<off>-?\d+)(?: (?:access_)?size=(?P<size>\d+))?",
        _stack,
    ),
    rule("context-access", r"invalid bpf_context access off=(?P<off>-?\d+) size=(?P<size>\d+)", _context),
    rule(
        "context-pointer",
        r"dereference of modified ctx ptr R\d+ off=(?P<off>-?\d+) disallowed|variable ctx access|"
        r"negative offset ctx ptr",
        "the context pointer was changed by arithmetic before it was used",
        "use ctx->field; the compiler may have merged two reads: mark the context `volatile` or read the field earlier",
    ),
    rule(
        "lock-field",
        r"bpf_(?P<what>spin_lock|timer|kptr|list_head|rb_root|refcount|wq)\w* cannot be accessed directly|"
        r"(?P<what2>kptr) access (size|cannot|offset)",
        "a field of a map value that is the kernel's own (a lock, timer or kptr) is read or written",
        "leave that field alone: copy the others one by one, not the whole struct",
    ),
    rule(
        "spilled-pointer",
        r"(attempt to corrupt spilled pointer|corrupted spill memory|invalid size of register)",
        "a pointer that was saved on the stack is overwritten or read in part",
        "keep pointers in variables of their own, not in unions or byte buffers",
    ),
)
