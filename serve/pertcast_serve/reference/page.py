"""The reference as HTML: what each path is for, what it takes and gives, and how to call it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from markupsafe import Markup

from pertcast_serve.page.html import render
from pertcast_serve.reference.document import TAGS, operations_of
from pertcast_serve.reference.examples import ExampleNames, example_body, example_path
from pertcast_serve.reference.fields import FieldRow, field_rows, kind_of, parameter_rows, type_anchor
from pertcast_serve.reference.snippets import command_text, python_text


@dataclass(frozen=True)
class AnswerRow:
    """One answer of an operation.

    Attributes
    ----------
    status, text
        HTTP status, and when it is given.
    media_types
        What it may be written as.
    kind
        Its type.
    """

    status: str
    text: str
    media_types: str
    kind: Markup


@dataclass(frozen=True)
class OperationView:
    """One path with one method, as the reference shows it."""

    anchor: str
    method: str
    path: str
    summary: str
    more: str
    needs_key: bool
    parameters: list[FieldRow]
    body: Markup | None
    fields: list[FieldRow]
    example: str
    answers: list[AnswerRow]
    curl: str
    python: str


@dataclass(frozen=True)
class TypeView:
    """One type of bodies, as the reference shows it."""

    anchor: str
    name: str
    text: str
    rows: list[FieldRow]
    kind: Markup


def reference_html(document: Mapping[str, Any], origin: str, names: ExampleNames, is_open: bool) -> str:
    """Return the reference of an OpenAPI document.

    Parameters
    ----------
    document
        As `tidy_document` makes it.
    origin
        Address of the server, as its callers reach it.
    names
        What examples are made of.
    is_open
        Whether the server needs no keys at all.
    """
    groups: dict[str, list[OperationView]] = {name: [] for name in TAGS}
    for path, method, operation in operations_of(dict(document)):
        view = _operation(path, method, operation, origin, names, is_open)
        if (schema := _body_schema(operation)) is not None:
            known = document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
            view = replace(view, body=kind_of(schema), fields=field_rows(known))
        groups.setdefault(operation["tags"][0], []).append(view)
    types = [_type(name, schema) for name, schema in sorted(document["components"]["schemas"].items())]
    return render(
        "reference.html",
        groups={name: views for name, views in groups.items() if views},
        types=types,
        version=document["info"]["version"],
        origin=origin,
        is_open=is_open,
    )


def anchor_of(method: str, path: str) -> str:
    """Return the anchor of an operation."""
    words = [word.strip("{}") for word in path.split("/") if word]
    return "-".join([method, *words])


def _operation(
    path: str, method: str, operation: dict[str, Any], origin: str, names: ExampleNames, is_open: bool
) -> OperationView:
    body = example_body(path, names) if "requestBody" in operation else None
    address = origin + example_path(path, names)
    needs_key = not is_open and operation.get("security") != []
    first, _, more = operation.get("description", "").partition("\n\n")
    return OperationView(
        anchor=anchor_of(method, path),
        method=method.upper(),
        path=path,
        summary=" ".join(first.split()),
        more=" ".join(more.split()),
        needs_key=needs_key,
        parameters=parameter_rows(operation),
        body=None,
        fields=[],
        example="" if body is None else json.dumps(body, indent=1, ensure_ascii=False),
        answers=[_answer(status, answer) for status, answer in operation["responses"].items()],
        curl=command_text(method, address, body, needs_key),
        python=python_text(method, path, address, origin, body, names, needs_key),
    )


def _body_schema(operation: Mapping[str, Any]) -> dict[str, Any] | None:
    if "requestBody" not in operation:
        return None
    schema: dict[str, Any] = next(iter(operation["requestBody"]["content"].values()))["schema"]
    return schema


def _answer(status: str, answer: Mapping[str, Any]) -> AnswerRow:
    content = answer.get("content", {})
    kinds = dict.fromkeys(kind_of(each["schema"]) for each in content.values() if each.get("schema"))
    return AnswerRow(status, answer.get("description", ""), ", ".join(content), Markup(" or ").join(kinds))


def _type(name: str, schema: Mapping[str, Any]) -> TypeView:
    text = " ".join(schema.get("description", "").split())
    return TypeView(type_anchor(name), name, text, field_rows(schema), kind_of(schema))
