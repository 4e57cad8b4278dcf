"""Maps of handles: which program or map each entry holds, and whether the object itself puts it there.

A PROG_ARRAY or a map of maps is filled by the initialiser in the source, and by user space. Reads the kernel and stored
objects, changes nothing. Used by report/contents.py and engine/strangers.py.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from reloader.errors import KernelError
from reloader.kernel import NESTED_TYPES, Kernel, MapType
from reloader.kernel.host import Host
from reloader.observe.pipeline import SeenMap, opened
from reloader.paths import Paths
from reloader.pipeline.wish import WishMap
from reloader.store.records import Generation
from reloader.structs.decode import show
from reloader.structs.elf import ElfError, read_object

ID = 4  # bytes of a kernel id, as a map of handles shows it


def handles(host: Host, generation: Generation, was: WishMap, live: SeenMap) -> Iterator[tuple[dict[str, Any], bool]]:
    """Each entry of a map of handles, and whether the object itself declares it."""
    static: dict[int, str] | None = None
    with opened(host.kernel, live) as fd:
        for key, value in host.kernel.maps.filled(fd):
            if static is None:
                static = declared(host.paths, generation, was.name)
            yield _row(host.kernel, live, key, value), _is_ours(generation, was, static, key, value)


def declared(paths: Paths, generation: Generation, name: str) -> dict[int, str]:
    """Index → program or map that the initialiser in the source puts there; empty when no stored object tells."""
    for one in generation.wish.objects:
        with suppress(OSError, ElfError):
            data = paths.blob_file("objects", one.digest).read_bytes()
            maps = read_object(data).maps if hashlib.sha256(data).hexdigest() == one.digest else ()
            found = next((m for m in maps if m.name == name), None)
            if found is not None:
                return {i: n for i, n in enumerate(found.prog_array_values or found.inner_values) if n}
    return {}


def _is_ours(generation: Generation, was: WishMap, static: dict[int, str], key: bytes, value: bytes) -> bool:
    number, name = _number(value), static.get(_number(key), "")
    if was.type == MapType.PROG_ARRAY:
        rebuilt = generation.rebuilt and number in generation.progs.values()  # its objects are lost
        return rebuilt or (bool(name) and generation.progs.get(name) == number)
    if was.type in NESTED_TYPES:
        known = generation.maps.get(name)
        return known is not None and known.id == number
    return False


def _row(kernel: Kernel, live: SeenMap, key: bytes, value: bytes) -> dict[str, Any]:
    shown: Any = show(live.key, key, {}) if live.key else _number(key) if len(key) == ID else show(None, key, {})
    if live.info.type == MapType.PROG_ARRAY:
        number = _number(value)
        name = ""
        with suppress(KernelError), kernel.progs.by_id(number) as fd:
            name = kernel.progs.info(fd).name
        return {"key": shown, "program": name, "id": number}
    if live.info.type in NESTED_TYPES:
        number, name = _number(value), ""
        with suppress(KernelError), kernel.maps.by_id(number) as fd:
            name = kernel.maps.info(fd).name
        return {"key": shown, "map": name, "id": number}
    return {"key": shown}


def _number(data: bytes) -> int:
    return int.from_bytes(data, sys.byteorder)
