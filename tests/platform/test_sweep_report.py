"""The report of a sweep: the best trial beside the baseline first, and never more than the trials show."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from pertcast.report.sweep import SweepContent, SweepTrial, sweep_report
from pertcast.report.sweep.importance import importance


def trial(number: int, advantage: float, **values: object) -> SweepTrial:
    metrics = {
        "advantage": advantage,
        "advantage_low": advantage - 0.05,
        "advantage_high": advantage + 0.05,
        "score": 0.6 + advantage,
        "baseline_score": 0.6,
        "n_conditions": 40.0,
        "cost": 1e9 * (1 + number),
        "cost_is_counted": 1.0,
        "seconds": 3.0,
        "epoch": 5.0,
    }
    curve = ((1, 1.0), (2, 0.8 - advantage))
    return SweepTrial(f"{number:03d}", "done", "", values, metrics, number == 0, curve)


def content(trials: tuple[SweepTrial, ...], n_perturbations: int = 12) -> SweepContent:
    return SweepContent(
        model="Residual MLP",
        provenance="store s",
        scored_by="pearson_delta",
        objectives=(("advantage", "max"), ("cost", "min")),
        trials=trials,
        baselines={"Ridge": 0.6, "No change": 0.0},
        best_baseline="Ridge",
        n_perturbations=n_perturbations,
        search="Trials were drawn at random.",
        evaluate="pertcast evaluate sweep/trials/000",
    )


def sweep_of(n: int) -> tuple[SweepTrial, ...]:
    return tuple(trial(i, 0.1 - 0.01 * i, rate=10.0**-i, kind="ab"[i % 2]) for i in range(n))


@pytest.mark.parametrize(
    ("advantage", "n_perturbations", "badge"),
    [
        (0.1, 12, "above every baseline"),
        (0.02, 12, "not distinguishable"),
        (-0.2, 12, "below a baseline"),
        (0.1, 5, "not distinguishable"),
    ],
)
def test_the_verdict_says_what_the_interval_allows(
    advantage: float, n_perturbations: int, badge: str
) -> None:
    html = sweep_report(content((trial(0, advantage, rate=0.1),), n_perturbations))
    badges = ("above every baseline", "not distinguishable<", "below a baseline")
    assert [each for each in badges if each in html] == [badge if "not" not in badge else f"{badge}<"]
    assert ("too few to tell" in html) == (n_perturbations < 6)


def test_the_best_is_told_with_its_interval_the_baseline_and_the_test_evaluation() -> None:
    html = sweep_report(content(sweep_of(3)))
    assert (
        "pearson_delta 0.700 on 40 validation conditions, +0.100 [+0.050, +0.150] against Ridge (0.600)"
        in html
    )
    assert "best of 3 trials chosen on these very conditions" in html
    assert "pertcast evaluate sweep/trials/000" in html


def test_trials_that_failed_or_were_stopped_are_listed_with_the_reason() -> None:
    stopped = replace(
        trial(1, 0.0, rate=0.5), status="stopped", reason="ASHA, at epoch 2", metrics={"validation_loss": 0.9}
    )
    failed = replace(stopped, name="002", status="failed", reason="out of <memory>", metrics={}, curve=())
    html = sweep_report(content((trial(0, 0.1, rate=0.1), stopped, failed)))
    assert "stopped: ASHA, at epoch 2" in html
    assert "failed: out of &lt;memory&gt;" in html
    assert "1 finished trials of 3" in html


def test_a_few_trials_do_not_say_what_mattered() -> None:
    html = sweep_report(content(sweep_of(5)))
    assert "5 finished trials do not say" in html
    assert importance([{"a": i} for i in range(5)], list(range(5))) is None


def test_importance_is_beyond_chance_where_the_objective_follows_a_value_and_rarely_where_it_does_not() -> (
    None
):
    random = np.random.default_rng(0)
    n, false_alarms = 12, 0
    for _ in range(60):
        values = [
            {"a": float(random.random()), "b": "xyz"[int(random.integers(3))], "c": int(random.integers(4))}
            for _ in range(n)
        ]
        noise = importance(values, random.random(n).tolist())
        assert noise is not None
        false_alarms += max(noise.strength.values()) > noise.chance
        found = importance(values, [value["a"] ** 3 for value in values])
        assert found is not None
        assert next(iter(found.strength)) == "a"
        assert found.strength["a"] == pytest.approx(1.0)
        assert found.strength["a"] > found.chance
    assert false_alarms <= 8


def test_one_objective_that_is_no_advantage_is_reported_without_a_comparison() -> None:
    trials = tuple(
        replace(each, metrics={"validation_loss": 1.0 - each.metric("advantage")}) for each in sweep_of(2)
    )
    html = sweep_report(replace(content(trials), objectives=(("validation_loss", "min"),)))
    assert "held-out loss 0.900" in html
    assert "above every baseline" not in html
