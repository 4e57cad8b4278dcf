"""The words of what changes something: apply, confirm, rollback, remove."""

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
kernel or the disk says no, the running generation stays (exit 1) or is put back (exit 3).

With `health:` in the YAML the new version is unconfirmed until its window is over. The first check that fails
takes it back, state included (exit 3); so does ^C. A guard process sees to it, whatever becomes of this command:
when the terminal is lost or the command killed, the window goes on. Another apply of the same pipeline is
refused meanwhile (exit 75), other pipelines go on.

--confirm-timeout asks for a person's word too: the command ends when the window does (at once without one), and
the new version goes back unless `reloader confirm NAME` comes within that time after the swap.""",
    )
    files(parser)
    reset(parser)
    parser.add_argument(
        "--confirm-timeout", metavar="TIME", help="go back unless confirmed within this time, as 120s or 5m"
    )


def confirm(commands: Commands) -> None:
    parser = command(
        commands,
        "confirm",
        "change",
        "keep a generation that is on trial",
        """Ends the trial of the generation that serves: neither its health nor a missing word takes it back any
more. Exit 65 when nothing is unconfirmed, because it was taken back, say; `status` and `history` tell which.""",
    )
    parser.add_argument("pipeline", metavar="PIPELINE")


def rollback(commands: Commands) -> None:
    parser = command(
        commands,
        "rollback",
        "change",
        "put an earlier generation back into service",
        """Applies a stored generation again, from its stored objects and entries: no source tree is needed. It
becomes a new generation; state maps serve on. Without --to, the one before the version that serves now. The
tests stored with it run first, its budgets do not.""",
    )
    parser.add_argument("pipeline", metavar="PIPELINE")
    parser.add_argument("--to", type=int, metavar="N", help="the generation to go back to")
    parser.add_argument(
        "--allow-lossy-rollback",
        action="store_true",
        help="leave out entries of state that the older layout has no place for, and say how many; else it is refused",
    )
    parser.add_argument(
        "--reset", action="append", default=[], metavar="MAP", help="start this map empty (may be repeated)"
    )
    parser.add_argument("--skip-tests", action="store_true", help="go back even if that generation fails its own tests")


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


def panic(commands: Commands) -> None:
    parser = command(
        commands,
        "panic",
        "change",
        "let all packets pass, or none, at once",
        """Swaps every attachment of the pipeline to a program that passes every packet (open) or drops every one
(closed), as `panic:` in the YAML says. It waits for nobody: no lock is taken, and an apply that is under way
goes back. It goes by the pins: where records are lost or damaged, say --open or --closed. Programs, maps and state
stay as they are; the next `apply` or `rollback` ends it, and so does a reboot; `watch` does not until a file
changes.""",
    )
    parser.add_argument("pipeline", metavar="PIPELINE")
    either = parser.add_mutually_exclusive_group()
    either.add_argument(
        "--open", dest="stance", action="store_const", const="open", help="every packet passes, whatever the YAML says"
    )
    either.add_argument(
        "--closed", dest="stance", action="store_const", const="closed", help="no packet passes, whatever the YAML says"
    )
