"""Conformal p-values: valid whatever a screen asks for, by the definition, saved as they are."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from pertcast.evaluation.hit_calibration import COLUMNS, FDR_LEVELS, HitCalibration, hits_at, screen_fdr
from pertcast.evaluation.hit_calibration.calibration import SCHEMA
from pertcast.evaluation.hit_calibration.strata import FEWEST_CLUSTERS, Level, n_inactive_told
from pertcast_data.errors import CorruptBundle, SchemaError
from scipy.stats import false_discovery_control

DOSES = (0.1, 1.0, 10.0)


def conditions(
    generator: np.random.Generator, n_perturbations: int, cells: tuple[str, ...] = ("A", "B")
) -> pl.DataFrame:
    """Synthetic perturbations that share a liking of the model over all their conditions.

    Scores rise with the dose, differ between cell lines, and perturbations have 1 to 3 doses.
    """
    rows = []
    for cluster in range(n_perturbations):
        liking = generator.exponential()
        n_doses = int(generator.integers(1, len(DOSES) + 1))
        for dose in sorted(generator.choice(DOSES, n_doses, replace=False)):
            for place, cell in enumerate(cells):
                score = (liking + 0.3 * generator.exponential()) * (1 + np.log10(10 * dose)) * (1 + place)
                rows.append((cluster, cell, float(dose), score, bool(generator.random() < 0.8)))
    columns = ["cluster", "cell_iname", "pert_dose", "effect_size", "is_inactive"]
    table = pl.DataFrame(rows, schema=columns, orient="row")
    return table.with_columns(
        pl.concat_str(pl.lit("p"), "cluster").alias("pert_id"),
        pert_type=pl.lit("trt_cp"),
        targets=pl.lit(None, dtype=pl.String),
        pert_time=pl.lit(24.0),
        seen_pert=False,
        is_in_domain=True,
    )


def calibration_of(table: pl.DataFrame) -> HitCalibration:
    return HitCalibration(table.select(list(SCHEMA)))


SCREENS: dict[str, Callable[[pl.DataFrame], pl.DataFrame]] = {
    "top dose only": lambda table: table.filter(pl.col("pert_dose") == max(DOSES)),
    "a mixture of doses": lambda table: table,
    "one cell line only": lambda table: table.filter(pl.col("cell_iname") == "B"),
    "perturbations of three doses only": lambda table: table.filter(pl.len().over("cluster") == 6),
}


@pytest.mark.parametrize("asked", SCREENS)
@pytest.mark.parametrize("n_perturbations", [32, 90])
def test_an_inactive_condition_has_a_small_p_value_no_more_often_than_it_says(
    asked: str, n_perturbations: int
) -> None:
    """With 32 perturbations doses have too few and the largest scores calibrate, with 90 the doses do."""
    generator = np.random.default_rng(0)
    levels = np.array([0.05, 0.1, 0.2, 0.5])
    shares, tested = [], []
    for _ in range(60):
        calibration = calibration_of(conditions(generator, n_perturbations))
        inactive = SCREENS[asked](conditions(generator, 40)).filter("is_inactive")
        p_values = calibration.p_values(inactive)
        tested.append(float((~np.isnan(p_values)).mean()))
        table = inactive.select("cluster").with_columns(
            pl.Series(f"{level}", p_values <= level) for level in levels
        )
        by_perturbation = table.group_by("cluster", maintain_order=True).mean()
        shares.append(by_perturbation.drop("cluster").mean().to_numpy()[0])
    mean, error = np.mean(shares, axis=0), np.std(shares, axis=0, ddof=1) / np.sqrt(len(shares))
    assert (mean <= levels + 2 * error).all(), mean
    assert np.mean(tested) > (0.5 if n_perturbations < 90 else 0.99)


def test_conditions_of_one_perturbation_are_not_counted_as_independent() -> None:
    """As if they were: the same scores, every condition its own cluster, call too many at a small level."""
    generator = np.random.default_rng(1)
    smallest: dict[str, list[float]] = {"clusters": [], "conditions": []}
    for _ in range(200):
        likings = generator.exponential(size=20)
        scores, clusters = np.repeat(likings, 10), np.repeat(np.arange(20), 10)
        one = generator.exponential(size=200)
        smallest["clusters"].append(float((Level.of(scores, clusters, 200, "").p_values(one) <= 0.01).mean()))
        alone = Level.of(scores, np.arange(200), 200, "")
        smallest["conditions"].append(float((alone.p_values(one) <= 0.01).mean()))
    assert np.mean(smallest["clusters"]) <= 0.01
    assert np.mean(smallest["conditions"]) > 0.03


def brute_force(table: pl.DataFrame, score: float) -> float:
    shares = [
        float((of_one["effect_size"].to_numpy() >= score).mean()) for of_one in table.partition_by("cluster")
    ]
    return (1 + sum(shares)) / (len(shares) + 1)


def test_p_values_equal_their_definition_by_dose_and_by_the_largest_score() -> None:
    generator = np.random.default_rng(2)
    held = conditions(generator, 100, ("A",))
    calibration = calibration_of(held)
    asked = conditions(generator, 30, ("A",))
    inactive = held.filter("is_inactive")
    matched = [
        brute_force(inactive.filter(pl.col("pert_dose") == dose), score)
        for dose, score in asked.select("pert_dose", "effect_size").iter_rows()
    ]
    np.testing.assert_allclose(calibration.p_values(asked), matched, rtol=1e-12)
    largest = held.filter(pl.col("is_inactive").any().over("cluster"))
    largest = largest.group_by("cluster").agg(pl.col("effect_size").max())
    between = asked.with_columns(pert_dose=pl.lit(0.02))
    backed_off = [brute_force(largest, score) for score in asked["effect_size"]]
    np.testing.assert_allclose(calibration.p_values(between), backed_off, rtol=1e-12)


def test_the_nearest_calibrated_dose_from_above_within_half_a_decade_calibrates() -> None:
    generator = np.random.default_rng(3)
    calibration = calibration_of(conditions(generator, 100, ("A",)))
    row = conditions(generator, 1, ("A",)).head(1)
    expected = {
        0.35: "1 uM",
        1.2: "1 uM",
        4.0: "10 uM",
        12.0: "10 uM",
        1.5: "largest score",
        20.0: "none: dose",
    }
    for dose, text in expected.items():
        found = calibration.stratum_text(row.with_columns(pert_dose=pl.lit(dose)))[0]
        assert text in found, (dose, found)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"is_in_domain": False}, "far from training"),
        ({"cell_iname": "C"}, "in this cell line"),
        ({"pert_type": "trt_xpr"}, "of this type"),
        ({"seen_pert": True}, "no perturbations of training"),
        ({"pert_id": "p1+p2"}, "no calibrated combinations"),
        ({"pert_time": 96.0}, "time beyond"),
        ({"pert_dose": 100.0}, "dose beyond"),
        ({"pert_dose": None}, "dose beyond"),
        ({"is_in_domain": None}, "not known"),
    ],
)
def test_what_is_not_exchangeable_gets_no_p_value_and_a_reason(
    changed: dict[str, object], reason: str
) -> None:
    generator = np.random.default_rng(4)
    calibration = calibration_of(conditions(generator, 60))
    asked = conditions(generator, 3)
    wrong = asked.with_columns(
        pl.lit(value, dtype=asked.schema[name]).alias(name) for name, value in changed.items()
    )
    assert not np.isnan(calibration.p_values(asked)).any()
    assert np.isnan(calibration.p_values(wrong)).all()
    texts = calibration.stratum_text(wrong)
    assert texts.str.starts_with("none: ").all() and texts.str.contains(reason).all()


def test_too_few_inactive_perturbations_give_no_p_value() -> None:
    table = conditions(np.random.default_rng(5), FEWEST_CLUSTERS, ("A",)).with_columns(
        is_inactive=True, pert_dose=pl.lit(1.0)
    )
    assert not np.isnan(calibration_of(table).p_values(table)).any()
    fewer = calibration_of(table.filter(pl.col("cluster") > 0))
    assert np.isnan(fewer.p_values(table)).all()
    assert (
        fewer.stratum_text(table)[0] == f"none: {FEWEST_CLUSTERS - 1} inactive perturbations, 19 are needed"
    )
    assert fewer.n_strata == 0


def test_a_dose_at_which_everything_was_active_is_calibrated_by_the_largest_scores() -> None:
    table = conditions(np.random.default_rng(6), 80, ("A",))
    top = pl.col("pert_dose") == max(DOSES)
    table = table.with_columns(is_inactive=~top & pl.col("is_inactive"))
    wanted = table.filter(pl.col("is_inactive").any().over("cluster") & top.any().over("cluster"))
    largest = wanted.group_by("cluster").agg(pl.col("effect_size").max())
    asked = table.filter(top)
    expected = [brute_force(largest, score) for score in asked["effect_size"]]
    np.testing.assert_allclose(calibration_of(table).p_values(asked), expected)


def test_a_screen_of_the_top_dose_is_not_held_against_inactive_low_doses() -> None:
    """Activity rises with the dose, scores do as well, and the model knows nothing of who is active."""
    generator = np.random.default_rng(12)
    shares = []
    for _ in range(40):
        tables = [conditions(generator, 80, ("A",)) for _ in range(2)]
        top = pl.col("pert_dose") == max(DOSES)
        rare = pl.Series("rare", generator.random(tables[0].height) < 0.1)
        held = tables[0].with_columns(is_inactive=pl.when(top).then(rare).otherwise("is_inactive"))
        p_values = calibration_of(held).p_values(tables[1].filter(top))
        shares.append((p_values <= 0.1).mean())
    assert np.mean(shares) <= 0.1 + 2 * np.std(shares, ddof=1) / np.sqrt(len(shares))


def test_a_calibration_comes_back_from_its_bytes_as_it_was_and_its_hash_knows_every_score() -> None:
    table = conditions(np.random.default_rng(7), 40).with_columns(
        cell_iname=pl.when(pl.col("cluster") < 3).then(None).otherwise(pl.lit("A")), pert_time=None
    )
    calibration = HitCalibration(
        table.select(pl.col(name).cast(dtype) for name, dtype in SCHEMA.items()), {"n": 3}
    )
    back = HitCalibration.from_bytes(calibration.to_bytes())
    assert back.conditions.equals(calibration.conditions)
    assert (back.facts, back.reason, back.hash) == (calibration.facts, "", calibration.hash)
    other = table.with_columns(effect_size=pl.col("effect_size") * (1 + 1e-12))
    assert calibration_of(other.select(pl.col(n).cast(t) for n, t in SCHEMA.items())).hash != calibration.hash
    with pytest.raises(CorruptBundle, match="cannot be read"):
        HitCalibration.from_bytes(calibration.to_bytes()[:-5])


def test_without_a_calibration_the_reason_stands_with_every_condition() -> None:
    calibration = HitCalibration.from_bytes(HitCalibration.none("no validation part").to_bytes())
    asked = conditions(np.random.default_rng(8), 5)
    assert np.isnan(calibration.p_values(asked)).all()
    assert calibration.stratum_text(asked).unique().to_list() == ["none: no validation part"]
    assert calibration.p_values(asked.clear()).shape == (0,)


def test_a_table_without_a_needed_column_is_refused_by_name() -> None:
    asked = conditions(np.random.default_rng(9), 3)
    calibration = calibration_of(conditions(np.random.default_rng(9), 30))
    for name in COLUMNS:
        with pytest.raises(SchemaError, match=f"no column '{name}'"):
            calibration.p_values(asked.drop(name))


def test_p_values_do_not_depend_on_how_a_screen_is_cut_into_blocks() -> None:
    generator = np.random.default_rng(10)
    calibration = calibration_of(conditions(generator, 60))
    asked = conditions(generator, 50).sample(fraction=1, shuffle=True, seed=0)
    whole = calibration.p_values(asked)
    pieces = [calibration.p_values(piece) for piece in asked.iter_slices(7)]
    np.testing.assert_array_equal(np.concatenate(pieces), whole)


def test_one_correction_covers_the_calibrated_conditions_and_passes_over_the_others() -> None:
    generator = np.random.default_rng(11)
    p_values: NDArray[np.float64] = generator.random(500) ** 3
    holes = p_values.copy()
    holes[::4] = np.nan
    found = screen_fdr(holes)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(holes))
    np.testing.assert_allclose(found[~np.isnan(found)], false_discovery_control(holes[~np.isnan(holes)]))
    assert hits_at(found) == {level: int((found <= level).sum()) for level in FDR_LEVELS}
    assert len(screen_fdr(np.empty(0))) == 0


def test_the_share_of_inactive_perturbations_weighs_p_values_to_those_of_conformal_selection() -> None:
    rng = np.random.default_rng(5)
    table = pl.DataFrame(
        {
            "cluster": np.arange(100),
            "cell_iname": "A",
            "pert_type": "trt_cp",
            "pert_id": [f"C{number}" for number in range(100)],
            "targets": pl.Series([None] * 100, dtype=pl.String),
            "pert_dose": 1.0,
            "pert_time": 24.0,
            "effect_size": rng.random(100),
            "is_inactive": np.arange(100) < 40,
            "seen_pert": False,
        }
    )
    calibration = HitCalibration(table.select(list(SCHEMA)))
    asked = table.with_columns(effect_size=pl.lit(0.8), is_in_domain=pl.lit(True))
    p_value, share = calibration.significance(asked.head(1))
    above = int((table["effect_size"].to_numpy()[:40] >= 0.8).sum())
    assert p_value[0] == pytest.approx((1 + above) / 41)
    assert p_value[0] * share[0] == pytest.approx((1 + above) / 101)
    text = calibration.stratum_text(asked)[0]
    assert text.endswith(": 40 inactive perturbations of 100") and n_inactive_told(text) == 40
    assert n_inactive_told("none: 7 inactive perturbations, 19 are needed") is None
    several = np.array([0.01, 0.04, np.nan, 0.5])
    weighed = screen_fdr(several, np.full(4, 0.4))
    np.testing.assert_allclose(weighed[[0, 1]], 0.4 * screen_fdr(several)[[0, 1]])
    assert np.isnan(weighed[2])
