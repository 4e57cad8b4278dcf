"""placeholder until btf lands"""

from __future__ import annotations
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class TypeTree:
    name: str
