"""Compiled wishes, kept so that a repeated command reads no object and imports neither yaml nor jsonschema.

One file per YAML path: what it was made from (the text, the schema, this version, a stat signature of every
object and bulk file) and the wishes. Whatever does not fit is a miss; a cache that cannot be written is left
unwritten. The one entry of spec/ for the engine. Imports errors, files, layout, record, spec.{source,wish}.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import reloader
from reloader import record
from reloader.files import write_atomic
from reloader.layout import Layout, shipped_dir
from reloader.spec.source import read_source
from reloader.spec.wish import Compiled, Wish

_FORMAT = 1  # raise when what compile.py makes of the same input changes
_RACY = 50_000_000  # ns: a file changed so shortly before being read may change again under the same times

Signature = tuple[int, int, int, int, int]


def load_wishes(path: Path, layout: Layout) -> tuple[Compiled, ...]:
    """Every pipeline of a YAML file, from the cache if nothing it depends on changed; InputError as compile_file's."""
    data = read_source(path)
    key = _key(data, path)
    file = (
        layout.cache_dir / f"{hashlib.sha256(str(path.absolute()).encode(errors='surrogateescape')).hexdigest()}.json"
    )
    return _kept(file, key, layout) or _compile(data, path, key, file)


def _compile(data: bytes, path: Path, key: str, file: Path) -> tuple[Compiled, ...]:
    from reloader.spec.compile import compile_source  # late: the point of the cache

    began = time.time_ns()
    compiled = compile_source(data, path)
    signatures = {name: _signature(name) for one in compiled for name in one.files}
    kept = {name: s for name, s in signatures.items() if s and max(s[3:]) < began - _RACY}
    if len(kept) == len(signatures):
        body = {"key": key, "files": kept, "wishes": [record.to_json(c.wish) for c in compiled]}
        with contextlib.suppress(OSError):  # no privilege, a full disk: the next command compiles again
            write_atomic(file, _sealed(json.dumps(body, separators=(",", ":")).encode()))
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


def _fresh(files: Mapping[str, Sequence[int]]) -> bool:
    return all(_signature(name) == tuple(signature) for name, signature in files.items())


def _stored(wishes: Iterable[Wish], layout: Layout) -> bool:
    """Whether the record directory holds all the contents that a hit does not bring along."""
    objects = {o.digest for w in wishes for o in w.objects}
    entries = {m.entries.digest for w in wishes for m in w.maps if m.entries}
    files = [*map(layout.object_file, objects), *map(layout.entries_file, entries)]
    return all(os.path.exists(f) for f in files)


def _sealed(body: bytes) -> bytes:
    return hashlib.sha256(body).hexdigest().encode() + b"\n" + body


def _kept(file: Path, key: str, layout: Layout) -> tuple[Compiled, ...]:
    """The cached wishes if all they were made from is unchanged and stored; empty otherwise."""
    try:
        content = file.read_bytes()
        body = content.partition(b"\n")[2]
        if _sealed(body) != content:
            return ()
        kept = json.loads(body)
        if kept["key"] != key or not _fresh(kept["files"]):
            return ()
        wishes: tuple[Wish, ...] = record.from_json(tuple[Wish, ...], kept["wishes"])
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return ()
    if not _stored(wishes, layout):
        return ()
    return tuple(Compiled(wish=w, objects={}, entries={}, files=tuple(kept["files"])) for w in wishes)


def schema_digest() -> str:
    """Of the published schema, which a test holds equal to the composed one; reading is cheaper than composing."""
    return hashlib.sha256((shipped_dir("schemas") / "pipeline.schema.json").read_bytes()).hexdigest()
