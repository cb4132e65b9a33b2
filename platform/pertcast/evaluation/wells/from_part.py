"""From the held-out part of a store to its populations of wells."""

from __future__ import annotations

from typing import Final

import numpy as np
from pertcast_data.progress import ProgressCallback, no_progress

from pertcast.evaluation.from_store.contenders import HeldOutInputs
from pertcast.evaluation.from_store.held_out_part import HeldOutPart
from pertcast.evaluation.from_store.store_truth import read_blocks
from pertcast.evaluation.held_out import FloatArray, IndexArray
from pertcast.evaluation.scores.score_board import Contender
from pertcast.evaluation.structure.gene_correlation import genes_by_training
from pertcast.evaluation.wells.comparison import FEWEST_WELLS, N_DRAWS, compare_wells
from pertcast.evaluation.wells.labelled import DealtWells, WellLabels, Wells, deal_wells
from pertcast.evaluation.wells.populations import WellPopulations
from pertcast.evaluation.wells.samples import generate_wells
from pertcast.models.contract import ResponseModel

_ROWS: Final = 1024


def well_labels(part: HeldOutPart) -> WellLabels:
    """Return what each held-out row of a part belongs to."""
    condition = part.inputs.units.condition_of_row
    return WellLabels(part.held.pool[condition], condition, part.held.cluster[condition])


def measured_wells(inputs: HeldOutInputs, wells: IndexArray) -> FloatArray:
    """Return (W, G) float32 responses of held-out wells to the mean control of their own plate."""
    units = inputs.units
    blocks = []
    for block in read_blocks(len(wells), _ROWS):
        profiles: FloatArray = inputs.reader.dense(units.rows[wells[block]])
        if inputs.control_means is not None:
            group = units.control_group[units.unit_of_row[wells[block]]]
            profiles = profiles - inputs.control_means[group]
        blocks.append(np.asarray(profiles, dtype=np.float32))
    return np.concatenate(blocks)


def _renumbered(dealt: DealtWells) -> tuple[IndexArray, DealtWells]:
    """Return the wells that are compared, and the deal in terms of them."""
    chosen = np.union1d(dealt.first, dealt.second)
    first, second = (np.searchsorted(chosen, index) for index in (dealt.first, dealt.second))
    return chosen, DealtWells(first, second, dealt.are_halves, dealt.remarks)


def well_populations(
    model: ResponseModel,
    title: str,
    part: HeldOutPart,
    *,
    n_draws: int = N_DRAWS,
    seed: int = 0,
    progress: ProgressCallback = no_progress,
) -> WellPopulations | None:
    """Compare the wells that a model generates for a held-out part with the measured ones.

    Parameters
    ----------
    model
        On the CPU.
    title
        Its name for people.
    part
        Of a store of wells.
    n_draws, seed
        Of the resampling of perturbations; the seed also deals the halves and draws the samples.
    progress
        Told of the wells generated.

    Returns
    -------
    WellPopulations or None
        None where the model gives no samples.

    Raises
    ------
    SchemaError
        Too few wells are held out.
    """
    labels = well_labels(part)
    dealt = deal_wells(labels, FEWEST_WELLS, seed)
    generated = generate_wells(model, part.inputs, dealt.first, seed, progress)
    if generated is None:
        return None
    chosen, renumbered = _renumbered(dealt)
    return compare_wells(
        Wells(measured_wells(part.inputs, chosen), labels.take(chosen)),
        renumbered,
        generated,
        model=Contender("model", title, "model"),
        genes=part.held.genes,
        gene_order=genes_by_training(part.held),
        n_draws=n_draws,
        seed=seed,
    )
