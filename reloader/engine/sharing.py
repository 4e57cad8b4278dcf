"""`share:`: the group that may read the published maps, and the way to them. Called by engine/execute.py and
lifecycle_planning.

Of a pipeline with `share:` the group passes <bpffs> and <bpffs>/<pipeline>, lists pub/ and reads the pins in it; all
other folders and pins stay their owner's alone. Pipelines below one <bpffs> may have different groups: then all users
may pass that folder, and only its owner may list it. What lies above is not ours and stays as it is.
"""

from __future__ import annotations

import os
import stat

from reloader.engine import texts
from reloader.errors import InputError, PermissionRefused
from reloader.frozen import frozen
from reloader.kernel.host import Host
from reloader.paths import Paths
from reloader.pipeline.share import group_id, unknown_group
from reloader.pipeline.wish import Wish

PIN, PRIVATE_PIN = 0o640, 0o600
FOLDER, PASSAGE, OPEN_PASSAGE, PRIVATE_FOLDER = 0o750, 0o710, 0o711, 0o700


@frozen
class Readers:
    """The group that a wish shares its maps with, as this host knows it."""

    group: int = -1  # -1: none
    notes: tuple[str, ...] = ()  # what keeps it from reading


def readers_of(paths: Paths, wish: Wish, *, must_exist: bool) -> Readers:
    """InputError (65) for an unknown group. Not `must_exist`: a way back goes on without it."""
    if wish.share is None:
        return Readers()
    name = wish.share.group
    group = group_id(name)
    if group is None:
        if must_exist:
            raise InputError([unknown_group(name, file=wish.pipeline)], reason="unknown-group")
        return Readers(notes=(texts.GROUP_MISSING(group=name),))
    user = os.geteuid()
    if user and group not in (os.getegid(), *os.getgroups()):
        if must_exist:
            raise PermissionRefused(texts.NOT_A_MEMBER(pipeline=wish.pipeline, group=name, user=user))
        return Readers(notes=(texts.USER_NOT_IN_GROUP(group=name, user=user),))
    notes = (texts.CANNOT_PASS(folder=folder) for folder in _barred(paths, group))
    return Readers(group=group, notes=tuple(notes))


def share(host: Host, pipeline: str, group: int) -> None:
    """Give the published maps of a pipeline to a group, or (-1) to none. May be run again."""
    pub, shared = host.paths.pub_pins(pipeline), group >= 0
    pins = [(f"{pub}/{name}", PIN if shared else PRIVATE_PIN) for name in host.kernel.pins.listdir(pub)]
    folders = [(pub, FOLDER if shared else PRIVATE_FOLDER)]
    folders.append((host.paths.pipeline_pins(pipeline), PASSAGE if shared else PRIVATE_FOLDER))
    for path, mode in [*pins, *folders]:
        host.kernel.pins.give(path, group, mode)
    _give_passage(host)


def _give_passage(host: Host) -> None:
    """The folder of all pipelines lets those groups pass that have maps to read below it."""
    kernel, paths = host.kernel, host.paths
    if os.path.ismount(paths.bpffs):
        return
    found = {kernel.pins.readers(paths.pub_pins(name)) for name in kernel.pins.listdir(paths.bpffs)} - {-1}
    group = found.pop() if len(found) == 1 else -1
    mode = OPEN_PASSAGE if found or group == -2 else PASSAGE if group >= 0 else PRIVATE_FOLDER
    kernel.pins.give(paths.bpffs, max(group, -1), mode)


def _barred(paths: Paths, group: int) -> list[str]:
    """Folders above ours that the group may not pass."""
    barred, path = [], os.path.dirname(os.path.realpath(paths.bpffs))
    if os.path.ismount(paths.bpffs):
        path = paths.bpffs
    while True:
        info = os.stat(path)
        if not info.st_mode & (stat.S_IXGRP if info.st_gid == group else stat.S_IXOTH):
            barred.append(path)
        if path == "/":
            return barred[::-1]
        path = os.path.dirname(path)
