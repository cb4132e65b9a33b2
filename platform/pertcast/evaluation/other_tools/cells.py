"""Cells of a pair of h5ad files as populations: the truth's tests, and everybody's predicted cells."""

from __future__ import annotations

from collections.abc import Mapping

from pertcast_data.progress import ProgressCallback, no_progress

from pertcast.evaluation.cells.cell_board import ChosenPredicted
from pertcast.evaluation.from_store.store_cells import ShiftedControls
from pertcast.evaluation.gene_tests.differential import cell_tests
from pertcast.evaluation.held_out import FloatArray, GeneTests
from pertcast.evaluation.other_tools.pair import AnndataPair
from pertcast.evaluation.populations import PredictedCells
from pertcast.evaluation.scores.negative_controls import PERMUTED, permutation
from pertcast.evaluation.scores.score_board import Contender

RULES_HAVE_MEANS: str = (
    "Rules predict means alone: as their cells stand control cells, moved by the predicted response."
)


def tests_of_cells(pair: AnndataPair, progress: ProgressCallback = no_progress) -> GeneTests | None:
    """Test the truth's cells against its controls; None where it has one profile a condition."""
    if pair.held.conditions["n_rows"].max() == 1:
        return None
    return cell_tests(pair.measured, progress)


def populations(
    pair: AnndataPair, model: str, responses: Mapping[Contender, FloatArray], seed: int = 0
) -> dict[str, PredictedCells]:
    """Return the cells of every contender; none where the prediction has one profile a condition.

    Parameters
    ----------
    pair
        Prediction and truth.
    model
        The prediction's name on the board.
    responses
        The other contenders' (N, G) responses. Permuted labels are the prediction's own cells, dealt to other
        conditions; all others have means alone, so control cells are moved by them.
    seed
        Of permuted labels and of the draws of control cells.
    """
    if pair.predicted is None:
        return {}
    found: dict[str, PredictedCells] = {model: pair.predicted}
    for contender, response in responses.items():
        if contender == PERMUTED:
            found[contender.name] = ChosenPredicted(pair.predicted, permutation(pair.held, seed))
        else:
            found[contender.name] = ShiftedControls(pair.measured, response, seed)
    return found
