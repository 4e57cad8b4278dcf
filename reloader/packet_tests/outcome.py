"""How a test of the YAML ended."""

from __future__ import annotations

from enum import StrEnum


class Outcome(StrEnum):
    """How a test ended. The value is the word of reports."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"
