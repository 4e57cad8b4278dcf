"""Programs of others: who they are, in words and as JSON. For all types of places."""

from __future__ import annotations

from typing import Any

from reloader.errors import KernelError
from reloader.frozen import frozen
from reloader.kernel import Kernel


@frozen
class Program:
    """Who it is, as far as this process may look."""

    id: int
    name: str = ""
    pipeline: str = ""

    @property
    def words(self) -> list[str]:
        about = [f"program {self.name or '?'}", f"id {self.id}"] if self.id else []
        return [*about, *([f"pipeline {self.pipeline}"] if self.pipeline else [])]

    def shown(self, hook: str, *, link: int = 0, filter: dict[str, Any] | None = None) -> dict[str, object]:
        return {
            "hook": hook, "prog_id": self.id, "program": self.name, "pipeline": self.pipeline,
            "link_id": link, "filter": filter,
        }  # fmt: skip


def named(hook: str, about: list[str]) -> str:
    """`tcx program guard (id 7, bpf_link 3)`."""
    return f"{hook} {about[0]} ({', '.join(about[1:])})"


def read_program(kernel: Kernel, number: int) -> Program:
    """Return it with its name and pipeline, where this process may look."""
    if not number:
        return Program(id=0)
    try:
        with kernel.progs.by_id(number) as fd:
            name = kernel.progs.info(fd).name
        return Program(id=number, name=name, pipeline=kernel.progs.metadata(number).get("pipeline", ""))
    except KernelError:  # detached since, or not to be looked up by its id
        return Program(id=number)


def owner_of(kernel: Kernel, prog_id: int) -> str:
    """Say who a program is: with its pipeline when it is one of ours. Empty when there is none."""
    if not prog_id:
        return ""
    try:
        with kernel.progs.by_id(prog_id) as fd:
            name = kernel.progs.info(fd).name
        pipeline = kernel.progs.metadata(prog_id).get("pipeline")
    except KernelError:
        return f"program id {prog_id}"
    return f"program {name!r} (id {prog_id}{f', pipeline {pipeline}' if pipeline else ''})"
