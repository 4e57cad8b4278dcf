"""schema.py: the published schema is the composed one, and good enough for an editor."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from jsonschema import Draft7Validator

from reloader.paths import shipped_dir
from reloader.pipeline import schema


def test_published_schema_is_the_composed_one() -> None:
    published = (shipped_dir("schemas") / "pipeline.schema.json").read_text()
    assert published == schema.published(), "run: python -m reloader.pipeline.schema > schemas/pipeline.schema.json"


def test_it_is_a_draft_07_schema() -> None:
    Draft7Validator.check_schema(schema.pipeline_schema())
    assert schema.pipeline_schema()["$schema"] == "http://json-schema.org/draft-07/schema#"


def properties(node: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(node, dict):
        inside_if = path.endswith("/if")
        for name, rule in ({} if inside_if else node.get("properties", {})).items():
            yield f"{path}/{name}", rule
        for key, child in node.items():
            yield from properties(child, f"{path}/{key}")
    elif isinstance(node, list):
        for index, child in enumerate(node):
            yield from properties(child, f"{path}/{index}")


def test_every_property_says_what_it_is() -> None:
    missing = [p for p, rule in properties(schema.pipeline_schema()) if not (rule.get("title") and rule["description"])]
    assert missing == []


def test_every_object_is_closed() -> None:
    text = json.dumps(schema.pipeline_schema())
    assert "x-" not in {word[:2] for word in text.split('"')}
    for path, rule in properties(schema.pipeline_schema()):
        if rule.get("type") == "object":
            assert "additionalProperties" in rule, path
