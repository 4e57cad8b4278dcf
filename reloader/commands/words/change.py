"""The words of what changes something: apply, rollback, remove."""

from __future__ import annotations

from reloader.commands.words.parts import Commands, command, files, reset


def apply(commands: Commands) -> None:
    parser = command(
        commands,
        "apply",
        "change",
        "make the kernel look like the YAML",
        """One transaction per document, in order. The new version is loaded beside the running one, its maps are
filled or shared, and each attachment is swapped by a compare-and-swap link update. When the verifier, the
kernel or the disk says no, the running generation stays (exit 1) or is put back (exit 3).""",
    )
    files(parser)
    reset(parser)


def rollback(commands: Commands) -> None:
    parser = command(
        commands,
        "rollback",
        "change",
        "put an earlier generation back into service",
        """Applies a stored generation again, from its stored objects and entries: no source tree is needed. It
becomes a new generation; state maps serve on. Without --to, the one before the version that serves now.""",
    )
    parser.add_argument("pipeline", metavar="PIPELINE")
    parser.add_argument("--to", type=int, metavar="N", help="the generation to go back to")


def remove(commands: Commands) -> None:
    parser = command(
        commands,
        "remove",
        "change",
        "let go of a pipeline; its state is parked",
        """Detaches every program and removes every pin but those of state maps: the next apply of the same name
takes them up again. --state drops them too, with all records.""",
    )
    parser.add_argument("pipeline", metavar="PIPELINE")
    parser.add_argument("--state", action="store_true", help="drop the state maps too; they cannot be had back")
