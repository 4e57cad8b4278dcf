"""The corpus of refused programs: tests/verifier/bpf/*.bpf.c, and expected.yaml there, which says of every program
what must be said of it.

`refused()` loads one program on the running kernel, by the loader's real child process, and explains what came.
Run as a script (`python -m lab.corpus OBJECT PROGRAM…`) it prints explanations as JSON, so that a test can
run it with fewer capabilities.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import yaml

from reloader.bpf.live import LiveKernel
from reloader.errors import KernelError, LoadRejected
from reloader.kernel import LoadRequest
from reloader.structs.elf import ElfObject, ElfProgram, read_object
from reloader.verifier import Code, Explanation, explain, explain_load

FOLDER = Path(__file__).resolve().parent.parent / "tests" / "verifier"
SOURCES = sorted((FOLDER / "bpf").glob("*.bpf.c"))
UNPRIVILEGED = "unprivileged"  # the file whose programs are refused only without CAP_PERFMON


def expected() -> dict[str, dict[str, str]]:
    """Program → {code, says, at}: the class, the sentence, and the line of C, empty where none can be known."""
    found: dict[str, dict[str, str]] = yaml.safe_load((FOLDER / "expected.yaml").read_text())
    return found


def refused(data: bytes, elf: ElfObject, program: ElfProgram) -> Explanation | None:
    """The explanation of a load that fails; None when the kernel took the program, or nothing could be said."""
    unused = tuple(m.name for m in elf.maps if m.name not in program.maps and not m.internal)
    request = LoadRequest(objects=(data,), name="corpus", programs=(program.name,), omit=unused)
    try:
        LiveKernel().progs.load(request).close()
    except LoadRejected as error:
        return explain(error.log, code_of(elf, program))
    except KernelError as error:
        return explain_load(str(error))
    return None


def code_of(elf: ElfObject, program: ElfProgram) -> Code:
    return Code(
        section=program.section,
        licence=elf.license,
        line=lambda insn: elf.source_line(program.section, program.first_insn + insn),
        lines=elf.source_lines(),
    )


def judge(told: Explanation | None, wanted: dict[str, str]) -> str:
    """What is wrong with an explanation; empty when it is the one expected."""
    if told is None:
        return "was taken, or nothing was said"
    found = {"code": told.code, "says": told.sentence, "at": told.to_json()["source"]["text"]}  # type: ignore[index]
    wrong = [f"{k}: {found[k]!r}, not {wanted.get(k, '')!r}" for k in found if found[k] != wanted.get(k, "")]
    return "; ".join(wrong)


def explanations(data: bytes) -> dict[str, Explanation | None]:
    """Every program of an object, loaded one by one."""
    elf = read_object(data)
    return {program.name: refused(data, elf, program) for program in elf.programs}


def main(path: str) -> None:
    found: dict[str, Any] = {n: e and e.to_json() for n, e in explanations(Path(path).read_bytes()).items()}
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1])
