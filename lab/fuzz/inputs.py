"""Every sort of input that needs no kernel: damaged copies of real files, offered to what reads them.

Each function takes a folder to write in and how many inputs to make, and returns a Tally. Used by test_inputs.py and
by the bench.
"""

from __future__ import annotations

import io
import json
import os
import random
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from lab.fuzz import mutate
from lab.fuzz.harness import Tally, command, dice_of
from reloader.errors import ReloaderError
from reloader.layouts import archive
from reloader.paths import Paths
from reloader.pipeline import cache
from reloader.pipeline.wish import Compiled
from reloader.structs.elf import BtfError, ElfError, read_object
from reloader.structs.elf.file import ElfFile

ROOT = Path(__file__).resolve().parent.parent.parent
BUILT = ROOT / "build" / "bpf"
OBJECT = BUILT / "programs" / "flow_count" / "flow_count.bpf.o"
PIPELINE = ROOT / "programs" / "flow_count" / "flow_count.yaml"
RICH = Path(__file__).parent / "edge.yaml"
REGISTRY = ROOT / "state" / "flow-count"
LISTED = [f"10.0.{i // 250}.{i % 250}" for i in range(60)]
CSV = "key,action\n" + "".join(f"{address},XDP_DROP\n" for address in LISTED)
QUOTED = 'key,action\n"' + '"\n"'.join(f'{address}","XDP_DROP' for address in LISTED) + '"\n'
JSONL = "".join(json.dumps({"key": address, "value": {"action": "XDP_DROP"}}) + "\n" for address in LISTED)


def every_object() -> list[bytes]:
    return [path.read_bytes() for path in sorted(BUILT.rglob("*.bpf.o"))]


def dumped(value: Any) -> bytes:
    return yaml.dump(value, allow_unicode=True, sort_keys=False).encode(errors="surrogatepass")


def objects(_folder: Path, count: int) -> Tally:
    """ELF and BTF, read whole."""
    dice, tally, sound = dice_of("objects"), Tally(), every_object()
    for number in range(count):
        hurt = dice.choice((mutate.elf, mutate.elf, mutate.damaged))(dice, dice.choice(sound))
        tally.offer(f"object {number}", lambda data=hurt: read_whole(data), ElfError, BtfError)  # type: ignore[misc]
    return tally


def read_whole(data: bytes) -> None:
    found = read_object(data)
    found.reachable([p.name for p in found.programs])
    found.source_lines()
    for program in found.programs:
        found.source_line(program.section, program.first_insn)
    for held in found.maps:
        _ = held.writable, held.key, held.value


def btf(_folder: Path, count: int) -> Tally:
    """The type records alone, every one of them asked for its layout."""
    dice, tally = dice_of("btf"), Tally()
    sections = [e.contents(s) for e in map(ElfFile.parse, every_object()) if (s := e.section(".BTF"))]
    for number in range(count):
        sound = dice.choice(sections)
        hurt = bytearray(sound)
        for _ in range(dice.choice((1, 1, 2, 5))):
            at = dice.randrange(0, len(sound) - 4, 4)
            hurt[at : at + 4] = dice.choice((dice.choice(mutate.NUMBERS), dice.getrandbits(10))).to_bytes(8, "little")[
                :4
            ]
        tally.offer(f"BTF {number}", lambda data=bytes(hurt): read_types(data), BtfError)  # type: ignore[misc]
    return tally


def read_types(data: bytes) -> None:
    from reloader.structs.btf import Btf

    found = Btf.parse(data)
    refused: list[BtfError] = []
    for type_id in range(1, len(found) if hasattr(found, "__len__") else 400):
        try:
            found.tree(type_id)
        except BtfError as error:
            refused.append(error)
    if refused:
        raise refused[0]


def archives(_folder: Path, count: int) -> Tally:
    """Exported state: turned bytes; and frames whose checksum is right and whose words are not."""
    dice, tally, sound = dice_of("archives"), Tally(), exported()
    for number in range(count):
        frames = number % 2
        hurt = exported(lambda data: mutate.damaged(dice, data) if not dice.randrange(5) else data) if frames else sound
        hurt = hurt if frames else mutate.damaged(dice, sound)
        label = f"archive {number}: {hurt[:200]!r}"
        tally.offer(label, lambda data=hurt: read_archive(data), archive.Damaged)  # type: ignore[misc]
    return tally


