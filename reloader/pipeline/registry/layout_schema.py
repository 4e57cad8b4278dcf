"""The published JSON Schema (draft-07) of a state layout file.

schemas/state-layout.schema.json is `python -m reloader.pipeline.registry.layout_schema` written down; a test holds them
equal. Used by registry.py.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from typing import Any

from reloader.layouts.emit import MERGES
from reloader.pipeline.schema import API_VERSION

KIND = "StateLayout"
TYPE_PATTERN = r"^([us](8|16|32|64|128)|[bl]e(16|32|64)|char|uchar|bool|f(32|64|128))(\[[0-9]+\])*$"


def _object(required: tuple[str, ...], properties: Mapping[str, Any], **words: Any) -> dict[str, Any]:
    head: dict[str, Any] = {"required": list(required)} if required else {}
    return {"type": "object", **words, **head, "additionalProperties": False, "properties": dict(properties)}


def _said(title: str, description: str, **rule: Any) -> dict[str, Any]:
    return {"title": title, "description": description, **rule}


_COUNT = {"type": "integer", "minimum": 0, "maximum": 0x7FFFFFFF}
_NOT_NULL = {"not": {"type": "null"}}

_FIELD = _object(
    ("type", "at"),
    {
        "name": _said("Name", "As in C; empty for an unnamed struct or union.", type="string"),
        "type": {"$ref": "#/definitions/type"},
        "at": _said("Offset", "Bytes from the start of the enclosing type.", **_COUNT),
        "bit": _said(
            "Bit", "Of a bit-field: where it starts, counted from `at`.", type="integer", minimum=0, maximum=63
        ),
        "bits": _said("Width", "Of a bit-field: how many bits it has.", type="integer", minimum=1, maximum=64),
    },
    title="Field",
    description="One member and its place.",
)

_TYPE = {
    **_object(
        (),
        {
            "struct": _said("Struct", "Its tag; empty for none.", type="string"),
            "union": _said("Union", "Its tag; empty for none.", type="string"),
            "section": _said("Data section", "For example .bss; its fields are global variables.", type="string"),
            "enum": _said("Enum", "Its tag; empty for none.", type="string"),
            "pointer": _said("Pointer", "What it points to, for example `struct task_struct`.", type="string"),
            "array": {"$ref": "#/definitions/type"},
            "map": _said(
                "Maps", "Of a map of maps: the type of the maps in it, whose key and value follow.",
                type="string", pattern="^[a-z_]+$",
            ),
            "key": {"$ref": "#/definitions/type"},
            "value": {"$ref": "#/definitions/type"},
            "size": _said("Size", "Bytes, padding included.", **_COUNT),
            "count": _said("Count", "Elements of an array.", **_COUNT),
            "signed": _said("Signed", "Of an enum: whether it has negative values.", type="boolean"),
            "tag": _said("Type tag", "Of a pointer, for example kptr.", type="string"),
            "values": _said(
                "Enumerators", "Name to number.", type="object", additionalProperties={"type": "integer"}
            ),
            "fields": _said("Fields", "Members, by offset.", type="array", items={"$ref": "#/definitions/field"}),
        },
        minProperties=1,
        title="Type",
        description="u32, s64, be16, char[16], or a mapping for a struct, union, section, enum, pointer, array or map.",
    ),
    "type": ["string", "object"],
    "pattern": TYPE_PATTERN,
}  # fmt: skip

_RULE = _object(
    (),
    {
        "rename": _said("Was named", "The name of this field in the version before.", type="string", minLength=1),
        "default": _said("Default", "For a new field: its value in converted entries.", **_NOT_NULL),
        "const": _said("Constant", "The same for a field that the version before has too.", **_NOT_NULL),
        "widen": _said("Widen", "It may become larger; an array longer.", type="boolean"),
        "narrow": _said(
            "Narrow", "It may become smaller; an entry whose value does not fit stops the conversion.", type="boolean"
        ),
        "cast": _said(
            "Cast", "It may change its type; of equal size, the bytes are taken as they are.", type="boolean"
        ),
        "drop": _said(
            "Drop",
            "The new version does not have this field. Of a value, write accept_loss or was too.",
            type="boolean",
        ),
        "accept_loss": _said(
            "Accept loss",
            "With drop: the values are lost, also for a rollback. With cast: some are read as another field.",
            const=True,
        ),
        "was": _said(
            "What it was",
            "With drop: its value after a rollback. A key with another value cannot be converted.",
            **_NOT_NULL,
        ),
    },
    minProperties=1,
    title="Rule",
    description="How one field comes from the version before.",
)

_RULES = _said(
    "Rules of one side",
    "Field (of the version before, for drop) to rule; `.` is the whole.",
    type=["object", "null"],
    additionalProperties={"$ref": "#/definitions/rule"},
)

_MERGE = _said(
    "Merge",
    "Where both versions wrote an entry: sum, max, min and or join a field, keep_new and keep_old choose. One word "
    "for all fields, or field to word; keep_new where nothing is said.",
    type=["string", "object", "null"],
    pattern=f"^({'|'.join(MERGES)})$",
    additionalProperties={"type": "string", "enum": list(MERGES)},
)


@functools.cache
def layout_schema() -> dict[str, Any]:
    """The whole schema, as published."""
    top = {
        "apiVersion": _said("API version", f"Always {API_VERSION}.", const=API_VERSION),
        "kind": _said("Kind", f"Always {KIND}.", const=KIND),
        "metadata": _object(
            ("schema", "map", "version"),
            {
                "schema": _said(
                    "Schema", "The folder's name, as a pipeline's stateSchema.",
                    type="string", pattern="^[a-z][a-z0-9_-]{0,62}$",
                ),
                "map": _said("Map", "The map's name in the object.", type="string", minLength=1),
                "version": _said("Version", "From 1, one by one.", type="integer", minimum=1, maximum=999999),
            },
            title="Metadata", description="Which layout this is; the file's name says the same.",
        ),
        "meaning": _said("Meaning", "What changed in words, when the layout alone does not show it.", type="string"),
        "layout": _object(
            ("key", "value"),
            {"key": {"$ref": "#/definitions/type"}, "value": {"$ref": "#/definitions/type"}},
            title="Layout", description="What lies where.",
        ),
        "merge": _MERGE,
        "rules": _object(
            (),
            {
                "key": _RULES,
                "value": _RULES,
                "collide": _said(
                    "Falling together", "merge: two old keys may become one, and their values are merged.",
                    type="string", enum=["merge"],
                ),
            },
            title="Rules", description="How entries of the version before become entries of this one.",
        )
        | {"type": ["object", "null"]},
    }  # fmt: skip
    words = {"title": "reloader state layout", "description": "One version of one state map, with the way to it."}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        **_object(("apiVersion", "kind", "metadata", "layout"), top, **words),
        "definitions": {"type": _TYPE, "field": _FIELD, "rule": _RULE},
    }


def published() -> str:
    """The text of schemas/state-layout.schema.json."""
    return json.dumps(layout_schema(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    print(published(), end="")
