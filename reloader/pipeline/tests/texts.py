"""The words of this room: faults in the tests of a pipeline."""

from __future__ import annotations

from reloader.wording.message import Text

# pipeline/tests/packets

ADDRESS_GIVEN_TWICE = Text("address-given-twice", "{layer}.{side} gives this address too", hint="remove one of them")
CUT_BEYOND_FRAME = Text(
    "cut-beyond-frame", "the frame has {length:byte}, so it cannot be cut at {cut}", hint="choose less than {length}"
)
FRAME_TOO_SMALL = Text(
    "frame-too-small", "size {size} is too small: headers and payload take {least:byte}", hint="write at least {least}"
)
IPV4_AND_IPV6 = Text(
    "ipv4-and-ipv6", "a packet is either ipv4 or ipv6, not both", hint="use addresses of one family only"
)
NOT_A_CHECKSUM = Text("not-a-checksum", "{value!r} is not a number", hint='write a number or "{right}"')
NOT_A_MAC = Text("not-a-mac", "{value!r} is not a MAC", hint="write for example 02:00:00:00:00:01")
NOT_A_NUMBER = Text("not-a-number", "{value!r} is not a number", hint="write a number, for example 26 or 0x1a")
NOT_AN_ADDRESS = Text("not-an-address", "{value!r} is not an address", hint="write it as 192.0.2.1 or 2001:db8::1")
NOT_HEX = Text("not-hex", "{value!r} is not hexadecimal", hint="write two digits for each byte, for example hex:0aff")
NOT_IPV4 = Text("not-ipv4", "{value!r} is not an IPv4 address", hint="write for example 192.0.2.1")
NOT_IPV6 = Text("not-ipv6", "{value!r} is not an IPv6 address", hint="write for example 2001:db8::1")
NOT_TEXT = Text("not-text", "{value!r} is not text", hint="write text or hex:…; put a number in quotes")
NUMBER_TOO_LARGE = Text("number-too-large", "{number} does not fit into {bits:bit}", hint="write 0 to {most}")
PACKET_TOO_LARGE = Text(
    "packet-too-large", "an IP packet cannot hold {length:byte}", hint="shorten the payload: the limit is {limit}"
)
PAYLOAD_GIVEN_TWICE = Text("payload-given-twice", "{other} gives the payload too", hint="remove one of them")
TWO_TRANSPORTS = Text("two-transports", "a packet has either {first} or {second}, not both", hint="remove one of them")
UNKNOWN_NAME = Text("unknown-name", "{value!r} is not a name that this field knows")

# pipeline/tests/expected

EMPTY_RANGE = Text("empty-range", "the range {range!r} is empty", hint="write the smaller end first")
ENTRIES_NOT_LISTED = Text("entries-not-listed", "the entries of a map of type {type} cannot be listed")
HALF_A_BYTE = Text("half-a-byte", "the last byte has one digit only", hint="write two digits for each byte")
HEX_EMPTY = Text("hex-empty", "hex does not have a digit", hint="write two digits for each byte, or remove hex")
NO_SUCH_FIELD = Text("no-such-field", "{type} does not have a field {field!r}")
NO_SUCH_MAP = Text("no-such-map", "the objects do not have a map {map!r}")
NOT_A_RANGE = Text("not-a-range", "{range!r} is neither a number nor a range", hint="write it as 1..5, 1.. or ..5")
NOT_A_DIGIT = Text("not-a-digit", "{digit!r} is not a hexadecimal digit", hint="use 0-9 and a-f only")
NOT_A_DIGIT_OR_ANY = Text(
    "not-a-digit-or-any", "{digit!r} is not a hexadecimal digit", hint="use 0-9 and a-f only, or ? for any digit"
)
OFFSET_WITHOUT_BYTES = Text("offset-without-bytes", "at is given without hex", hint="add hex, or remove at")
VALUE_OR_ABSENT = Text(
    "value-or-absent", "an expected entry needs either a value or absent: true", hint="give one of them"
)

# pipeline/tests/pcap

