"""Who enters an evaluation: the model, every baseline, and the model with its input taken away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from pertcast.evaluation.cells.cell_board import with_cells
from pertcast.evaluation.from_store.contenders import (
    Forecast,
    SharedSums,
    fit_baselines,
    forecast,
    sample_cells,
    without_information,
)
from pertcast.evaluation.from_store.held_out_part import HeldOutPart
from pertcast.evaluation.from_store.store_cells import MOST_CELLS, SampledCells, ShiftedControls, StoreCells
from pertcast.evaluation.held_out import FloatArray, GeneTests
from pertcast.evaluation.populations import PredictedCells
from pertcast.evaluation.scores.score_board import Contender, ScoreBoard
from pertcast.models.batch import ConditionBatch
from pertcast.models.contract import ResponseModel
from pertcast.predictor import Predictor
from pertcast_data.progress import ProgressCallback, no_progress


@dataclass(frozen=True)
class Entrant:
    """One row of the table before it is scored: who, fitted, and what it is shown of the conditions."""

    contender: Contender
    model: ResponseModel
    conditions: ConditionBatch


def gather_entrants(predictor: Predictor, part: HeldOutPart, sums: SharedSums, seed: int) -> list[Entrant]:
    """Return the model first, then the baselines fitted on `sums`, then the negative controls."""
    conditions = part.inputs.conditions
    encoder, name = predictor.encoder, predictor.bundle.model_name
    model = Entrant(Contender(name, predictor.bundle.title, "model"), predictor.model, conditions)
    baselines = [
        Entrant(fitted.contender, fitted.model, conditions)
        for fitted in fit_baselines(encoder.space, encoder.training_conditions, sums, leave_out=name)
    ]
    controls = [
        Entrant(control, predictor.model, blind)
        for control, blind in without_information(conditions, seed).items()
    ]
    return [model, *baselines, *controls]


def forecast_all(
    entrants: Sequence[Entrant], part: HeldOutPart, progress: ProgressCallback = no_progress
) -> dict[str, Forecast]:
    """Return contender -> what it says about the part."""
    found = {}
    for done, entrant in enumerate(entrants, start=1):
        found[entrant.contender.name] = forecast(entrant.model, entrant.conditions, part.inputs)
        progress(done, len(entrants), entrant.contender.title)
    return found


def _cells_of(
    entrant: Entrant, forecasts: Mapping[str, Forecast], part: HeldOutPart, cells: StoreCells, seed: int
) -> PredictedCells:
    """Return a contender's own samples where it generates profiles, else its mean as moved controls."""
    if not entrant.model.samples_profiles:
        return ShiftedControls(cells, forecasts[entrant.contender.name].mean, seed)
    rows = part.held.conditions["n_rows"].to_list()
    sample = partial(sample_cells, entrant.model, entrant.conditions, part.inputs, seed=seed)
    return SampledCells(lambda condition: sample(condition, min(rows[condition], MOST_CELLS)))


def score_populations(
    board: ScoreBoard,
    entrants: Sequence[Entrant],
    forecasts: Mapping[str, Forecast],
    part: HeldOutPart,
    cells: StoreCells,
    tests: GeneTests,
    beside: Mapping[str, FloatArray],
    *,
    most_conditions: int,
    seed: int = 0,
    progress: ProgressCallback = no_progress,
) -> tuple[ScoreBoard, tuple[str, ...]]:
    """Add the metrics of cells of every entrant to a board; see `with_cells`.

    Parameters
    ----------
    board, entrants, forecasts, part
        Scores of means, who they are of, and what they are about.
    cells, tests
        The truth's cells, and the tests of each against its controls.
    beside
        Mean responses (N, G) of contenders that are no entrants.
    most_conditions, seed, progress
        As in `with_cells`.

    Returns
    -------
    tuple
        The board, and sentences about what was thinned out and what stands for cells.
    """
    predicted: dict[str, PredictedCells] = {
        entrant.contender.name: _cells_of(entrant, forecasts, part, cells, seed) for entrant in entrants
    }
    predicted |= {name: ShiftedControls(cells, mean, seed) for name, mean in beside.items()}
    scored, remarks = with_cells(
        board, cells, tests, predicted, most_conditions=most_conditions, seed=seed, progress=progress
    )
    moved = [entrant.contender.title for entrant in entrants if not entrant.model.samples_profiles]
    said = (
        "Cells of contenders that predict means only are control cells moved by the predicted response: "
        f"{'all of them' if len(moved) == len(entrants) else ', '.join(moved)}."
    )
    return scored, (*cells.remarks, *remarks, *((said,) if moved else ()))
