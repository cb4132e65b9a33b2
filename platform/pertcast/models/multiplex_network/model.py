"""multiplex_network as a ResponseModel: centre, process and own gene in closed form, then attention."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor

from pertcast.models.baselines.statistics import ConditionMeansStage, ConditionStatistics
from pertcast.models.batch import ConditionBatch, ModelSpace, Prediction
from pertcast.models.contract import GradientStage, ResponseModel, Stage
from pertcast.models.multiplex_network.config import MultiplexNetworkConfig
from pertcast.models.multiplex_network.response.centre import ResponseCentre
from pertcast.models.multiplex_network.response.cross_type import CrossTypeAttention, TypeIndex
from pertcast.models.multiplex_network.response.own_gene import OwnGeneShift
from pertcast.models.multiplex_network.response.process import ResponseProcess
from pertcast.models.multiplex_network.response.refinement import CrossTypeLoss, Deviations, Refinement
from pertcast.models.noise import KeyedNoise
from pertcast.models.sampling import gaussian_prediction


class ResponseStage(ConditionMeansStage):
    """Solves everything but the attention from the means of the training conditions."""

    name = "response"

    def __init__(self, space: ModelSpace, solve: Callable[[ConditionStatistics], dict[str, float]]) -> None:
        super().__init__(space, self._keep_facts)
        self._solve = solve
        self._facts: dict[str, float] = {}

    def _keep_facts(self, statistics: ConditionStatistics) -> None:
        self._facts = self._solve(statistics)

    def facts(self) -> dict[str, float]:
        """Return how well left-out conditions are predicted within training, and how types are coupled."""
        return self._facts


class MultiplexNetwork(ResponseModel):
    """Responses to perturbing any gene under any type: RNAi, CRISPR, over-expression.

    response = mean of the type and context + deviation of the gene, told by genes near it in the features
    under all types, and of the perturbed gene's own transcript, told by the type.
    """

    config: MultiplexNetworkConfig
    why_from_scratch: ClassVar[str | None] = (
        "it is solved from its training conditions, so that nothing of the bundle would be left. Train it on "
        "one store that holds both data sets; that takes minutes"
    )
    sd: Tensor

    def __init__(self, config: MultiplexNetworkConfig, space: ModelSpace, conditions: ConditionBatch) -> None:
        super().__init__(config, space, conditions)
        self._conditions = conditions
        self.centre = ResponseCentre(space)
        self.own_gene = OwnGeneShift(space)
        self.process = ResponseProcess(config.process, config.cross_type, space, conditions)
        count = min(config.attention.n_components, len(self.process.components))
        self.attention = CrossTypeAttention(config.attention, len(space.pert_types), count)
        self.index = TypeIndex(space, conditions)
        self.register_buffer("sd", torch.ones(space.n_genes))

    @property
    def _refines(self) -> bool:
        config, several = self.config, len(self.space.pert_types) > 1
        return config.cross_type and several and config.attention.epochs > 0

    @property
    def _refinement(self) -> Refinement:
        return Refinement(self.process, self.attention, self.index)

    @property
    def _hidden_gene(self) -> OwnGeneShift | None:
        return self.own_gene if self.config.own_gene else None

    def stages(self) -> tuple[Stage, ...]:
        """Return "response" (closed form) and, where types tell of each other, "cross_type"."""
        response = ResponseStage(self.space, self.solve)
        if not self._refines:
            return (response,)
        settings = self.config.attention
        deviations = Deviations(self.centre, self._hidden_gene)
        loss = CrossTypeLoss(self._refinement, deviations, settings)
        return response, GradientStage("cross_type", loss, settings.optimiser, settings.epochs)

    def solve(self, statistics: ConditionStatistics) -> dict[str, float]:
        """Solve centre, own gene and process; return what a user should see."""
        conditions = self._conditions
        deviations = self.centre.solve(statistics, conditions)
        hidden = deviations
        if self.config.own_gene:
            self.own_gene.solve(deviations, statistics.measured(), conditions)
            hidden = self.own_gene.hide(deviations, conditions)
        facts = self.process.solve(statistics, hidden)
        left_out = self._responses(conditions.to(self.sd.device), self.process.left_out_scores)
        self.sd.copy_(statistics.residual_sd(left_out).clamp(min=1e-6))
        return {**facts, **self._shifts()}

    def _shifts(self) -> dict[str, float]:
        """Return the own-gene shifts of the types that have one, by name."""
        named = enumerate(self.space.pert_types)
        measured = self.own_gene.n_measured.tolist()
        return {
            f"own_gene_shift_{name}": float(self.own_gene.shift[i]) for i, name in named if measured[i] > 0
        }

    def _responses(self, conditions: ConditionBatch, scores: Tensor) -> Tensor:
        """Return the (N, G) responses of predicted scores (N, K); zero for a control."""
        is_treated = (conditions.slot >= 0).any(dim=1, keepdim=True)
        responses: Tensor = self.centre(conditions)
        told = self.own_gene.told(self.centre, responses, conditions)
        responses.addmm_(scores * is_treated, self.process.components * self.centre.sd)
        return self.own_gene.put(responses, conditions, told) if self.config.own_gene else responses

    @torch.no_grad()
    def predict(
        self, conditions: ConditionBatch, basal: Tensor, n_samples: int = 0, noise: KeyedNoise | None = None
    ) -> Prediction:
        """Predict N conditions; see `ResponseModel.predict`. The basal profile is not used.

        The sd is that of training profiles around left-out predictions, wider where less is known.
        """
        scores, total = self.process.predict(conditions)
        if self._refines:
            scores = self._refinement.refined(scores, conditions)
        mean = self._responses(conditions, scores)
        sd = self.process.spread.relative(total).mul_(self.sd)
        return gaussian_prediction(conditions, mean, sd, n_samples, noise)

    @torch.no_grad()
    def latent(self, conditions: ConditionBatch, basal: Tensor, response: Tensor) -> Tensor | None:
        """Return (N, K) scores of the responses' deviations from the centre."""
        deviations: Tensor = (response - self.centre(conditions)) / self.centre.sd
        if self.config.own_gene:
            deviations = self.own_gene.hide(deviations, conditions)
        return deviations @ self.process.components.T
