"""Layout versions and compiled conversions as data; wishes, plans, the journal and the engine carry them.

Light, as every command imports it. layouts/rule_table.py makes conversions, pipeline/registry/registry.py versions.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import field, replace
from enum import IntEnum

from reloader.frozen import frozen
from reloader.kernel import MapType
from reloader.layouts import texts
from reloader.structs.tree import TypeTree, entry_of, identity
from reloader.wording.message import Message

MAX_VALUE_RULES = 64  # reloader_rules.h has the same limits
MAX_KEY_RULES = 16
MAX_VALUE = 4096  # bytes
MAX_KEY = 256
RULE_SIZE = 16  # struct rl_rule
REMEMBERED = frozenset({MapType.HASH, MapType.PERCPU_HASH})  # without a bridge: which keys were copied is kept in mind


@frozen
class Fault:
    """Why a step between two layouts is refused, and which field it is about."""

    message: Message
    side: str = ""  # "key" or "value"; empty: both
    path: str = ""  # below the side; empty: all of it
    step: tuple[int, int] | None = None  # the versions, where a chain has several steps

    @property
    def field(self) -> str:
        """The field from the entry's root, as `value.packets`."""
        return f"{self.side}.{self.path}" if self.path else self.side

    def text(self) -> Message:
        """The message with its place and hint, for one line."""
        found = self.message
        if self.side:
            at = texts.AT_FIELD_WITH_HINT if found.hint else texts.AT_FIELD
            found = at(field=self.field, why=found, advice=found.hint)
        return texts.AT_STEP(old=self.step[0], new=self.step[1], why=found) if self.step else found


class StateRefused(ValueError):
    """State cannot be carried over by these rules; `faults` holds all of them, `reasons` their texts."""

    def __init__(self, found: Sequence[Fault]) -> None:
        self.faults = tuple(found)
        self.reasons = tuple(one.text() for one in found)
        super().__init__("\n".join(self.reasons))


class Op(IntEnum):
    """What a rule does with a field; where an entry exists on both sides, how they become one."""

    COPY = 1  # the new entry keeps its own
    KEEP_OLD = 2  # the old entry's replaces it
    SUM = 3  # moved: exchanged for zero, then added
    MAX = 4
    MIN = 5
    OR = 6
    CONST = 7  # imm itself
    EXPECT = 8  # of keys: an entry whose field is not imm has no counterpart; writes nothing


@frozen
class Rule:
    """struct rl_rule. Sizes are 1, 2, 4 or 8 bytes."""

    op: Op
    src_off: int
    dst_off: int
    src_size: int
    dst_size: int
    signed: bool = False
    checked: bool = False  # narrowing: the value must fit into dst_size
    imm: int = 0  # of CONST and EXPECT the value; else how many more such fields lie behind the first

    def pack(self) -> bytes:
        """16 bytes, little endian."""
        flags = self.signed | self.checked << 1
        return struct.pack(
            "<HHBBBBQ", self.src_off, self.dst_off, self.src_size, self.dst_size, self.op, flags, self.imm
        )


def pack_table(mode: int, value: tuple[Rule, ...], key: tuple[Rule, ...], *, per_cpu: bool = False) -> bytes:
    """struct rl_table of programs/include/reloader_rules.h."""
    head = struct.pack("<4I", mode, len(value), len(key), per_cpu)
    rules = b"".join(rule.pack() for rule in value).ljust(RULE_SIZE * MAX_VALUE_RULES, b"\0")
    return head + rules + b"".join(rule.pack() for rule in key).ljust(RULE_SIZE * MAX_KEY_RULES, b"\0")


@frozen
class Conversion:
    """How every entry of one layout becomes one of another. Bytes that no rule names become zero."""

    key: tuple[Rule, ...]  # empty: keys are the same bytes
    value: tuple[Rule, ...]
    old_key_size: int
    new_key_size: int
    old_value_size: int
    new_value_size: int
    lossy: tuple[str, ...] = ()  # what is lost of every entry, in words
    demands: tuple[str, ...] = ()  # what an entry must be like to have a place, as `key.zone is 7`; empty: each has one
    notes: tuple[str, ...] = ()  # field by field, for the plan
    same: tuple[int, ...] = ()  # which of the notes are of fields that stay as they are
    misread: tuple[str, ...] = ()  # bytes that go along and that the new layout reads as something else, or not at all
    collides: bool = False  # several old keys may become one: no bridge can tell them apart

    def changed(self) -> tuple[str, ...]:
        """Notes of the fields that do not stay as they are."""
        return tuple(note for index, note in enumerate(self.notes) if index not in self.same)


@frozen
class FieldRule:
    """What a version's file says of one field; values are bytes in the field's own layout."""

    rename: str = ""  # the field of the version before that this one was
    default: bytes | None = None  # for a field that is new: what entries from before get
    const: bytes | None = None  # the same, though the version before has such a field
    widen: bool = False  # may become larger; an array longer
    narrow: bool = False  # may become smaller: entries that do not fit stop the conversion; an array loses its end
    cast: bool = False  # may change its type; of equal size, the bytes are taken as they are
    drop: bool = False  # a field of the version before that is no more
    was: bytes | None = None  # with drop: what it gets on the way back; a key that holds another has no place
    accept_loss: bool = False  # with drop or cast: the author knows that values are lost, or read as another field


@frozen
class LayoutVersion:
    """One version of one map's layout, with the rules from the version before it."""

    schema: str
    map: str
    version: int
    key: TypeTree
    value: TypeTree
    merge: dict[str, str] = field(default_factory=dict)  # value field → sum max min or keep_new keep_old
    key_rules: dict[str, FieldRule] = field(default_factory=dict)  # field → rule
    value_rules: dict[str, FieldRule] = field(default_factory=dict)
    collide: bool = False  # two old keys may become one; their values are merged

    def inside(self) -> LayoutVersion:
        """The version as rules see it: of a map of maps, the layout of the maps in it."""
        key, value = entry_of(self.key, self.value)
        return self if value is self.value else replace(self, key=key, value=value)

    def outer(self) -> TypeTree | None:
        """The key of a map of maps."""
        return self.key if self.value.kind == "map" else None


def outer_problem(chain: Sequence[LayoutVersion]) -> Fault | None:
    """What rules cannot change of a map of maps; None when nothing of it changes."""
    digests = {repr((v.outer() and identity(v.outer()), v.value.name if v.outer() else "")) for v in chain}
    return Fault(message=texts.OUTER_CHANGED(), side="key") if len(digests) > 1 else None
