"""Wells that a model generates: for each measured well, of its condition, on its plate, several times over.

Repetitions tell how much of a score is the luck of the draw.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from pertcast_data.errors import SchemaError
from pertcast_data.progress import ProgressCallback, no_progress

from pertcast.evaluation.from_store.contenders import HeldOutInputs
from pertcast.evaluation.from_store.noise_keys import keyed_by_row
from pertcast.evaluation.from_store.store_truth import read_blocks
from pertcast.evaluation.held_out import FloatArray, IndexArray
from pertcast.models.batch import ConditionBatch, Prediction
from pertcast.models.contract import ResponseModel
from pertcast.models.noise import KeyedNoise
from pertcast.models.sampling import gaussian_prediction

PREDICT_WELLS: Final = 256
REPETITIONS: Final = 5
SD_SAMPLES: Final = 16
"""Samples of a well that its sd is taken from where the model states none."""


@dataclass(frozen=True)
class GeneratedWells:
    """Responses of W wells, generated R times: (R, W, G) float32 each.

    Attributes
    ----------
    samples
        Of the model.
    independent
        Of the model's mean with independent normal noise of the model's sd, gene by gene.
    """

    samples: FloatArray
    independent: FloatArray


def _stated_sd(
    model: ResponseModel, asked: ConditionBatch, basal: torch.Tensor, found: Prediction, seed: int
) -> torch.Tensor:
    """Return the model's sd, or that of some of its samples where it states none."""
    if found.sd is not None:
        return found.sd
    drawn = model.predict(asked, basal, n_samples=SD_SAMPLES, noise=KeyedNoise(seed, step=2)).samples
    if drawn is None:
        raise SchemaError(
            f"{type(model).__name__} gave samples once and then none; it must give them for any number asked."
        )
    return drawn.std(dim=1)


@torch.no_grad()
def generate_wells(
    model: ResponseModel,
    inputs: HeldOutInputs,
    wells: IndexArray,
    seed: int = 0,
    progress: ProgressCallback = no_progress,
    repetitions: int = REPETITIONS,
) -> GeneratedWells | None:
    """Sample responses for each of some held-out wells.

    Parameters
    ----------
    model
        On the CPU.
    inputs
        Units and controls.
    wells
        (W,) positions in `inputs.units.rows`.
    seed
        Of the noise.
    progress
        Told of the wells done.
    repetitions
        R.

    Returns
    -------
    GeneratedWells or None
        None where the model gives no samples.
    """
    units, n_genes = inputs.units, model.space.n_genes
    of_well = units.unit_of_row[wells]
    taken = inputs.conditions.take(torch.from_numpy(of_well))
    conditions = keyed_by_row(taken, units.rows[wells])
    samples, independent = [], []
    for block in read_blocks(len(wells), PREDICT_WELLS):
        asked = conditions.take(torch.arange(block.start, block.stop))
        group = units.control_group[of_well[block]]
        means = inputs.control_means
        controls = np.zeros((len(group), n_genes), np.float32) if means is None else means[group]
        basal = torch.from_numpy(np.ascontiguousarray(controls, dtype=np.float32))
        found = model.predict(asked, basal, n_samples=repetitions, noise=KeyedNoise(seed))
        if found.samples is None:
            return None
        sd = _stated_sd(model, asked, basal, found, seed)
        noisy = gaussian_prediction(asked, found.mean, sd, repetitions, KeyedNoise(seed, step=1)).samples
        samples.append(found.samples.transpose(0, 1).numpy())
        if noisy is not None:
            independent.append(noisy.transpose(0, 1).numpy())
        progress(block.stop, len(wells), "wells generated")
    return GeneratedWells(np.concatenate(samples, axis=1), np.concatenate(independent, axis=1))
