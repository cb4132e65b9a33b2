"""Metrics of responding genes equal plain loops over conditions, also with ties and empty lists."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from pertcast.evaluation.held_out import GeneTests, HeldOut
from pertcast.evaluation.metrics import get_metric
from pertcast.evaluation.metrics.gene_rows import mean_ranks
from pertcast.evaluation.metrics.responders import responders_overlap
from scipy.stats import rankdata, spearmanr

Array = NDArray[Any]
N, G = 24, 40
SIGNIFICANT = 0.05


def first(size: Array, genes: Array, k: int) -> set[int]:
    return set(sorted(genes.tolist(), key=lambda gene: (-size[gene], gene))[:k])


def overlap(y: Array, x: Array, responding: Array, most: int = G) -> float:
    genes = np.flatnonzero(responding)
    k = min(most, len(genes))
    return len(first(np.abs(x), genes, k) & first(np.abs(y), np.arange(G), k)) / k


def direction_match(y: Array, x: Array, responding: Array) -> float:
    return float(np.mean([np.sign(y[g]) == np.sign(x[g]) for g in np.flatnonzero(responding)]))


def spearman(y: Array, x: Array, responding: Array) -> float:
    y, x = y[responding], x[responding]
    varies = len(y) > 1 and min(np.ptp(y), np.ptp(x)) > 0
    return float(spearmanr(y, x).statistic) if varies else np.nan


def roc_auc(y: Array, x: Array, responding: Array) -> float:
    if responding.all():
        return np.nan
    gap = np.abs(y[responding])[:, None] - np.abs(y[~responding])[None, :]
    return float((gap > 0).mean() + 0.5 * (gap == 0).mean())


def pr_auc(y: Array, x: Array, responding: Array) -> float:
    if responding.all():
        return np.nan
    size, total, before = np.abs(y), 0.0, 0
    for threshold in sorted(set(size.tolist()), reverse=True):
        called = size >= threshold
        hits = int((called & responding).sum())
        total += (hits - before) * hits / called.sum()
        before = hits
    return total / responding.sum()


LOOPS = {
    "overlap_at_N": overlap,
    "direction_match": direction_match,
    "spearman": spearman,
    "roc_auc": roc_auc,
    "pr_auc": pr_auc,
}


def conditions(has_ties: bool) -> tuple[HeldOut, Array]:
    """Conditions with few, many, one, all and no responding genes; a prediction that is constant twice."""
    generator = np.random.default_rng(0)
    truth = generator.normal(0, 2, (N, G))
    prediction = truth + generator.normal(0, 2, (N, G))
    q_value = generator.random((N, G)) * np.linspace(0.06, 0.5, N)[:, None]
    q_value[3:6] = 1.0
    q_value[4, 7] = 0.0
    q_value[5] = np.nan
    q_value[6] = 0.0
    prediction[8], prediction[9] = 0.0, 0.3
    if has_ties:
        truth, prediction = np.round(truth), np.round(prediction)
    held = HeldOut(
        conditions=pl.DataFrame({"condition_id": [f"c{i}" for i in range(N)]}),
        genes=tuple(f"g{i}" for i in range(G)),
        truth=truth.astype(np.float32),
        control=np.zeros((N, G)),
        train_perturbed_mean=np.zeros((1, G)),
        train_mean_index=np.zeros(N, dtype=np.int64),
        pool=np.zeros(N, dtype=np.int64),
        cluster=np.arange(N),
        own_gene=np.empty((N, 0), dtype=np.int64),
        tests=GeneTests(truth, q_value, "planted"),
    )
    return held, prediction


@pytest.mark.parametrize("has_ties", [False, True])
@pytest.mark.parametrize("name", LOOPS)
def test_metrics_of_responding_genes_equal_plain_loops(name: str, has_ties: bool) -> None:
    held, prediction = conditions(has_ties)
    assert held.tests is not None
    responding = held.tests.q_value < SIGNIFICANT
    golden = [
        LOOPS[name](y, x.astype(np.float64), r) if r.any() else np.nan
        for y, x, r in zip(prediction, held.truth, responding, strict=True)
    ]
    found = get_metric(f"responders_{name}").score(prediction, held)
    assert found == pytest.approx(np.array(golden), abs=1e-12, nan_ok=True)
    assert np.isnan(found[[3, 5]]).all()


@pytest.mark.parametrize("most", [1, 4])
def test_lists_are_cut_at_their_depth(most: int) -> None:
    held, prediction = conditions(True)
    wide = replace(held, tests=GeneTests(held.truth, np.zeros((N, G)), "all"))
    everything = np.ones(G, dtype=bool)
    golden = [overlap(y, x, everything, most) for y, x in zip(prediction, held.truth, strict=True)]
    assert responders_overlap(prediction, wide, most) == pytest.approx(golden)
    assert 0 < np.mean(golden) < 1


def test_ranks_are_those_of_scipy_with_ties_infinities_and_genes_left_out() -> None:
    generator = np.random.default_rng(1)
    values = np.round(generator.normal(0, 2, (30, 17)))
    values[::3, 4], values[::4, 9] = np.inf, -np.inf
    among = generator.random(values.shape) < 0.6
    assert np.array_equal(mean_ranks(values), rankdata(values, axis=1))
    ranks = mean_ranks(values, among)
    for row, own, kept in zip(ranks, values, among, strict=True):
        assert np.array_equal(row[kept], rankdata(own[kept]))
