"""A document against the schema: every error of jsonschema becomes a Problem in the author's words and place.

Between text.py and parse.py. Imports jsonschema late; errors and spec.{text,schema,fits} otherwise.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from reloader.errors import ENOUGH, Problem
from reloader.spec.did_you_mean import suggestion
from reloader.spec.fits import ecma, fits
from reloader.spec.schema import pipeline_schema
from reloader.spec.text import Document, Steps, dotted

_PLANNED = frozenset({"chain", "cgroup", "layout", "source"})  # fields that are promised
_WORDS = {
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "a mapping",
    "null": "nothing",
}


SchemaOf = Callable[[], dict[str, Any]]
Finding = tuple[Steps, str, str, bool]  # where, message, hint, whether the key is meant


def check(document: Document, file: str, schema_of: SchemaOf = pipeline_schema) -> list[Problem]:
    """Everything the schema finds wrong with a document, once each. jsonschema is imported only to say what."""
    found: dict[Problem, None] = {}
    for steps, message, hint, at_key in _findings(document, schema_of):
        found[_problem(document, file, steps, message, hint, at_key=at_key)] = None
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


def _problem(document: Document, file: str, steps: Steps, message: str, hint: str, *, at_key: bool) -> Problem:
    mark = document.mark(steps, key=at_key)
    return Problem(file=file, line=mark.line, column=mark.column, path=dotted(steps), message=message, hint=hint)


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
    template = _TEMPLATES.get(error.validator, "is not allowed here")
    message = template.format(limit=error.validator_value, value=_shown(error.instance))
    return [(steps, message, _described(error), False)]


_TEMPLATES = {
    "const": "must be {limit}, not {value}",
    "minItems": "must hold at least {limit} item",
    "minLength": "must not be empty",
    "minimum": "must be at least {limit}",
    "maximum": "must be at most {limit}",
    "minProperties": "must not be empty",
    "maxProperties": "holds more than {limit} field",
    "uniqueItems": "names something twice",
    "pattern": "{value} is not allowed here",
    "not": "must not be empty",
}


def _described(error: Any) -> str:
    return str(error.schema.get("description", "")).removesuffix(".")


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
            hint = "not in this version" if name in _PLANNED else suggestion(name, known)
            yield (*steps, name), f"unknown field {name!r}", hint, True


def _missing(error: Any, steps: Steps) -> Iterable[Finding]:
    """All missing fields at once; `check` drops the repetitions."""
    for name in error.validator_value:
        if name not in error.instance:
            rule = error.schema.get("properties", {}).get(name, {})
            hint = "one of " + ", ".join(rule["enum"]) if "enum" in rule else rule.get("description", "")
            yield steps, f"the field {name!r} is missing", str(hint).removesuffix("."), True


def _choice(error: Any, steps: Steps) -> Iterable[Finding]:
    if not isinstance(error.instance, str):
        return []  # the type is reported already
    choices = [str(c) for c in error.validator_value]
    message = f"{_shown(error.instance)} is none of {', '.join(choices)}"
    hint = suggestion(error.instance, choices)
    other = "not in this version" if steps[-1] == "type" else ""
    return [(steps, message, hint if hint.startswith("did") else other, False)]


def _type(error: Any, steps: Steps) -> Iterable[Finding]:
    wanted = error.validator_value
    kinds = wanted if isinstance(wanted, list) else [wanted]
    message = f"must be {' or '.join(_WORDS[k] for k in kinds)}, not {_kind(error.instance)}"
    number = isinstance(error.instance, (bool, int, float)) and "string" in kinds
    return [(steps, message, "put it in quotes" if number else _described(error), False)]


def _kind(value: Any) -> str:
    if value is None or isinstance(value, (bool, int, float)):
        return "nothing" if value is None else f"the {'value' if isinstance(value, bool) else 'number'} {_shown(value)}"
    return _shown(value)


def _bad_name(error: Any, steps: Steps) -> Iterable[Finding]:
    yield (*steps, error.instance), f"{_shown(error.instance)} is no name of a map", "as in the object", True


_SPECIAL: dict[str, Callable[[Any, Steps], Iterable[Finding]]] = {
    "additionalProperties": _unknown,
    "required": _missing,
    "enum": _choice,
    "type": _type,
}
