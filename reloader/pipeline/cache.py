"""Compiled wishes, kept so that a repeated command reads no object and imports neither yaml nor jsonschema.

One file per YAML path: what it was made from (the text, the schema, this version, a stat signature of every
object and bulk file) and the wishes. Whatever does not fit is a miss; a cache that cannot be written is left
unwritten. The one entry of pipeline/ for the engine.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import reloader
from reloader.disk.atomic_files import UnfitFile, read_regular, write_atomic
from reloader.disk.trust import Judge, Signature, signature_of
from reloader.errors import InputError
from reloader.paths import BLOBS, Paths, shipped_schema
from reloader.pipeline.source import read_source

if TYPE_CHECKING:
    from reloader.pipeline.wish import Compiled, Wish

_FORMAT = 6  # raise when what compile.py makes of the same input changes
_RACY = 50_000_000  # ns: a file changed so shortly before being read may change again under the same times
_FUTURE = 3_600_000_000_000  # ns: a file changed so long after it was read was changed before the clock was set back

_MOST = 256 << 20  # bytes of one file of the cache
_MOST_OF_BLOB = 4 << 30  # bytes of one stored object or listing


def load_wishes(path: Path, paths: Paths) -> tuple[Compiled, ...]:
    """Every pipeline of a YAML file, from the cache if nothing it depends on changed; InputError as compile_file's.

    For what is about to be loaded: PermissionRefused when others could change the file or one that it names.
    """
    judge = Judge()
    data = read_source(path, judge)
    hit = Judge()  # a miss says nothing of what is read after it
    kept = _kept(data, path, paths, hit.signature)
    if (made := _decoded(kept)) and _whole(kept, paths):
        judge.found |= hit.found
        judge.refuse()
        return made
    return _compile(data, path, paths, judge)


def known(path: Path, paths: Paths) -> list[tuple[str, str]]:
    """(pipeline, digest of its wish) of a YAML file's pipelines, if the cache holds them all; else empty.

    Nothing is decoded: for a repeated command this is all there is to know.
    """
    try:
        data = read_source(path)
    except InputError:
        return []
    return [(one["pipeline"], one["digest"]) for one in _kept(data, path, paths, _signature).get("wishes", ())]


def _compile(data: bytes, path: Path, paths: Paths, judge: Judge) -> tuple[Compiled, ...]:
    """Read and judged; kept for the next command unless something may have changed while it was read."""
    from reloader.disk import jsonable
    from reloader.pipeline.compile import compile_source  # late: the point of the cache

    began = time.time_ns()
    compiled = compile_source(data, path, judge, strict=False)
    judge.refuse()
    signatures = {name: judge.signatures.get(name, ()) for one in compiled for name in one.files}
    kept = {name: s for name, s in signatures.items() if s and all(_at_rest(changed, began) for changed in s[3:])}
    if len(kept) == len(signatures) and _is_ours(paths):
        wishes = [
            {**_summary(one.wish), "wish": jsonable.to_json(one.wish), "unrecorded": jsonable.to_json(one.unrecorded)}
            for one in compiled
        ]
        body = {"key": _key(data, path), "files": kept, "wishes": wishes}
        with contextlib.suppress(OSError):  # no privilege, a full disk: the next command compiles again
            sealed = _sealed(json.dumps(body, separators=(",", ":")).encode())
            write_atomic(kept_file(path, paths), sealed, durable=False)
    return compiled


def _is_ours(paths: Paths) -> bool:
    """Whether no other user can lead a write into the cache elsewhere; `plan` takes no lock, which would ask."""
    judge = Judge()
    for folder in (paths.cache_dir, paths.records, *paths.records.absolute().parents):
        with contextlib.suppress(FileNotFoundError, UnfitFile):
            os.close(judge.open_folder(folder) if folder == paths.cache_dir else judge.handle(folder))
            return not judge.found
    return False


def _summary(wish: Wish) -> dict[str, Any]:
    """What can be asked of a kept wish without decoding it."""
    return {
        "pipeline": wish.pipeline,
        "digest": wish.digest(),
        "objects": [o.digest for o in wish.objects],
        "entries": [m.entries.digest for m in wish.maps if m.entries],
        "tests": [wish.tests.digest] if wish.tests else [],
    }


def kept_file(path: Path, paths: Paths) -> Path:
    """Where the compiled wishes of a YAML file are kept."""
    name = hashlib.sha256(str(path.absolute()).encode(errors="surrogateescape")).hexdigest()
    return paths.compiled_file(name)


def _key(data: bytes, path: Path) -> str:
    parts = [hashlib.sha256(data).hexdigest(), str(path), str(path.absolute()), schema_digest(), reloader.__version__]
    return hashlib.sha256("\0".join([*parts, str(_FORMAT)]).encode(errors="surrogateescape")).hexdigest()


def _signature(name: str) -> Signature:
    """By name alone, where nothing is loaded for it."""
    return signature_of(os.stat(name))


def _at_rest(changed: int, began: int) -> bool:
    """Whether a file with that time (ns) cannot have changed under the same time since it was read at `began`."""
    return changed < began - _RACY or changed > began + _FUTURE


def _fresh(files: Mapping[str, Sequence[int]], sign: Callable[[str], Signature]) -> bool:
    return all(sign(name) == tuple(signature) for name, signature in files.items())


def _contents(wishes: Iterable[Mapping[str, Any]], paths: Paths) -> set[Path]:
    """The files of the record directory with all that a hit does not bring along; each is named by its digest."""
    return {paths.blob_file(kind, digest) for one in wishes for kind in BLOBS for digest in one[kind]}


def _whole(kept: Mapping[str, Any], paths: Paths) -> bool:
    """Whether these are what was read once: damaged ones are read and stored anew."""
    try:
        files = _contents(kept.get("wishes", ()), paths)
        return all(hashlib.sha256(read_regular(f, _MOST_OF_BLOB)).hexdigest() == f.name for f in files)
    except OSError:
        return False


def _sealed(body: bytes) -> bytes:
    return hashlib.sha256(body).hexdigest().encode() + b"\n" + body


def _kept(data: bytes, path: Path, paths: Paths, sign: Callable[[str], Signature]) -> dict[str, Any]:
    """What is kept of this text, if all it was made from is unchanged and stored; empty otherwise."""
    try:
        content = read_regular(kept_file(path, paths), _MOST)
        body = content.partition(b"\n")[2]
        if _sealed(body) != content:
            return {}
        kept: dict[str, Any] = json.loads(body)
        fits = kept["key"] == _key(data, path)
        good = fits and all(map(os.path.exists, _contents(kept["wishes"], paths))) and _fresh(kept["files"], sign)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}
    return kept if good else {}


def _decoded(kept: Mapping[str, Any]) -> tuple[Compiled, ...]:
    """The kept wishes; empty when there are none, or they are none."""
    from reloader.disk import jsonable
    from reloader.errors import Problem
    from reloader.pipeline.wish import Compiled, Wish

    problems = dict[str, tuple[Problem, ...]]
    try:
        return tuple(
            Compiled(
                wish=jsonable.from_json(Wish, one["wish"]),
                objects={},
                entries={},
                files=tuple(kept["files"]),
                unrecorded=jsonable.from_json(problems, one["unrecorded"]),
            )
            for one in kept.get("wishes", ())
        )
    except (ValueError, TypeError, KeyError, AttributeError):
        return ()


def schema_digest() -> str:
    """Of the published schema, which a test holds equal to the composed one; reading is cheaper than composing."""
    return hashlib.sha256(shipped_schema().read_bytes()).hexdigest()
