"""What endpoints take and give, as typed models; they make the OpenAPI document.

Profiles travel as one flat array (row by row) beside a gene-space id: about 10 KB for 978 genes, not 36.
"""

from __future__ import annotations

from pydantic import Field, field_validator

from pertcast_serve.schemas.base import GeneName, ModelName, RequestSchema, Schema

MAX_CONDITIONS = 256
"""Most conditions in one /v1/predict request."""
MAX_GENES = 2000
"""Most genes that one request may choose."""
MAX_SMILES_PARTS = 16
"""Most dot-separated parts of one structure: a compound and its salts, not a library."""


class Condition(RequestSchema):
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
    pert_dose_unit: str = Field(default="uM", max_length=20)
    pert_time: float | None = Field(default=None, gt=0, lt=1e6, allow_inf_nan=False, description="Time.")
    pert_time_unit: str = Field(default="h", max_length=20)
    canonical_smiles: str | None = Field(
        default=None,
        max_length=1000,
        pattern=r"^[!-~]+$",
        description="Structure; needed for compounds unseen in training.",
    )

    @field_validator("canonical_smiles")
    @classmethod
    def _is_one_compound(cls, smiles: str | None) -> str | None:
        if smiles is not None and smiles.count(".") >= MAX_SMILES_PARTS:
            raise ValueError(
                f"the structure has {smiles.count('.') + 1} parts; give one compound and its salts, "
                f"at most {MAX_SMILES_PARTS} parts"
            )
        return smiles


class PredictRequest(RequestSchema):
    """Conditions to predict."""

    model: ModelName = None
    conditions: list[Condition] = Field(min_length=1, max_length=MAX_CONDITIONS)
    genes: list[GeneName] | None = Field(
        default=None,
        min_length=1,
        max_length=MAX_GENES,
        description="Only these genes, in this order; all genes where absent.",
    )

    @field_validator("genes")
    @classmethod
    def _names_each_gene_once(cls, genes: list[str] | None) -> list[str] | None:
        seen: set[str] = set()
        for gene in genes or ():
            if gene in seen:
                raise ValueError(f"{gene!r} is named twice; name each gene once")
            seen.add(gene)
        return genes


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
    nn_train_dist: float = Field(description="Distance to the nearest training perturbation.")
    is_in_domain: bool = Field(description="Whether that distance is usual among training perturbations.")


class PredictHead(Schema):
    """All of an answer but the numbers."""

    model: str = Field(description="name@version: asked for again, it is the same bundle.")
    bundle: str = Field(description="Hash of the bundle.")
    rows_per_pass: int = Field(
        description="Conditions that the forward pass was padded to; offline predictions at this batch size "
        "are equal bit by bit."
    )
    gene_space: str = Field(description="Id of the gene space; /v1/metadata lists its genes.")
    genes: list[str] | None = Field(default=None, description="Given only where the request chose genes.")
    n_genes: int
    items: list[PredictedItem]
    errors: list[ItemError]


class PredictResponse(PredictHead):
    """Predicted responses, row by row in `items`' order; each number is a float32, written shortest."""

    mean: list[float] = Field(description="len(items) x n_genes responses, flat.")
    sd: list[float] | None = Field(
        description="Spread of single profiles, flat; null where the model has none."
    )
