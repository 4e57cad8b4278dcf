"""Whether a value fits a JSON Schema, without importing jsonschema: the common case costs a tenth of its import.

Knows the keywords our schema uses. "No" only means that jsonschema has to look, and it alone words the findings;
a test holds the two to the same verdict.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from typing import Any

Schema = Mapping[str, Any]


def fits(value: Any, schema: Schema, root: Schema) -> bool:
    """True only if jsonschema would find nothing; `root` holds the definitions that $ref names."""
    if "$ref" in schema:  # in draft-07 nothing beside it counts
        return fits(value, root["definitions"][schema["$ref"].removeprefix("#/definitions/")], root)
    for word, limit in schema.items():
        if word not in _SILENT and not (word in _RULES and _RULES[word](value, limit, schema, root)):
            return False
    return True


@functools.cache
def ecma(pattern: str) -> re.Pattern[str]:
    """A schema's pattern with `$` as ECMA means it: the end, not also the place before a last newline."""
    return re.compile(pattern[:-1] + r"\Z" if pattern.endswith("$") else pattern)


Rule = Callable[[Any, Any, Schema, Schema], bool]

_SILENT = frozenset({"$schema", "title", "description", "default", "definitions", "then"})

_TYPES: dict[str, Callable[[Any], bool]] = {
    "string": lambda v: isinstance(v, str),
    "integer": lambda v: isinstance(v, int) and not isinstance(v, bool),
    "number": lambda v: isinstance(v, (int, float)) and not isinstance(v, bool),
    "boolean": lambda v: isinstance(v, bool),
    "array": lambda v: isinstance(v, list),
    "object": lambda v: isinstance(v, dict),
    "null": lambda v: v is None,
}


def _type(value: Any, limit: Any, _: Schema, __: Schema) -> bool:
    return _TYPES[limit](value) if isinstance(limit, str) else any(_TYPES[kind](value) for kind in limit)


def _one_of(value: Any, limit: Any, _: Schema, __: Schema) -> bool:
    return isinstance(value, str) and value in limit


def _properties(value: Any, limit: Any, _: Schema, root: Schema) -> bool:
    return not isinstance(value, dict) or all(fits(value[n], rule, root) for n, rule in limit.items() if n in value)


def _additional(value: Any, limit: Any, schema: Schema, root: Schema) -> bool:
    if not isinstance(value, dict):
        return True
    rest = value.keys() - schema.get("properties", {}).keys()
    return not rest if limit is False else all(fits(value[name], limit, root) for name in rest)


def _if(value: Any, limit: Any, schema: Schema, root: Schema) -> bool:
    return not fits(value, limit, root) or fits(value, schema["then"], root)


_RULES: dict[str, Rule] = {
    "type": _type,
    "enum": _one_of,
    "const": lambda v, limit, _, __: isinstance(v, str) and v == limit,
    "pattern": lambda v, limit, _, __: not isinstance(v, str) or bool(ecma(limit).search(v)),
    "minLength": lambda v, limit, _, __: not isinstance(v, str) or len(v) >= limit,
    "minimum": lambda v, limit, _, __: not isinstance(v, (int, float)) or v >= limit,
    "maximum": lambda v, limit, _, __: not isinstance(v, (int, float)) or v <= limit,
    "minItems": lambda v, limit, _, __: not isinstance(v, list) or len(v) >= limit,
    "items": lambda v, limit, _, root: not isinstance(v, list) or all(fits(item, limit, root) for item in v),
    "uniqueItems": lambda v, _, __, ___: not isinstance(v, list) or _all_different(v),
    "required": lambda v, limit, _, __: not isinstance(v, dict) or all(name in v for name in limit),
    "minProperties": lambda v, limit, _, __: not isinstance(v, dict) or len(v) >= limit,
    "maxProperties": lambda v, limit, _, __: not isinstance(v, dict) or len(v) <= limit,
    "properties": _properties,
    "additionalProperties": _additional,
    "propertyNames": lambda v, limit, _, root: not isinstance(v, dict) or all(fits(name, limit, root) for name in v),
    "not": lambda v, limit, _, root: not fits(v, limit, root),
    "allOf": lambda v, limit, _, root: all(fits(v, part, root) for part in limit),
    "if": _if,
}


def _all_different(items: list[Any]) -> bool:
    """Of texts; anything else is left to jsonschema."""
    return all(isinstance(item, str) for item in items) and len(set(items)) == len(items)
