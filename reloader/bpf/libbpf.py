"""libbpf through ctypes: the functions the loader calls, each with its prototype and how it reports failure.

Opened in the loader's child only (a hostile object must not be able to crash the parent). Everything in
the table is in libbpf 1.0 and later; a function that is not would have to be probed for, by symbol.
"""

from __future__ import annotations

import ctypes
import errno
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

from reloader.errors import KernelError

SONAME = "libbpf.so.1"
MESSAGE_BYTES = 1 << 16  # libbpf prints a whole verifier log as one message
WARN = 0  # enum libbpf_print_level

Pointer = ctypes.c_void_p
PrintFunction = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
_U32, _INT, _SIZE, _TEXT, _BOOL = ctypes.c_uint32, ctypes.c_int, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_bool


class OpenOptions(ctypes.Structure):
    """The start of struct bpf_object_open_opts; libbpf takes what lies beyond `sz` as zero."""

    _fields_ = (("sz", _SIZE), ("object_name", _TEXT))


def _checked_int(result: int, function: Any, _arguments: Any) -> int:
    if result < 0:
        raise KernelError(function.__name__, -result)
    return result


def _checked_pointer(result: int | None, function: Any, _arguments: Any) -> int:
    if not result:
        raise KernelError(function.__name__, ctypes.get_errno())
    return result


class Prototype(NamedTuple):
    result: Any
    arguments: list[Any]
    errcheck: Callable[[Any, Any, Any], Any] | None  # None: every result is a good one


def _fallible(*arguments: Any) -> Prototype:
    """int f(…): negative errno on failure."""
    return Prototype(_INT, list(arguments), _checked_int)


def _making(*arguments: Any) -> Prototype:
    """T *f(…): NULL and errno on failure."""
    return Prototype(Pointer, list(arguments), _checked_pointer)


def _plain(result: Any, *arguments: Any) -> Prototype:
    return Prototype(result, list(arguments), None)


PROTOTYPES = {
    "libbpf_set_print": _plain(Pointer, PrintFunction),
    "bpf_object__open_mem": _making(_TEXT, _SIZE, ctypes.POINTER(OpenOptions)),
    "bpf_object__load": _fallible(Pointer),
    "bpf_object__btf": _plain(Pointer, Pointer),
    "bpf_object__next_program": _plain(Pointer, Pointer, Pointer),
    "bpf_object__next_map": _plain(Pointer, Pointer, Pointer),
    "bpf_program__name": _plain(_TEXT, Pointer),
    "bpf_program__set_autoload": _fallible(Pointer, _BOOL),
    "bpf_program__set_log_buf": _fallible(Pointer, Pointer, _SIZE),
    "bpf_program__set_type": _fallible(Pointer, _INT),
    "bpf_program__set_expected_attach_type": _fallible(Pointer, _INT),
    "bpf_program__fd": _fallible(Pointer),
    "bpf_map__set_autocreate": _fallible(Pointer, _BOOL),
    "bpf_map__name": _plain(_TEXT, Pointer),
    "bpf_map__is_internal": _plain(_BOOL, Pointer),
    "bpf_map__fd": _plain(_INT, Pointer),
    "bpf_map__set_max_entries": _fallible(Pointer, _U32),
    "bpf_map__set_pin_path": _fallible(Pointer, _TEXT),
    "bpf_map__reuse_fd": _fallible(Pointer, _INT),
    "bpf_map__initial_value": _plain(Pointer, Pointer, ctypes.POINTER(_SIZE)),
    "bpf_linker__new": _making(_TEXT, Pointer),
    "bpf_linker__add_file": _fallible(Pointer, _TEXT, Pointer),
    "bpf_linker__finalize": _fallible(Pointer),
    "btf__new": _making(_TEXT, _U32),
    "btf__new_empty": _making(),
    "btf__raw_data": _making(Pointer, ctypes.POINTER(_U32)),
    "btf__add_int": _fallible(Pointer, _TEXT, _SIZE, _INT),
    "btf__add_array": _fallible(Pointer, _INT, _INT, _U32),
    "btf__add_var": _fallible(Pointer, _TEXT, _INT, _INT),
    "btf__add_datasec": _fallible(Pointer, _TEXT, _U32),
    "btf__add_datasec_var_info": _fallible(Pointer, _INT, _U32, _U32),
}


class Library:
    """libbpf with the table's functions as attributes, and what it printed."""

    def __init__(self) -> None:
        self._library = _open()
        for name, prototype in PROTOTYPES.items():
            _declare(self._library, name, prototype)
        self.warnings: list[str] = []
        self._print = _collector(self.warnings)  # libbpf keeps the pointer only
        self.libbpf_set_print(self._print)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name not in PROTOTYPES:
            raise AttributeError(f"{name} has no prototype")
        return getattr(self._library, name)  # type: ignore[no-any-return]  # ctypes makes them as they are asked for


def _open() -> ctypes.CDLL:
    try:
        return ctypes.CDLL(SONAME, use_errno=True)
    except OSError as error:
        raise KernelError("dlopen", errno.ENOENT, f"{SONAME} (the package libbpf1 has it)") from error


def _declare(library: ctypes.CDLL, name: str, prototype: Prototype) -> None:
    try:
        function = getattr(library, name)
    except AttributeError as error:
        raise KernelError("dlsym", errno.ENOSYS, f"{name} (this {SONAME} is too old)") from error
    function.restype, function.argtypes = prototype.result, prototype.arguments
    if prototype.errcheck is not None:
        function.errcheck = prototype.errcheck


@functools.cache
def library() -> Library:
    return Library()


def _collector(lines: list[str]) -> Any:
    """A print function that keeps warnings. It must not raise: there is no Python frame below it to catch."""
    vsnprintf = ctypes.CDLL(None).vsnprintf
    vsnprintf.restype, vsnprintf.argtypes = _INT, [Pointer, _SIZE, _TEXT, Pointer]
    buffer = ctypes.create_string_buffer(MESSAGE_BYTES)

    def keep(level: int, form: bytes, arguments: int) -> int:
        if level == WARN:
            vsnprintf(buffer, len(buffer), form, arguments)
            lines.append(buffer.value.decode("utf-8", "replace").removeprefix("libbpf: ").rstrip())
        return 0

    return PrintFunction(keep)


def read_bytes(at: int, size: int) -> bytes:
    return ctypes.string_at(at, size)


def write_bytes(at: int, data: bytes) -> None:
    ctypes.memmove(at, data, len(data))


def _check_table() -> None:
    """ctypes takes a wrong prototype silently, and then cuts pointers in half."""
    for name, prototype in PROTOTYPES.items():
        if not isinstance(prototype, Prototype) or not isinstance(prototype.arguments, list):
            raise TypeError(f"{name}: not a prototype")
        for kind in prototype.arguments:
            if not hasattr(kind, "from_param"):
                raise TypeError(f"{name}: {kind!r} is no ctypes type")


_check_table()
