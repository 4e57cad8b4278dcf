"""Wake-ups of places, as of interfaces by rtnetlink: the loop looks again when a place comes, goes or changes. A hint,
never the truth.

What is heard is not looked at: an overflow (ENOBUFS), like any event, means that everything is looked at again. The
thread does nothing but put a word on the queue: the loader forks, so effects stay in the main thread.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
from collections.abc import Collection, Hashable
from queue import SimpleQueue

from reloader.errors import KernelError, MissingFeature
from reloader.kernel import Kernel
from reloader.places.place import Channel, Wake

MOVED = "\0places"  # on the queue, where all other words are paths

Heard = tuple[Wake, Hashable]  # a wake-up, and which one has its name


class PlaceEvents:
    """Listens to a changing set of wake-ups of places."""

    def __init__(self, kernel: Kernel, queue: SimpleQueue[str]) -> None:
        self._kernel = kernel
        self._queue = queue
        self._heard: dict[Heard, Channel] = {}
        self._turn = threading.Lock()  # over what is open
        self._wake = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def point_at(self, wakes: Collection[Wake]) -> bool:
        """Listen to these. True: to one of them only from now on, so look at the places once.

        What was made anew under its old name is another one. What does not exist is looked for again later.
        """
        wanted = {(wake, identity) for wake in wakes if (identity := wake.identity()) is not None}
        gone, fresh = self._heard.keys() - wanted, wanted - self._heard.keys()
        opened = {heard: channel for heard in fresh if (channel := self._open(heard[0]))}
        if not gone and not opened:
            return False
        with self._turn:
            for heard in gone:
                self._heard.pop(heard).close()
            self._heard |= opened
        os.write(self._wake[1], b"x")
        return bool(opened)

    def stop(self) -> None:
        os.close(self._wake[1])  # the thread sees the end of the pipe
        self._thread.join(timeout=0.5)
        for channel in self._heard.values():
            channel.close()
        os.close(self._wake[0])

    def _open(self, wake: Wake) -> Channel | None:
        try:
            return wake.open(self._kernel)
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

    def _anything(self, channels: dict[int, Channel], ready: list[int]) -> bool:
        heard = False
        with self._turn:
            current = {id(channel) for channel in self._heard.values()}
            for channel in (channels[fd] for fd in ready if id(channels[fd]) in current):
                with contextlib.suppress(KernelError):
                    heard = bool(channel.read()) or heard
        return heard
