"""The mean displacement of any set of perturbations in the latent space, as buffers that a bundle carries."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pertcast.models.baselines.perturbation_sets import set_groups
from pertcast.models.batch import ConditionBatch
from pertcast.models.module_flow.displacement.config import DisplacementConfig
from pertcast.models.module_flow.displacement.effects import (
    ConditionMeans,
    SolvedEffects,
    solve_effects,
)
from pertcast.models.module_flow.displacement.interactions import (
    InteractionCovariance,
    InteractionShape,
    OrderedPairs,
    solve_interactions,
)
from pertcast.models.module_flow.displacement.similarity import (
    Amplitudes,
    Slots,
    SlotSimilarity,
    summed_by_condition,
)

_BLOCK = 512


@dataclass(frozen=True, slots=True)
class DisplacementFacts:
    """What was found: shares of left-out single effects and of left-out excess that are predicted."""

    left_out_r2: float
    left_out_excess_r2: float


class Displacement(nn.Module):
    """Sum of the members' effects and their interaction, for sets of any size; zero for a control.

    Parameters
    ----------
    config
        Which parts there are.
    conditions
        The C training conditions.
    latent_dim
        D.

    Attributes
    ----------
    scale
        (D,) weight of each latent dimension; effects are compared in units of genes.
    amplitudes, shape
        (4,) and (3,): shares and length of single effects; variances and length of interactions.
    signal
        (D,) variance of a single effect.
    effect_weights, set_weights
        (C, D) of the two processes, zero for a condition that was not used.
    slot_effects
        (C, S, D) single effects of the training conditions' slots.
    """

    scale: Tensor
    amplitudes: Tensor
    shape: Tensor
    signal: Tensor
    effect_weights: Tensor
    set_weights: Tensor
    slot_effects: Tensor

    def __init__(self, config: DisplacementConfig, conditions: ConditionBatch, latent_dim: int) -> None:
        super().__init__()
        self.config = config
        self.similarity = SlotSimilarity(config, conditions.features)
        self._training = (conditions,)
        count, slots = conditions.slot.shape
        self.register_buffer("scale", torch.ones(latent_dim))
        self.register_buffer("amplitudes", torch.tensor([1.0, 0.0, 0.0, 1.0]))
        self.register_buffer("shape", torch.zeros(3))
        self.register_buffer("signal", torch.ones(latent_dim))
        self.register_buffer("effect_weights", torch.zeros(count, latent_dim))
        self.register_buffer("set_weights", torch.zeros(count, latent_dim))
        self.register_buffer("slot_effects", torch.zeros(count, slots, latent_dim))

    @torch.no_grad()
    def forward(self, conditions: ConditionBatch) -> Tensor:
        """Return the (N, D) float32 displacement."""
        return self.parts(conditions)[0]

    @torch.no_grad()
    def parts(self, conditions: ConditionBatch) -> tuple[Tensor, Tensor]:
        """Return the displacement (N, D) and the slots' single effects (N, S, D), zero where empty."""
        found = [
            self._block(conditions.take(rows))
            for rows in torch.split(torch.arange(len(conditions), device=conditions.slot.device), _BLOCK)
        ]
        if not found:
            empty = self.scale.new_zeros(0, len(self.scale))
            return empty, empty.unsqueeze(1)
        displacement, effects = (torch.cat(part) for part in zip(*found, strict=True))
        return displacement / self.scale, effects / self.scale

    def training_parts(self) -> tuple[Tensor, Tensor]:
        """Return `parts` of the C training conditions."""
        return self.parts(self._training[0].to(self.scale.device))

    def _block(self, conditions: ConditionBatch) -> tuple[Tensor, Tensor]:
        """Return displacement and effects in units of genes."""
        slots = self.similarity.slots(conditions)
        by_slot = self._effects(slots)
        total = summed_by_condition(by_slot, slots.condition, len(conditions), 0)
        if float(self.shape[2]) > 0:
            total = total + self._interaction(slots, by_slot, len(conditions))
        filled = conditions.slot >= 0
        effects = by_slot.new_zeros(*conditions.slot.shape, by_slot.shape[1])
        effects[filled] = by_slot
        return total.float(), effects.float()

    def _effects(self, slots: Slots) -> Tensor:
        """Return (M, D) float64 single effects."""
        training = self.similarity.slots(self._training[0].to(self.scale.device))
        covariance = self.similarity.covariance(slots, training, Amplitudes(*self.amplitudes.tolist()))
        return covariance @ self.effect_weights.double()[training.condition]

    def _interaction(self, slots: Slots, by_slot: Tensor, count: int) -> Tensor:
        asked = OrderedPairs.of(slots.condition, by_slot, count)
        covariance = InteractionCovariance(
            asked, self._training_pairs(), InteractionShape(*self.shape.tolist()), self.signal.double()
        )
        return covariance.apply(self.set_weights.double())

    def _training_pairs(self) -> OrderedPairs:
        conditions = self._training[0].to(self.scale.device)
        condition, place = torch.nonzero(conditions.slot >= 0, as_tuple=True)
        used = (self.set_weights != 0).any(dim=1)[condition]
        condition, place = condition[used], place[used]
        effects = self.slot_effects[condition, place].double()
        return OrderedPairs.of(condition, effects, len(conditions))

    @torch.no_grad()
    def solve(self, means: ConditionMeans, scale: Tensor) -> DisplacementFacts:
        """Solve from the means of the C training conditions, in float64.

        Parameters
        ----------
        means
            Of the latents; a count of 0 for a condition without cells.
        scale
            (D,) what makes latent units comparable between dimensions; positive.
        """
        device = self.scale.device
        training = self._training[0].to("cpu")
        scale = scale.double().cpu().clamp(min=1e-6)
        means = ConditionMeans(means.mean.cpu() * scale, means.count.cpu(), means.noise.cpu() * scale**2)
        used = _most_cells(means.count, (training.slot >= 0).any(dim=1), self.config.most_conditions)
        conditions, known = training.take(used), means.take(used)
        self.to("cpu")
        slots = self.similarity.slots(conditions)
        groups = set_groups(training)
        extra = _interaction_variance(conditions, known)
        effects = solve_effects(self.similarity, slots, known, groups[used], extra)
        self._store(effects, used, scale)
        self.slot_effects.copy_((self.parts(training)[1] * scale).float())
        excess_r2 = self._solve_sets(training, means, groups) if self.config.interactions else 0.0
        self.to(device)
        return DisplacementFacts(effects.left_out_r2, excess_r2)

    def _store(self, effects: SolvedEffects, used: Tensor, scale: Tensor) -> None:
        shares = effects.amplitudes
        self.scale.copy_(scale)
        self.signal.copy_(effects.signal)
        self.amplitudes.copy_(torch.tensor([shares.common, shares.alike, shares.own, shares.length]))
        self.shape.zero_()
        self.set_weights.zero_()
        self.effect_weights.zero_()
        self.effect_weights[used] = effects.weights.float()

    def _solve_sets(self, training: ConditionBatch, means: ConditionMeans, groups: Tensor) -> float:
        """Solve the interactions of the measured sets of two and more; return what left-out ones explain."""
        is_set = (training.slot >= 0).sum(dim=1) > 1
        used = _most_cells(means.count, is_set, self.config.most_sets)
        if len(used) < 2:
            return 0.0
        conditions, known = training.take(used), means.take(used)
        condition, place = torch.nonzero(conditions.slot >= 0, as_tuple=True)
        effects = self.slot_effects[used][condition, place].double()
        total = summed_by_condition(effects, condition, len(used), 0)
        noise = known.noise / known.count.unsqueeze(1) + _uncertainty(condition, known)
        pairs = OrderedPairs.of(condition, effects, len(used))
        excess = known.mean - total
        solved = solve_interactions(pairs, excess, noise, self.signal.double(), groups[used])
        if solved.shape is not None:
            shape = solved.shape
            self.shape.copy_(torch.tensor([shape.gain, shape.emergent, shape.length]))
            self.set_weights[used] = solved.weights.float()
        return solved.left_out_r2


