"""The author's words that every layer speaks of: a map's role, how its changes reach the kernel. A leaf.

Apart from model.py so that a cached wish does not load the whole of it.
"""

from __future__ import annotations

from enum import StrEnum

SIDE = "rl_side"  # reloader_config.h: which side of all config maps packets look at
SLOTS = "rl_slots_"  # the two sides of one config map
GATE = "rl_gate"  # reloader_gate.h: what a first hook writes; with _ and a later program's name, where it finds its old
GATE_STATS = "rl_gate_stats"
PLACEHOLDER = "CHANGE-ME"  # what init writes in place of a name that only the author knows
TODO = "TODO"  # what `init` writes for a role that only the author can choose; `validate` refuses it


class Role(StrEnum):
    """What may happen to a map when a new version is loaded."""

    CONFIG = "config"  # replaced at will; the YAML owns its entries
    STATE = "state"  # never lost
    SCRATCH = "scratch"  # may start empty at every load
    STREAM = "stream"  # ring or perf buffer: the same one across loads
    LIVE = "live"  # handles: sockets, devices, CPUs, XSK; the same one across loads
    EXTERNAL = "external"  # somebody else's pinned map


class Panic(StrEnum):
    """What `reloader panic` does to a pipeline's traffic."""

    OPEN = "open"  # everything passes
    CLOSED = "closed"  # nothing does


class Access(StrEnum):
    """What a group may do with the published maps."""

    READ = "read"  # look entries up and list them


class Apply(StrEnum):
    """How changed entries of a config map reach the kernel."""

    AUTO = "auto"  # the planner picks the cheapest safe way
    ENTRIES = "entries"  # the difference, in batches
    MAP = "map"  # a whole new map, and one store that makes packets look at it
    PROGRAM = "program"  # a new load with fresh maps, one link update
