"""The place where commands are struck, for each test of this folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab.crash.scenario import Scene
from lab.sandbox import Sandbox
from lab.traffic import Generator


@pytest.fixture
def scene(sandbox: Sandbox, objects: Callable[[str], Path], tmp_path: Path) -> Iterator[Scene]:
    with Generator(sandbox.tx, flows=4) as generator:
        yield Scene(sandbox, objects, tmp_path, generator)
