"""Tests of genes equal their references and keep their promises under the null."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pertcast.evaluation.from_store import replicates
from pertcast.evaluation.from_store.replicates import pseudobulk_tests, replicate_tests
from pertcast.evaluation.gene_tests.differential import cell_tests
from pertcast.evaluation.gene_tests.fold_change import log_fold_change
from pertcast.evaluation.gene_tests.moderated import fit_prior, inverse_trigamma, moderated_t
from pertcast.evaluation.gene_tests.rank_sum import RankSum, SortedPopulation
from pertcast.evaluation.units import Units
from pertcast_data.loading import ControlPairing
from scipy import stats
from scipy.optimize import brentq
from scipy.special import digamma, polygamma

Array = NDArray[Any]


def sparse_cells(generator: np.random.Generator, n: int, g: int, rate: float = 0.6) -> Array:
    cells: Array = np.log1p(generator.poisson(rate, (n, g))).astype(np.float32)
    return cells


def rank_sum(cells: Array, controls: Array) -> RankSum:
    return SortedPopulation(cells).test_against(SortedPopulation(controls))


def by_scipy(cells: Array, controls: Array) -> Any:
    return stats.mannwhitneyu(cells.astype(float), controls.astype(float), method="asymptotic", axis=0)


KINDS = {
    "counts with many ties": lambda r, n, g: sparse_cells(r, n, g),
    "dense without ties": lambda r, n, g: r.normal(0, 1, (n, g)).astype(np.float32),
    "rounded, of both signs": lambda r, n, g: np.round(r.normal(0, 1, (n, g)), 1).astype(np.float32),
    "negative only": lambda r, n, g: -r.exponential(1, (n, g)).astype(np.float32),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("n", "m"), [(40, 90), (1, 5), (3, 2), (120, 30)])
def test_rank_sums_equal_scipy(kind: str, n: int, m: int) -> None:
    generator = np.random.default_rng(n)
    cells, controls = KINDS[kind](generator, n, 50), KINDS[kind](generator, m, 50)
    cells[:, 0], controls[:, 0] = 0, 0
    cells[:, 1], controls[:, 1] = 0, 1
    cells[:, 2], controls[:, 2] = -0.0, 0.0
    cells[:, 3], controls[:, 3] = 2.5, 2.5
    tested, golden = rank_sum(cells, controls), by_scipy(cells, controls)
    assert tested.u == pytest.approx(golden.statistic, abs=1e-9)
    assert tested.p_value == pytest.approx(golden.pvalue, abs=1e-9, rel=1e-9)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 12), m=st.integers(1, 12), levels=st.integers(1, 5))
def test_rank_sums_of_few_cells_with_few_levels_equal_scipy(seed: int, n: int, m: int, levels: int) -> None:
    generator = np.random.default_rng(seed)
    cells, controls = (generator.integers(-levels, levels + 1, (k, 8)).astype(np.float32) for k in (n, m))
    tested, golden = rank_sum(cells, controls), by_scipy(cells, controls)
    assert tested.u == pytest.approx(golden.statistic, abs=1e-9)
    assert tested.p_value == pytest.approx(golden.pvalue, abs=1e-9)


def test_the_sign_of_a_rank_sum_says_which_way_a_gene_moved() -> None:
    generator = np.random.default_rng(0)
    controls = generator.normal(0, 1, (60, 3)).astype(np.float32)
    cells = controls[:50] + np.array([2, -2, 0], np.float32)
    z = rank_sum(cells, controls).z
    assert z[0] > 5 and z[1] < -5 and abs(z[2]) < 1
    assert 2 * stats.norm.sf(np.abs(z)) == pytest.approx(rank_sum(cells, controls).p_value, rel=1e-9)


def test_genes_without_any_expression_are_no_evidence() -> None:
    tested = rank_sum(np.zeros((20, 4), np.float32), np.zeros((30, 4), np.float32))
    assert tested.p_value.tolist() == [1.0] * 4 and tested.z.tolist() == [0.0] * 4
    empty = rank_sum(np.zeros((0, 4), np.float32), np.zeros((30, 4), np.float32))
    assert np.isnan(empty.p_value).all()


def test_rank_sums_without_effect_have_uniform_p_values() -> None:
    generator = np.random.default_rng(5)
    p = rank_sum(*(generator.normal(0, 1, (k, 4000)).astype(np.float32) for k in (60, 100))).p_value
    assert stats.kstest(p, "uniform").pvalue > 0.01


def test_fold_changes_are_of_means_without_logarithm_and_nothing_is_added() -> None:
    change = log_fold_change(np.log1p(np.array([4.0, 1, 0, 0, 3])), np.log1p(np.array([2.0, 4, 0, 1, 0])))
    assert change.tolist() == pytest.approx([1, -2, 0, -np.inf, np.inf])


@dataclass
class Populations:
    conditions: pl.DataFrame
    genes: tuple[str, ...]
    control_group: Array
    treated: list[Array]
    untreated: list[Array]

    def cells(self, condition: int) -> Array:
        return self.treated[condition]

    def controls(self, group: int) -> Array:
        return self.untreated[group]


def test_cells_are_tested_against_the_controls_of_their_own_group() -> None:
    generator = np.random.default_rng(2)
    measured = Populations(
        conditions=pl.DataFrame({"condition_id": ["a", "b", "c"]}),
        genes=tuple("ABCDEFGH"),
        control_group=np.array([1, 0, 1]),
        treated=[sparse_cells(generator, n, 8, 2) for n in (20, 30, 25)],
        untreated=[sparse_cells(generator, 40, 8, rate) for rate in (1, 3)],
    )
    tests = cell_tests(measured)
    for i, group in enumerate([1, 0, 1]):
        golden = by_scipy(measured.treated[i], measured.untreated[group]).pvalue
        assert tests.q_value[i] == pytest.approx(stats.false_discovery_control(golden), rel=1e-6)
    assert (tests.statistic[1] > 0).all() and (tests.statistic[0] < 0).all()
    assert "not independent" in tests.method


class Rows:
    """Profiles in memory, as a reader."""

    is_in_memory = True

    def __init__(self, values: Array) -> None:
        self.values = values.astype(np.float32)

    def dense(self, rows: Array) -> Array:
        return self.values[rows]

    def raw(self, rows: Array) -> Array:
        return self.values[rows]

    def announce(self, rows: Array) -> None:
        pass


@dataclass
class Screen:
    """Conditions of treated profiles on plates with their own controls."""

    units: Units
    reader: Rows
    pairing: ControlPairing
    means: Array

    @property
    def n_genes(self) -> int:
        return int(self.means.shape[1])


def screen(
    replicates_of: list[list[int]], n_controls: list[int], g: int, effect: Array, seed: int = 0
) -> Screen:
    """`replicates_of[condition][plate]` treated profiles; controls first, plate effects on all."""
    generator = np.random.default_rng(seed)
    sd = np.sqrt(4 * 0.3 / generator.chisquare(4, g))
    plates = generator.normal(0, 3, (len(n_controls), g))
    blocks = [plates[k] + sd * generator.normal(0, 1, (m, g)) for k, m in enumerate(n_controls)]
    filled = [(c, k, n) for c, counts in enumerate(replicates_of) for k, n in enumerate(counts) if n]
    condition, plate, n_rows = (np.asarray(column) for column in zip(*filled, strict=True))
    blocks += [plates[k] + effect[c] + sd * generator.normal(0, 1, (n, g)) for c, k, n in filled]
    values = np.concatenate(blocks)
    group_of_control = np.repeat(np.arange(len(n_controls)), n_controls)
    unit_of_row = np.repeat(np.arange(len(n_rows)), n_rows)
    rows = np.arange(len(values))
    group_of_row = np.r_[group_of_control, plate[unit_of_row]].astype(np.int32)
    controls = rows < len(group_of_control)
    means = np.stack([values[controls][group_of_control == k].mean(axis=0) for k in range(len(n_controls))])
    units = Units(
        conditions=pl.DataFrame({"condition_id": [f"c{i}" for i in range(len(replicates_of))]}),
        table=pl.DataFrame({"batch_id": [f"b{k}" for k in plate]}),
        rows=rows[~controls],
        unit_of_row=unit_of_row,
        condition=condition,
        n_rows=n_rows,
        control_group=plate,
    )
    pairing = ControlPairing(
        group_of_row=group_of_row,
        level_of_row=np.zeros(len(rows), np.int8),
        level_names=("batch",),
        control_rows=rows[controls],
        group_of_control=group_of_control.astype(np.int32),
        n_groups=len(n_controls),
        contexts=pl.Series(["x"] * len(rows)),
        is_control=controls,
    )
    return Screen(units, Rows(values), pairing, means.astype(np.float32))


def shrunk(variance: Array, d: float) -> tuple[Array, float]:
    """Smyth (2004), section 6.2: posterior variances and the prior's freedom, found by bisection."""
    e = np.log(variance) - digamma(d / 2) + np.log(d / 2)
    excess = e.var(ddof=1) - polygamma(1, d / 2)
    if excess <= 0:
        return np.full(len(variance), np.exp(e.mean())), np.inf
    d0 = 2 * brentq(lambda y: polygamma(1, y) - excess, 1e-6, 1e6, xtol=1e-13)
    s0 = np.exp(e.mean() + digamma(d0 / 2) - np.log(d0 / 2))
    return (d0 * s0 + d * variance) / (d0 + d), d0


