"""The command line: words to commands, errors to messages and exit codes. The only importer of reloader.bpf.

Imports stay late: a command that finds nothing to do must not pay for yaml, jsonschema or ctypes it never uses.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from typing import TYPE_CHECKING, NoReturn

from reloader.errors import LIMITS, Interrupted, KernelError, OutputFailed, ReloaderError
from reloader.process.interrupts import Held, interrupt, unraisable
from reloader.process.streams import discard_output, exit_code_of, prepare, takes_more

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from reloader.commands.environment import Environment, Output
    from reloader.kernel import Kernel


def live_kernel() -> Kernel:
    """The running kernel behind the engine's Protocols."""
    import resource

    from reloader.bpf.live import LiveKernel

    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]  # a load holds a descriptor for each program and map
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    kernel: Kernel = LiveKernel()
    return kernel


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns its exit code. Errors are printed here, nowhere else."""
    from reloader.commands.environment import Environment
    from reloader.commands.parser import parse

    args = parse(argv)
    if "reloader.engine.transaction" in sys.modules:  # what earlier commands of this process did is no news
        from reloader.commands import aftermath

        aftermath.forget()
    environment = Environment.of(args, live_kernel)
    with Held() as held:
        code = _answered(args, environment, held)
        _print(held, environment.output, environment.output.flush)
        return code if environment.output.lost is None else _unread(args, environment, code)


def _print(held: Held, output: Output, write: Callable[[], None]) -> None:
    """A signal ends the wait for a reader that does not read, and changes nothing else: the exit code is known."""
    if takes_more():
        write()
        return
    try:
        held.during(write)
    except KeyboardInterrupt:
        output.lost = InterruptedError(errno.EINTR, os.strerror(errno.EINTR))


def _unread(args: argparse.Namespace, environment: Environment, code: int) -> int:
    """The exit code where standard output did not take the report. A change keeps its own: that tells of the kernel."""
    from reloader.commands import texts

    discard_output()
    why = environment.output.lost
    if _changes(args):
        environment.output.note(texts.RESULT_LOST(why=why))
        return code
    if not isinstance(why, BrokenPipeError):
        environment.output.tell(OutputFailed(texts.REPORT_LOST(why=why)))
    return exit_code_of(why) if code in (0, 2) else code


def _changes(args: argparse.Namespace) -> bool:
    """Whether the command is there for its effects; all others are there for what they print."""
    return args.changes and not getattr(args, "dry_run", False)


def _answered(args: argparse.Namespace, environment: Environment, held: Held) -> int:
    """The exit code of a command that ends well, or of the error that is printed here. Signals interrupt the command
    alone: what is said after it is true whatever comes."""
    try:
        code: int = held.during(lambda: args.run(args, environment))
        return code
    except ReloaderError as error:
        failed = error
    except KeyboardInterrupt:
        told = _after_interrupt(args, environment)
        if isinstance(told, str):
            note = told
            _print(held, environment.output, lambda: environment.output.note(note))
            return 0
        failed = told
    except OSError as error:
        failed = _after_failure(error, environment)
    _print(held, environment.output, lambda: environment.output.error(failed))
    return failed.exit_code


def _after_interrupt(args: argparse.Namespace, environment: Environment) -> ReloaderError | str:
    from reloader.commands import aftermath, texts

    if not _changes(args):
        return Interrupted(texts.INTERRUPTED())
    found = aftermath.look(environment.paths, environment.targets)
    return aftermath.of_interrupt(found, environment.not_started)


def _after_failure(error: OSError, environment: Environment) -> ReloaderError:
    from reloader.commands import aftermath

    found = aftermath.look(environment.paths, environment.targets)
    return aftermath.of_failure(found, error) or _system_error(error)


def _system_error(error: OSError) -> ReloaderError:
    """A system call that failed outside a transaction: permission, a full disk, a missing file."""
    from reloader.commands import texts
    from reloader.disk.atomic_files import UnfitFile
    from reloader.errors import InputError, MissingFeature, PermissionRefused, Problem
    from reloader.pipeline.source import unreadable

    if isinstance(error, UnfitFile):
        return InputError([unreadable(str(error.filename), error)])
    values: dict[str, object] = {"errno": error.errno}
    if isinstance(error, KernelError):
        values |= {"call": error.call}
    if error.errno in LIMITS:
        limit = LIMITS[error.errno]
        return ReloaderError(f"{error}: {limit.what}", hint=limit.hint, reason=limit.reason, values=values)
    if error.errno in (errno.EPERM, errno.EACCES):
        file = error.filename
        return PermissionRefused(texts.NO_PERMISSION(file=file) if file else texts.NOT_PERMITTED(why=error))
    if error.errno in (errno.ENOENT, errno.EISDIR, errno.ENOTDIR) and error.filename:
        return InputError([Problem.at(str(error.filename), str(error.strerror))])
    if error.errno in (errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.ENODEV):
        return MissingFeature(texts.MISSING_FEATURE(why=error))
    return ReloaderError(texts.SYSTEM_CALL_FAILED(why=error))


def entry() -> NoReturn:
    """The console script."""
    prepare()
    sys.unraisablehook = unraisable
    with Held(then=interrupt) as held:  # SIGTERM and SIGHUP, like ^C, put everything back first
        code = Interrupted.exit_code
        try:
            code = held.during(main)
        except SystemExit as left:  # argparse: a help text, or words that make no sense
            code = left.code if isinstance(left.code, int) else 0
        except KeyboardInterrupt:  # before a command began, or after it had ended
            pass
        _leave(code)


def _leave(code: int) -> NoReturn:
    """End at once: to take the interpreter apart takes 7 ms, a quarter of what it takes to start one."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # main() has told of a report that was lost
            stream.flush()
    os._exit(code)
