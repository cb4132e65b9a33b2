"""Effects that were put in are measured (correlation, TAS, knock-downs), and nothing where nothing is."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl
import pytest
import quality_worlds as worlds
from pertcast_data.quality import measure_quality, report_lines
from pertcast_data.quality.effects import half_correlation, pair_correlation
from pertcast_data.store.densify import normalise_dense

bulk = worlds.bulk
gene_table = worlds.gene_table
knockdowns = worlds.knockdowns
Profiles = worlds.Profiles


def test_the_closed_form_is_the_mean_of_all_pairwise_pearson_correlations() -> None:
    random = np.random.default_rng(0)
    profiles = random.normal(size=(5, 40)) + random.normal(size=40)
    centred = profiles - profiles.mean(axis=1, keepdims=True)
    unit = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    matrix = np.corrcoef(profiles)
    expected = matrix[np.triu_indices(5, 1)].mean()
    assert pair_correlation(unit.sum(axis=0)[None], np.array([5]))[0] == pytest.approx(expected)


def test_spearman_brown_of_halves_is_the_correlation_of_two_whole_means() -> None:
    random = np.random.default_rng(1)
    truth = random.normal(size=20_000)
    cells = truth + random.normal(0, 4, (40, 20_000))
    others = truth + random.normal(0, 4, (40, 20_000))
    found = half_correlation(cells[None, 0::2].mean(axis=1), cells[None, 1::2].mean(axis=1))[0]
    assert found == pytest.approx(np.corrcoef(cells.mean(axis=0), others.mean(axis=0))[0, 1], abs=0.02)


@pytest.mark.parametrize(("signal", "expected"), [(0.5, 0.2), (1.0, 0.5), (2.0, 0.8)])
def test_the_planted_replicate_correlation_is_recovered(signal: float, expected: float) -> None:
    report = bulk(signal=signal).quality().report
    assert report.effects is not None
    (found,) = report.effects.kinds
    assert report.effects.method == "pairs"
    # Effects of variance s^2 under noise of variance 1 correlate by s^2 / (s^2 + 1).
    assert found.measured.correlation.at(0.5) == pytest.approx(expected, abs=0.04)
    assert found.share_beyond_null == pytest.approx(1.0, abs=0.05)


def test_the_null_of_reassigned_rows_and_profiles_without_effect_are_near_zero() -> None:
    strong = bulk(signal=1.0).quality().report.effects
    idle = bulk(signal=0.0).quality().report.effects
    assert strong is not None and idle is not None
    assert strong.kinds[0].null.correlation.mean == pytest.approx(0, abs=0.02)
    assert idle.kinds[0].measured.correlation.mean == pytest.approx(0, abs=0.02)
    assert idle.kinds[0].share_beyond_null is not None
    assert idle.kinds[0].share_beyond_null < 0.2


def test_halves_of_cells_do_not_agree_by_their_shared_controls() -> None:
    cells = knockdowns(n_genes=400, idle=tuple(range(12)), n_cells=200)
    effects = cells.quality().report.effects
    assert effects is not None
    assert effects.method == "halves"
    assert effects.kinds[0].measured.correlation.mean == pytest.approx(0, abs=0.1)


def direct(profiles: Profiles) -> pl.DataFrame:
    """CC, SS and TAS of each condition by the book: loops and numpy.corrcoef."""
    obs = profiles.obs
    control = obs["pert_type"].str.starts_with("ctl").to_numpy()
    values = normalise_dense(profiles.values, profiles.normalisation).astype(np.float64)
    base = values[control].mean(axis=0)
    residuals = values[control] - base
    factor = np.sqrt(control.sum() / (control.sum() - 1))
    spread = 1.4826 * np.median(np.abs(residuals), axis=0) * factor
    spread = np.maximum(spread, np.quantile(spread, 0.1))
    rows = []
    for name in obs.filter(~pl.Series(control))["pert_id"].unique():
        z = (values[(obs["pert_id"] == name).to_numpy()] - base) / spread
        pairs = np.corrcoef(z)[np.triu_indices(len(z), 1)]
        strength = int((np.abs(z.mean(axis=0)) * np.sqrt(len(z)) >= 2).sum())
        activity = np.sqrt(strength * max(pairs.mean(), 0) / z.shape[1])
        rows.append({"pert_id": name, "cc": pairs.mean(), "ss": strength, "expected_tas": activity})
    return pl.DataFrame(rows)


def test_tas_is_that_of_the_formula() -> None:
    profiles = bulk(signal=0.7)
    found = profiles.quality().per_condition.join(direct(profiles), on="pert_id")
    assert found.height == 60
    assert np.allclose(found["replicate_correlation"], found["cc"], atol=1e-4)
    assert np.abs(found["signature_strength"] - found["ss"]).max() <= 1
    assert np.allclose(found["tas"], found["expected_tas"], atol=0.01)


def test_a_knock_down_is_seen_and_a_guide_that_does_nothing_is_named() -> None:
    quality = knockdowns().quality()
    (found,) = quality.report.targets
    assert (found.kind, found.expected, found.n_conditions, found.n_testable) == ("trt_sh", "down", 13, 12)
    assert found.share_seen == pytest.approx(11 / 12)
    assert found.others_seen is not None and found.others_seen < 0.1
    assert found.others_expected == pytest.approx(0.5, abs=0.2)
    assert [example.gene for example in found.worst] == ["GENE3"]
    guides = quality.per_condition.filter(~pl.col("is_control")).select(
        "pert_id", "target_seen", "target_change"
    )
    changes = {name: change for name, seen, change in guides.iter_rows() if seen}
    assert len(changes) == 11
    assert all(change < -1 for change in changes.values()), "a tenth is far below half"
    assert guides.filter(pl.col("pert_id") == "ELSEWHERE")["target_seen"].item() is None


def test_the_own_gene_is_told_against_other_conditions_where_zero_is_not_no_change() -> None:
    random = np.random.default_rng(0)
    offset = random.normal(0, 3, 80)
    values = offset + random.normal(0, 1, (50, 80))
    values[np.arange(50), np.arange(50)] = offset[:50] - 6
    names = [f"GENE{i}" for i in range(50)]
    obs = pl.DataFrame(
        {
            "sig_id": names,
            "cell_iname": "pan",
            "pert_type": "trt_xpr",
            "pert_id": names,
            "targets": names,
        }
    )
    profiles = Profiles(obs, gene_table(80), values.astype(np.float32), "response", "z_score")
    (found,) = profiles.quality().report.targets
    assert found.z_of_others.at(0.5) == pytest.approx(-6, abs=1)
    assert found.share_seen == 1.0
    assert found.others_seen == pytest.approx(0.023, abs=0.02)


@pytest.mark.parametrize("world", [bulk, knockdowns])
@pytest.mark.parametrize("rows", [7, 100, 10_000])
def test_sparse_rows_and_batch_sizes_do_not_change_results(world: Any, rows: int) -> None:
    profiles = world()
    reference, other = profiles.quality(), profiles.quality(rows, "csr")
    assert reference.per_row.drop("total").equals(other.per_row.drop("total"))
    for name in ("replicate_correlation", "tas", "target_z", "target_change"):
        one, two = (each.per_condition[name].cast(pl.Float64).to_numpy() for each in (reference, other))
        assert np.allclose(one, two, atol=2e-2 if name == "tas" else 1e-3, equal_nan=True), name
    texts = [
        each.report.model_dump(exclude={"seconds", "effects", "targets", "values"})
        for each in (reference, other)
    ]
    assert texts[0] == texts[1]


def test_conditions_are_drawn_where_there_are_too_many_and_the_report_says_so() -> None:
    quality = bulk().quality(max_conditions=20)
    assert quality.report.effects is not None
    assert (quality.report.effects.n_measured, quality.report.effects.n_treated) == (20, 60)
    assert quality.per_condition["tas"].count() == 20
    assert any("20 of 60 drawn" in line for line in report_lines(quality.report))
    assert quality.per_condition.equals(bulk().quality(max_conditions=20).per_condition)


def test_memory_does_not_grow_with_rows_or_conditions() -> None:
    def peak(n_conditions: int) -> int:
        n_genes, n_rows = 2_000, 3 * n_conditions
        names = [f"drug{i % n_conditions}" for i in range(n_rows)] + ["DMSO"] * 60
        obs = pl.DataFrame(
            {
                "sig_id": [str(i) for i in range(len(names))],
                "cell_iname": "A375",
                "pert_type": ["trt_cp"] * n_rows + ["ctl_vehicle"] * 60,
                "pert_id": names,
                "batch_id": "plate",
            }
        )

        def batches() -> Iterator[Any]:
            for start in range(0, len(names), 256):
                random = np.random.default_rng(start)
                yield random.normal(8, 1, (min(256, len(names) - start), n_genes)).astype(np.float32)

        tracemalloc.start()
        measure_quality(
            obs, gene_table(n_genes), batches, measure="expression", normalisation="log2_intensity"
        )
        used = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return used

    small, large = peak(1_000), peak(4_000)
    # In memory the sums of 3,000 more conditions and their null would take 2 * 2 * 3,000 * 2,000 * 4 = 96 MB.
    assert large - small < 10e6
    assert large < 60e6
