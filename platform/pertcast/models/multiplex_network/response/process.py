r"""A Gaussian process over genes and types: from measured deviations to those of any gene under any type.

Scores of the leading components are predicted, each class of components with its own share of signal:

.. math:: z_* = s \, k_*^T (s K + (1 - s) N)^{-1} z

and left-out predictions of training conditions are exact (Rasmussen & Williams 2006, section 5.4.2).
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import torch
from torch import Tensor, nn

from pertcast.models.baselines.linear_algebra import leading_components
from pertcast.models.baselines.statistics import ConditionStatistics
from pertcast.models.batch import ConditionBatch, ModelSpace
from pertcast.models.multiplex_network.config import ProcessConfig
from pertcast.models.multiplex_network.response.covariance import Shape, Slots, covariance
from pertcast.models.multiplex_network.response.features import SharedFeatures
from pertcast.models.multiplex_network.response.fitting import ProcessData, Solution, borne_out, fit_process
from pertcast.models.multiplex_network.response.known_training import KnownTraining
from pertcast.models.multiplex_network.response.spread import Spread
from pertcast.models.multiplex_network.response.tuning import LAST_CLASS


class ResponseProcess(nn.Module):
    """Predicts deviations from the centre in units of the sd.

    Attributes
    ----------
    components
        (K, G) float32, orthonormal.
    weights
        (C, K): a condition's scores are its covariance with the training conditions times these, and times
    borne_out
        (T + 1,) by type: the share of predicted deviations that left-out training conditions bear out.
    measured_scores, left_out_scores
        (C, K) scores of the training conditions, and their predictions from all others.
    """

    components: Tensor
    weights: Tensor
    borne_out: Tensor
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
        self.types = space.pert_types
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
        self.register_buffer("borne_out", torch.ones(self.n_types + 1))
        for name in ("coupling", "memory"):
            self.register_buffer(name, torch.zeros(self.n_types + 1, self.n_types + 1))
        self.spread = Spread(min(config.spread_conditions, space.n_conditions), LAST_CLASS + 1, space)
        self._known: Slots | None = None
        self._ready: KnownTraining | None = None

    @property
    def shape(self) -> Shape:
        """The chosen covariance, float32."""
        return Shape(**{each.name: self.get_buffer(each.name) for each in fields(Shape)})

    def slots(self, conditions: ConditionBatch) -> Slots:
        """List the perturbations of conditions."""
        return Slots.of(conditions, self.features(conditions), self.features.blocks, self.n_types)

    def scores(self, conditions: ConditionBatch) -> Tensor:
        """Return the (N, K) predicted scores."""
        slots = self.slots(conditions)
        found = covariance(slots, self._training_slots(), self.shape) @ self.weights
        return found * self.borne_out[slots.last_kind()].unsqueeze(1)

    def total_variance(self, conditions: ConditionBatch) -> Tensor:
        """Return (N, O) the variance of what is measured around the scores, by class of components."""
        return self.spread.total_variance(self.slots(conditions), self._training_slots(), self.shape)

    @torch.no_grad()
    def predict(self, conditions: ConditionBatch) -> tuple[Tensor, Tensor]:
        """Return what `scores` and `total_variance` do, up to rounding, in a fraction of the time."""
        asked = self.slots(conditions)
        kind = asked.last_kind()
        scores, near, prior = self._known_training().answer(asked)
        return scores * self.borne_out[kind].unsqueeze(1), self.spread.around(near, prior, kind)

    def _known_training(self) -> KnownTraining:
        if self._ready is None or self._ready.weights.of_gene.device != self.weights.device:
            table = self._training_slots().table
            known = Slots.of(self._conditions, table, self.features.blocks, self.n_types)
            self._ready = KnownTraining(known, self.weights, self.spread.rows, self.shape)
        return self._ready

    def _load_from_state_dict(self, *arguments: Any) -> None:
        self._ready = None
        super()._load_from_state_dict(*arguments)

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
        self._ready = None
        used = self._strongest(statistics)
        components = leading_components(deviations[statistics.measured()], len(self.components))
        scores = deviations @ components.T
        size = scores[used].square().mean(dim=0).sqrt()
        scale = torch.where(size > 1e-9, size, torch.ones_like(size))
        slots = self.slots(self._conditions.to(self.weights.device)).to(deviations).take(used)
        data = ProcessData(slots, scores[used] / scale, scale, _few(statistics.count[used]))
        solution = fit_process(data, self.n_types, self.cross_type, self.config)
        self.borne_out.copy_(borne_out(solution, data, slots.last_kind(), self.n_types))
        self._keep(solution, used)
        self.components.copy_(components)
        self.measured_scores.copy_(scores)
        self.spread.solve(data, solution, used, components)
        return self._facts(scores[used], slots.last_kind(), used)

    def _strongest(self, statistics: ConditionStatistics) -> Tensor:
        """Return the measured conditions of most profiles, as many as are solved, ascending."""
        measured = torch.nonzero(statistics.measured()).flatten()
        order = torch.argsort(statistics.count[measured], descending=True, stable=True)
        return measured[order[: self.config.solved_conditions]].sort().values

    def _keep(self, solution: Solution, used: Tensor) -> None:
        """Store the solution; conditions that it is not solved on weigh nothing."""
        kind = self._training_slots().last_kind()[used]
        self.weights.zero_()
        self.weights[used] = solution.weights.to(self.weights)
        self.left_out_scores.zero_()
        left_out = solution.without_condition.to(self.weights) * self.borne_out[kind].unsqueeze(1)
        self.left_out_scores[used] = left_out
        for each in fields(Shape):
            self.get_buffer(each.name).copy_(getattr(solution.tuned.shape, each.name))

    def _facts(self, scores: Tensor, kind: Tensor, used: Tensor) -> dict[str, float]:
        """Return the shares of left-out deviations that are predicted, and how types are coupled."""
        error = (scores - self.left_out_scores[used].to(scores)).square().sum(dim=1)
        size = scores.square().sum(dim=1)
        facts = {"left_out_r2": 1 - float(error.sum() / size.sum().clamp(min=1e-12))}
        coupling = self.coupling[:-1, :-1]
        spread = coupling.diagonal().clamp(min=1e-12).sqrt()
        correlation = coupling / spread.unsqueeze(1) / spread
        for first in range(self.n_types):
            here = kind == first
            if bool(here.any()):
                found = 1 - float(error[here].sum() / size[here].sum().clamp(min=1e-12))
                facts[f"left_out_r2_{self.types[first]}"] = found
            for second in range(first):
                pair = f"{self.types[second]}_{self.types[first]}"
                facts[f"coupling_{pair}"] = float(correlation[second, first])
        return facts


def _few(count: Tensor) -> Tensor:
    """Return (n,) the harmonic mean of the numbers of profiles over each number, which is above 0."""
    return len(count) / (1 / count).sum().clamp(min=1e-12) / count
