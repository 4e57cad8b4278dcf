"""The words of what tries a version out: test."""

from __future__ import annotations

from reloader.commands.words.parts import Commands, command, files


def test(commands: Commands) -> None:
    parser = command(
        commands,
        "test",
        "prove",
        "run the tests in the YAML on scratch maps",
        """Loads each pipeline's objects on this kernel with maps of their own, its listed entries and constants, and
runs what stands under `test:` by BPF_PROG_RUN: packets in, verdicts, bytes and map contents out. Touches no
interface, no pin and no live map; nothing has to be attached. `apply` runs the same tests before it swaps.

A budget is measured against the version that serves, where one does; else it is skipped, and that is said.
Exit 1 when a test fails or the verifier refuses a program.""",
    )
    files(parser)
    parser.add_argument("--junit", metavar="FILE", help="write the results as JUnit XML too")
