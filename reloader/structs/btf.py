"""BTF (type information) bytes to layouts: what is at which offset, field by field.

`validate` and `plan` need this without a kernel, so it is pure: bytes in, values out. Every blob is treated
as hostile: whatever is wrong with one ends in BtfError, never in a hang or another exception.
elf/ reads objects on top of it, observe/pipeline.py the kernel's own copies, plan/state/compat.py compares the
trees. Format: Documentation/bpf/btf.rst.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from enum import IntEnum
from typing import NamedTuple

from reloader.structs import texts
from reloader.structs.tree import SPECIAL, Leaf, Member, TypeTree, identity, layout_digest, leaves, map_of
from reloader.wording.message import Message

__all__ = [
    "SPECIAL", "Btf", "BtfError", "Kind", "Leaf", "Member", "SectionVariable", "TypeTree",
    "identity", "layout_digest", "leaves", "map_of",
]  # fmt: skip

MAX_TYPES = 1 << 20  # the kernel's BTF_MAX_TYPE
MAX_DEPTH = 48  # nesting of one layout, typedefs included; the kernel stops at 32
MAX_NODES = 1 << 15  # fields of one layout, counted with repetition
MAX_SIZE = 1 << 31  # bytes of one layout
MAX_NAME = 1024  # bytes; the kernel takes 128, and 512 of its own symbols
MAX_TEXT = 1 << 16  # bytes of a source line


class BtfError(ValueError):
    """The BTF is corrupt, or asks for more than any real program's does."""

    def __init__(self, message: Message) -> None:
        super().__init__(message)
        self.message = message


class Kind(IntEnum):
    """BTF_KIND_*, include/uapi/linux/btf.h."""

    VOID = 0
    INT = 1
    PTR = 2
    ARRAY = 3
    STRUCT = 4
    UNION = 5
    ENUM = 6
    FWD = 7
    TYPEDEF = 8
    VOLATILE = 9
    CONST = 10
    RESTRICT = 11
    FUNC = 12
    FUNC_PROTO = 13
    VAR = 14
    DATASEC = 15
    FLOAT = 16
    DECL_TAG = 17
    TYPE_TAG = 18
    ENUM64 = 19


_FIXED_EXTRA = {Kind.INT: 4, Kind.ARRAY: 12, Kind.VAR: 4, Kind.DECL_TAG: 4}
_PER_ITEM = {Kind.STRUCT: 12, Kind.UNION: 12, Kind.ENUM: 8, Kind.FUNC_PROTO: 8, Kind.DATASEC: 12, Kind.ENUM64: 12}
_EXTRA = [(_FIXED_EXTRA.get(k, 0), _PER_ITEM.get(k, 0)) for k in Kind]
_SEEN_THROUGH = frozenset({Kind.TYPEDEF, Kind.VOLATILE, Kind.CONST, Kind.RESTRICT, Kind.TYPE_TAG})
_ORDER = {f"{u}{o}{n}": w for u in ("__", "") for o, w in (("be", "big"), ("le", "little")) for n in (16, 32, 64)}


class RawType(NamedTuple):
    """struct btf_type, taken apart; `at` is where what follows it lies in the blob."""

    kind: int
    name_off: int
    vlen: int
    kind_flag: bool
    size_or_type: int
    at: int


class SectionVariable(NamedTuple):
    """One variable of a DATASEC. Offsets are 0 for global ones until a linker or loader fills them in."""

    name: str
    type_id: int
    offset: int
    size: int
    linkage: int  # 0 static, 1 global, 2 extern


class _Built(NamedTuple):
    """A layout with what bounds the work of walking it, shared parts counted each time."""

    tree: TypeTree
    nodes: int = 1
    height: int = 1


