"""Makes the OpenAPI document tidy: groups, plain operation ids, one schema of problems, no answer omitted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from fastapi import FastAPI
from fastapi.routing import APIRoute
from pydantic import BaseModel

from pertcast_serve.endpoints.problem_schemas import PROBLEMS
from pertcast_serve.schemas.base import Problem
from pertcast_serve.schemas.inference import InferenceError

TAGS: Final[dict[str, tuple[str, ...]]] = {
    "Predictions": ("/v1/predict",),
    "Profiles and signatures": (
        "/v1/enrichment",
        "/v1/connectivity",
        "/v1/neighbors",
        "/v1/gene_sets",
        "/v1/libraries",
    ),
    "Screens": ("/v1/screens",),
    "Models and names": ("/v1/metadata", "/v1/models", "/v1/genes", "/v1/compounds", "/v1/cell_lines"),
    "Open Inference Protocol": ("/v2",),
    "Server": ("/v1/health", "/v1/version", "/v1/session", "/metrics"),
}
"""Group -> how its paths begin; the reference shows them in this order."""

_METHODS: Final = ("get", "head", "post", "put", "patch", "delete")
_SHARED: Final[dict[str, type[BaseModel]]] = {"Problem": Problem, "InferenceError": InferenceError}
_BAD_JSON: Final = "The body is no JSON"


def operation_id(route: APIRoute) -> str:
    """Return the id of an operation: its method and the words of its path, without the version 1."""
    words = [word.strip("{}").partition(":")[0] for word in route.path.split("/") if word not in ("", "v1")]
    return "_".join([min(route.methods or {"GET"}).lower(), *words])


def tidy_document(api: FastAPI) -> None:
    """Make the OpenAPI document of `api` tidy, whenever it is made."""
    plain = api.openapi

    def tidied() -> dict[str, Any]:
        document = plain()
        # FastAPI gives the same object each time: what is done twice is the same.
        for path, method, operation in operations_of(document):
            _tidy(path, method, operation)
        _share_schemas(document)
        document["tags"] = [{"name": name} for name in TAGS]
        return document

    api.openapi = tidied  # type: ignore[method-assign]


def operations_of(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield (path, method, operation) of all that a document describes."""
    for path, methods in document.get("paths", {}).items():
        for method in _METHODS:
            if method in methods:
                yield path, method, methods[method]


def tag_of(path: str) -> str:
    """Return the group of a path."""
    return next((tag for tag, begins in TAGS.items() if path.startswith(begins)), "Server")


def _tidy(path: str, method: str, operation: dict[str, Any]) -> None:
    operation["tags"] = [tag_of(path)]
    description = " ".join(operation.get("description", "").split("\n\n")[0].split())
    if description:
        operation["summary"] = description.rstrip(".")
    responses = operation["responses"]
    if path.startswith("/v2"):
        # FastAPI adds it; the protocol has no 422.
        responses.pop("422", None)
    elif "requestBody" in operation:
        responses.setdefault("400", {**PROBLEMS[422], "description": _BAD_JSON})
    if not path.startswith(("/v1/health", "/v2/health")):
        responses.setdefault("403", dict(PROBLEMS[403]))
    for answer in responses.values():
        if answer.get("description") == "Successful Response":
            answer["description"] = "The answer"
    operation["responses"] = dict(sorted(responses.items()))


def _share_schemas(document: dict[str, Any]) -> None:
    """Describe problems once, and drop schemas that nothing uses."""
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    for name, schema in _SHARED.items():
        described = schema.model_json_schema()
        for response in _responses(document):
            contents = response.get("content", {})
            contents |= {each: _referred(content, described, name) for each, content in contents.items()}
        schemas[name] = described
    text = str(document["paths"])
    for name in ("HTTPValidationError", "ValidationError"):
        if f"schemas/{name}'" not in text:
            schemas.pop(name, None)


def _responses(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for _, _, operation in operations_of(document):
        yield from operation["responses"].values()


def _referred(content: dict[str, Any], described: dict[str, Any], name: str) -> dict[str, Any]:
    same = content.get("schema") == described
    return {"schema": {"$ref": f"#/components/schemas/{name}"}} if same else content
