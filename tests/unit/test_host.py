"""The host's own file of commands: what it may say, and who may have written it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from reloader.errors import InputError, PermissionRefused
from reloader.spec.host import commands

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
    ("old", "new", "place", "message"),
    [
        ("", "", "3:1", "there is no command 'look'"),
        ("kind: Host", "kind: Pipeline", "1:1", "is no Host"),
        ("commands:", "comands:", "3:1", "unknown field 'comands'"),
        ("[/bin/tell]", "[tell]", "5:9", "must be a list: the absolute path"),
        ("[/bin/tell]", "/bin/tell", "5:9", "must be a list: the absolute path"),
        ("[/bin/tell]", "[/bin/tell, 7]", "5:9", "must be a list: the absolute path"),
        ("[/bin/tell]", "[]", "5:9", "must be a list: the absolute path"),
        ("tell:", "Tell:", "", "'Tell' is no name of a command"),
        (TEXT, TEXT + "---\n" + TEXT, "7:1", "one document is enough"),
    ],
)
def test_one_wrong_thing(host: Path, old: str, new: str, place: str, message: str) -> None:
    host.write_text(TEXT.replace(old, new))
    with pytest.raises(InputError) as caught:
        commands(host, ["look"] if not old else ["ask"])
    assert any(message in str(p) for p in caught.value.problems), caught.value.detail
    assert place in str(caught.value.problems[0])


def test_no_file_declares_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="1 problem") as caught:
        commands(tmp_path / "host.yaml", ["ask"])
    assert "the host declares no command ask: there is no" in caught.value.problems[0].message


@pytest.mark.parametrize("loosen", ["file", "folder"])
def test_what_others_could_have_written_is_refused(host: Path, loosen: str) -> None:
    (host if loosen == "file" else host.parent).chmod(0o757)
    with pytest.raises(PermissionRefused, match="others could change which commands pipelines may name"):
        commands(host, ["ask"])


def test_not_even_whoever_called_sudo(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    os.chown(host, 12345, 12345)
    monkeypatch.setenv("SUDO_UID", "12345")
    with pytest.raises(PermissionRefused, match="belongs to user 12345"):
        commands(host, ["ask"])
