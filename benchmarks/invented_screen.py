"""An invented genetic screen in memory that all three families train on: no file, no Ray, no Zarr.

Genes perturbed under three types in two contexts, alone and in pairs, with responses of low rank and noise.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import torch
from pertcast.models.batch import Batch, ConditionBatch, ModelSpace
from pertcast.models.contract import ResponseModel
from pertcast.models.priors import TrainingPriors
from pertcast.models.registry import get_model
from pertcast.training.data import TrainingData
from torch import Tensor

FEATURES, PERTURBED, RANK, CONTROLS = 64, 100, 8, 512
TYPES, CONTEXTS = ("trt_oe", "trt_sh", "trt_xpr"), ("A", "B")


@dataclass(frozen=True)
class RowSource:
    """Batches of held rows in a fixed order; `cells`: whole groups of one condition side by side."""

    rows: Batch
    batch_size: int
    cells: int = 1
    most_steps: int = 1_000_000

    @property
    def n_rows(self) -> int:
        """Rows of an epoch."""
        return len(self.rows)

    def steps(self, epoch: int) -> int:
        """Return the batches of an epoch."""
        return min(self.most_steps, max(1, self.n_rows // self.batch_size))

    def batches(self, epoch: int, start_step: int = 0) -> Iterator[Batch]:
        """Yield batches; groups of `cells` neighbouring rows (of one condition) are dealt in turn."""
        groups = torch.arange(self.n_rows // self.cells * self.cells).view(-1, self.cells)
        order = torch.randperm(len(groups), generator=torch.Generator().manual_seed(epoch))
        rows = groups[order].flatten()
        for step in range(start_step, self.steps(epoch)):
            yield self.rows.take(rows[step * self.batch_size : (step + 1) * self.batch_size])


def _conditions(features: Tensor) -> ConditionBatch:
    singles = [
        ((gene,), kind, context) for gene in range(PERTURBED) for kind in range(3) for context in (0, 1)
    ]
    pairs = [(pair, 2, 0) for pair in list(combinations(range(PERTURBED), 2))[::99]]
    everything = singles + pairs
    slot = torch.tensor([[*genes, *([-1] * (2 - len(genes)))] for genes, _, _ in everything])
    kind = torch.tensor([kind for _, kind, _ in everything]).unsqueeze(1)
    nothing = torch.full((len(everything),), torch.nan)
    return ConditionBatch(
        context=torch.tensor([context for _, _, context in everything]),
        group=torch.full((len(everything),), -1),
        perturbation=slot,
        slot=slot,
        pert_type=torch.where(slot < 0, -1, kind),
        own_gene=slot,
        log_dose=torch.full(slot.shape, torch.nan),
        log_time=nothing,
        key=torch.arange(len(everything)) * 7919 + 1,
        features=features,
    )


class InventedScreen:
    """Rows, conditions and priors of one size.

    Parameters
    ----------
    genes
        Measured genes, at least as many as are perturbed.
    cells
        Rows of a condition, a multiple of the groups that a family wants.
    device
        Where the rows are held.
    """

    def __init__(self, genes: int, cells: int = 64, device: torch.device | str = "cpu") -> None:
        generator = torch.Generator().manual_seed(0)
        self.conditions = _conditions(torch.randn(PERTURBED, FEATURES, generator=generator))
        self.space = ModelSpace(
            genes=tuple(f"G{row}" for row in range(genes)),
            measure="expression",
            contexts=CONTEXTS,
            perturbations=tuple(f"G{row}" for row in range(PERTURBED)),
            pert_types=TYPES,
            feature_width=FEATURES,
            own_genes=True,
            n_conditions=len(self.conditions),
            max_slots=2,
        )
        index = torch.arange(len(self.conditions)).repeat_interleave(cells)
        scores = torch.randn(len(self.conditions), RANK, generator=generator)
        effect = 0.1 * scores @ torch.randn(RANK, genes, generator=generator)
        target = effect[index] + torch.randn(len(index), genes, generator=generator)
        rows = Batch(
            self.conditions.take(index), target, torch.ones_like(target), index, torch.arange(len(index))
        )
        self.rows = rows.to(device)
        self.priors = replace(
            TrainingPriors.empty(genes),
            controls=torch.randn(CONTROLS, genes, generator=generator),
            control_context=torch.arange(CONTROLS) * 2 // CONTROLS,
        )

    def model(self, family: str, **config: Any) -> ResponseModel:
        """Return an untrained model of a family."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = get_model(family).build(config, self.space, self.conditions)
        if model.wants_priors:
            model.take_up(self.priors)
        return model

    def data(self, batch_size: int, steps: int) -> TrainingData:
        """Return the rows as training data without held-out rows, `steps` batches an epoch."""

        def of(cells: int) -> TrainingData:
            return TrainingData(
                train=RowSource(self.rows, batch_size, cells, steps),
                statistics=RowSource(self.rows, 1024),
                validation=None,
                grouped=of,
            )

        return of(1)
