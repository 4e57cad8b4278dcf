"""SUDO_UID as anything may have left it in the environment."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from reloader.disk.trust import require_ours
from reloader.errors import PermissionRefused


@pytest.mark.skipif(os.geteuid() != 0, reason="SUDO_UID counts for root only")
@pytest.mark.parametrize("value", ["²", "١٢٣٤٥", "", "-1", "12345 ", "0x3039", "12345\n", "+12345", "9" * 5000])
def test_v11_sudo_uid_is_no_plain_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    """It is not the owner of a user's file, and no error of its own."""
    monkeypatch.setenv("SUDO_UID", value)
    require_ours([str(tmp_path)])
    path = tmp_path / "edge.yaml"
    path.write_text("")
    os.chown(path, 12345, 12345)
    with pytest.raises(PermissionRefused):
        require_ours([str(path)])
