"""A place of one's own on the running kernel: two namespaces joined by a veth pair, a bpffs, a record directory.

    with Sandbox() as sandbox:
        sandbox.rx.netns, sandbox.rx.interface   # where programs under test sit
        sandbox.tx.netns, sandbox.tx.interface   # where traffic is sent
        sandbox.bpffs, sandbox.records

Everything carries this process's id in its name (rl-<pid>-<n>…) and goes when the block ends, by an
exception or signal too; what a SIGKILL left behind is swept when the next sandbox opens. Used by
tests, demo and bench. Imports nothing of the package.
"""

from __future__ import annotations

import atexit
import contextlib
import itertools
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, TracebackType

NETNS_DIR = Path("/run/netns")
PREFIX = "rl-"
MOUNT = "bpf"
OWNED = re.compile(r"rl-(\d+)-\d+(?:-(?:rx|tx))?\Z")
SIGNALS = (signal.SIGTERM, signal.SIGHUP)  # SIGINT raises KeyboardInterrupt by itself

_serial = itertools.count(1)
_open: dict[int, Sandbox] = {}
before_close: list[Callable[[Sandbox], None]] = []  # called with each sandbox that is about to be taken down


class LabError(Exception):
    """The lab could not be set up or taken down; carries what the failing command said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """One end of the veth pair."""

    name: str  # of the network namespace, as `ip netns` lists it
    interface: str
    mac: str
    address: str  # IPv4, without the prefix length

    @property
    def netns(self) -> str:
        """The namespace's path."""
        return str(NETNS_DIR / self.name)

    def command(self, *words: str) -> list[str]:
        """`words` as a command that runs in this end's network namespace, and in no other new namespace."""
        return ["nsenter", f"--net={self.netns}", "--", *words]

    def run(self, *words: str) -> str:
        """The output of a command run in this end's network namespace; LabError when it fails."""
        return run(*self.command(*words))

    def xdp_drops(self) -> int:
        """Packets that any XDP program here judged XDP_DROP: the driver's count, not the program's."""
        return sum(n for name, n in self.statistics().items() if re.fullmatch(r"rx_queue_\d+_xdp_drops", name))

    def statistics(self) -> dict[str, int]:
        """What `ethtool -S` counts."""
        lines = self.run("ethtool", "-S", self.interface).splitlines()
        pairs = (line.strip().rsplit(": ", 1) for line in lines if ": " in line)
        return {name: int(value) for name, value in pairs}

    def tx_dropped(self) -> int:
        """Frames this end was given to send and did not: the peer's ring was full."""
        fields = self.run("cat", "/proc/net/dev")
        line = next(text for text in fields.splitlines() if text.strip().startswith(f"{self.interface}:"))
        return int(line.split(":", 1)[1].split()[11])


class Sandbox:
    """See the module. Open it with `with`, or by open() and close()."""

    def __init__(self) -> None:
        self.name = f"{PREFIX}{os.getpid()}-{next(_serial)}"
        self.dir = Path(tempfile.gettempdir()) / self.name
        self.bpffs = str(self.dir / MOUNT / "reloader")  # below the mount: its root holds the kernel's *.debug
        self.records = self.dir / "records"
        self.rx = End(name=f"{self.name}-rx", interface="rx0", mac="02:00:00:00:00:01", address="192.0.2.1")
        self.tx = End(name=f"{self.name}-tx", interface="tx0", mac="02:00:00:00:00:02", address="192.0.2.2")

    def __enter__(self) -> Sandbox:
        self.open()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def open(self) -> None:
        sweep()
        _guard()
        _open[id(self)] = self
        try:
            self._make_dirs()
            self._make_network()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Take everything down; what is gone already is fine."""
        if _open.pop(id(self), None) is not None:
            for look in before_close:
                look(self)
            _remove(self.name)

    def pins(self) -> list[str]:
        """Everything pinned in this sandbox's bpffs, relative to it."""
        return sorted(
            str(Path(base, f).relative_to(self.bpffs)) for base, _, files in os.walk(self.bpffs) for f in files
        )

    def _make_dirs(self) -> None:
        self.dir.mkdir(mode=0o700)
        self.records.mkdir(mode=0o700)
        mount = self.dir / MOUNT
        mount.mkdir(mode=0o700)
        run("mount", "-t", "bpf", "-o", "mode=0700", "none", str(mount))
        Path(self.bpffs).mkdir(mode=0o700)

    def _make_network(self) -> None:
        rx, tx = self.rx, self.tx
        made = [
            f"netns add {rx.name}",
            f"netns add {tx.name}",
            f"link add {rx.interface} address {rx.mac} netns {rx.name}"
            f" type veth peer {tx.interface} address {tx.mac} netns {tx.name}",
        ]
        run("ip", "-batch", "-", text="\n".join(made))
        for end, other in ((rx, tx), (tx, rx)):
            self._set_up(end, other)

    def _set_up(self, end: End, other: End) -> None:
        lines = [
            "link set lo up",
            # No IPv6 link-local address: nothing but the traffic a test sends may be on the wire.
            f"link set {end.interface} addrgenmode none",
            f"addr add {end.address}/24 dev {end.interface}",
            f"neigh add {other.address} lladdr {other.mac} dev {end.interface} nud permanent",
            f"link set {end.interface} up",
        ]
        run(*end.command("ip", "-batch", "-"), text="\n".join(lines))
        # GRO turns NAPI on: only then takes a veth redirected frames while it has no XDP program.
        end.run("ethtool", "-K", end.interface, "gro", "on")


