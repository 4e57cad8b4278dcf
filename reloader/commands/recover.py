"""recover: complete or roll back interrupted transactions; --boot: load every pipeline again after a reboot."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from reloader.commands import texts
from reloader.commands.environment import Environment, SlowSteps
from reloader.commands.parser import Commands, command
from reloader.process.interrupts import Held

if TYPE_CHECKING:
    from reloader.disk.lock import Writer


def arguments(commands: Commands) -> None:
    """Add the command and its options."""
    parser = command(
        commands,
        "recover",
        run,
        "complete or roll back a change that was interrupted by a kill, a reboot or a lost disk",
        """After a kill: a transaction with a commit record is completed; one without is rolled back, state included.
Every command that changes a pipeline does this first for that pipeline.

After a reboot: --boot also loads every recorded pipeline again, from stored objects and entries. It does not
need the YAML or the source files; an init system calls it before the network comes up. State maps start empty,
and `status` says so. If this kernel refuses a version, the newest older generation that it accepts is loaded.

With missing or damaged records, while the kernel still runs the programs: `reloader recover PIPELINE` rebuilds
the records from pins and from the metadata of the programs. Without a name such pipelines are only listed: their
records may be in another directory (--records). The next apply takes over state and links; a rollback is not
possible until then.""",
        changes=True,
    )
    parser.add_argument("pipelines", nargs="*", metavar="PIPELINE", help="only these (default: all)")
    parser.add_argument("--boot", action="store_true", help="load the pipelines that a reboot has detached")


def run(args: argparse.Namespace, env: Environment) -> int:
    """Recover, and report a line for each pipeline that needed it."""
    steps = SlowSteps(env.output)
    try:
        lines = _locked(args, env, steps)
    finally:
        steps.done()
    for line in lines or [texts.NOTHING_TO_RECOVER()]:
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
        raise NeedsHuman(texts.RECOVERY_STOPPED(why=error), values={"errno": error.errno or 0}) from error


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
            env.output.note(texts.UNRECORDED(pipeline=name))
    return lines
