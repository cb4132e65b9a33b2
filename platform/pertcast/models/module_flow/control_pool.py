"""The control cells that trajectories start from: kept in the model, drawn from training controls alone."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from pertcast.models.batch import ModelSpace
from pertcast.models.layers.latents.autoencoder import Autoencoder
from pertcast.models.layers.scaling import Scaling
from pertcast.models.noise import KeyedNoise
from pertcast.models.priors import TrainingPriors

_MOST_KEPT = 8192
_STREAM_LATENT, _STREAM_NOISE = 701, 702


class ControlPool(nn.Module):
    """Controls of every context, relative to the mean of their group; the last row mixes all contexts.

    Where a store has no controls (measure "response") the starting points are standard normal latents around
    that of no response, and profiles are decoded from them.

    Parameters
    ----------
    space
        Contexts and genes.
    cells
        M, controls kept of each context, at most; fewer where there are many contexts.
    latent_dim
        D.

    Attributes
    ----------
    profiles
        (K + 1, M, G) float32, in units of expression.
    latents
        (K + 1, M, D) of the same; filled by `encode`.
    count
        (K + 1,) int64, how many are there.
    """

    profiles: Tensor
    latents: Tensor
    count: Tensor

    def __init__(self, space: ModelSpace, cells: int, latent_dim: int) -> None:
        super().__init__()
        contexts = len(space.contexts) + 1
        self.cells = max(16, min(cells, _MOST_KEPT // contexts))
        self.measure: Literal["expression", "response"] = space.measure
        self.register_buffer("profiles", torch.zeros(contexts, self.cells, space.n_genes))
        self.register_buffer("latents", torch.zeros(contexts, self.cells, latent_dim))
        self.register_buffer("count", torch.zeros(contexts, dtype=torch.int64))

    @torch.no_grad()
    def take_up(self, priors: TrainingPriors) -> None:
        """Keep the first controls of each context, and of all contexts in turn."""
        contexts = priors.control_context
        self.count.zero_()
        places = torch.zeros(len(contexts), dtype=torch.int64)
        for context in torch.unique(contexts).tolist():
            own = torch.nonzero(contexts == context).flatten()
            places[own] = torch.arange(len(own))
            if context >= 0:
                self._keep(context, priors.controls[own[: self.cells]])
        mixed = torch.argsort(places, stable=True)[: self.cells]
        self._keep(len(self.count) - 1, priors.controls[mixed])

    def _keep(self, row: int, controls: Tensor) -> None:
        self.count[row] = len(controls)
        self.profiles[row, : len(controls)] = controls

    @torch.no_grad()
    def encode(self, autoencoder: Autoencoder, scaling: Scaling, clip: float) -> Tensor:
        """Fill the latents by the trained autoencoder; return their mean over all controls, (D,)."""
        rows, cells, genes = self.profiles.shape
        if not bool((self.count > 0).any()):
            return self._from_nothing(autoencoder, scaling)
        standardised = (self.profiles.reshape(-1, genes) / scaling.target_sd).clamp(-clip, clip)
        parts = [autoencoder.encode(part) for part in torch.split(standardised, 1024)]
        self.latents.copy_(torch.cat(parts).view(rows, cells, -1))
        return self.latents[-1, : int(self.count[-1])].mean(dim=0)

    def _from_nothing(self, autoencoder: Autoencoder, scaling: Scaling) -> Tensor:
        rows, cells, genes = self.profiles.shape
        still = autoencoder.encode(self.profiles.new_zeros(1, genes))
        keys = torch.arange(rows * cells, device=still.device)
        noise = KeyedNoise(seed=0)
        latents = still + noise.normal(keys, still.shape[1], _STREAM_LATENT) * autoencoder.active
        decoded = autoencoder.decode(latents)
        decoded = decoded + noise.normal(keys, genes, _STREAM_NOISE) * autoencoder.noise_sd
        self.latents.copy_(latents.view(rows, cells, -1))
        self.profiles.copy_((decoded * scaling.target_sd).view(rows, cells, genes))
        self.count.fill_(cells)
        return still.squeeze(0)

    def row_of(self, context: Tensor) -> Tensor:
        """Return (N,) int64 rows of the pool: the context's, the mixed one where it has none."""
        last = len(self.count) - 1
        row = torch.where(context < 0, last, context)
        return torch.where(self.count[row] > 0, row, last)

    def first(self, context: Tensor, number: int) -> tuple[Tensor, Tensor]:
        """Return rows and places (N, K) of the first K controls of N contexts, cyclically where fewer."""
        row = self.row_of(context)
        place = torch.arange(number, device=row.device) % self.count[row].clamp(min=1).unsqueeze(1)
        return row.unsqueeze(1).expand_as(place), place

    def drawn(self, context: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
        """Return rows and places (N, K) of controls drawn by uniform numbers (N, K) in (0, 1)."""
        row = self.row_of(context)
        count = self.count[row].clamp(min=1).unsqueeze(1)
        place = torch.minimum((uniform * count).long(), count - 1)
        return row.unsqueeze(1).expand_as(place), place
