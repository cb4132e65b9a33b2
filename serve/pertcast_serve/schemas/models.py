"""Served models: what each is, what it accepts, which names it knows."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from pertcast_serve.schemas.base import Schema


class Metadata(Schema):
    """What the served model is and accepts."""

    model: str = Field(description="name@version.")
    family: str = Field(description="Registered name of the model.")
    title: str
    bundle: str
    version: str
    measure: str
    gene_space: str
    genes: list[str]
    cell_lines: list[str]
    pert_types: list[str]
    n_perturbations: int
    licence: str
    held_out_metrics: dict[str, float | None]
    limits: dict[str, float]
    rows_per_pass: list[int] = Field(
        description="Sizes that a forward pass may be padded to; an answer names the one it used."
    )


class ModelSummary(Schema):
    """One served model in its version of now."""

    id: str = Field(description="Name that requests may use.")
    version: str = Field(description="First letters of the bundle's hash; `id@version` names it for good.")
    family: str
    title: str
    bundle: str = Field(description="Hash of the bundle.")
    measure: str
    n_genes: int
    n_perturbations: int
    is_default: bool
    newer_refused: str = Field(
        default="", description="Why a newer bundle in its folder is not served; empty where there is none."
    )


class ModelCard(ModelSummary):
    """What a model was trained on and how good it is on held-out conditions."""

    licence: str
    normalisation: str
    data_hash: str
    split_hash: str | None
    split_kind: str | None
    fold: int | None
    seed: int
    pertcast: str = Field(description="Version that wrote the bundle.")
    held_out_metrics: dict[str, float | None]
    config: dict[str, Any] = Field(description="Configuration of the model.")


class Vocabulary(Schema):
    """The names that a model knows; what type-ahead searches and examples are taken from."""

    genes: list[str]
    cell_lines: list[str]
    pert_types: list[str]
    compounds: list[str] = Field(description="pert_id of the compounds of the training.")
    smiles: list[str | None] = Field(description="Their structures, in that order.")
    targets: list[str] = Field(description="Genes that were perturbed in training.")
    doses: list[float] = Field(description="Doses of the training in uM, rising.")
    times: list[float] = Field(description="Times of the training in hours, rising.")


class NameMatch(Schema):
    """One known name that fits a search."""

    name: str
    kind: Literal["gene", "compound", "cell_line"]
    is_measured: bool = Field(description="Whether it stands in every predicted profile.")
    is_perturbed: bool = Field(description="Whether training saw it perturbed.")
    canonical_smiles: str | None = None


class NameMatches(Schema):
    """Known names that fit, the best first."""

    matches: list[NameMatch]
    n_matches: int = Field(description="All that fit; `matches` holds the first of them.")
