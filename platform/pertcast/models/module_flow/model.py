"""module_flow as a ResponseModel: gene modules, latent space, mean displacement, and the flow around it."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from pertcast.models.batch import Batch, ConditionBatch, ModelSpace, Prediction
from pertcast.models.contract import GradientStage, ResponseModel, Stage
from pertcast.models.layers.latents.fitting import LatentScaleStage, StandardisedTargets
from pertcast.models.layers.scaling import Scaling, ScalingStage
from pertcast.models.module_flow.alignment_terms import AlignmentStage, AlignmentTerms, AlignmentTruth
from pertcast.models.module_flow.cell_groups import FlowNetworks
from pertcast.models.module_flow.components import ConditionComponentsStage
from pertcast.models.module_flow.config import ModuleFlowConfig
from pertcast.models.module_flow.control_pool import ControlPool
from pertcast.models.module_flow.displacement.displacement import Displacement
from pertcast.models.module_flow.displacement.own_gene import OwnGeneEffect, OwnGeneStage
from pertcast.models.module_flow.displacement.stage import DisplacementStage
from pertcast.models.module_flow.flow_loss import FlowLoss
from pertcast.models.module_flow.gene_autoencoder import GeneAutoencoder, build_gene_autoencoder
from pertcast.models.module_flow.grouping.grouping import group_genes
from pertcast.models.module_flow.integrators import integrate
from pertcast.models.module_flow.latent_cache import LatentCache
from pertcast.models.module_flow.perturbation_set import PerturbationSet
from pertcast.models.module_flow.reconstruction_loss import GeneAutoencoderLoss
from pertcast.models.module_flow.spread import SpreadStage
from pertcast.models.module_flow.tokens import module_places
from pertcast.models.module_flow.velocity import VelocityField, VelocityNetwork
from pertcast.models.noise import KeyedNoise
from pertcast.models.priors import TrainingPriors

_EMBEDDING_WIDTH = 32
_LARGEST_MODULE = 8.0
_CACHED_CELLS = 512
_STREAM_START = 801


class ModuleFlow(ResponseModel):
    """Populations of cells under sets of genetic perturbations: control cells moved by a learnt flow.

    cell = control + decode(latent at time 1) - decode(latent at time 0), so what the latent space leaves out
    of a control cell stays with it; the response is the mean of what is added.
    """

    config: ModuleFlowConfig
    samples_profiles: bool = True
    wants_priors: ClassVar[bool] = True
    module: Tensor
    spread: Tensor

    def __init__(self, config: ModuleFlowConfig, space: ModelSpace, conditions: ConditionBatch) -> None:
        super().__init__(config, space, conditions)
        self.n_modules = min(config.grouping.n_modules, space.n_genes)
        largest = 1.0 if config.grouping.sizes == "balanced" else _LARGEST_MODULE
        places = module_places(space.n_genes, self.n_modules, largest)
        self.scaling = Scaling(space)
        self.autoencoder = build_gene_autoencoder(
            config.autoencoder, space.n_genes, self.n_modules, places, _EMBEDDING_WIDTH
        )
        latent_dim = self.autoencoder.latent_dim
        self.pool = ControlPool(space, config.control_cells, latent_dim)
        self.displacement = Displacement(config.displacement, conditions, latent_dim)
        self.own_gene = OwnGeneEffect(space)
        self.networks = FlowNetworks(
            PerturbationSet(config.condition, space, conditions, latent_dim),
            VelocityNetwork(latent_dim, config.condition.width, config.flow),
        )
        self.register_buffer("module", torch.full((space.n_genes,), -1))
        self.register_buffer("spread", torch.zeros(space.n_genes))
        is_aligned = config.alignment.correlation_weight > 0
        self.truth = AlignmentTruth(self.n_modules, space.n_conditions, is_aligned)
        self._priors = TrainingPriors.empty(space.n_genes)

    def take_up(self, priors: TrainingPriors) -> None:
        """Group the genes, and keep control cells to start from; trained weights keep their groups."""
        self._priors = priors
        is_grouped = self.start is not None and self.gene_modules() is not None
        if not is_grouped:
            self.module.copy_(group_genes(priors, self.config.grouping).labels)
        self.pool.take_up(priors)
        self.truth.take_up(self.module.cpu(), priors)
        if isinstance(self.autoencoder, GeneAutoencoder) and not is_grouped:
            embedding = _leading(priors.gene_embedding, _EMBEDDING_WIDTH)
            self.autoencoder.set_labels(self.module, embedding)

    def gene_modules(self) -> Tensor | None:
        """Return (G,) int64 the module of each gene; None before `take_up`."""
        return self.module if bool((self.module >= 0).all()) else None

    def stages(self) -> tuple[Stage, ...]:
        """Return the stages in order.

        "scaling", "components" (closed form), "autoencoder" ("modules" only), "latent_scale", "own_gene",
        "displacement", "spread", "populations" (closed form), "flow".
        """
        config, scaling, autoencoder = self.config, self.scaling, self.autoencoder
        targets = StandardisedTargets(scaling, config.target_clip)
        conditions = self.space.n_conditions
        weight = config.autoencoder.condition_weight
        stages: list[Stage] = [
            ScalingStage(scaling, False, False, use_mean=False),
            ConditionComponentsStage(autoencoder, targets, conditions, weight),
        ]
        size = config.flow.cells_per_condition
        if isinstance(autoencoder, GeneAutoencoder):
            settings = config.autoencoder
            loss = GeneAutoencoderLoss(autoencoder, targets, self._priors.controls, settings)
            optimiser, epochs = settings.optimiser, settings.epochs
            stages.append(GradientStage("autoencoder", loss, optimiser, epochs, size, is_kept=True))
        latents = LatentCache(autoencoder, targets)
        terms = AlignmentTerms(
            config.alignment, self.pool, autoencoder, scaling, self.truth, self._moves_mean
        )
        flow = FlowLoss(
            self.networks,
            self.displacement,
            self.pool,
            latents,
            scaling,
            terms if terms.is_wanted else None,
            config.flow,
            config.condition.hidden_share,
        )
        return (
            *stages,
            LatentScaleStage(autoencoder, targets),
            OwnGeneStage(self.own_gene),
            DisplacementStage(self.displacement, autoencoder, latents, self.encode_controls, conditions),
            SpreadStage(self.spread, self._mean_of_rows),
            *((AlignmentStage(self.truth),) if terms.is_wanted else ()),
            GradientStage("flow", flow, config.flow.optimiser, config.flow.epochs, size),
        )

    @property
    def _moves_mean(self) -> bool:
        """Whether the flow may move means: where it is allowed to, or where nothing else does."""
        return self.config.flow.moves_mean or self.config.displacement.kind == "none"

    def encode_controls(self) -> Tensor:
        """Encode the pool by the trained autoencoder; return its mean latent (D,)."""
        return self.pool.encode(self.autoencoder, self.scaling, self.config.target_clip)

    def _mean_of_rows(self, batch: Batch) -> Tensor:
        """Return (N, G) the responses of training rows by the displacement alone."""
        distinct, place = torch.unique(batch.condition_index, return_inverse=True)
        first = torch.full_like(distinct, len(batch)).scatter_reduce(
            0, place, torch.arange(len(batch), device=place.device), "amin"
        )
        conditions, basal = batch.conditions.take(first), batch.basal[first]
        start = self._start(conditions, self.config.integrator.cells)
        moved = start + self.displacement(conditions).unsqueeze(1)
        return self._response(start, moved, conditions, basal)[place]

    @torch.no_grad()
    def predict(
        self, conditions: ConditionBatch, basal: Tensor, n_samples: int = 0, noise: KeyedNoise | None = None
    ) -> Prediction:
        """Predict N conditions; see `ResponseModel.predict`.

        The mean is over the first `integrator.cells` controls of the context; samples follow controls drawn
        by the noise. The sd is that of single cells around their condition's mean in training.
        """
        field = self._field(conditions, basal)
        start = self._start(conditions, self.config.integrator.cells)
        if n_samples == 0 and not self._moves_mean and self.autoencoder.is_linear:
            end, drift = start + field.displacement, None
        else:
            end = self._follow(field, start)
            drift = None if self._moves_mean else field.drift(start, end)
            end = end if drift is None else end - drift
        mean = self._response(start, end, conditions, basal)
        samples = None
        if n_samples > 0:
            source = noise or KeyedNoise(seed=0)
            samples = self._samples(field, drift, conditions, basal, n_samples, source)
        return Prediction(mean, self.spread.expand_as(mean), samples)

    def _field(self, conditions: ConditionBatch, basal: Tensor) -> VelocityField:
        displacement, effects = self.displacement.parts(conditions)
        told = self.networks.perturbations(conditions, effects, self.scaling.standardise_basal(basal))
        return VelocityField.of(self.networks.velocity, displacement, told)

    def _start(self, conditions: ConditionBatch, cells: int) -> Tensor:
        """Return latents (N, K, D) of the first controls."""
        row, place = self.pool.first(conditions.context, cells)
        return self.pool.latents[row, place]

    def _follow(self, field: VelocityField, start: Tensor) -> Tensor:
        """Return (N, K, D) latents at time 1, conditions at a time as a processor's cache holds."""
        rows = max(1, _CACHED_CELLS // max(start.shape[1], 1)) if start.device.type == "cpu" else len(start)
        ends = [
            integrate(
                field.take(slice(first, first + rows)), start[first : first + rows], self.config.integrator
            )
            for first in range(0, len(start), rows)
        ]
        return torch.cat(ends) if ends else start

    def _response(self, start: Tensor, end: Tensor, conditions: ConditionBatch, basal: Tensor) -> Tensor:
        """Return (N, G) mean responses of cells that went from latents `start` to `end` (N, K, D)."""
        moved = self._decoded(end).mean(dim=1) - self._decoded(start).mean(dim=1)
        response = moved * self.scaling.target_sd
        if self.config.displacement.own_gene:
            response = self.own_gene.put(response, conditions, basal)
        return self._not_below_zero(response, basal)

    def _decoded(self, latents: Tensor) -> Tensor:
        return self.autoencoder.decode(latents.flatten(0, 1)).view(*latents.shape[:2], -1)

    def _not_below_zero(self, response: Tensor, basal: Tensor) -> Tensor:
        """Return responses that leave no expression below zero, where basal expression never is."""
        if self.space.measure != "expression" or bool((self.scaling.basal_mean < 0).any()):
            return response
        return torch.maximum(response, -basal.clamp(min=0))

    def _samples(
        self,
        field: VelocityField,
        drift: Tensor | None,
        conditions: ConditionBatch,
        basal: Tensor,
        count: int,
        noise: KeyedNoise,
    ) -> Tensor:
        """Return (N, count, G) cells, relative to the basal profile; `drift` (N, 1, D) is taken off."""
        uniform = noise.uniform(conditions.key, count, _STREAM_START)
        row, place = self.pool.drawn(conditions.context, uniform)
        start = self.pool.latents[row, place]
        end = self._follow(field, start)
        end = end if drift is None else end - drift
        moved = (self._decoded(end) - self._decoded(start)) * self.scaling.target_sd
        cells = self.pool.profiles[row, place] + moved
        if not self.config.displacement.own_gene:
            return cells
        return self._with_own_genes(cells, self.pool.profiles[row, place], conditions, basal)

    def _with_own_genes(
        self, cells: Tensor, controls: Tensor, conditions: ConditionBatch, basal: Tensor
    ) -> Tensor:
        """Return cells whose targeted genes have the own-gene response, as a share of a control's level."""
        own, stated = self.own_gene(conditions, basal)
        for slot in range(own.shape[1]):
            rows = torch.nonzero(stated[:, slot]).flatten()
            gene = conditions.own_gene[rows, slot]
            level = basal[rows, gene].unsqueeze(1)
            control, change = controls[rows, :, gene], own[rows, slot].unsqueeze(1)
            share = (level + change).clamp(min=0) / level.clamp(min=1e-6)
            scaled = (control + level) * share - level
            is_level = (self.space.measure == "expression") & (level > 1e-3)
            cells[rows, :, gene] = torch.where(is_level, scaled, control + change)
        return cells

    @torch.no_grad()
    def latent(self, conditions: ConditionBatch, basal: Tensor, response: Tensor) -> Tensor | None:
        """Return (N, D) standardised latents of the responses."""
        standardised = (response / self.scaling.target_sd).clamp(
            -self.config.target_clip, self.config.target_clip
        )
        return self.autoencoder.encode(standardised)


def _leading(embedding: Tensor, width: int) -> Tensor:
    """Return (G, width) scores on the leading axes of an embedding (G, d), zero beyond its rank."""
    scores = embedding.new_zeros(len(embedding), width)
    if embedding.shape[1] == 0:
        return scores
    left, lengths, _ = torch.linalg.svd(embedding.double(), full_matrices=False)
    count = min(width, len(lengths))
    axes = left[:, :count] * lengths[:count]
    largest = axes.abs().argmax(dim=0)
    scores[:, :count] = (axes * axes[largest, torch.arange(count)].sign()).float()
    return scores
