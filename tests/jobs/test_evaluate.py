"""Evaluating runs: complete files, the same twice, no leak, pooled folds, plain numpy's figures on wells."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from numpy.typing import NDArray
from pertcast.encoding import ConditionEncoder, EncoderSpec, make_training_data
from pertcast.evaluation.contenders import SharedSums, forecast, solve, without_information
from pertcast.evaluation.held_out_part import held_out_part
from pertcast.models.registry import MODELS, baselines_for
from pertcast.training.bundle import load_bundle_files
from pertcast_data.errors import ConfigError, LeakageError, SchemaError
from pertcast_data.ingest import ingest
from pertcast_data.splits import Split, make_split
from pertcast_data.store import ExpressionStore, create_store
from pertcast_jobs.cli import run as pertcast
from pertcast_jobs.evaluate import Evaluation, evaluate_run, pool_folds, side_by_side
from pertcast_jobs.run_config import load_config
from pertcast_jobs.run_folder import RunFolder
from pertcast_jobs.train import run_training

QUICK = ["model.config.width=16", "model.config.depth=1", "model.config.basal_width=8", "train.epochs=3"]
FOLDS = (0, 1)


def train(screen: Any, out: Path, *overrides: str) -> Path:
    run_training(load_config("response_mlp", [*screen.overrides, *overrides]), out)
    return out


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("evaluated")


@pytest.fixture(scope="module")
def runs(small_screen: Any, folder: Path) -> list[Path]:
    return [train(small_screen, folder / f"fold{fold}", *QUICK, f"data.fold={fold}") for fold in FOLDS]


@pytest.fixture(scope="module")
def evaluations(runs: list[Path]) -> list[Evaluation]:
    return [evaluate_run(run, n_draws=200) for run in runs]


def test_a_run_is_judged_beside_every_baseline_of_its_store(
    evaluations: list[Evaluation], runs: list[Path], small_screen: Any
) -> None:
    trust = evaluations[0].trust
    space = load_bundle_files(runs[0] / "bundle").space
    assert {c.name for c in trust.board.of_role("baseline")} == {entry.name for entry in baselines_for(space)}
    assert {c.name for c in trust.board.of_role("control")} == {"features_shuffled", "features_zeroed"}
    test = Split.load(small_screen.split).folds[0].test
    assert sorted(trust.board.conditions["condition_id"]) == sorted(test)


def test_the_evaluation_leaves_json_report_scores_and_predictions(
    evaluations: list[Evaluation], runs: list[Path]
) -> None:
    evaluation = RunFolder.open(runs[0]).evaluation_path
    content = json.loads((evaluation / "trust.json").read_text())
    trust = evaluations[0].trust
    assert content["verdict"]["text"] == trust.verdict.text
    assert trust.verdict.text in (evaluation / "trust.html").read_text()
    scores = pl.read_parquet(evaluation / "scores.parquet")
    assert scores.height == len(trust.board.contenders) * trust.board.conditions.height
    predictions = np.load(evaluation / "predictions.npz")
    own = trust.board.scores["response_mlp"]["mse"]
    assert np.square(predictions["model"] - predictions["truth"]).mean(axis=1) == pytest.approx(own, rel=1e-5)
    assert not [path for path in evaluation.iterdir() if path.name.startswith(".")]


def test_held_out_metrics_are_noted_in_the_bundle_and_change_nothing_else(
    evaluations: list[Evaluation], runs: list[Path]
) -> None:
    files = load_bundle_files(runs[0] / "bundle")
    noted = files.facts.metrics["test_pearson_delta"]
    assert noted == pytest.approx(evaluations[0].trust.summary["response_mlp"]["pearson_delta"].mean)
    assert files.content_hash.startswith(evaluations[0].trust.facts.bundle)


def test_evaluating_twice_writes_the_same_json(evaluations: list[Evaluation], runs: list[Path]) -> None:
    path = evaluations[0].folder / "trust.json"
    before = path.read_bytes()
    evaluate_run(runs[0], n_draws=200)
    assert path.read_bytes() == before


def test_a_model_that_predicts_the_mean_is_never_called_better(
    small_screen: Any, folder: Path, evaluations: list[Evaluation]
) -> None:
    judged = []
    for fold in FOLDS:
        run = train(small_screen, folder / f"mean{fold}", "model.name=train_mean", f"data.fold={fold}")
        judged.append(evaluate_run(run, n_draws=200))
        assert "too few" in judged[-1].trust.verdict.text
    pooled = pool_folds(judged, folder / "pooled_mean", n_draws=500).trust
    assert pooled.verdict.outcome != "better"


def test_folds_are_pooled_and_every_held_out_condition_counts_once(
    runs: list[Path], evaluations: list[Evaluation], small_screen: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pertcast(["evaluate", *map(str, runs), "--draws", "200", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert [content["run"] for content in shown["evaluations"]] == [*(run.name for run in runs), "pooled"]
    pooled = shown["evaluations"][-1]
    held_out = [name for fold in FOLDS for name in Split.load(small_screen.split).folds[fold].test]
    assert sorted(row["condition_id"] for row in pooled["conditions"]) == sorted(held_out)
    assert pooled["facts"]["folds"] == list(FOLDS)
    assert (evaluations[0].folder / "pooled" / "trust.html").exists()


def test_the_terminal_shows_the_verdict_first_and_the_reports_path_last(
    runs: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert pertcast(["evaluate", str(runs[1]), "--draws", "200"]) == 0
    lines = capsys.readouterr().out.strip().splitlines()
    assert lines[0].startswith("Verdict: ")
    assert lines[-1] == f"report: {RunFolder.open(runs[1]).evaluation_path / 'trust.html'}"


def test_the_same_fold_cannot_be_pooled_with_itself(evaluations: list[Evaluation], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="different folds of one split"):
        pool_folds([evaluations[0], evaluations[0]], tmp_path)


def test_a_split_that_was_changed_after_training_is_refused_as_a_leak(
    small_screen: Any, tmp_path: Path
) -> None:
    split = tmp_path / "split.json"
    shutil.copy(small_screen.split, split)
    run = train(small_screen, tmp_path / "run", "model.name=train_mean", f"data.split={split}")
    make_split(ExpressionStore.open(small_screen.store), "unseen_compound", seed=5).save(split)
    with pytest.raises(LeakageError, match="may have been trained on"):
        evaluate_run(run)


def test_what_is_not_a_run_is_refused_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Name a run's folder"):
        evaluate_run(tmp_path)


def test_features_are_taken_away_from_every_perturbation(runs: list[Path]) -> None:
    conditions = load_bundle_files(runs[0] / "bundle").conditions
    taken = {control.name: batch for control, batch in without_information(conditions).items()}
    shuffled, kept = taken["features_shuffled"].features, conditions.features
    assert not taken["features_zeroed"].features.any()
    assert torch.equal(shuffled.sum(dim=0), kept.sum(dim=0))
    distinct = {tuple(row.tolist()) for row in kept}
    if len(distinct) == len(kept):
        assert not (shuffled == kept).all(dim=1).any()
    assert torch.equal(taken["features_shuffled"].slot, conditions.slot)


def _numpy_scores(prediction: NDArray[Any], truth: NDArray[Any]) -> dict[str, float]:
    residual = np.square(prediction - truth)
    spread = np.square(truth - truth.mean(axis=1, keepdims=True)).sum(axis=1)
    correlations = [np.corrcoef(a, b)[0, 1] for a, b in zip(prediction, truth, strict=True)]
    return {
        "well_pearson": float(np.mean(correlations)),
        "well_r2": float((1 - residual.sum(axis=1) / spread).mean()),
        "well_mse": float(residual.mean()),
    }


def test_on_real_wells_the_plate_mean_scores_as_in_plain_numpy(
    shared_data: Callable[[str], Path], tmp_path: Path
) -> None:
    ingest([shared_data("l1000/ht115_level3_compounds.h5ad")], tmp_path / "store")
    store = ExpressionStore.open(tmp_path / "store")
    split, reader = make_split(store, "unseen_compound"), store.reader()
    train_rows, test_rows = split.rows(store, 0, "train"), split.rows(store, 0, "test")
    encoder = ConditionEncoder.fit(store, train_rows, EncoderSpec(), reader=reader)
    data = make_training_data(store, split, 0, encoder, batch_size=512, reader=reader)
    sums = SharedSums(data.statistics)
    part = held_out_part(store, reader, test_rows, encoder, sums.statistics(encoder.space))
    profiles = reader.dense(np.arange(store.n_rows)).astype(float)
    plate = store.obs["batch_id"].to_numpy()
    plain = {
        "group_mean": [
            profiles[train_rows][plate[train_rows] == plate[row]].mean(axis=0) for row in test_rows
        ],
        "no_change": [profiles[store.is_control & (plate == plate[row])].mean(axis=0) for row in test_rows],
    }
    for name, prediction in plain.items():
        model = solve(MODELS[name], encoder.space, encoder.training_conditions, sums)
        found = forecast(model, part.inputs.conditions, part.inputs)
        golden = _numpy_scores(np.stack(prediction), profiles[test_rows])
        assert {n: float(v.mean()) for n, v in found.well_scores.items()} == pytest.approx(golden, rel=1e-5)


def test_several_runs_stand_side_by_side_with_the_strongest_baseline(
    evaluations: list[Evaluation],
) -> None:
    lines = side_by_side(evaluations)
    assert len(lines) == 2 + len(evaluations)
    for line, evaluation in zip(lines[2:], evaluations, strict=True):
        strongest = evaluation.trust.strongest
        assert strongest is not None and strongest.title in line
        assert line.strip().startswith(evaluation.name) and line.endswith(evaluation.trust.verdict.outcome)


@pytest.fixture(scope="module")
def unmeasured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store whose perturbed genes are not measured: eight in three lines, eight in one line only."""
    path = tmp_path_factory.mktemp("unmeasured") / "store"
    rows = [
        {"cell_iname": line, "pert_type": kind, "pert_id": name, "targets": None if "ctl" in kind else name}
        for line in ("A", "B", "C")
        for kind, name in [
            ("ctl_vector", "control"),
            *(("trt_sh", f"SHARED{i}") for i in range(8)),
            *(("trt_sh", f"ONCE{i}") for i in range(8) if line == "A"),
        ]
        for _ in range(3)
    ]
    create_store(
        path,
        obs=pl.DataFrame(rows),
        var=pl.DataFrame({"gene_symbol": [f"GENE{i}" for i in range(30)]}),
        batches=[np.random.default_rng(0).normal(8, 1, (len(rows), 30)).astype(np.float32)],
        measure="expression",
        normalisation="log2_intensity",
    )
    return path


