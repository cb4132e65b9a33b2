"""Enrichment: the score of whole screens is gseapy's, ties and edges resolve one way."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pertcast.analysis.enrichment import enrichment_scores, prerank, ranked_order, running_sum
from pertcast.analysis.gene_sets import GeneSets, SetIndex, index_sets
from pertcast_data.errors import SchemaError

GENES = tuple(f"G{i}" for i in range(200))


def _random_sets(rng: np.random.Generator, count: int = 12, n_genes: int = len(GENES)) -> SetIndex:
    sizes = rng.integers(5, 60, count)
    picks = (rng.choice(n_genes, size, replace=False) for size in sizes)
    members = {f"S{i}": tuple(f"G{gene}" for gene in pick) for i, pick in enumerate(picks)}
    return index_sets(GeneSets(members), tuple(f"G{i}" for i in range(n_genes)))


def test_scores_equal_gseapys_on_tie_free_float64() -> None:
    rng = np.random.default_rng(0)
    sets = _random_sets(rng)
    profiles = rng.standard_normal((6, len(GENES))) * np.array([[1], [0.01], [30], [1], [1], [1]])
    profiles[3] = np.abs(profiles[3])
    profiles[4] = -np.abs(profiles[4])
    scores = enrichment_scores(profiles, sets)
    for profile, row in zip(profiles, scores, strict=True):
        expected = prerank(profile, GENES, sets, permutations=10)
        assert expected["term"].to_list() == list(sets.names)
        np.testing.assert_allclose(row, expected["es"].to_numpy(), rtol=0, atol=1e-6)


def test_scores_of_a_thousand_sets_equal_gseapys() -> None:
    rng = np.random.default_rng(1)
    genes = tuple(f"G{i}" for i in range(978))
    sets = _random_sets(rng, 1000, len(genes))
    profile = rng.standard_t(3, len(genes))
    expected = prerank(profile, genes, sets, permutations=2)["es"].to_numpy()
    np.testing.assert_allclose(enrichment_scores(profile[None], sets)[0], expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_callers_order_or_ranks_give_the_scores_of_sorting_here(dtype: type[np.floating]) -> None:
    rng = np.random.default_rng(8)
    sets = _random_sets(rng)
    profiles = np.round(rng.standard_normal((9, len(GENES))), 1).astype(dtype)
    order = ranked_order(profiles)
    ranks = np.argsort(order, axis=1).astype(np.uint16)
    expected = enrichment_scores(profiles, sets)
    np.testing.assert_array_equal(enrichment_scores(profiles, sets, order=order), expected)
    np.testing.assert_array_equal(enrichment_scores(profiles, sets, ranks=ranks), expected)


def test_rounded_profiles_with_exact_ranks_score_almost_as_the_exact_ones_do() -> None:
    rng = np.random.default_rng(9)
    sets = _random_sets(rng)
    profiles = (100 + rng.standard_normal((20, len(GENES)))).astype(np.float32)
    half = profiles.astype(np.float16)
    ranks = np.argsort(ranked_order(profiles), axis=1).astype(np.uint16)
    exact = enrichment_scores(profiles, sets)
    assert np.abs(enrichment_scores(half, sets, ranks=ranks) - exact).max() < 1e-4
    assert np.abs(enrichment_scores(half, sets) - exact).max() > 1e-3, "rounding ties genes"


def test_an_order_of_another_shape_or_of_unknown_genes_is_refused() -> None:
    sets = _random_sets(np.random.default_rng(0))
    profiles = np.random.default_rng(1).standard_normal((3, len(GENES))).astype(np.float32)
    order = ranked_order(profiles)
    with pytest.raises(SchemaError, match="`order` of shape"):
        enrichment_scores(profiles, sets, order=order[:2])
    with pytest.raises(SchemaError, match="one place to each gene"):
        enrichment_scores(profiles, sets, ranks=order + 1)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(["normal", "rounded", "half", "sparse"]))
def test_scores_are_the_extreme_of_the_running_sum_with_and_without_ties(seed: int, kind: str) -> None:
    rng = np.random.default_rng(seed)
    sets = _random_sets(rng, 6)
    profile = rng.standard_normal(len(GENES)).astype(np.float32)
    if kind == "rounded":
        profile = np.round(profile)
    if kind == "half":
        profile = profile.astype(np.float16).astype(np.float32)
    if kind == "sparse":
        profile[rng.random(len(GENES)) < 0.7] = 0
    scores = enrichment_scores(profile[None, :], sets)[0]
    for number, score in enumerate(scores):
        curve = running_sum(profile, sets.members_of(number))
        if np.isnan(curve).any():
            assert np.isnan(score)
            continue
        top, bottom = curve.max(), min(curve.min(), 0.0)
        assert score == pytest.approx(top if top > -bottom + 1e-9 else bottom, abs=1e-9)
        assert curve[-1] == pytest.approx(0, abs=1e-9)


def test_ties_are_ranked_in_gene_order_in_both_precisions() -> None:
    profile = np.array([[1.0, 2.0, 1.0, -0.0, 0.0, 2.0, 1.0]])
    expected = [1, 5, 0, 2, 6, 3, 4]
    assert ranked_order(profile)[0].tolist() == expected
    assert ranked_order(profile.astype(np.float32))[0].tolist() == expected


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=60))
def test_genes_of_any_finite_values_are_sorted_as_a_stable_sort_does(values: list[float]) -> None:
    profile = np.array([values], dtype=np.float32)
    expected = np.argsort(-profile, axis=1, kind="stable")
    np.testing.assert_array_equal(ranked_order(profile), expected)
    np.testing.assert_array_equal(ranked_order(profile.astype(np.float64)), expected)


def test_a_score_does_not_depend_on_the_other_sets() -> None:
    rng = np.random.default_rng(4)
    sets = _random_sets(rng, 150)
    profiles = (rng.standard_normal((5, len(GENES))) * 10 ** rng.uniform(-6, 6, len(GENES))).astype(
        np.float32
    )
    whole = enrichment_scores(profiles, sets)
    for number in (0, 77, 149):
        members = tuple(GENES[gene] for gene in sets.members_of(number))
        alone = enrichment_scores(profiles, index_sets(GeneSets({"alone": members}), GENES))
        np.testing.assert_array_equal(alone[:, 0], whole[:, number])


def test_a_block_boundary_changes_no_score(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    sets = _random_sets(rng)
    profiles = rng.standard_normal((37, len(GENES))).astype(np.float32)
    whole = enrichment_scores(profiles, sets)
    monkeypatch.setattr(
        "pertcast.analysis.enrichment.scores._BLOCK_VALUES", 5 * max(len(GENES), len(sets.members))
    )
    np.testing.assert_array_equal(enrichment_scores(profiles, sets), whole)


def test_a_set_at_the_top_scores_one_and_at_the_bottom_minus_one() -> None:
    sets = index_sets(GeneSets({"up": GENES[:8], "down": GENES[-8:]}), GENES)
    profile = np.linspace(5, -5, len(GENES))[None, :]
    np.testing.assert_allclose(enrichment_scores(profile, sets)[0], [1, -1], atol=1e-12)


def test_equal_extremes_resolve_to_the_negative_one_as_in_gseapy() -> None:
    genes = tuple("abcd")
    sets = index_sets(GeneSets({"outer": ("a", "d")}), genes, min_size=2)
    profile = np.array([[2.0, 1.0, -1.0, -2.0]])
    assert enrichment_scores(profile, sets)[0, 0] == pytest.approx(-0.5)


def test_a_set_without_any_response_has_no_score() -> None:
    sets = index_sets(GeneSets({"silent": GENES[:6], "loud": GENES[6:20]}), GENES)
    profile = np.zeros((1, len(GENES)), np.float32)
    profile[0, 6:] = 1.0
    silent, loud = enrichment_scores(profile, sets)[0]
    assert np.isnan(silent)
    assert loud > 0


def test_profiles_that_are_not_finite_are_refused_by_row() -> None:
    sets = _random_sets(np.random.default_rng(0))
    profiles = np.zeros((3, len(GENES)), np.float32)
    profiles[2, 5] = np.nan
    with pytest.raises(SchemaError, match="Profile 2"):
        enrichment_scores(profiles, sets)
    with pytest.raises(SchemaError, match="200 genes"):
        enrichment_scores(profiles[:, :-1], sets)


def test_prerank_repeats_itself_for_a_seed_and_finds_a_planted_set() -> None:
    rng = np.random.default_rng(5)
    sets = _random_sets(rng)
    profile = rng.standard_normal(len(GENES))
    profile[sets.members_of(4)] += 2.5
    first, second = (prerank(profile, GENES, sets, permutations=100, seed=7) for _ in range(2))
    assert first.equals(second)
    best = first.sort("nes", descending=True).row(0, named=True)
    assert best["term"] == "S4"
    assert best["fdr"] < 0.05
    assert set(best["lead_genes"].split(";")) <= {GENES[member] for member in sets.members_of(4)}


def test_prerank_of_a_flat_profile_is_empty() -> None:
    sets = _random_sets(np.random.default_rng(0))
    assert prerank(np.zeros(len(GENES)), GENES, sets).is_empty()
