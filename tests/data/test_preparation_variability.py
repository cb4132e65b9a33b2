"""Variable genes: streamed scores against the published formulas on whole matrices."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pertcast_data.errors import SchemaError
from pertcast_data.preparation.variability import (
    best_genes,
    local_quadratic,
    normalised_dispersion,
    standardised_variance,
)
from scipy import sparse

Matrix = np.ndarray[Any, Any]


def simulated_counts(n_rows: int = 240, n_genes: int = 150, seed: int = 0) -> Matrix:
    random = np.random.default_rng(seed)
    means = np.exp(random.normal(0, 1.5, n_genes))
    counts = random.poisson(means * random.gamma(1.5, 1 / 1.5, (n_rows, n_genes)))
    counts[:, 3], counts[:, 4] = 0, 2
    return counts.astype(np.float32)


def passes(matrix: Matrix, layout: str, rows: int = 50) -> Callable[[], Iterable[Any]]:
    def begin() -> Iterable[Any]:
        for start in range(0, len(matrix), rows):
            block = matrix[start : start + rows]
            yield sparse.csr_matrix(block) if layout == "csr" else block

    return begin


def direct_loess(x: Matrix, y: Matrix, span: float) -> Matrix:
    """Local quadratic regression, written as in Cleveland and Devlin (1988), one point at a time."""
    n_near = min(len(x), max(int(len(x) * span + 1e-5), 3))
    fitted = np.empty(len(x))
    for point, centre in enumerate(x):
        distance = np.abs(x - centre)
        reach = np.sort(distance)[n_near - 1]
        weight = np.where(distance < reach, (1 - (distance / reach) ** 3) ** 3, 0)
        fitted[point] = np.polyval(np.polyfit(x - centre, y, 2, w=np.sqrt(weight)), 0.0)
    return fitted


def direct_standardised_variance(counts: Matrix, span: float) -> Matrix:
    """Seurat's `vst` score on a whole matrix (Stuart et al., 2019)."""
    counts = counts.astype(np.float64)
    mean, variance = counts.mean(axis=0), counts.var(axis=0, ddof=1)
    score = np.zeros(counts.shape[1])
    varies = variance > 0
    trend = direct_loess(np.log10(mean[varies]), np.log10(variance[varies]), span)
    sd = np.sqrt(10**trend)
    standardised = np.minimum((counts[:, varies] - mean[varies]) / sd, np.sqrt(len(counts)))
    # Around the gene's own mean, as Seurat and scanpy do, although clipping moves the mean of what is left.
    score[varies] = (standardised**2).sum(axis=0) / (len(counts) - 1)
    return score


def direct_dispersion(logged: Matrix, n_bins: int) -> Matrix:
    """The normalised dispersion of Satija et al. (2015) with pandas, as scanpy's flavour "seurat" does it."""
    values = np.expm1(logged.astype(np.float64))
    mean, variance = values.mean(axis=0), values.var(axis=0, ddof=1)
    mean[mean == 0] = 1e-12
    dispersion = variance / mean
    dispersion[dispersion == 0] = np.nan
    table = pd.DataFrame({"mean": np.log1p(mean), "dispersion": np.log(dispersion)})
    table["bin"] = pd.cut(table["mean"], bins=n_bins)
    grouped = table.groupby("bin", observed=True)["dispersion"]
    centre, spread = grouped.transform("mean"), grouped.transform("std")
    alone = spread.isna()
    centre[alone], spread[alone] = 0, table["dispersion"][alone]
    return ((table["dispersion"] - centre) / spread).to_numpy()


@pytest.mark.parametrize("layout", ["csr", "dense"])
def test_streamed_standardised_variance_equals_the_published_formula(layout: str) -> None:
    counts = simulated_counts()
    streamed = standardised_variance(passes(counts, layout), *counts.shape, span=0.3)
    direct = direct_standardised_variance(counts, 0.3)
    np.testing.assert_allclose(streamed, direct, rtol=1e-6)
    assert streamed[3] == streamed[4] == 0
    assert np.array_equal(best_genes(streamed, 30), np.sort(np.argsort(-direct, kind="stable")[:30]))


@pytest.mark.parametrize("layout", ["csr", "dense"])
def test_streamed_dispersion_equals_the_published_formula(layout: str) -> None:
    counts = simulated_counts(seed=1)
    logged = np.log1p(counts / counts.sum(axis=1, keepdims=True) * 100).astype(np.float32)
    streamed = normalised_dispersion(passes(logged, layout), *counts.shape, n_bins=20)
    direct = direct_dispersion(logged, 20)
    known = np.isfinite(direct)
    np.testing.assert_allclose(streamed[known], direct[known], rtol=1e-6, atol=1e-9)
    assert streamed[3] == -np.inf and known.sum() > 140


def test_how_rows_are_cut_into_blocks_changes_no_choice() -> None:
    counts = simulated_counts(seed=2)
    chosen = [
        best_genes(standardised_variance(passes(counts, "csr", rows), *counts.shape), 40)
        for rows in (1, 37, 240)
    ]
    assert np.array_equal(chosen[0], chosen[1]) and np.array_equal(chosen[1], chosen[2])


def test_a_gene_that_varies_beyond_its_mean_comes_first() -> None:
    counts = simulated_counts(seed=3)
    random = np.random.default_rng(3)
    counts[:, 77] = np.where(random.random(len(counts)) < 0.3, 60, random.poisson(2.0, len(counts)))
    scores = standardised_variance(passes(counts, "csr"), *counts.shape)
    assert scores.argmax() == 77


@settings(max_examples=40, deadline=None)
@given(st.integers(8, 60), st.floats(0.3, 1.0), st.integers(0, 1000))
def test_local_regression_equals_a_weighted_parabola_at_every_point(
    n_points: int, span: float, seed: int
) -> None:
    random = np.random.default_rng(seed)
    x = random.normal(0, 1, n_points)
    y = np.sin(2 * x) + random.normal(0, 0.1, n_points)
    near = min(n_points, max(int(n_points * span + 1e-5), 3))
    if near < 6:
        return
    np.testing.assert_allclose(local_quadratic(x, y, span), direct_loess(x, y, span), rtol=1e-4, atol=1e-5)


def test_local_regression_reproduces_a_parabola_whatever_repeats_among_its_points() -> None:
    x = np.repeat(np.linspace(-2, 3, 20), 3)
    np.testing.assert_allclose(local_quadratic(x, x**2 - x, 0.4), x**2 - x, atol=1e-9)
    assert np.array_equal(local_quadratic(np.zeros(9), np.arange(9.0), 0.3), np.full(9, 4.0))


def test_of_equal_scores_the_first_genes_are_taken() -> None:
    assert best_genes(np.array([1.0, 2.0, 1.0, 1.0]), 2).tolist() == [0, 1]


def test_a_missing_value_is_an_error_that_tells_the_gene() -> None:
    counts = simulated_counts()
    counts[5, 11] = np.nan
    with pytest.raises(SchemaError, match=r"1 genes have missing values.*place 11"):
        standardised_variance(passes(counts, "dense"), *counts.shape)
