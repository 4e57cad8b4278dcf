"""gc: remove what is ours and dead."""

from __future__ import annotations

import argparse

from reloader.commands.environment import Environment


def gc(args: argparse.Namespace, env: Environment) -> int:
    from reloader.disk.lock import writer_of
    from reloader.lifecycle import sweep as collection
    from reloader.observe.pipeline import require_bpffs

    require_bpffs(env.host)
    with writer_of(env.host) as writer:
        dead, kept = collection.look(writer)
        if not args.dry_run:
            collection.remove(writer, dead)
    verb = "would remove" if args.dry_run else "removed"
    for one in dead:
        env.output.print(f"{verb} {one.kind} {one.path}: {one.why}")
    for left in kept:
        env.output.print(f"kept {left.path}: {left.why}")
    if not dead:
        env.output.print("nothing is dead")
    body = {
        "dry_run": args.dry_run,
        "removed": [{"kind": d.kind, "path": d.path, "why": d.why} for d in dead],
        "kept": [{"path": k.path, "why": k.why} for k in kept],
    }
    env.output.document("Collection", body)
    return 0
