"""What the tests of this folder share beside tests/conftest.py."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from reloader.bpf.live import LiveKernel
from tests.support import cgroups


@pytest.fixture
def kernel() -> LiveKernel:
    return LiveKernel()


@pytest.fixture
def cgroup(_no_leaks: None) -> Iterator[Path]:
    """A cgroup of the test's own."""
    with cgroups.made("test") as path:
        yield path
