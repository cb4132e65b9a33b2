"""Several trained models that answer as one: what they disagree on is part of the spread.

An ensemble obeys the contract of every model, so whoever predicts, evaluates, screens or serves needs
no second way for it: conditions are encoded once and given to every member.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from pertcast.models.batch import ConditionBatch, Prediction
from pertcast.models.contract import ResponseModel, Stage
from pertcast.models.noise import KeyedNoise


def combined(means: Sequence[Tensor], spreads: Sequence[Tensor | None]) -> tuple[Tensor, Tensor, Tensor]:
    """Return mean, spread and disagreement of several predictions of the same conditions.

    The law of total variance: sd^2 = mean of the members' variances + variance of their means. Where not
    every member states a spread, the sd is the sample standard deviation of their means alone.

    Parameters
    ----------
    means
        (N, G) of each of K >= 2 members.
    spreads
        (N, G) of each, or None.

    Returns
    -------
    tuple
        (N, G) float32 mean, sd and sd_between, the standard deviation of the members' means.
    """
    count = len(means)
    mean = _sum(means).div_(count)
    # Two passes and one member at a time: a reduction over a first axis of five is many times slower.
    squares = _sum([(each - mean).square_() for each in means])
    between = squares.div(count)
    stated = [sd.square() for sd in spreads if sd is not None]
    if len(stated) < count:
        return mean, squares.div_(count - 1).sqrt_(), between.sqrt_()
    return mean, _sum(stated).div_(count).add_(between).sqrt_(), between.sqrt_()


def _sum(parts: Sequence[Tensor]) -> Tensor:
    total = parts[0].clone()
    for part in parts[1:]:
        total += part
    return total


class EnsembleModel(ResponseModel):
    """The members' mean, with what they disagree on in its spread.

    Parameters
    ----------
    members
        Name -> a trained model; of one configuration, built from one space and the same conditions.
    conditions
        The C training conditions that they were built from.

    Attributes
    ----------
    members
        The models by name, in order.
    """

    def __init__(self, members: Mapping[str, ResponseModel], conditions: ConditionBatch) -> None:
        first = next(iter(members.values()))
        super().__init__(first.config, first.space, conditions)
        self.samples_profiles = first.samples_profiles
        self.members = nn.ModuleDict(dict(members))

    def stages(self) -> tuple[Stage, ...]:
        """Return none: members are trained one by one."""
        return ()

    @torch.no_grad()
    def predict(
        self, conditions: ConditionBatch, basal: Tensor, n_samples: int = 0, noise: KeyedNoise | None = None
    ) -> Prediction:
        """Predict N conditions with every member; see `ResponseModel.predict` and `combined`.

        Each member has noise of its own. Samples are dealt to the members in turn, beginning with one that
        the condition's key decides: any number of them is a draw from the mixture.
        """
        noise = noise or KeyedNoise(seed=0)
        each = -(-n_samples // len(self.members))
        found = [
            member.predict(conditions, basal, each, KeyedNoise(noise.seed, noise.step + place))
            for place, member in enumerate(self.models())
        ]
        mean, sd, between = combined([one.mean for one in found], [one.sd for one in found])
        drawn = [one.samples for one in found if one.samples is not None]
        samples = _dealt(drawn, conditions.key, n_samples) if len(drawn) == len(found) else None
        return Prediction(mean, sd, samples, between)

    def models(self) -> list[ResponseModel]:
        """Return the members in order."""
        return [member for member in self.members.values() if isinstance(member, ResponseModel)]


def _dealt(drawn: Sequence[Tensor], key: Tensor, count: int) -> Tensor:
    """Return (N, count, G) samples of members in turn from the (N, M, G) that each drew."""
    members, each = len(drawn), drawn[0].shape[1]
    turn = torch.arange(count, device=key.device)
    member = (turn + key.remainder(members).unsqueeze(1)).remainder(members)
    index = (member * each + turn // members).unsqueeze(-1)
    stacked = torch.cat(list(drawn), dim=1)
    return stacked.gather(1, index.expand(-1, -1, stacked.shape[-1]))
