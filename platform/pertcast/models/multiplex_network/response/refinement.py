"""Trains the attention on left-out predictions: in training it sees what it will see of a new gene."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from pertcast.models.batch import Batch, ConditionBatch
from pertcast.models.multiplex_network.config import CrossTypeConfig
from pertcast.models.multiplex_network.response.centre import ResponseCentre
from pertcast.models.multiplex_network.response.cross_type import CrossTypeAttention, OtherTypes, TypeIndex
from pertcast.models.multiplex_network.response.own_gene import OwnGeneShift
from pertcast.models.multiplex_network.response.process import ResponseProcess
from pertcast.models.noise import KeyedNoise

_STREAM = 901


class Deviations:
    """Targets as the process is trained on them: deviations from the centre without the own genes.

    Parameters
    ----------
    centre, own_gene
        Solved by now; without `own_gene` no gene is left out.
    """

    def __init__(self, centre: ResponseCentre, own_gene: OwnGeneShift | None) -> None:
        self.centre, self.own_gene = centre, own_gene

    def __call__(self, batch: Batch) -> Tensor:
        """Return (N, G) float32, in units of the sd."""
        found = (batch.target - self.centre(batch.conditions)) / self.centre.sd
        return found if self.own_gene is None else self.own_gene.hide(found, batch.conditions)


class Refinement:
    """The process and the attention together: predicted scores of conditions.

    Parameters
    ----------
    process
        Solved by now.
    attention
        Refines the leading components.
    index
        Finds what training measured.
    """

    def __init__(self, process: ResponseProcess, attention: CrossTypeAttention, index: TypeIndex) -> None:
        self.process, self.attention, self.index = process, attention, index

    def scale(self) -> Tensor:
        """Return (K',) root mean squares of the measured scores that tokens hold."""
        count = self.attention.refinement.out_features
        return self.process.measured_scores[:, :count].square().mean(dim=0).sqrt().clamp(min=1e-6)

    def change(self, predicted: Tensor, others: OtherTypes, scale: Tensor) -> Tensor:
        """Return the (N, K') change of the leading predicted scores (N, K), in units of the `scale`."""
        count = len(scale)
        measured = self.process.measured_scores[others.condition.clamp(min=0), :count] / scale
        change: Tensor = self.attention(predicted[:, :count] / scale, measured, others)
        return change

    def refined(self, predicted: Tensor, conditions: ConditionBatch) -> Tensor:
        """Return the (N, K) scores of conditions, refined."""
        scale = self.scale()
        change = self.change(predicted, self.index(conditions), scale) * scale
        return torch.cat([predicted[:, : change.shape[1]] + change, predicted[:, change.shape[1] :]], dim=1)


class CrossTypeLoss(nn.Module):
    """Squared error of refined scores.

    Only the attention is a submodule; the process is solved already and stays as it is.

    Attributes
    ----------
    uncompiled
        Methods that torch.compile leaves alone: what is looked up or computed depends on the rows.
    """

    uncompiled = ("_left_out",)

    def __init__(self, refinement: Refinement, deviations: Deviations, config: CrossTypeConfig) -> None:
        super().__init__()
        self.attention = refinement.attention
        self.config = config
        self._outside = (refinement, deviations)

    def forward(self, batch: Batch, noise: KeyedNoise) -> dict[str, Tensor]:
        """Return "loss" = error + shrinkage * size, as shares of the measured scores' mean square.

        error is the squared error of the refined scores, before that of the process alone, size the square
        of the refinement. Rows without another type count in all of them, though nothing refines them: the
        loss on held-out rows then also tells how well features and networks were chosen.
        """
        refinement, deviations = self._outside
        process = refinement.process
        others = self._shown(refinement.index(batch.conditions), batch, noise)
        with torch.no_grad():
            predicted = self._left_out(process, batch)
            scale = refinement.scale()
            target = deviations(batch) @ process.components[: len(scale)].T / scale
        change = refinement.change(predicted, others, scale)
        weight = scale.square() / scale.square().sum()
        left = target - predicted[:, : len(scale)] / scale
        error = ((left - change).square() @ weight).mean()
        before = (left.square() @ weight).mean()
        size = (change.square() @ weight).mean()
        loss = error + self.config.shrinkage * size
        return {"loss": loss, "error": error, "before": before, "size": size}

    def _left_out(self, process: ResponseProcess, batch: Batch) -> Tensor:
        """Return the (N, K) predictions of rows that know nothing of the rows themselves."""
        index = batch.condition_index
        known = process.left_out_scores[index.clamp(min=0)]
        if bool((index >= 0).all()):
            return known
        return torch.where((index >= 0).unsqueeze(1), known, process.scores(batch.conditions))

    def _shown(self, others: OtherTypes, batch: Batch, noise: KeyedNoise) -> OtherTypes:
        """Return the other types without those that training hides from itself."""
        if not self.training or self.config.hidden_share == 0:
            return others
        draws = noise.uniform(batch.sample_id, others.condition.shape[1], _STREAM)
        hidden = draws < self.config.hidden_share
        return replace(others, condition=torch.where(hidden, -1, others.condition))
