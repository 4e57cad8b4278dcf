"""After a generation's shell script (break_glass/script.py): what it attached goes, once reloader serves again or
lets go.

It is known by the pins below rescue/; where it may sit, by the attachments of every stored generation. Called by
engine/execute.py, after the commit.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from reloader.errors import MissingFeature, NeedsHuman, NotFoundError
from reloader.kernel.host import Host
from reloader.paths import Paths
from reloader.pins.inventory import OF_A_RESCUE, PinKind, listed
from reloader.pipeline.wish import WishAttachment
from reloader.places import place_of
from reloader.store import records


def end(host: Host, pipeline: str) -> None:
    """Detach first: killed in between, the pins still say what is to go."""
    kernel, paths = host.kernel, host.paths
    root, pins = paths.rescue_pins(pipeline), kernel.pins
    if not pins.exists(root):
        return
    with contextlib.ExitStack() as opened:
        pinned = listed(host, pipeline, PinKind.RESCUE_PROGRAM)
        held = [opened.enter_context(pins.get(pin.path)) for pin in pinned]
        programs = {kernel.progs.info(fd).id: fd for fd in held}
        for attachment in _places(paths, pipeline):
            with contextlib.suppress(MissingFeature):  # its place was removed in between
                place_of(attachment.type, attachment.target).rescue_off(kernel, programs)
    for folder in (*(paths.pin_folder(pipeline, kind) for kind in OF_A_RESCUE), root):
        for name in pins.listdir(folder):
            pins.unpin(f"{folder}/{name}")
        pins.rmdir(folder)


def _places(paths: Paths, pipeline: str) -> Iterator[WishAttachment]:
    """Each place once, of all generations: whichever's script was run."""
    seen = set()
    for number in records.generation_numbers(paths, pipeline):
        with contextlib.suppress(NeedsHuman, NotFoundError):
            for one in records.read_generation(paths, pipeline, number).wish.attachments:
                if one.id not in seen:
                    seen.add(one.id)
                    yield one
