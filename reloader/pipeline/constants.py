"""`rodata:` → the whole new value of each constant that the YAML sets, and what a record keeps to display them.

A struct or array may be given in part: the rest keeps its compiled value. Called by compile.py. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from reloader.errors import Problem
from reloader.pipeline import texts
from reloader.pipeline.constant_values import LARGEST
from reloader.pipeline.did_you_mean import suggestion
from reloader.pipeline.document import dotted
from reloader.pipeline.entries import listing
from reloader.pipeline.entries.row import order_problem
from reloader.pipeline.model import Mark, Pipeline
from reloader.pipeline.objects import Objects
from reloader.pipeline.wish import Constant, orders_below
from reloader.structs import encode
from reloader.structs.elf import Variable
from reloader.wording.message import Message, code_of, hint_of, values_of

BYTEORDER = "byteorder"
"""The one name below `rodata` that is no constant, unless the objects have a constant of that name."""
ORDERS = ("network", "host")
KCONFIG = ".kconfig"


def encoded(pipeline: Pipeline, objects: Objects, problems: list[Problem]) -> dict[str, bytes]:
    """Each constant that the YAML sets, whole; what does not fit is added to `problems`."""
    setter = _Setter(pipeline, objects, problems)
    setter.check_orders()
    return dict(setter.encoded())


def recorded(pipeline: Pipeline, objects: Objects, rodata: Mapping[str, bytes]) -> tuple[Constant, ...]:
    """The objects' constants as a record keeps them, by name."""
    orders = _orders(pipeline, objects)
    found = sorted(objects.rodata.values(), key=lambda v: v.name)
    return tuple(
        Constant(name=v.name, type=v.type, compiled=v.value, byteorder=orders_below(orders, v.name))
        for v in found
        if v.name in rodata or v.size <= LARGEST
    )


def not_a_map(section: str) -> Message:
    """Return what is wrong with a section of constants among the maps."""
    return (texts.KCONFIG_AS_MAP if section == KCONFIG else texts.CONSTANTS_AS_MAP)(section=section)


def _orders(pipeline: Pipeline, objects: Objects) -> dict[str, Any]:
    given = pipeline.rodata.get(BYTEORDER)
    return dict(given) if isinstance(given, Mapping) and BYTEORDER not in objects.rodata else {}


def _kernel_settings(objects: Objects) -> set[str]:
    """Variables that libbpf reads from the kernel's configuration (`extern … __kconfig`)."""
    names = set()
    for part in objects.parts:
        section = part.btf.find_datasec(KCONFIG) if part.btf else None
        names |= {v.name for v in part.btf.variables(section)} if part.btf and section is not None else set()
    return names


class _Setter:
    """The `rodata` of one pipeline against its objects."""

    def __init__(self, pipeline: Pipeline, objects: Objects, problems: list[Problem]) -> None:
        self._pipeline, self._objects, self._problems = pipeline, objects, problems
        self._orders = _orders(pipeline, objects)

    def encoded(self) -> Iterator[tuple[str, bytes]]:
        for name, value in self._pipeline.rodata.items():
            found = self._objects.rodata.get(name)
            if found is not None:
                yield from self._set(found, value)
            elif name != BYTEORDER:
                self._unknown(name)

    def _set(self, found: Variable, value: Any) -> Iterator[tuple[str, bytes]]:
        if found.name in self._objects.misplaced:  # BTF has the weak one's offset (libbpf 1.1)
            self._note(found.name, texts.CONSTANT_MISPLACED(constant=found.name))
            return
        orders = orders_below(self._orders, found.name)
        try:
            data = encode.encode(
                found.type, value, path=found.name, byteorder=orders, complete=False, base=found.value,
                hint=texts.SAY_BYTE_ORDER.message,
            )  # fmt: skip
        except encode.ValueProblem as wrong:
            for one in wrong.each():
                self._note(one.path, one.message, one.hint, reason=one.reason)
            return
        yield found.name, data

    def _unknown(self, name: str) -> None:
        if name in _kernel_settings(self._objects):
            self._note(name, texts.CONSTANT_OF_KERNEL(constant=name))
        else:
            self._note(name, texts.NO_SUCH_CONSTANT(constant=name, hint=suggestion(name, self._objects.rodata)))

    def check_orders(self) -> None:
        """A byte order must be one, and stand beside a constant or a field of one."""
        given = self._pipeline.rodata.get(BYTEORDER)
        if given is None or BYTEORDER in self._objects.rodata:
            return
        if not isinstance(given, Mapping):
            self._note(BYTEORDER, texts.BYTEORDER_NOT_MAPPING())
            return
        for path, order in given.items():
            name = str(path).replace("[", ".").split(".")[0]
            found, place = self._objects.rodata.get(name), f"{BYTEORDER}.{path}"
            hint = texts.WRITE_FIELD_OF(name=name) if found else suggestion(name, self._objects.rodata)
            wrong = order_problem(found.type if found else None, str(path)[len(name) :], str(path), hint)
            if wrong:
                self._note(place, wrong)
            elif order not in ORDERS:
                self._note(place, texts.NOT_A_BYTE_ORDER(order=order))

    def _note(self, path: str, message: str, hint: str = "", *, reason: str = "") -> None:
        mark: Mark = listing.nearest(self._pipeline.rodata_marks, path, self._pipeline.mark)
        where = f"spec.rodata.{path}" if "." in path or "[" in path else dotted(("spec", "rodata", path))
        reason, encode = reason or code_of(message), {**values_of(message), "constant": path}
        self._problems.append(
            Problem.at(
                self._pipeline.file, message, *mark, where, hint=hint or hint_of(message), reason=reason, values=encode
            )
        )
