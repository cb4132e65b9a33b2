"""Metrics of cells equal their formulas, and reach their best value where a prediction is perfect."""

from __future__ import annotations

import tracemalloc
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from pertcast.evaluation.cells.cell_scores import FACTS, CellScores, compare_cells
from pertcast.evaluation.from_store.store_cells import SampledCells, ShiftedControls, StoreCells
from pertcast.evaluation.gene_tests.differential import cell_tests
from pertcast.evaluation.held_out import GeneTests
from pertcast.evaluation.metrics import distribution, get_metric, metrics_of_level
from pertcast.evaluation.metrics.across import ACROSS
from pertcast.evaluation.metrics.cell_pair import CellPair, ControlCells
from pertcast.evaluation.metrics.distribution import Points, squared_distances
from pertcast.evaluation.metrics.gene_lists import average_precision, roc_area, spearman
from pertcast.evaluation.units import lay_out_units
from pertcast_data.errors import SchemaError
from pertcast_data.loading import pair_controls
from pertcast_data.store import create_store
from scipy.optimize import linprog
from scipy.spatial.distance import cdist
from scipy.stats import false_discovery_control, mannwhitneyu, spearmanr

Array = NDArray[Any]
CELL_METRICS = [metric.name for metric in metrics_of_level("cells")]
N, G = 6, 120


@dataclass(frozen=True)
class Populations:
    treated: tuple[Array, ...]
    untreated: tuple[Array, ...]
    control_group: Array

    @property
    def conditions(self) -> pl.DataFrame:
        return pl.DataFrame({"condition_id": [f"c{i}" for i in range(len(self.treated))]})

    @property
    def genes(self) -> tuple[str, ...]:
        return tuple(f"g{j}" for j in range(self.untreated[0].shape[1]))

    def cells(self, condition: int) -> Array:
        return self.treated[condition]

    def controls(self, group: int) -> Array:
        return self.untreated[group]


def draw(generator: np.random.Generator, rates: Array, n: int) -> Array:
    cells: Array = np.log1p(generator.poisson(rates * generator.gamma(8, 1 / 8, (n, 1)))).astype(np.float32)
    return cells


def planted(known: float = 1.0, seed: int = 0, n_cells: int = 60) -> Populations:
    """Cells whose responses are `known` times those of the world; other seeds are other cells of it."""
    world, generator = np.random.default_rng(42), np.random.default_rng(seed)
    rates = world.gamma(1, 1.5, G)
    responses = (
        world.normal(0, 1.2, (N, G)) * (world.random((N, G)) < 0.25) * np.linspace(0.3, 1.5, N)[:, None]
    )
    return Populations(
        treated=tuple(draw(generator, rates * np.exp(known * r), n_cells) for r in responses),
        untreated=(draw(generator, rates, 80), draw(generator, rates, 90)),
        control_group=np.array([1, 0, 1, 0, 0, 1]),
    )


TRUTH = planted()
TESTS = cell_tests(TRUTH)


@pytest.fixture(scope="module")
def scored() -> Mapping[str, CellScores]:
    """Scores of a perfect prediction, of another sample, of half the response and of none."""
    controls = Populations(tuple(TRUTH.untreated[k] for k in TRUTH.control_group), (), TRUTH.control_group)
    predictions = {"perfect": TRUTH, "replicate": planted(1, 1), "half": planted(0.5, 2), "none": controls}
    return {name: compare_cells(TRUTH, cells, TESTS) for name, cells in predictions.items()}


def pair_of(condition: int, predicted: Populations) -> CellPair:
    controls = ControlCells(TRUTH.controls(int(TRUTH.control_group[condition])))
    return CellPair(TRUTH.cells(condition), predicted.cells(condition), controls, TESTS.q_value[condition])


@pytest.mark.parametrize("name", CELL_METRICS)
def test_a_perfect_prediction_reaches_the_declared_best_value(
    name: str, scored: Mapping[str, CellScores]
) -> None:
    values = scored["perfect"].scores[name]
    assert values == pytest.approx(np.full(N, get_metric(name).best), abs=1e-6)


@pytest.mark.parametrize("name", ACROSS)
def test_a_perfect_prediction_is_perfect_over_conditions(name: str, scored: Mapping[str, CellScores]) -> None:
    assert ACROSS[name].score(scored["perfect"].facts) == pytest.approx(1)
    assert ACROSS[name].formula and ACROSS[name].source


