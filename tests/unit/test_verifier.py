"""Verifier logs of several kernels to their few useful lines."""

from __future__ import annotations

import pytest

from reloader.verifier.log import REASON_LENGTH, TAIL_LINES, summarise

PACKET_6_18 = """\
Live regs before insn:
  0: .1........ (bf) r7 = r1
0: R1=ctx() R10=fp0
; int count_flows(struct xdp_md *ctx) @ flow.bpf.c:17
0: (bf) r7 = r1                       ; R1=ctx() R7=ctx()
; struct ethhdr *eth = (void *)(long)ctx->data; @ flow.bpf.c:19
1: (61) r1 = *(u32 *)(r7 +0)          ; R1=pkt(r=0) R7=ctx()
; key.saddr = ip->saddr; @ flow.bpf.c:22
2: (61) r2 = *(u32 *)(r1 +26)
invalid access to packet, off=26 size=4, R1(id=0,off=26,r=0)
R1 offset is outside of the packet
processed 3 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0
"""

NULL_5_10 = """\
func#0 @0
0: R1=ctx(id=0,off=0,imm=0) R10=fp0
; value = bpf_map_lookup_elem(&runs, &zero);
6: (85) call bpf_map_lookup_elem#1
7: R0_w=map_value_or_null(id=1,off=0,ks=4,vs=8,imm=0) R10=fp0
; *value += 1;
7: (79) r1 = *(u64 *)(r0 +0)
R0 invalid mem access 'map_value_or_null'
verification time 120 usec
stack depth 4
processed 8 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0
"""

LOOP = """\
; for (;;) @ loop.bpf.c:9
3: (07) r1 += 1                       ; R1_w=2
4: (05) goto pc-2
infinite loop detected at insn 3
cur state: R0=scalar() R1=2 R10=fp0
old state: R0=scalar() R1=2 R10=fp0
processed 40 insns (limit 1000000) max_states_per_insn 4 total_states 4 peak_states 4 mark_read 0
"""

UNREACHABLE = "unreachable insn 4\nprocessed 0 insns (limit 1000000) max_states_per_insn 0\n"

TOO_LARGE = """\
; while (left) { @ big.bpf.c:40
12: (b7) r1 = 0 ; R1=0
mark_precise: frame0: last_idx 12 first_idx 0 subseq_idx -1
BPF program is too large. Processed 1000001 insn
processed 1000001 insns (limit 1000000) max_states_per_insn 4 total_states 9 peak_states 9 mark_read 1
"""

CUT_OFF = "; a(); @ cut.bpf.c:3\n5: (85) call pc+1\n"


@pytest.mark.parametrize(
    ("log", "reason", "insn", "source"),
    [
        (
            PACKET_6_18,
            "invalid access to packet, off=26 size=4, R1(id=0,off=26,r=0); R1 offset is outside of the packet",
            2,
            "flow.bpf.c:22: key.saddr = ip->saddr;",
        ),
        (NULL_5_10, "R0 invalid mem access 'map_value_or_null'", 7, "*value += 1;"),
        (LOOP, "infinite loop detected at insn 3", 4, "loop.bpf.c:9: for (;;)"),
        (UNREACHABLE, "unreachable insn 4", 4, ""),
        (TOO_LARGE, "BPF program is too large. Processed 1000001 insn", 12, "big.bpf.c:40: while (left) {"),
        (CUT_OFF, "", 5, "cut.bpf.c:3: a();"),
        ("", "", None, ""),
        ("words no kernel said yet\n", "words no kernel said yet", None, ""),
    ],
    ids=["packet", "null", "loop", "unreachable", "too-large", "cut-off", "empty", "unknown"],
)
def test_what_a_log_comes_down_to(log: str, reason: str, insn: int | None, source: str) -> None:
    summary = summarise(log)
    assert (summary.reason, summary.insn, summary.source) == (reason, insn, source)


@pytest.mark.parametrize("log", [PACKET_6_18, NULL_5_10, LOOP, TOO_LARGE])
def test_the_tail_has_no_statistics(log: str) -> None:
    tail = summarise(log).tail
    assert tail
    assert not [line for line in tail if line.startswith(("processed", "verification", "stack depth", "mark_precise"))]


def test_a_long_log_has_a_short_summary() -> None:
    log = "\n".join(f"{i}: (bf) r1 = r{i % 10}" for i in range(5000)) + "\n" + "R1 " + "!" * 1000
    summary = summarise(log)
    assert len(summary.tail) == TAIL_LINES
    assert len(summary.reason) == REASON_LENGTH
    assert summary.insn == 4999


def test_line_information_helps_out_an_older_kernel() -> None:
    lines = {7: ("runs.bpf.c", 31, "\t*value += 1;")}
    assert summarise(NULL_5_10, source=lines.get).source == "runs.bpf.c:31: *value += 1;"


def test_line_information_of_another_function_is_not_believed() -> None:
    lines = {7: ("runs.bpf.c", 99, "something_else();")}
    assert summarise(NULL_5_10, source=lines.get).source == "*value += 1;"


def test_line_information_where_the_log_has_none() -> None:
    found = summarise(UNREACHABLE, source=lambda insn: ("x.bpf.c", insn, "return 0;")).source
    assert found == "x.bpf.c:4: return 0;"
    assert summarise(UNREACHABLE, source=lambda _insn: None).source == ""
