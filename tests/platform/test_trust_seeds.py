"""Seeds are averaged and resampled, folds stacked, models compared condition by condition."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pertcast
import polars as pl
import pytest
from numpy.typing import NDArray
from pertcast.evaluation.held_out import HeldOut
from pertcast.evaluation.scores.pooled_boards import average_seeds, pool_boards
from pertcast.evaluation.scores.score_board import Contender, ScoreBoard
from pertcast.evaluation.trust.comparison import compare_boards
from pertcast.evaluation.trust.evidence import Evidence, stack_evidence
from pertcast.evaluation.trust.table import TrustFacts, TrustTable, evaluate, make_board, trust_table
from pertcast_data.errors import SchemaError

Array = NDArray[Any]
N, G = 24, 60
FACTS = TrustFacts(model="model", title="Model", split_kind="unseen_compound", folds=(0,), seeds=(0, 1, 2))
CONTENDERS = (Contender("model", "Model", "model"), Contender("train_mean", "Train mean", "baseline"))


def held_out(first: int = 0) -> HeldOut:
    generator = np.random.default_rng(first)
    shared = generator.normal(0, 1, G)
    truth = shared + generator.normal(0, 1, (N, G))
    return HeldOut(
        conditions=pl.DataFrame(
            {
                "condition_id": [f"c{first + i}" for i in range(N)],
                "cluster": [f"p{first + i // 2}" for i in range(N)],
            }
        ),
        genes=tuple(f"g{i}" for i in range(G)),
        truth=truth.astype(np.float32),
        control=np.zeros((N, G), np.float32),
        train_perturbed_mean=shared[None].astype(np.float32),
        train_mean_index=np.zeros(N, np.int64),
        pool=np.zeros(N, np.int64),
        cluster=np.arange(N) // 2,
        own_gene=np.full((N, 1), -1),
    )


def predictions(held: HeldOut, share: float, seed: int) -> dict[str, Array]:
    mean = held.train_means(slice(None))
    noise = np.random.default_rng(seed).normal(0, 0.3, held.truth.shape)
    return {"model": mean + share * (held.truth - mean) + noise, "train_mean": mean}


def board(share: float = 0.2, seed: int = 0, first: int = 0) -> ScoreBoard:
    held = held_out(first)
    return make_board(held, predictions(held, share, seed), CONTENDERS)


def judge(found: ScoreBoard, **facts: Any) -> TrustTable:
    return trust_table(found, FACTS.model_copy(update=facts), n_draws=400)


def test_scores_are_means_over_seeds_and_each_seed_is_kept() -> None:
    boards = [board(seed=seed) for seed in range(3)]
    pooled = average_seeds(boards, (0, 1, 2))
    own = [each.scores["model"]["pearson_delta"] for each in boards]
    assert pooled.scores["model"]["pearson_delta"] == pytest.approx(np.mean(own, axis=0))
    assert set(pooled.seed_scores) == {"model"}
    assert pooled.scores["train_mean"]["mse"] == pytest.approx(boards[0].scores["train_mean"]["mse"])
    trust = judge(pooled)
    assert trust.parts.seeds is not None and trust.parts.seeds.seeds == (0, 1, 2)
    assert trust.parts.seeds.means["model"] == pytest.approx([column.mean() for column in own])
    assert any(line.startswith("  seeds: pearson_delta of 3 trainings") for line in trust.lines())
    assert json.loads(trust.to_json())["bootstrap"]["resampled"].endswith("and training seeds")


def test_intervals_over_seeds_that_differ_are_wider_than_those_of_one() -> None:
    shares = (-0.3, 0.0, 0.6)
    one = judge(board(0.1)).gains["pearson_delta"]["train_mean"]
    boards = [board(share, seed) for seed, share in enumerate(shares)]
    several = judge(average_seeds(boards, (0, 1, 2)))
    gain = several.gains["pearson_delta"]["train_mean"]
    assert gain.high - gain.low > 2 * (one.high - one.low)
    assert several.verdict.outcome == "not distinguishable"
    assert judge(board(0.6)).verdict.outcome == "better"


def test_an_undefined_score_of_one_seed_counts_as_no_information_there_alone() -> None:
    held = held_out()
    constant = {**predictions(held, 0.5, 0), "model": np.zeros_like(held.truth)}
    pooled = average_seeds([board(0.5), make_board(held, constant, CONTENDERS)], (0, 1))
    alone = board(0.5)
    assert pooled.scores["model"]["pearson_delta"] == pytest.approx(alone.scores["model"]["pearson_delta"])
    expected = alone.scores["model"]["pearson_delta"] / 2 - alone.scores["train_mean"]["pearson_delta"]
    assert pooled.gain("pearson_delta", "train_mean") == pytest.approx(expected)


def test_folds_of_several_seeds_are_stacked_seed_by_seed() -> None:
    folds = [average_seeds([board(seed=s, first=first) for s in (0, 1)], (0, 1)) for first in (0, 100)]
    pooled = pool_boards(folds)
    assert pooled.by_seed("model", "mse").shape == (2, 2 * N)
    assert pooled.by_seed("train_mean", "mse").shape == (2, 2 * N)
    assert pooled.seed_scores["model"]["mse"][1, N:] == pytest.approx(folds[1].seed_scores["model"]["mse"][1])
    said = " ".join(judge(pooled, folds=(0, 1)).not_shown)
    assert "Only 2 training seeds" in said and "One fold" not in said


def test_folds_with_different_numbers_of_seeds_are_not_pooled_silently() -> None:
    averaged = average_seeds([board(seed=s) for s in (0, 1)], (0, 1))
    with pytest.raises(SchemaError, match=r"different numbers of seeds \(2, 1\)"):
        pool_boards([averaged, board(first=100)])


def test_seeds_of_other_conditions_are_refused() -> None:
    with pytest.raises(SchemaError, match="judged on different conditions"):
        average_seeds([board(), board(first=100)], (0, 1))


def test_two_models_are_compared_condition_by_condition() -> None:
    weak, strong = board(0.1, seed=1), board(0.6, seed=2)
    found = compare_boards(("weak", "strong"), weak, strong, n_draws=400)
    gap = weak.scores["model"]["pearson_delta"] - strong.scores["model"]["pearson_delta"]
    assert found.difference.mean == pytest.approx(gap.mean())
    assert found.text.startswith("weak is worse than strong (p ") and found.n_perturbations == N // 2
    back = compare_boards(("strong", "weak"), strong, weak, n_draws=400)
    assert back.difference.mean == pytest.approx(-gap.mean()) and "is better than weak" in back.text
    same = compare_boards(("one", "other"), weak, board(0.1, seed=1), n_draws=400)
    assert "not distinguishable" in same.text


def test_many_comparisons_are_corrected_for() -> None:
    alone = compare_boards(("a", "b"), board(0.2, 1), board(0.23, 2), n_draws=400)
    among = replace(alone, n_comparisons=400)
    assert among.p_value == 1.0 and "not distinguishable" in among.text


def test_models_without_a_shared_condition_are_not_compared() -> None:
    with pytest.raises(SchemaError, match="judged on different conditions"):
        compare_boards(("a", "b"), board(), board(first=100))


def test_stacked_evidence_keeps_perturbations_and_contexts_of_folds_apart() -> None:
    parts = []
    for first in (0, 100):
        held = held_out(first)
        parts.append(Evidence(held, None, predictions(held, 0.5, 0)))
    both = stack_evidence(parts)
    assert both.held.n_conditions == 2 * N and both.held.n_clusters == N
    assert len(np.unique(both.held.pool)) == 2
    assert both.held.train_means(slice(None))[-1] == pytest.approx(parts[1].held.train_means(slice(None))[-1])
    assert both.predictions["model"].shape == (2 * N, G)


def test_the_best_and_the_worst_conditions_are_shown_gene_by_gene() -> None:
    held = held_out()
    said = predictions(held, 0.5, 0)
    said["model"][3] = held.truth[3]
    said["model"][8] = -held.truth[8]
    shown = evaluate(held, said, model="model", facts=FACTS, n_draws=200).parts.shown
    assert [each.rank for each in shown] == ["best"] * 3 + ["worst"] * 3
    assert "c3" in [each.condition_id for each in shown[:3]] and shown[3].condition_id == "c8"
    assert shown[3].scores["model"] == pytest.approx(-1, abs=1e-5)
    assert shown[3].model == pytest.approx(-shown[3].truth)


def test_a_gain_by_length_alone_is_flagged() -> None:
    held = held_out()
    said = predictions(held, 0.4, 0)["model"]
    truth_length = np.linalg.norm(held.truth, axis=1, keepdims=True)
    as_long = said / np.linalg.norm(said, axis=1, keepdims=True) * truth_length
    for factor, flagged in ((2.0, True), (1.0, False)):
        pair = {"model": factor * as_long, "train_mean": 0.01 * said}
        trust = evaluate(held, pair, model="model", facts=FACTS, n_draws=200)
        assert trust.board.amplitude["model"] == pytest.approx(np.full(N, factor), rel=1e-4)
        assert trust.gains["discrimination_l2"]["train_mean"].low > 0
        assert any("can come from the length alone" in note for note in trust.notes) == flagged


def test_the_share_of_the_oracle_is_said_and_skill_ends_there() -> None:
    held = held_out()
    said = {**predictions(held, 0.4, 0), "oracle": held.truth + 0.0}
    everyone = [*CONTENDERS, Contender("oracle", "Oracle", "ceiling")]
    trust = trust_table(make_board(held, said, everyone), FACTS, n_draws=200)
    own = trust.summary["model"]["pearson_delta"].mean
    assert any(f"Model {own:.3f} ({own:.0%})" in note for note in trust.notes)
    skill = trust.parts.skill["pearson_delta"]
    assert (skill.baseline, skill.ceiling) == ("train_mean", "oracle")
    assert 0 < skill.value < 1
    column = next(line for line in trust.lines() if "> Model" in line)
    assert f"{skill.value:.2f}" in column


def test_every_line_of_the_table_fits_a_terminal() -> None:
    held = held_out()
    said = predictions(held, 0.5, 0)
    titles = {"train_mean": "A baseline with a title that is much longer than any column could ever hold"}
    trust = evaluate(held, said, model="model", facts=FACTS, titles=titles, n_draws=200)
    lines = trust.lines()
    start = next(i for i, line in enumerate(lines) if line.startswith("  ---"))
    assert max(len(line) for line in lines[start - 1 :]) <= 120
    assert len({len(line) for line in lines[start - 1 : start + 3]}) == 1
    assert max(len(line) for line in lines[start - 1 : start + 3]) <= 110


def test_json_holds_the_parts_without_profiles_or_matrices() -> None:
    held = held_out()
    trust = evaluate(held, predictions(held, 0.5, 0), model="model", facts=FACTS, n_draws=200)
    content = json.loads(trust.to_json())
    assert content["schema_version"] == 2
    assert {"skill", "shown", "held_out", "calibration", "gene_correlation"} <= set(content)
    assert set(content["shown"][0]) == {"condition_id", "name", "rank", "scores"}
    assert "matrices" not in content["gene_correlation"]
    assert content["gene_correlation"]["agreement"]["model"]["mean"] > 0.3
    assert content["skill"]["pearson_delta"]["value"] is None and content["skill"]["pearson_delta"]["reason"]


def test_notebooks_evaluate_by_the_same_function() -> None:
    assert pertcast.evaluate is evaluate
