"""One host: its kernel, and the paths below which reloader keeps pins and records.

What touches both takes a `Host`; what touches one takes that one.
"""

from __future__ import annotations

from reloader.frozen import frozen
from reloader.kernel import Kernel
from reloader.paths import Paths


@frozen
class Host:
    """The kernel that programs run in, and the paths of what is remembered about them."""

    kernel: Kernel
    paths: Paths


class OnHost:
    """Gives a class with a field `host` short names for its parts."""

    __slots__ = ()
    host: Host

    @property
    def kernel(self) -> Kernel:
        return self.host.kernel

    @property
    def paths(self) -> Paths:
        return self.host.paths
