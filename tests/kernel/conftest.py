"""What the tests of this folder share beside tests/conftest.py."""

from __future__ import annotations

import pytest

from reloader.bpf.live import LiveKernel


@pytest.fixture
def kernel() -> LiveKernel:
    return LiveKernel()
