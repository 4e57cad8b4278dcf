"""rtnetlink, by way of kernel.Net: wakes the loop when an interface comes, goes or changes. A hint, never the truth.

What is heard is not looked at: an overflow (ENOBUFS), like any event, means that everything is looked at again. The
thread does nothing but put a word on the queue: the loader forks, so effects stay in the main thread.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
from collections.abc import Collection
from queue import SimpleQueue

from reloader.errors import KernelError, MissingFeature
from reloader.kernel import LinkChanges, Net

MOVED = "\0interfaces"  # on the queue, where all other words are paths

Place = tuple[str | None, tuple[int, int]]  # a namespace's path, and who it is


class Interfaces:
    """Listens in a changing set of network namespaces."""

    def __init__(self, net: Net, queue: SimpleQueue[str]) -> None:
        self._net = net
        self._queue = queue
        self._heard: dict[Place, LinkChanges] = {}
        self._turn = threading.Lock()  # over what is open
        self._wake = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def point_at(self, namespaces: Collection[str | None]) -> bool:
        """Listen in these, None being our own. True: in one of them only from now on, so look there once.

        A namespace made anew under its old name is another one. One that is not there is looked for again later.
        """
        wanted = {(path, who) for path in namespaces if (who := _identity(path))}
        gone, fresh = self._heard.keys() - wanted, wanted - self._heard.keys()
        opened = {place: channel for place in fresh if (channel := self._open(place[0]))}
        if not gone and not opened:
            return False
        with self._turn:
            for place in gone:
                self._heard.pop(place).close()
            self._heard |= opened
        os.write(self._wake[1], b"x")
        return bool(opened)

    def stop(self) -> None:
        os.close(self._wake[1])  # the thread sees the end of the pipe
        self._thread.join(timeout=0.5)
        for channel in self._heard.values():
            channel.close()
        os.close(self._wake[0])

    def _open(self, path: str | None) -> LinkChanges | None:
        try:
            return self._net.changes(path)
        except (KernelError, MissingFeature):  # gone again
            return None

    def _listen(self) -> None:
        while True:
            with self._turn:
                channels = {channel.fileno(): channel for channel in self._heard.values()}
            poller = select.poll()
            for fd in (self._wake[0], *channels):
                poller.register(fd, select.POLLIN)
            ready = [fd for fd, _ in poller.poll()]
            if self._wake[0] in ready:
                if not os.read(self._wake[0], 64):
                    return
            elif self._anything(channels, ready):
                self._queue.put(MOVED)

    def _anything(self, channels: dict[int, LinkChanges], ready: list[int]) -> bool:
        heard = False
        with self._turn:
            current = {id(channel) for channel in self._heard.values()}
            for channel in (channels[fd] for fd in ready if id(channels[fd]) in current):
                with contextlib.suppress(KernelError):
                    heard = bool(channel.read()) or heard
        return heard


def _identity(path: str | None) -> tuple[int, int] | None:
    if path is None:
        return (0, 0)
    try:
        info = os.stat(path)
    except OSError:
        return None
    return info.st_dev, info.st_ino
