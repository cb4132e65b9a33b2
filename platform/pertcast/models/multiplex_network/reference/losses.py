"""Losses of both stages: mean squared error and row correlation, in the units that tanh reaches."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pertcast.models.batch import Batch
from pertcast.models.multiplex_network.reference.condition_types import condition_type, is_control
from pertcast.models.multiplex_network.reference.cross_type import MeasuredProfiles
from pertcast.models.multiplex_network.reference.fundnn import FunDnnMembers
from pertcast.models.multiplex_network.reference.gensan import GenSan
from pertcast.models.multiplex_network.reference.scaling import FeatureScaling, TypeScaling
from pertcast.models.noise import KeyedNoise

_VARIANCE_FLOOR = 1e-6
_HIDING_STREAM = 1_000_003


def row_pearson(predicted: Tensor, target: Tensor) -> Tensor:
    """Return (N,) Pearson's r over genes of each row; 0 where either is constant."""
    first = predicted - predicted.mean(dim=1, keepdim=True)
    second = target - target.mean(dim=1, keepdim=True)
    spread = (first.square().mean(dim=1) + _VARIANCE_FLOOR) * (second.square().mean(dim=1) + _VARIANCE_FLOOR)
    return (first * second).mean(dim=1) / spread.sqrt()


def loss_terms(squared: Tensor, pearson: Tensor, number: Tensor, mse_weight: float) -> dict[str, Tensor]:
    """Return "loss", "mse" and "pearson" from sums over `number` rows."""
    mse, mean_pearson = squared / number.clamp(min=1), pearson / number.clamp(min=1)
    loss = mse_weight * mse + (1 - mse_weight) * (1 - mean_pearson)
    return {"loss": loss, "mse": mse, "pearson": mean_pearson}


class FunDnnLoss(nn.Module):
    """Loss of the members, each on the rows of its own type that it may see; held out, that of their mean.

    Only the members are a submodule: the units belong to no gradient stage.
    """

    def __init__(
        self, members: FunDnnMembers, features: FeatureScaling, scaling: TypeScaling, mse_weight: float
    ) -> None:
        super().__init__()
        self.members = members
        self.mse_weight = mse_weight
        self._outside = (features, scaling)

    def forward(self, batch: Batch, noise: KeyedNoise) -> dict[str, Tensor]:
        """Return "loss" = w mse + (1 - w) (1 - pearson), and its terms, means over rows and members."""
        features, scaling = self._outside
        folds, types = self.members.shape
        kind = condition_type(batch.conditions, types)
        inputs, target = features.summed(batch.conditions), scaling.scale(batch.target, kind)
        if not self.training:
            found = self.members(inputs)[torch.arange(len(kind), device=kind.device), kind]
            return masked_loss(found, target, ~is_control(batch.conditions), self.mse_weight)
        left_out = self.members.left_out(batch.conditions)
        squared, pearson, number = torch.zeros(3, device=target.device).unbind()
        for member in range(folds):
            for number_of_type in range(types):
                rows = torch.nonzero(~left_out[:, member] & (kind == number_of_type)).flatten()
                network = self.members.network(member, number_of_type)
                # A network without rows still takes part, with zero gradients, as workers need it to.
                found = network(inputs[rows], noise, batch.sample_id[rows])
                squared = squared + (found - target[rows]).square().mean(dim=1).sum()
                pearson = pearson + row_pearson(found, target[rows]).sum()
                number = number + len(rows)
        return loss_terms(squared, pearson, number, self.mse_weight)


class GenSanLoss(nn.Module):
    """Loss of the refined predictions; tokens are out of fold in training, the members' mean held out."""

    def __init__(
        self,
        gensan: GenSan,
        members: FunDnnMembers,
        profiles: MeasuredProfiles,
        features: FeatureScaling,
        scaling: TypeScaling,
        mse_weight: float,
        hidden_share: float,
    ) -> None:
        super().__init__()
        self.gensan = gensan
        self.mse_weight = mse_weight
        self.hidden_share = hidden_share
        self._outside = (members, profiles, features, scaling)

    def forward(self, batch: Batch, noise: KeyedNoise) -> dict[str, Tensor]:
        """Return "loss" and its terms as `FunDnnLoss`, over the rows of a type that training knows."""
        own, tokens, is_measured, kind = self.inputs(batch, noise)
        scaling = self._outside[3]
        refined = own + self.gensan(tokens, is_measured, kind)
        target = scaling.scale(batch.target, kind)
        return masked_loss(refined, target, kind < tokens.shape[1], self.mse_weight)

    @torch.no_grad()
    def inputs(self, batch: Batch, noise: KeyedNoise) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return what the second stage reads.

        Returns
        -------
        tuple
            (N, G) prediction for each row's own type, (N, T, G) tokens, (N, T) bool which are measured, and
            (N,) the types.
        """
        members, profiles, features, _ = self._outside
        kind = condition_type(batch.conditions, members.shape[1])
        weights = members.out_of_fold_weights(batch.conditions) if self.training else None
        predicted = members(features.summed(batch.conditions), weights)
        measured, is_measured = profiles(batch.conditions, kind)
        if self.training and self.hidden_share > 0:
            shown = noise.uniform(batch.sample_id, 1, _HIDING_STREAM) >= self.hidden_share
            is_measured = is_measured & shown
        own = predicted[torch.arange(len(kind), device=kind.device), kind]
        return own, joined_tokens(predicted, measured, is_measured), is_measured, kind


def joined_tokens(predicted: Tensor, measured: Tensor, is_measured: Tensor) -> Tensor:
    """Return (N, T, G): measured profiles where there are any, else the T first predictions (N, T + 1, G)."""
    return torch.where(is_measured.unsqueeze(2), measured, predicted[:, :-1])


def masked_loss(found: Tensor, target: Tensor, is_used: Tensor, mse_weight: float) -> dict[str, Tensor]:
    """Return the loss over the rows `is_used` (N,) of predictions and targets (N, G)."""
    squared = ((found - target).square().mean(dim=1) * is_used).sum()
    pearson = (row_pearson(found, target) * is_used).sum()
    return loss_terms(squared, pearson, is_used.sum(), mse_weight)
