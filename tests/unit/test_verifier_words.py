"""Stored logs, of several kernels, to the sentences of the corpus; and logs that nobody can make sense of."""

from __future__ import annotations

import random
import time
from typing import Any

import pytest
import yaml

from lab import corpus
from reloader.verifier import Code, explain, explain_load
from reloader.verifier.registers import in_words, parse

KERNELS: dict[str, dict[str, dict[str, str]]] = {
    series: yaml.safe_load((corpus.FOLDER / "logs" / f"{series}.yaml").read_text())
    for series in ("6.1", "6.12", "6.18")
}
RECORDED = KERNELS["6.18"]
OLDER: list[dict[str, str]] = yaml.safe_load((corpus.FOLDER / "logs" / "older.yaml").read_text())


@pytest.mark.parametrize(("series", "name"), [(series, name) for series, logs in KERNELS.items() for name in logs])
def test_a_recorded_log(series: str, name: str) -> None:
    one = KERNELS[series][name]
    wanted = corpus.expected()[name] | {key: one[key] for key in ("code", "says") if key in one}
    if "log" in one:
        told = explain(one["log"], Code(section=one["section"], licence=one["licence"]))
    else:
        loaded = explain_load(one["load"])
        assert loaded is not None
        told = loaded
    assert (told.code, told.sentence) == (wanted["code"], wanted["says"])
    assert told.hint
    assert told.said


@pytest.mark.parametrize("one", OLDER, ids=lambda one: f"{one['kernel']}-{one['code']}")
def test_the_words_of_another_kernel(one: dict[str, str]) -> None:
    told = explain(one["log"]) if "log" in one else explain_load(one["load"])
    assert told is not None
    assert (told.code, told.sentence) == (one["code"], one["says"])


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("pkt(off=14,r=0)", "R1 is a packet pointer at offset 14; its bytes were not compared with data_end"),
        ("pkt(id=0,off=14,r=34,imm=0)",
         "R1 is a packet pointer at offset 14; the first 34 bytes of the packet were compared with data_end"),
        ("pkt(id=1,r=1,umax=60,var_off=(0x0; 0x3c))",
         "R1 is a packet pointer at offset 0 plus a number from 0 to 60; "
         "the first byte behind the variable part was compared with data_end"),
        ("map_value_or_null(id=1,map=flows,ks=4,vs=16)", "R1 is a value of map flows (16 bytes), or NULL"),
        ("map_value(off=8,ks=4,vs=16,imm=0)", "R1 is a value of map (16 bytes) at offset 8"),
        ("map_ptr(map=flows,ks=4,vs=16)", "R1 is the map flows"),
        ("inv7", "R1 is the number 7"),
        ("-1", "R1 is the number -1"),
        ("0x30d3f", "R1 is the number 199999"),
        ("P0", "R1 is the number 0"),
        ("inv(id=0,umax_value=255,var_off=(0x0; 0xff))", "R1 is a number from 0 to 255"),
        ("scalar(smin=0xffffffff80000000,smax=smax32=63)", "R1 is a number from -2147483648 to 63"),
        ("scalar()", "R1 is an unknown number"),
        ("Pscalar()", "R1 is an unknown number"),
        ("fp-8", "R1 is a pointer to the stack, fp-8"),
        ("ringbuf_mem(ref_obj_id=2,sz=8)", "R1 is a ring buffer record of 8 bytes"),
        ("ctx(off=8,imm=0)", "R1 is the context at offset 8"),
        ("ptr_sk_buff()", "R1 is a ptr_sk_buff pointer"),
        ("", "R1 holds nothing: it was never set, or a call took it"),
    ],
)  # fmt: skip
def test_a_register_in_words(state: str, words: str) -> None:
    assert in_words(1, parse(state)) == words


def test_a_pointer_that_a_call_took_is_told_in_the_past() -> None:
    told = explain(RECORDED["packet_moved"]["log"])
    assert told.knew == ("R7 was a packet pointer at offset 0, until bpf_xdp_adjust_head",)


def test_every_class_is_met_somewhere() -> None:
    """A rule that no log of ours reaches is a rule that nobody tried."""
    from reloader.verifier.explain import RULES

    tried = {w["code"] for w in corpus.expected().values()} | {one["code"] for one in OLDER}
    assert not {rule.code for rule in RULES} - tried


@pytest.mark.parametrize("log", ["", "\n", "garbage", "R1", ";", "0: (85)", "0: (85) call", "R1=(((", "from 1 to 2:"])
def test_nonsense_is_no_error(log: str) -> None:
    assert explain(log).code == "unknown"


def test_damaged_logs_are_never_an_error() -> None:
    dice = random.Random(9)
    logs: list[Any] = [one["log"] for one in RECORDED.values() if "log" in one]
    for _ in range(1500):
        log = list(dice.choice(logs))
        for _ in range(dice.choice((1, 2, 8))):
            at = dice.randrange(len(log))
            log[at : at + dice.choice((0, 1, 5))] = dice.choice(
                ["", "\n", "R1=", "(", "99999999999999999999", "-", "=", "é"]
            )
        told = explain("".join(log))
        assert told.to_json()
        assert told.detail() is not None


def test_a_log_of_megabytes_takes_no_time() -> None:
    line = "1: (0f) r3 += r2                      ; R2=scalar(smin=0,smax=umax=0xffffffff) R3=pkt(id=1,off=1,r=0)\n"
    log = line * 100_000 + RECORDED["packet_far"]["log"]
    started = time.process_time()
    assert explain(log).code == "packet-offset"
    assert time.process_time() - started < 20
