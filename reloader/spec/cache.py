"""Compiled wishes, kept so that a repeated command reads no object and imports neither yaml nor jsonschema.

One file per YAML path: what it was made from (the text, the schema, this version, a stat signature of every
object and bulk file) and the wishes. Whatever does not fit is a miss; a cache that cannot be written is left
unwritten. The one entry of spec/ for the engine. Imports errors, files, layout, record, spec.{source,schema,wish}.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import reloader
from reloader import record
from reloader.files import write_atomic
from reloader.layout import Layout
from reloader.spec.schema import schema_digest
from reloader.spec.source import read_source
from reloader.spec.wish import Compiled, Wish

_FORMAT = 1  # raise when what compile.py makes of the same input changes
_RACY = 50_000_000  # ns: a file changed so shortly before being read may change again under the same times

Signature = tuple[int, int, int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    """A cache file's content."""

    key: str
    files: dict[str, tuple[int, ...]]
    wishes: tuple[Wish, ...]


def load_wishes(path: Path, layout: Layout) -> tuple[Compiled, ...]:
    """Every pipeline of a YAML file, from the cache if nothing it depends on changed; InputError as compile_file's."""
    data = read_source(path)
    key = _key(data, path)
    file = (
        layout.cache_dir / f"{hashlib.sha256(str(path.absolute()).encode(errors='surrogateescape')).hexdigest()}.json"
    )
    kept = _read(file)
    if kept and kept.key == key and _fresh(kept) and _stored(kept.wishes, layout):
        return tuple(Compiled(wish=w, objects={}, entries={}, files=tuple(kept.files)) for w in kept.wishes)
    return _compile(data, path, key, file)


def _compile(data: bytes, path: Path, key: str, file: Path) -> tuple[Compiled, ...]:
    from reloader.spec.compile import compile_source  # late: the point of the cache

    began = time.time_ns()
    compiled = compile_source(data, path)
    signatures = {name: _signature(name) for one in compiled for name in one.files}
    kept = {name: s for name, s in signatures.items() if s and max(s[3:]) < began - _RACY}
    if len(kept) == len(signatures):
        with contextlib.suppress(OSError):  # no privilege, a full disk: the next command compiles again
            write_atomic(file, _dump(_Kept(key=key, files=dict(kept), wishes=tuple(c.wish for c in compiled))))
    return compiled


def _key(data: bytes, path: Path) -> str:
    parts = [hashlib.sha256(data).hexdigest(), str(path), str(path.absolute()), schema_digest(), reloader.__version__]
    return hashlib.sha256("\0".join([*parts, str(_FORMAT)]).encode(errors="surrogateescape")).hexdigest()


def _signature(name: str) -> Signature | None:
    try:
        found = os.stat(name)
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _fresh(kept: _Kept) -> bool:
    return all(_signature(name) == tuple(signature) for name, signature in kept.files.items())


def _stored(wishes: Iterable[Wish], layout: Layout) -> bool:
    """Whether the record directory holds all the contents that a hit does not bring along."""
    objects = {o.digest for w in wishes for o in w.objects}
    entries = {m.entries.digest for w in wishes for m in w.maps if m.entries}
    files = [*map(layout.object_file, objects), *map(layout.entries_file, entries)]
    return all(os.path.exists(f) for f in files)


def _dump(kept: _Kept) -> bytes:
    body = json.dumps(record.to_json(kept), separators=(",", ":")).encode()
    return hashlib.sha256(body).hexdigest().encode() + b"\n" + body


def _read(file: Path) -> _Kept | None:
    try:
        digest, _, body = file.read_bytes().partition(b"\n")
        if hashlib.sha256(body).hexdigest().encode() != digest:
            return None
        return record.from_json(_Kept, json.loads(body))
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
