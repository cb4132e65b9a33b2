"""Mean responses to stand beside a model where its training rows are not at hand.

What the model itself says of its training conditions on average, and what an external store says on average:
the one needs the bundle alone, the other could be known only after measuring.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import polars as pl
import torch

from pertcast.evaluation.held_out import FloatArray, HeldOut
from pertcast.predictor import Predictor

_MOST_CONDITIONS: Final = 4096


def model_means(predictor: Predictor) -> FloatArray:
    """Return (K + 1, G) what a model predicts for its training conditions on average, float32.

    One row a training context and, last, the mean over the contexts' conditions. At most 4,096 conditions,
    evenly spaced, are predicted, from the bundle's basal profiles; contexts without one get the last row.
    """
    encoder, space = predictor.encoder, predictor.space
    chosen = np.unique(np.linspace(0, space.n_conditions - 1, _MOST_CONDITIONS).astype(np.int64))
    conditions = encoder.training_conditions.take(torch.from_numpy(chosen))
    context = conditions.context.numpy()
    time = np.power(10.0, conditions.log_time.numpy().astype(np.float64))
    table = pl.DataFrame(
        {
            "cell_iname": [space.contexts[each] for each in context],
            "pert_time": pl.Series(time).fill_nan(None),
        }
    )
    basal, faults = predictor.basal.lookup_lenient(table)
    known = np.setdiff1d(np.arange(len(chosen)), list(faults))
    predicted = predictor.predict_encoded(conditions.take(torch.from_numpy(known)), basal[known]).mean.numpy()
    overall = predicted.mean(axis=0) if len(known) else np.zeros(space.n_genes)
    means = np.repeat(overall[None, :], len(space.contexts) + 1, axis=0)
    for each in np.unique(context[known]):
        means[each] = predicted[context[known] == each].mean(axis=0)
    return means.astype(np.float32)


def leave_one_out_means(held: HeldOut) -> FloatArray:
    """Return (N, G) the mean true response of the other perturbations of each condition's pool, float32.

    A mean over perturbations of their mean over conditions. Where a pool holds no other perturbation, that
    of all pools is taken; zero where there is none at all.
    """
    result = np.zeros(held.truth.shape, dtype=np.float32)
    everywhere = np.zeros(held.n_conditions, dtype=np.int64)
    for pool in (everywhere, held.pool):
        for each in np.unique(pool):
            members = np.flatnonzero(pool == each)
            labels, cluster = np.unique(held.cluster[members], return_inverse=True)
            if len(labels) < 2:
                continue
            centroids = np.stack(
                [held.truth[members[cluster == label]].mean(axis=0) for label in range(len(labels))]
            ).astype(np.float64)
            others = (centroids.sum(axis=0) - centroids) / (len(labels) - 1)
            result[members] = others[cluster]
    return result
