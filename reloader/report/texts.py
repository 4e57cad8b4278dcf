"""What reports say."""

from __future__ import annotations

from reloader.wording.message import Text

# attachments
LINK_PIN_MISSING = Text(
    "link-pin-missing", "our link's pin is missing", hint="`reloader apply FILE` makes the link again"
)
PANIC = Text("panic", "{panic}", hint="`reloader apply FILE` or `rollback` ends it")
ANOTHER_PROGRAM = Text(
    "another-program",
    "our link runs {owner}, which another process attached",
    hint="`reloader apply FILE --take-over` restores ours",
)
OCCUPIED = Text("occupied", "{cause}; {owner} runs there, {held}", hint="`reloader apply FILE --take-over` replaces it")
OCCUPIED_BY_LINK = Text(
    "occupied-by-link",
    "{cause}; {owner} runs there, {held}",
    hint="only the process that holds that link can detach it; then run `reloader apply FILE`",
)
RESCUED = Text(
    "occupied-by-rescue-script",
    "{cause}; {owner} runs there, {held}",
    hint="a rescue script attached it: `reloader apply FILE` takes over from it, `reloader remove PIPELINE` removes it",
)

# arrivals
UNREACHED = Text("no-packet-seen", "{program} saw none of {packets:packet} that came to its place in {seconds:.1f} s")
