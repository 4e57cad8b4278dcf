"""scaffold.py: the first YAML from an object validates as it stands, and says what there is to decide."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from reloader.errors import InputError
from reloader.hooks import HOOKS, xdp
from reloader.spec.compile import Compiled, compile_file
from reloader.spec.model import Role
from reloader.spec.scaffold import first_yaml, pipeline_name

SUBJECT = Path(__file__).parent / "bpf" / "spec_subject.bpf.c"
EVERYTHING = Path(__file__).parent / "bpf" / "everything.bpf.c"


def written(folder: Path, source: Path, compile_bpf: Callable[[Path], Path]) -> Path:
    target = folder / "my.bpf.o"
    target.write_bytes(compile_bpf(source).read_bytes())
    (folder / "my.yaml").write_text(first_yaml([target]))
    return folder / "my.yaml"


def name_interfaces(path: Path) -> Compiled:
    """The one pipeline of the file, once its author named the interfaces."""
    path.write_text(re.sub("CHANGE-ME(-[0-9]+)?", lambda m: "eth" + (m[1] or "-1")[1:], path.read_text()))
    (one,) = compile_file(path)
    return one


@pytest.mark.parametrize("source", [SUBJECT, EVERYTHING])
def test_it_validates_once_the_interfaces_are_named(
    tmp_path: Path, source: Path, compile_bpf: Callable[[Path], Path]
) -> None:
    path = written(tmp_path, source, compile_bpf)
    with pytest.raises(InputError) as caught:
        compile_file(path)
    assert {p.reason for p in caught.value.problems} == {"placeholder"}
    named = name_interfaces(path)
    assert named.wish.pipeline == "my"
    assert "xdp:eth1" in [a.id for a in named.wish.attachments]


def test_what_it_says_of_the_subject(tmp_path: Path, compile_bpf: Callable[[Path], Path]) -> None:
    text = written(tmp_path, SUBJECT, compile_bpf).read_text()
    modeline, *_ = text.splitlines()
    schema = Path(modeline.removeprefix("# yaml-language-server: $schema="))
    assert schema.is_file()
    for line in (
        "  #   sample_rate: 64  # u32",
        "    - {program: look, type: xdp, interface: CHANGE-ME}",
        "    - {program: jump, type: xdp, interface: CHANGE-ME-2}",
        "    - {program: classify, type: tcx, interface: CHANGE-ME-3}",
        "    # hash, struct pair → struct policy, 300000 entries",
        "    #   key: struct pair {u32 id; u16 port}",
        "    #   roles: state, config, scratch, external",
        "    pairs: {role: state}",
        "      #  - {key: …, value: {verdict: …, port: …, level: …}}",
        "    ports: {role: live}",
        "    .bss: {role: state}",
    ):
        assert line in text.splitlines(), f"{line!r} is not in\n{text}"
    assert "tail_target" not in text  # only ever tail-called


def test_suggested_roles(tmp_path: Path, compile_bpf: Callable[[Path], Path]) -> None:
    one = name_interfaces(written(tmp_path, SUBJECT, compile_bpf))
    roles = {m.name: m.role for m in one.wish.maps}
    assert roles == {
        "policies": Role.CONFIG,
        "blocklist": Role.CONFIG,
        "pairs": Role.STATE,
        "slots": Role.STATE,
        "unsaid": Role.STATE,
        "events": Role.STREAM,
        "ports": Role.LIVE,
        "jumps": Role.LIVE,
        ".bss": Role.STATE,
    }


def test_odd_file_names_are_quoted(tmp_path: Path, compile_bpf: Callable[[Path], Path]) -> None:
    target = tmp_path / "7, odd: [name].bpf.o"
    target.write_bytes(compile_bpf(SUBJECT).read_bytes())
    path = tmp_path / "x.yaml"
    path.write_text(first_yaml([target]))
    one = name_interfaces(path)
    assert one.wish.pipeline == "p-7-odd-name"
    assert one.files == (str(target),)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("My_Edge.bpf.o", "my-edge"), ("edge.o", "edge"), ("7.o", "p-7"), ("é.o", "p"), ("a" * 80 + ".o", "a" * 63)],
)
def test_pipeline_names(name: str, expected: str) -> None:
    assert pipeline_name(Path(name)) == expected


def test_nothing_to_attach_names_the_sections(tmp_path: Path, compile_bpf: Callable[[str], Path]) -> None:
    text = '#include <linux/bpf.h>\n#include <bpf/bpf_helpers.h>\nSEC("lsm/x") int c(void *x) { return 0; }\n'
    with pytest.raises(InputError) as caught:
        first_yaml([compile_bpf(text)])
    (problem,) = caught.value.problems
    assert "no program that can be attached" in problem.message
    assert "lsm/x" in problem.hint


def test_a_file_that_is_no_object(tmp_path: Path) -> None:
    (tmp_path / "x.o").write_text("no")
    for name in ("x.o", "missing.o"):
        with pytest.raises(InputError) as caught:
            first_yaml([tmp_path / name])
        assert name in str(caught.value.problems[0])


def test_hooks_agree_with_their_names() -> None:
    assert HOOKS["xdp"].PROGRAM_TYPE == "xdp"
    assert xdp.target({"interface": "e"}) == {"interface": "e", "mode": "native"}
    path = xdp.target({"interface": "e", "mode": "skb", "netns": "/proc/1/ns/net"})
    assert path == {"interface": "e", "mode": "skb", "netns": "/proc/1/ns/net"}
    assert xdp.attachment_id(path) == "xdp:e@/proc/1/ns/net"
    assert xdp.attachment_id(xdp.target({"interface": "e", "netns": "blue"})) == "xdp:e@blue"
