"""Writing and forgetting records and blobs. Every change on disk passes fault_points.lasting.

Called by engine/execute.py's match.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path

from reloader.disk.atomic_files import UnfitFile, listing, make_folders, open_to_write, remove_file, write_atomic
from reloader.errors import NeedsHuman
from reloader.fault_points import lasting
from reloader.paths import BLOBS, Paths
from reloader.pipeline import cache
from reloader.store import records, texts
from reloader.store.records import Current, Generation

KEEP_GENERATIONS = 20
RESCUE_ROOM = 16384  # bytes; a rescue script takes three or four thousand

WriteBeside = Callable[[Paths, Generation], None]
"""Writes the rescue script of a generation that was just recorded; break_glass/script.py has it."""


def store(paths: Paths, pipeline: str, blob: str, digest: str, fresh: Mapping[str, bytes]) -> None:
    """Keep a blob by digest and link it to the pipeline; one that is there already is read, not believed.

    A way back brings none along: what is missing then stops whoever needs it, and only them."""
    shared, mine = paths.blob_file(blob, digest), paths.blob_link(pipeline, blob, digest)
    if digest in fresh and not records.blob_is_whole(paths, blob, digest):
        write_atomic(shared, fresh[digest])
        if mine.exists():  # it links to what was damaged
            lasting("blob.unlink", mine.unlink)
    if not mine.exists() and shared.exists():
        make_folders(mine.parent)
        lasting("blob.link", lambda: os.link(shared, mine))


def drop(paths: Paths, pipeline: str, blob: str, digest: str) -> None:
    """Let go of a blob unless a stored generation needs it; the last pipeline to let go deletes it."""
    if digest in records.blobs_needed(paths, pipeline):
        return
    _unlink_blob(paths, pipeline, blob, digest)


def _unlink_blob(paths: Paths, pipeline: str, blob: str, digest: str) -> None:
    mine, shared = paths.blob_link(pipeline, blob, digest), paths.blob_file(blob, digest)
    if mine.exists():
        lasting("blob.unlink", lambda: mine.unlink(missing_ok=True))
    if shared.exists() and shared.stat().st_nlink == 1:
        lasting("blob.remove", lambda: shared.unlink(missing_ok=True))


def reserve(paths: Paths, generation: Generation | None, current: Current) -> None:
    """Take room for the records that follow the commit: a disk found full there would be found too late."""
    room = records.room_for(generation, current) + (RESCUE_ROOM if generation else 0)
    path = paths.reserve_file(current.pipeline)
    lasting("record.reserve", lambda: _allocate(path, room))


def _allocate(path: Path, room: int) -> None:
    remove_file(path)
    fd = open_to_write(path, os.O_EXCL)
    try:
        os.posix_fallocate(fd, 0, room)
    except OSError as error:
        error.filename = str(path)
        raise
    finally:
        os.close(fd)


def release(paths: Paths, pipeline: str) -> None:
    lasting("record.release", lambda: paths.reserve_file(pipeline).unlink(missing_ok=True))


def put_record(paths: Paths, generation: Generation | None, current: Current, beside: WriteBeside) -> None:
    """Write the generation and what belongs beside it, then make it current."""
    release(paths, current.pipeline)
    if generation is not None:
        records.write_generation(paths, generation)
        beside(paths, generation)
    records.write_current(paths, current)


def store_again(paths: Paths, generation: Generation, fresh: Mapping[str, bytes], beside: WriteBeside) -> None:
    """Put back what a generation in force has lost of its stored files, from the same files read anew. NeedsHuman when
    something else than a file stands in the place of one."""
    pipeline = generation.wish.pipeline
    for blob, digest in records.blobs_of(generation.wish):
        if digest not in fresh:
            continue
        try:
            store(paths, pipeline, blob, digest, fresh)
        except UnfitFile as error:
            raise records.unfit(error, hint=texts.REMOVE_AND_APPLY(file=error.filename)) from error
    if fresh and not paths.rescue_file(pipeline, generation.number).exists():
        beside(paths, generation)


def prune(paths: Paths, pipeline: str) -> None:
    """Forget generations past the newest KEEP_GENERATIONS and what only they needed."""
    numbers = records.generation_numbers(paths, pipeline)
    for number in numbers[:-KEEP_GENERATIONS]:
        for path in (paths.rescue_file(pipeline, number), paths.generation_file(pipeline, number)):
            lasting("generation.remove", partial(path.unlink, missing_ok=True))
    _sweep_blobs(paths, pipeline)


def _sweep_blobs(paths: Paths, pipeline: str) -> None:
    try:
        needed = records.blobs_needed(paths, pipeline)
    except NeedsHuman:  # of an old generation nobody knows what it needs: all is kept, and the commit goes on
        return
    for blob in BLOBS:
        for mine in listing(paths.blob_links_dir(pipeline, blob)):
            if mine.name not in needed:
                _unlink_blob(paths, pipeline, blob, mine.name)


def forget_compiled(paths: Paths, sources: Iterable[str]) -> None:
    """Drop the compiled wishes of a removed pipeline's YAML files; one that another pipeline shares is made again."""
    for source in sources:
        path = cache.kept_file(Path(source), paths)
        if not path.is_dir():  # a folder is not ours
            lasting("cache.remove", partial(path.unlink, missing_ok=True))


def leave_no_folders(paths: Paths, pipeline: str) -> None:
    """Once its last transaction ended, a pipeline without a record keeps no empty folders either."""
    if paths.current_file(pipeline).exists():
        return
    for path in (paths.journals_dir(pipeline), *paths.stored_dirs(pipeline), paths.record_dir(pipeline)):
        if path.is_dir() and not listing(path):
            lasting("folder.remove", path.rmdir)


def drop_records(paths: Paths, pipeline: str) -> None:
    """Forget a pipeline; its journal goes last, by its own end."""
    for path in [paths.current_file(pipeline), *listing(paths.generations_dir(pipeline))]:
        lasting("record.remove", partial(path.unlink, missing_ok=True))
    _sweep_blobs(paths, pipeline)
    for folder in paths.stored_dirs(pipeline):
        if folder.is_dir():
            lasting("folder.remove", folder.rmdir)
