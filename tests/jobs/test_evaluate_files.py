"""Two h5ad files to a trust report: complete, twice the same, with and without training cells."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import parity_files as parity
import polars as pl
import pytest
from pertcast_jobs.cli import run as pertcast
from pertcast_jobs.evaluate import Evaluation
from pertcast_jobs.evaluate.files import Columns, evaluate_files

DRAWS = 200


@dataclass(frozen=True)
class Files:
    """A prediction, its truth, and training cells of other perturbations."""

    prediction: Path
    truth: Path
    train: Path

    def changed(self, name: str, change: Any) -> Path:
        """Write the prediction anew, changed."""
        path = self.prediction.with_name(name)
        change(ad.read_h5ad(self.prediction)).write_h5ad(path)
        return path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder = tmp_path_factory.mktemp("files")
    prediction, truth = parity.generated(folder)
    table = ad.read_h5ad(truth)
    names = table.obs["target_gene"].astype(str)
    others = {name: f"OTHER{i}" for i, name in enumerate(sorted(set(names) - {parity.CONTROL}))}
    generator = np.random.default_rng(4)
    order = np.arange(parity.N_GENES)
    generator.shuffle(order[parity.N_PERTURBATIONS :])
    train = parity.write(
        folder / "train.h5ad", table.X[:, order], [others.get(n, n) for n in names], list(table.var_names)
    )
    return Files(prediction, truth, train)


@pytest.fixture(scope="module")
def judged(files: Files) -> Evaluation:
    columns = Columns("target_gene", parity.CONTROL)
    return evaluate_files(files.prediction, files.truth, columns=columns, train=files.train, n_draws=DRAWS)


def test_a_prediction_stands_beside_rules_controls_and_ceilings(judged: Evaluation) -> None:
    board = judged.trust.board
    assert board.model.title == "generated_pred"
    assert {c.name for c in board.of_role("baseline")} == {"no_change", "train_mean"}
    assert {c.name for c in board.of_role("control")} == {"labels_permuted"}
    assert {"split_half", "perfect"} <= {c.name for c in board.of_role("ceiling")}
    assert judged.trust.verdict.outcome == "better"
    own = board.scores["prediction"]
    assert np.isfinite(own["pearson_delta_pert"]).all() and np.isfinite(own["overlap_at_N"]).all()
    assert (
        np.nanmean(own["pearson_delta"]) > np.nanmean(board.scores["labels_permuted"]["pearson_delta"]) + 0.3
    )
    assert np.nanmean(board.scores["split_half"]["roc_auc"]) > 0.8


def test_all_files_are_written_and_hold_what_was_scored(judged: Evaluation) -> None:
    assert {p.name for p in judged.folder.iterdir()} == {
        "predictions.npz",
        "scores.parquet",
        "trust.html",
        "trust.json",
    }
    with np.load(judged.folder / "predictions.npz") as kept:
        assert kept["model"].shape == (parity.N_PERTURBATIONS, parity.N_GENES)
    scores = pl.read_parquet(judged.folder / "scores.parquet").filter(pl.col("contender") == "prediction")
    assert (
        scores["pearson_delta"].to_list() == judged.trust.board.scores["prediction"]["pearson_delta"].tolist()
    )
    page = judged.report_path.read_text()
    assert "controls of the prediction are ignored" in page and "generated_pred" in page


def test_the_command_line_prints_the_same_json_again(
    files: Files, judged: Evaluation, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--pred", str(files.prediction), "--truth", str(files.truth), "--train", str(files.train)]
    assert pertcast(["evaluate", *arguments, "--json", "--draws", str(DRAWS)]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content.pop("run") == judged.name == "generated_pred"
    assert content.pop("biology") is None
    assert content == json.loads(judged.trust.to_json())


def test_other_controls_in_the_submission_change_no_number(files: Files, judged: Evaluation) -> None:
    def forged(table: Any) -> Any:
        dense = table.X.toarray()
        dense[np.flatnonzero(table.obs["target_gene"] == parity.CONTROL)] = 3.0
        return ad.AnnData(dense, table.obs, table.var)

    path = files.changed("forged.h5ad", forged)
    found = evaluate_files(path, files.truth, train=files.train, n_draws=DRAWS)
    for contender, metrics in judged.trust.board.scores.items():
        for name, values in metrics.items():
            np.testing.assert_array_equal(found.trust.board.scores[contender][name], values, err_msg=name)


def test_a_copy_of_the_truth_reaches_the_best_of_every_metric(files: Files) -> None:
    trust = evaluate_files(files.truth, files.truth, out=files.truth.with_suffix(".own"), n_draws=DRAWS).trust
    for name, best in (("pearson_delta", 1), ("mse", 0), ("overlap_at_N", 1), ("e_distance", 0), ("rank", 0)):
        assert np.nanmean(trust.board.scores["prediction"][name]) == pytest.approx(best, abs=1e-4), name


def test_one_profile_a_condition_is_judged_by_its_means(files: Files, tmp_path: Path) -> None:
    def averaged(table: Any) -> Any:
        labels = table.obs["target_gene"].astype(str).to_numpy()
        names = sorted(set(labels) - {parity.CONTROL})
        means = np.stack([np.asarray(table.X[labels == name].mean(0)).ravel() for name in names])
        return ad.AnnData(means, pd.DataFrame({"target_gene": names}, index=names), table.var)

    found = evaluate_files(files.changed("means.h5ad", averaged), files.truth, out=tmp_path, n_draws=DRAWS)
    scored = found.trust.board.scores["prediction"]
    assert np.isfinite(scored["pearson_delta"]).all() and np.isfinite(scored["responders_overlap_at_N"]).all()
    assert "overlap_at_N" not in scored and "e_distance" not in scored
    assert any("one profile a condition" in note for note in found.trust.notes)


def test_columns_can_be_named_and_what_needs_training_cells_is_undefined_without(
    files: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = []
    for path in (files.prediction, files.truth):
        table = ad.read_h5ad(path)
        table.obs["condition"] = table.obs["target_gene"].astype(str).replace(parity.CONTROL, "ctrl")
        table.obs["line"] = "K562"
        del table.obs["target_gene"]
        table.write_h5ad(tmp_path / path.name)
        paths.append(str(tmp_path / path.name))
    named = ["--pert-col", "condition", "--control", "ctrl", "--context-col", "line"]
    arguments = ["evaluate", "--pred", paths[0], "--truth", paths[1], *named, "--draws", str(DRAWS)]
    assert pertcast([*arguments, "--out", str(tmp_path / "out")]) == 0
    assert "Verdict: generated_pred is better than No change" in capsys.readouterr().out
    content = json.loads((tmp_path / "out" / "trust.json").read_text())
    assert content["conditions"][0]["cell_iname"] == "K562"
    assert content["verdict"]["against"] == "no_change" and "the only baseline" in content["verdict"]["text"]
    assert any("No training cells were given" in note for note in content["notes"])
    undefined = content["table"][0]["metrics"]["pearson_delta_pert"]
    assert undefined["mean"] is None and undefined["n_undefined"] == parity.N_PERTURBATIONS


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--pert-col", "target_gen"], "Nearest there: target_gene"),
        (["--control", "ctrl"], "no cell has the control label 'ctrl'"),
        (["--context-col", "cell"], "no column 'cell' (--context-col)"),
    ],
)
def test_a_wrong_name_is_one_line_with_the_remedy(
    files: Files, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["evaluate", "--pred", str(files.prediction), "--truth", str(files.truth)]
    assert pertcast([*arguments, *options]) == 1
    said = capsys.readouterr().err
    assert message in said and "Traceback" not in said


def test_training_cells_of_the_truth_are_a_leak(files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["evaluate", "--pred", str(files.prediction), "--truth", str(files.truth)]
    assert pertcast([*arguments, "--train", str(files.truth)]) == 1
    assert "are in the training file as well" in capsys.readouterr().err