def test_the_inverse_of_trigamma_inverts_it() -> None:
    value = np.array([1e-6, 0.01, 0.5, 1.6, 30, 1e5])
    assert polygamma(1, inverse_trigamma(value)) == pytest.approx(value, rel=1e-8)


def test_the_prior_of_variances_is_recovered_from_many_genes() -> None:
    generator = np.random.default_rng(0)
    d0, s0, d = 6.0, 0.7, 4.0
    true = d0 * s0 / generator.chisquare(d0, 40_000)
    variance = true * generator.chisquare(d, 40_000) / d
    found_d0, found_s0 = fit_prior(variance[None], np.array([d]))
    assert found_d0[0] == pytest.approx(d0, rel=0.1)
    assert found_s0[0] == pytest.approx(s0, rel=0.03)
    alike = s0 * generator.chisquare(d, 4000) / d
    assert fit_prior(alike[None], np.array([d]))[0][0] > 40


def test_a_moderated_t_is_the_effect_over_the_shrunken_deviation() -> None:
    generator = np.random.default_rng(1)
    variance = 0.5 * 5 / generator.chisquare(5, 300) * generator.chisquare(3, 300) / 3
    effect = generator.normal(0, 1, 300)
    found = moderated_t(effect[None], np.array([0.4]), variance[None], np.array([3.0]))
    posterior, d0 = shrunk(variance, 3)
    t = effect / np.sqrt(posterior * 0.4)
    assert found.statistic[0] == pytest.approx(t, rel=1e-7)
    assert found.p_value[0] == pytest.approx(2 * stats.t.sf(np.abs(t), d0 + 3), rel=1e-6)


