"""A document against the schema: every error of jsonschema becomes a Problem in the author's words and place.

Between pipeline/document.py and parse.py.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from reloader.errors import ENOUGH, Problem
from reloader.pipeline import texts
from reloader.pipeline.did_you_mean import suggestion
from reloader.pipeline.document import Document, Steps, dotted
from reloader.pipeline.fits import ecma, fits
from reloader.pipeline.schema import pipeline_schema
from reloader.wording.message import Message, Text, code_of

_PLANNED = frozenset({"chain", "source"})  # fields that are promised
_WORDS = {
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "a mapping",
    "null": "null",
}


SchemaOf = Callable[[], dict[str, Any]]
Finding = tuple[Steps, Message, bool]  # where, what, whether the key is meant


def check(document: Document, file: str, schema_of: SchemaOf = pipeline_schema) -> list[Problem]:
    """Everything the schema finds wrong with a document, once each. jsonschema is imported only to say what."""
    found: dict[Problem, None] = {}
    for steps, message, at_key in _findings(document, schema_of):
        found[Problem.at(file, message, *document.mark(steps, key=at_key), dotted(steps))] = None
        if len(found) >= ENOUGH:
            break
    return list(found)


def refused(document: Document, schema_of: SchemaOf = pipeline_schema) -> list[Steps]:
    """Where the schema finds something wrong; of a missing field, what lacks it."""
    return list(dict.fromkeys(steps for steps, *_ in _findings(document, schema_of)))


def _findings(document: Document, schema_of: SchemaOf) -> Iterator[Finding]:
    if fits(document.value, schema_of(), schema_of()):
        return
    for error in _validator(schema_of).iter_errors(document.value):
        yield from _explain(_useful(error))


@functools.cache
def _validator(schema_of: SchemaOf = pipeline_schema) -> Any:
    from jsonschema import Draft7Validator, validators

    return validators.extend(Draft7Validator, {"pattern": _pattern})(schema_of())  # type: ignore[no-untyped-call]


def _pattern(_: Any, pattern: str, instance: Any, __: Any) -> Iterator[Any]:
    """`pattern` as fits.py reads it."""
    from jsonschema import ValidationError

    if isinstance(instance, str) and not ecma(pattern).search(instance):
        yield ValidationError("pattern")


def _useful(error: Any) -> Any:
    """Of an anyOf or oneOf, the branch that comes nearest."""
    from jsonschema.exceptions import relevance

    while error.context:
        error = min(error.context, key=relevance)
    return error


def _explain(error: Any) -> Iterable[Finding]:
    steps: Steps = tuple(error.absolute_path)
    named = "propertyNames" in error.absolute_schema_path  # the instance is a key, its path the mapping's
    special = _bad_name if named else _SPECIAL.get(error.validator)
    if special:
        return special(error, steps)
    text = _TEXTS.get(error.validator, texts.NOT_ALLOWED)
    message = text(limit=error.validator_value, value=_shown(error.instance), hint=_described(error))
    return [(steps, message, False)]


_TEXTS: dict[str, Text] = {
    "const": texts.WRONG_CONSTANT,
    "minItems": texts.TOO_FEW_ITEMS,
    "minLength": texts.EMPTY_TEXT,
    "minimum": texts.NUMBER_TOO_SMALL,
    "maximum": texts.NUMBER_TOO_LARGE,
    "minProperties": texts.EMPTY_MAPPING,
    "maxProperties": texts.TOO_MANY_FIELDS,
    "uniqueItems": texts.DUPLICATE_ITEM,
    "pattern": texts.INVALID_TEXT,
    "not": texts.EMPTY_VALUE,
}


def _described(error: Any) -> str:
    return _description(error.schema)


def _description(rule: Mapping[str, Any]) -> str:
    return str(rule.get("description", "")).removesuffix(".")


def _shown(value: Any) -> str:
    """A value, short enough for a line."""
    if isinstance(value, str):
        return repr(value) if len(value) <= 60 else repr(value[:57]) + "…"
    if isinstance(value, (dict, list)):
        return "a mapping" if isinstance(value, dict) else "a list"
    return "null" if value is None else str(value).lower()


def _unknown(error: Any, steps: Steps) -> Iterable[Finding]:
    known = error.schema.get("properties", {})
    for name in error.instance:
        if name not in known:
            if name in _PLANNED:
                yield (*steps, name), texts.FIELD_NOT_AVAILABLE(name=name), True
            else:
                yield (*steps, name), texts.UNKNOWN_FIELD(name=name, hint=suggestion(name, known)), True


def _missing(error: Any, steps: Steps) -> Iterable[Finding]:
    """All missing fields at once; `check` drops the repetitions."""
    for name in error.validator_value:
        if name not in error.instance:
            rule = error.schema.get("properties", {}).get(name, {})
            hint = texts.CHOOSE_ONE(names=rule["enum"]) if "enum" in rule else _description(rule)
            yield steps, texts.MISSING_FIELD(name=name, hint=hint), True


def _choice(error: Any, steps: Steps) -> Iterable[Finding]:
    if not isinstance(error.instance, str):
        return []  # the type is reported already
    choices = [str(c) for c in error.validator_value]
    value, hint = _shown(error.instance), suggestion(error.instance, choices)
    if code_of(hint) != texts.DID_YOU_MEAN.code:
        hint = texts.TYPE_NOT_AVAILABLE(value=value) if steps[-1] == "type" else ""
    return [(steps, texts.NOT_A_CHOICE(value=value, choices=choices, hint=hint), False)]


def _type(error: Any, steps: Steps) -> Iterable[Finding]:
    wanted = error.validator_value
    kinds = wanted if isinstance(wanted, list) else [wanted]
    number = isinstance(error.instance, (bool, int, float)) and "string" in kinds
    hint = texts.PUT_IN_QUOTES() if number else _described(error)
    wanted = " or ".join(_WORDS[k] for k in kinds)
    return [(steps, texts.WRONG_TYPE(wanted=wanted, value=_kind(error.instance), hint=hint), False)]


def _kind(value: Any) -> str:
    if isinstance(value, (bool, int, float)):
        return f"the {'value' if isinstance(value, bool) else 'number'} {_shown(value)}"
    return _shown(value)


def _bad_name(error: Any, steps: Steps) -> Iterable[Finding]:
    yield (*steps, error.instance), texts.INVALID_MAP_NAME(value=_shown(error.instance)), True


_SPECIAL: dict[str, Callable[[Any, Steps], Iterable[Finding]]] = {
    "additionalProperties": _unknown,
    "required": _missing,
    "enum": _choice,
    "type": _type,
}
