"""Stock Debian kernels, fetched from the package archive and unpacked below build/vm/kernels/, once each.

Nothing is installed: apt-get downloads, dpkg-deb unpacks, depmod lists the modules. Used by tools/vm.py.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / "build" / "vm" / "kernels"
SERIES = ("6.1", "6.12")
"""What `make test-vm` boots; the archive of Debian 12 has both."""
DONE = "complete"  # the name of the stamp that is written last
PATIENCE = 120  # seconds for each step; a kernel is 110 MB to fetch
UNSANDBOXED = ("-o", "APT::Sandbox::User=root")  # the sandbox user may not write here


class VmError(Exception):
    """The machine could not be made: what failed, and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unpacked:
    """One kernel, ready to boot."""

    series: str
    release: str  # as `uname -r` says
    image: Path


def kernel(series: str) -> Unpacked:
    """The kernel of a series, fetched when it is not there yet; VmError when it cannot be had."""
    home = CACHE / series
    if not (home / DONE).is_file():
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(parents=True)
        _unpack(_fetch(_package(series), home), home)
        (home / DONE).touch()
    image = next((home / "boot").glob("vmlinuz-*"))
    return Unpacked(series=series, release=image.name.removeprefix("vmlinuz-"), image=image)


def _package(series: str) -> str:
    """The name of its newest package; the lists are fetched when they know none."""
    for refresh in (False, True):
        if refresh:
            _run(series, *_privileged("apt-get", "update", "-q"))
        found = newest(_run(series, "apt-cache", "pkgnames", f"linux-image-{series}."), series)
        if found:
            return found
    raise VmError(f"the package archive has no linux-image-{series}.*-amd64; is this Debian 12, with its updates?")


def newest(names: str, series: str) -> str:
    """Of package names, the signed kernel of the highest version: no cloud (it lacks 9p), rt or debug flavour."""
    wanted = re.compile(rf"linux-image-{re.escape(series)}\.[0-9][^-]*(-[0-9]+)?-amd64")
    found = [name for name in names.split() if wanted.fullmatch(name)]
    return max(found, key=lambda name: [int(n) for n in re.findall(r"\d+", name)], default="")


def _fetch(package: str, home: Path) -> Path:
    _run(package, "apt-get", "download", "-q", *UNSANDBOXED, package, cwd=home)
    return next(home.glob("*.deb"))


def _unpack(archive: Path, home: Path) -> None:
    _run(archive.name, "dpkg-deb", "-x", str(archive), str(home))
    archive.unlink()
    release = next((home / "lib" / "modules").iterdir()).name
    _run(release, "depmod", "-b", str(home), release)


def _privileged(*words: str) -> tuple[str, ...]:
    return words if os.geteuid() == 0 else ("sudo", *words)


def _run(subject: str, *words: str, cwd: Path | None = None) -> str:
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    env = {**os.environ, "PATH": path, "LC_ALL": "C"}
    command = ["timeout", str(PATIENCE), *words]
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr or done.stdout).strip() or f"exit {done.returncode}"
        raise VmError(f"no kernel to boot: `{' '.join(words)}` failed for {subject}:\n{said}")
    return done.stdout
