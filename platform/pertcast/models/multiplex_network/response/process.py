r"""A Gaussian process over genes and types: from measured deviations to those of any gene under any type.

Scores of the leading components are predicted, each class of components with its own share of signal:

.. math:: z_* = s \, k_*^T (s K + (1 - s) N)^{-1} z

and left-out predictions of training conditions are exact (Rasmussen & Williams 2006, section 5.4.2).
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final

import torch
from torch import Tensor, nn

from pertcast.models.baselines.linear_algebra import leading_components
from pertcast.models.baselines.statistics import ConditionStatistics
from pertcast.models.batch import ConditionBatch, ModelSpace
from pertcast.models.multiplex_network.config import ProcessConfig
from pertcast.models.multiplex_network.response.covariance import Shape, Slots, covariance
from pertcast.models.multiplex_network.response.features import SharedFeatures
from pertcast.models.multiplex_network.response.spread import Spread
from pertcast.models.multiplex_network.response.tuning import (
    LAST_CLASS,
    Tuned,
    component_classes,
    noisy,
    tune,
)

_ROWS: Final = 1024
_LEAST_SIGNAL: Final = 5e-3


@dataclass(frozen=True, slots=True)
class ProcessData:
    """Training conditions as the process sees them.

    Attributes
    ----------
    slots
        C conditions, float64.
    scores
        (C, K) float64 with unit mean square over the measured ones.
    few
        (C,) typical number of profiles over that of each.
    used
        (n,) int64 the conditions that it is solved on, ascending.
    """

    slots: Slots
    scores: Tensor
    few: Tensor
    used: Tensor


class ResponseProcess(nn.Module):
    """Predicts deviations from the centre in units of the sd.

    Attributes
    ----------
    components
        (K, G) float32, orthonormal.
    weights
        (C, K): a condition's scores are its covariance with the training conditions times these.
    measured_scores, left_out_scores
        (C, K) scores of the training conditions, and their predictions from all others.
    """

    components: Tensor
    weights: Tensor
    measured_scores: Tensor
    left_out_scores: Tensor
    shares: Tensor
    lengths: Tensor
    coupling: Tensor
    memory: Tensor
    context_correlation: Tensor
    features: SharedFeatures

    def __init__(
        self, config: ProcessConfig, cross_type: bool, space: ModelSpace, conditions: ConditionBatch
    ) -> None:
        super().__init__()
        self.config = config
        self.cross_type = cross_type
        self.n_types = len(space.pert_types)
        self._conditions = conditions
        count = min(config.n_components, space.n_conditions, space.n_genes)
        self.features = SharedFeatures(space, conditions.features)
        self.register_buffer("components", torch.zeros(count, space.n_genes))
        for name in ("weights", "measured_scores", "left_out_scores"):
            self.register_buffer(name, torch.zeros(space.n_conditions, count))
        n_blocks = len(self.features.blocks)
        n_views = sum(len(ends) for _, *ends in self.features.blocks)
        self.register_buffer("shares", torch.zeros(n_blocks + n_views))
        self.register_buffer("lengths", torch.ones(n_views))
        self.register_buffer("context_correlation", torch.ones(()))
        for name in ("coupling", "memory"):
            self.register_buffer(name, torch.zeros(self.n_types + 1, self.n_types + 1))
        self.spread = Spread(min(config.spread_conditions, space.n_conditions), LAST_CLASS + 1, space)
        self._known: Slots | None = None

    @property
    def shape(self) -> Shape:
        """The chosen covariance, float32."""
        return Shape(**{each.name: self.get_buffer(each.name) for each in fields(Shape)})

    def slots(self, conditions: ConditionBatch) -> Slots:
        """List the perturbations of conditions."""
        return Slots.of(conditions, self.features(conditions), self.features.blocks, self.n_types)

    def scores(self, conditions: ConditionBatch) -> Tensor:
        """Return the (N, K) predicted scores."""
        return covariance(self.slots(conditions), self._training_slots(), self.shape) @ self.weights

    def total_variance(self, conditions: ConditionBatch) -> Tensor:
        """Return (N, O) the variance of what is measured around the scores, by class of components."""
        return self.spread.total_variance(self.slots(conditions), self._training_slots(), self.shape)

    def _training_slots(self) -> Slots:
        if self._known is None or self._known.table.device != self.weights.device:
            self._known = self.slots(self._conditions.to(self.weights.device))
        return self._known

    def solve(self, statistics: ConditionStatistics, deviations: Tensor) -> dict[str, float]:
        """Choose the covariance and solve; `deviations` (C, G) are zero where unmeasured.

        Returns
        -------
        dict
            What the solution says, by name.
        """
        measured = torch.nonzero(statistics.measured()).flatten()
        components = leading_components(deviations[measured], len(self.components))
        scores = deviations @ components.T
        size = scores[measured].square().mean(dim=0).sqrt()
        scale = torch.where(size > 1e-9, size, torch.ones_like(size))
        few = _few(statistics.count)
        slots = self.slots(self._conditions.to(self.weights.device)).to(deviations)
        data = ProcessData(slots, scores / scale, few, self._strongest(statistics.count, measured))
        tuned = self._tune(data)
        left_out = self._solve(data, tuned, scale, components)
        self.components.copy_(components)
        self.measured_scores.copy_(scores)
        return _facts(tuned, scores[data.used], left_out[data.used], slots.take(data.used).last_kind())

    def _strongest(self, count: Tensor, measured: Tensor) -> Tensor:
        """Return the conditions of most profiles, as many as are solved."""
        order = torch.argsort(count[measured], descending=True, stable=True)
        return measured[order[: self.config.solved_conditions]].sort().values

    def _tune(self, data: ProcessData) -> Tuned:
        chosen = _whole_genes(data.slots.take(data.used), self.config.tuned_conditions, self.config.seed)
        rows = data.used[chosen]
        scores = data.scores[rows]
        size = scores.square().mean(dim=0).sqrt()
        scores = scores / torch.where(size > 1e-9, size, torch.ones_like(size))
        slots, few = data.slots.take(rows), data.few[rows]
        return tune(slots, scores, few, self.n_types, self.cross_type, self.config.tuning_steps)

    def _solve(self, data: ProcessData, tuned: Tuned, scale: Tensor, components: Tensor) -> Tensor:
        """Fill weights, left-out scores, shape and spread; return the (C, K) left-out scores."""
        used, slots = data.used, data.slots.take(data.used)
        common = torch.cat([covariance(slots.take(part), slots, tuned.shape) for part in _parts(len(used))])
        noise = tuned.diagonal(slots.last_kind(), data.few[used])
        classes = component_classes(len(scale)).to(used.device)
        weights, left_out = torch.zeros_like(data.scores), torch.zeros_like(data.scores)
        variance = data.scores.new_ones(len(tuned.signal))
        for number, signal in enumerate(tuned.signal):
            columns = torch.nonzero(classes == number).flatten()
            measured = data.scores[used][:, columns]
            if float(signal) < _LEAST_SIGNAL:
                variance[number] = measured.square().mean()
                continue
            inverse = torch.cholesky_inverse(torch.linalg.cholesky(noisy(common, noise, signal)))
            solved = inverse @ measured
            exact = measured - solved / inverse.diagonal().unsqueeze(1)
            weights[used.unsqueeze(1), columns] = signal * solved * scale[columns]
            left_out[used.unsqueeze(1), columns] = exact * scale[columns]
            variance[number] = (1 / inverse.diagonal()).mean()
        self.weights.copy_(weights)
        self.left_out_scores.copy_(left_out)
        self._keep_shape(tuned.shape)
        self.spread.solve(data, tuned, variance, scale, components, classes)
        return left_out

    def _keep_shape(self, shape: Shape) -> None:
        """Store the shape."""
        for each in fields(shape):
            self.get_buffer(each.name).copy_(getattr(shape, each.name))


def _parts(count: int) -> list[slice]:
    return [slice(start, start + _ROWS) for start in range(0, count, _ROWS)]


def _few(count: Tensor) -> Tensor:
    """Return (C,) the harmonic mean of the numbers of profiles over each number; 1 where there is none."""
    known = count > 0
    typical = known.sum().clamp(min=1) / (1 / count[known]).sum().clamp(min=1e-12)
    return torch.where(known, typical / count.clamp(min=1), 1.0)


def _whole_genes(slots: Slots, most: int, seed: int) -> Tensor:
    """Return (M,) int64 at most `most` conditions: all those of genes that are drawn one by one."""
    if len(slots) <= most:
        return torch.arange(len(slots), device=slots.row.device)
    gene = torch.where(slots.is_filled, slots.row, -1).amax(dim=1).cpu()
    _, gene, size = torch.unique(gene, return_inverse=True, return_counts=True)
    order = torch.randperm(len(size), generator=torch.Generator().manual_seed(seed))
    taken = order[size[order].cumsum(0) <= most]
    if not len(taken):
        return torch.arange(most, device=slots.row.device)
    return torch.nonzero(torch.isin(gene, taken)).flatten().to(slots.row.device)


def _facts(tuned: Tuned, scores: Tensor, left_out: Tensor, kind: Tensor) -> dict[str, float]:
    """Return the shares of left-out deviations that are predicted, and how types are coupled."""
    total = scores.square().sum().clamp(min=1e-12)
    facts = {"left_out_r2": 1 - float((scores - left_out).square().sum() / total)}
    coupling = tuned.shape.coupling[:-1, :-1]
    spread = coupling.diagonal().clamp(min=1e-12).sqrt()
    correlation = coupling / spread.unsqueeze(1) / spread
    for first in range(len(coupling)):
        here = kind == first
        if bool(here.any()):
            part = scores[here].square().sum().clamp(min=1e-12)
            found = 1 - float((scores[here] - left_out[here]).square().sum() / part)
            facts[f"left_out_r2_type{first}"] = found
        for second in range(first):
            facts[f"coupling_type{second}_type{first}"] = float(correlation[second, first])
    return facts
