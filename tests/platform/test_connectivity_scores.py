"""Connectivity scores against plain definitions, one query and one reference at a time."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from pertcast.analysis.connectivity.scores import (
    SCORES,
    WeightedConnectivity,
    extreme_sets,
    get_score,
)
from pertcast_data.errors import ConfigError, SchemaError
from scipy.spatial.distance import cosine
from scipy.stats import pearsonr

N_GENES = 120


@pytest.fixture(scope="module")
def profiles() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    random = np.random.default_rng(3)
    queries = random.standard_normal((4, N_GENES)).astype(np.float32)
    references = random.standard_normal((9, N_GENES)).astype(np.float32)
    references[:4] += 2 * queries
    references[4:6] -= 2 * queries[:2]
    return queries, references


def running_sum_score(reference: NDArray[np.float64], members: set[int]) -> float:
    """The definition: walk down the ranking, up by |x| at a member, down at another gene."""
    order = sorted(range(len(reference)), key=lambda gene: (-reference[gene], gene))
    total = sum(abs(reference[gene]) for gene in members)
    level, low, high = 0.0, 0.0, 0.0
    for gene in order:
        level += abs(reference[gene]) / total if gene in members else -1 / (len(reference) - len(members))
        low, high = min(low, level), max(high, level)
    return high if high > -low + 1e-9 else low


def weighted_connectivity(query: NDArray[np.float32], reference: NDArray[np.float32], size: int) -> float:
    rising = sorted(range(len(query)), key=lambda gene: (-query[gene], gene))[:size]
    falling = sorted(range(len(query)), key=lambda gene: (query[gene], gene))[:size]
    up, down = (running_sum_score(reference.astype(np.float64), set(each)) for each in (rising, falling))
    return (up - down) / 2 if up * down < 0 else 0.0


def extreme_sum(query: NDArray[np.float32], reference: NDArray[np.float32], size: int) -> float:
    rising, falling = np.argsort(-query)[:size], np.argsort(query)[:size]
    n_extreme = round(0.1 * len(reference))
    extreme = {*np.argsort(-reference)[:n_extreme], *np.argsort(reference)[:n_extreme]}
    up = sum(reference[gene] for gene in rising if gene in extreme)
    return float(up - sum(reference[gene] for gene in falling if gene in extreme))


def test_cosine_and_pearson_equal_scipys(profiles: tuple[NDArray[np.float32], NDArray[np.float32]]) -> None:
    queries, references = profiles
    angles = get_score("cosine").of_profiles(queries).against(references)
    correlations = get_score("pearson").of_profiles(queries).against(references)
    for row, query in enumerate(queries):
        for column, reference in enumerate(references):
            assert angles[row, column] == pytest.approx(1 - cosine(query, reference), abs=1e-5)
            assert correlations[row, column] == pytest.approx(pearsonr(query, reference)[0], abs=1e-5)


def test_weighted_connectivity_and_xsum_equal_their_definitions(
    profiles: tuple[NDArray[np.float32], NDArray[np.float32]],
) -> None:
    queries, references = profiles
    size = extreme_sets(queries)[0].shape[1]
    weighted = get_score("wtcs").of_profiles(queries).against(references)
    summed = get_score("xsum").of_profiles(queries).against(references)
    assert (weighted == 0).any() and (weighted > 0.2).any() and (weighted < -0.2).any()
    for row, query in enumerate(queries):
        for column, reference in enumerate(references):
            expected = weighted_connectivity(query, reference, size)
            assert weighted[row, column] == pytest.approx(expected, abs=1e-6)
            assert summed[row, column] == pytest.approx(extreme_sum(query, reference, size), abs=1e-4)


def test_equal_values_are_ranked_in_the_order_of_genes() -> None:
    profile = np.array([[1.0, 2.0, 2.0, 2.0, 0.0, -3.0, -3.0, 0.0]], dtype=np.float32)
    up, down = extreme_sets(profile, 2)
    assert up.tolist() == [[1, 2]] and down.tolist() == [[5, 6]]


@pytest.mark.parametrize("name", SCORES)
def test_a_profile_mimics_itself_and_reverses_its_opposite(name: str) -> None:
    profile = np.random.default_rng(0).standard_normal((1, 200)).astype(np.float32)
    references = np.concatenate((profile, -profile, np.zeros_like(profile)))
    mimics, reverses, nothing = get_score(name).of_profiles(profile).against(references)[0]
    assert mimics > 0 > reverses and nothing == 0
    assert mimics == pytest.approx(-reverses, rel=1e-5)


def test_a_query_without_down_genes_is_refused() -> None:
    with pytest.raises(SchemaError, match="at least one gene up and one down"):
        WeightedConnectivity([np.array([1, 2])], [np.array([], dtype=np.int64)], 20)


def test_an_unknown_score_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"'cosin'. Use cosine"):
        get_score("cosin")
