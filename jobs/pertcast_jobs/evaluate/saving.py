"""What an evaluation leaves behind: JSON, report, scores and predictions, each file whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from pertcast.evaluation.held_out import FloatArray, HeldOut
from pertcast.evaluation.scores.score_board import ScoreBoard
from pertcast.evaluation.trust.evidence import Evidence
from pertcast.evaluation.trust.table import TrustTable
from pertcast.report.trust_report import trust_report

from pertcast_jobs.run_folder import write_text


@dataclass(frozen=True)
class Evaluation:
    """One evaluated model, or several trainings of it pooled.

    Attributes
    ----------
    name
        The run's folder name, or what was pooled.
    folder
        Where its files are.
    trust
        The result.
    evidence
        Truth and predictions that pooled parts are made from; None where nothing is to be pooled.
    """

    name: str
    folder: Path
    trust: TrustTable
    evidence: Evidence | None = None

    @property
    def report_path(self) -> Path:
        """The HTML report."""
        return self.folder / "trust.html"

    @property
    def is_pooled(self) -> bool:
        """Whether several trainings were pooled."""
        return len(self.trust.facts.folds) > 1 or self.trust.board.n_seeds > 1


def write_file(path: Path, write: Callable[[Path], Any]) -> None:
    """Let `write` make a file under a temporary name with the same ending, then rename it."""
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        write(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def scores_frame(board: ScoreBoard) -> pl.DataFrame:
    """Return one row a condition and contender, one column a metric."""
    identity = board.conditions.select("condition_id")
    return pl.concat(
        [
            identity.with_columns(
                pl.lit(contender.name).alias("contender"),
                *(pl.Series(name, values) for name, values in board.scores[contender.name].items()),
            )
            for contender in board.contenders
        ],
        how="diagonal",
    )


def save_trust(trust: TrustTable, folder: Path, command: str) -> None:
    """Write trust.json, trust.html (with `command` as its last line) and scores.parquet to `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "trust.json", trust.to_json())
    write_text(folder / "trust.html", trust_report(trust, command))
    write_file(folder / "scores.parquet", lambda path: scores_frame(trust.board).write_parquet(path))


def save_predictions(
    folder: Path, held: HeldOut, predictions: Mapping[str, FloatArray], trust: TrustTable
) -> None:
    """Write predictions.npz: truth, controls, responses of the model and the strongest baseline; (N, G) each.

    Parameters
    ----------
    folder
        Exists.
    held
        The truth.
    predictions
        Contender -> (N, G); holds the model and, where there is one, the strongest baseline.
    trust
        Says which the strongest baseline is.
    """
    kept = {"model": predictions[trust.board.model.name]}
    if trust.strongest is not None:
        kept["strongest_baseline"] = predictions[trust.strongest.name]
    arrays: dict[str, Any] = {
        "condition_id": np.array(held.conditions["condition_id"].to_list()),
        "gene": np.array(held.genes),
        "truth": held.truth,
        "control": held.control,
        **kept,
    }
    write_file(folder / "predictions.npz", lambda path: np.savez(path, **arrays))
