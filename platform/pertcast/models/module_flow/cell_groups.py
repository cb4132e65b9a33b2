"""What losses over populations see: groups of cells of one condition, and the networks that are trained."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from pertcast.models.batch import ConditionBatch
from pertcast.models.module_flow.perturbation_set import PerturbationSet
from pertcast.models.module_flow.velocity import VelocityNetwork


@dataclass(frozen=True, slots=True)
class CellGroups:
    """B groups of g treated cells of one condition, and as many controls.

    Attributes
    ----------
    conditions
        The B conditions.
    displacement
        (B, D) mean displacement.
    effects
        (B, S, D) single effects.
    basal
        (B, G) standardised basal profiles, means of the groups.
    treated
        (B, g, D) latents.
    row, place
        (B, g) of the controls in the pool.
    """

    conditions: ConditionBatch
    displacement: Tensor
    effects: Tensor
    basal: Tensor
    treated: Tensor
    row: Tensor
    place: Tensor


class FlowNetworks(nn.Module):
    """What the flow stage trains: the encoder of perturbation sets and the velocity network."""

    def __init__(self, perturbations: PerturbationSet, velocity: VelocityNetwork) -> None:
        super().__init__()
        self.perturbations = perturbations
        self.velocity = velocity
