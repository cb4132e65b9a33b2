"""How to send a key, in the OpenAPI document: clients that are made from it then know."""

from __future__ import annotations

from typing import Any, Final

from fastapi import FastAPI

from pertcast_serve.access.identity import COOKIE
from pertcast_serve.access.paths import needs_key

SCHEMES: Final[dict[str, dict[str, str]]] = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "A key of `pertcast key create`."},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    "session": {"type": "apiKey", "in": "cookie", "name": COOKIE, "description": "POST /v1/session sets it."},
}


def document_keys(api: FastAPI) -> None:
    """Make the document of `api` say how keys are sent, and which paths need none."""
    plain = api.openapi

    def documented() -> dict[str, Any]:
        document = plain()
        # FastAPI gives the same object each time: what is done twice is the same.
        document.setdefault("components", {})["securitySchemes"] = SCHEMES
        document["security"] = [{name: []} for name in SCHEMES]
        for path, methods in document.get("paths", {}).items():
            if not needs_key(path):
                for operation in methods.values():
                    operation["security"] = []
        return document

    api.openapi = documented  # type: ignore[method-assign]