def train_on(store: Path, kind: str, out: Path) -> tuple[Path, Split]:
    split = make_split(ExpressionStore.open(store), kind)
    split.save(out / "split.json")
    rows = [f"data.store={store}", f"data.split={out / 'split.json'}"]
    run_training(load_config("response_mlp", [*rows, *QUICK]), out / "run")
    return out / "run", split


def test_conditions_without_features_are_left_out_for_every_contender_counted_and_named(
    unmeasured: Path, tmp_path: Path
) -> None:
    run, split = train_on(unmeasured, "random", tmp_path)
    tested = split.folds[0].test
    once = [name for name in tested if "ONCE" in name]
    assert 0 < len(once) < len(tested) - 2
    trust = evaluate_run(run, n_draws=100).trust
    judged = trust.board.conditions["condition_id"].to_list()
    assert set(judged).isdisjoint(once)
    assert len(judged) + len(trust.facts.left_out) == len(tested)
    assert {
        len(scores["pearson_delta"]) for who, scores in trust.board.scores.items() if who != "split_half"
    } == {len(judged)}
    said = f"{len(trust.facts.left_out)} of {len(tested)} held-out conditions ({trust.facts.left_out[0]}"
    assert said in trust.notes[0]
    assert any(said in sentence for sentence in trust.not_shown)
    assert trust.facts.left_out[0].startswith("ONCE") and "knock-down, A" in trust.facts.left_out[0]


def test_a_fold_of_which_nothing_can_be_predicted_is_refused_with_a_remedy(
    unmeasured: Path, tmp_path: Path
) -> None:
    run, split = train_on(unmeasured, "unseen_perturbation", tmp_path)
    with pytest.raises(
        SchemaError, match=rf"None of the {len(split.folds[0].test)} held-out .* --kind random"
    ):
        evaluate_run(run, n_draws=100)
    assert not (run / "evaluation" / "trust.json").exists()
