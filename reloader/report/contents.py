"""The entries of one map by field name: what a generation lists, and what the live map holds beside it.

Reads records and the kernel, changes nothing. Called by commands/show.py and drift.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from reloader.config_maps.entry_changes import entry_diff, live_entries, split_records
from reloader.errors import NotFoundError, RefusedChange
from reloader.frozen import frozen
from reloader.kernel import ARRAY_TYPES, NESTED_TYPES, PLAIN_TYPES, Kernel, MapType
from reloader.kernel.host import Host
from reloader.observe.handles import declared, handles
from reloader.observe.pipeline import Observed, SeenMap, observe
from reloader.paths import Paths
from reloader.pins.own_folders import pinned
from reloader.pipeline.enums import Role
from reloader.pipeline.wish import WishMap
from reloader.plan.config.foreign import HANDLE_TYPES
from reloader.plan.state.compat import type_name
from reloader.report import texts
from reloader.report.history import current_of
from reloader.store import records
from reloader.store.records import Generation
from reloader.structs.decode import show, text
from reloader.structs.tree import TypeTree
from reloader.wording.message import Message

SAME, CHANGED, EXTRA, MISSING = "same", "changed", "extra", "missing"

Types = tuple[TypeTree | None, TypeTree | None]  # of key and value; None: nothing describes it


@frozen
class Contents:
    """The entries of one map."""

    pipeline: str
    generation: int
    map: str
    role: Role
    live: bool  # from the kernel, not from the record
    entries: tuple[dict[str, Any], ...]  # one each: its state, key, value, and what is listed for it

    @property
    def differing(self) -> int:
        """Return how many entries are not as listed."""
        return sum(row["state"] != SAME for row in self.entries)

    def to_json(self) -> dict[str, Any]:
        """Return it as `show --map -o json` prints it (schemas/map-contents.schema.json)."""
        return {
            "pipeline": self.pipeline,
            "generation": self.generation,
            "map": self.map,
            "role": self.role.value,
            "live": self.live,
            "differing": self.differing,
            "entries": list(self.entries),
        }


def contents(paths: Paths, pipeline: str, number: int | None, name: str) -> Contents:
    """Return what a stored generation lists for a config map."""
    current = current_of(paths, pipeline)
    generation = records.read_generation(paths, pipeline, number or current.generation)
    wanted = _map(generation, name)
    if wanted.entries is None:
        raise NotFoundError(texts.ENTRIES_NOT_LISTED(pipeline=pipeline, generation=generation.number, map=name))
    rows = [
        _row(wanted, (wanted.key, wanted.value), SAME, k, v, None) for k, v in listed_entries(paths, wanted).items()
    ]
    return _contents(generation, wanted, rows, live=False)


def live_contents(host: Host, pipeline: str, name: str) -> Contents:
    """Return what the live map holds; of a config map with what the generation lists otherwise."""
    generation, seen = in_service(host, pipeline)
    wanted, there = _map(generation, name), seen.maps.get(name)
    if there is None:
        raise NotFoundError(texts.MAP_NOT_FOUND(pipeline=pipeline, map=name))
    if there.info.type in HANDLE_TYPES:
        return _contents(generation, wanted, handle_rows(host, generation, wanted, there), live=True)
    if there.info.type not in PLAIN_TYPES:
        raise RefusedChange(texts.ENTRIES_NOT_SHOWN(pipeline=pipeline, map=name, type=type_name(there.info.type)))
    held = _held(host.kernel, there)
    if wanted.entries is None:
        rows = [_row(wanted, (there.key, there.value), SAME, k, v, None) for k, v in held.items()]
    else:
        rows = list(compared(wanted, there, held, listed_entries(host.paths, wanted)))
    return _contents(generation, wanted, rows, live=True)


def handle_rows(host: Host, generation: Generation, wanted: WishMap, there: SeenMap) -> list[dict[str, Any]]:
    """Return what a map of handles holds, and what the object declares and is not there.

    Only of programs and maps that a load declares does a generation say what there should be.
    """
    judged = wanted.role is not Role.STATE and wanted.type in (MapType.PROG_ARRAY, *NESTED_TYPES)
    rows, found = list[dict[str, Any]](), set[Any]()
    for entry, ours in handles(host, generation, wanted, there):
        key = entry.pop("key")
        found.add(key if isinstance(key, int) else str(key))
        rows.append({"state": SAME if ours or not judged else EXTRA, "key": key, **({"value": entry} if entry else {})})
    for index, name in declared(host.paths, generation, wanted.name).items() if judged else ():
        if index not in found:
            rows.append({"state": MISSING, "key": index, "listed": name})
    return rows


def _contents(generation: Generation, wanted: WishMap, rows: list[dict[str, Any]], *, live: bool) -> Contents:
    return Contents(
        pipeline=generation.wish.pipeline,
        generation=generation.number,
        map=wanted.name,
        role=wanted.role,
        live=live,
        entries=tuple(rows),
    )


def in_service(host: Host, pipeline: str) -> tuple[Generation, Observed]:
    """Return the current generation, and what the kernel shows of it; NotFoundError for a removed pipeline."""
    current = current_of(host.paths, pipeline)
    if not current.generation:
        raise NotFoundError(texts.PIPELINE_REMOVED(pipeline=pipeline))
    generation = records.read_generation(host.paths, pipeline, current.generation)
    return generation, observe(host, generation.wish, pipeline)


def _map(generation: Generation, name: str) -> WishMap:
    found = {m.name: m for m in generation.wish.maps}
    if name not in found:
        pipeline, number, known = generation.wish.pipeline, generation.number, list(found) or texts.NONE()
        raise NotFoundError(texts.NO_SUCH_MAP(pipeline=pipeline, generation=number, map=name, known=known))
    return found[name]


def listed_entries(paths: Paths, wanted: WishMap) -> dict[bytes, bytes]:
    """Return the entries that a generation lists for one of its config maps."""
    assert wanted.entries is not None
    data = records.read_blob(paths, "entries", wanted.entries.digest)
    return split_records(data, wanted.key_size, wanted.value_size)


def _held(kernel: Kernel, there: SeenMap) -> dict[bytes, bytes]:
    """Entries that a process or program made: of an array the slots that are not zero."""
    found = there.entries
    if found is None:  # no config map
        fd = pinned(kernel, there.pin) or kernel.maps.by_id(there.info.id)
        with fd:
            found = kernel.maps.items(fd)
    return {k: v for k, v in found.items() if any(v)} if there.info.type in ARRAY_TYPES else found


def compared(
    wanted: WishMap, there: SeenMap, held: dict[bytes, bytes], listed: dict[bytes, bytes]
) -> Iterator[dict[str, Any]]:
    """Return live entries in key order, and among them what is listed and not there."""
    diff = entry_diff(wanted, held, listed, prune=True)
    plain = live_entries(wanted.type, wanted.value_size, dict(held)) if wanted.type in ARRAY_TYPES else held
    for key in sorted({*plain, *diff.put, *diff.delete}):
        state = SAME
        if key not in plain:
            state = MISSING
        elif key in diff.delete or key not in listed:
            state = EXTRA
        elif key in diff.put:
            state = CHANGED
        yield _row(wanted, (there.key, there.value), state, key, held.get(key), listed.get(key))


def _row(
    wanted: WishMap, types: Types, state: str, name: bytes, now: bytes | None, listed: bytes | None
) -> dict[str, Any]:
    (key, value), orders = types, wanted.orders("value")
    row: dict[str, Any] = {"state": state, "key": show(key, name, wanted.orders("key"))}
    if now is not None and state != MISSING:
        row["value"] = _shown(value, now, orders)
    if state in (CHANGED, MISSING) and listed is not None:
        row["listed"] = show(value, listed, orders)
    return row


def _shown(tree: TypeTree | None, data: bytes, orders: Mapping[str, str]) -> Any:
    """One value; of a per-CPU map each CPU's, or the one that all have."""
    size = tree.size if tree else len(data)
    step = -(-size // 8) * 8
    if not size or len(data) == size or len(data) % step:
        return show(tree, data, orders)
    found = [show(tree, data[at : at + size], orders) for at in range(0, len(data), step)]
    return found[0] if all(one == found[0] for one in found) else found


_ENTRY = {
    SAME: texts.ENTRY, CHANGED: texts.ENTRY_CHANGED, EXTRA: texts.ENTRY_EXTRA, MISSING: texts.ENTRY_MISSING,
}  # fmt: skip


def words(row: Mapping[str, Any]) -> Message:
    """Describe one entry in a line."""
    return _ENTRY[row["state"]](**{part: text(row[part]) if part in row else "" for part in ("key", "value", "listed")})
