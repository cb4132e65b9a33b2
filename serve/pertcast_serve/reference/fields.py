"""JSON schemas as people read them: a row a field, types as links, bounds in words."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from markupsafe import Markup

Schema = Mapping[str, Any]

_WORDS: Final = {"string": "text", "number": "number", "integer": "whole number", "boolean": "true or false"}
_REF: Final = "#/components/schemas/"


@dataclass(frozen=True)
class FieldRow:
    """One field of a body, or one parameter.

    Attributes
    ----------
    name, kind
        What it is called, and its type with its bounds.
    need
        "required", or its default.
    text
        What it means.
    place
        Where a parameter stands: path, query, header; empty for fields.
    """

    name: str
    kind: Markup
    need: str
    text: str
    place: str = ""


def type_anchor(name: str) -> str:
    """Return the anchor of a type."""
    return f"type-{name}"


def field_rows(schema: Schema) -> list[FieldRow]:
    """Return the fields of an object's schema, those that are required first."""
    required = set(schema.get("required", ()))
    rows = [
        FieldRow(name, kind_of(field), _need(name in required, field), field.get("description", ""))
        for name, field in schema.get("properties", {}).items()
    ]
    return sorted(rows, key=lambda row: row.need != "required")


def parameter_rows(operation: Schema) -> list[FieldRow]:
    """Return the parameters of an operation."""
    return [
        FieldRow(
            each["name"],
            kind_of(each.get("schema", {})),
            _need(each.get("required", False), each.get("schema", {})),
            each.get("description", "") or each.get("schema", {}).get("description", ""),
            each["in"],
        )
        for each in operation.get("parameters", ())
    ]


def _need(is_required: bool, field: Schema) -> str:
    if is_required:
        return "required"
    default = field.get("default")
    return "" if default in (None, "", [], {}) else json.dumps(default)


def kind_of(schema: Schema) -> Markup:
    """Return a schema's type in words, its own types as links to their tables."""
    if "$ref" in schema:
        name = schema["$ref"].removeprefix(_REF)
        return Markup('<a href="#{}">{}</a>').format(type_anchor(name), name)
    if "anyOf" in schema:
        kinds = [kind_of(each) for each in schema["anyOf"]]
        return Markup(" or ").join(dict.fromkeys(kinds))
    if "const" in schema:
        return Markup("{}").format(json.dumps(schema["const"]))
    if "enum" in schema:
        return Markup("one of {}").format(", ".join(map(str, schema["enum"])))
    return _plain_kind(schema)


def _plain_kind(schema: Schema) -> Markup:
    kind = schema.get("type")
    if kind == "array":
        return Markup("list of {}{}").format(kind_of(schema.get("items", {})), _bounds(schema))
    if kind == "object":
        values = schema.get("additionalProperties")
        if isinstance(values, Mapping):
            return Markup("object: name to {}{}").format(kind_of(values), _bounds(schema))
        return Markup("object")
    if kind == "null":
        return Markup("null")
    if schema.get("format") == "binary":
        return Markup("bytes")
    return Markup("{}{}").format(_WORDS.get(str(kind), "any value"), _bounds(schema))


def _bounds(schema: Schema) -> str:
    """Return the bounds of a type, for example ", 1 to 256"."""
    for least, most, unit in (
        ("minLength", "maxLength", " letters"),
        ("minItems", "maxItems", ""),
        ("minProperties", "maxProperties", ""),
        ("minimum", "maximum", ""),
    ):
        if least in schema or most in schema:
            return ", " + _span(schema.get(least), schema.get(most)) + unit
    over, under = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    words = [f"over {over:g}"] if over is not None else []
    words += [f"under {under:g}"] if under is not None else []
    return f", {' and '.join(words)}" if words else ""


def _span(least: float | None, most: float | None) -> str:
    if least is None or most is None:
        return f"at least {least:,.12g}" if most is None else f"at most {most:,.12g}"
    return f"{least:,.12g} to {most:,.12g}"
