"""Mean responses to stand beside a model where its training rows are not at hand.

What the model itself says of its training conditions on average, and what an external store says on average:
the one needs the bundle alone, the other could be known only after measuring.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import polars as pl
import torch

from pertcast.evaluation.held_out import FloatArray, HeldOut, IndexArray
from pertcast.models.baselines.references import n_type_rows, type_rows
from pertcast.models.batch import ModelSpace
from pertcast.predictor import Predictor

_MOST_CONDITIONS: Final = 4096


def model_means(predictor: Predictor) -> FloatArray:
    """Return (K + 1, R + 1, G) what a model predicts for its training conditions on average, float32.

    By training context and perturbation type, as `mean_training_responses`: the last row is over all
    contexts, the last column over all types. At most 4,096 conditions, evenly spaced, are predicted, from the
    bundle's basal profiles; contexts without one get the last row, types without one in a context the
    context's mean.
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
    return _means_by(predicted, context[known], type_rows(conditions, space).numpy()[known], space)


def _means_by(predicted: FloatArray, context: IndexArray, types: IndexArray, space: ModelSpace) -> FloatArray:
    """Return (K + 1, R + 1, G) float32 means of the rows of `predicted` by context and by type of each."""
    n_types = n_type_rows(space)
    overall = predicted.mean(axis=0) if len(predicted) else np.zeros(space.n_genes)
    means = np.broadcast_to(overall, (len(space.contexts) + 1, n_types + 1, space.n_genes)).copy()
    for place in (*np.unique(context), len(space.contexts)):
        here = (context == place) | (place == len(space.contexts))
        if not here.any():
            continue
        means[place] = predicted[here].mean(axis=0)
        for kind in np.unique(types[here & (types >= 0)]):
            means[place, kind] = predicted[here & (types == kind)].mean(axis=0)
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
