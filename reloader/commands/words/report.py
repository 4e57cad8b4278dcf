"""The words of what reads and prints: init, validate, plan, status, history, show, diff."""

from __future__ import annotations

from reloader.commands.words.parts import Commands, command, files, reset


def init(commands: Commands) -> None:
    parser = command(
        commands,
        "init",
        "report",
        "write a first YAML from an object file",
        """Reads the programs, maps and rodata variables of a compiled object (clang -g) and prints a pipeline to
edit: choose the interface, and a role for every map. Needs no kernel and no privilege.

  reloader init my.bpf.o > edge.yaml""",
        report=False,
    )
    parser.add_argument("objects", nargs="+", metavar="OBJECT", help="a .bpf.o file")


def validate(commands: Commands) -> None:
    parser = command(
        commands,
        "validate",
        "report",
        "check pipelines without a kernel",
        """Reads the YAML, the objects and the bulk files it names, and reports every problem at once as
file:line:column: path: message (hint). Needs no kernel and no privilege; exit 65 when something is wrong.""",
    )
    files(parser)


def plan(commands: Commands) -> None:
    parser = command(
        commands,
        "plan",
        "report",
        "show what apply would change, how, and what traffic could notice",
        """Changes nothing. Signs: + add, - remove, ~ change in place, -/+ replace. CAS says whether the kernel
compares the old program before it swaps. A change that would lose state is refused with the full list of
differences.""",
    )
    files(parser)
    reset(parser)
    parser.add_argument("--ops", action="store_true", help="print the ops too, in the order they would run")
    parser.add_argument("--detailed-exitcode", action="store_true", help="exit 2 when changes are pending")


def status(commands: Commands) -> None:
    parser = command(
        commands,
        "status",
        "report",
        "show every pipeline and what the kernel says of it",
        """Per pipeline: generation, load, attachments with the program that runs there now, and maps. Drift
(somebody else's program on our hook, a vanished interface or pin) is shown where it is seen.""",
    )
    parser.add_argument("pipelines", nargs="*", metavar="PIPELINE", help="only these (default: all)")


def history(commands: Commands) -> None:
    parser = command(
        commands,
        "history",
        "report",
        "list the stored generations of a pipeline",
        "Every commit is a generation, a rollback too. The newest 20 are kept with their objects.",
    )
    parser.add_argument("pipeline", metavar="PIPELINE")


def show(commands: Commands) -> None:
    parser = command(
        commands,
        "show",
        "report",
        "show one generation whole",
        """Programs, attachments, maps with layouts, rodata, objects and the changes it made.

  reloader show edge --map blocklist --live

prints what the map holds now, a sign before what the generation lists otherwise: + is not listed, - is listed and
not there, ~ has another value. State maps have no listing; theirs is what they hold.""",
    )
    parser.add_argument("pipeline", metavar="PIPELINE")
    parser.add_argument("generation", nargs="?", type=int, metavar="N", help="default: the current one")
    parser.add_argument("--map", metavar="MAP", help="the entries of this map, by field name")
    parser.add_argument(
        "--live", action="store_true", help="as the kernel has them; what the generation lists is marked"
    )


def diff(commands: Commands) -> None:
    parser = command(
        commands,
        "diff",
        "report",
        "compare two generations, or the current one with the kernel",
        """Objects, rodata, programs, attachments, map shapes field by field, and how many entries differ.

--live: drift. Programs, links, pins and the entries of config maps as the kernel has them, against the current
generation.""",
    )
    parser.add_argument("pipeline", metavar="PIPELINE")
    parser.add_argument("old", type=int, nargs="?", metavar="N")
    parser.add_argument("new", type=int, nargs="?", metavar="M")
    parser.add_argument("--live", action="store_true", help="the current generation and the running kernel")
