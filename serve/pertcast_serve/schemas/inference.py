"""Bodies of the Open Inference Protocol, version 2 (open-inference/docs, REST).

Fields that the protocol lets clients add are ignored; what we send has its fields only.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from pertcast_serve.schemas.base import Schema
from pertcast_serve.schemas.predict import MAX_CONDITIONS

Datatype = Literal["BYTES", "FP64", "FP32", "BOOL"]
Parameters = dict[Annotated[str, Field(max_length=100)], Any]


class _Sent(BaseModel):
    """Base of what is sent to us; the protocol allows clients to add fields."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")


class InferInput(_Sent):
    """One input tensor: a value a condition."""

    name: str = Field(min_length=1, max_length=100, description="One that the model's metadata lists.")
    shape: list[Annotated[int, Field(ge=0)]] = Field(
        min_length=1, max_length=2, description="[N] or [N, 1] for N conditions.", examples=[[1]]
    )
    datatype: str = Field(max_length=20, description="BYTES for text; FP64 or FP32 for numbers.")
    parameters: Parameters = Field(default_factory=dict)
    data: list[Any] = Field(
        max_length=MAX_CONDITIONS,
        description='Values, flat or row by row. Missing: "" in text, null or NaN in numbers.',
    )


class RequestedOutput(_Sent):
    """One output that is wanted."""

    name: str = Field(min_length=1, max_length=100)
    parameters: Parameters = Field(default_factory=dict)


class InferRequest(_Sent):
    """Conditions as tensors."""

    id: str | None = Field(default=None, max_length=200, description="Returned with the answer.")
    parameters: Parameters = Field(
        default_factory=dict, description='`genes`: only these, joined by ","; all where absent.'
    )
    inputs: list[InferInput] = Field(min_length=1, max_length=20)
    outputs: list[RequestedOutput] | None = Field(
        default=None, max_length=20, description="mean, sd, sig_id and is_in_domain where absent."
    )


class OutputTensor(Schema):
    """One output tensor, its data flat, row by row."""

    name: str
    shape: list[int]
    datatype: Datatype
    data: list[Any]


class InferResponse(Schema):
    """Predictions as tensors."""

    model_name: str
    model_version: str
    id: str | None = None
    parameters: dict[str, Any] = Field(description="bundle, gene_space and rows_per_pass, as of /v1/predict.")
    outputs: list[OutputTensor]


class TensorMetadata(Schema):
    """A tensor of a model; -1 stands for the number of conditions."""

    name: str
    datatype: Datatype
    shape: list[int]


class ModelMetadata(Schema):
    """A model as the protocol describes it."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class ServerMetadata(Schema):
    """The server as the protocol describes it."""

    name: str
    version: str
    extensions: list[str] = Field(description="None: tensors travel as JSON, not as binary data.")


class Live(Schema):
    """Whether the server runs."""

    live: bool


class Ready(Schema):
    """Whether the server can answer."""

    ready: bool


class ModelReady(Schema):
    """Whether a model can answer."""

    name: str
    ready: bool


class InferenceError(Schema):
    """What went wrong and what to do, as the protocol writes it."""

    error: str
