"""Whether this kernel's tries can be converted: exactly one thing has to be known of it, and is tried out.

An LPM trie's look-up is content with a prefix that covers the key, so the migration program asks by
BPF_NOEXIST whether an entry is there. Kernels before commit eae6a075e953 (6.13 and its backports) ignore the
flag, and would write over what the new programs have counted. Called by engine/execute.py for CheckFit.
"""

from __future__ import annotations

import errno
from dataclasses import replace

from reloader.convert import migrate, texts
from reloader.errors import StepFailed
from reloader.kernel import Fd, Kernel, MapType
from reloader.layouts.rules import Conversion


def check(kernel: Kernel, source: Fd, target: Fd, rules: Conversion) -> None:
    """StepFailed with EOPNOTSUPP when the kernel cannot tell a prefix from one that covers it. Touches neither map."""
    shapes = [kernel.maps.info(fd) for fd in (source, target)]
    if shapes[0].type != MapType.LPM_TRIE:
        return
    made: list[Fd] = []
    try:
        for shape in shapes:
            made.append(kernel.maps.create(replace(shape, name="reloader_probe", max_entries=2)))
            kernel.maps.update_many(made[-1], [bytes(shape.key_size)], [bytes(shape.value_size)])
        if migrate.drain(kernel, made[0], made[1], rules).merged != 1:
            raise StepFailed("convert", errno.EOPNOTSUPP, texts.TRIES_NOT_CONVERTED(map=shapes[0].name))
    finally:
        for fd in made:
            fd.close()
