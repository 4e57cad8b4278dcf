"""gc: delete unused pins and files that reloader created."""

from __future__ import annotations

import argparse

from reloader.commands import texts
from reloader.commands.environment import Environment
from reloader.commands.parser import Commands, command


def arguments(commands: Commands) -> None:
    """Add the command and its options."""
    parser = command(
        commands,
        "gc",
        run,
        "delete unused pins and files that reloader created",
        """Deletes pins below our directory that are not in a record and not in use; stored objects and entries that
are not part of a pipeline; compiled YAML of pipelines that do not exist any more; half-written files. It does
not touch pins in other directories, programs without our metadata, or attached links. It never deletes state
that holds entries. A pipeline with an open transaction or damaged records is left alone. Everything that was
kept is listed with the reason.""",
        changes=True,
    )
    parser.add_argument("--dry-run", action="store_true", help="list what would be deleted, and delete nothing")


def run(args: argparse.Namespace, env: Environment) -> int:
    """Delete what is unused, and list what was not certain to be."""
    from reloader.disk.lock import writer_of
    from reloader.lifecycle import sweep
    from reloader.observe.pipeline import require_bpffs

    require_bpffs(env.host)
    with writer_of(env.host) as writer:
        dead, kept = sweep.find_garbage(writer)
        if not args.dry_run:
            sweep.remove(writer, dead)
    text = texts.WOULD_REMOVE if args.dry_run else texts.REMOVED_FILE
    for one in dead:
        env.output.print(text(kind=one.kind, path=one.path, why=one.why))
    for left in kept:
        env.output.print(texts.KEPT(path=left.path, why=left.why))
    if not dead:
        env.output.print(texts.NOTHING_UNUSED())
    body = {
        "dry_run": args.dry_run,
        "removed": [{"kind": d.kind, "path": d.path, "why": d.why} for d in dead],
        "kept": [{"path": k.path, "why": k.why} for k in kept],
    }
    env.output.document("Collection", body)
    return 0
