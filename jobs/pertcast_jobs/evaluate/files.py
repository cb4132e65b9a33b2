"""Evaluate predictions of any tool: two h5ad files, as cell-eval takes them, become a trust report.

Beside the prediction stand "no change" and, where the training cells are given, the rules fitted on them.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Final

from pertcast.evaluation.bootstrap import N_DRAWS
from pertcast.evaluation.cells.cell_board import with_cells
from pertcast.evaluation.other_tools.baselines import (
    TrainingMeans,
    baseline_predictions,
    permuted,
    score_pair_ceilings,
    train_on,
    with_training,
)
from pertcast.evaluation.other_tools.cells import RULES_HAVE_MEANS, populations, tests_of_cells
from pertcast.evaluation.other_tools.labels import Columns
from pertcast.evaluation.other_tools.pair import AnndataPair, open_pair
from pertcast.evaluation.scores.score_board import Contender
from pertcast.evaluation.trust.evidence import Evidence
from pertcast.evaluation.trust.table import TrustFacts, TrustTable, make_board, trust_table
from pertcast_data.progress import ProgressCallback, no_progress

from pertcast_jobs.evaluate.saving import Evaluation, save_predictions, save_trust

__all__ = ["Columns", "evaluate_files"]

_UNTRAINED: Final = (
    "No training cells were given: the only rule beside the prediction is no change. Most published models "
    "do not beat the mean training response; name the file of training cells (--train) to see whether this "
    "one does. What it was trained on is not checked."
)
_TRAINED: Final = (
    "The rules were fitted on the named training cells; whether the prediction was made from these alone is "
    "not checked."
)


def evaluate_files(
    pred: Path,
    truth: Path,
    *,
    out: Path | None = None,
    columns: Columns | None = None,
    train: Path | None = None,
    n_draws: int = N_DRAWS,
    seed: int = 0,
    progress: ProgressCallback = no_progress,
) -> Evaluation:
    """Judge a file of predicted cells, or of one profile a condition, against a file of measured cells.

    Writes trust.json, trust.html, scores.parquet and predictions.npz.

    Parameters
    ----------
    pred, truth
        h5ad files; see `open_pair`. Controls are the truth's, whatever the prediction holds.
    out
        Folder of the results; PRED's name with ".trust" beside it by default.
    columns
        Names of the columns, common to all files.
    train
        h5ad file of training cells and their controls, for the rules that a model must beat.
    n_draws, seed
        Of the bootstrap; the seed also deals the split halves.
    progress
        Told of the rows read.

    Raises
    ------
    FormatError, SchemaError, UnitError, ControlsMissing
        A file is not as `open_pair` wants it.
    LeakageError
        The training cells hold conditions of the truth.
    """
    pair = open_pair(pred, truth, columns, seed=seed, progress=progress)
    training = None if train is None else train_on(train, pair, progress)
    trust, evidence = _judge(pair, training, _facts(pred, truth, pair, training), n_draws, seed, progress)
    folder = out or pred.with_suffix(".trust")
    command = f"pertcast evaluate --pred {pred.name} --truth {truth.name}"
    save_trust(trust, folder, command if train is None else f"{command} --train {train.name}")
    save_predictions(folder, evidence.held, evidence.predictions, trust)
    return Evaluation(pred.stem, folder, trust)


def _judge(
    pair: AnndataPair,
    training: TrainingMeans | None,
    facts: TrustFacts,
    n_draws: int,
    seed: int,
    progress: ProgressCallback,
) -> tuple[TrustTable, Evidence]:
    tests = tests_of_cells(pair, progress)
    pair = replace(pair, held=replace(pair.held, tests=tests))
    held = pair.held if training is None else with_training(pair.held, training)
    model = Contender(facts.model, facts.title, "model")
    others = {**baseline_predictions(pair, training), **permuted(pair, training, seed)}
    means = {model.name: pair.prediction, **{other.name: response for other, response in others.items()}}
    ceilings = score_pair_ceilings(pair, training, seed)
    board = make_board(held, means, [model, *others], ceilings=ceilings)
    remarks = (*facts.remarks, ceilings.remark)
    cells = populations(pair, model.name, others, seed)
    if tests is not None and cells:
        board, thinned = with_cells(
            board,
            pair.measured,
            tests,
            cells,
            most_conditions=held.n_conditions,
            seed=seed,
            progress=progress,
        )
        remarks += (*thinned, RULES_HAVE_MEANS)
    facts = facts.model_copy(update={"remarks": tuple(remark for remark in remarks if remark)})
    evidence = Evidence(held, pair.responses.halves, means)
    return trust_table(board, facts, n_draws=n_draws, seed=seed, evidence=evidence), evidence


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _facts(pred: Path, truth: Path, pair: AnndataPair, training: TrainingMeans | None) -> TrustFacts:
    said = _UNTRAINED if training is None else _TRAINED
    return TrustFacts(
        model="prediction",
        origin="files",
        title=pred.stem,
        bundle=_sha256(pred)[:12],
        store=truth.name,
        data_hash=_sha256(truth),
        normalisation="log1p",
        n_genes=pair.held.n_genes,
        n_training_conditions=0 if training is None else len(training.members),
        n_held_out_rows=pair.n_rows,
        remarks=(*pair.remarks, said),
    )
