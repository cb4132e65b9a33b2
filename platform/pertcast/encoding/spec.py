"""What features an encoder makes; part of a run's configuration and of its bundle."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pertcast_data.compounds import FingerprintKind
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from pertcast.models.multiplex_network.integration.config import IntegrationConfig

_PATHS: Final = ("compound_embedding", "gene_embedding", "gene_sets", "gene_names", "gene_network_cache")


def _as_several(value: Any) -> Any:
    """Return one path as a tuple of one, as a configuration may name it; no path as none."""
    if value is None:
        return ()
    return (value,) if isinstance(value, str | Path) else value


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
    gene_network
        Edge lists of genes (docs/gene_features.md), one path or several: coordinates of perturbed genes in
        them are features. A bundle carries the coordinates and only the files' names.
    gene_network_score
        Least score of an edge that is kept, on the scale of the files (0.7 or 700); None keeps all.
    gene_names
        Table of what ids and older symbols of the networks stand for (docs/gene_features.md).
    gene_network_components
        Coordinates of a gene in the networks; 0 for none (the edges alone then serve models as knowledge).
    gene_network_integration
        How several networks become one vector a gene: its method and settings.
    gene_network_device
        Where they are integrated; "auto" takes a GPU where there is one.
    gene_network_cache
        Folder that keeps integrated networks, so that folds and seeds share them; None keeps nothing.
    gene_embedding
        Table of gene embeddings, one row a gene; features of perturbed genes.
    gene_sets
        GMT file of pathways: knowledge for models that group genes, no feature of perturbations.
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
    gene_network: Annotated[tuple[Path, ...], BeforeValidator(_as_several)] = ()
    gene_network_score: float | None = None
    gene_names: Path | None = None
    gene_network_components: int = Field(32, ge=0)
    gene_network_integration: IntegrationConfig = IntegrationConfig()
    gene_network_device: Literal["auto", "cpu", "cuda"] = "auto"
    gene_network_cache: Path | None = None
    gene_embedding: Path | None = None
    gene_sets: Path | None = None
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
        if self.gene_network_score is not None and not self.gene_network:
            raise ValueError(
                "gene_network_score is given without a network: set encoder.gene_network=FILE as well"
            )
        if self.gene_names is not None and not self.gene_network:
            raise ValueError("gene_names is given without a network: set encoder.gene_network=FILE as well")
        return self

    @property
    def uses_embedding(self) -> bool:
        """Whether compounds have a row of the embedding table among their features."""
        return self.compound_features != "fingerprint"

    @property
    def uses_fingerprint(self) -> bool:
        """Whether compounds have a fingerprint among their features."""
        return self.compound_features != "embedding"

    def with_absolute_paths(self) -> Self:
        """Return the same spec with absolute paths, as workers run in other folders."""
        return self._with_paths(Path.absolute)

    def without_folders(self) -> Self:
        """Return the same spec as a bundle may carry it: a file's name in the place of its path."""
        return self._with_paths(lambda path: Path(path.name)).model_copy(update={"gene_network_cache": None})

    def _with_paths(self, changed: Callable[[Path], Path]) -> Self:
        single = {name: getattr(self, name) for name in _PATHS}
        update: dict[str, Any] = {name: changed(path) for name, path in single.items() if path is not None}
        update["gene_network"] = tuple(changed(path) for path in self.gene_network)
        return self.model_copy(update=update)
