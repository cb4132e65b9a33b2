"""What all bodies share: unknown fields are errors, numbers are numbers, an error is a `Problem`."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

GeneName = Annotated[str, Field(min_length=1, max_length=200)]
Name = Annotated[str, Field(min_length=1, max_length=200)]

ModelName = Annotated[
    str | None,
    Field(
        max_length=200,
        description="Name of a served model, or name@version; the first one where absent.",
        examples=["default"],
    ),
]


class Schema(BaseModel):
    """Base of all bodies: unknown fields are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class RequestSchema(Schema):
    """Base of what is sent to us: a number in quotes or a boolean is no number."""

    model_config = ConfigDict(strict=True)


class Problem(BaseModel):
    """An error as RFC 9457 problem+json."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    errors: list[dict[str, Any]] = Field(default_factory=list)


class Version(Schema):
    """Versions of the server."""

    pertcast: str
    api: str = "v1"


class Health(Schema):
    """State of a probe."""

    status: str
