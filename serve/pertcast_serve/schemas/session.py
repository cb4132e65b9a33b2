"""Logging in from a browser."""

from __future__ import annotations

from pydantic import Field

from pertcast_serve.access.caller import Scope
from pertcast_serve.schemas.base import RequestSchema, Schema


class SessionRequest(RequestSchema):
    """A key that a browser keeps for its page."""

    key: str = Field(min_length=1, max_length=200, description="As `pertcast key create` printed it.")


class Session(Schema):
    """Who is logged in."""

    name: str = Field(description="Name of the key.")
    scopes: list[Scope] = Field(description="What it may do.")
