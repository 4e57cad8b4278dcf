"""Whether every lasting system call of a command falls between a `before` and an `after` of fault_points.lasting.

Reads what `strace -f` noted of a command that ran under the counting gate, whose marks are writes to its file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

TRACED = (
    "bpf,openat,creat,unlink,unlinkat,rename,renameat,renameat2,mkdir,mkdirat,rmdir,link,linkat,symlink,symlinkat,"
    "truncate,fallocate,sendto,sendmsg,write,clone,clone3,fork,vfork"
)
LINE = re.compile(r"^(?P<pid>\d+) +(?P<call>\w+)\((?P<rest>.*)$")
FORK = re.compile(r"^(?P<pid>\d+) +(?P<resumed><\.\.\. )?(clone3?|v?fork)\b")
MARK = re.compile(r'^\d+, "(?P<when>before|after|failed) \d+ ')
LASTING_BPF = frozenset({
    "BPF_OBJ_PIN", "BPF_LINK_CREATE", "BPF_LINK_UPDATE", "BPF_LINK_DETACH", "BPF_PROG_ATTACH", "BPF_PROG_DETACH",
})  # fmt: skip
WRITES_MAPS = frozenset({
    "BPF_MAP_UPDATE_ELEM", "BPF_MAP_UPDATE_BATCH", "BPF_MAP_DELETE_ELEM", "BPF_MAP_DELETE_BATCH",
    "BPF_MAP_LOOKUP_AND_DELETE_ELEM", "BPF_MAP_LOOKUP_AND_DELETE_BATCH", "BPF_MAP_FREEZE", "BPF_PROG_TEST_RUN",
})  # fmt: skip
"""Of the loader child these do not count: its maps end with it, unless we pin them."""
ON_FILES = frozenset({
    "unlink", "unlinkat", "rename", "renameat", "renameat2", "mkdir", "mkdirat", "rmdir", "link", "linkat", "symlink",
    "symlinkat", "truncate",
})  # fmt: skip
FAILED = re.compile(r"= -1 E[A-Z]+ \(")
OPENS = re.compile(r"O_CREAT|O_TRUNC")


def _forked(lines: list[str]) -> Iterator[str]:
    """Process ids that a fork returned, whether strace tells it in one line or, on a busy machine, in two."""
    begun: dict[str, str] = {}
    for line in lines:
        if (found := FORK.match(line)) is None:
            continue
        whole = begun.pop(found["pid"], "") + line if found["resumed"] else line
        if line.endswith("<unfinished ...>"):
            begun[found["pid"]] = line
        elif "CLONE_THREAD" not in whole and (child := re.search(r"= (\d+)$", line)):
            yield child[1]


@dataclass(slots=True)
class Audit:
    """What strace's lines said, one after the other."""

    below: str  # only paths in this directory count
    exempt: tuple[str, ...] = ()  # parts of lines that may stand outside: the writer's own lock, the marks' file
    _open: set[str] = field(default_factory=set)  # threads between two marks
    effects: int = 0  # lasting calls inside
    outside: list[str] = field(default_factory=list)
    _children: set[str] = field(default_factory=set)

    def read(self, lines: Iterator[str]) -> None:
        told = list(lines)
        self._children.update(_forked(told))  # first: a child's calls may stand before the end of its fork
        for line in told:
            if (found := LINE.match(line)) is not None:
                self._note(found["pid"], found["call"], found["rest"], line)

    def _note(self, pid: str, call: str, rest: str, line: str) -> None:
        if call == "write" and (mark := MARK.match(rest)):
            (self._open.add if mark["when"] == "before" else self._open.discard)(pid)
            return
        without = FAILED.search(rest) or any(part in line for part in self.exempt)
        if without or not self._lasts(pid, call, rest):
            return
        if self._open:  # of any thread: a child may act for it
            self.effects += 1
        else:
            self.outside.append(line)

    def _lasts(self, pid: str, call: str, rest: str) -> bool:
        if call == "bpf":
            command = rest.partition(",")[0]
            return command in LASTING_BPF or (command in WRITES_MAPS and pid not in self._children)
        if call in ("openat", "creat"):
            return self.below in rest and bool(OPENS.search(rest))
        return call in ON_FILES and self.below in rest
