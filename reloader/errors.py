"""Every failure reloader reports, as a tree; the exit code and the stable `code` are set on the leaf.

ReloaderError
├── Interrupted             130  a signal came before everything was done; the values say what was
├── OutputFailed             74  a report could not be written to standard output (141: its reader has left)
├── before a transaction opens
│   ├── UsageError            64  wrong words on the command line
│   ├── InputError            65  the YAML, an object or a bulk file is wrong (carries every Problem found)
│   │   └── RefusedChange     65  the input is well formed, but the change would lose something
│   ├── NotFoundError         65  no such pipeline, generation or map
│   ├── MissingFeature        69  the kernel or the host lacks something (bpffs, an interface, a helper)
│   ├── LockedError           75  another writer holds the lock
│   └── PermissionRefused     77  a privilege or ownership is missing
└── once a transaction is open
    ├── NothingSwapped         1  it failed before anything was swapped; the old generation never stopped
    │   ├── VerifierRejected   1  the verifier said no (carries a summary and the log's path)
    │   └── TestsFailed        1  the YAML's own tests said no (the detail says which, and what came instead)
    ├── RolledBack             3  it failed after a swap and everything was put back
    └── NeedsHuman             4  it could not be put back; says what is where
        └── NoWayBack          4  a version that failed its trial stays

KernelError is the fence's own: one failed system call, with errno. The layers above turn it into one of
the above; it reaches a user only wrapped.

A leaf of the package: imports nothing of it but frozen, message and printable.
"""

from __future__ import annotations

import errno as _errno
import os
from collections.abc import Sequence
from dataclasses import field
from typing import Any

from reloader.frozen import frozen
from reloader.wording.message import Message, code_of, hint_of, values_of
from reloader.wording.printable import Block, counted, lines_of

MOST_PROBLEMS = 100  # of one input that are shown
ENOUGH = MOST_PROBLEMS + 1  # that are looked for: one more tells that there are more


@frozen
class Problem:
    """One finding in the user's own text: `file:line:column: path: message (hint)`."""

    file: str
    line: int  # 1-based; 0 when the whole file is meant
    column: int  # 1-based; 0 when the whole line is meant
    path: str  # where in the document, as `spec.maps.flows.role`; empty when not in YAML
    message: str
    hint: str = ""
    reason: str = ""  # the fault as a stable word, as `fifo`; what it is about stands in `values`
    values: dict[str, object] | None = field(default=None, compare=False)

    @classmethod
    def at(cls, file: str, message: str, line: int = 0, column: int = 0, path: str = "", **more: Any) -> Problem:
        """The finding at that place; of a Message, hint, reason and values are taken too, where `more` has none."""
        more.setdefault("hint", hint_of(message))
        more.setdefault("reason", code_of(message))
        more.setdefault("values", values_of(message) or None)
        return cls(file=file, line=line, column=column, path=path, message=message, **more)

    def __str__(self) -> str:
        return Block(*self.lines())

    def lines(self) -> tuple[str, ...]:
        """The finding in one line; below it the lines that a hint of several lines has, such as YAML to paste."""
        where = ":".join([self.file, *(str(n) for n in (self.line, self.column) if n)])
        path = f"{self.path}: " if self.path else ""
        hint, *more = lines_of(self.hint)
        return (f"{where}: {path}{self.message}" + (f" ({hint})" if hint else ""), *more)

    def to_json(self) -> dict[str, object]:
        """The finding as `-o json` prints it; `reason` and `values` where the fault has them."""
        out = {key: getattr(self, key) for key in ("file", "line", "column", "path", "message", "hint")}
        return out | {key: getattr(self, key) for key in ("reason", "values") if getattr(self, key)}


class ReloaderError(Exception):
    """Base of all errors shown to a user: one line, optional lines of detail behind it, and a hint."""

    exit_code = 1
    code = "error"

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        detail: str | Sequence[str] = "",
        reason: str = "",
        values: dict[str, object] | None = None,
    ) -> None:
        """`message`: of a Message, hint, reason and values are taken too, where they are not given. `detail`: a line, a
        Block, or a sequence of them. `reason`: the fault as a stable word, more exact than `code`; `values`: what it is
        about, as JSON values."""
        super().__init__(message)
        self.message = message
        self.hint = hint or hint_of(message)
        texts = ([detail] if detail else []) if isinstance(detail, str) else detail
        self.lines: tuple[str, ...] = tuple(line for text in texts for line in lines_of(text))
        self.reason = reason or code_of(message)
        self.values = values or values_of(message)

    @property
    def detail(self) -> str:
        """The lines of detail as one text."""
        return "\n".join(self.lines)

    def to_json(self) -> dict[str, object]:
        """The error as `-o json` prints it."""
        out: dict[str, object] = {"code": self.code, "message": self.message, "exit_code": self.exit_code}
        for name in ("hint", "detail", "reason", "values"):
            if getattr(self, name):
                out[name] = getattr(self, name)
        return out


class Interrupted(ReloaderError):
    """`values`: what the command had committed, and what is live."""

    exit_code = 130
    code = "interrupted"


class OutputFailed(ReloaderError):
    exit_code = 74
    code = "output"


class UsageError(ReloaderError):
    exit_code = 64
    code = "usage"