def exported(each: Callable[[bytes], bytes] = lambda data: data) -> bytes:
    """Two maps as `state export` writes them, what is in the frames passed through `each`."""
    flows = read_object(OBJECT.read_bytes()).map("flows")
    assert flows is not None
    out = io.BytesIO()
    writer = archive.Writer(out)
    frame = writer._frame
    writer._frame = lambda kind, data: frame(kind, each(data))  # type: ignore[method-assign]
    for name in ("flows", "more"):
        shape = archive.Exported(
            pipeline="edge", map=name, type=flows.type, key_size=flows.key_size, value_size=flows.value_size,
            max_entries=9, map_flags=0, cpus=1, key=flows.key, value=flows.value,
            created="2026-11-25T00:00:00+00:00", generation=1,
        )  # fmt: skip
        writer.begin(shape)
        writer.put(bytes(3 * flows.key_size), bytes(3 * flows.value_size))
        writer.end()
    writer.close()
    return out.getvalue()


def read_archive(data: bytes) -> None:
    for _, pieces in archive.read(io.BytesIO(data)):
        for _ in pieces:
            pass


def text(folder: Path, count: int) -> Tally:
    """A pipeline's YAML, hurt as text."""
    dice, tally, sound = dice_of("text"), Tally(), _rich(folder)
    for number in range(count):
        hurt = dice.choice((mutate.text, mutate.text, mutate.damaged))(dice, sound)
        tally.offer(f"text {number}: {hurt!r}", lambda data=hurt: validate(folder, data))  # type: ignore[misc]
    return tally


def values(folder: Path, count: int) -> Tally:
    """A pipeline's YAML that is sound as YAML, and says what makes no sense."""
    dice, tally, sound = dice_of("values"), Tally(), yaml.safe_load(_rich(folder))
    for number in range(count):
        hurt = dumped(mutate.value(dice, sound))
        tally.offer(f"values {number}: {hurt!r}", lambda data=hurt: validate(folder, data))  # type: ignore[misc]
    return tally


def _rich(folder: Path) -> bytes:
    """The YAML that says most, beside all it needs."""
    shutil.copyfile(OBJECT, folder / OBJECT.name)
    shutil.copytree(REGISTRY, folder / "state" / "flow-count")
    sound = RICH.read_bytes()
    validate(folder, sound)
    return sound


def validate(folder: Path, data: bytes) -> None:
    path = folder / "pipeline.yaml"
    path.write_bytes(data)
    command("validate", path)


def specs(folder: Path, count: int) -> Tally:
    """Damaged objects that a sound YAML names, and that `init` is asked about."""
    dice, tally, sound = dice_of("specs"), Tally(), OBJECT.read_bytes()
    path = folder / "pipeline.yaml"
    path.write_bytes(PIPELINE.read_bytes())
    for number in range(count):
        (folder / OBJECT.name).write_bytes(mutate.elf(dice, sound))
        words = ("validate", path) if number % 2 else ("init", folder / OBJECT.name)
        tally.offer(f"spec {number}", lambda words=words: command(*words))  # type: ignore[misc]
    return tally


def bulk(folder: Path, count: int) -> Tally:
    """CSV, plain and quoted, and JSON Lines."""
    dice, tally, spec = dice_of("bulk"), Tally(), yaml.safe_load(PIPELINE.read_bytes())
    shutil.copyfile(OBJECT, folder / OBJECT.name)
    for number in range(count):
        kind, sound = dice.choice((("csv", CSV), ("csv", QUOTED), ("jsonl", JSONL)))
        hurt = dice.choice((mutate.text, mutate.damaged))(dice, sound.encode())
        (folder / f"listed.{kind}").write_bytes(hurt)
        spec["spec"]["maps"]["blocklist"] = {"role": "config", "from": {kind: f"listed.{kind}"}}
        named = dumped(spec)
        tally.offer(f"{kind} {number}: {hurt!r}", lambda data=named: validate(folder, data))  # type: ignore[misc]
    return tally


