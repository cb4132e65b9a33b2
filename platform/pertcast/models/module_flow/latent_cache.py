"""Latents of training rows, encoded once: the autoencoder is frozen while the flow learns."""

from __future__ import annotations

import torch
from torch import Tensor

from pertcast.models.batch import Batch
from pertcast.models.layers.latents.autoencoder import Autoencoder
from pertcast.models.layers.latents.fitting import StandardisedTargets


class LatentCache:
    """Batch -> latents of its rows; a row seen before is looked up by its sample id.

    Parameters
    ----------
    autoencoder
        Encodes; must not change from the first call on.
    targets
        Standardises rows.
    """

    def __init__(self, autoencoder: Autoencoder, targets: StandardisedTargets) -> None:
        self._autoencoder = autoencoder
        self._targets = targets
        self._table = torch.zeros(0, autoencoder.latent_dim)
        self._place = torch.zeros(0, dtype=torch.int64)
        self._used = 0

    @torch.no_grad()
    def __call__(self, batch: Batch) -> Tensor:
        """Return (N, D) float32."""
        ids = batch.sample_id
        if ids.device != self._place.device:
            self._place, self._table = self._place.to(ids.device), self._table.to(ids.device)
        self._reach(int(ids.max()) + 1)
        if bool((self._place[ids] < 0).any()):
            self._encode(batch)
        return self._table[self._place[ids]]

    def _reach(self, size: int) -> None:
        """Make room for ids below `size`."""
        missing = size - len(self._place)
        if missing > 0:
            more = torch.full((max(missing, len(self._place)),), -1, device=self._place.device)
            self._place = torch.cat((self._place, more))

    def _encode(self, batch: Batch) -> None:
        ids = batch.sample_id
        new = torch.nonzero(self._place[ids] < 0).flatten()
        latents = self._autoencoder.encode(self._targets(batch.take(new)))
        free = self._used + len(new) - len(self._table)
        if free > 0:
            more = self._table.new_zeros(max(free, len(self._table)), self._table.shape[1])
            self._table = torch.cat((self._table, more))
        places = torch.arange(self._used, self._used + len(new), device=ids.device)
        self._table[places] = latents.float()
        self._place[ids[new]] = places
        self._used += len(new)
