"""Dose and time response: planted curves are found, nothing flatters the model, noise is flat."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import product

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from pertcast.analysis.compared import ComparedResponses
from pertcast.analysis.dose_response import MEASURED, DenseResponses, DoseResponse, dose_response
from pertcast.analysis.dose_response.curves import find_curves, main_direction
from pertcast.analysis.dose_response.drift import drifts, rank_drift
from pertcast.analysis.dose_response.result import dense_title
from pertcast.report.dose_response_sections import dose_response_sections
from pertcast.report.page import render_page
from pertcast_data.errors import ConfigError, SchemaError

N_GENES, N_DRUGS = 60, 10
GENES = tuple(f"G{i}" for i in range(N_GENES))
DOSES, TIMES, LINES = (0.1, 1.0, 10.0), (6.0, 24.0), ("A375", "HT29")
EC50 = np.geomspace(0.2, 5.0, N_DRUGS)
SLOPE, NOISE = 1.3, 0.1


def table(doses: tuple[float, ...] = DOSES, lines: tuple[str, ...] = LINES) -> pl.DataFrame:
    rows = [
        {
            "condition_id": f"{line} {drug} {dose} {time}",
            "cell_iname": line,
            "pert_type": "trt_cp",
            "pert_id": f"drug-{drug}",
            "cmap_name": f"drug-{drug}",
            "pert_dose": dose,
            "pert_time": time,
        }
        for drug, line, time, dose in product(range(N_DRUGS), lines, TIMES, doses)
    ]
    return pl.DataFrame(rows)


def responses(conditions: pl.DataFrame, shift: float = 1.0) -> NDArray[np.float64]:
    """Return noise-free responses: a direction a drug, Hill doses, growing with time."""
    direction = np.random.default_rng(0).normal(size=(N_DRUGS, N_GENES))
    drug = np.array([int(name.split("-")[1]) for name in conditions["pert_id"]])
    dose, time = conditions["pert_dose"].to_numpy(), conditions["pert_time"].to_numpy()
    size = (1 - np.exp(-time / 8)) / (1 + (shift * EC50[drug] / dose) ** SLOPE)
    values: NDArray[np.float64] = size[:, None] * direction[drug]
    return values


def noisy(values: NDArray[np.float64], seed: int = 1, sd: float = NOISE) -> NDArray[np.float64]:
    found: NDArray[np.float64] = values + np.random.default_rng(seed).normal(0.0, sd, values.shape)
    return found


def compared(
    conditions: pl.DataFrame, measured: NDArray[np.float64], **generated: NDArray[np.float64]
) -> ComparedResponses:
    return ComparedResponses(conditions, GENES, measured, generated, np.zeros_like(measured))


@pytest.fixture(scope="module")
def found() -> DoseResponse:
    conditions = table()
    truth = responses(conditions)
    data = compared(
        conditions,
        noisy(truth),
        perfect=truth,
        tenfold=responses(conditions, shift=10.0),
        constant=np.repeat(truth.mean(axis=0, keepdims=True), len(truth), axis=0),
        nothing=np.zeros_like(truth),
    )
    return dose_response(data, n_draws=200)


def test_measured_and_generated_curves_find_the_planted_half_maximal_doses(found: DoseResponse) -> None:
    truth = {f"drug-{drug}": ec50 for drug, ec50 in enumerate(EC50)}
    assert len(found.curves) == N_DRUGS * 4
    for title, least in ((MEASURED, 0.9), ("perfect", 1.0)):
        right = [each.fits[title].agrees_with(truth[each.curve.pert_id]) for each in found.curves]
        assert np.mean(right) >= least, title
    assert found.slopes["perfect"].value == pytest.approx(SLOPE, rel=0.03)
    assert found.slopes[MEASURED].low <= SLOPE <= found.slopes[MEASURED].high


def test_measured_intervals_cover_the_planted_doses(found: DoseResponse) -> None:
    truth = {f"drug-{drug}": ec50 for drug, ec50 in enumerate(EC50)}
    fits = [(each.fits[MEASURED], truth[each.curve.pert_id]) for each in found.curves]
    assert np.mean([fit.low <= ec50 <= fit.high for fit, ec50 in fits]) >= 0.85


def test_agreement_is_complete_for_the_truth_and_lost_tenfold_off(found: DoseResponse) -> None:
    perfect, tenfold = found.agreement_of("perfect"), found.agreement_of("tenfold")
    assert perfect.within_twofold.value >= 0.95
    assert perfect.log_pearson.value > 0.95
    assert perfect.amplitude == pytest.approx(1.0, abs=0.1)
    assert tenfold.within_twofold.value <= 0.2
    assert tenfold.amplitude < 0.8


def test_effects_grow_with_dose_and_time_where_they_do_and_not_otherwise(found: DoseResponse) -> None:
    perfect, constant, nothing = (found.drift_of(title) for title in ("perfect", "constant", "nothing"))
    assert perfect.dose.value == perfect.dose_strong.value == 1.0
    assert perfect.time.value == perfect.time_strong.value == 1.0
    for drift in (constant, nothing):
        assert drift.dose.value == drift.time.value == 0.0
    assert found.drift_of(MEASURED).dose_strong.value > 0.9


def test_noise_alone_is_flat() -> None:
    conditions = table()
    nothing = np.zeros((conditions.height, N_GENES))
    result = dose_response(compared(conditions, noisy(nothing, seed=3), noise=noisy(nothing, seed=4)))
    for title in (MEASURED, "noise"):
        assert result.agreement_of(title).states["flat"] >= 0.9 * len(result.curves)
        assert result.agreement_of(title).states["identified"] <= 0.05 * len(result.curves)


def test_noise_alone_does_not_drift_not_even_where_it_is_strongest() -> None:
    """Choosing strong curves by their highest dose would show a drift of about .7 in noise."""
    conditions = table()
    nothing = np.zeros((conditions.height, N_GENES))
    found = [
        drifts(conditions, {MEASURED: noisy(nothing, seed)}, MEASURED, n_draws=2, seed=0)[0]
        for seed in range(40)
    ]
    assert abs(np.mean([drift.dose_strong.value for drift in found])) < 0.1
    assert abs(np.mean([drift.time_strong.value for drift in found])) < 0.15


def test_a_curves_direction_comes_from_other_curves_of_its_perturbation_only() -> None:
    """Changing a curve's own measured responses, or any generated ones, leaves the direction as it is."""
    conditions = table()
    measured = noisy(responses(conditions))
    data = compared(conditions, measured, model=measured)
    curve = find_curves(data)[0]
    changed = measured.copy()
    changed[curve.rows] = np.random.default_rng(5).normal(size=(len(curve.rows), N_GENES))
    again = {each.key: each for each in find_curves(replace(data, measured=changed))}[curve.key]
    assert curve.direction_from == "other curves"
    assert np.allclose(again.direction, curve.direction)
    assert np.linalg.norm(curve.direction) == pytest.approx(1.0)
    other = find_curves(replace(data, generated={"model": -measured}))[0]
    assert np.array_equal(other.direction, curve.direction)


