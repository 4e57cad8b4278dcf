"""init: a first YAML from object files."""

from __future__ import annotations

import argparse
from pathlib import Path

from reloader.commands.environment import Environment
from reloader.commands.parser import Commands, command


def arguments(commands: Commands) -> None:
    """Add the command and its options."""
    parser = command(
        commands,
        "init",
        run,
        "write a first YAML from an object file",
        """Reads the programs, maps and rodata variables of a compiled object (clang -g) and prints a pipeline to
edit: set the interface, and a role for every map. Needs neither a kernel with BPF nor a privilege.

  reloader init my.bpf.o > edge.yaml""",
        report=False,
    )
    parser.add_argument("objects", nargs="+", metavar="OBJECT", help="a .bpf.o file")


def run(args: argparse.Namespace, env: Environment) -> int:
    """Print a first YAML."""
    from reloader.pipeline.scaffold import first_yaml

    for line in first_yaml([Path(p) for p in args.objects]).rstrip("\n").split("\n"):
        env.output.print(line)
    return 0
