"""Questions about single profiles: gene sets, connectivity, neighbours."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pertcast_serve.schemas.base import GeneName, ModelName, Name, RequestSchema, Schema
from pertcast_serve.schemas.predict import Condition

MAX_SIGNATURE_GENES = 30_000
MAX_INLINE_SETS = 500
MAX_SET_GENES = 2_000
MAX_ROWS = 1_000
"""Most rows of a ranked answer; screens export whole tables."""

Value = Annotated[float, Field(allow_inf_nan=False)]


class StoredProfile(RequestSchema):
    """A profile of a library that the server holds."""

    library: Name
    sig_id: str = Field(min_length=1, max_length=1200)


class Profile(RequestSchema):
    """A value a gene, as measured or computed elsewhere."""

    genes: list[GeneName] = Field(min_length=1, max_length=MAX_SIGNATURE_GENES)
    values: list[Value] = Field(min_length=1, max_length=MAX_SIGNATURE_GENES)

    @model_validator(mode="after")
    def _fit_together(self) -> Profile:
        if len(self.genes) != len(self.values):
            raise ValueError(
                f"{len(self.genes)} genes and {len(self.values)} values; give one value for each gene"
            )
        return self


class _OfOneProfile(RequestSchema):
    """A question about exactly one profile: predicted now, stored in a library, or given."""

    model: ModelName = None
    condition: Condition | None = Field(default=None, description="Predicted for this question.")
    stored: StoredProfile | None = None
    profile: Profile | None = None

    @model_validator(mode="after")
    def _names_one_profile(self) -> _OfOneProfile:
        if sum(source is not None for source in (self.condition, self.stored, self.profile)) != 1:
            raise ValueError("name one profile: give condition, stored or profile")
        return self


class EnrichmentRequest(_OfOneProfile):
    """Gene sets of one profile."""

    gene_sets: Name | None = Field(default=None, description="A collection that /v1/gene_sets lists.")
    sets: dict[Name, Annotated[list[GeneName], Field(min_length=1, max_length=MAX_SET_GENES)]] | None = Field(
        default=None, min_length=1, max_length=MAX_INLINE_SETS, description="Sets of one's own."
    )
    method: Literal["prerank", "size_matched"] = Field(
        default="size_matched",
        description="prerank: gseapy, genes permuted. size_matched: the same exact score beside a null of "
        "random sets of its size, a thousand times faster.",
    )
    min_size: int = Field(default=5, ge=1, le=500, description="Fewest measured genes of a set.")
    curves: list[Name] = Field(
        default_factory=list, max_length=10, description="Sets whose running sum is returned too."
    )

    @model_validator(mode="after")
    def _names_sets_once(self) -> EnrichmentRequest:
        if self.gene_sets is not None and self.sets is not None:
            raise ValueError("give gene_sets (a name) or sets (your own), not both")
        return self


class EnrichmentRow(Schema):
    """One gene set of one profile."""

    term: str
    es: float
    nes: float | None
    pval: float | None
    fdr: float | None
    size: int = Field(description="Genes of the set that the profile measures.")
    n_in_set: int = Field(description="Genes of the set.")
    lead_genes: list[str]


class RunningSum(Schema):
    """The running sum of one set along the ranked genes (downsampled to what can be drawn)."""

    term: str
    position: list[int] = Field(description="Places in the ranking, from 0.")
    running_sum: list[float]
    hits: list[int] = Field(description="Places of the set's genes.")


class DroppedSet(Schema):
    """A set that was not tested, and why."""

    term: str
    reason: str


class EnrichmentResponse(Schema):
    """Gene sets, the largest |NES| first."""

    profile: str = Field(description="What was asked about.")
    gene_sets: str
    method: str
    n_genes: int = Field(description="Background: genes of the profile.")
    rows: list[EnrichmentRow]
    dropped: list[DroppedSet]
    curves: list[RunningSum]
    remarks: list[str]


class ConnectivityRequest(RequestSchema):
    """A signature, and the library that is searched."""

    library: Name | None = Field(
        default=None, description="As /v1/libraries names it; the first where absent."
    )
    up: list[GeneName] | None = Field(default=None, min_length=1, max_length=MAX_SET_GENES)
    down: list[GeneName] | None = Field(default=None, min_length=1, max_length=MAX_SET_GENES)
    signature: Profile | None = None
    stored: StoredProfile | None = None
    score: Name | None = Field(
        default=None, description="wtcs, xsum, cosine or pearson; by the signature where absent."
    )
    cell_iname: list[Name] | None = Field(default=None, min_length=1, max_length=1000)
    pert_type: list[Name] | None = Field(default=None, min_length=1, max_length=20)
    per_tail: int = Field(default=25, ge=1, le=MAX_ROWS // 2)
    by_perturbation: bool = Field(
        default=False, description="One row a perturbation instead of one a profile."
    )

    @model_validator(mode="after")
    def _names_one_signature(self) -> ConnectivityRequest:
        has_sets = self.up is not None or self.down is not None
        if has_sets and (self.up is None or self.down is None):
            raise ValueError("a signature of sets needs both, up and down")
        if has_sets + (self.signature is not None) + (self.stored is not None) != 1:
            raise ValueError("give one signature: up and down, or signature, or stored")
        return self


class ConnectivityRow(Schema):
    """One reference that mimics or reverses."""

    word: Literal["mimics", "reverses"]
    rank: int
    sig_id: str | None
    pert_id: str | None
    cmap_name: str | None = None
    pert_type: str | None
    cell_iname: str | None
    pert_dose: float | None = None
    pert_time: float | None = None
    n_cells: int | None = Field(default=None, description="Cell lines of a perturbation (by_perturbation).")
    n_profiles: int | None = Field(default=None, description="Profiles of a perturbation (by_perturbation).")
    raw_cs: float | None
    norm_cs: float | None
    tau: float | None
    fdr_q_nlog10: float | None


class MappedList(Schema):
    """How the genes of one list were mapped to those of the library."""

    label: str
    n_named: int
    used: list[str]
    not_measured: list[str] = Field(description="Known names of genes that the library does not measure.")
    invalid: list[str] = Field(description="What no gene is named like.")


class ConnectivityResponse(Schema):
    """Mimickers, then reversers, each the strongest first."""

    library: str
    library_kind: Literal["predicted", "measured"]
    score: str
    n_searched: int
    rows: list[ConnectivityRow]
    mapping: list[MappedList]
    significance: str
    remarks: list[str]


class NeighborsRequest(_OfOneProfile):
    """Which profiles of a library are nearest and most opposite to one profile, by cosine."""

    library: Name | None = Field(
        default=None, description="As /v1/libraries names it; the first where absent."
    )
    per_tail: int = Field(default=10, ge=1, le=MAX_ROWS // 2)
    everywhere: bool = Field(
        default=False, description="Also across cell lines and types; a cosine then shows these too."
    )


class NeighborRow(Schema):
    """One near or opposite profile."""

    tail: Literal["nearest", "opposite"]
    rank: int
    sig_id: str
    pert_id: str | None
    cmap_name: str | None = None
    pert_type: str | None
    cell_iname: str | None
    pert_dose: float | None = None
    pert_time: float | None = None
    cosine: float
    seen_pert: bool | None = None


class NeighborsResponse(Schema):
    """Nearest, then opposite."""

    profile: str
    library: str
    library_kind: Literal["predicted", "measured"]
    n_searched: int
    rows: list[NeighborRow]
    remarks: list[str]


class GeneSetCollection(Schema):
    """Gene sets that the server holds under one name."""

    name: str
    n_sets: int
    terms: list[str]


class LibrarySummary(Schema):
    """Profiles that can be searched."""

    name: str
    kind: Literal["predicted", "measured"]
    n_profiles: int
    n_genes: int
    cell_lines: list[str]
    pert_types: list[str]
    model: str | None = Field(description="Model that predicted them; null for measured ones.")
