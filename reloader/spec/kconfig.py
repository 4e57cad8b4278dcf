"""Options of this host's kernel, as its configuration file lists them: libbpf refuses a strong extern that is not set.

Nothing is asked of the kernel itself; where the file is missing, nothing is said. Called by compile.py.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

PREFIX = "CONFIG_"


def not_set(options: Collection[str]) -> list[str]:
    """Those of the options that this host's kernel does not set, in order; none where its configuration is unknown."""
    wanted = sorted(name for name in set(options) if name.startswith(PREFIX))
    text = _configuration() if wanted else b""
    if not text:
        return []
    lines = {line.partition(b"=")[0] for line in text.splitlines() if line.startswith(PREFIX.encode())}
    return [name for name in wanted if name.encode() not in lines]


def _configuration() -> bytes:
    """The files that libbpf reads, in its order."""
    try:
        return Path(f"/boot/config-{os.uname().release}").read_bytes()
    except OSError:
        pass
    try:
        import gzip

        return gzip.decompress(Path("/proc/config.gz").read_bytes())
    except (OSError, EOFError):
        return b""