def test_the_only_curve_of_a_perturbation_is_projected_on_itself_and_that_is_said() -> None:
    conditions = table(lines=("A375",)).filter(pl.col("pert_time") == 24.0)
    truth = responses(conditions)
    result = dose_response(compared(conditions, noisy(truth), perfect=truth))
    assert {each.curve.direction_from for each in result.curves} == {"own"}
    assert "10 curves are the only ones of their perturbation" in " ".join(result.warnings)
    assert result.drift_of(MEASURED).time.n == 0


def test_on_its_own_direction_noise_makes_the_measured_response_too_large() -> None:
    """Why other curves give the direction: the truth itself would seem to respond too little."""
    conditions = table()
    truth = responses(conditions)
    measured = noisy(truth, seed=6, sd=1.0)
    apart = pl.col("pert_id") + pl.lit("|") + pl.col("condition_id").str.extract(r"^(\S+)")
    alone = conditions.with_columns((apart + pl.col("pert_time").cast(pl.String)).alias("pert_id"))
    found = {}
    for direction, named in (("other curves", conditions), ("own", alone)):
        result = dose_response(compared(named, measured, perfect=truth), n_draws=2)
        assert {each.curve.direction_from for each in result.curves} == {direction}
        found[direction] = result.agreement_of("perfect").amplitude
    assert found["other curves"] == pytest.approx(1.0, abs=0.1)
    assert found["own"] < found["other curves"] - 0.1


def test_the_main_direction_points_where_the_responses_point() -> None:
    rows = np.outer([0.1, 0.5, 3.0], [-1.0, 2.0, 0.0])
    assert main_direction(rows) == pytest.approx(np.array([-1.0, 2.0, 0.0]) / np.sqrt(5))
    assert not main_direction(np.zeros((2, 3))).any()