class Btf:
    """One parsed blob. Type ids are the blob's own; 0 is void."""

    __slots__ = ("_blob", "_datasecs", "_order", "_strings", "_trees", "_types")

    def __init__(self, blob: bytes, order: str, types: list[RawType], strings: bytes) -> None:
        self._blob = blob
        self._order = order
        self._types = types
        self._strings = strings
        self._trees: dict[int, _Built] = {}
        self._datasecs: dict[str, int] | None = None

    @classmethod
    def parse(cls, blob: bytes) -> Btf:
        """Read the header and index all types; layouts are resolved when asked for."""
        if len(blob) < 24:
            raise BtfError(texts.BTF_TOO_SHORT())
        order = {b"\x9f\xeb": "<", b"\xeb\x9f": ">"}.get(bytes(blob[:2]))
        if order is None:
            raise BtfError(texts.BTF_MAGIC())
        _, version, _, hdr_len, type_off, type_len, str_off, str_len = struct.unpack_from(order + "HBBIIIII", blob)
        if version != 1:
            raise BtfError(texts.BTF_VERSION(version=version))
        if max(hdr_len + type_off + type_len, hdr_len + str_off + str_len) > len(blob) or hdr_len < 24:
            raise BtfError(texts.BTF_CUT_OFF())
        strings = bytes(blob[hdr_len + str_off : hdr_len + str_off + str_len])
        if str_len and (strings[0] or strings[-1]):
            raise BtfError(texts.BTF_STRINGS_NOT_CLOSED())
        start = hdr_len + type_off
        return cls(blob, order, _index_types(blob, order, start, start + type_len), strings)

    def __len__(self) -> int:
        """Number of types, void included."""
        return len(self._types)

    def raw(self, type_id: int) -> RawType:
        if not 0 <= type_id < len(self._types):
            raise BtfError(texts.BTF_TYPE_MISSING(type=type_id))
        return self._types[type_id]

    def string(self, offset: int) -> str:
        """Any text: a source line may hold tabs. Names go through `name`, since they reach terminals."""
        end = self._strings.find(b"\0", offset, offset + MAX_TEXT)
        if not 0 <= offset < max(len(self._strings), 1) or (end < 0 and offset):
            raise BtfError(texts.BTF_STRING_BEYOND(offset=offset))
        try:
            text = self._strings[offset : max(end, 0)].decode("utf-8")
        except UnicodeDecodeError:
            raise BtfError(texts.BTF_STRING_NOT_UTF8(offset=offset)) from None
        return text

    def name(self, type_id: int) -> str:
        return self._name(self.raw(type_id).name_off)

    def _name(self, offset: int) -> str:
        text = self.string(offset)
        if not text.isprintable() or len(text) > MAX_NAME:
            raise BtfError(texts.BTF_NAME_UNFIT(offset=offset))
        return text

    def of_kind(self, kind: Kind) -> Iterator[int]:
        """Ids of all types of one kind, in order."""
        return (i for i, t in enumerate(self._types) if t.kind == kind)

    def find(self, kind: Kind, name: str) -> int | None:
        return next((i for i in self.of_kind(kind) if self.name(i) == name), None)

    def find_datasec(self, name: str) -> int | None:
        if self._datasecs is None:
            self._datasecs = {self.name(i): i for i in self.of_kind(Kind.DATASEC)}
        return self._datasecs.get(name)

    def items(self, type_id: int, size: int) -> Iterator[tuple[int, ...]]:
        """The words behind a type: one tuple of `size / 4` for each of its members, variables, enumerators."""
        raw = self.raw(type_id)
        return struct.iter_unpack(f"{self._order}{size // 4}I", self._blob[raw.at : raw.at + raw.vlen * size])

    def word(self, type_id: int, index: int = 0) -> int:
        """One of the fixed words behind an INT, ARRAY or VAR."""
        found: int = struct.unpack_from(self._order + "I", self._blob, self.raw(type_id).at + 4 * index)[0]
        return found

    def members(self, type_id: int) -> Iterator[tuple[str, int, int, int]]:
        """(name, type id, offset in bits, bit-field width or 0) of a struct or union."""
        flagged = self.raw(type_id).kind_flag
        for name_off, member_type, offset in self.items(type_id, 12):
            bits, offset = (offset >> 24, offset & 0xFFFFFF) if flagged else (0, offset)
            yield self._name(name_off), member_type, offset, bits

    def variables(self, datasec_id: int) -> tuple[SectionVariable, ...]:
        """The variables of a data section as the blob has them."""
        found = []
        for var_id, offset, size in self.items(datasec_id, 12):
            var = self.raw(var_id)
            if var.kind == Kind.FUNC:  # .ksyms lists external functions
                continue
            if var.kind != Kind.VAR:
                raise BtfError(texts.BTF_NOT_VARIABLE(section=self.name(datasec_id), type=var_id))
            found.append(SectionVariable(self.name(var_id), var.size_or_type, offset, size, self.word(var_id)))
        return tuple(found)

    def peel(self, type_id: int) -> tuple[int, tuple[str, ...], tuple[str, ...]]:
        """(the type behind typedefs and qualifiers, typedef names outermost first, type tags)."""
        names: list[str] = []
        tags: list[str] = []
        for _ in range(MAX_DEPTH):
            raw = self.raw(type_id)
            if raw.kind not in _SEEN_THROUGH:
                return type_id, tuple(names), tuple(tags)
            if raw.kind == Kind.TYPEDEF:
                names.append(self.name(type_id))
            elif raw.kind == Kind.TYPE_TAG:
                tags.append(self.name(type_id))
            type_id = raw.size_or_type
        raise BtfError(texts.BTF_TYPEDEFS(type=type_id, limit=MAX_DEPTH))

    def is_volatile(self, type_id: int) -> bool:
        """Whether a variable's type is volatile; of an array, whether its elements are."""
        for _ in range(MAX_DEPTH):
            raw = self.raw(type_id)
            if raw.kind == Kind.VOLATILE:
                return True
            if raw.kind not in _SEEN_THROUGH and raw.kind != Kind.ARRAY:
                return False
            type_id = self.word(type_id) if raw.kind == Kind.ARRAY else raw.size_or_type
        raise BtfError(texts.BTF_DEPTH(type=type_id))

    def tree(self, type_id: int) -> TypeTree:
        """The whole layout of a type; of a variable, that of its type."""
        raw = self.raw(type_id)
        if raw.kind == Kind.DATASEC:
            return self.section_tree(self.name(type_id), raw.size_or_type, self.variables(type_id))
        return self._tree(raw.size_or_type if raw.kind == Kind.VAR else type_id, 0).tree

    def section_tree(self, name: str, size: int, variables: tuple[SectionVariable, ...]) -> TypeTree:
        """A data section's layout from variables whose offsets have been filled in."""
        members, nodes = [], 1
        for v in sorted(variables, key=lambda v: v.offset):
            tree, below, _ = self._tree(v.type_id, 1)
            nodes += below
            members.append(Member(name=v.name, offset_bits=v.offset * 8, type=tree))
            if v.offset + tree.size > size or nodes > MAX_NODES:
                raise BtfError(texts.BTF_VARIABLE_BEYOND(variable=v.name, section=name))
        return TypeTree(kind="datasec", name=name, size=size, members=tuple(members))

    def _tree(self, type_id: int, depth: int) -> _Built:
        """The layout of a type met `depth` levels down. Parts used twice are built once."""
        known = self._trees.get(type_id)
        if known is None and depth <= MAX_DEPTH:
            target, names, tags = self.peel(type_id)
            known = self._trees[type_id] = self._build(target, names, tags, depth)
        if known is None or known.height + depth > MAX_DEPTH:
            raise BtfError(texts.BTF_DEPTH(type=type_id))
        if known.tree.size > MAX_SIZE or known.nodes > MAX_NODES:
            raise BtfError(texts.BTF_TYPE_TOO_LARGE(type=type_id))
        return known

    def _build(self, type_id: int, names: tuple[str, ...], tags: tuple[str, ...], depth: int) -> _Built:
        raw = self.raw(type_id)
        match raw.kind:
            case Kind.INT | Kind.FLOAT:
                return _Built(self._scalar(type_id, names))
            case Kind.PTR:
                return _Built(self._pointer(raw))
            case Kind.ENUM | Kind.ENUM64:
                return _Built(self._enum(type_id, names), 1 + raw.vlen)
            case Kind.ARRAY:
                element, nodes, height = self._tree(self.word(type_id), depth + 1)
                count = self.word(type_id, 2)
                tree = TypeTree(kind="array", size=count * element.size, element=element, count=count)
                return _Built(tree, nodes + 1, height + 1)
            case Kind.STRUCT | Kind.UNION:
                return self._struct(type_id, names, depth)
        raise BtfError(texts.BTF_TYPE_SIZELESS(type=type_id, kind=Kind(raw.kind).name.lower()))

    def _scalar(self, type_id: int, names: tuple[str, ...]) -> TypeTree:
        raw, base = self.raw(type_id), self.name(type_id)
        size, name = raw.size_or_type, (names or (base,))[0]
        if size not in (1, 2, 4, 8, 16):
            raise BtfError(texts.BTF_SCALAR_SIZE(type=type_id, size=size))
        if raw.kind == Kind.FLOAT:
            return TypeTree(kind="float", name=name, size=size, signed=True)
        encoding = (self.word(type_id) >> 24) & 0xF  # 1 signed, 2 char, 4 bool
        if encoding & 4:
            return TypeTree(kind="bool", name=name, size=size)
        kind = "char" if size == 1 and (encoding & 2 or base == "char") else "int"
        order = next((_ORDER[n] for n in names if n in _ORDER), "")
        return TypeTree(kind=kind, name=name, size=size, signed=bool(encoding & 1), order=order)

    def _pointer(self, raw: RawType) -> TypeTree:
        target, names, tags = self.peel(raw.size_or_type)
        pointee = self.raw(target)
        name = (names or (self.name(target),))[0]
        prefix = {Kind.STRUCT: "struct ", Kind.UNION: "union ", Kind.FWD: "struct ", Kind.ENUM: "enum "}
        return TypeTree(
            kind="ptr",
            name=name if names else prefix.get(Kind(pointee.kind), "") + name,
            size=8,
            tag=" ".join(tags),
        )

    def _enum(self, type_id: int, names: tuple[str, ...]) -> TypeTree:
        raw = self.raw(type_id)
        if raw.size_or_type not in (1, 2, 4, 8):
            raise BtfError(texts.BTF_ENUM_SIZE(type=type_id, size=raw.size_or_type))
        wide = raw.kind == Kind.ENUM64
        found = []
        for item in self.items(type_id, 12 if wide else 8):
            value = item[1] | (item[2] << 32 if wide else 0)
            top = 1 << (64 if wide else 32)
            found.append((self._name(item[0]), value - top if raw.kind_flag and value >= top // 2 else value))
        name = self.name(type_id) or (names or ("",))[0]
        signed = raw.kind_flag
        return TypeTree(kind="enum", name=name, size=raw.size_or_type, signed=signed, enumerators=tuple(found))

    def _struct(self, type_id: int, names: tuple[str, ...], depth: int) -> _Built:
        raw = self.raw(type_id)
        members, nodes, height = [], 1, 0
        for name, member_type, offset, bits in self.members(type_id):
            tree, below, inner_height = self._tree(member_type, depth + 1)
            nodes, height = nodes + below, max(height, inner_height)
            bits, offset = self._old_bitfield(member_type, tree, offset, bits)
            if _misplaced(tree, offset, bits, raw.size_or_type) or nodes > MAX_NODES:
                raise BtfError(texts.BTF_MEMBER_BEYOND(type=type_id, member=name))
            members.append(Member(name=name, offset_bits=offset, bits=bits, type=tree))
        kind = "struct" if raw.kind == Kind.STRUCT else "union"
        name = self.name(type_id) or (names or ("",))[0]
        tree = TypeTree(kind=kind, name=name, size=raw.size_or_type, members=tuple(members))
        return _Built(tree, nodes, height + 1)

    def _old_bitfield(self, type_id: int, tree: TypeTree, offset: int, bits: int) -> tuple[int, int]:
        """Older compilers put a bit-field's width and shift into its int type."""
        if bits or tree.kind not in ("int", "bool", "char"):
            return bits, offset
        word = self.word(self.peel(type_id)[0])
        width, shift = word & 0xFF, (word >> 16) & 0xFF
        return (width, offset + shift) if width != tree.size * 8 or shift else (0, offset)


def _misplaced(tree: TypeTree, offset: int, bits: int, size: int) -> bool:
    """Whether a member sticks out of its struct of `size` bytes, or lies between bytes without being a bit-field."""
    if offset + (bits or tree.size * 8) > size * 8:
        return True
    return bits > tree.size * 8 or tree.kind not in ("int", "bool", "char", "enum") if bits else bool(offset % 8)


def _index_types(blob: bytes, order: str, at: int, end: int) -> list[RawType]:
    """Where each type starts; only what is needed to find the next one is looked at."""
    types = [RawType(0, 0, 0, False, 0, 0)]
    head = struct.Struct(order + "III")
    while at < end:
        if at + 12 > end:
            raise BtfError(texts.BTF_TYPE_CUT_OFF())
        name_off, info, size_or_type = head.unpack_from(blob, at)
        kind, vlen = info >> 24 & 0x1F, info & 0xFFFF
        if not 0 < kind < len(_EXTRA):
            raise BtfError(texts.BTF_KIND_UNKNOWN(type=len(types), kind=kind))
        fixed, each = _EXTRA[kind]
        types.append(RawType(kind, name_off, vlen, bool(info >> 31), size_or_type, at + 12))
        at += 12 + fixed + each * vlen
        if at > end or len(types) > MAX_TYPES:
            raise BtfError(texts.BTF_TYPE_CUT_OFF())
    return types
