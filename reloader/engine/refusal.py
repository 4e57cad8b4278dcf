"""A load that was refused, told to its author: the sentence, the line of C, what was known there, the hint.

Called by transaction.py once everything was put back.
"""

from __future__ import annotations

from errno import ENOMEM
from typing import TYPE_CHECKING, Any

from reloader.engine import texts
from reloader.engine.workspace import Workspace
from reloader.errors import LIMITS, KernelError, LoadRejected, NeedsHuman, ReloaderError, VerifierRejected
from reloader.plan import ops
from reloader.plan.ops import Op

if TYPE_CHECKING:
    from reloader.structs.elf import ElfObject, ElfProgram
    from reloader.verifier import Code, Explanation


def rejected(bench: Workspace, error: LoadRejected, planned: tuple[Op, ...]) -> VerifierRejected:
    """The verifier's log in plain words, the whole of it in a file."""
    from reloader.disk.atomic_files import write_atomic
    from reloader.verifier import explain

    pipeline = bench.pipeline
    path = bench.paths.verifier_log(pipeline, error.program)
    where = texts.WHOLE_LOG(path=path)
    try:
        write_atomic(path, error.log.encode(errors="replace"))
    except OSError as full:
        where = texts.LOG_NOT_WRITTEN(why=describe(full))
    told = explain(error.log, code_of(bench, planned, error.program))
    sentence = told.sentence or error.strerror
    return VerifierRejected(
        texts.VERIFIER_REJECTED(pipeline=pipeline, program=error.program, why=sentence),
        detail=told.detail(),
        hint=f"{told.hint}; {where}" if told.hint else where,
        rejection={"program": error.program, **told.to_json(), "sentence": sentence},
    )


def of_load(error: BaseException) -> Explanation | None:
    """The explanation of a load that libbpf or the kernel gave up before any program; None for all other errors."""
    if not isinstance(error, KernelError) or not error.call.startswith(("bpf_object__", "BPF_MAP_CREATE")):
        return None
    if error.errno in LIMITS and error.errno != ENOMEM:  # no fault of what was loaded
        return None
    from reloader.verifier import explain_load

    return explain_load(str(error))


def _code(elf: ElfObject, program: ElfProgram) -> Code:
    from reloader.verifier import Code

    lines = elf.source_lines()  # fails here, not in the midst of an explanation, where line information is damaged
    return Code(
        section=program.section,
        licence=elf.license,
        line=lambda insn: elf.source_line(program.section, program.first_insn + insn),
        lines=lines,
    )


def code_of(bench: Workspace, planned: tuple[Op, ...], program: str) -> Code | None:
    """What the object that holds `program` says of it; None when none does."""
    from reloader.structs.elf import BtfError, ElfError, read_object

    planned_objects = [d for op in planned if isinstance(op, ops.Load) for d in op.objects]
    for digest in planned_objects or [o.digest for o in (bench.wish.objects if bench.wish else ())]:
        try:
            elf = read_object(bench.blob("objects", digest))
            found = elf.program(program)
            if found is not None:
                return _code(elf, found)
        except (OSError, NeedsHuman, ElfError, BtfError):  # the verifier's own words must reach the user all the same
            continue
    return None


def describe(error: BaseException) -> str:
    """Return an error in the words of its reader, as a part of another message."""
    if isinstance(error, KeyboardInterrupt):
        return texts.INTERRUPTED()
    if isinstance(error, LoadRejected):
        from reloader.verifier import explain

        why = explain(error.log).sentence or error.strerror
        return texts.PROGRAM_REJECTED(program=error.program, why=why)
    if isinstance(error, OSError) and not isinstance(error, KernelError) and error.filename:
        return texts.ERROR_OF_FILE(file=error.filename, why=error.strerror)
    return error.message if isinstance(error, ReloaderError) else str(error)


def values_of(error: BaseException) -> dict[str, Any]:
    """The values of an error, for the error that reports it."""
    return getattr(error, "values", None) or {}
