"""Options of this host's kernel, as its configuration file lists them: libbpf refuses a strong extern that is not set.

Nothing is asked of the kernel itself; where the file is missing, nothing is said. Called by compile.py.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from reloader.structs.elf.faults import option_kind

if TYPE_CHECKING:
    from reloader.structs.btf import TypeTree

PREFIX = "CONFIG_"


def not_set(options: Collection[str]) -> list[str]:
    """Those of the options that this host's kernel does not set, in order; none where its configuration is unknown."""
    wanted = sorted(name for name in set(options) if name.startswith(PREFIX))
    text = _configuration() if wanted else b""
    if not text:
        return []
    lines = {line.partition(b"=")[0] for line in text.splitlines() if line.startswith(PREFIX.encode())}
    return [name for name in wanted if name.encode() not in lines]


def unfit(options: Mapping[str, TypeTree]) -> list[tuple[str, str]]:
    """Return (name, value) of each option whose value on this host libbpf does not write into that type."""
    text = _configuration() if options else b""
    lines = (line.partition(b"=") for line in text.splitlines() if line.startswith(PREFIX.encode()))
    found = {name.decode(): value.strip().decode("utf-8", "replace") for name, _, value in lines}
    found["LINUX_KERNEL_VERSION"] = str(_version())
    return [(name, found[name]) for name, tree in options.items() if name in found and not _fits(found[name], tree)]


def _fits(value: str, tree: TypeTree) -> bool:
    kind = option_kind(tree)
    if value[:1] in ("y", "n", "m"):
        return kind in ("tristate", "char") or (kind == "bool" and value != "m")
    if value[:1] == '"':
        return kind == "text"
    try:
        number = int(value, 16 if value[:2].lower() == "0x" else 10)
    except ValueError:
        return True  # libbpf decides
    if kind == "bool":
        return number in (0, 1)
    if kind not in ("int", "char"):
        return False
    bits = tree.size * 8
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if tree.signed else (0, (1 << bits) - 1)
    return low <= number <= high or bits == 64


def _version() -> int:
    """Return this kernel's LINUX_VERSION_CODE."""
    major, minor, patch = (*map(int, re.findall(r"\d+", os.uname().release)[:3]), 0, 0, 0)[:3]
    return (major << 16) + (minor << 8) + min(patch, 255)


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
