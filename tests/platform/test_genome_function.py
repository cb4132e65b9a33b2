"""Gene function of a whole screen: streamed as exactly as in memory, matched by degree, fooled by nothing."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pertcast.evaluation.structure import streamed_similarity
from pertcast.evaluation.structure.matched_pairs import Membership, matched_pairs
from pertcast.evaluation.structure.profile_similarity import PerturbedRows, profile_similarity
from pertcast.evaluation.structure.screened_function import screened_function
from pertcast.evaluation.structure.streamed_similarity import StreamedProfiles, pair_cosine, pair_similarity
from pertcast_data.errors import SchemaError

N_MODULES, SIZE, N_MEASURED = 10, 9, 60
PERTURBED = [f"P{module}_{member}" for module in range(N_MODULES) for member in range(SIZE)]
MODULE = np.repeat(np.arange(N_MODULES), SIZE)
GENES = (*PERTURBED[: N_MEASURED // 2], *(f"G{i}" for i in range(N_MEASURED // 2)))
SETS = {
    f"set {m}": [g for g, own in zip(PERTURBED, MODULE, strict=True) if own == m] for m in range(N_MODULES)
}


def screen(noise: float, n_pools: int = 2) -> tuple[list[str], NDArray[np.int64], NDArray[np.float32]]:
    """Profiles of every gene in every pool: what all share, what a module shares, own falls."""
    random = np.random.default_rng(0)
    modules, parts = random.normal(size=(N_MODULES, N_MEASURED)), []
    for _ in range(n_pools):
        shared = 4 * random.normal(size=N_MEASURED)
        values = shared + modules[MODULE] + random.normal(scale=noise, size=(len(PERTURBED), N_MEASURED))
        values[np.arange(N_MEASURED // 2), np.arange(N_MEASURED // 2)] -= 30.0
        parts.append(values)
    pool = np.repeat(np.arange(n_pools), len(PERTURBED))
    return PERTURBED * n_pools, pool, np.concatenate(parts).astype(np.float32)


def judged(values: NDArray[np.float32], names: list[str], pool: NDArray[np.int64], **options: Any) -> Any:
    places = np.arange(len(names))
    chosen = {"sets": SETS, "n_draws": 50, **options}
    return screened_function(lambda rows: values[rows], names, places, GENES, pool=pool, **chosen)


def test_streamed_similarities_are_those_of_all_pairs_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    names, pool, values = screen(1.0)
    dealt = np.random.default_rng(3).permutation(len(names))
    shuffled = np.empty_like(values)
    shuffled[dealt] = values
    rows = PerturbedRows.of(names, pool)
    expected = profile_similarity(values, rows, GENES)
    for block_genes, block_pairs, block_rows in ((2048, 4096, 4096), (7, 5, 11)):
        monkeypatch.setattr(streamed_similarity, "BLOCK_GENES", block_genes)
        monkeypatch.setattr(streamed_similarity, "_BLOCK_PAIRS", block_pairs)
        monkeypatch.setattr(streamed_similarity, "_BLOCK_ROWS", block_rows)
        profiles = StreamedProfiles(lambda places: shuffled[places], rows, dealt, GENES)
        first, second = np.triu_indices(len(rows.genes), 1)
        turned = np.random.default_rng(0).random(len(first)) < 0.5
        first, second = np.where(turned, second, first), np.where(turned, first, second)
        found = pair_similarity(profiles, first, second)
        np.testing.assert_allclose(found, expected[first, second], atol=1e-9)


def test_a_constant_profile_is_like_no_other() -> None:
    names, pool, _ = screen(1.0, n_pools=1)
    rows = PerturbedRows.of(names, pool)
    profiles = StreamedProfiles(
        lambda places: np.full((len(places), N_MEASURED), 3.0, np.float32), rows, np.arange(len(names)), GENES
    )
    assert not pair_similarity(profiles, np.array([0, 1]), np.array([5, 7])).any()
    assert not pair_cosine(np.zeros((9, 4)), np.array([0]), np.array([5])).any()


def test_pairs_are_all_of_a_common_set_and_each_has_a_match_of_none() -> None:
    membership = Membership.of(PERTURBED, list(SETS.values()))
    pairs, degree, total = matched_pairs(membership, seed=1)
    assert total == N_MODULES * SIZE * (SIZE - 1) // 2 == int(pairs.is_together.sum())
    together = {frozenset(pair) for s in SETS.values() for pair in combinations(s, 2)}
    for first, second, is_together in zip(pairs.first, pairs.second, pairs.is_together, strict=True):
        assert (frozenset((PERTURBED[first], PERTURBED[second])) in together) == is_together
    assert len(pairs.first) == 2 * total and (degree == SIZE - 1).all()


def test_matched_pairs_have_the_same_degrees_where_some_genes_are_in_many_sets() -> None:
    random = np.random.default_rng(0)
    popularity = random.random(600) ** 4
    sets = [
        random.choice(600, 12, replace=False, p=popularity / popularity.sum()).tolist() for _ in range(150)
    ]
    genes = [f"G{number}" for number in range(600)]
    membership = Membership.of(genes, [[genes[index] for index in members] for members in sets])
    pairs, degree, total = matched_pairs(membership, most=4_000, seed=0)
    assert total > 2_000 and len(pairs.first) <= 4_000
    product = degree[pairs.first] * degree[pairs.second]
    with_sets, without = product[pairs.is_together], product[~pairs.is_together]
    assert np.mean(with_sets) == pytest.approx(np.mean(without), rel=0.1)
    ranks = (with_sets[:, None] > without[None, :]).mean() + 0.5 * (with_sets[:, None] == without).mean()
    assert ranks == pytest.approx(0.5, abs=0.05)
    again, _, _ = matched_pairs(membership, most=4_000, seed=0)
    np.testing.assert_array_equal(again.first, pairs.first)
    np.testing.assert_array_equal(again.second, pairs.second)


def test_profiles_of_modules_recover_them_and_neither_degree_nor_shuffled_profiles_do() -> None:
    names, pool, values = screen(1.5)
    network = {gene: np.eye(N_MODULES)[own] for gene, own in zip(PERTURBED, MODULE, strict=True)}
    found = judged(values, names, pool, network=network)
    assert list(found.rows) == ["predicted", "network features", "degree", "shuffled"]
    assert found.rows["predicted"].low > 0.8
    assert found.rows["network features"].mean == 1.0
    assert found.rows["degree"].mean == 0.5
    assert found.rows["shuffled"].low < 0.5 < found.rows["shuffled"].high
    assert (found.n_genes, found.share_positive) == (len(PERTURBED), 0.5)


def test_a_prediction_that_is_the_same_for_all_genes_recovers_nothing() -> None:
    names, pool, values = screen(0.0)
    same = np.repeat(values.mean(axis=0, keepdims=True), len(values), axis=0)
    assert judged(same, names, pool).rows["predicted"].mean == 0.5


def test_sets_of_other_genes_are_refused_by_their_names() -> None:
    names, pool, values = screen(1.0)
    with pytest.raises(SchemaError, match="0 of the 90 perturbed genes are in a set"):
        judged(values, names, pool, sets={"other": ["ENSG1", "ENSG2"]})
