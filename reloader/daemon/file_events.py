"""inotify, by watchdog: wakes the loop when a name that matters changes. A hint, never the truth
(disk/atomic_files.py).

watchdog's threads do nothing but put names on a queue: the loader forks, so effects stay in the main thread.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from queue import SimpleQueue

from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer
from watchdog.observers.api import ObservedWatch

from reloader.daemon import texts
from reloader.daemon.sources.files import is_yaml

MAX_WATCHES = 64  # each costs a thread; what lies beyond is seen by the scan
UNIMPORTANT = frozenset({"opened", "closed_no_write"})  # our own reading must not wake us


class Events(FileSystemEventHandler):
    """Watches a changing set of directories, none of them recursively."""

    def __init__(self, queue: SimpleQueue[str], note: Callable[[str], None]) -> None:
        self._queue = queue
        self._note = note
        self._noted = False
        self._directory = ""
        self._names: frozenset[str] = frozenset()
        self._watches: dict[str, tuple[ObservedWatch, tuple[int, int]]] = {}  # directory -> watch, its identity
        self._observer = Observer()
        self._observer.start()

    def dispatch(self, event: FileSystemEvent) -> None:
        """Called in watchdog's thread."""
        if event.event_type in UNIMPORTANT:
            return
        for raw in (event.src_path, getattr(event, "dest_path", "")):  # watchdog 3: of moves only
            path = os.fsdecode(raw)
            folder, name = os.path.split(path)
            if path in self._names or (folder == self._directory and is_yaml(name)):
                self._queue.put(path)
                return

    def point_at(self, directories: list[str], names: frozenset[str]) -> bool:
        """Watch these directories, the first for any YAML, and the names in all of them. True: something is new.

        A directory that was removed and made again is another one, and watched anew.
        """
        self._directory, self._names = directories[0], names
        wanted = {d: identity for d in directories[:MAX_WATCHES] if (identity := _identity(d))}
        for directory, (watch, identity) in list(self._watches.items()):
            if wanted.get(directory) != identity:
                del self._watches[directory]
                self._observer.unschedule(watch)
        fresh = [d for d, i in wanted.items() if d not in self._watches and self._watch(d, i)]
        return bool(fresh)

    def _watch(self, directory: str, identity: tuple[int, int]) -> bool:
        try:
            watch = self._observer.schedule(self, directory, recursive=False)
        except OSError as error:  # ENOSPC, EMFILE: fs.inotify limits; ENOENT: gone again
            if not self._noted:
                self._note(texts.NOT_WATCHED(directory=directory, why=error))
            self._noted = True
            return False
        self._watches[directory] = (watch, identity)
        return True

    def stop(self) -> None:
        self._observer.stop()
        self._observer.join(timeout=0.5)


def _identity(directory: str) -> tuple[int, int] | None:
    try:
        info = os.stat(directory)
    except OSError:
        return None
    return info.st_dev, info.st_ino