def test_replicates_are_tested_against_their_plates_controls_by_a_linear_model() -> None:
    """The estimates equal least squares on plate and condition columns, variance pooled over all its rows."""
    effect = np.random.default_rng(7).normal(0, 1, (1, 40))
    data = screen([[2, 2]], [5, 5], 40, effect)
    tests = replicate_tests(data.units, data.reader, data.pairing, data.means, 40)
    assert tests is not None
    y = data.reader.values.astype(float)
    plate = np.repeat([0, 1, 0, 1], [5, 5, 2, 2])
    treated = np.repeat([0.0, 1.0], [10, 4])
    design = np.column_stack([plate == 0, plate == 1, treated]).astype(float)
    fit = np.linalg.lstsq(design, y, rcond=None)[0]
    controls = y[:10] - np.stack([y[:5].mean(axis=0), y[5:10].mean(axis=0)])[plate[:10]]
    response = y[10:] - np.stack([y[:5].mean(axis=0), y[5:10].mean(axis=0)])[plate[10:]]
    squares = np.square(controls).sum(axis=0) + np.square(response - response.mean(axis=0)).sum(axis=0)
    posterior, _ = shrunk(squares / 11, 11)
    t = fit[2] / np.sqrt(posterior * np.linalg.inv(design.T @ design)[2, 2])
    assert tests.statistic[0] == pytest.approx(t, rel=1e-4, abs=1e-4)


def test_replicates_without_effect_have_uniform_p_values_and_call_nothing() -> None:
    data = screen([[3], [4], [2]], [8], 3000, np.zeros((3, 3000)))
    tests = replicate_tests(data.units, data.reader, data.pairing, data.means, 3000)
    assert tests is not None
    assert np.nanmin(tests.q_value) > 0.05
    for row, n in zip(tests.statistic.astype(float), (3, 4, 2), strict=True):
        p = 2 * stats.t.sf(np.abs(row), n + 6 + 4)
        assert stats.kstest(p, "uniform").statistic < 0.04


