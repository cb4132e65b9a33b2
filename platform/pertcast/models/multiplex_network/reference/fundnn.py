"""FunDNN: from a perturbation's features to the response, one network a type, in K out-of-fold members."""

from __future__ import annotations

from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from pertcast.models.batch import ConditionBatch, ModelSpace
from pertcast.models.layers.blocks import KeyedDropout
from pertcast.models.layers.recomputable import Recomputable
from pertcast.models.multiplex_network.reference.condition_types import (
    condition_type,
    is_control,
    left_out_by,
    perturbation_folds,
)
from pertcast.models.multiplex_network.reference.config import FunDnnConfig
from pertcast.models.noise import KeyedNoise


class FunDnn(Recomputable):
    """F -> `depth` hidden layers of `width`, LeakyReLU and dropout -> G, tanh.

    The paper names three LeakyReLU for four hidden layers; here one follows each, since two layers without
    anything between them are one.

    Parameters
    ----------
    inputs, outputs
        F and G.
    config
        Width, depth and dropout.
    stream
        First of the `depth` streams of noise that dropout draws from.
    """

    def __init__(self, inputs: int, outputs: int, config: FunDnnConfig, stream: int) -> None:
        super().__init__()
        widths = [inputs] + [config.width] * config.depth
        self.hidden = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))
        self.drops = nn.ModuleList(KeyedDropout(config.dropout, stream + i) for i in range(config.depth))
        self.out = nn.Linear(config.width, outputs)

    def forward(self, inputs: Tensor, noise: KeyedNoise | None = None, keys: Tensor | None = None) -> Tensor:
        """Return (N, G) in [-1, 1] for standardised features (N, F)."""
        hidden = inputs
        for layer, drop in zip(self.hidden, self.drops, strict=True):
            hidden = drop(functional.leaky_relu(layer(hidden)), noise, keys)
        return torch.tanh(self.out(hidden).float())


class FunDnnMembers(nn.Module):
    """K x T networks: member k of each type never sees a condition that holds a perturbation of fold k.

    Attributes
    ----------
    fold
        (P + 1,) int64 fold of each training perturbation, -1 in the last place.
    is_trained
        (K, T) 1 where a member has any training condition of that type, else 0: it then counts for nothing.
    """

    fold: Tensor
    is_trained: Tensor

    def __init__(
        self, config: FunDnnConfig, folds: int, space: ModelSpace, conditions: ConditionBatch
    ) -> None:
        super().__init__()
        types = len(space.pert_types)
        streams = iter(range(0, folds * types * config.depth, config.depth))
        self.networks = nn.ModuleList(
            nn.ModuleList(
                FunDnn(space.feature_width, space.n_genes, config, next(streams)) for _ in range(types)
            )
            for _ in range(folds)
        )
        fold = perturbation_folds(len(space.perturbations), folds)
        seen = ~left_out_by(conditions, fold, folds) & ~is_control(conditions).unsqueeze(1)
        is_type = condition_type(conditions, types).unsqueeze(1) == torch.arange(types)
        is_trained = (seen.unsqueeze(2) & is_type.unsqueeze(1)).any(dim=0)
        self.register_buffer("fold", fold, persistent=False)
        self.register_buffer("is_trained", is_trained.float(), persistent=False)

    @property
    def shape(self) -> tuple[int, int]:
        """K and T."""
        folds, types = self.is_trained.shape
        return folds, types

    def network(self, member: int, kind: int) -> FunDnn:
        """Return the network of member `member` for type `kind`."""
        by_type = cast(nn.ModuleList, self.networks[member])
        return cast(FunDnn, by_type[kind])

    def left_out(self, conditions: ConditionBatch) -> Tensor:
        """Return (N, K) bool: which members are trained without each condition."""
        return left_out_by(conditions, self.fold, self.shape[0])

    def out_of_fold_weights(self, conditions: ConditionBatch) -> Tensor:
        """Return (N, K): 1 for the members that never saw a condition's perturbations.

        All members where every one of them did, which is so for perturbations outside training alone.
        """
        left_out = self.left_out(conditions)
        return (left_out | ~left_out.any(dim=1, keepdim=True)).float()

    def forward(self, inputs: Tensor, weights: Tensor | None = None) -> Tensor:
        """Return the mean over members of their predictions for every type.

        Parameters
        ----------
        inputs
            (N, F) standardised features.
        weights
            (N, K) 1 for the members that are asked, else 0; None: all.

        Returns
        -------
        Tensor
            (N, T + 1, G) float32 in [-1, 1]; the last is the mean over types. Zero, the type's mean, where no
            member that is asked has been trained.
        """
        folds, types = self.shape
        asked = weights if weights is not None else inputs.new_ones(len(inputs), folds)
        by_type = []
        for kind in range(types):
            weight = asked * self.is_trained[:, kind]
            weight = weight / weight.sum(dim=1, keepdim=True).clamp(min=1)
            parts = [weight[:, k, None] * self.network(k, kind)(inputs) for k in range(folds)]
            by_type.append(torch.stack(parts).sum(dim=0))
        found = torch.stack(by_type, dim=1)
        return torch.cat((found, found.mean(dim=1, keepdim=True)), dim=1)
