"""Calibrated intervals hold at their nominal rate for new perturbations, or say that they promise nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pertcast.evaluation.uncertainty.calibration import (
    NOMINAL,
    STOPPED_EARLY,
    Forecasted,
    Judged,
    calibrate,
    judge,
    pool_calibrations,
)
from pertcast.evaluation.uncertainty.conformal import LEVELS, Conformal
from pertcast_data.errors import ConfigError, SchemaError

Array = NDArray[Any]
G = 60


def forecasted(
    generator: np.random.Generator,
    n_clusters: int,
    *,
    first: int = 0,
    with_sd: bool = False,
    stretch: float = 1.0,
    per_cluster: int = 3,
) -> Forecasted:
    """Heavy-tailed errors of a size that differs by gene and perturbation and is shared within one."""
    names = np.repeat([f"p{first + i}" for i in range(n_clusters)], per_cluster)
    by_gene = np.linspace(0.3, 3, G)
    by_cluster = np.repeat(generator.lognormal(0, 0.5, n_clusters), per_cluster)[:, None]
    sd = by_gene * by_cluster * stretch
    shared = np.repeat(generator.standard_t(5, (n_clusters, G)), per_cluster, axis=0)
    error = sd * (0.7 * shared + 0.7 * generator.standard_t(5, (len(names), G)))
    mean = generator.normal(0, 1, (len(names), G))
    return Forecasted(mean + error, mean, sd if with_sd else None, names, generator.random(len(names)))


def pooled(n_clusters: int, with_sd: bool = False, folds: int = 8, seed: int = 0) -> list[Judged]:
    """Several exchangeable folds, each with its own perturbations."""
    generator = np.random.default_rng(seed)
    return [
        judge(
            forecasted(generator, n_clusters, first=2 * fold * n_clusters, with_sd=with_sd),
            forecasted(generator, n_clusters, first=(2 * fold + 1) * n_clusters, with_sd=with_sd),
        )
        for fold in range(folds)
    ]


@pytest.mark.parametrize("with_sd", [False, True])
@pytest.mark.parametrize("n_clusters", [6, 12, 25, 60])
def test_intervals_cover_at_their_nominal_rate_over_a_thousand_exchangeable_conditions(
    n_clusters: int, with_sd: bool
) -> None:
    folds = 1 + 1000 // (3 * n_clusters)
    found = pool_calibrations(pooled(n_clusters, with_sd, folds), n_draws=300)
    assert found.n_test >= 1000
    by_level = {coverage.nominal: coverage.conformal for coverage in found.coverage}
    assert 0.75 <= by_level[0.8].mean <= 0.85
    assert 0.45 <= by_level[0.5].mean <= 0.56
    assert 0.93 <= by_level[0.95].mean <= 0.99
    assert by_level[0.8].low < by_level[0.8].mean < by_level[0.8].high
    assert found.exchangeable and (found.remark == "" or n_clusters < 10)


def test_a_few_perturbations_with_many_conditions_are_few() -> None:
    generator = np.random.default_rng(4)
    outcome = {}
    for name in ("perturbations", "conditions"):
        shares = []
        for _ in range(60):
            validation, test = (forecasted(generator, 8, per_cluster=25) for _ in range(2))
            if name == "conditions":
                alone = np.array([f"c{i}" for i in range(len(validation.cluster))])
                validation = Forecasted(validation.truth, validation.mean, None, alone)
            shares.append(judge(validation, test).conformal[:, 1].mean())
        outcome[name] = np.mean(shares)
    assert outcome["perturbations"] >= 0.78
    assert outcome["conditions"] < outcome["perturbations"] - 0.02


def test_stated_deviations_are_judged_as_stated_and_repaired() -> None:
    generator = np.random.default_rng(1)
    parts = [forecasted(generator, 60, first=100 * i, with_sd=True) for i in range(2)]
    shy = [Forecasted(p.truth, p.mean, p.sd / 3, p.cluster) for p in parts if p.sd is not None]
    level = calibrate(*shy, n_draws=200).coverage[1]
    assert level.gaussian.mean < 0.5
    assert 0.72 <= level.conformal.mean <= 0.88


def test_without_stated_deviations_nothing_is_judged_as_stated() -> None:
    found = pool_calibrations(pooled(25, folds=2), n_draws=100)
    assert all(np.isnan(coverage.gaussian.mean) for coverage in found.coverage)
    assert found.risk_coverage is not None and found.risk_coverage.ordered_by == "nn_train_dist"
    assert [coverage.nominal for coverage in found.coverage] == list(NOMINAL)


def test_stated_deviations_make_intervals_narrow_where_the_model_is_sure() -> None:
    generator = np.random.default_rng(2)
    part = forecasted(generator, 80, with_sd=True)
    fitted = Conformal.fit(part.truth - part.mean, part.sd, part.cluster)
    low, high = fitted.interval(part.mean, part.sd, 0.8)
    assert part.sd is not None
    ratio = (high - low) / part.sd
    assert np.ptp(ratio, axis=0) == pytest.approx(np.zeros(G), abs=1e-3)
    assert fitted.is_by_gene


def test_intervals_widen_with_the_level_and_are_infinite_where_nothing_can_be_promised() -> None:
    names = np.repeat(["p0", "p1", "p2"], 4)
    residual = np.repeat([1.0, 10.0, 100.0], 4)[:, None] * np.ones(G)
    fitted = Conformal.fit(residual, np.ones_like(residual), names)
    widths = np.stack([fitted.half_width(np.ones((1, G)), level)[0] for level in LEVELS])
    assert (np.diff(widths[:2], axis=0) >= 0).all() and not fitted.is_by_gene
    two_of_three_covered = np.array(LEVELS) < 2 / 3
    assert np.isfinite(widths[two_of_three_covered]).all()
    assert np.isinf(widths[~two_of_three_covered]).all()
    part = Forecasted(residual, np.zeros_like(residual), np.ones_like(residual), names)
    found = calibrate(part, part, n_draws=100)
    assert np.isnan(found.coverage[2].conformal.mean)
    assert "95 %" in found.remark and "3 at the least" in found.remark


@pytest.mark.parametrize("count", [1, 2])
def test_one_or_two_perturbations_promise_nothing_at_all(count: int) -> None:
    part = forecasted(np.random.default_rng(3), count)
    fitted = Conformal.fit(part.truth - part.mean, None, part.cluster)
    assert np.isinf(fitted.half_width(None, 0.5)).all()


def test_harder_test_conditions_are_covered_less_and_no_coverage_is_promised() -> None:
    generator = np.random.default_rng(6)
    validation, test = forecasted(generator, 60), forecasted(generator, 60, first=60, stretch=3.0)
    found = calibrate(validation, test, exchangeable=False, n_draws=100)
    assert found.coverage[1].conformal.mean < 0.6
    assert not found.exchangeable and "promise nothing" in found.remark


def test_choosing_the_training_by_its_validation_error_costs_little_and_is_said() -> None:
    generator = np.random.default_rng(7)
    judged = []
    for fold in range(12):
        validation, test = (forecasted(generator, 30, first=60 * fold + i) for i in (0, 30))
        trainings = []
        for _ in range(20):
            drift = generator.normal(0, 0.4, G)
            moved = [Forecasted(p.truth, p.mean + drift, None, p.cluster) for p in (validation, test)]
            trainings.append((np.square(moved[0].error).mean(), *moved))
        _, chosen, judged_part = min(trainings, key=lambda each: each[0])
        judged.append(judge(chosen, judged_part))
    found = pool_calibrations(judged, remarks=[STOPPED_EARLY], n_draws=100)
    assert found.n_test >= 1000
    assert 0.75 <= found.coverage[1].conformal.mean <= 0.85
    assert "slightly too narrow" in found.remark


def test_state_round_trips_and_other_levels_are_refused() -> None:
    part = forecasted(np.random.default_rng(8), 50, with_sd=True)
    fitted = Conformal.fit(part.truth - part.mean, part.sd, part.cluster)
    again = Conformal.from_state(fitted.to_state())
    for level in LEVELS:
        assert np.array_equal(again.half_width(part.sd, level), fitted.half_width(part.sd, level))
    assert (again.n_clusters, again.is_by_gene) == (50, True)
    with pytest.raises(ConfigError, match="calibrated with"):
        again.interval(part.mean, None, 0.8)
    with pytest.raises(ConfigError, match="No interval is kept"):
        again.interval(part.mean, part.sd, 0.85)
    with pytest.raises(SchemaError, match="calibrate anew"):
        Conformal.from_state({**fitted.to_state(), "levels": np.array([0.5])})


def test_what_cannot_be_calibrated_on_is_refused() -> None:
    residual = np.zeros((3, 4))
    with pytest.raises(SchemaError, match="at least one condition"):
        Conformal.fit(residual[:0], None, np.empty(0))
    with pytest.raises(SchemaError, match="not finite"):
        Conformal.fit(residual + np.nan, None, np.arange(3))
    with pytest.raises(SchemaError, match="shape"):
        Forecasted(residual, residual[:, :2], None, np.arange(3))
    with pytest.raises(SchemaError, match="judge at least one"):
        pool_calibrations([])


def test_genes_that_are_never_wrong_have_no_width_and_break_nothing() -> None:
    residual = np.random.default_rng(0).normal(size=(50, 3))
    residual[:, 1] = 0
    fitted = Conformal.fit(residual, None, np.arange(50))
    assert fitted.half_width(None, 0.8)[0, 1] == 0
    assert np.isfinite(fitted.half_width(None, 0.95)).all()
