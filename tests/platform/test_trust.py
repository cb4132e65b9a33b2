"""The trust table says what planted predictors deserve, the same every time, and what it does not show."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from pertcast.evaluation.ceilings.ceiling import SplitHalves, dynamic_range, halve, score_ceiling
from pertcast.evaluation.held_out import HeldOut
from pertcast.evaluation.metrics import METRICS
from pertcast.evaluation.scores.pooled_boards import pool_boards
from pertcast.evaluation.scores.score_board import Contender
from pertcast.evaluation.trust.table import TrustFacts, TrustTable, evaluate, make_board, trust_table
from pertcast_data.errors import ConfigError, SchemaError

Array = NDArray[Any]
N_PERTURBATIONS, N_DOSES, N_GENES = 20, 2, 80
FACTS = TrustFacts(model="model", title="Model", split_kind="unseen_compound", folds=(1,), n_genes=N_GENES)


def planted(seed: int = 0, first: int = 0) -> tuple[HeldOut, Array, Array]:
    """Return truth, the shared response and a weak but informative forecast."""
    generator = np.random.default_rng(seed)
    n = N_PERTURBATIONS * N_DOSES
    shared = generator.normal(0, 1, N_GENES)
    own = np.repeat(generator.normal(0, 1, (N_PERTURBATIONS, N_GENES)), N_DOSES, axis=0)
    truth = shared + own + generator.normal(0, 0.3, (n, N_GENES))
    cluster = np.repeat(np.arange(N_PERTURBATIONS), N_DOSES)
    conditions = pl.DataFrame(
        {
            "condition_id": [f"p{first + i // N_DOSES}|{i % N_DOSES}" for i in range(n)],
            "cluster": [f"p{first + c:03d}" for c in cluster],
            "cell_iname": ["A" if i % 2 else "B" for i in range(n)],
            "nn_train_dist": generator.random(n),
            "n_rows": np.full(n, 2),
        }
    )
    held = HeldOut(
        conditions=conditions,
        genes=tuple(f"g{i}" for i in range(N_GENES)),
        truth=truth.astype(np.float32),
        control=np.zeros((n, N_GENES), dtype=np.float32),
        train_perturbed_mean=shared[None].astype(np.float32),
        train_mean_index=np.zeros(n, dtype=np.int64),
        pool=np.zeros(n, dtype=np.int64),
        cluster=cluster,
        own_gene=np.full((n, 1), -1),
    )
    return held, np.tile(shared, (n, 1)), shared + 0.5 * own + generator.normal(0, 0.3, own.shape)


def judge(prediction: Array, held: HeldOut, mean: Array, **options: Any) -> TrustTable:
    predictions = {"model": prediction, "train_mean": mean, "no_change": np.zeros_like(mean)}
    return evaluate(held, predictions, model="model", facts=FACTS, n_draws=500, **options)


def test_a_forecast_with_information_is_better_and_the_mean_itself_is_not() -> None:
    held, mean, forecast = planted()
    assert judge(forecast, held, mean).verdict.outcome == "better"
    copy = judge(mean.copy(), held, mean).verdict
    assert copy.outcome == "not distinguishable" and copy.against == "train_mean"


def test_a_shuffled_and_an_anti_correlated_forecast_are_worse_than_the_mean() -> None:
    held, mean, forecast = planted()
    order = np.random.default_rng(1).permutation(len(forecast))
    for bad in (forecast[order] - 1.5 * mean, -forecast):
        verdict = judge(bad, held, mean).verdict
        assert verdict.outcome == "worse" and verdict.against == "train_mean"
        assert "best" not in verdict.text


def test_nothing_is_won_by_predicting_a_constant_where_it_is_hard() -> None:
    held, mean, forecast = planted()
    quality = judge(forecast, held, mean).board.scores["model"]["pearson_delta"]
    dodging = mean.copy()
    easy = quality > np.quantile(quality, 0.8)
    dodging[easy] = forecast[easy]
    dodging[~easy] = 0.0
    trust = judge(dodging, held, mean)
    assert trust.summary["model"]["pearson_delta"].mean > trust.summary["train_mean"]["pearson_delta"].mean
    assert trust.verdict.outcome == "worse"
    assert any("undefined" in note and "32 of 40" in note for note in trust.notes)


def test_the_strongest_baseline_stands_first_whatever_order_they_come_in() -> None:
    held, mean, forecast = planted()
    predictions = {"weak": -mean, "model": forecast, "strong": held.truth * 0.9, "middle": mean}
    trust = evaluate(held, predictions, model="model", facts=FACTS, n_draws=200)
    assert [c.name for c in trust.order] == ["model", "strong", "middle", "weak"]
    assert trust.strongest is not None and trust.strongest.name == "strong"
    assert trust.verdict.text.startswith("worse than strong")


def test_negative_controls_are_shown_but_need_not_be_beaten() -> None:
    held, mean, forecast = planted()
    predictions = {"model": forecast, "train_mean": mean, "features_shuffled": forecast + 0.0}
    trust = evaluate(held, predictions, model="model", controls=["features_shuffled"], n_draws=200)
    assert trust.verdict.outcome == "better"
    assert trust.verdict.against == "train_mean"
    assert any("nothing here shows that the perturbation's features are used" in note for note in trust.notes)


def test_json_is_deterministic_complete_and_free_of_nan() -> None:
    held, mean, forecast = planted()
    texts = {judge(forecast, held, mean).to_json() for _ in range(2)}
    assert len(texts) == 1
    content = json.loads(texts.pop(), parse_constant=lambda word: pytest.fail(f"{word} in JSON"))
    assert content["verdict"]["outcome"] == "better"
    assert content["table"][0]["role"] == "model" and len(content["conditions"]) == 40
    assert set(content["gains"]["pearson_delta"]) == {"train_mean", "no_change"}
    assert set(content["metrics"]) == set(METRICS)
    assert content["table"][2]["metrics"]["pearson_delta"]["mean"] is None
    assert content["table"][2]["metrics"]["pearson_delta"]["n_undefined"] == 40


def test_the_terminal_table_is_aligned_with_the_verdict_first() -> None:
    held, mean, forecast = planted()
    lines = judge(forecast, held, mean).lines()
    assert lines[0].startswith("Verdict: Model is better than every baseline (p ")
    assert "40 held-out conditions of 20 perturbations" in lines[1]
    start = next(i for i, line in enumerate(lines) if line.startswith("  ---"))
    assert len({len(line) for line in lines[start - 1 : start + 4]}) == 1
    assert lines[start + 1].startswith("  > Model")
    assert "–" in lines[start + 3]


def test_split_halves_share_no_row_and_differ_by_at_most_one() -> None:
    labels = np.array([0, 0, 0, 1, 2, 2, -1, -1, 3, 3, 3, 3])
    halves = halve(labels, seed=3)
    assert np.array_equal(halves, halve(labels, seed=3))
    assert halves[labels == 1].tolist() == [-1] and (halves[labels < 0] == -1).all()
    for label in (0, 2, 3):
        counts = np.bincount(halves[labels == label], minlength=2)
        assert abs(counts[0] - counts[1]) <= 1 and counts.sum() == (labels == label).sum()


def _halves(held: HeldOut, noise: float, index: Array) -> SplitHalves:
    generator = np.random.default_rng(8)
    first, second = (held.truth[index] + generator.normal(0, noise, (len(index), N_GENES)) for _ in range(2))
    return SplitHalves(index, first, second)


def test_the_dynamic_range_is_one_without_noise_and_falls_with_it() -> None:
    held, _, _ = planted()
    index = np.arange(0, 40, 2)
    fractions = [
        dynamic_range(*score_ceiling(_halves(held, noise, index), held))["pearson_delta_pert"]
        for noise in (0.0, 0.5, 2.0, 20.0)
    ]
    assert fractions[0] == pytest.approx(1)
    assert sorted(fractions, reverse=True) == fractions and fractions[-1] < 0.1


def test_metrics_without_dynamic_range_are_marked_and_named() -> None:
    held, mean, forecast = planted()
    trust = judge(forecast, held, mean, halves=_halves(held, 30.0, np.arange(40)))
    assert any("Too little dynamic range" in note and "pearson_delta" in note for note in trust.notes)
    assert any("r delta ~" in line for line in trust.lines())
    clear = judge(forecast, held, mean, halves=_halves(held, 0.1, np.arange(40)))
    assert not any("Too little dynamic range" in note for note in clear.notes)
    assert clear.order[-1].role == "ceiling"
    assert clear.shown_title(clear.order[-1]) == "Split halves"
    some = judge(forecast, held, mean, halves=_halves(held, 0.1, np.arange(0, 40, 2)))
    assert some.shown_title(some.order[-1]) == "Split halves (20 conditions)"


def test_strata_show_where_the_advantage_lies() -> None:
    held, mean, forecast = planted()
    far = (held.conditions["nn_train_dist"] > 0.5).to_numpy()
    mixed = np.where(far[:, None], mean, forecast)
    by_name = {stratum.name: stratum for stratum in judge(mixed, held, mean).strata}
    assert by_name["near training"].gain.low > 0
    assert not by_name["far from training"].gain.low > 0.05
    assert {"all conditions", "weak effect", "strong effect", "A", "B"} <= set(by_name)
    assert "more replicates" not in by_name


def test_what_was_not_held_out_is_said() -> None:
    held, mean, forecast = planted()
    said = " ".join(judge(forecast, held, mean).not_shown)
    assert "every cell line of the test was seen" in said and "One fold (1)" in said
    assert "no noise ceiling" in said and "No external store" in said


def _board(seed: int, first: int) -> Any:
    held, mean, forecast = planted(seed, first)
    contenders = [Contender("model", "Model", "model"), Contender("train_mean", "Train mean", "baseline")]
    return make_board(held, {"model": forecast, "train_mean": mean}, contenders)


def test_pooled_folds_count_every_condition_once() -> None:
    one, two = _board(0, 0), _board(1, 100)
    pooled = pool_boards([one, two])
    trust = trust_table(pooled, FACTS.model_copy(update={"folds": (0, 1)}), n_draws=200)
    assert trust.summary["model"]["pearson_delta"].n_defined == 80
    means = [float(b.scores["model"]["pearson_delta"].mean()) for b in (one, two)]
    assert trust.summary["model"]["pearson_delta"].mean == pytest.approx(np.mean(means))
    assert trust.strata[0].gain.high - trust.strata[0].gain.low < 1
    assert not any("One fold" in sentence for sentence in trust.not_shown)


def test_a_condition_held_out_twice_cannot_be_pooled() -> None:
    with pytest.raises(SchemaError, match=r"'p0\|0' is held out in more than one"):
        pool_boards([_board(0, 0), _board(1, 0)])


def test_a_truth_whose_parts_do_not_fit_is_refused() -> None:
    held, mean, _ = planted()
    with pytest.raises(SchemaError, match=r"HeldOut\.pool"):
        replace(held, pool=np.zeros(3, dtype=np.int64))
    with pytest.raises(ConfigError, match="No prediction of 'model'"):
        evaluate(held, {"train_mean": mean}, model="model")
