"""Write tests/records/tree again: `.venv/bin/python -m tests.records.make`, as root. Only when the version is raised.

A pipeline with two generations, and a third whose process was killed after its commit: its journal is open. All pins
are named below /pins.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from lab.sandbox import Sandbox
from lab.stage import Stage
from reloader.engine.journal import _seal
from reloader.store import records

TREE = Path(__file__).parent / "tree"
PINS, NETNS, BOOT = "/pins", "/run/netns/rx", "00000000-0000-0000-0000-000000000001"
BLOCKED = {"key": "192.0.2.66", "value": {"action": "XDP_DROP"}}
ROOT = Path(__file__).resolve().parent.parent.parent


def moved(records_dir: Path, names: Mapping[str, str]) -> None:
    """Say other names for pins, namespaces and the boot, and seal records and journals again."""

    def renamed(text: str) -> str:
        for old, new in names.items():
            text = text.replace(old, new)
        return text

    for path in records_dir.glob("pipelines/*/**/*.json"):
        body = json.loads(renamed(path.read_text()))
        del body["sum"]
        path.write_bytes(records._sealed(json.dumps(body, indent=1, sort_keys=True).encode()))
    for path in records_dir.glob("pipelines/*/journal/*.jsonl"):
        lines = [json.loads(renamed(line)) for line in path.read_text().splitlines()]
        texts = [{k: v for k, v in line.items() if k != "crc"} for line in lines]
        path.write_bytes(b"".join(_seal(json.dumps(t, separators=(",", ":"), sort_keys=True)) for t in texts))


def relinked(records_dir: Path) -> None:
    """A pipeline's blobs are hard links to the shared ones, which a checkout does not keep."""
    for path in records_dir.glob("pipelines/*/*/*"):
        shared = records_dir / path.parent.name / path.name
        if shared.is_file():
            path.unlink()
            path.hardlink_to(shared)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, Sandbox() as sandbox:
        stage = Stage(sandbox, Path(folder), lambda name: ROOT / "build" / "bpf" / f"{name}.bpf.o")
        blocked = {"role": "config", "entries": [BLOCKED]}
        stage.apply(stage.spec("v1", maps={"blocklist": blocked}))
        stage.apply(stage.spec("v1", rodata={"default_verdict": "XDP_PASS"}))
        words = ["apply", str(stage.write(stage.spec("v2")))]
        code = "from lab.crash.gated import effects, entry, gate"
        code += "; effects.install(gate('kill', 'after', '1 journal.commit')); entry()"
        done = stage.spawn(*words, code=code)
        assert done.code == -9, (done.code, done.err)
        shutil.rmtree(TREE, ignore_errors=True)
        shutil.copytree(stage.records, TREE, ignore=shutil.ignore_patterns("cache", "logs", "lock", "*.sh", ".*"))
        moved(TREE, {sandbox.bpffs: PINS, sandbox.rx.netns: NETNS, stage.kernel.boot_id(): BOOT})
        stage.call("recover")
        stage.call("remove", "edge", "--state")


if __name__ == "__main__":
    main()
