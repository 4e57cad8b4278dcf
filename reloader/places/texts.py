"""What reloader says of any place, whatever its type."""

from __future__ import annotations

from reloader.wording.message import Text

RUNS_BEFORE = Text(
    "runs-before", "{neighbour} runs before {ours}: {ours} sees only packets for which it returns {verdict}"
)
RUNS_AFTER = Text(
    "runs-after", "{neighbour} runs after {ours}: it sees only packets for which {ours} returns {verdict}"
)
BOTH_BEFORE = Text("both-run-before", "{neighbour} runs before {ours}: both run, whatever the other returns")
BOTH_AFTER = Text("both-run-after", "{neighbour} runs after {ours}: both run, whatever the other returns")
UNKNOWN_TYPE = Text("unknown-type", "{attachment} is of a type that this version of reloader does not know")
