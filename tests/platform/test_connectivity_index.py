"""The connectivity index: the same numbers as the scores themselves, however profiles are held."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from pertcast.analysis.connectivity import ConnectivityIndex, Queries, RankedBlock, Signature
from pertcast.analysis.connectivity.ranked import ranked_enrichment
from pertcast.analysis.connectivity.scores import (
    ExtremeSum,
    ProfileProducts,
    WeightedConnectivity,
    get_score,
)
from pertcast.analysis.enrichment import gene_ranks
from pertcast_data.errors import SchemaError

N, G = 5000, 150
GENES = tuple(f"G{number}" for number in range(G))


@pytest.fixture(scope="module")
def profiles() -> NDArray[np.float32]:
    random = np.random.default_rng(0)
    found = random.standard_normal((N, G)).astype(np.float32)
    found[::7] = np.round(found[::7])  # many ties
    found[11] = 0
    found[12, :40] = 0
    return found


def set_queries(kind: type[WeightedConnectivity] | type[ExtremeSum]) -> Queries:
    random = np.random.default_rng(1)
    drawn = [random.permutation(G) for _ in range(6)]
    return kind([each[: 5 + i] for i, each in enumerate(drawn)], [each[20:33] for each in drawn], G)


def test_wtcs_by_ranks_is_exactly_what_the_sorted_profiles_give(profiles: NDArray[np.float32]) -> None:
    queries = set_queries(WeightedConnectivity)
    expected = queries.against(profiles)
    assert (expected == 0).any() and (expected > 0.1).any() and (expected < -0.1).any()
    assert np.array_equal(queries.against_ranked(RankedBlock(profiles)), expected)
    assert np.array_equal(ConnectivityIndex.in_memory(profiles).scores(queries), expected)
    given = RankedBlock(profiles, gene_ranks(profiles))
    assert np.array_equal(queries.against_ranked(given), expected)


@pytest.mark.parametrize("name", ["cosine", "pearson", "wtcs"])
def test_an_index_scores_profiles_as_the_score_itself_does(name: str, profiles: NDArray[np.float32]) -> None:
    queries = get_score(name).of_profiles(profiles[:3])
    expected = queries.against(profiles)
    assert np.allclose(ConnectivityIndex.in_memory(profiles).scores(queries), expected, atol=2e-6)


def test_xsum_by_ranks_is_the_sum_of_extremes_where_none_are_tied() -> None:
    values = np.random.default_rng(4).standard_normal((50, G)).astype(np.float32)
    queries = set_queries(ExtremeSum)
    assert np.allclose(queries.against_ranked(RankedBlock(values)), queries.against(values), atol=1e-5)


def test_rows_are_scored_in_the_order_asked_for(profiles: NDArray[np.float32]) -> None:
    index, queries = ConnectivityIndex.in_memory(profiles), set_queries(WeightedConnectivity)
    rows = np.array([4999, 3, 2500, 0])
    assert np.array_equal(index.scores(queries, rows), index.scores(queries)[:, rows])


def test_blocks_and_whole_arrays_make_the_same_index(profiles: NDArray[np.float32]) -> None:
    queries = set_queries(WeightedConnectivity)
    ranks = gene_ranks(profiles)
    cuts = ((0, 1), (1, 4500), (4500, N))
    built = ConnectivityIndex.from_blocks(((profiles[a:b], ranks[a:b]) for a, b in cuts), N, G)
    computed = ConnectivityIndex.from_blocks(((profiles[a:b], None) for a, b in cuts), N, G)
    expected = queries.against(profiles)
    assert np.array_equal(built.scores(queries), expected)
    assert np.array_equal(computed.scores(queries), expected)


def test_ranks_from_before_rounding_decide_between_values_that_rounding_made_equal() -> None:
    exact = np.random.default_rng(2).standard_normal((200, G)).astype(np.float32) / 50 + 1
    half = exact.astype(np.float16)
    assert all(len(np.unique(row)) < G for row in half)
    queries = set_queries(WeightedConnectivity)
    expected = queries.against(exact)
    with_ranks = ConnectivityIndex.in_memory(half, gene_ranks(exact)).scores(queries)
    without = ConnectivityIndex.in_memory(half).scores(queries)
    # A score leaps to 0 where the two extremes of a running sum are about equal: a few may.
    assert (np.abs(with_ranks - expected) > 2e-3).mean() < 0.01
    assert (np.abs(without - expected) > 2e-3).mean() > 0.1


def test_a_cosine_over_some_genes_does_not_look_at_the_others(profiles: NDArray[np.float32]) -> None:
    columns = np.array([3, 70, 9, 120, 33])
    queries = ProfileProducts(profiles[:2], False, columns)
    other = profiles.copy()
    other[:, 50:60] += 100
    found = ConnectivityIndex.in_memory(other).scores(queries)
    plain = get_score("cosine").of_profiles(profiles[:2][:, columns]).against(profiles[:, columns])
    assert np.allclose(found, plain, atol=1e-6)


def test_a_set_of_zeros_has_no_enrichment_and_no_connection(profiles: NDArray[np.float32]) -> None:
    block = RankedBlock(profiles[11:13])
    assert np.isnan(ranked_enrichment(block, [np.arange(10)])).all()
    queries = WeightedConnectivity([np.arange(10)], [np.arange(50, 60)], G)
    assert (queries.against_ranked(block) == 0).all()


def test_a_planted_signature_comes_first(profiles: NDArray[np.float32]) -> None:
    planted = profiles.copy()
    planted[4321, 10:20] += 4
    planted[4321, 20:30] -= 4
    signature = Signature.of_sets(GENES[10:20], GENES[20:30])
    index = ConnectivityIndex.in_memory(planted)
    for score in ("wtcs", "cosine", "pearson", "xsum"):
        assert index.scores(signature.queries(GENES, score))[0].argmax() == 4321, score


def test_profiles_that_are_not_finite_are_refused_by_row(profiles: NDArray[np.float32]) -> None:
    broken = profiles.copy()
    broken[4200, 3] = np.nan
    with pytest.raises(SchemaError, match="Profile 4,200 holds NaN"):
        ConnectivityIndex.in_memory(broken)


def test_blocks_of_another_number_or_width_are_refused(profiles: NDArray[np.float32]) -> None:
    with pytest.raises(SchemaError, match="10 profiles, 11 were announced"):
        ConnectivityIndex.from_blocks([(profiles[:10], None)], 11, G)
    with pytest.raises(SchemaError, match="does not fit"):
        ConnectivityIndex.from_blocks([(profiles[:10, :20], None)], 10, G)
