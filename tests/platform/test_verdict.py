"""Verdicts are earned against every baseline, and never flatter."""

from __future__ import annotations

import numpy as np
import pytest
from pertcast.evaluation.bootstrap import Estimate, estimates
from pertcast.evaluation.trust.verdict import FEWEST_CLUSTERS, Verdict, decide


def estimate(mean: float, half_width: float, p_value: float) -> Estimate:
    return Estimate(mean, mean - half_width, mean + half_width, 50, 0, p_value)


def say(differences: dict[str, Estimate], n_clusters: int = 50) -> Verdict:
    return decide(differences, metric="pearson_delta", n_clusters=n_clusters, titles={"ridge": "Ridge"})


def test_better_needs_every_baseline_beaten_and_reports_the_largest_p() -> None:
    verdict = say({"ridge": estimate(0.03, 0.01, 0.012), "mean": estimate(0.2, 0.01, 0.001)})
    assert verdict.outcome == "better" and verdict.against == "ridge"
    assert verdict.text.startswith("better than every baseline (p = 0.012")
    assert verdict.p_value == 0.012


def test_one_baseline_that_is_not_beaten_is_named() -> None:
    verdict = say({"ridge": estimate(0.01, 0.02, 0.3), "mean": estimate(0.2, 0.01, 0.001)})
    assert verdict.outcome == "not distinguishable"
    assert verdict.text.startswith("not distinguishable from Ridge")


def test_worse_names_the_strongest_baseline() -> None:
    verdict = say({"ridge": estimate(-0.1, 0.02, 0.001), "mean": estimate(0.2, 0.01, 0.001)})
    assert verdict.outcome == "worse" and verdict.text.startswith("worse than Ridge")


def test_worse_is_corrected_for_the_number_of_baselines() -> None:
    alone = say({"ridge": estimate(-0.1, 0.09, 0.03)})
    among_many = say(
        {"ridge": estimate(-0.1, 0.09, 0.03), "a": estimate(0, 0.1, 0.9), "b": estimate(0.1, 0.2, 0.5)}
    )
    assert (alone.outcome, among_many.outcome) == ("worse", "not distinguishable")


@pytest.mark.parametrize("mean", [-0.3, 0.0, 0.3])
def test_too_few_held_out_perturbations_support_no_claim(mean: float) -> None:
    verdict = say({"ridge": estimate(mean, 0.01, 0.001)}, n_clusters=FEWEST_CLUSTERS - 1)
    assert verdict.outcome == "not distinguishable" and "too few" in verdict.text


@pytest.mark.parametrize("mean", [-0.3, -0.01, 0.0, 0.01, 0.3])
def test_the_word_best_never_appears(mean: float) -> None:
    verdict = say({"ridge": estimate(mean, 0.02, 0.001 if abs(mean) > 0.02 else 0.6)})
    assert "best" not in verdict.text.lower()


def test_without_a_scored_baseline_nothing_is_claimed() -> None:
    assert say({}).outcome == "not distinguishable"
    nothing = Estimate(np.nan, np.nan, np.nan, 0, 9, np.nan)
    assert say({"ridge": nothing}).against is None


def test_a_model_without_an_advantage_is_called_better_in_at_most_5_percent_of_trials() -> None:
    generator = np.random.default_rng(0)
    outcomes = []
    for trial in range(200):
        gains = generator.normal(0, 0.1, (40, 4)) + generator.normal(0, 0.05, (40, 1))
        found = estimates(gains, np.arange(40), 400, trial)
        outcomes.append(say({f"b{i}": e for i, e in enumerate(found)}).outcome)
    assert outcomes.count("better") <= 10
    assert outcomes.count("worse") <= 10


def test_a_single_baseline_is_not_called_every_baseline() -> None:
    verdict = say({"ridge": estimate(0.03, 0.01, 0.012)})
    assert verdict.outcome == "better"
    assert verdict.text.startswith("better than Ridge, the only baseline (p = 0.012")
