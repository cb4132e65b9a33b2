"""Evaluate runs: the model beside every baseline on what its fold held out, and folds pooled.

Baselines are fitted here, on the run's own training rows; the truth and its controls come from the store.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
from pertcast.encoding import make_training_data
from pertcast.evaluation.bootstrap import N_DRAWS
from pertcast.evaluation.contenders import (
    Forecast,
    SharedSums,
    fit_baselines,
    forecast,
    without_information,
)
from pertcast.evaluation.held_out_part import HeldOutPart, held_out_part
from pertcast.evaluation.score_board import Contender, ScoreBoard, pool_boards
from pertcast.evaluation.text import text_table, with_interval
from pertcast.evaluation.trust import TrustFacts, TrustTable, make_board, trust_table
from pertcast.models.contract import ResponseModel
from pertcast.models.registry import MODELS
from pertcast.predictor import Predictor
from pertcast.report.trust_report import trust_report
from pertcast.training.bundle import add_metrics, find_bundle
from pertcast_data.errors import ConfigError, LeakageError
from pertcast_data.progress import ProgressCallback, no_progress
from pertcast_data.splits import Split
from pertcast_data.store import ExpressionStore, RowReader

from pertcast_jobs.run_folder import RunFolder, write_text

_BASELINE_BATCH: Final = 1024


@dataclass(frozen=True)
class Evaluation:
    """One evaluated run, or the pooled folds of several.

    Attributes
    ----------
    name
        The run's folder name, or "pooled".
    folder
        Where its files are.
    trust
        The result.
    """

    name: str
    folder: Path
    trust: TrustTable

    @property
    def report_path(self) -> Path:
        """The HTML report."""
        return self.folder / "trust.html"


@dataclass(frozen=True)
class _OpenRun:
    """A finished run with the data it was trained on."""

    folder: RunFolder
    store: ExpressionStore
    reader: RowReader
    split: Split
    fold: int
    predictor: Predictor


def _open_run(path: Path) -> _OpenRun:
    folder = RunFolder.open(path)
    bundle = find_bundle(folder.path)
    config = folder.config()
    store_path, split_path = config.data.require()
    store, split, fold = ExpressionStore.open(store_path), Split.load(split_path), config.data.fold
    predictor = Predictor.from_bundle(bundle)
    facts = predictor.bundle.facts
    if (facts.data_hash, facts.split_hash, facts.fold) != (store.data_hash, split.hash, fold):
        raise LeakageError(
            f"{path} was trained on other data than {store_path} and {split_path} hold now (store "
            f"{facts.data_hash[:12]} -> {store.data_hash[:12]}, split {str(facts.split_hash)[:12]} -> "
            f"{split.hash[:12]}): what is held out here may have been trained on. Restore the files, or "
            "train anew."
        )
    split.check(store, fold)
    return _OpenRun(folder, store, store.reader(), split, fold, predictor)


def _facts(run: _OpenRun, part: HeldOutPart) -> TrustFacts:
    bundle = run.predictor.bundle
    entry = MODELS[bundle.model_name]
    return TrustFacts(
        model=bundle.model_name,
        title=entry.title,
        bundle=bundle.content_hash[:12],
        store=run.store.path.name,
        data_hash=run.store.data_hash,
        split_kind=run.split.kind,
        split_hash=run.split.hash,
        folds=(run.fold,),
        measure=run.store.measure,
        normalisation=run.store.normalisation,
        n_genes=run.store.n_genes,
        n_training_conditions=run.predictor.space.n_conditions,
        n_held_out_rows=len(part.inputs.units.rows),
        left_out=part.left_out,
        remarks=part.remarks,
    )


def _write(path: Path, write: Callable[[Path], Any]) -> None:
    """Let `write` make a file under a temporary name with the same ending, then rename it."""
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        write(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _scores_frame(board: ScoreBoard) -> pl.DataFrame:
    """Return one row a condition and contender, one column a metric."""
    identity = board.conditions.select("condition_id")
    return pl.concat(
        [
            identity.with_columns(
                pl.lit(contender.name).alias("contender"),
                *(pl.Series(name, values) for name, values in board.scores[contender.name].items()),
            )
            for contender in board.contenders
        ]
    )


def _save(trust: TrustTable, folder: Path, command: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "trust.json", trust.to_json())
    write_text(folder / "trust.html", trust_report(trust, command))
    _write(folder / "scores.parquet", lambda path: _scores_frame(trust.board).write_parquet(path))


def _save_predictions(
    folder: Path, part: HeldOutPart, forecasts: dict[str, Forecast], trust: TrustTable
) -> None:
    kept = {"model": forecasts[trust.board.model.name].mean}
    if trust.strongest is not None:
        kept["strongest_baseline"] = forecasts[trust.strongest.name].mean
    arrays: dict[str, Any] = {
        "condition_id": np.array(part.held.conditions["condition_id"].to_list()),
        "gene": np.array(part.held.genes),
        "truth": part.held.truth,
        "control": part.held.control,
        **kept,
    }
    _write(folder / "predictions.npz", lambda path: np.savez(path, **arrays))


def _judge(
    run: _OpenRun, n_draws: int, seed: int, progress: ProgressCallback
) -> tuple[TrustTable, HeldOutPart, dict[str, Forecast]]:
    predictor = run.predictor
    encoder, name = predictor.encoder, predictor.bundle.model_name
    data = make_training_data(
        run.store, run.split, run.fold, encoder, batch_size=_BASELINE_BATCH, seed=seed, rank=0, world_size=1,
        reader=run.reader,
    )  # fmt: skip
    sums = SharedSums(data.statistics, progress)
    rows = run.split.rows(run.store, run.fold, "test")
    part = held_out_part(run.store, run.reader, rows, encoder, sums.statistics(encoder.space), seed)
    model = Contender(name, MODELS[name].title, "model")
    queue: list[tuple[Contender, ResponseModel, Any]] = [(model, predictor.model, part.inputs.conditions)]
    for baseline in fit_baselines(encoder.space, encoder.training_conditions, sums, leave_out=name):
        queue.append((baseline.contender, baseline.model, part.inputs.conditions))
    for control, conditions in without_information(part.inputs.conditions, seed).items():
        queue.append((control, predictor.model, conditions))
    forecasts: dict[str, Forecast] = {}
    for done, (contender, fitted, conditions) in enumerate(queue, start=1):
        forecasts[contender.name] = forecast(fitted, conditions, part.inputs)
        progress(done, len(queue), contender.title)
    contenders = [contender for contender, _, _ in queue]
    means = {contender: found.mean for contender, found in forecasts.items()}
    board = make_board(part.held, means, contenders, part.halves)
    if len(part.inputs.wells):
        wells = {contender: found.well_scores for contender, found in forecasts.items()}
        board = board.with_wells(part.well_cluster, wells)
    return trust_table(board, _facts(run, part), n_draws=n_draws, seed=seed), part, forecasts


def evaluate_run(
    path: Path | str, *, n_draws: int = N_DRAWS, seed: int = 0, progress: ProgressCallback = no_progress
) -> Evaluation:
    """Evaluate a run on the conditions that its fold held out.

    Writes RUN/evaluation/{trust.json, trust.html, scores.parquet, predictions.npz} and notes the model's
    held-out metrics in its bundle.

    Parameters
    ----------
    path
        Folder of a finished run.
    n_draws, seed
        Of the bootstrap; the seed also deals the split halves and shuffles features.
    progress
        Told of training rows summed, then of contenders done.

    Raises
    ------
    ConfigError
        There is no finished run.
    LeakageError
        Store or split are not those of the training.
    """
    run = _open_run(Path(path))
    trust, part, forecasts = _judge(run, n_draws, seed, progress)
    folder = run.folder.evaluation_path
    _save(trust, folder, f"pertcast evaluate {run.folder.path.name}")
    _save_predictions(folder, part, forecasts, trust)
    scored = trust.summary[trust.board.model.name]
    add_metrics(run.folder.bundle_path, {f"test_{name}": e.mean for name, e in scored.items()})
    return Evaluation(run.folder.path.name, folder, trust)


def pool_folds(
    evaluations: Sequence[Evaluation], folder: Path, seed: int = 0, n_draws: int = N_DRAWS
) -> Evaluation:
    """Pool evaluations of one model on different folds of one split; write the result to `folder`.

    Raises
    ------
    ConfigError
        The runs differ in model or split, or share a fold.
    """
    facts = [evaluation.trust.facts for evaluation in evaluations]
    folds = [fold for fact in facts for fold in fact.folds]
    same = {(fact.model, fact.split_hash) for fact in facts}
    if len(same) != 1 or len(set(folds)) != len(folds):
        raise ConfigError(
            f"Only runs of one model on different folds of one split can be pooled; these are "
            f"{sorted((model, split[:8]) for model, split in same)} with folds {folds}."
        )
    remarks = dict.fromkeys(remark for fact in facts for remark in fact.remarks)
    pooled = facts[0].model_copy(
        update={
            "folds": tuple(sorted(folds)),
            "bundle": ", ".join(fact.bundle for fact in facts),
            "n_held_out_rows": sum(fact.n_held_out_rows for fact in facts),
            "n_training_conditions": 0,
            "left_out": tuple(name for fact in facts for name in fact.left_out),
            "remarks": tuple(remarks),
        }
    )
    board = pool_boards([evaluation.trust.board for evaluation in evaluations])
    trust = trust_table(board, pooled, n_draws=n_draws, seed=seed)
    _save(trust, folder, "pertcast evaluate " + " ".join(evaluation.name for evaluation in evaluations))
    return Evaluation("pooled", folder, trust)


def can_be_pooled(evaluations: Sequence[Evaluation]) -> bool:
    """Whether these are several folds of one model and split."""
    facts = [evaluation.trust.facts for evaluation in evaluations]
    folds = [fold for fact in facts for fold in fact.folds]
    same = {(fact.model, fact.split_hash) for fact in facts}
    return len(facts) > 1 and len(same) == 1 and len(set(folds)) == len(folds)


def side_by_side(evaluations: Sequence[Evaluation]) -> list[str]:
    """Return one line a run: its primary metric, the strongest baseline's, and the outcome."""
    rows = []
    for evaluation in evaluations:
        trust = evaluation.trust
        own = trust.summary[trust.board.model.name][trust.primary]
        against = trust.strongest
        other = trust.summary[against.name][trust.primary] if against else None
        rows.append(
            [
                evaluation.name,
                trust.facts.title,
                ", ".join(str(fold) for fold in trust.facts.folds),
                with_interval(own.mean, own.low, own.high),
                against.title if against else "",
                with_interval(other.mean, other.low, other.high) if other else "",
                trust.verdict.outcome,
            ]
        )
    header = ["run", "model", "fold", evaluations[0].trust.primary, "strongest baseline", "its", "verdict"]
    return text_table(header, rows)
