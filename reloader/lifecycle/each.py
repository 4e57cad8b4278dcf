"""Several pipelines, one after the other: one that fails does not stop the others, and is told at the end.

Used by ready, boot and the commands.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from reloader.errors import KernelError, NeedsHuman, ReloaderError
from reloader.lifecycle import texts
from reloader.wording.message import Message


def each(names: Iterable[str], work: Callable[[str], list[Message]]) -> list[Message]:
    """The lines of all; when any failed, its error (a NeedsHuman first) with the lines of the others as detail."""
    done: list[Message] = []
    failed: list[ReloaderError] = []
    for name in names:
        try:
            done += work(name)
        except ReloaderError as error:
            failed.append(error)
        except KernelError as error:
            failed.append(ReloaderError(texts.SYSTEM_CALL_FAILED(pipeline=name, why=error)))
    if failed:
        raise worst(failed, done)
    return done


def worst(failed: list[ReloaderError], done: Sequence[str]) -> ReloaderError:
    """One error for several."""
    first = next((e for e in failed if isinstance(e, NeedsHuman)), failed[0])
    first.message = "; ".join(e.message for e in failed)
    first.lines = (*(line for e in failed for line in e.lines), *done)
    return first