def _uncertainty(condition: Tensor, known: ConditionMeans) -> Tensor:
    """Return (N, D) about what the errors of the single effects add: the noise of as many cells a member."""
    members = torch.bincount(condition, minlength=len(known.count)).unsqueeze(1)
    return members * known.noise / known.count.median().clamp(min=1)


def _most_cells(count: Tensor, is_wanted: Tensor, most: int) -> Tensor:
    """Return (M,) int64 of the wanted conditions that have cells: all, or the `most` with most cells."""
    wanted = torch.nonzero(is_wanted & (count > 0)).flatten()
    if len(wanted) <= most:
        return wanted
    order = torch.argsort(count[wanted], descending=True, stable=True)[:most]
    return wanted[order].sort().values


def _interaction_variance(conditions: ConditionBatch, means: ConditionMeans) -> float:
    """Return the variance of sets beyond the sum of their measured members, in single effects' variances.

    From sets whose members are all measured alone in the same context; 0 where there is none.
    """
    filled = (conditions.slot >= 0).sum(dim=1)
    single = {
        (int(conditions.perturbation[i, 0]), int(conditions.pert_type[i, 0]), int(conditions.context[i])): i
        for i in torch.nonzero(filled == 1).flatten().tolist()
    }
    excess, signal, number = 0.0, 0.0, 0
    for i in torch.nonzero(filled > 1).flatten().tolist():
        members = [
            single.get((perturbation, kind, int(conditions.context[i])), -1)
            for perturbation, kind in zip(
                conditions.perturbation[i].tolist(), conditions.pert_type[i].tolist(), strict=True
            )
            if perturbation >= 0
        ]
        if len(members) != int(filled[i]) or min(members) < 0:
            continue
        index = torch.tensor([i, *members])
        noise = float((means.noise / means.count[index].unsqueeze(1)).sum())
        left = means.mean[i] - means.mean[index[1:]].sum(dim=0)
        excess += float(left.square().sum()) - noise
        own = means.noise / means.count[index[1:]].unsqueeze(1)
        signal += float((means.mean[index[1:]].square() - own).sum()) / len(members)
        number += 1
    return max(excess, 0.0) / max(signal, 1e-12) if number else 0.0
