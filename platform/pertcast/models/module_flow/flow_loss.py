r"""The loss of the flow: conditional flow matching over groups of cells of one condition.

Latents of treated cells z1 are paired with controls z0 of the same context by optimal transport; on the
straight path :math:`z_t = (1 - t) z_0 + t z_1 + \sigma \epsilon` the velocity to learn is z1 - z0 (Lipman et
al. 2023; Tong et al. 2024).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pertcast.models.batch import Batch, ConditionBatch
from pertcast.models.layers.scaling import Scaling
from pertcast.models.module_flow.alignment_terms import AlignmentTerms
from pertcast.models.module_flow.cell_groups import CellGroups, FlowNetworks
from pertcast.models.module_flow.config import FlowConfig
from pertcast.models.module_flow.control_pool import ControlPool
from pertcast.models.module_flow.displacement.displacement import Displacement
from pertcast.models.module_flow.latent_cache import LatentCache
from pertcast.models.module_flow.pairing import pair_by_transport, pair_independently
from pertcast.models.noise import KeyedNoise

_STREAM_CONTROL, _STREAM_PARTNER, _STREAM_TIME, _STREAM_PATH, _STREAM_HIDDEN = 601, 602, 603, 604, 605


class FlowLoss(nn.Module):
    """Loss on a batch of whole groups.

    Only the networks are a submodule: everything else is fixed by now and stays float32.

    Parameters
    ----------
    networks
        Trained.
    displacement, pool, latents, scaling
        Mean displacement, controls, latents of rows, scale of basal profiles.
    alignment
        Losses over populations; None: both are switched off.
    config
        Of the flow.
    hidden_share
        Share of groups whose perturbations are hidden.

    Attributes
    ----------
    uncompiled
        Methods that torch.compile leaves alone: look-ups, a search, and what happens every few steps only.
    """

    uncompiled = ("groups", "paired", "aligned")

    def __init__(
        self,
        networks: FlowNetworks,
        displacement: Displacement,
        pool: ControlPool,
        latents: LatentCache,
        scaling: Scaling,
        alignment: AlignmentTerms | None,
        config: FlowConfig,
        hidden_share: float,
    ) -> None:
        super().__init__()
        self.networks = networks
        self.config = config
        self.hidden_share = hidden_share
        self._outside = (displacement, pool, latents, scaling, alignment)
        self._table: tuple[Tensor, Tensor] | None = None

    def forward(self, batch: Batch, noise: KeyedNoise) -> dict[str, Tensor]:
        """Return "loss" = flow + the weighted terms of alignment, and each of them."""
        groups = self.groups(batch, noise)
        flow = self.matching(groups, batch.sample_id, noise)
        alignment = self._outside[4]
        if alignment is None:
            return {"loss": flow, "flow": flow}
        terms, weighted = self.aligned(alignment, groups, batch, noise)
        return {"loss": flow + weighted, "flow": flow, **terms}

    def aligned(
        self, alignment: AlignmentTerms, groups: CellGroups, batch: Batch, noise: KeyedNoise
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Return the terms of alignment, and their weighted sum."""
        terms = alignment(self.networks, groups, batch, noise)
        return terms, alignment.weighted(terms)

    @torch.no_grad()
    def groups(self, batch: Batch, noise: KeyedNoise) -> CellGroups:
        """Return a batch as groups, with controls drawn for them."""
        _, pool, latents, scaling, _ = self._outside
        size = self.config.cells_per_condition
        first = torch.arange(0, len(batch), size, device=batch.sample_id.device)
        conditions = batch.conditions.take(first)
        moved, effects = self._displaced(conditions, batch.condition_index[first])
        uniform = noise.uniform(batch.sample_id, 1, _STREAM_CONTROL).view(len(first), size)
        row, place = pool.drawn(conditions.context, uniform)
        basal = scaling.standardise_basal(batch.basal.view(len(first), size, -1).mean(dim=1))
        treated = latents(batch).view(len(first), size, -1)
        return CellGroups(conditions, moved, effects, basal, treated, row, place)

    def _displaced(self, conditions: ConditionBatch, index: Tensor) -> tuple[Tensor, Tensor]:
        """Return displacement and single effects; those of training conditions are computed once."""
        displacement = self._outside[0]
        if bool((index < 0).any()):
            found: tuple[Tensor, Tensor] = displacement.parts(conditions)
            return found
        if self._table is None:
            self._table = displacement.training_parts()
        moved, effects = self._table
        return moved[index], effects[index]

    def matching(self, groups: CellGroups, keys: Tensor, noise: KeyedNoise) -> Tensor:
        """Return the flow matching loss, a latent dimension."""
        start, end = self.paired(groups, keys, noise)
        shape = end.shape
        time = noise.uniform(keys, 1, _STREAM_TIME).view(*shape[:2], 1)
        path = torch.lerp(start, end, time)
        path = path + self.config.path_noise * noise.normal(keys, shape[2], _STREAM_PATH).view(shape)
        velocity, share = self.networks.velocity, self.hidden_share if self.training else 0.0
        is_hidden = noise.uniform(keys[:: shape[1]], 1, _STREAM_HIDDEN).squeeze(1) < share
        told = velocity.condition_part(self.told(groups, is_hidden)).unsqueeze(1)
        modulation = told + velocity.level_part(time.reshape(-1)).view(*shape[:2], -1)
        wanted = end - start - groups.displacement.unsqueeze(1)
        return (velocity.outputs(path, modulation) - wanted).square().mean()

    def told(self, groups: CellGroups, is_hidden: Tensor | None = None) -> Tensor:
        """Return (B, W) what the velocity network is told of the conditions; (B,) bool of whom nothing."""
        found: Tensor = self.networks.perturbations(
            groups.conditions, groups.effects, groups.basal, is_hidden
        )
        return found

    @torch.no_grad()
    def paired(self, groups: CellGroups, keys: Tensor, noise: KeyedNoise) -> tuple[Tensor, Tensor]:
        """Return controls and treated cells (B, g, D) each, partner beside partner."""
        start = self._outside[1].latents[groups.row, groups.place]
        uniform = noise.uniform(keys, 1, _STREAM_PARTNER).view(groups.row.shape)
        if self.config.pairing == "independent":
            partner = pair_independently(start, groups.treated, uniform)
        else:
            partner = pair_by_transport(start, groups.treated, uniform, self.config.epsilon)
        return start.gather(1, partner.unsqueeze(-1).expand_as(start)), groups.treated
