"""What a user reads when the verifier says no, and its log names no line of C."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from reloader.bpf.live import LiveKernel
from reloader.engine.refusal import describe, rejected
from reloader.engine.workspace import Workspace
from reloader.errors import LoadRejected
from reloader.kernel.host import Host
from reloader.paths import Paths
from reloader.plan import ops
from reloader.structs.elf import read_object


def test_a_refusal_after_a_swap_is_told_in_words_too() -> None:
    said = describe(LoadRejected("count_flows", 13, "7: (79) r1 = *(u64 *)(r0 +0)\nR0 invalid mem access 'scalar'\n"))
    assert said == "the verifier rejected program count_flows: a number is used as a pointer (R0)"
    unexplained = describe(LoadRejected("count_flows", 13, ""))
    assert unexplained == "the verifier rejected program count_flows: Permission denied"


LOG = "0: (bf) r7 = r1\n{insn}: (61) r2 = *(u32 *)(r1 +26)\ninvalid access to packet, off=26 size=4\n"


def test_the_line_comes_from_the_object(objects: Callable[[str], Path], tmp_path: Path) -> None:
    data = objects("lab/bpf/flow_count_broken").read_bytes()
    bench = Workspace(
        host=Host(kernel=LiveKernel(), paths=Paths(records=tmp_path)),
        pipeline="edge",
        wish=None,
        blobs={"d": data, "junk": b""},
    )
    load = ops.Load(
        load=1, objects=("junk", "d"), programs=("count_flows",), rodata={}, omit=(), max_entries={}, reuse={},
        metadata={},
    )  # fmt: skip
    said = rejected(bench, LoadRejected("count_flows", 13, LOG.format(insn=2)), (load,))
    elf = read_object(data)
    program = elf.program("count_flows")
    assert program is not None
    line = elf.source_line(program.section, program.first_insn + 2)
    assert line is not None
    assert said.detail.splitlines()[0] == f"{line[0]}:{line[1]}: {line[2]}"
