"""Compiled wishes, kept so that a repeated command reads no object and imports neither yaml nor jsonschema.

One file per YAML path: what it was made from (the text, the schema, this version, a stat signature of every
object and bulk file) and the wishes. Whatever does not fit is a miss; a cache that cannot be written is left
unwritten. The one entry of spec/ for the engine. Imports errors, files, layout, record, trust,
spec.{source,wish}.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import reloader
from reloader.errors import InputError
from reloader.files import write_atomic
from reloader.layout import Layout, shipped_dir
from reloader.spec.source import read_source
from reloader.trust import require_ours

if TYPE_CHECKING:
    from reloader.spec.wish import Compiled, Wish

_FORMAT = 5  # raise when what compile.py makes of the same input changes
_RACY = 50_000_000  # ns: a file changed so shortly before being read may change again under the same times

Signature = tuple[int, int, int, int, int]


def load_wishes(path: Path, layout: Layout) -> tuple[Compiled, ...]:
    """Every pipeline of a YAML file, from the cache if nothing it depends on changed; InputError as compile_file's.

    For what is about to be loaded: PermissionRefused when others could change the file or one that it names.
    """
    data = read_source(path)
    made = _decoded(_kept(data, path, layout)) or _compile(data, path, layout)
    require_ours([str(path), *(name for one in made for name in one.files)])
    return made


def known(path: Path, layout: Layout) -> list[tuple[str, str]]:
    """(pipeline, digest of its wish) of a YAML file's pipelines, if the cache holds them all; else empty.

    Nothing is decoded: for a repeated command this is all there is to know.
    """
    try:
        data = read_source(path)
    except InputError:
        return []
    return [(one["pipeline"], one["digest"]) for one in _kept(data, path, layout).get("wishes", ())]


def _compile(data: bytes, path: Path, layout: Layout) -> tuple[Compiled, ...]:
    from reloader import record
    from reloader.spec.compile import compile_source  # late: the point of the cache

    began = time.time_ns()
    compiled = compile_source(data, path)
    signatures = {name: _signature(name) for one in compiled for name in one.files}
    kept = {name: s for name, s in signatures.items() if s and max(s[3:]) < began - _RACY}
    if len(kept) == len(signatures):
        wishes = [{**_summary(one.wish), "wish": record.to_json(one.wish)} for one in compiled]
        body = {"key": _key(data, path), "files": kept, "wishes": wishes}
        with contextlib.suppress(OSError):  # no privilege, a full disk: the next command compiles again
            sealed = _sealed(json.dumps(body, separators=(",", ":")).encode())
            write_atomic(kept_file(path, layout), sealed, durable=False)
    return compiled


def _summary(wish: Wish) -> dict[str, Any]:
    """What can be asked of a kept wish without decoding it."""
    return {
        "pipeline": wish.pipeline,
        "digest": wish.digest(),
        "objects": [o.digest for o in wish.objects],
        "entries": [m.entries.digest for m in wish.maps if m.entries],
        "tests": [wish.tests.digest] if wish.tests else [],
    }


def kept_file(path: Path, layout: Layout) -> Path:
    """Where the compiled wishes of a YAML file are kept."""
    name = hashlib.sha256(str(path.absolute()).encode(errors="surrogateescape")).hexdigest()
    return layout.cache_dir / f"{name}.json"


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


def _stored(wishes: Iterable[Mapping[str, Any]], layout: Layout) -> bool:
    """Whether the record directory holds all the contents that a hit does not bring along."""
    objects = {digest for one in wishes for digest in one["objects"]}
    entries = {digest for one in wishes for digest in one["entries"]}
    files = [*map(layout.object_file, objects), *map(layout.entries_file, entries)]
    files += [layout.blob_file("tests", digest) for one in wishes for digest in one["tests"]]
    return all(os.path.exists(f) for f in files)


def _sealed(body: bytes) -> bytes:
    return hashlib.sha256(body).hexdigest().encode() + b"\n" + body


def _kept(data: bytes, path: Path, layout: Layout) -> dict[str, Any]:
    """What is kept of this text, if all it was made from is unchanged and stored; empty otherwise."""
    try:
        content = kept_file(path, layout).read_bytes()
        body = content.partition(b"\n")[2]
        if _sealed(body) != content:
            return {}
        kept: dict[str, Any] = json.loads(body)
        good = kept["key"] == _key(data, path) and _fresh(kept["files"]) and _stored(kept["wishes"], layout)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}
    return kept if good else {}


def _decoded(kept: Mapping[str, Any]) -> tuple[Compiled, ...]:
    """The kept wishes; empty when there are none, or they are none."""
    from reloader import record
    from reloader.spec.wish import Compiled, Wish

    try:
        wishes: list[Wish] = [record.from_json(Wish, one["wish"]) for one in kept.get("wishes", ())]
    except (ValueError, TypeError, KeyError, AttributeError):
        return ()
    return tuple(Compiled(wish=w, objects={}, entries={}, files=tuple(kept["files"])) for w in wishes)


def schema_digest() -> str:
    """Of the published schema, which a test holds equal to the composed one; reading is cheaper than composing."""
    return hashlib.sha256((shipped_dir("schemas") / "pipeline.schema.json").read_bytes()).hexdigest()