POPULATION_SHAPE = ("gene_correlation_similarity", "variance_ratio", "dropout_difference")


@pytest.mark.parametrize("name", [name for name in CELL_METRICS if name not in POPULATION_SHAPE])
def test_a_replicate_beats_half_the_response_which_beats_none(
    name: str, scored: Mapping[str, CellScores]
) -> None:
    """The controls as a prediction call no gene: what is undefined for them counts as uninformative."""
    metric = get_metric(name)
    mean = {}
    for kind in ("replicate", "half", "none"):
        values = scored[kind].scores[name]
        known = values if metric.uninformative is None else np.nan_to_num(values, nan=metric.uninformative)
        mean[kind] = metric.sign * float(known.mean())
    assert mean["replicate"] > mean["half"] > mean["none"]


@pytest.mark.parametrize("name", POPULATION_SHAPE)
def test_the_shape_of_a_population_is_lost_where_every_predicted_cell_is_drawn_gene_by_gene(
    name: str, scored: Mapping[str, CellScores]
) -> None:
    generator = np.random.default_rng(9)
    flat = [
        (cells.mean(axis=0) + generator.normal(0, 0.05, cells.shape)).astype(np.float32)
        for cells in TRUTH.treated
    ]
    wrong = compare_cells(TRUTH, replace(TRUTH, treated=tuple(flat)), TESTS, metrics=[get_metric(name)])
    sign = get_metric(name).sign
    assert (sign * scored["replicate"].scores[name] > sign * wrong.scores[name]).all()


def test_effect_sizes_and_counts_of_half_the_response_follow_the_truth(
    scored: Mapping[str, CellScores],
) -> None:
    facts = scored["half"].facts
    assert set(facts) == set(FACTS)
    assert (facts["predicted_e_distance"] < facts["true_e_distance"])[2:].all()
    assert all(metric.score(facts) > 0.5 for metric in ACROSS.values())
    golden = np.corrcoef(facts["true_e_distance"], facts["predicted_e_distance"])[0, 1]
    assert ACROSS["pearson_edistance"].score(facts) == pytest.approx(golden, abs=1e-9)
    counts = [facts[f"{who}_significant_genes"] for who in ("true", "predicted")]
    some = counts[0] > 0
    assert ACROSS["de_spearman_sig"].score(facts) == pytest.approx(
        spearmanr(counts[0][some], counts[1][some]).statistic
    )


def significant(cells: Array, controls: Array) -> tuple[Array, Array]:
    """Return q values and log2 fold changes."""
    p = mannwhitneyu(cells.astype(float), controls.astype(float), axis=0, method="asymptotic").pvalue
    means = [np.expm1(each.astype(float).mean(axis=0)) for each in (cells, controls)]
    with np.errstate(divide="ignore"):
        change = np.log2(means[0] / means[1])
    return false_discovery_control(p), change


def test_lists_of_genes_are_compared_as_by_a_plain_loop(scored: Mapping[str, CellScores]) -> None:
    half = planted(0.5, 2)
    for i in range(N):
        controls = TRUTH.controls(int(TRUTH.control_group[i]))
        (true_q, true), (said_q, said) = (significant(c.cells(i), controls) for c in (TRUTH, half))
        lists = [
            [j for j in sorted(range(G), key=lambda j, x=change: -abs(x[j])) if q[j] < 0.05]
            for q, change in ((true_q, true), (said_q, said))
        ]
        scores = {name: values[i] for name, values in scored["half"].scores.items()}
        k = len(lists[0])
        assert scores["overlap_at_N"] == pytest.approx(len(set(lists[0]) & set(lists[1][:k])) / k)
        m = len(lists[1])
        expected = len(set(lists[0][:m]) & set(lists[1])) / m if m else 0
        assert scores["precision_at_N"] == pytest.approx(expected)
        assert scores["de_sig_genes_recall"] == pytest.approx(len(set(lists[0]) & set(lists[1])) / k)
        signs = np.mean([np.sign(true[j]) == np.sign(said[j]) for j in lists[0]])
        assert scores["de_direction_match"] == pytest.approx(signs)
        rho = spearmanr(true[lists[0]], said[lists[0]]).statistic
        assert scores["de_spearman_lfc_sig"] == pytest.approx(rho, nan_ok=True)
        evidence = -np.log10(np.clip(said_q, 1e-10, 1))
        above = [
            (evidence[a] > evidence[b]) + 0.5 * (evidence[a] == evidence[b])
            for a in lists[0]
            for b in set(range(G)) - set(lists[0])
        ]
        assert scores["roc_auc"] == pytest.approx(np.mean(above), abs=1e-3)


