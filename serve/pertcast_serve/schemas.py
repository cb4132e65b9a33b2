"""What endpoints take and give, as typed models; they make the OpenAPI document.

Profiles travel as one flat array (row by row) beside a gene-space id: 8 KB for 978 genes, not 36.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

MAX_CONDITIONS = 256
"""Most conditions in one /v1/predict request; published in /v1/metadata."""


class Schema(BaseModel):
    """Base of all bodies: unknown fields are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Condition(Schema):
    """One condition in CMap words."""

    cell_iname: str = Field(min_length=1, max_length=200, description="Cell line (or other context).")
    pert_id: str = Field(
        min_length=1,
        max_length=1000,
        description='Gene or compound; combinations as "A+B".',
        examples=["TP53"],
    )
    pert_type: str = Field(default="trt_cp", max_length=20, description="CMap code, e.g. trt_cp, trt_xpr.")
    pert_dose: float | None = Field(default=None, gt=0, lt=1e9, allow_inf_nan=False, description="Dose.")
    pert_dose_unit: str = Field(default="uM", max_length=8)
    pert_time: float | None = Field(default=None, gt=0, lt=1e6, allow_inf_nan=False, description="Time.")
    pert_time_unit: str = Field(default="h", max_length=8)
    canonical_smiles: str | None = Field(
        default=None, max_length=5000, description="Structure; needed for compounds unseen in training."
    )


class PredictRequest(Schema):
    """Conditions to predict."""

    conditions: list[Condition] = Field(min_length=1, max_length=MAX_CONDITIONS)
    genes: list[str] | None = Field(
        default=None, max_length=2000, description="Only these genes, in this order; all genes where absent."
    )


class ItemError(Schema):
    """Why one condition was not predicted."""

    index: int = Field(description="Position in the request.")
    field: str
    value: str
    message: str
    suggestions: list[str] = Field(default_factory=list, description="Nearest known names.")


class PredictedItem(Schema):
    """One predicted condition and how far it lies from training."""

    index: int = Field(description="Position in the request.")
    sig_id: str
    seen_pert: bool
    seen_cell: bool
    nn_train_dist: float | None = Field(description="Distance to the nearest training perturbation, 0 to 1.")
    is_in_domain: bool | None


class PredictResponse(Schema):
    """Predicted responses, row by row in `items`' order."""

    model: str
    bundle: str = Field(description="Hash of the bundle.")
    gene_space: str = Field(description="Id of the gene space; /v1/metadata lists its genes.")
    genes: list[str] | None = Field(default=None, description="Given only where the request chose genes.")
    n_genes: int
    items: list[PredictedItem]
    mean: list[float] = Field(description="len(items) x n_genes responses, flat.")
    sd: list[float] | None = Field(
        description="Spread of single profiles, flat; null where the model has none."
    )
    errors: list[ItemError]


class Problem(BaseModel):
    """An error as RFC 9457 problem+json."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    errors: list[dict[str, Any]] = Field(default_factory=list)


class Metadata(Schema):
    """What the served model is and accepts."""

    model: str
    title: str
    bundle: str
    version: str
    measure: str
    gene_space: str
    genes: list[str]
    cell_lines: list[str]
    pert_types: list[str]
    n_perturbations: int
    licence: str | None
    held_out_metrics: dict[str, Any]
    limits: dict[str, int]


class Version(Schema):
    """Versions of the server."""

    pertcast: str
    api: str = "v1"


class Health(Schema):
    """State of a probe."""

    status: str
