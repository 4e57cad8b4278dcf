"""recover: what was interrupted is finished or taken back; --boot: what a restart took is loaded again."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from reloader.commands.environment import Environment, SlowSteps
from reloader.process.interrupts import Held

if TYPE_CHECKING:
    from reloader.disk.lock import Writer


def recover(args: argparse.Namespace, env: Environment) -> int:
    steps = SlowSteps(env.output)
    try:
        lines = _locked(args, env, steps)
    finally:
        steps.done()
    for line in lines or ["nothing to recover"]:
        env.output.print(line)
    env.output.document("Recovery", {"recovered": lines})
    return 0


def _locked(args: argparse.Namespace, env: Environment, steps: SlowSteps) -> list[str]:
    """What was recovered. A system call that fails ends with 4: a journal that was not looked at may be open."""
    from reloader.disk.lock import writer_of
    from reloader.errors import NeedsHuman

    try:
        with writer_of(env.host) as writer:
            return _recovered(args, env, steps, writer)
    except OSError as error:
        raise NeedsHuman(
            f"recovery stopped: {error}",
            hint="remove the cause, then run `reloader recover`",
            reason="recovery-stopped",
            values={"errno": error.errno or 0},
        ) from error


def _recovered(args: argparse.Namespace, env: Environment, steps: SlowSteps, writer: Writer) -> list[str]:
    from reloader.lifecycle import rebuild
    from reloader.lifecycle.ready import recover_all
    from reloader.observe.pipeline import require_bpffs
    from reloader.observe.unrecorded import is_lost, unrecorded

    require_bpffs(env.host)
    lost = [n for n in args.pipelines if is_lost(env.host, n)]
    lines = []
    for name in lost:
        with Held() as held:
            lines += rebuild.rebuild(writer, name)
        if held.interrupted:
            raise KeyboardInterrupt
    named = [n for n in args.pipelines if n not in lost]
    if args.boot:
        from reloader.lifecycle.boot import boot

        lines += boot(writer, named, progress=steps) if named or not args.pipelines else []
    elif named or not args.pipelines:
        lines += recover_all(writer, named, progress=steps)
    if not args.pipelines:
        for name in unrecorded(env.host):
            env.output.note(f"{name}: pins that no record explains; `reloader recover {name}` rebuilds its records")
    return lines
