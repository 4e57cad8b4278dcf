"""Damaged input to the command line while a pipeline serves. Used by test_serving.py and by the bench.

Each loop takes a stage on which generation 1 serves and how many inputs to make, and returns a Tally: a failure is a
traceback, a hang, a refusal without a word or with an odd exit code, and any change that came with a refusal.
"""

from __future__ import annotations

import json
import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lab.fuzz import mutate
from lab.fuzz.harness import CODES, Tally, dice_of
from lab.fuzz.inputs import REGISTRY, dumped
from lab.stage import Done, Stage
from reloader.errors import ReloaderError
from reloader.structs.elf import BtfError, ElfError, read_object

LARGEST = 64 << 20  # bytes of a map that a damaged object may ask for: this is no test of the machine's memory


class Offers:
    """Damaged copies of what a sound pipeline is made of, put in its place one by one."""

    def __init__(self, stage: Stage, dice: random.Random) -> None:
        self.stage = stage
        self.dice = dice
        shutil.copytree(REGISTRY, stage.folder / "state" / "flow-count")
        self.spec = {**stage.spec("v1"), "stateSchema": "flow-count"}
        self.sound = {path: path.read_bytes() for path in (stage.write(self.spec), *self._files())}
        self.objects = [path for path in self.sound if path.suffix == ".o"]
        self.layouts = [path for path in self.sound if path.parent.name == "flow-count"]

    def _files(self) -> list[Path]:
        return [self.stage.folder / "v1.bpf.o", *sorted((self.stage.folder / "state" / "flow-count").iterdir())]

    def restore(self) -> None:
        for path, data in self.sound.items():
            path.write_bytes(data)

    def next(self) -> str:
        """Put the next damage in place; what it is."""
        self.restore()
        sort = self.dice.choice(("text", "values", "object", "object", "registry"))
        hurt: Callable[[], bytes] = {
            "text": lambda: self.dice.choice((mutate.text, mutate.damaged))(self.dice, self.sound[self.stage.file]),
            "values": lambda: dumped(mutate.value(self.dice, self.stage.document(self.spec))),
            "object": lambda: self._object(),
            "registry": lambda: mutate.text(self.dice, self.sound[self.layouts[0]]),
        }[sort]
        path = {"object": self.objects[0], "registry": self.layouts[0]}.get(sort, self.stage.file)
        path.write_bytes(hurt())
        return f"{sort}: {path.read_bytes()[:1500]!r}" if path.suffix == ".yaml" else sort

    def _object(self) -> bytes:
        while True:
            hurt = mutate.elf(self.dice, self.sound[self.objects[0]])
            if modest(hurt):
                return hurt


def modest(data: bytes) -> bool:
    """Whether the kernel can try this object without a large piece of memory."""
    try:
        found = read_object(data)
    except (ElfError, BtfError):
        return True
    return all(
        m.max_entries * (m.key_size + m.value_size + 64) < LARGEST or m.max_entries > 1 << 31 for m in found.maps
    )


def offered(stage: Stage, count: int) -> Tally:
    """YAML, objects and registry, applied. Some damage is harmless: then a version serves that the verifier took."""
    offers, tally = Offers(stage, dice_of("serving")), Tally()
    stage.call("apply", stage.file)
    for number in range(count):
        label = f"{number}: {offers.next()}"
        before = stage.standing()

        def judged(before: object = before) -> None:
            done = stage.run("apply", stage.file)
            require_words(done)
            after = stage.standing()
            assert after.attached, "the hook is bare"
            assert not done.code or after == before, f"exit {done.code}, and yet {before} became {after}"
            refuse(done)

        tally.offer(label, judged)
    offers.restore()
    stage.call("apply", stage.file)
    return tally


def records(stage: Stage, count: int) -> Tally:
    """current.json, the generations and the compiled wishes, turned anywhere."""
    dice, tally = dice_of("records"), Tally()
    for rodata in ({"default_verdict": "XDP_DROP"}, {"default_verdict": "XDP_PASS"}, {"default_verdict": "XDP_DROP"}):
        stage.apply(stage.spec("v1", rodata=rodata))
    time.sleep(0.06)  # of an object that was changed just now nothing is kept
    stage.call("apply", stage.file)
    files = [p for p in sorted(stage.records.rglob("*.json")) if p.parent.name in ("edge", "generations", "cache")]
    assert len(files) >= 5
    return _hurt_files(stage, files, count, tally, lambda data: mutate.damaged(dice, data))


def records_by_hand(stage: Stage, count: int) -> Tally:
    """The same as sound JSON that says what cannot be, without a checksum, as a hand may have written it."""
    dice, tally = dice_of("hand"), Tally()
    stage.apply(stage.spec("v1"))
    stage.apply(stage.spec("v1", rodata={"default_verdict": "XDP_PASS"}))
    files = [stage.paths.current_file("edge"), *(stage.paths.generation_file("edge", n) for n in (1, 2))]

    def hurt(data: bytes) -> bytes:
        tree = json.loads(data)
        tree.pop("sum")
        return json.dumps(mutate.value(dice, tree)).encode()

    return _hurt_files(stage, files, count, tally, hurt, reading_only=True)


def _hurt_files(
    stage: Stage,
    files: list[Path],
    count: int,
    tally: Tally,
    hurt: Callable[[bytes], bytes],
    *,
    reading_only: bool = False,
) -> Tally:
    dice, there = dice_of("commands"), kernel_side(stage)
    sound = {path: path.read_bytes() for path in files}
    for number in range(count):
        path = dice.choice(files)
        path.write_bytes(hurt(sound[path]))
        for words in commands(stage, dice)[: 1 if reading_only else 2]:

            def judged(words: list[Any] = words) -> None:
                done = stage.run(*words)
                require_words(done)
                assert kernel_side(stage) == there, f"{there} became {kernel_side(stage)}"
                refuse(done)

            tally.offer(f"{number}: {path.name}: {words[0]}: {path.read_bytes()[:3000]!r}", judged)
        path.write_bytes(sound[path])
    return tally


def commands(stage: Stage, dice: random.Random) -> list[list[Any]]:
    """One of the commands that read records, and apply, which has nothing to do."""
    reading: list[list[Any]] = [
        ["status"], ["history", "edge"], ["show", "edge"], ["show", "edge", "2"], ["diff", "edge", "1", "2"],
        ["recover"], ["plan", stage.file], ["rollback", "edge", "--to", "77"],
    ]  # fmt: skip
    return [dice.choice(reading), ["apply", stage.file]]


def kernel_side(stage: Stage) -> tuple[int, tuple[str, ...]]:
    """What serves, by no record's word."""
    return stage.attached(), tuple(stage.sandbox.pins())


def require_words(done: Done) -> None:
    assert "Traceback" not in done.err, done.err
    assert done.code in CODES, f"exit {done.code}: {done.err}"
    assert not done.code or done.err.strip(), f"exit {done.code} without a word"


def refuse(done: Done) -> None:
    """For the tally: what a command refused, or found damaged."""
    if done.code or '"damaged"' in done.out:
        raise ReloaderError(f"exit {done.code}")
