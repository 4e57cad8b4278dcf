"""Who am I: strings in a program's .rodata that `bpftool prog show` prints, written at load and read back.

bpftool looks at the first map of a program that is an ARRAY of one entry, has BTF and `.rodata` in its
name, and prints the variables called bpf_metadata_… in it. So every .rodata of an object is created here,
longer by the strings and with BTF that names them; a program without one gets a map of its own bound.
The writing half runs in the loader's child.
"""

from __future__ import annotations

import ctypes
import re
import struct
from collections.abc import Iterator, Mapping

from reloader.bpf import syscall
from reloader.bpf.libbpf import Library, read_bytes
from reloader.bpf.syscall import BPF_F_MMAPABLE, BPF_F_RDONLY_PROG, Command
from reloader.errors import KernelError
from reloader.frozen import frozen
from reloader.kernel import Fd, MapInfo, MapType
from reloader.structs.btf import Btf, BtfError, Kind

PREFIX = "bpf_metadata_"
SECTION = ".rodata"
_KEY = re.compile(r"[A-Za-z0-9_]+\Z")
_STATIC = 0  # enum btf_func_linkage's sibling for variables: BTF_VAR_STATIC
_SIGNED = 1  # BTF_INT_SIGNED, as clang describes char


@frozen
class Constants:
    """A read-only section as the object has it; what its map's new contents begin with."""

    section: str
    value: bytes
    btf: bytes | None  # the object's, with the offsets of variables filled in; None: not described


def create_map(lib: Library, prefix: str, constants: Constants, metadata: Mapping[str, str]) -> int:
    """A frozen map of constants and strings. KernelError when the kernel takes no description of it."""
    base = constants.value + bytes(-len(constants.value) % 8)
    strings = list(_strings(metadata))
    value = base + b"".join(text for _, text in strings)
    name = prefix[: max(0, 15 - len(constants.section))] + constants.section
    try:
        blob, section_id = _describe(lib, constants, strings, len(base), len(value))
        return _create(name, value, blob, section_id)
    except KernelError:
        if constants.btf is None:
            raise
    # A kernel that refuses something in the object's BTF: describe the strings alone.
    alone = Constants(section=constants.section, value=constants.value, btf=None)
    return _create(name, value, *_describe(lib, alone, strings, len(base), len(value)))


def _strings(metadata: Mapping[str, str]) -> Iterator[tuple[str, bytes]]:
    """(variable, NUL-terminated text): printable ASCII, since bpftool prints anything else as an array."""
    for key, text in metadata.items():
        if not _KEY.match(key):
            raise ValueError(f"{key!r} cannot name a variable")
        plain = text.encode("ascii", "backslashreplace").decode()
        printable = "".join(c if " " <= c <= "~" else f"\\x{ord(c):02x}" for c in plain)
        yield PREFIX + key, printable.encode() + b"\0"


def _describe(
    lib: Library, constants: Constants, strings: list[tuple[str, bytes]], start: int, total: int
) -> tuple[bytes, int]:
    """BTF for the longer section, and its DATASEC's type id: the old variables, and one of char[] for each string."""
    blob = constants.btf
    btf = lib.btf__new(blob, len(blob)) if blob else lib.btf__new_empty()
    rows = _rows(blob, constants.section) if blob else []
    char = lib.btf__add_int(btf, b"char", 1, _SIGNED)
    index = lib.btf__add_int(btf, b"__ARRAY_SIZE_TYPE__", 4, 0)
    for name, text in strings:
        array = lib.btf__add_array(btf, index, char, len(text))
        rows.append((lib.btf__add_var(btf, name.encode(), _STATIC, array), start, len(text)))
        start += len(text)
    section_id = lib.btf__add_datasec(btf, constants.section.encode(), total)
    for var_id, offset, size in rows:
        lib.btf__add_datasec_var_info(btf, var_id, offset, size)
    length = ctypes.c_uint32()
    return read_bytes(lib.btf__raw_data(btf, ctypes.byref(length)), length.value), section_id


def _rows(blob: bytes, section: str) -> list[tuple[int, ...]]:
    """(variable's type id, offset, size) of a section."""
    parsed = Btf.parse(blob)
    found = parsed.find(Kind.DATASEC, section)
    return list(parsed.items(found, 12)) if found is not None else []


def _create(name: str, value: bytes, blob: bytes, section_id: int) -> int:
    with Fd(syscall.btf_load(blob)) as btf:
        made = syscall.map_create(
            kind=MapType.ARRAY, name=re.sub(r"[^A-Za-z0-9_.]", "_", name), key_size=4, value_size=len(value),
            max_entries=1, flags=BPF_F_RDONLY_PROG | BPF_F_MMAPABLE, btf_fd=btf.fileno(), btf_value_type_id=section_id,
        )  # fmt: skip
    syscall.map_update(made, struct.pack("=I", 0), value)
    syscall.map_freeze(made)  # only then does the verifier fold its constants
    return made


# reading


def read(map_ids: tuple[int, ...]) -> dict[str, str]:
    """The strings in a program's maps; empty when it has none."""
    for map_id in map_ids:
        with Fd(syscall.fd_by_id(Command.BPF_MAP_GET_FD_BY_ID, map_id)) as fd:
            info = syscall.map_info(fd.fileno())
            if _may_hold(info):
                found = _read_map(fd, info)
                if found:
                    return found
    return {}


def _may_hold(info: MapInfo) -> bool:
    """bpftool's own test."""
    shape = (info.type, info.key_size, info.max_entries) == (MapType.ARRAY, 4, 1)
    return shape and bool(info.btf_value_type_id) and SECTION in info.name


def _read_map(fd: Fd, info: MapInfo) -> dict[str, str]:
    value = syscall.map_lookup(fd.fileno(), bytes(4), info.value_size) or b""
    with Fd(syscall.fd_by_id(Command.BPF_BTF_GET_FD_BY_ID, info.btf_id)) as btf_fd:
        blob = syscall.btf_raw(btf_fd.fileno())
    try:
        variables = Btf.parse(blob).variables(info.btf_value_type_id)
    except BtfError:  # somebody else's program; ours parse
        return {}
    return {
        v.name.removeprefix(PREFIX): value[v.offset : v.offset + v.size].split(b"\0")[0].decode("ascii", "replace")
        for v in variables
        if v.name.startswith(PREFIX)
    }
