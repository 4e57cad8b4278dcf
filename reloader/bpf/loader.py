"""Objects to loaded programs and maps: libbpf opens, relocates and loads them, in a child process.

load() is the parent's side; everything below it runs in the child. An object is never closed there: the
child ends anyway, and libbpf would unmap by the size of a map that has meanwhile been exchanged.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from reloader.bpf import child, libbpf, metadata, syscall
from reloader.bpf.libbpf import Library
from reloader.bpf.rawprog import ProgType, expected
from reloader.errors import LIMITS, KernelError, LoadRejected
from reloader.kernel import Fd, Loaded, LoadRequest
from reloader.structs.btf import Btf, BtfError, Kind

LOG_BYTES = (1 << 16, 1 << 20, (1 << 24) - 1)  # of a verifier log, grown when it did not fit; the most 5.1 took
SPARE = 8  # descriptors that a load takes beside those of maps and programs: for BTF, and for trying features out
TRIES = 5  # a signal makes the verifier give up with EAGAIN
LIBBPF_ERRNO = 4000  # libbpf's own codes from here on: what it opened is no object, or a broken one
AGAIN = frozenset({errno.EAGAIN, errno.EINTR})
TOO_LARGE = b"BPF program is too large. Processed"
REFUSED = re.compile(r"prog '(.+)': BPF program load failed")


def load(request: LoadRequest) -> Loaded:
    """Load in a child process. LoadRejected with the verifier's log; KernelError for all else, a crash too."""
    reply = child.run(lambda: _load(request), subject=f"that loads {request.name}")
    if "rejected" in reply.data:
        raise LoadRejected(reply.data["rejected"], reply.data["errno"], reply.data["log"])
    for note in reply.data["notes"]:
        import logging

        from reloader.wording.printable import printable

        logging.getLogger(__name__).warning("%s", printable(f"{request.name}: {note}"))
    fds = [Fd(fd) for fd in reply.fds]
    progs, maps = reply.data["progs"], reply.data["maps"]
    return Loaded(
        progs=dict(zip(progs, fds[: len(progs)], strict=True)), maps=dict(zip(maps, fds[len(progs) :], strict=True))
    )


@dataclass(slots=True, kw_only=True)
class Opened:
    """An object that libbpf has open; addresses are libbpf's."""

    lib: Library
    at: int
    btf: bytes | None  # offsets of variables filled in
    programs: dict[str, int]
    maps: dict[str, int]  # by the ELF's name for them
    logs: dict[str, ctypes.Array[ctypes.c_char]] = field(default_factory=dict)
    tagged: set[int] = field(default_factory=set)  # ids of maps that carry the metadata
    notes: list[str] = field(default_factory=list)


def _load(request: LoadRequest) -> child.Reply:
    child.require_descriptors(SPARE)
    lib = libbpf.library()
    try:
        return _load_objects(lib, request)
    except KernelError as error:
        raise _explained(lib, error, request.name) from error
    except BtfError as error:
        raise KernelError("bpf_object__btf", errno.EINVAL, f"{request.name}: {error}") from error


def _load_objects(lib: Library, request: LoadRequest) -> child.Reply:
    image = request.objects[0] if len(request.objects) == 1 else _join(lib, request.objects)
    log_bytes: dict[str, int] = {}
    tries = 0
    while True:
        lib.warnings.clear()
        opened = _prepare(lib, image, request, log_bytes)
        child.require_descriptors(SPARE + 2 * len(opened.maps) + len(request.programs))
        try:
            lib.bpf_object__load(opened.at)
        except KernelError as error:
            if error.errno in LIMITS:  # a limit was met, whatever was being loaded
                raise
            refused = _refused(opened)
            tries += error.errno in AGAIN
            if error.errno in AGAIN and tries < TRIES:
                continue
            if error.errno == errno.ENOSPC and refused and not _endless(opened, refused) and _grow(log_bytes, refused):
                continue
            if refused is None:
                raise
            return child.Reply(data={"rejected": refused, "errno": error.errno, "log": _log(opened, refused)})
        return _result(opened, request)


# opening


def _prepare(lib: Library, image: bytes, request: LoadRequest, log_bytes: dict[str, int]) -> Opened:
    """Open the object and set it up as asked, up to the point of loading."""
    opened = _open(lib, image, request.name)
    _choose_programs(opened, request, log_bytes)
    _set_types(opened, request)
    for at in opened.maps.values():
        lib.bpf_map__set_pin_path(at, None)  # LIBBPF_PIN_BY_NAME: pins are the engine's business
    for name in request.omit:
        lib.bpf_map__set_autocreate(_map(opened, name), False)
    for name, entries in request.max_entries.items():
        lib.bpf_map__set_max_entries(_map(opened, name), entries)
    _set_constants(opened, request)
    for name, fd in request.reuse.items():
        lib.bpf_map__reuse_fd(_map(opened, name), fd.fileno())
    if request.metadata:
        _exchange_constants(opened, request)
    return opened