def test_average_precision_counts_ties_as_one_threshold() -> None:
    positive = np.array([True, False, True, False, True])
    score = np.array([3.0, 2.0, 2.0, 1.0, 0.0])
    golden = 1 / 3 * 1 + 1 / 3 * (2 / 3) + 1 / 3 * (3 / 5)
    assert average_precision(positive, score) == pytest.approx(golden)
    assert roc_area(positive, score) == pytest.approx((2 + 1.5 + 0) / 6)
    assert np.isnan(average_precision(positive[:1], score[:1])) and np.isnan(
        roc_area(positive[:1], score[:1])
    )
    assert np.isnan(spearman(np.ones(4), score[:4]))


def test_where_no_gene_responds_only_distances_are_defined() -> None:
    nothing = GeneTests(np.zeros((N, G)), np.ones((N, G)), "none")
    scores = compare_cells(TRUTH, planted(1, 1), nothing).scores
    defined = {name for name, values in scores.items() if not np.isnan(values).any()}
    assert defined == {
        "e_distance", "mmd", "sinkhorn", "variance_ratio", "gene_correlation_similarity", "dropout_difference"
    }  # fmt: skip


def mean_distance(x: Array, y: Array) -> float:
    return float(cdist(x.astype(float), y.astype(float)).mean())


def test_energy_distances_equal_their_formulas(scored: Mapping[str, CellScores]) -> None:
    half = planted(0.5, 2)
    for i in range(N):
        x, y = TRUTH.cells(i), half.cells(i)
        c = TRUTH.controls(int(TRUTH.control_group[i]))
        golden = 2 * mean_distance(x, y) - mean_distance(x, x) - mean_distance(y, y)
        assert scored["half"].scores["e_distance"][i] == pytest.approx(golden, abs=1e-6)
        effect = 2 * mean_distance(y, c) - mean_distance(y, y) - mean_distance(c, c)
        assert scored["half"].facts["predicted_e_distance"][i] == pytest.approx(effect, abs=1e-6)


def test_the_kernel_discrepancy_equals_its_formula() -> None:
    half = planted(0.5, 2)
    x, y = TRUTH.cells(3).astype(float), half.cells(3).astype(float)
    among = cdist(x, x, "sqeuclidean")
    scale = np.median(among[np.triu_indices(len(x), 1)])
    golden = np.mean(
        [
            sum(
                sign * np.exp(-cdist(a, b, "sqeuclidean") / (2 * width * scale)).mean()
                for a, b, sign in ((x, x, 1), (y, y, 1), (x, y, -2))
            )
            for width in (0.25, 0.5, 1, 2, 4)
        ]
    )
    assert get_metric("mmd").score(pair_of(3, half)) == pytest.approx(golden, abs=1e-7)


def exact_transport(cost: Array) -> float:
    n, m = cost.shape
    rows = np.kron(np.eye(n), np.ones(m))
    columns = np.kron(np.ones(n), np.eye(m))
    marginals = np.r_[np.full(n, 1 / n), np.full(m, 1 / m)]
    found = linprog(cost.ravel(), A_eq=np.r_[rows, columns], b_eq=marginals)
    return float(found.fun)


def test_transport_with_little_smoothing_is_exact_transport() -> None:
    generator = np.random.default_rng(4)
    cost = cdist(generator.normal(0, 1, (9, 3)), generator.normal(1, 2, (7, 3)), "sqeuclidean")
    assert distribution.transport_cost(cost, 0.02) == pytest.approx(exact_transport(cost), rel=0.02)
    far = cost + 1e6
    assert distribution.transport_cost(far, 0.02) == pytest.approx(exact_transport(cost) + 1e6, abs=0.1)


