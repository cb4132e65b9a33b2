"""The two losses over decoded populations, back-propagated through the integration of the flow."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from pertcast_data.errors import ConfigError
from torch import Tensor, nn
from torch.nn import functional

from pertcast.models.batch import Batch
from pertcast.models.contract import StatisticsStage
from pertcast.models.layers.latents.autoencoder import Autoencoder
from pertcast.models.layers.scaling import Scaling
from pertcast.models.module_flow.alignment import (
    ModuleMeans,
    PathwayScores,
    correlation_distance,
    correlation_of,
    pathway_distance,
)
from pertcast.models.module_flow.cell_groups import CellGroups, FlowNetworks
from pertcast.models.module_flow.config import AlignmentConfig, IntegratorConfig
from pertcast.models.module_flow.control_pool import ControlPool
from pertcast.models.module_flow.integrators import integrate
from pertcast.models.module_flow.velocity import VelocityField
from pertcast.models.noise import KeyedNoise
from pertcast.models.priors import TrainingPriors

_FEWEST_CELLS = 3


class AlignmentTruth(nn.Module):
    """What generated populations are held against, of every training condition.

    Attributes
    ----------
    correlation
        (C, K, K) float32 of module means over all training cells; empty where the term is switched off.
    is_measured
        (C,) 1 where a condition has enough cells for it.
    module_means, pathway_scores
        Maps of responses (..., G) to (..., K) and (..., P); None before `take_up`.
    """

    correlation: Tensor
    is_measured: Tensor

    def __init__(self, n_modules: int, n_conditions: int, is_wanted: bool) -> None:
        super().__init__()
        count, size = (n_conditions, n_modules) if is_wanted else (0, 0)
        self.n_modules = n_modules
        self.register_buffer("correlation", torch.zeros(count, size, size))
        self.register_buffer("is_measured", torch.zeros(count))
        self.module_means: ModuleMeans | None = None
        self.pathway_scores: PathwayScores | None = None

    def take_up(self, modules: Tensor, priors: TrainingPriors) -> None:
        """Make the maps from (G,) modules, the gene sets (modules where none are given) and the controls."""
        self.module_means = ModuleMeans(modules, self.n_modules)
        if len(priors.pathways):
            self.pathway_scores = PathwayScores(priors.pathways, priors.controls)
            return
        by_module = functional.one_hot(modules, self.n_modules).T
        self.pathway_scores = PathwayScores(by_module, priors.controls, 1, len(modules))


class AlignmentStage(StatisticsStage):
    """Measures the correlations of every training condition."""

    name = "populations"

    def __init__(self, truth: AlignmentTruth) -> None:
        self.truth = truth

    def start(self) -> dict[str, Tensor]:
        """Return zeroed sums, float64."""
        count, size, _ = self.truth.correlation.shape
        shapes: dict[str, tuple[int, ...]] = {
            "products": (count, size, size),
            "sum": (count, size),
            "count": (count,),
        }
        return {name: torch.zeros(shape, dtype=torch.float64) for name, shape in shapes.items()}

    @torch.no_grad()
    def update(self, sums: dict[str, Tensor], batch: Batch) -> None:
        """Add one batch, condition by condition."""
        if self.truth.module_means is None or not len(self.truth.correlation):
            return
        means = self.truth.module_means(batch.target).to(sums["sum"])
        for condition in torch.unique(batch.condition_index[batch.condition_index >= 0]).tolist():
            rows = means[batch.condition_index == condition]
            sums["products"][condition] += rows.T @ rows
            sums["sum"][condition] += rows.sum(dim=0)
            sums["count"][condition] += len(rows)

    def finish(self, sums: Mapping[str, Tensor]) -> None:
        """Solve for the correlations."""
        if not len(self.truth.correlation):
            return
        count = sums["count"].clamp(min=1)
        mean = sums["sum"] / count.unsqueeze(1)
        covariance = sums["products"] / count[:, None, None] - mean.unsqueeze(2) * mean.unsqueeze(1)
        self.truth.correlation.copy_(correlation_of(covariance))
        self.truth.is_measured.copy_(sums["count"] >= _FEWEST_CELLS)


class AlignmentTerms:
    """Follows the controls of a few conditions of a batch, every few steps, and compares what comes out.

    A term is multiplied by the steps from one to the next, so that its mean over steps is the loss.

    Parameters
    ----------
    config
        Weights, how often, how many conditions and steps.
    pool, autoencoder, scaling
        Controls, decoder, units: fixed by now.
    truth
        What is held against.
    moves_mean
        Whether the flow may move the mean of a population; see `FlowConfig`.
    """

    def __init__(
        self,
        config: AlignmentConfig,
        pool: ControlPool,
        autoencoder: Autoencoder,
        scaling: Scaling,
        truth: AlignmentTruth,
        moves_mean: bool,
    ) -> None:
        self.config = config
        self.pool, self.autoencoder, self.scaling, self.truth = pool, autoencoder, scaling, truth
        self.moves_mean = moves_mean
        self._integrator = IntegratorConfig(kind="midpoint", steps=config.steps)

    @property
    def is_wanted(self) -> bool:
        """Whether any term has a weight."""
        return self.config.correlation_weight > 0 or self.config.pathway_weight > 0

    def weighted(self, terms: Mapping[str, Tensor]) -> Tensor:
        """Return the sum of the terms, weighted."""
        weights = {"correlation": self.config.correlation_weight, "pathway": self.config.pathway_weight}
        return torch.stack([weights[name] * value for name, value in terms.items()]).sum()

    def __call__(
        self, networks: FlowNetworks, groups: CellGroups, batch: Batch, noise: KeyedNoise
    ) -> dict[str, Tensor]:
        """Return the terms that have a weight; zero at the steps between."""
        config, names = self.config, []
        names += ["correlation"] if config.correlation_weight > 0 else []
        names += ["pathway"] if config.pathway_weight > 0 else []
        if noise.step % config.every:
            return {name: groups.treated.new_zeros(()) for name in names}
        number = len(groups.conditions)
        first = (noise.step // config.every) * config.conditions
        device = groups.treated.device
        chosen = (first + torch.arange(min(config.conditions, number), device=device)) % number
        cells = self._generated(networks, groups, chosen)
        module_means, scores = self.truth.module_means, self.truth.pathway_scores
        if module_means is None or scores is None:
            raise ConfigError("module_flow was given no priors: call take_up before training.")
        found = {}
        if "correlation" in names:
            found["correlation"] = self._correlation(module_means(cells), batch, groups, chosen)
        if "pathway" in names:
            size = groups.treated.shape[1]
            measured = batch.target.view(number, size, -1)[chosen]
            found["pathway"] = pathway_distance(scores(cells), scores(measured)).mean()
        repeated = config.every if networks.training else 1
        return {name: value * repeated for name, value in found.items()}

    def _generated(self, networks: FlowNetworks, groups: CellGroups, chosen: Tensor) -> Tensor:
        """Return (B', M, G) cells, relative to the controls' mean, of all controls of the pool."""
        told = networks.perturbations(
            groups.conditions.take(chosen), groups.effects[chosen], groups.basal[chosen]
        )
        field = VelocityField.of(networks.velocity, groups.displacement[chosen], told)
        row, place = self.pool.first(groups.conditions.context[chosen], self.pool.cells)
        start = self.pool.latents[row, place]
        end = integrate(field, start, self._integrator)
        if not self.moves_mean:
            end = end - field.drift(start, end)
        with torch.no_grad():
            still = self._decoded(start)
        return self.pool.profiles[row, place] + (self._decoded(end) - still) * self.scaling.target_sd

    def _decoded(self, latents: Tensor) -> Tensor:
        return self.autoencoder.decode(latents.flatten(0, 1)).view(*latents.shape[:2], -1)

    def _correlation(self, means: Tensor, batch: Batch, groups: CellGroups, chosen: Tensor) -> Tensor:
        """Return the mean distance over the chosen conditions whose truth is measured, 0 for none."""
        size = groups.treated.shape[1]
        index = batch.condition_index.view(-1, size)[chosen, 0]
        known = (index >= 0) & (self.truth.is_measured[index.clamp(min=0)] > 0)
        distance = correlation_distance(means, self.truth.correlation[index.clamp(min=0)])
        return (distance * known).sum() / known.sum().clamp(min=1)
