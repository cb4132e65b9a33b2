"""Sampled profiles around a predicted mean, with noise keyed by condition.

A sample depends on (seed, condition, sample number) alone, not on the batch or on how many are drawn.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pertcast.models.batch import ConditionBatch, Prediction
from pertcast.models.noise import KeyedNoise


def gaussian_prediction(
    conditions: ConditionBatch, mean: Tensor, sd: Tensor, n_samples: int, noise: KeyedNoise | None
) -> Prediction:
    """Return a prediction whose samples are independent normal draws around the mean.

    Parameters
    ----------
    conditions
        N conditions; their `key` keys the noise.
    mean, sd
        (N, G) float32.
    n_samples
        K, 0 for none.
    noise
        Source of noise; seed 0 where None.
    """
    if n_samples <= 0:
        return Prediction(mean=mean, sd=sd)
    source = noise or KeyedNoise(seed=0)
    draws = [source.normal(conditions.key, mean.shape[1], stream=sample) for sample in range(n_samples)]
    samples = mean.unsqueeze(1) + sd.unsqueeze(1) * torch.stack(draws, dim=1)
    return Prediction(mean=mean, sd=sd, samples=samples)
