"""The host's own file of commands: what it may say, and who may have written it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from reloader.errors import InputError, PermissionRefused
from reloader.pipeline.host_file import commands

TEXT = """\
apiVersion: reloader/v1
kind: Host
commands:
  ask: [/usr/bin/ask, --all]
  tell: [/bin/tell]
"""


@pytest.fixture
def host(tmp_path: Path) -> Path:
    path = tmp_path / "host.yaml"
    path.write_text(TEXT)
    path.chmod(0o644)
    return path


def test_only_what_is_wanted_is_given(host: Path) -> None:
    assert commands(host, ["ask"]) == {"ask": ("/usr/bin/ask", "--all")}
    assert commands(host / "nothing", []) == {}


@pytest.mark.parametrize(
    ("old", "new", "place", "reason"),
    [
        ("", "", "3:1", "no-such-command"),
        ("kind: Host", "kind: Pipeline", "1:1", "not-a-host"),
        ("commands:", "comands:", "3:1", "unknown-field"),
        ("[/bin/tell]", "[tell]", "5:9", "command-words"),
        ("[/bin/tell]", "/bin/tell", "5:9", "command-words"),
        ("[/bin/tell]", "[/bin/tell, 7]", "5:9", "command-words"),
        ("[/bin/tell]", "[]", "5:9", "command-words"),
        ("tell:", "Tell:", "", "command-name"),
        (TEXT, TEXT + "---\n" + TEXT, "7:1", "several-documents"),
    ],
)
def test_one_wrong_thing(host: Path, old: str, new: str, place: str, reason: str) -> None:
    host.write_text(TEXT.replace(old, new))
    with pytest.raises(InputError) as caught:
        commands(host, ["look"] if not old else ["ask"])
    assert reason in [p.reason for p in caught.value.problems], caught.value.detail
    assert place in str(caught.value.problems[0])


def test_no_file_declares_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="1 problem") as caught:
        commands(tmp_path / "host.yaml", ["ask"])
    assert (caught.value.reason, caught.value.values["names"]) == ("no-host-file", ["ask"])


@pytest.mark.parametrize("loosen", ["file", "folder"])
def test_what_others_could_have_written_is_refused(host: Path, loosen: str) -> None:
    (host if loosen == "file" else host.parent).chmod(0o757)
    with pytest.raises(PermissionRefused) as caught:
        commands(host, ["ask"])
    assert caught.value.reason == "others-can-change"


def test_not_even_whoever_called_sudo(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    os.chown(host, 12345, 12345)
    monkeypatch.setenv("SUDO_UID", "12345")
    with pytest.raises(PermissionRefused) as caught:
        commands(host, ["ask"])
    assert (caught.value.reason, caught.value.values["owner"]) == ("others-can-change", 12345)
