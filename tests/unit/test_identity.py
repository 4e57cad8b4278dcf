"""What a program says of itself can be read back, whatever the names hold."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from reloader.commands.parser import parse
from reloader.pipeline.model import Role
from reloader.pipeline.wish import WishAttachment
from reloader.plan import program_metadata
from tests.plans.build import wish_of

ROOT = Path(__file__).resolve().parent.parent.parent
NAMES = st.text(min_size=1, max_size=15).filter(lambda t: not any(0xD800 <= ord(c) < 0xE000 for c in t))


@given(NAMES, NAMES)
def test_attachments_are_read_back(interface: str, netns: str) -> None:
    one = WishAttachment(
        id=f"xdp:{interface}@{netns}", type="xdp", program="main", target={"interface": interface, "netns": netns}
    )
    text = program_metadata._attachment_text(one)
    assert text.isascii()
    assert program_metadata.attachments({"attach": f"{text} {text}"}) == [one, one]


def test_the_strings_of_a_load() -> None:
    wish = wish_of({"maps": {"flows": "state", "blocklist": "config"}})
    words = program_metadata.metadata(wish, load=3, generation=7)
    assert (words["load"], words["generation"], words["pipeline"]) == ("3", "7", "edge")
    assert program_metadata.roles(words) == {"flows": Role.STATE, "blocklist": Role.CONFIG}
    assert program_metadata.attachments(words) == list(wish.attachments)
    assert program_metadata.roles({}) == {}
    assert program_metadata.attachments({"load": "3"}) == []  # a program of before these were kept


def test_the_unit_file_runs_a_command_that_exists() -> None:
    lines = (ROOT / "etc" / "reloader-boot.service").read_text().splitlines()
    (command,) = (line.removeprefix("ExecStart=") for line in lines if line.startswith("ExecStart="))
    args = parse(command.split()[1:])
    assert (args.command, args.boot) == ("recover", True)