def test_genes_that_respond_are_found_with_the_right_sign() -> None:
    effect = np.zeros((2, 500))
    effect[:, :50], effect[:, 50:100] = 4, -4
    data = screen([[3, 0], [2, 2]], [6, 6], 500, effect)
    tests = replicate_tests(data.units, data.reader, data.pairing, data.means, 500)
    assert tests is not None and "Smyth" in tests.method
    called = tests.q_value < 0.05
    assert called[:, :100].mean() > 0.8 and called[:, 100:].mean() < 0.02
    assert (tests.statistic[:, :50] > 0).all() and (tests.statistic[:, 50:100] < 0).all()


def test_responses_without_controls_are_tested_against_zero() -> None:
    data = screen([[4]], [3], 60, np.full((1, 60), 0.5))
    tests = replicate_tests(data.units, data.reader, None, None, 60)
    assert tests is not None
    y = data.reader.values[3:].astype(float)
    posterior, _ = shrunk(y.var(axis=0, ddof=1), 3)
    assert tests.statistic[0] == pytest.approx(y.mean(axis=0) / np.sqrt(posterior / 4), rel=1e-4)


def test_single_profiles_are_not_tested_and_alone_there_are_no_tests() -> None:
    mixed = screen([[1], [3]], [4], 20, np.zeros((2, 20)))
    tests = replicate_tests(mixed.units, mixed.reader, mixed.pairing, mixed.means, 20)
    assert tests is not None
    assert np.isnan(tests.q_value[0]).all() and not np.isnan(tests.q_value[1]).any()
    alone = screen([[1], [1]], [4], 20, np.zeros((2, 20)))
    assert replicate_tests(alone.units, alone.reader, alone.pairing, alone.means, 20) is None


def test_small_blocks_give_the_same_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    data = screen([[2, 1], [3, 0], [2, 2], [0, 4]], [4, 5], 30, np.zeros((4, 30)))
    whole = replicate_tests(data.units, data.reader, data.pairing, data.means, 30)
    monkeypatch.setattr(replicates, "BLOCK_BYTES", 1)
    parts = replicate_tests(data.units, data.reader, data.pairing, data.means, 30)
    assert whole is not None and parts is not None
    assert parts.statistic == pytest.approx(whole.statistic)
    assert parts.q_value == pytest.approx(whole.q_value)


def test_pseudobulks_count_batches_and_not_cells() -> None:
    """Cells share the response of their batch: cells find it everywhere, batches only where it repeats."""
    generator = np.random.default_rng(3)
    g, effect = 200, np.zeros((1, 200))
    effect[0, :20] = 3
    data = screen([[30, 30, 30, 30]], [40] * 4, g, effect)
    for k in range(4):
        rows = 160 + 30 * k + np.arange(30)
        data.reader.values[rows] += generator.normal(0, 0.8, g).astype(np.float32)
    by_batch = pseudobulk_tests(data.units, data.reader, data.means, g)
    by_cell = replicate_tests(data.units, data.reader, data.pairing, data.means, g)
    assert by_batch is not None and by_cell is not None
    false_by_batch = (by_batch.q_value[0, 20:] < 0.05).mean()
    false_by_cell = (by_cell.q_value[0, 20:] < 0.05).mean()
    assert false_by_batch < 0.03 < 0.3 < false_by_cell
    assert (by_batch.q_value[0, :20] < 0.05).mean() > 0.5
    values = data.reader.values.astype(float)
    batches = np.stack(
        [
            values[160 + 30 * k : 190 + 30 * k].mean(axis=0) - values[40 * k : 40 * k + 40].mean(axis=0)
            for k in range(4)
        ]
    )
    posterior, _ = shrunk(batches.var(axis=0, ddof=1), 3)
    golden = batches.mean(axis=0) / np.sqrt(posterior / 4)
    assert by_batch.statistic[0] == pytest.approx(golden, rel=1e-3, abs=1e-3)


def test_batches_that_share_their_controls_are_one_sample() -> None:
    data = screen([[5], [6]], [8], 20, np.zeros((2, 20)))
    assert pseudobulk_tests(data.units, data.reader, data.means, 20) is None
    assert pseudobulk_tests(data.units, data.reader, None, 20) is None
