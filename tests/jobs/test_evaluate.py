"""Evaluating runs: complete files, the same twice, no leak, pooled folds, plain numpy's figures on wells."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from numpy.typing import NDArray
from pertcast.encoding import ConditionEncoder, EncoderSpec, make_training_data
from pertcast.evaluation.from_store.contenders import SharedSums, forecast, solve, without_information
from pertcast.evaluation.from_store.held_out_part import held_out_part
from pertcast.evaluation.trust.table import make_board
from pertcast.models.registry import MODELS, baselines_for
from pertcast.training.bundle import load_bundle_files
from pertcast_data.errors import ConfigError, FormatError, LeakageError, SchemaError
from pertcast_data.ingest import ingest
from pertcast_data.splits import Split, make_split
from pertcast_data.store import ExpressionStore, create_store
from pertcast_jobs.cli import run as pertcast
from pertcast_jobs.cli.evaluate import print_lines
from pertcast_jobs.evaluate import (
    Evaluation,
    evaluate_run,
    evaluate_runs,
    expand,
    pool,
    pool_and_compare,
    pool_folds,
    pool_seeds,
    side_by_side,
)
from pertcast_jobs.evaluate.oracle import oracle_responses
from pertcast_jobs.run_config import load_config
from pertcast_jobs.run_folder import RunFolder
from pertcast_jobs.train import run_training
from pertcast_jobs.train.many import train_many

QUICK = ["model.config.width=16", "model.config.depth=1", "model.config.basal_width=8", "train.epochs=3"]
FOLDS = (0, 1)
SEEDS = (0, 1)


def train(screen: Any, out: Path, *overrides: str) -> Path:
    run_training(load_config("response_mlp", [*screen.overrides, *overrides]), out)
    return out


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("evaluated")


@pytest.fixture(scope="module")
def many(small_screen: Any, folder: Path) -> Path:
    """Two folds with two seeds each."""
    train_many(load_config("response_mlp", [*small_screen.overrides, *QUICK]), folder / "mlp", FOLDS, SEEDS)
    return folder / "mlp"


@pytest.fixture(scope="module")
def runs(many: Path) -> list[Path]:
    return [many / f"fold{fold}-seed0" for fold in FOLDS]


@pytest.fixture(scope="module")
def evaluations(runs: list[Path]) -> list[Evaluation]:
    return evaluate_runs(runs, n_draws=200)


@pytest.fixture(scope="module")
def seeds(many: Path, evaluations: list[Evaluation]) -> list[Evaluation]:
    """All four trainings: both folds of seed 0, then both of seed 1."""
    return [*evaluations, *evaluate_runs([many / f"fold{fold}-seed1" for fold in FOLDS], n_draws=200)]


def test_a_run_is_judged_beside_every_baseline_of_its_store(
    evaluations: list[Evaluation], runs: list[Path], small_screen: Any
) -> None:
    trust = evaluations[0].trust
    space = load_bundle_files(runs[0] / "bundle").space
    assert {c.name for c in trust.board.of_role("baseline")} == {entry.name for entry in baselines_for(space)}
    taken_away = {"features_shuffled", "features_zeroed", "labels_permuted"}
    assert {c.name for c in trust.board.of_role("control")} == taken_away
    assert {"split_half", "perfect"} <= {c.name for c in trust.board.of_role("ceiling")}
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


def test_the_parts_beside_the_table_are_filled(evaluations: list[Evaluation], small_screen: Any) -> None:
    trust = evaluations[0].trust
    parts, split = trust.parts, Split.load(small_screen.split)
    assert parts.calibration is not None and parts.calibration.exchangeable
    assert parts.calibration.n_calibration == len(split.folds[0].validation)
    assert parts.calibration.n_test == trust.board.conditions.height
    assert not np.isnan(parts.calibration.coverage[0].gaussian.mean)
    assert parts.skill["pearson_delta"].ceiling == "perfect"
    assert parts.control_hits is not None
    assert parts.control_hits.n_called <= 0.05 * parts.control_hits.n_tests
    assert parts.held_out is not None
    assert parts.held_out.parts["test"]["conditions"] == len(split.folds[0].test)
    assert len(parts.shown) == 6 and len(parts.genes) == 60


def test_seeds_of_a_fold_are_averaged_and_then_folds_are_stacked(
    seeds: list[Evaluation], tmp_path: Path
) -> None:
    (pooled,), comparisons = pool_and_compare(seeds, tmp_path, n_draws=200)
    trust = pooled.trust
    assert not comparisons and trust.facts.seeds == SEEDS and trust.facts.folds == FOLDS
    own = [each.trust.summary["response_mlp"]["pearson_delta"].mean for each in seeds]
    assert trust.summary["response_mlp"]["pearson_delta"].mean == pytest.approx(np.mean(own), abs=0.02)
    assert trust.parts.seeds is not None and set(trust.parts.seeds.means) >= {"response_mlp"}
    assert trust.parts.calibration is not None
    assert trust.parts.calibration.n_test == 2 * trust.board.conditions.height
    assert trust.facts.n_held_out_rows == sum(e.trust.facts.n_held_out_rows for e in seeds[:2])
    assert (tmp_path / "trust.html").is_file() and (tmp_path / "fold0" / "trust.json").is_file()


def test_a_folder_of_trainings_stands_for_its_runs(many: Path, runs: list[Path]) -> None:
    assert expand([many]) == [many / f"fold{fold}-seed{seed}" for fold in FOLDS for seed in SEEDS]
    assert expand([runs[0], many, runs[0]])[0] == runs[0] and len(expand([runs[0], many])) == 4


def test_seeds_are_only_averaged_within_one_fold(seeds: list[Evaluation], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="one fold that differ in their seed"):
        pool_seeds(seeds[:2], tmp_path)
    with pytest.raises(ConfigError, match="No seed was trained on every fold"):
        pool([seeds[0], seeds[2], with_seed(seeds[1], 5), with_seed(seeds[1], 6)], tmp_path)


def with_seed(evaluation: Evaluation, seed: int) -> Evaluation:
    trust = evaluation.trust
    return replace(evaluation, trust=replace(trust, facts=trust.facts.model_copy(update={"seeds": (seed,)})))


def test_a_model_that_predicts_the_mean_is_not_called_better_and_is_compared_with_the_other(
    small_screen: Any, folder: Path, evaluations: list[Evaluation], tmp_path: Path
) -> None:
    mean = evaluate_run(train(small_screen, folder / "mean", "model.name=train_mean"), n_draws=200)
    assert mean.trust.verdict.outcome != "better" and "too few" in mean.trust.verdict.text
    pooled, (found,) = pool_and_compare([evaluations[0], mean], tmp_path, n_draws=200)
    assert not pooled and (found.first, found.second) == ("fold0-seed0", "mean")
    own = [e.trust.board.scores[e.trust.facts.model]["pearson_delta"] for e in (evaluations[0], mean)]
    assert found.difference.mean == pytest.approx((own[0] - own[1]).mean())
    assert "too few to tell" in found.text


def test_runs_are_pooled_on_the_command_line_and_write_the_same_json_again(
    runs: list[Path], evaluations: list[Evaluation], small_screen: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    before = [(each.folder / "trust.json").read_bytes() for each in evaluations]
    assert pertcast(["evaluate", *map(str, runs), "--draws", "200", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert [content["run"] for content in shown["evaluations"]] == [*(run.name for run in runs), "pooled"]
    pooled = shown["evaluations"][-1]
    held_out = [name for fold in FOLDS for name in Split.load(small_screen.split).folds[fold].test]
    assert sorted(row["condition_id"] for row in pooled["conditions"]) == sorted(held_out)
    assert pooled["facts"]["folds"] == list(FOLDS) and shown["comparisons"] == []
    assert (evaluations[0].folder / "pooled" / "trust.html").exists()
    assert [(each.folder / "trust.json").read_bytes() for each in evaluations] == before


def test_the_terminal_shows_the_verdict_first_and_the_reports_path_last(
    evaluations: list[Evaluation], runs: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    print_lines(evaluations[1:], [])
    lines = capsys.readouterr().out.strip().splitlines()
    assert lines[0].startswith("Verdict: ")
    assert lines[-1] == f"report: {RunFolder.open(runs[1]).evaluation_path / 'trust.html'}"


def test_the_oracle_of_the_atlas_joins_as_a_ceiling(
    small_screen: Any, evaluations: list[Evaluation], tmp_path: Path
) -> None:
    held = evaluations[0].evidence
    assert held is not None
    truth = small_screen.store.parent / "atlas" / "truth.npz"
    found = oracle_responses(truth, held.held, "log2_intensity")
    ceiling = evaluations[0].trust.board.scores["perfect"]["pearson_delta"].mean()
    board = make_board(held.held, {"response_mlp": found}, [evaluations[0].trust.board.model])
    assert board.scores["response_mlp"]["pearson_delta"].mean() == pytest.approx(ceiling, abs=0.1)
    with pytest.raises(SchemaError, match="is not part of a simulated atlas"):
        oracle_responses(truth, held.held, "log_fold_change")
    with pytest.raises(FormatError, match="not the truth file"):
        oracle_responses(tmp_path / "none.npz", held.held, "log2_intensity")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "Nothing to evaluate was named"),
        (["run", "--pred", "p.h5ad"], "RUN and --pred cannot be given together"),
        (["--bundle", "b"], "--bundle needs --store"),
        (["--pred", "p.h5ad"], "--pred needs --truth"),
        (["--store", "s"], "--store alone is not enough"),
        (["run", "--store", "s"], "--store belongs to --bundle, not to RUN"),
        (["--pred", "p", "--truth", "t", "--oracle", "o"], "--oracle belongs to RUN, not to --pred"),
        (["run", "--control", "ctrl"], "--control belongs to --pred, not to RUN"),
    ],
)
def test_other_than_one_of_the_three_forms_is_a_usage_error_that_says_what_to_write(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pertcast(["evaluate", *words]) == 2
    told = " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert said in told and "--pred P.h5ad --truth T.h5ad" in told


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