BLOCK_LENGTH = Text("block-length", "a block claims {length:byte}, which is not possible")
BYTE_ORDER_UNMARKED = Text("byte-order-unmarked", "the pcapng file does not mark its byte order")
CAPTURE_CUT_OFF = Text("capture-cut-off", "the file ends within {part}: {wanted:byte} expected, {found} found")
FRAME_BEYOND_BLOCK = Text("frame-beyond-block", "frame {frame} is longer than its block")
FRAME_IN_PART = Text(
    "frame-in-part",
    "frame {frame} was captured in part: {length} of {wire:byte}",
    hint="capture whole frames: `tcpdump -s 0 -w FILE`",
)
FRAME_TOO_LONG = Text("frame-too-long", "frame {frame} claims {length:byte}; the limit is {limit}")
FRAME_WITHOUT_INTERFACE = Text(
    "frame-without-interface", "frame {frame} does not belong to an interface, or its block is too short"
)
LINK_TYPE = Text("link-type", "the frames are of link type {link}, not of Ethernet ({ethernet})")
NOT_A_CAPTURE = Text("not-a-capture", "the file is neither pcap nor pcapng", hint="write it with `tcpdump -w FILE`")

# pipeline/tests/cases_from_yaml: a test

BUDGET_WITH_STEPS = Text(
    "budget-with-steps", "a test with steps cannot have a budget", hint="move the budget to a test of one packet"
)
BUDGET_WITH_FRAMES = Text(
    "budget-with-frames", "a budget measures one packet, not {count}", hint="choose one frame with frames"
)
EXPECTATION_MISSING = Text(
    "expectation-missing", "the test does not say what it expects", hint="add expect: {{verdict: …}}"
)
FIELD_BESIDE_STEPS = Text(
    "field-beside-steps", "{field!r} cannot stand beside 'steps'", hint="move {field!r} into a step"
)
MAP_WITHOUT_ENTRIES = Text("map-without-entries", "a test cannot write entries to a map of type {type}")
NO_SUCH_PROGRAM = Text("no-such-program", "the objects do not have a program {program!r}")
NO_SUCH_VERDICT = Text("no-such-verdict", "{verdict!r} is not a verdict of {section}")
PACKET_MISSING = Text("packet-missing", "the test does not have a packet", hint="add packet, or steps with packets")
PROGRAM_MISSING = Text("program-missing", "the field 'program' is missing", hint="name one of {programs}")
PROGRAM_NOT_ATTACHED = Text(
    "program-not-attached", "the program {program} is neither attached nor called by an attached program"
)
PROGRAM_TYPE_UNKNOWN = Text("program-type-unknown", "a program of unknown type cannot be tested")
PROGRAM_TYPE_UNTESTED = Text("program-type-untested", "a program of type {type} cannot be tested")
VERDICT_WITHOUT_PACKET = Text(
    "verdict-without-packet",
    "a step without a packet has neither a verdict nor an output",
    hint="add a packet, or remove verdict and output",
)

# pipeline/tests/cases_from_yaml: packets and captures

CAPTURE_EMPTY = Text("capture-empty", "{path} does not have a frame")
CAPTURE_UNFIT = Text("capture-unfit", "{path} cannot be used: {why}")
CAPTURE_UNREADABLE = Text("capture-unreadable", "{path} cannot be read: {why}")
FRAME_SIZE = Text(
    "frame-size",
    "frame {frame} has {length:byte}; {section} takes {least} to {most}",
    hint="a test packet and the room around it must fit into one page",
)
FRAMES_EMPTY = Text("frames-empty", "frames does not name a frame", hint="name a frame, or remove frames")
FRAMES_WITHOUT_CAPTURE = Text("frames-without-capture", "only a pcap has frames", hint="add pcap, or remove frames")
NO_SUCH_FRAME = Text("no-such-frame", "{path} does not have a frame {frame}, only {count}")
NOT_FRAMES = Text(
    "not-frames", "{value!r} does not name frames", hint="write for example 3, 2-5, or a list; the first frame is 1"
)
PACKET_FORMS = Text(
    "packet-forms", "the packet is given in several forms: {forms}", hint="keep one of hex, pcap and layers"
)
PACKET_SIZE = Text(
    "packet-size",
    "the packet has {length:byte}; {section} takes {least} to {most}",
    hint="a test packet and the room around it must fit into one page",
)
PACKET_WITHOUT_FORM = Text(
    "packet-without-form", "the packet is not described", hint="give hex, pcap, or layers such as udp"
)
PACKETS_TOO_LARGE = Text(
    "packets-too-large", "all packets together have {size:byte}; the limit is {limit} MiB", hint="use fewer packets"
)
TOO_MANY_FRAMES = Text("too-many-frames", "{path} has more than {limit:frame}", hint="choose some with frames")
TOO_MANY_FRAMES_CHOSEN = Text("too-many-frames-chosen", "frames names more than {limit:frame}", hint="choose fewer")
