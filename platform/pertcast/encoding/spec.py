"""What features an encoder makes; part of a run's configuration and of its bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pertcast_data.compounds import FingerprintKind
from pydantic import BaseModel, ConfigDict, Field, model_validator


class EncoderSpec(BaseModel):
    """Features of perturbations; a block exists only for the kinds present in training.

    Attributes
    ----------
    compound_features
        What a model sees of a compound: its "fingerprint", its row of the "embedding" table, or "both".
    compound_embedding
        Table of embeddings, one row a compound (docs/compound_features.md); needed unless
        compound_features is "fingerprint". A bundle carries the table's rows and only the file's name.
    fingerprint_kind
        "morgan" (atoms' environments), "fcfp" (environments of pharmacophore roles) or "count" (how often
        each of the environments occurs).
    fingerprint_bits, fingerprint_radius
        Circular fingerprint of compounds.
    gene_components
        Components of the training profiles on the genes' side: the features of genetic perturbations.
    one_hot
        One column for each genetic perturbation of training (and each compound without any other feature).
    sampled_values
        Profile values, at most, that the gene components are computed from.
    seed
        Of that sample.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    compound_features: Literal["fingerprint", "embedding", "both"] = "fingerprint"
    compound_embedding: Path | None = None
    fingerprint_kind: FingerprintKind = "morgan"
    fingerprint_bits: int = Field(1024, ge=8)
    fingerprint_radius: int = Field(2, ge=0)
    gene_components: int = Field(32, ge=0)
    one_hot: bool = True
    sampled_values: int = Field(16_000_000, ge=1)
    seed: int = 0

    @model_validator(mode="after")
    def _table_and_features_agree(self) -> Self:
        if self.uses_embedding and self.compound_embedding is None:
            raise ValueError(
                f"compound_features={self.compound_features} needs a table: set "
                "encoder.compound_embedding=FILE"
            )
        if self.compound_embedding is not None and not self.uses_embedding:
            raise ValueError(
                "compound_embedding is given, but compound_features=fingerprint does not use it: set "
                "encoder.compound_features=embedding or both"
            )
        return self

    @property
    def uses_embedding(self) -> bool:
        """Whether compounds have a row of the embedding table among their features."""
        return self.compound_features != "fingerprint"

    @property
    def uses_fingerprint(self) -> bool:
        """Whether compounds have a fingerprint among their features."""
        return self.compound_features != "embedding"

    def without_folders(self) -> Self:
        """Return the same spec as a bundle may carry it: a file's name in the place of its path."""
        if self.compound_embedding is None:
            return self
        return self.model_copy(update={"compound_embedding": Path(self.compound_embedding.name)})