def registry(folder: Path, count: int) -> Tally:
    """State layouts and rules, read by the state commands and by a pipeline that names them."""
    dice, tally = dice_of("registry"), Tally()
    shutil.copyfile(OBJECT, folder / OBJECT.name)
    spec = yaml.safe_load(PIPELINE.read_bytes())
    spec["spec"]["stateSchema"] = "flow-count"
    for number in range(count):
        shutil.rmtree(folder / "state", ignore_errors=True)
        shutil.copytree(REGISTRY, folder / "state" / "flow-count")
        path = folder / "state" / "flow-count" / dice.choice(("flows.1.yaml", "flows.2.yaml", "counters.1.yaml"))
        path.write_bytes(_hurt_layout(dice, path.read_bytes()))
        asked = (
            ("show", "flow-count"),
            ("check", OBJECT, "--schema", "flow-count"),
            ("diff", OBJECT, "--schema", "flow-count"),
        )
        words = dice.choice(asked)
        label = f"registry {number}: {words[0]}: {path.read_bytes()!r}"
        with inside(folder):
            tally.offer(label, lambda words=words: command("state", *words))  # type: ignore[misc]
            tally.offer(label, lambda: validate(folder, dumped(spec)))
    return tally


def _hurt_layout(dice: random.Random, sound: bytes) -> bytes:
    way = dice.randrange(3)
    if way == 0:
        return dice.choice((mutate.text, mutate.damaged))(dice, sound)
    tree = yaml.safe_load(sound)
    fields = [f for side in ("key", "value") if isinstance(t := tree["layout"][side], dict) for f in t["fields"]]
    if way == 1 and fields:  # sound but for what it says of one field
        field = dice.choice(fields)
        field[dice.choice(list(field))] = dice.choice(
            ("u64", "u8", "be16", "u8[0]", "u8[99999]", 0, 7, 8, 65535, "packets", "pad")
        )
        return dumped(tree)
    return dumped(mutate.value(dice, tree))


@contextmanager
def inside(folder: Path) -> Iterator[None]:
    """In that folder, where the state commands look for a registry."""
    before = os.getcwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def compiled(folder: Path, count: int) -> Tally:
    """The cache of compiled wishes: damaged, it is a miss, and what comes is what the YAML says."""
    dice, tally, paths = dice_of("compiled"), Tally(), Paths(records=folder / "records")
    path = folder / "pipeline.yaml"
    path.write_bytes(PIPELINE.read_bytes())
    shutil.copyfile(OBJECT, folder / OBJECT.name)
    time.sleep(0.06)  # of an object that was changed just now nothing is kept
    wanted = cache.load_wishes(path, paths)
    for one in wanted:
        for digest, data in one.objects.items():
            put(paths.object_file(digest), data)
        for digest, data in one.entries.items():
            put(paths.entries_file(digest), data)
    kept = cache.kept_file(path, paths)
    sound = kept.read_bytes()
    body = json.loads(sound.partition(b"\n")[2])
    for number in range(count):
        resealed = not dice.randrange(3)  # as another release may have written it: it need not mean the same
        hurt = _resealed(mutate.value(dice, body)) if resealed else mutate.damaged(dice, sound)
        kept.write_bytes(hurt)
        tally.offer(f"cache {number}", lambda hurt=hurt, free=resealed: _read_cache(path, paths, wanted, hurt, free))  # type: ignore[misc]
    return tally


def _resealed(body: Any) -> bytes:
    return cache._sealed(json.dumps(body).encode())


def _read_cache(path: Path, paths: Paths, wanted: tuple[Compiled, ...], hurt: bytes, free: bool) -> None:
    cache.known(path, paths)
    found = cache.load_wishes(path, paths)
    assert free or [one.wish for one in found] == [one.wish for one in wanted]
    if cache.kept_file(path, paths).read_bytes() != hurt:
        raise ReloaderError("a miss: it was made again")


def put(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


SORTS: dict[str, tuple[Callable[[Path, int], Tally], int]] = {
    "objects": (objects, 600),
    "btf": (btf, 300),
    "archives": (archives, 300),
    "text": (text, 500),
    "values": (values, 300),
    "specs": (specs, 200),
    "bulk": (bulk, 300),
    "registry": (registry, 80),
    "compiled": (compiled, 150),
}
"""Every sort with the number of inputs that `make test` takes."""