def run(*words: str, text: str = "") -> str:
    """The standard output of a command; LabError with what it said when it fails."""
    done = subprocess.run(words, input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LabError(f"{' '.join(words)}: {done.stderr.strip() or done.stdout.strip() or done.returncode}")
    return done.stdout


def opened() -> list[Sandbox]:
    """The sandboxes of this process that are open."""
    return list(_open.values())


def leftovers(*, of: int | None = None) -> list[str]:
    """Names of sandbox namespaces and directories: of process `of`, or of processes that no longer exist."""
    found: set[str] = set()
    for folder in (NETNS_DIR, Path(tempfile.gettempdir())):
        with contextlib.suppress(FileNotFoundError):
            found.update(name for name in os.listdir(folder) if OWNED.match(name))
    return sorted(name for name in found if _belongs(name, of))


def _belongs(name: str, of: int | None) -> bool:
    matched = OWNED.match(name)
    owner = int(matched.group(1)) if matched else 0
    return owner == of if of is not None else not Path(f"/proc/{owner}").exists()


def sweep() -> list[str]:
    """Remove what sandboxes of dead processes left behind; returns the names."""
    names = leftovers()
    for name in {re.sub(r"-[rt]x\Z", "", name) for name in names}:
        _remove(name)
    return names


def _remove(name: str) -> None:
    """Take down the sandbox `name`, as far as it exists. A racing sweep may be faster at any step."""
    folder = Path(tempfile.gettempdir()) / name
    mount = folder / MOUNT
    for _ in range(_mounts().count(str(mount.resolve()))):
        if subprocess.run(["umount", mount], capture_output=True, check=False).returncode:
            subprocess.run(["umount", "--lazy", mount], capture_output=True, check=False)
    for end in ("rx", "tx"):
        if (NETNS_DIR / f"{name}-{end}").exists():
            subprocess.run(["ip", "netns", "delete", f"{name}-{end}"], capture_output=True, check=False)
    shutil.rmtree(folder, ignore_errors=True)


def _mounts() -> list[str]:
    """Mount points of this mount namespace."""
    with open("/proc/self/mountinfo", "rb") as file:
        return [os.fsdecode(line.split(b" ")[4]) for line in file]


_guarded = False


def _guard() -> None:
    """Close open sandboxes when the process ends by itself or by a signal that nobody handles."""
    global _guarded
    if _guarded:
        return
    _guarded = True
    atexit.register(_close_all, os.getpid())
    if threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            if signal.getsignal(number) is signal.SIG_DFL:
                signal.signal(number, _leave)


def _leave(number: int, _frame: FrameType | None) -> None:
    """A signal becomes SystemExit, so that `with` blocks and atexit run."""
    raise SystemExit(128 + number)


def _close_all(owner: int) -> None:
    if os.getpid() == owner:  # not in a forked child
        for sandbox in list(_open.values()):
            sandbox.close()
