"""What features an encoder makes; part of a run's configuration and of its bundle."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class EncoderSpec(BaseModel):
    """Features of perturbations; a block exists only for the kinds present in training.

    Attributes
    ----------
    fingerprint_bits, fingerprint_radius
        Morgan fingerprint of compounds.
    gene_components
        Components of the training profiles on the genes' side: the features of genetic perturbations.
    one_hot
        One column for each genetic perturbation of training (and each compound without a structure).
    sampled_values
        Profile values, at most, that the gene components are computed from.
    seed
        Of that sample.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    fingerprint_bits: int = Field(1024, ge=8)
    fingerprint_radius: int = Field(2, ge=0)
    gene_components: int = Field(32, ge=0)
    one_hot: bool = True
    sampled_values: int = Field(16_000_000, ge=1)
    seed: int = 0
