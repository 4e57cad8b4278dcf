"""Every program of the corpus, refused by the running kernel through the real loader, gets its sentence."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lab import corpus
from lab.stage import ROOT, Stage
from reloader.structs.elf import read_object
from tests.support import faults

pytestmark = pytest.mark.kernel

Compile = Callable[[str | Path], Path]
PRIVILEGED = [path for path in corpus.SOURCES if not path.name.startswith(corpus.UNPRIVILEGED)]


@pytest.mark.parametrize("source", PRIVILEGED, ids=lambda path: path.name.partition(".")[0])
def test_the_sentence_that_is_expected(source: Path, compile_bpf: Compile) -> None:
    wanted = corpus.expected()
    told = corpus.explanations(compile_bpf(source).read_bytes())
    wrong = [f"{name} {what}" for name, one in told.items() if (what := corpus.judge(one, wanted[name]))]
    assert not wrong, "\n".join(wrong)


def test_what_is_refused_without_a_capability(compile_bpf: Compile) -> None:
    path = compile_bpf(corpus.FOLDER / "bpf" / f"{corpus.UNPRIVILEGED}.bpf.c")
    less = ["setpriv", "--bounding-set", "-sys_admin,-perfmon"]
    words = [*less, sys.executable, "-m", "lab.corpus", str(path)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    wanted, told = corpus.expected(), json.loads(done.stdout)
    assert {name: one["sentence"] for name, one in told.items()} == {name: wanted[name]["says"] for name in told}


def test_nothing_is_expected_of_what_is_not_there(compile_bpf: Compile) -> None:
    there = [p.name for path in corpus.SOURCES for p in read_object(compile_bpf(path).read_bytes()).programs]
    assert sorted(there) == sorted(corpus.expected())
    assert len(there) >= 40


def test_without_its_rules_the_corpus_is_red(compile_bpf: Compile, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sabotage, and the honest way out: what no rule knows is told in the verifier's own last words."""
    faults.inject(monkeypatch, "verifier rules", ())
    told = corpus.explanations(compile_bpf(corpus.FOLDER / "bpf" / "packet.bpf.c").read_bytes())
    assert all(corpus.judge(one, corpus.expected()[name]) for name, one in told.items())
    last = told["packet_unchecked"]
    assert last is not None
    assert last.code == "unknown"
    assert last.sentence == "R1 offset is outside of the packet"


def test_what_a_user_reads(stage: Stage, compile_bpf: Compile) -> None:
    """Through the command line: sentence, place, knowledge, hint and log in words, and all of it as JSON."""
    object_name = stage.put(compile_bpf(corpus.FOLDER / "bpf" / "packet.bpf.c"), "packet.bpf.o")
    done = stage.run("apply", stage.write({"objects": [object_name], "attach": [stage.attach("packet_short_check")]}))
    assert done.code == 1
    said = "the verifier rejected program packet_short_check: packet byte 23 is read, but only the first 14 bytes"
    assert said in done.err
    lines = done.err.splitlines()
    assert "packet.bpf.c:27: return ip->protocol == 17 ? XDP_DROP : XDP_PASS;" in lines
    assert "  > 27 | return ip->protocol == 17 ? XDP_DROP : XDP_PASS;" in lines
    assert "    25 | if ((void *)(eth + 1) > END(ctx))" in lines
    assert any(line.startswith("known there: R1 is a packet pointer at offset 0; the first 14 bytes") for line in lines)
    hint = next(line for line in lines if line.startswith("hint: "))
    assert re.match(r"hint: compare the end of what is read with data_end first.*; whole log: /", hint)
    found = done.error["rejection"]
    assert (found["code"], found["program"], found["source"]["line"]) == ("packet-unchecked", "packet_short_check", 27)
    assert isinstance(found["insn"], int)


def test_a_map_that_cannot_be_made(stage: Stage, compile_bpf: Compile) -> None:
    """Its size is the kernel's to judge; what libbpf would refuse is told before (test_libbpf_agrees.py)."""
    head, _, tail = (corpus.FOLDER / "bpf" / "map_too_large.bpf.c").read_text().partition("/* Lacks the flag")
    licence = tail[tail.index("char LICENSE") :]
    program = tail[tail.index('SEC("xdp")') : tail.index("SEC", tail.index('SEC("xdp")') + 1)]
    object_name = stage.put(compile_bpf(head + program + licence), "large.bpf.o")
    spec = {"objects": [object_name], "attach": [stage.attach("map_too_large")], "maps": {"huge": {"role": "scratch"}}}
    done = stage.run("apply", stage.write(spec))
    assert done.code == 1
    assert "nothing was swapped" in done.err
    assert done.error["rejection"]["code"] == "map-refused"
