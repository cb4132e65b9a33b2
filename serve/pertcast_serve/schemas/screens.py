"""Screens that run as jobs: what is asked, how far they are, what they found."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pertcast_serve.schemas.base import GeneName, ModelName, Name, RequestSchema, Schema

MAX_LIST_ROWS = 20_000
MAX_PAGE_ROWS = 1_000
ScreenState = Literal["queued", "running", "finished", "failed", "cancelled"]

Dose = Annotated[float, Field(gt=0, lt=1e9, allow_inf_nan=False)]
Time = Annotated[float, Field(gt=0, lt=1e6, allow_inf_nan=False)]


class ListRow(RequestSchema):
    """One row of a list, in CMap words; what is absent is crossed with the screen's lines, doses, times."""

    pert_id: str | None = Field(default=None, min_length=1, max_length=1000)
    pert_type: str | None = Field(default=None, max_length=20)
    cell_iname: Name | None = None
    pert_dose: Dose | None = None
    pert_time: Time | None = None
    canonical_smiles: str | None = Field(default=None, min_length=1, max_length=1000)
    targets: str | None = Field(default=None, min_length=1, max_length=1000)


class ScreenRequest(RequestSchema):
    """A screen; the words of `pertcast screen`."""

    kind: Literal["compounds", "genes", "pairs", "table"]
    model: ModelName = None
    title: str = Field(default="", max_length=200)
    rows: list[ListRow] | None = Field(
        default=None,
        min_length=1,
        max_length=MAX_LIST_ROWS,
        description="The library; the model's own where absent.",
    )
    cell_iname: list[Name] | None = Field(default=None, min_length=1, max_length=1000)
    pert_type: list[Name] | None = Field(default=None, min_length=1, max_length=20)
    pert_dose: list[Dose] | None = Field(default=None, min_length=1, max_length=50)
    pert_time: list[Time] | None = Field(default=None, min_length=1, max_length=50)
    up: list[GeneName] | None = Field(default=None, min_length=1, max_length=2_000)
    down: list[GeneName] | None = Field(default=None, min_length=1, max_length=2_000)
    objective: Literal["mimic", "reverse"] | None = None
    gene_sets: Name | None = Field(default=None, description="A collection that /v1/gene_sets lists.")
    skip_unknown: bool = False
    seed: int = Field(default=0, ge=0, lt=2**31)

    @model_validator(mode="after")
    def _fits_together(self) -> ScreenRequest:
        if (self.up is None) != (self.down is None):
            raise ValueError("a signature of sets needs both, up and down")
        if self.objective is not None and self.up is None:
            raise ValueError("an objective needs a signature: give up and down")
        if self.kind == "table" and self.rows is None:
            raise ValueError("a table is screened row by row: give rows")
        return self


class ScreenEstimate(Schema):
    """What a screen would compute and take."""

    n_perturbations: int
    n_profiles: int
    n_refused: int
    seconds: float | None
    bytes: int | None
    remarks: list[str]


class Screen(Schema):
    """One screen and how far it is."""

    id: str
    title: str
    kind: str
    model: str = Field(description="name@version.")
    state: ScreenState
    submitted_at: str = Field(description="ISO 8601, UTC.")
    submitted_by: str
    n_done: int = Field(description="Profiles that are written.")
    n_profiles: int | None = Field(description="Profiles of the whole screen; null before it is planned.")
    profiles_per_s: float | None
    eta_s: float | None
    message: str = Field(description="Why it failed, with the remedy, or why it waits; else empty.")


class ScreenList(Schema):
    """Screens, the newest first."""

    screens: list[Screen]
    n_screens: int


class HitRow(Schema):
    """One ranked profile; the columns of hits.parquet."""

    rank: int
    sig_id: str
    pert_id: str | None = None
    cmap_name: str | None
    cell_iname: str | None
    pert_type: str | None
    pert_dose: float | None = None
    pert_time: float | None = None
    score: float | None
    effect_size: float | None
    top_up: str | None
    top_down: str | None
    p_value: float | None
    fdr: float | None
    flag: str | None


class HitPage(Schema):
    """A page of ranked hits."""

    screen: str
    n_hits: int = Field(description="Rows that fit the filter.")
    offset: int
    rows: list[HitRow]


class StoredResponse(Schema):
    """One profile of a finished screen, flat."""

    screen: str
    sig_id: str
    gene_space: str
    genes: list[str]
    mean: list[float]
    sd: list[float] | None


class Artifact(Schema):
    """One file of a screen that can be downloaded."""

    name: str
    bytes: int
    sha256: str
    media_type: str


class ArtifactList(Schema):
    """Files of a finished screen."""

    artifacts: list[Artifact]