def _open(lib: Library, image: bytes, name: str) -> Opened:
    name = re.sub(r"\W", "_", name, flags=re.ASCII)  # a dot would be taken for the start of a section's name
    options = libbpf.OpenOptions(sz=ctypes.sizeof(libbpf.OpenOptions), object_name=name.encode())
    at = lib.bpf_object__open_mem(image, len(image), ctypes.byref(options))
    programs = {_text(lib.bpf_program__name(p)): p for p in _each(lib.bpf_object__next_program, at)}
    maps = {_elf_name(lib, m): m for m in _each(lib.bpf_object__next_map, at)}
    return Opened(lib=lib, at=at, btf=_object_btf(lib, at), programs=programs, maps=maps)


def _each(following: object, at: int) -> Iterator[int]:
    assert callable(following)
    item = following(at, None)
    while item:
        yield item
        item = following(at, item)


def _elf_name(lib: Library, at: int) -> str:
    """`.bss` of an internal map, which libbpf calls `edge.bss`."""
    name = _text(lib.bpf_map__name(at))
    return name[name.index(".") :] if lib.bpf_map__is_internal(at) and "." in name else name


def _text(name: bytes) -> str:
    return name.decode("utf-8", "replace")


def _object_btf(lib: Library, at: int) -> bytes | None:
    btf = lib.bpf_object__btf(at)
    if not btf:
        return None
    size = ctypes.c_uint32()
    return libbpf.read_bytes(lib.btf__raw_data(btf, ctypes.byref(size)), size.value)


def _map(opened: Opened, name: str) -> int:
    if name not in opened.maps:
        raise KernelError("bpf_object__open", errno.ENOENT, f"no map {name}")
    return opened.maps[name]


def _choose_programs(opened: Opened, request: LoadRequest, log_bytes: dict[str, int]) -> None:
    missing = sorted(set(request.programs) - set(opened.programs))
    if missing:
        raise KernelError("bpf_object__open", errno.ENOENT, f"no program {', '.join(missing)}")
    for name, at in opened.programs.items():
        wanted = name in request.programs
        opened.lib.bpf_program__set_autoload(at, wanted)
        if wanted:
            log = opened.logs[name] = ctypes.create_string_buffer(log_bytes.get(name, LOG_BYTES[0]))
            opened.lib.bpf_program__set_log_buf(at, log, len(log))


def _set_types(opened: Opened, request: LoadRequest) -> None:
    """Load programs as their attachments need them. A type that the section says already keeps what else it says."""
    for name, hints in request.hints.items():
        if name in request.programs:
            at = opened.programs[name]
            opened.lib.bpf_program__set_type(at, ProgType[hints.program_type.upper()])
            opened.lib.bpf_program__set_expected_attach_type(at, expected(hints))


def _join(lib: Library, objects: tuple[bytes, ...]) -> bytes:
    """Several objects as one, by libbpf's static linker, which knows files only: these live in memory."""
    with open(os.memfd_create("linked", os.MFD_CLOEXEC), "rb") as target:
        linker = lib.bpf_linker__new(_path(target.fileno()), None)
        for content in objects:
            with open(os.memfd_create("object", os.MFD_CLOEXEC), "wb") as source:
                source.write(content)
                source.flush()
                lib.bpf_linker__add_file(linker, _path(source.fileno()), None)
        lib.bpf_linker__finalize(linker)
        return target.read()


def _path(fd: int) -> bytes:
    return f"/proc/self/fd/{fd}".encode()


# constants


def _set_constants(opened: Opened, request: LoadRequest) -> None:
    """Write the given values over the initial ones of `const volatile` variables."""
    known = dict(_constants(opened)) if request.rodata else {}
    for name, value in request.rodata.items():
        if name not in known:
            raise KernelError("bpf_object__open", errno.ENOENT, f"no constant {name}")
        section, offset, size = known[name]
        if len(value) != size:
            raise KernelError("bpf_object__open", errno.EINVAL, f"constant {name} has {size} bytes, not {len(value)}")
        at, length = _initial(opened, section)
        if offset + size > length:
            raise KernelError("bpf_object__open", errno.EINVAL, f"constant {name} lies beyond {section}")
        libbpf.write_bytes(at + offset, value)


