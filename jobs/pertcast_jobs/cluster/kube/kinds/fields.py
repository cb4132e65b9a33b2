"""What the models of kinds are made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

Plain = Mapping[str, Any]
Count = Annotated[int, Field(ge=0)]


class Fields(BaseModel):
    """Base: names as Kubernetes writes them, no unknown ones, no number where a text belongs."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, alias_generator=to_camel)