def test_a_dense_grid_is_fitted_beside_the_tested_doses() -> None:
    conditions = table()
    truth = responses(conditions)
    grid = table(doses=tuple(np.geomspace(0.1, 10.0, 15).tolist())).filter(pl.col("pert_id") == "drug-4")
    data = compared(conditions, noisy(truth), perfect=truth)
    result = dose_response(data, dense=DenseResponses(grid, GENES, responses(grid)))
    title = dense_title("perfect")
    dense = [each for each in result.curves if title in each.fits]
    assert {each.curve.pert_id for each in dense} == {"drug-4"}
    assert all(each.fits[title].ec50 == pytest.approx(EC50[4], rel=0.02) for each in dense)
    assert len(dense[0].responses[title].doses) == 15
    assert result.agreement_of(title).within_twofold.n <= 4
    assert "on a dense grid" in "\n".join(result.lines())


def test_conditions_without_dose_or_with_too_few_are_counted() -> None:
    conditions = table()
    knockouts = conditions[:2].with_columns(
        pl.lit("trt_xpr").alias("pert_type"), pl.lit(None, pl.Float64).alias("pert_dose")
    )
    mixed = pl.concat([conditions.filter(pl.col("pert_dose") < 5), knockouts])
    values = np.ones((mixed.height, N_GENES))
    result = dose_response(compared(mixed, values, model=values))
    assert not result.curves
    assert result.n_left_out == mixed.height
    assert "belong to no curve" in " ".join(result.warnings)
    assert "No curve has doses enough" in "\n".join(result.lines())
    json.dumps(result.to_json(), allow_nan=False)
    assert render_page(title="t", provenance="p", sections=dose_response_sections(result))


def test_the_answer_comes_first_and_the_json_is_plain_and_the_same_every_time(found: DoseResponse) -> None:
    lines = found.lines()
    assert lines[0].startswith("The effect of perfect grows with dose in strong curves at Spearman 1.00")
    assert max(map(len, lines)) <= 120
    text = json.dumps(found.to_json(), allow_nan=False)
    conditions = table()
    truth = responses(conditions)
    runs = [
        dose_response(compared(conditions, noisy(truth), perfect=truth), n_draws=50).to_json() for _ in "ab"
    ]
    assert json.dumps(runs[0]) == json.dumps(runs[1])
    assert json.loads(text)["curves"][0]["fits"]["nothing"]["ec50"] is None


def test_the_report_draws_curves_and_says_what_is_not_determined(found: DoseResponse) -> None:
    sections = dose_response_sections(found, "log2 difference")
    titles = [section.title for section in sections]
    assert titles[0] == "Does the effect grow with dose and time?"
    assert {"Curves", "Half-maximal doses", "Curve by curve"} <= set(titles)
    page = render_page(title="t", provenance="p", sections=sections)
    assert "both identified" in page
    assert "log2 difference" in page


def test_rounding_is_no_drift() -> None:
    doses = np.array([0.1, 1.0, 10.0])
    assert rank_drift(np.array([1.0, 1.0 + 1e-9, 1.0 + 2e-9]), doses) == 0.0
    assert rank_drift(np.array([3.0, 2.0, 1.0]), doses) == pytest.approx(-1.0)


def test_what_cannot_be_compared_is_refused_with_the_reason() -> None:
    conditions = table()
    truth = responses(conditions)
    data = compared(conditions, truth, model=truth)
    with pytest.raises(ConfigError, match="min_doses=2"):
        dose_response(data, min_doses=2)
    with pytest.raises(ConfigError, match="no generated responses"):
        dose_response(compared(conditions, truth))
    broken = truth.copy()
    broken[3, 3] = np.inf
    with pytest.raises(SchemaError, match=r"'model' hold NaN or infinite values .row 3"):
        dose_response(compared(conditions, truth, model=broken))
    no_dose = conditions.with_columns(pl.lit(None, pl.Float64).alias("pert_dose"))
    with pytest.raises(SchemaError, match="None of the 120 conditions has a dose"):
        dose_response(compared(no_dose, truth, model=truth))
    dense = DenseResponses(conditions, GENES[::-1], truth)
    with pytest.raises(SchemaError, match="dense responses have 60 genes"):
        dose_response(data, dense=dense)
    with pytest.raises(SchemaError, match="lacks pert_dose"):
        DenseResponses(conditions.drop("pert_dose"), GENES, truth)
    with pytest.raises(SchemaError, match=r"shape \(120, 60\), wanted \(120, 2\)"):
        DenseResponses(conditions, GENES[:2], truth)
