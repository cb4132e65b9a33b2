"""What a model sees: conditions, batches and the space of a store, as tensors and plain facts.

Everything about files, tables and chemistry is turned into these before a model is called.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor


class FeatureBlock(BaseModel):
    """Columns of the perturbation features that come from one source.

    Attributes
    ----------
    name
        "fingerprint", "embedding", "loadings", "network", "gene_table" or "one_hot".
    start, stop
        Its columns.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    start: int
    stop: int


class ModelSpace(BaseModel):
    """Facts of the training store that a model is built from; saved in the bundle.

    Attributes
    ----------
    genes
        Names of the G genes, in the order of every profile.
    measure
        "expression": profiles have controls, the model predicts the difference to a basal profile.
        "response": profiles are already relative (z-score, log fold change); basal is all zero.
    contexts
        Names of the contexts seen in training (cell lines).
    groups
        Names of the batches or plates seen in training; empty where the store knows none.
    perturbations
        Names of the single perturbations seen in training.
    pert_types
        CMap codes present in training.
    feature_width
        F, the width of the perturbation features.
    feature_blocks
        The sources that the features come from; empty in bundles of before they were told.
    own_genes
        Whether some perturbation targets a gene of this gene space.
    n_conditions
        C, the number of distinct training conditions; `Batch.condition_index` runs over them.
    max_slots
        S, the largest number of perturbations combined in one condition of the training store.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    genes: tuple[str, ...]
    measure: Literal["expression", "response"]
    contexts: tuple[str, ...]
    groups: tuple[str, ...] = ()
    perturbations: tuple[str, ...]
    pert_types: tuple[str, ...]
    feature_width: int
    feature_blocks: tuple[FeatureBlock, ...] = ()
    own_genes: bool = False
    n_conditions: int
    max_slots: int = 1

    @property
    def n_genes(self) -> int:
        """G, the number of genes."""
        return len(self.genes)


@dataclass(frozen=True, slots=True)
class ConditionBatch:
    """N conditions as tensors; `features` is a table that the slots index into and is shared by `take`.

    Attributes
    ----------
    context
        (N,) int64, row in `ModelSpace.contexts`, -1 for a context never seen in training.
    group
        (N,) int64, row in `ModelSpace.groups` (plate or batch), -1 for none or unseen.
    perturbation
        (N, S) int64, row in `ModelSpace.perturbations`, -1 for an unseen one or an empty slot.
    slot
        (N, S) int64, row in `features`, -1 for an empty slot. A control has only empty slots.
    pert_type
        (N, S) int64, row in `ModelSpace.pert_types`, -1 for an empty slot or an unseen type.
    own_gene
        (N, S) int64, row of the targeted gene in `ModelSpace.genes`, -1 for none.
    log_dose
        (N, S) float32, log10 of the dose in uM, NaN where there is none.
    log_time
        (N,) float32, log10 of the time in hours, NaN where there is none.
    key
        (N,) int64, hash of the condition: the key of its noise in prediction.
    features
        (P, F) float32, features of the distinct single perturbations of this batch.
    """

    context: Tensor
    group: Tensor
    perturbation: Tensor
    slot: Tensor
    pert_type: Tensor
    own_gene: Tensor
    log_dose: Tensor
    log_time: Tensor
    key: Tensor
    features: Tensor

    def __len__(self) -> int:
        return int(self.context.shape[0])

    def take(self, index: Tensor) -> ConditionBatch:
        """Return the conditions at `index` (M,) int64; the feature table is shared, not copied."""
        rows = {f.name: getattr(self, f.name)[index] for f in fields(self) if f.name != "features"}
        return ConditionBatch(**rows, features=self.features)

    def to(self, device: torch.device | str) -> ConditionBatch:
        """Return the same conditions with every tensor on `device`."""
        return ConditionBatch(**{f.name: getattr(self, f.name).to(device) for f in fields(self)})

    def with_features(self, features: Tensor) -> ConditionBatch:
        """Return the same conditions over another feature table (ablations: zeroed, shuffled)."""
        return replace(self, features=features)

    def slot_features(self) -> tuple[Tensor, Tensor]:
        """Return the slots' features (N, S, F), zero where empty, and the mask (N, S) of filled slots."""
        filled = self.slot >= 0
        gathered = self.features[self.slot.clamp(min=0)]
        return gathered * filled.unsqueeze(-1), filled

    def summed_features(self) -> Tensor:
        """Return the sum of the slots' features, (N, F)."""
        if self.slot.shape[1] == 1:
            filled = (self.slot[:, 0] >= 0).unsqueeze(-1)
            return self.features[self.slot[:, 0].clamp(min=0)] * filled
        return self.slot_features()[0].sum(dim=1)


@dataclass(frozen=True, slots=True)
class Batch:
    """N training rows.

    Attributes
    ----------
    conditions
        The condition of each row.
    target
        (N, G) float32: profile minus basal for measure "expression", the profile itself for "response".
    basal
        (N, G) float32: mean of the matched controls; zero for measure "response".
    condition_index
        (N,) int64: which training condition (0..C-1) a row belongs to, -1 for rows outside training.
    sample_id
        (N,) int64: row in the store; the key of a row's noise in training.
    """

    conditions: ConditionBatch
    target: Tensor
    basal: Tensor
    condition_index: Tensor
    sample_id: Tensor

    def __len__(self) -> int:
        return int(self.target.shape[0])

    def take(self, index: Tensor) -> Batch:
        """Return the rows at `index` (M,) int64."""
        return Batch(
            conditions=self.conditions.take(index),
            target=self.target[index],
            basal=self.basal[index],
            condition_index=self.condition_index[index],
            sample_id=self.sample_id[index],
        )

    def to(self, device: torch.device | str) -> Batch:
        """Return the same rows with every tensor on `device`."""
        return Batch(
            conditions=self.conditions.to(device),
            target=self.target.to(device),
            basal=self.basal.to(device),
            condition_index=self.condition_index.to(device),
            sample_id=self.sample_id.to(device),
        )


@dataclass(frozen=True, slots=True)
class Prediction:
    """Predicted responses of N conditions.

    Attributes
    ----------
    mean
        (N, G) float32, response: difference to basal ("expression") or relative value ("response").
    sd
        (N, G) float32, standard deviation of single profiles around the mean, or None.
    samples
        (N, K, G) float32, or None where no samples were asked for.
    sd_between
        (N, G) float32, of an ensemble the standard deviation of its members' means (part of `sd`); else None.
    """

    mean: Tensor
    sd: Tensor | None = None
    samples: Tensor | None = None
    sd_between: Tensor | None = None
