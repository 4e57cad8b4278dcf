"""The wheel: built, installed into an empty virtual environment, whole, and usable without a compiler."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab.sandbox import Sandbox, run

ROOT = Path(__file__).resolve().parent.parent

pytestmark = pytest.mark.alone  # builds in the checkout itself

SHIPPED = """
import json
from reloader import paths as layout
print(json.dumps({
    "package": layout.__file__,
    "object": str(layout.shipped_object("flow_count")),
    "schemas": sorted(p.name for p in layout.shipped_dir("schemas").iterdir()),
}))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    wheel: Path
    bin: Path

    def run(self, *words: str | Path) -> str:
        """Output of a command of the environment, which finds neither the checkout nor a compiler."""
        bare = {"PATH": f"{self.bin}:/usr/sbin:/sbin", "LANG": "C.UTF-8"}
        command = [str(self.bin / words[0]), *map(str, words[1:])]
        done = subprocess.run(command, cwd=self.bin, env=bare, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout


def pip(*words: str | Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pip", *map(str, words)], capture_output=True, text=True, check=False, env=os.environ
    )
    assert done.returncode == 0, done.stdout + done.stderr


def entry_count(dumped: str) -> int:
    """Entries in `bpftool -j map dump`."""
    return len(json.loads(dumped))


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    base = tmp_path_factory.mktemp("wheel")
    pip("wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", base, ROOT)
    (wheel,) = base.glob("reloader-*.whl")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", base / "venv"], check=True)
    pip("--python", base / "venv" / "bin" / "python", "install", "--quiet", wheel)
    return Installed(wheel=wheel, bin=base / "venv" / "bin")


def test_the_command_runs(installed: Installed) -> None:
    assert "reloader" in installed.run("reloader", "--version")


def test_what_is_shipped_is_found_inside_the_package(installed: Installed) -> None:
    found = json.loads(installed.run("python", "-c", SHIPPED))
    package = Path(found["package"]).parent
    assert package.is_relative_to(installed.bin.parent)
    assert Path(found["object"]).is_relative_to(package)
    assert Path(found["object"]).is_file()
    assert "pipeline.schema.json" in found["schemas"]


def test_objects_have_the_digests_of_the_manifest(installed: Installed) -> None:
    with zipfile.ZipFile(installed.wheel) as archive:
        manifest = json.loads(archive.read("reloader/_shipped/manifest.json"))
        digests = {name: record["sha256"] for name, record in manifest["objects"].items()}
        inside = {n.removeprefix("reloader/_shipped/") for n in archive.namelist() if n.endswith(".bpf.o")}
        assert inside == set(digests)
        for name, digest in digests.items():
            assert hashlib.sha256(archive.read(f"reloader/_shipped/{name}")).hexdigest() == digest
    assert "programs/flow_count/flow_count.bpf.o" in digests


def test_the_wheel_holds_the_package_and_nothing_else(installed: Installed) -> None:
    with zipfile.ZipFile(installed.wheel) as archive:
        names = archive.namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"reloader"}
    modules = {str(p.relative_to(ROOT)) for p in (ROOT / "reloader").rglob("*.py")}
    assert {n for n in names if n.endswith(".py")} == modules


@pytest.mark.kernel
def test_a_pipeline_is_applied_and_removed(installed: Installed, sandbox: Sandbox, tmp_path: Path) -> None:
    """With the example and the object that came in the wheel, and no compiler in reach."""
    shipped = Path(json.loads(installed.run("python", "-c", SHIPPED))["object"]).parent
    example = (shipped / "flow_count.yaml").read_text()
    assert "interface: eth0" in example
    pipeline = tmp_path / "flow_count.yaml"
    pipeline.write_text(
        example.replace("interface: eth0", f"interface: {sandbox.rx.interface}, netns: {sandbox.rx.netns}").replace(
            "flow_count.bpf.o", str(shipped / "flow_count.bpf.o")
        )
    )
    where = ("--bpffs", sandbox.bpffs, "--records", sandbox.records)
    installed.run("reloader", "apply", pipeline, *where)
    sandbox.tx.run("python3", "-c", f"import socket; socket.socket(type=2).sendto(b'x', ('{sandbox.rx.address}', 9))")
    assert entry_count(run("bpftool", "-j", "map", "dump", "pinned", f"{sandbox.bpffs}/flow-count/pub/flows")) == 1
    installed.run("reloader", "remove", "flow-count", "--state", *where)
    assert sandbox.pins() == []
