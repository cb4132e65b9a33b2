"""Problems as endpoints declare them."""

from __future__ import annotations

from typing import Any

from pertcast_serve.problems import MEDIA_TYPE
from pertcast_serve.schemas.base import Problem

PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"content": {MEDIA_TYPE: {"schema": Problem.model_json_schema()}}, "description": text}
    for status, text in (
        (401, "No valid key"),
        (403, "The key lacks the scope"),
        (404, "There is no such thing"),
        (406, "No answer in this media type"),
        (413, "Body too large"),
        (422, "Request refused, with the remedy"),
        (429, "Too many requests of this key"),
        (503, "Overloaded or not ready; retry later"),
    )
}