def _constants(opened: Opened) -> Iterator[tuple[str, tuple[str, int, int]]]:
    """(variable, (section, offset, size)) of all read-only sections."""
    if opened.btf is None:
        return
    btf = Btf.parse(opened.btf)
    for section_id in btf.of_kind(Kind.DATASEC):
        section = btf.name(section_id)
        if _read_only(section) and section in opened.maps:
            for variable in btf.variables(section_id):
                yield variable.name, (section, variable.offset, variable.size)


def _read_only(section: str) -> bool:
    return section == metadata.SECTION or section.startswith(metadata.SECTION + ".")


def _initial(opened: Opened, section: str) -> tuple[int, int]:
    """(address, bytes) of a section's initial value."""
    size = ctypes.c_size_t()
    at = opened.lib.bpf_map__initial_value(opened.maps[section], ctypes.byref(size))
    return (at, size.value) if at else (0, 0)


def _exchange_constants(opened: Opened, request: LoadRequest) -> None:
    """Put maps that also hold the metadata in place of the read-only sections libbpf would create."""
    described = {section for _, (section, _, _) in _constants(opened)} - set(request.reuse)
    for section in sorted(described):
        at, size = _initial(opened, section)
        constants = metadata.Constants(section=section, value=libbpf.read_bytes(at, size), btf=opened.btf)
        made = _tagged_map(opened, request, constants)
        if made is not None:
            opened.lib.bpf_map__reuse_fd(opened.maps[section], made)


def _tagged_map(opened: Opened, request: LoadRequest, constants: metadata.Constants) -> int | None:
    """A map with the metadata; None, and a note, when this kernel takes none: a load must not fail for that."""
    try:
        made = metadata.create_map(opened.lib, request.name, constants, request.metadata)
    except KernelError as error:
        opened.notes.append(f"programs carry no metadata in {constants.section}: {error}")
        return None
    opened.tagged.add(syscall.map_info(made).id)
    return made


# after loading


def _result(opened: Opened, request: LoadRequest) -> child.Reply:
    lib = opened.lib
    progs = {name: lib.bpf_program__fd(opened.programs[name]) for name in request.programs}
    maps = {name: fd for name, at in opened.maps.items() if (fd := lib.bpf_map__fd(at)) >= 0}
    if request.metadata:
        _bind_metadata(opened, request, list(progs.values()))
    names = {"progs": list(progs), "maps": list(maps), "notes": opened.notes}
    return child.Reply(fds=(*progs.values(), *maps.values()), data=names)


def _bind_metadata(opened: Opened, request: LoadRequest, progs: list[int]) -> None:
    """Give the metadata to programs without a read-only section of their own."""
    bare = [fd for fd in progs if not opened.tagged & set(syscall.prog_info(fd).map_ids)]
    if not bare:
        return
    made = _tagged_map(opened, request, metadata.Constants(section=metadata.SECTION, value=b"", btf=None))
    if made is not None:
        for fd in bare:
            syscall.prog_bind_map(fd, made)


def _refused(opened: Opened) -> str | None:
    """The program that the kernel refused; None when loading failed before any program."""
    matches = (REFUSED.search(line) for line in opened.lib.warnings)
    named = next((m[1] for m in matches if m), None)
    return named or next((name for name, log in opened.logs.items() if log.value), None)


def _endless(opened: Opened, program: str) -> bool:
    """The kernel gave up after a million instructions: the whole log would take 20 s, and its end (6.4) says all."""
    return TOO_LARGE in opened.logs[program].value


def _grow(log_bytes: dict[str, int], program: str) -> bool:
    """Make room for a longer log of this program; False when it has the most already."""
    larger = [size for size in LOG_BYTES if size > log_bytes.get(program, LOG_BYTES[0])]
    log_bytes[program] = larger[0] if larger else 0
    return bool(larger)


def _log(opened: Opened, refused: str) -> str:
    """The verifier's log; what libbpf said where the kernel did not get so far as to write one."""
    return opened.logs[refused].value.decode("utf-8", "replace") or "\n".join(opened.lib.warnings)


def _explained(lib: Library, error: KernelError, name: str) -> KernelError:
    """The same error with the load's name, and the warning of libbpf's that is nearest to the cause."""
    named = (line for line in lib.warnings if line.startswith(("map '", "prog '")))
    cause = error.subject or next(named, lib.warnings[0] if lib.warnings else "")
    code = error.errno or errno.EIO
    code = errno.ENOEXEC if code >= LIBBPF_ERRNO else code
    return KernelError(error.call, code, f"{name} ({cause})" if cause else name)
