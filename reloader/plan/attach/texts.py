"""The words of this room: what becomes of attachments, and why one cannot be attached or swapped."""

from __future__ import annotations

from reloader.wording.message import Text

# attachments: why one is refused

ATTACHMENT_REFUSED = Text("attachment-refused", "attachment {attachment}: {why}")
LINK_ELSEWHERE = Text("link-elsewhere", "{why}; a change does not detach it there. {advice}")
LINK_UNEXPLAINED = Text("link-unexplained", "the pinned link is not in the records ({owner})")
PROGRAM_UNEXPLAINED = Text("program-unexplained", "our link runs {owner}, which is not in the records")
SAME_PLACE = Text(
    "same-place",
    "it is the same place as {other} of this pipeline, which is detached only after the commit. {advice}",
)
REMOVE_THEN_APPLY = Text(
    "remove-then-apply",
    "`reloader remove {pipeline}` (state stays parked), then apply; nothing runs there in between",
)

# attachments: what becomes of one

ATTACH = Text("attach", "attach by bpf_link, {how}")
LINK_UPDATE = Text("link-update", "link update")
LINK_UPDATE_ENDS_PANIC = Text("link-update-ends-panic", "link update, which ends the panic")
REMOVE_FILTERS = Text("remove-filters", "remove {count:classic filter}")
TAKE_OVER = Text("take-over", "take over by bpf_link, {how}")
THEN_REMOVE_FILTERS = Text("then-remove-filters", "{action}, then remove {count:classic filter}")
UNCHANGED = Text("unchanged", "unchanged")

# attachments: notes

INSTEAD_OF = Text("instead-of", "instead of {owner}")
NEIGHBOUR_REMOVED = Text("neighbour-removed", "{neighbour} is removed after {ours} is attached")
NEIGHBOUR_STAYS = Text("neighbour-stays", "{effect}; {take_over}")
PROGRAM = Text("program", "program {program}")

# gate: when it is not used

FOLLOWS_SEVERAL = Text("follows-several", "one program replaces several programs")
GATE_NOT_USED = Text("gate-not-used", "the gate is not used: {why}")
GENERATION_NOT_CARRIED = Text("generation-not-carried", "packets of the running version do not carry their generation")
STATE_CONVERTED = Text("state-converted", "the same change converts state to another layout")

# what packets can notice

MIXTURE = Text("mixture", "two versions at two hooks for about {milliseconds} ms")
DROPS = Text("drops", "drops")
NONE = Text("none", "none")
NONE_GATE = Text("none-gate", "none (gate)")
