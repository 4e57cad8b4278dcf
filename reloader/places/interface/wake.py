"""rtnetlink as a wake-up: an interface of a network namespace came, went or changed."""

from __future__ import annotations

import os
from collections.abc import Hashable

from reloader.frozen import frozen
from reloader.kernel import Kernel, LinkChanges


@frozen
class InterfaceChanges:
    """Changes of the interfaces of one network namespace."""

    netns: str | None  # absolute path; None: reloader's own

    def identity(self) -> Hashable | None:
        """Return which namespace has this path now; one that is made again is another. None: none has."""
        if self.netns is None:
            return (0, 0)
        try:
            info = os.stat(self.netns)
        except OSError:
            return None
        return info.st_dev, info.st_ino

    def open(self, kernel: Kernel) -> LinkChanges:
        """Listen from now on. The open channel keeps its namespace alive."""
        return kernel.net.changes(self.netns)