def test_smoothed_transport_equals_its_primal_problem() -> None:
    """The dual value equals <P, cost> + s KL(P, uniform) at the coupling that plain Sinkhorn converges to."""
    generator = np.random.default_rng(4)
    cost = cdist(generator.normal(0, 1, (9, 3)), generator.normal(1, 2, (7, 3)), "sqeuclidean")
    smoothing = 0.5 * np.median(cost)
    kernel = np.exp(-cost / smoothing)
    u, v = np.ones(9), np.ones(7)
    for _ in range(5000):
        u = (1 / 9) / (kernel @ v)
        v = (1 / 7) / (kernel.T @ u)
    coupling = u[:, None] * kernel * v
    golden = (coupling * cost).sum() + smoothing * (coupling * np.log(coupling * 63)).sum()
    assert distribution.transport_cost(cost, smoothing) == pytest.approx(golden, rel=1e-6)


def test_two_samples_of_one_population_are_near_in_transport() -> None:
    generator = np.random.default_rng(0)
    x, y = (Points.of(generator.normal(0, 1, (100, 800)).astype(np.float32)) for _ in range(2))
    apart = Points.of(x.cells + np.float32(0.5))
    smoothing = distribution.SINKHORN_SMOOTHING * 1600

    def divergence(other: Points) -> float:
        parts = (squared_distances(x, other), squared_distances(x, x), squared_distances(other, other))
        return distribution.sinkhorn_divergence(*parts, smoothing)

    assert divergence(y) < 0.5 * divergence(apart)
    assert divergence(apart) == pytest.approx(800 * 0.25, rel=0.1)


def test_a_gene_that_varies_by_rounding_alone_does_not_count_for_the_correlation_similarity() -> None:
    x, y = np.random.default_rng(3).normal(size=(2, 60, 6)).astype(np.float32)
    still = np.full((60, 1), 5.0, np.float32)
    still[0] += np.float32(1e-6)
    with np.errstate(all="raise"):
        found = distribution.correlation_similarity(np.hstack([x, still]), np.hstack([y, y[:, :1]]))
    assert found == pytest.approx(distribution.correlation_similarity(x, y))


def test_correlation_similarity_equals_the_correlation_of_gene_by_gene_matrices() -> None:
    generator = np.random.default_rng(0)
    mixing = generator.normal(0, 1, (12, 12))
    x, y = (generator.normal(0, 1, (k, 12)) @ mixing for k in (50, 40))
    x[:, 3], y[:, 7] = 1.0, 2.0
    varying = [j for j in range(12) if j not in (3, 7)]
    upper = np.triu_indices(10, 1)
    golden = np.corrcoef(*(np.corrcoef(z[:, varying].T)[upper] for z in (x, y)))[0, 1]
    found = distribution.correlation_similarity(x.astype(np.float32), y.astype(np.float32))
    assert found == pytest.approx(golden, abs=1e-5)
    assert np.isnan(distribution.correlation_similarity(np.ones((4, 5), np.float32), y[:, :5]))


def test_variances_and_dropout_equal_their_formulas() -> None:
    x = np.array([[0, 1, 2, 5], [0, 3, 2, 1]], np.float32)
    y = np.array([[1, 1, 2, 0], [3, 2, 4, 0]], np.float32)
    assert distribution.variance_agreement(x, y) == pytest.approx((0.25 + 0) / 2)
    assert distribution.dropout_difference(x, y) == pytest.approx((1 + 0 + 0 + 1) / 4)


def test_no_more_cells_than_said_are_paired_and_the_draw_is_seeded(monkeypatch: pytest.MonkeyPatch) -> None:
    half = planted(0.5, 2)
    whole = compare_cells(TRUTH, half, TESTS)
    assert whole.remarks == ()
    monkeypatch.setattr("pertcast.evaluation.metrics.cell_pair.MOST_PAIRED", 30)
    monkeypatch.setattr("pertcast.evaluation.cells.cell_scores.MOST_PAIRED", 30)
    first, second, other = (compare_cells(TRUTH, half, TESTS, seed=seed) for seed in (0, 0, 1))
    assert "at most 30 cells each" in first.remarks[0]
    assert first.scores["e_distance"].tolist() == second.scores["e_distance"].tolist()
    assert first.scores["e_distance"].tolist() != other.scores["e_distance"].tolist()
    assert first.scores["overlap_at_N"].tolist() == whole.scores["overlap_at_N"].tolist()


