"""Genes that move together in truth do so in a good prediction, and not because contexts differ."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from pertcast.evaluation.ceilings.ceiling import SplitHalves
from pertcast.evaluation.held_out import HeldOut
from pertcast.evaluation.structure.gene_correlation import (
    MOST_SHOWN,
    MOST_TESTED,
    agreement,
    correlations,
    gene_correlation,
    genes_by_training,
)

Array = NDArray[Any]
N, G = 120, 40


def held_out(n_genes: int = G, n: int = N, n_pools: int = 2, seed: int = 0) -> tuple[HeldOut, Array]:
    """Truth of six modules of genes, plus noise; and the noise-free responses."""
    generator = np.random.default_rng(seed)
    module = generator.normal(0, 1, (6, n_genes))
    pool = np.arange(n) % n_pools
    shift = generator.normal(0, 5, (n_pools, n_genes))
    signal = generator.normal(0, 1, (n, 6)) @ module + shift[pool]
    held = HeldOut(
        conditions=pl.DataFrame({"condition_id": [f"c{i}" for i in range(n)]}),
        genes=tuple(f"g{i}" for i in range(n_genes)),
        truth=(signal + generator.normal(0, 1, signal.shape)).astype(np.float32),
        control=np.zeros((n, n_genes), dtype=np.float32),
        train_perturbed_mean=generator.normal(0, 1, (n_pools, n_genes)).astype(np.float32),
        train_mean_index=pool,
        pool=pool,
        cluster=np.arange(n) // 2,
        own_gene=np.full((n, 1), -1),
    )
    return held, signal


def test_correlations_are_those_of_residuals_from_the_contexts_mean() -> None:
    held, _ = held_out()
    parts = [held.truth[held.pool == pool] for pool in (0, 1)]
    plain = np.corrcoef(np.concatenate([part - part.mean(axis=0) for part in parts]).T)
    assert correlations(held.truth, held.pool) == pytest.approx(plain, abs=1e-6)


def test_weights_count_conditions_as_if_they_were_repeated() -> None:
    held, _ = held_out()
    counts = np.random.default_rng(0).integers(0, 3, N)
    repeated = np.repeat(np.arange(N), counts)
    kept = np.flatnonzero(counts)
    weighted = correlations(held.truth[kept], held.pool[kept], counts[kept].astype(float))
    assert weighted == pytest.approx(correlations(held.truth[repeated], held.pool[repeated]), abs=1e-5)


def test_the_truth_agrees_with_itself_and_unrelated_profiles_do_not() -> None:
    held, signal = held_out()
    noise = np.random.default_rng(1).normal(0, 1, held.truth.shape)
    predictions = {"same": held.truth, "signal": signal, "noise": noise}
    found = gene_correlation(held, predictions, ["signal"])
    assert found is not None
    assert found.agreement["same"].mean == pytest.approx(1)
    assert found.agreement["signal"].low > 0.8
    assert found.agreement["noise"].low < 0.1 and abs(found.agreement["noise"].mean) < 0.15


def test_the_mean_of_each_context_has_no_gene_structure_at_all() -> None:
    held, _ = held_out()
    means = np.stack([held.truth[held.pool == pool].mean(axis=0) for pool in (0, 1)])[held.pool]
    found = gene_correlation(held, {"context_mean": means}, ["context_mean"])
    assert found is not None
    assert np.isnan(found.agreement["context_mean"].mean)
    assert np.isnan(found.matrices["context_mean"]).all()


def test_halves_agree_less_than_a_noise_free_prediction() -> None:
    held, signal = held_out()
    generator = np.random.default_rng(2)
    first, second = (signal + generator.normal(0, 3, signal.shape) for _ in range(2))
    found = gene_correlation(held, {"signal": signal}, [], SplitHalves(np.arange(N), first, second))
    assert found is not None
    assert 0 < found.agreement["split_half"].mean < found.agreement["signal"].mean


def test_tested_and_shown_genes_are_chosen_by_training_and_are_the_same_for_any_truth() -> None:
    held, signal = held_out(n_genes=MOST_TESTED + 20, n=24)
    found = gene_correlation(held, {"signal": signal}, ["signal"])
    assert found is not None and found.n_genes == MOST_TESTED
    strongest = genes_by_training(held)[:MOST_SHOWN]
    assert sorted(found.genes) == sorted(held.genes[gene] for gene in strongest)
    other = held.take(np.arange(24), truth=held.truth[:, ::-1].copy())
    again = gene_correlation(other, {"signal": signal}, [])
    assert again is not None and set(again.genes) == set(found.genes)


def test_genes_that_move_together_stand_side_by_side() -> None:
    held, signal = held_out(n_genes=20)
    block = np.random.default_rng(3).normal(0, 1, (N, 2))
    mixed = np.repeat(block, 10, axis=1)[:, np.random.default_rng(4).permutation(20)]
    arranged = held.take(np.arange(N), truth=(mixed + 0.1 * signal / signal.std()).astype(np.float32))
    found = gene_correlation(arranged, {}, [])
    assert found is not None
    matrix = found.matrices["truth"]
    assert matrix.diagonal() == pytest.approx(np.ones(20))
    assert matrix[:10, :10].min() > 0.5 and np.abs(matrix[:10, 10:]).max() < 0.5


def test_pairs_that_only_the_prediction_leaves_open_count_as_uncorrelated() -> None:
    measured = np.array([[1, 0.9, 0.1], [0.9, 1, -0.5], [0.1, -0.5, 1]])
    half = measured.copy()
    half[0, 1] = np.nan
    filled = measured.copy()
    filled[0, 1] = 0
    assert agreement(half, measured) == pytest.approx(agreement(filled, measured))
    assert agreement(half, measured) < 1
    assert np.isnan(agreement(np.full((3, 3), np.nan), measured))


def test_with_too_few_conditions_there_is_no_gene_structure_to_compare() -> None:
    held, signal = held_out(n=11, n_pools=2)
    assert gene_correlation(held, {"signal": signal}, []) is None


def test_the_interval_comes_from_perturbations_and_is_the_same_every_time() -> None:
    held, signal = held_out(n=60)
    noisy = signal + np.random.default_rng(5).normal(0, 2, signal.shape)
    first, again = (gene_correlation(held, {"noisy": noisy}, [], seed=1) for _ in range(2))
    assert first is not None and again is not None
    estimate = first.agreement["noisy"]
    assert estimate == again.agreement["noisy"]
    assert estimate.low < estimate.mean < estimate.high and estimate.high - estimate.low > 0.01
