"""state new: write the next version of layouts that changed."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from reloader.commands import texts
from reloader.commands.environment import Environment
from reloader.commands.parser import Commands, command
from reloader.commands.state_layouts import layout_differences, schema_option, search_folders, state_maps_of
from reloader.errors import NotFoundError, UsageError
from reloader.process.interrupts import Held

if TYPE_CHECKING:
    from reloader.pipeline.registry.registry import Registry
    from reloader.structs.elf import ElfMap


def arguments(commands: Commands) -> None:
    """Add the command and its options."""
    parser = command(
        commands,
        "new",
        run,
        "write the first or next version of the layouts that changed",
        """Fields with the same name are filled in. What only the author can know, for example whether a field was
renamed, is a question in the file. `state check` and `apply` refuse the file until it is answered.

  reloader state new edge.bpf.o --schema edge""",
        report=False,
        changes=True,
    )
    parser.add_argument("object", metavar="OBJECT", help="a .bpf.o file")
    parser.add_argument("--same", action="store_true", help="write a version of the same layout: its meaning changed")
    schema_option(parser)


def run(args: argparse.Namespace, env: Environment) -> int:
    """Write the first or the next version of each state map that changed."""
    from reloader.pipeline.registry.registry import SCHEMA_NAME, Registry, file_name, find_schema, read_folder

    if not SCHEMA_NAME.fullmatch(args.schema):
        raise UsageError(texts.SCHEMA_NAME(schema=args.schema))
    target = Path(args.dir or "state") / args.schema
    known = find_schema(args.schema, search_folders(args))
    registry = read_folder(args.schema, known) if known else Registry(schema=args.schema, folder="", maps={})
    if known and known.resolve() != target.resolve():
        raise NotFoundError(texts.SCHEMA_ELSEWHERE(schema=args.schema, folder=known, parent=known.parent))
    drafts = [(found.name, *_drafted(args, registry, found)) for found in state_maps_of(args, args.object, registry)]
    with Held():  # all of the files, or none: a signal that comes now is answered by the result
        for name, text, version in drafts:
            if not text:
                env.output.print(texts.NO_LAYOUT_TO_WRITE(map=name, version=version))
                continue
            target.mkdir(parents=True, exist_ok=True)
            path = target / file_name(name, version)
            path.write_text(text, encoding="utf-8")
            asked = text.count("# QUESTION")
            env.output.print((texts.COUNTED_QUESTIONS if asked else texts.WRITTEN)(path=path, count=asked))
    if not any(text for _, text, _ in drafts):
        env.output.note(texts.LAYOUTS_RECORDED())
    return 0


def _drafted(args: argparse.Namespace, registry: Registry, found: ElfMap) -> tuple[str, int]:
    """(the file's text, its version); no text where nothing changed."""
    from reloader.pipeline.registry.next_version import described, first_version, next_version, text

    head = registry.head(found.name)
    made = next_version(head, found) if head else first_version(args.schema, found)
    if head and not layout_differences(head, found) and not args.same:
        return "", head.version
    return text(made, head, by_hand=not described(found)), made.version