def test_cells_that_cannot_be_scored_are_refused_by_the_name_of_their_condition() -> None:
    holes = [cells.copy() for cells in TRUTH.treated]
    holes[2][5, 7] = np.nan
    with pytest.raises(SchemaError, match=r"'c2'.*cell 5, gene number 7"):
        compare_cells(TRUTH, replace(TRUTH, treated=tuple(holes)), TESTS)
    with pytest.raises(SchemaError, match="120 genes"):
        compare_cells(TRUTH, SampledCells(lambda i: np.zeros((0, G))), TESTS)
    with pytest.raises(SchemaError, match="over the truth's genes"):
        ShiftedControls(TRUTH, np.zeros((N, 3)))


def test_shifted_controls_have_the_predicted_mean_where_nothing_is_clipped() -> None:
    response = np.full((N, G), 0.5)
    shifted = ShiftedControls(TRUTH, response)
    for i in range(N):
        controls, cells = TRUTH.controls(int(TRUTH.control_group[i])), shifted.cells(i)
        assert cells.shape == TRUTH.cells(i).shape
        found = cells[:, None, :] - np.float32(0.5)
        assert np.isclose(found[:3], controls[None], atol=1e-6).all(axis=2).any(axis=1).all()
    clipped = ShiftedControls(TRUTH, -9 * np.ones((N, G))).cells(0)
    assert (clipped == 0).all()
    assert (ShiftedControls(TRUTH, response).cells(1) == shifted.cells(1)).all()


def test_memory_is_bounded_by_one_condition() -> None:
    """Conditions come one at a time: five times as many need no more memory."""
    generator = np.random.default_rng(0)
    controls = generator.normal(1, 1, (60, 300)).astype(np.float32)

    class Made:
        genes = tuple(map(str, range(300)))

        def __init__(self, n: int) -> None:
            self.conditions = pl.DataFrame({"condition_id": [str(i) for i in range(n)]})
            self.control_group = np.zeros(n, dtype=np.int64)

        def cells(self, condition: int) -> Array:
            return np.random.default_rng(condition).normal(1, 1, (60, 300)).astype(np.float32)

        def controls(self, group: int) -> Array:
            return controls

    peaks = []
    for n in (2, 10):
        made = Made(n)
        tracemalloc.start()
        compare_cells(made, made, cell_tests(made))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]


def test_cells_of_a_store_come_with_the_controls_of_their_plates(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    plan = [("a", "p1", 5), ("a", "p2", 3), ("b", "p1", 4), (None, "p1", 6), (None, "p2", 7)]
    rows = [(compound, plate) for compound, plate, n in plan for _ in range(n)]
    counts = generator.poisson(2.0, (len(rows), 8)).astype(np.float32)
    obs = pl.DataFrame(
        {
            "pert_type": ["trt_cp" if c else "ctl_vehicle" for c, _ in rows],
            "pert_id": [c or "DMSO" for c, _ in rows],
            "cmap_name": [c or "DMSO" for c, _ in rows],
            "canonical_smiles": [{"a": "CCO", "b": "CCN"}.get(c or "") for c, _ in rows],
            "pert_dose": [1.0 if c else None for c, _ in rows],
            "pert_time": [24.0] * len(rows),
            "cell_iname": ["x"] * len(rows),
            "batch_id": [plate for _, plate in rows],
        }
    )
    store = create_store(
        tmp_path / "store",
        obs=obs,
        var=pl.DataFrame({"gene_symbol": [f"g{j}" for j in range(8)]}),
        batches=[np.log1p(counts)],
        measure="expression",
        normalisation="log2_intensity",
    )
    pairing, reader = pair_controls(store), store.reader()
    units = lay_out_units(store, np.flatnonzero(~store.is_control), pairing)
    cells = StoreCells(store, reader, units, pairing)
    order = [cells.conditions["pert_id"].to_list().index(c) for c in "ab"]
    assert [len(cells.cells(i)) for i in order] == [8, 4]
    assert [len(cells.controls(int(cells.control_group[i]))) for i in order] == [13, 6]
    both = reader.dense(np.flatnonzero(store.is_control))
    assert (cells.controls(int(cells.control_group[order[0]])) == both).all()
    few = StoreCells(store, reader, units, pairing, most_cells=5, most_controls=4)
    assert [len(few.cells(i)) for i in order] == [5, 4]
    assert len(few.controls(0)) == 4 and "at most 5 a condition" in few.remarks[0]
    assert (few.cells(order[0]) == few.cells(order[0])).all() and cells.remarks == ()
    assert set(compare_cells(cells, cells, cell_tests(cells)).scores) == set(CELL_METRICS)
