"""Facts of ops: the whole table by TAG, so that a fact changes only on purpose. Pure."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from typing import get_args

import pytest

from reloader.plan import ops

OPS: tuple[type[ops.OpBase], ...] = get_args(ops.Op)
FACTS = {
    "on_disk": {"StoreBlob", "DropBlob", "PutRecord", "Prune", "DropPipeline"},
    "visible": {"CreateLink", "TakeOver", "RemoveFilter", "SwapLink", "SetEntries", "FlipSide"},
    "serving": {"CreateLink", "TakeOver", "SwapLink"},
    "privileged": {"Load", "CreateLink", "SwapLink"},
    "one_call": {"SwapLink"},
    "clean_refusal": {"CreateLink", "SwapLink"},
    "returns_state": {"Convert"},
}
NOTHING_OWED = {
    "Load", "FillMap", "Prove", "PinAgain", "CheckEntries", "CheckFit", "CopyOver", "Drain", "Barrier", "SetGate",
}  # fmt: skip
AFTER_COMMIT_ONLY = {
    "CarryEntries", "ClearGate", "Absorb", "DropFolder", "EndPanic", "PutRecord", "Publish", "Share", "Freeze",
    "DropLoad", "Prune", "DropPipeline", "DropBlob", "Unpin", "GiveBack",
}  # fmt: skip
DISPLACING = {"TakeOver", "RemoveFilter"}
LABELLED = {
    "Load", "Prove", "FillMap", "SetEntries", "MakeInner", "SwapLink", "CreateLink", "FlipSide", "CheckFit",
    "CopyOver", "Drain",
}  # fmt: skip


def own(method: str) -> set[str]:
    """Return the TAGs of the classes that override a method of OpBase."""
    return {kind.TAG for kind in OPS if getattr(kind, method) is not getattr(ops.OpBase, method)}


def classes() -> Iterator[type]:
    """Return every class with a TAG in the modules of the room."""
    for found in pkgutil.iter_modules(ops.__path__):
        module = importlib.import_module(f"{ops.__name__}.{found.name}")
        yield from (kind for kind in vars(module).values() if isinstance(kind, type) and hasattr(kind, "TAG"))


def test_every_op_is_in_the_union() -> None:
    assert set(classes()) == set(OPS)


@pytest.mark.parametrize("fact", FACTS)
def test_ops_with_a_fact(fact: str) -> None:
    assert {kind.TAG for kind in OPS if getattr(kind, fact)} == FACTS[fact]


def test_ops_without_an_undo() -> None:
    assert {kind.TAG for kind in OPS if issubclass(kind, ops.NothingOwed)} == NOTHING_OWED
    assert {kind.TAG for kind in OPS} - own("undo") == AFTER_COMMIT_ONLY


def test_ops_after_the_commit_refuse_an_undo() -> None:
    with pytest.raises(LookupError, match="Prune has no undo and may only follow the commit"):
        ops.Prune().undo()


def test_ops_that_say_more_than_working() -> None:
    assert own("label") == LABELLED
    assert ops.Prune().label() == "working"
    assert own("displaces") == DISPLACING


def test_an_op_takes_no_more_memory_than_its_fields() -> None:
    assert "__dict__" not in dir(ops.Prune())