class InputError(ReloaderError):
    """All problems of an input at once, at most MOST_PROBLEMS: those who collect them stop when they have ENOUGH.

    A reason that all of them share is also the reason of the whole.
    """

    exit_code = 65
    code = "bad-input"

    def __init__(
        self, problems: list[Problem], *, message: str = "", reason: str = "", values: dict[str, object] | None = None
    ) -> None:
        count = len(problems)
        shown = [line for problem in problems[:MOST_PROBLEMS] for line in problem.lines()]
        if count > MOST_PROBLEMS:
            message = message or f"more than {MOST_PROBLEMS} problems found"
            shown.append(f"more than {MOST_PROBLEMS} problems found: correct these first, then run the command again")
            reason, values = reason or "too-many-problems", {"limit": MOST_PROBLEMS, **(values or {})}
        message = message or f"{counted(count, 'problem')} found"
        if not reason and problems and all(p.reason == problems[0].reason for p in problems):
            reason, values = problems[0].reason, values or problems[0].values
        super().__init__(message, detail=shown, reason=reason, values=values)
        self.problems = problems  # ENOUGH of them where there are more, for those who join several errors

    def to_json(self) -> dict[str, object]:
        return {**super().to_json(), "problems": [p.to_json() for p in self.problems[:MOST_PROBLEMS]]}


class RefusedChange(ReloaderError):
    """The wish is well formed, but carrying it out would lose state or hit what is not ours."""

    exit_code = 65
    code = "refused"


class NotFoundError(ReloaderError):
    exit_code = 65
    code = "not-found"


class MissingFeature(ReloaderError):
    exit_code = 69
    code = "missing-feature"


class LockedError(ReloaderError):
    exit_code = 75
    code = "locked"


class PermissionRefused(ReloaderError):
    exit_code = 77
    code = "permission"


class NothingSwapped(ReloaderError):
    """`rejection` explains a refused load, field by field; empty when it was not a load that failed."""

    exit_code = 1
    code = "nothing-swapped"

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        detail: str | Sequence[str] = "",
        reason: str = "",
        values: dict[str, object] | None = None,
        rejection: dict[str, object] | None = None,
    ) -> None:
        super().__init__(message, hint=hint, detail=detail, reason=reason, values=values)
        self.rejection = rejection or {}

    def to_json(self) -> dict[str, object]:
        return {**super().to_json(), **({"rejection": self.rejection} if self.rejection else {})}


class VerifierRejected(NothingSwapped):
    """Message, detail and hint are the explanation in words; the whole log lies in the file the hint names."""

    code = "verifier-rejected"


class TestsFailed(NothingSwapped):
    """Tests of the YAML that failed on the new version, before anything was swapped. `tests`: all of them, as rows."""

    __test__ = False  # for pytest, which would take it for one of its own
    code = "tests-failed"

    def __init__(
        self,
        message: str,
        *,
        tests: list[dict[str, object]],
        hint: str = "",
        detail: str | Sequence[str] = "",
        reason: str = "",
    ) -> None:
        super().__init__(message, hint=hint, detail=detail, reason=reason)
        self.tests = tests

    def to_json(self) -> dict[str, object]:
        return {**super().to_json(), "tests": self.tests}


class RolledBack(ReloaderError):
    exit_code = 3
    code = "rolled-back"


class NeedsHuman(ReloaderError):
    exit_code = 4
    code = "needs-human"


class OtherVersion(NeedsHuman):
    """A record or journal of another version of the format: never read as if it were of this one."""

    def __init__(self, message: Message, *, is_later: bool) -> None:
        super().__init__(message)
        self.is_later = is_later


class NoWayBack(NeedsHuman):
    """A version that failed its trial could not be rolled back: it stays live until a person decides."""


class KernelError(OSError):
    """One failed system call or libbpf function: `call` is its name, `errno` a positive number. `reason`, `hint` and
    `values`, where something above knew more, go into the error that wraps it."""

    reason = ""
    hint = ""

    def __init__(self, call: str, errno: int, subject: str = "", *, said: str = "") -> None:
        """`said`: the kernel's own words beside the number, where it has some."""
        super().__init__(errno, os.strerror(errno))
        self.call = call
        self.subject = subject
        self.said = said
        self.values: dict[str, object] = {}

    @property
    def errno_name(self) -> str:
        """`ERANGE`; the number where it has no name here."""
        return _errno.errorcode.get(self.errno or 0, str(self.errno))

    def __str__(self) -> str:
        subject = f" {self.subject}" if self.subject else ""
        return f"{self.call}{subject}: {self.strerror} ({self.errno_name})"


class AttachRefused(KernelError):
    """The kernel refused to attach a program: this attempt attached and swapped nothing. The place fills in what it
    means."""

    sentence = ""

    def __str__(self) -> str:
        return self.sentence or super().__str__()


class StepFailed(KernelError):
    """A step of several calls that failed for a reason that we know: a Message in place of the kernel's words."""

    def __init__(self, call: str, errno: int, message: Message) -> None:
        super().__init__(call, errno, message)
        self.reason, self.hint, self.values = message.code, message.hint, message.json_values()

    def __str__(self) -> str:
        return self.subject


class LoadRejected(KernelError):
    """BPF_PROG_LOAD refused a program: `program` is its name, `log` the verifier's whole log."""

    def __init__(self, program: str, errno: int, log: str) -> None:
        super().__init__("BPF_PROG_LOAD", errno, program)
        self.program = program
        self.log = log


@frozen
class Limit:
    """What a system call says that failed at a limit, in place of the words for its errno."""

    reason: str
    what: str
    hint: str


LIMITS = {
    _errno.EMFILE: Limit(
        reason="file-descriptor-limit",
        what="this process may not open more file descriptors",
        hint="raise the limit: `ulimit -n` shows it, LimitNOFILE= sets it for a systemd service",
    ),
    _errno.ENFILE: Limit(
        reason="system-file-limit",
        what="all file descriptors of the system are in use",
        hint="raise the limit: `sysctl fs.file-max` shows it",
    ),
    _errno.ENOMEM: Limit(
        reason="out-of-memory",
        what="the kernel did not have enough memory for it",
        hint="reduce max_entries, or raise the limit of the memory cgroup",
    ),
}
"""errno → the limit. The same errno means the same for every call."""
