"""Settings of the mean displacement."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pertcast.models.contract import ModelConfig


class DisplacementConfig(ModelConfig):
    """Where the flow starts from: a mean for every set of perturbations.

    Attributes
    ----------
    kind
        "gaussian_process": single effects by similarity of perturbations, pairs by interaction of programs.
        "none": the flow learns everything by itself.
    interactions
        Whether sets of two and more interact, where that predicts held-out sets of training better; without,
        the displacement of a set is the sum of its members'.
    own_gene
        Whether the targeted gene's own transcript has a term of its own.
    context_correlation, type_correlation
        Correlation of one perturbation's effect between contexts, and between ways of doing it (pert_type).
    dose_length, time_length
        Distance of log10 doses and times over which effects stay alike.
    most_conditions
        Training conditions, at most, that the displacement is solved from; those with most cells.
    most_sets
        Sets of two and more, at most, that interactions are solved from; those with most cells.
    """

    kind: Literal["gaussian_process", "none"] = "gaussian_process"
    interactions: bool = True
    own_gene: bool = True
    context_correlation: float = Field(0.5, ge=0, le=1)
    type_correlation: float = Field(0.7, ge=0, le=1)
    dose_length: float = Field(1.0, gt=0)
    time_length: float = Field(0.5, gt=0)
    most_conditions: int = Field(8000, ge=2)
    most_sets: int = Field(4000, ge=2)
