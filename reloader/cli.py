"""The command line: words to commands, errors to messages and exit codes. The only importer of reloader.bpf.

Imports stay late: a command that finds nothing to do must not pay for yaml, jsonschema or ctypes it never uses.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, NoReturn

from reloader.errors import ReloaderError

if TYPE_CHECKING:
    import argparse

    from reloader.commands.environment import Environment
    from reloader.kernel import Kernel


def live_kernel() -> Kernel:
    """The running kernel behind the engine's Protocols."""
    from reloader.bpf.live import LiveKernel

    kernel: Kernel = LiveKernel()
    return kernel


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns its exit code. Errors are printed here, nowhere else."""
    from reloader.commands.environment import Environment
    from reloader.commands.words import parse

    args = parse(argv)
    environment = Environment.of(args, live_kernel)
    try:
        return _answered(args, environment)
    except BrokenPipeError:  # whoever read the output, an error document included, has left
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


def _answered(args: argparse.Namespace, environment: Environment) -> int:
    """The exit code of a command that ends well, or of the error that is printed here."""
    try:
        return _dispatch(args, environment)
    except ReloaderError as error:
        environment.output.error(error)
        return error.exit_code
    except KeyboardInterrupt:
        environment.output.note("interrupted; nothing was left half done")
        return 130
    except BrokenPipeError:
        raise
    except OSError as error:
        wrapped = _system_error(error)
        environment.output.error(wrapped)
        return wrapped.exit_code


def _dispatch(args: argparse.Namespace, environment: object) -> int:
    import importlib

    module = importlib.import_module(f"reloader.commands.{args.module}")
    result: int = getattr(module, args.command)(args, environment)
    return result


def _system_error(error: OSError) -> ReloaderError:
    """A system call that failed outside a transaction: permission, a full disk, a missing file."""
    import errno

    from reloader.errors import InputError, MissingFeature, PermissionRefused, Problem
    from reloader.files import UnfitFile
    from reloader.spec.source import unreadable

    if isinstance(error, UnfitFile):
        return InputError([unreadable(str(error.filename), error)])
    if error.errno in (errno.EPERM, errno.EACCES):
        what = f"{error.filename}: no permission" if error.filename else str(error)
        return PermissionRefused(what, hint="run as root, or with CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON")
    if error.errno in (errno.ENOENT, errno.EISDIR, errno.ENOTDIR) and error.filename:
        return InputError([Problem(file=str(error.filename), line=0, column=0, path="", message=str(error.strerror))])
    if error.errno in (errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.ENODEV):
        return MissingFeature(str(error), hint="nothing was changed")
    return ReloaderError(str(error), hint="what serves goes on serving; `reloader status` shows how far this came")


def entry() -> NoReturn:
    """The console script."""
    import signal

    def interrupt(_signum: int, _frame: object) -> NoReturn:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)  # so that SIGTERM, like ^C, puts everything back first
    _leave(main())


def _leave(code: int) -> NoReturn:
    """End at once: to take the interpreter apart takes 7 ms, a quarter of what it takes to start one."""
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        sys.exit(code)  # the interpreter's own way, which says what is wrong with the stream
    os._exit(code)
