"""What an evaluation leaves behind: JSON, report, scores and predictions, each file whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from pertcast.evaluation.held_out import FloatArray, HeldOut
from pertcast.evaluation.scores.score_board import ScoreBoard
from pertcast.evaluation.trust.evidence import Evidence
from pertcast.evaluation.trust.table import TrustTable
from pertcast.report.biology import Biology, biology_sections
from pertcast.report.page import Section
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
    runs
        Folders of the runs that are judged; none where the model is no run of this machine.
    command
        The command line that made it, as its report says.
    biology
        Pathways, dose response and other analyses beside the table; None where none was asked for.
    """

    name: str
    folder: Path
    trust: TrustTable
    evidence: Evidence | None = None
    runs: tuple[Path, ...] = ()
    command: str = ""
    biology: Biology | None = None

    @property
    def report_path(self) -> Path:
        """The HTML report."""
        return self.folder / "trust.html"

    @property
    def card_path(self) -> Path:
        """The model card, where a run was evaluated."""
        return self.folder / "model_card.md"

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


def save_report(trust: TrustTable, folder: Path, command: str, further: Sequence[Section] = ()) -> None:
    """Write trust.html to `folder`, `further` cards before its definitions and `command` as its last line."""
    write_text(folder / "trust.html", trust_report(trust, command, further))


def save_biology(evaluation: Evaluation, command: str) -> None:
    """Write biology.json and the report with its cards; without biology, remove that of an earlier time.

    Parameters
    ----------
    evaluation
        Its folder exists.
    command
        The command that reproduces it.
    """
    path, biology = evaluation.folder / "biology.json", evaluation.biology
    if biology is None:
        path.unlink(missing_ok=True)
        return
    write_text(path, biology.to_text())
    save_report(evaluation.trust, evaluation.folder, command, biology_sections(biology))


def save_trust(trust: TrustTable, folder: Path, command: str) -> None:
    """Write trust.json, trust.html (with `command` as its last line) and scores.parquet to `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "trust.json", trust.to_json())
    save_report(trust, folder, command)
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
