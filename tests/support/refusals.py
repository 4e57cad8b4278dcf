"""What a refused plan says, as codes and values."""

from __future__ import annotations

from typing import Any

from reloader.errors import RefusedChange


def refused_for(error: RefusedChange, reason: str) -> dict[str, Any]:
    """The values of the first refusal that has this reason."""
    found: dict[str, Any] = next(row for row in error.refusals if row["reason"] == reason)["values"]
    return found
