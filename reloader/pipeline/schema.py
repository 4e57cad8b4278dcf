"""The published JSON Schema (draft-07) of a pipeline, composed from its parts and the places' fragments.

schemas/pipeline.schema.json is `python -m reloader.pipeline.schema` written down; a test holds them equal. check.py
holds documents against it, editors do the same through the modeline.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from typing import Any

from reloader.pipeline.enums import Access, Apply, Panic, Role
from reloader.pipeline.health.health_schema import CHECK, HEALTH
from reloader.pipeline.tests.tests_schema import DEFINITIONS as TEST_DEFINITIONS
from reloader.pipeline.tests.tests_schema import TEST
from reloader.places import places

API_VERSION = "reloader/v1"
_FILE = {"type": "string", "pattern": r"^[^\u0000]+$"}
_MAP_NAME = r"^(\.[A-Za-z0-9_.]+|[A-Za-z_][A-Za-z0-9_]*)$"
_U32 = 0xFFFFFFFF


def _object(required: tuple[str, ...], properties: Mapping[str, Any], **words: Any) -> dict[str, Any]:
    head: dict[str, Any] = {"required": list(required)} if required else {}
    return {"type": "object", **words, **head, "additionalProperties": False, "properties": dict(properties)}


_OBJECT_REF = {
    "title": "Object file",
    "description": "A path beside the YAML, or {file, sha256} to pin its content.",
    **_object(
        ("file",),
        {
            "file": {
                "title": "Path",
                "description": "The compiled object, relative to the YAML.",
                **_FILE,
            },
            "sha256": {
                "title": "Digest",
                "description": "64 hexadecimal digits: the only content accepted.",
                "type": "string",
                "pattern": "^[0-9a-f]{64}$",
            },
        },
    ),
    "type": ["string", "object"],
    "pattern": _FILE["pattern"],
}

_ENTRY = _object(
    ("key", "value"),
    {
        "key": {
            "title": "Key",
            "description": "A scalar, or a mapping by field name as in the object's BTF.",
            "not": {"type": "null"},
        },
        "value": {
            "title": "Value",
            "description": "A scalar, or a mapping by field name as in the object's BTF.",
            "not": {"type": "null"},
        },
    },
    title="Entry",
    description="One key with its value.",
)

_MAP = _object(
    ("role",),
    {
        "role": {
            "title": "Role",
            "description": "config: the YAML owns its entries. state: never lost. scratch: may start empty at every "
            "load. stream: a ring or perf buffer, the same one across loads. live: handles of sockets, devices or "
            "CPUs. external: a pinned map that another program owns.",
            "type": "string",
            "enum": [r.value for r in Role],
        },
        "entries": {
            "title": "Entries",
            "description": "The whole content of a config map, unless prune is false.",
            "type": "array",
            "items": {"$ref": "#/definitions/entry"},
        },
        "from": {
            "title": "Entries from a file",
            "description": "Entries in bulk: exactly one of csv and jsonl, a path relative to the YAML.",
            **_object(
                (),
                {
                    "csv": {
                        "title": "CSV file",
                        "description": "The first line names the key's and value's fields.",
                        **_FILE,
                    },
                    "jsonl": {
                        "title": "JSON Lines file",
                        "description": 'A line holds {"key": …, "value": …}.',
                        **_FILE,
                    },
                },
                minProperties=1,
                maxProperties=1,
            ),
        },
        "apply": {
            "title": "How changed entries reach the kernel",
            "description": "entries: the difference, in batches. map: a whole new map and one store, for maps with "
            "RELOADER_CONFIG. program: a new load and one link update. auto: the cheapest safe way.",
            "type": "string",
            "enum": [a.value for a in Apply],
            "default": Apply.AUTO.value,
        },
        "together_with": {
            "title": "Tied maps",
            "description": "Config maps whose changes must be seen at the same instant as this one's.",
            "type": "array",
            "items": {"type": "string"},
            "uniqueItems": True,
        },
        "prune": {
            "title": "Prune",
            "description": "false keeps entries that are not listed. true deletes them, even if reloader did not write "
            "them. If it is left out, an apply that would delete entries of others is refused.",
            "type": "boolean",
        },
        "keep": {
            "title": "Kept fields",
            "description": "Counters in a config map's values that programs write: carried over by every change.",
            "type": "array",
            "items": {"type": "string", "minLength": 1},
            "uniqueItems": True,
        },
        "byteorder": {
            "title": "Byte order",
            "description": "Field path, for example key.port or value.addr, to network or host, where BTF does not "
            "give it. For entries, tests, health checks and displays.",
            "type": "object",
            "additionalProperties": {"type": "string", "enum": ["network", "host"]},
        },
        "pin": {
            "title": "Pin",
            "description": "Absolute path of an external map on a bpf filesystem.",
            "type": "string",
            "pattern": r"^/[^\u0000]+$",
        },
        "max_entries": {
            "title": "Size",
            "description": "Overrides the object's max_entries.",
            "type": "integer",
            "minimum": 1,
            "maximum": _U32,
        },
        "layout": {
            "title": "Layout version",
            "description": "Version of the state schema that this state map has. Needed where BTF is missing, or where "
            "two versions have the same fields.",
            "type": "integer",
            "minimum": 1,
            "maximum": 999999,
        },
    },
    title="Map",
    description="What may happen to this map when a new version is loaded.",
)

_ATTACH_COMMON: dict[str, dict[str, Any]] = {
    "program": {
        "title": "Program",
        "description": "Name of the function in the object.",
        "type": "string",
        "minLength": 1,
    },
    "type": {
        "title": "Attach type",
        "description": "Where in the kernel the program runs.",
        "type": "string",
    },
}


def _attach() -> dict[str, Any]:
    """An attachment: its type decides, by if/then, which further fields there are."""
    kinds = [
        {
            "if": {"properties": {"type": {"const": kind}}, "required": ["type"]},
            "then": {"$ref": f"#/definitions/attach_{kind}"},
        }
        for kind in places()
    ]
    return {
        "title": "Attachment",
        "description": "One program at one place.",
        "type": "object",
        "required": ["program", "type"],
        "properties": {**_ATTACH_COMMON, "type": {**_ATTACH_COMMON["type"], "enum": list(places())}},
        "allOf": kinds,
    }


def _attach_types() -> dict[str, Any]:
    return {
        f"attach_{kind}": _object(
            place.REQUIRED,
            {**_ATTACH_COMMON, **place.PROPERTIES},
            title=place.TITLE,
            description=f"Fields of an attachment of type {kind}.",
        )
        for kind, place in places().items()
    }


_SPEC = _object(
    ("objects", "attach"),
    {
        "objects": {
            "title": "Object files",
            "description": "BPF objects compiled with BTF; several are linked into one.",
            "type": "array",
            "minItems": 1,
            "items": {"$ref": "#/definitions/object"},
        },
        "stateSchema": {
            "title": "State schema",
            "description": "Name in the registry of state layouts: small letters, digits and dashes.",
            "type": "string",
            "pattern": "^[a-z][a-z0-9_-]{0,62}$",
        },
        "panic": {
            "title": "In a panic",
            "description": "What `reloader panic PIPELINE` does at once: open lets every packet pass, "
            "closed drops every packet.",
            "type": "string",
            "enum": [p.value for p in Panic],
        },
        "rodata": {
            "title": "Read-only variables",
            "description": "New values of the object's `const volatile` variables, by name. Fields and elements that "
            'are not named keep their compiled values; `{"2": value}` sets one element. `byteorder` holds field '
            "paths (peer, conf.addr) to network or host, where BTF does not give it.",
            "type": "object",
            "additionalProperties": {"not": {"type": "null"}},
        },
        "share": {
            "title": "Shared maps",
            "description": "The group whose members may open the maps below pub/. All other pins stay private.",
            **_object(
                ("group",),
                {
                    "group": {
                        "title": "Group",
                        "description": "Name of a group of this host.",
                        "type": "string",
                        "pattern": r"^[^\u0000:\s]+$",
                    },
                    "access": {
                        "title": "Access",
                        "description": "read: look entries up and list them.",
                        "type": "string",
                        "enum": [a.value for a in Access],
                        "default": Access.READ.value,
                    },
                },
            ),
        },
        "attach": {
            "title": "Attachments",
            "description": "Which program runs where.",
            "type": "array",
            "minItems": 1,
            "items": {"$ref": "#/definitions/attach"},
        },
        "gate": {
            "title": "Generation gate",
            "description": "Attachments change together: the first hook's programs call gate_enter, later ones "
            "gate_check (reloader_gate.h).",
            "type": "boolean",
            "default": False,
        },
        "maps": {
            "title": "Maps",
            "description": "The role of every writable map, by its name in the object.",
            "type": "object",
            "propertyNames": {"pattern": _MAP_NAME},
            "additionalProperties": {"$ref": "#/definitions/map"},
        },
        "test": TEST,
        "health": HEALTH,
    },
    title="Specification",
    description="Objects, attachments, maps and constants of this pipeline.",
)


@functools.cache
def pipeline_schema() -> dict[str, Any]:
    """The whole schema, as published."""
    top = {
        "apiVersion": {"title": "API version", "description": f"Always {API_VERSION}.", "const": API_VERSION},
        "kind": {"title": "Kind", "description": "Always Pipeline.", "const": "Pipeline"},
        "metadata": _object(
            ("name",),
            {
                "name": {
                    "title": "Name",
                    "description": "The pipeline's identity: a small letter, then small letters, digits and dashes, "
                    "63 at most.",
                    "type": "string",
                    "pattern": "^[a-z][a-z0-9-]{0,62}$",
                }
            },
            title="Metadata",
            description="The name of this pipeline.",
        ),
        "spec": _SPEC,
    }
    words = {"title": "reloader pipeline", "description": "The unit of reload: one YAML document."}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        **_object(tuple(top), top, **words),
        "definitions": {
            "object": _OBJECT_REF,
            "entry": _ENTRY,
            "map": _MAP,
            "check": CHECK,
            "attach": _attach(),
            **_attach_types(),
            **TEST_DEFINITIONS,
        },
    }


def published() -> str:
    """The text of schemas/pipeline.schema.json."""
    return json.dumps(pipeline_schema(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    print(published(), end="")
