"""Size-matched nulls: p is uniform on random sets, NES and p are gseapy's, results depend on nothing else."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from pertcast.analysis.enrichment import (
    NormalisedEnrichment,
    SizeMatchedNull,
    enrichment_scores,
    prerank,
    ranked_order,
)
from pertcast.analysis.enrichment.random_places import BLOCK_PROFILES, RandomPlaces
from pertcast.analysis.gene_sets import GeneSets, SetIndex, index_sets
from pertcast_data.errors import SchemaError

N_GENES = 978
GENES = tuple(f"G{i}" for i in range(N_GENES))


def _random_sets(rng: np.random.Generator, count: int, smallest: int = 5, largest: int = 60) -> SetIndex:
    sizes = np.exp(rng.uniform(np.log(smallest), np.log(largest + 1), count)).astype(int)
    picks = (rng.choice(N_GENES, size, replace=False) for size in sizes)
    members = {f"S{i}": tuple(GENES[gene] for gene in pick) for i, pick in enumerate(picks)}
    return index_sets(GeneSets(members), GENES)


def _profiles(kind: str, count: int, rng: np.random.Generator) -> NDArray[np.float32]:
    shape = (count, N_GENES)
    drawn = {
        "normal": lambda: rng.standard_normal(shape),
        "heavy": lambda: rng.standard_t(3, shape),
        "skewed": lambda: rng.gamma(1, 1, shape) - 1,
        "sparse": lambda: rng.standard_normal(shape) * np.where(rng.random(shape) < 0.2, 1, 0.05),
        "mostly zero": lambda: rng.standard_normal(shape) * (rng.random(shape) < 0.08),
        "shifted": lambda: rng.standard_normal(shape) + 0.5,
    }
    return drawn[kind]().astype(np.float32)


def _normalised(profiles: NDArray[np.floating], sets: SetIndex, seed: int = 0) -> NormalisedEnrichment:
    return SizeMatchedNull.of(sets, seed).normalise(profiles, enrichment_scores(profiles, sets))


@pytest.mark.parametrize("kind", ["normal", "heavy", "skewed", "sparse", "mostly zero", "shifted"])
def test_p_of_random_sets_is_uniform(kind: str) -> None:
    rng = np.random.default_rng(11)
    sets = _random_sets(rng, 200)
    found = _normalised(_profiles(kind, 64, rng), sets)
    # Profiles share the sets and the draws: the bounds are those of 2,000 independent tests, not of 12,800.
    independent = 2_000
    for nominal in (0.5, 0.2, 0.05, 0.01):
        share = (found.pval[np.isfinite(found.pval)] <= nominal).mean()
        assert abs(share - nominal) < 3 * np.sqrt(nominal * (1 - nominal) / independent), (nominal, share)
    assert (found.pval <= 0.001).mean() < 0.002
    for sign in (1, -1):
        assert np.abs(found.nes[found.nes * sign > 0]).mean() == pytest.approx(1, abs=0.04)


def test_nes_and_p_agree_with_gseapys_permutations() -> None:
    rng = np.random.default_rng(2)
    sets = _random_sets(rng, 50, 5, 120)
    profiles = np.stack([_profiles(kind, 1, rng)[0] for kind in ("heavy", "skewed")])
    for profile in profiles:
        for number in range(0, 50, 3):
            profile[sets.members_of(number)] += rng.choice([-0.5, 0.5])
    found = _normalised(profiles, sets)
    expected = pl.concat([prerank(row, GENES, sets, permutations=1000) for row in profiles])
    theirs = expected["nes"].to_numpy()
    assert np.corrcoef(found.nes.ravel(), theirs)[0, 1] > 0.998
    assert np.polyfit(theirs, found.nes.ravel(), 1)[0] == pytest.approx(1, abs=0.02)
    p = expected["pval"].to_numpy()
    error = np.sqrt(np.clip(p, 0.002, 1) * (1 - np.clip(p, 0, 0.998)) / 400)
    assert (np.abs(found.pval.ravel() - p) < 5 * error).all()
    # What plain sampling of 500 scores of a sign (gseapy) and of 250 (here) would differ by is 0.025.
    assert np.abs(found.pval.ravel() - p).mean() < 0.025
    assert abs((found.pval.ravel() - p).mean()) < 0.01


def test_a_result_is_the_same_to_the_last_bit_in_whatever_block_it_is_computed() -> None:
    rng = np.random.default_rng(3)
    sets = _random_sets(rng, 30)
    profiles = np.concatenate([_profiles("heavy", 70, rng), _profiles("sparse", 80, rng)])
    null, scores, order = (
        SizeMatchedNull.of(sets, 5),
        enrichment_scores(profiles, sets),
        ranked_order(profiles),
    )
    whole = null.normalise(profiles, scores)
    again = SizeMatchedNull.of(sets, 5)
    for start, rows in ((0, 1), (41, 1), (63, 7), (149, 1), (10, BLOCK_PROFILES + 1)):
        part = slice(start, start + rows)
        own = enrichment_scores(profiles[part], sets)
        found = again.normalise(profiles[part], own, order=order[part])
        np.testing.assert_array_equal(own, scores[part])
        for name in ("nes", "pval", "fdr"):
            np.testing.assert_array_equal(getattr(found, name), getattr(whole, name)[part])
    shuffled = rng.permutation(len(profiles))
    found = null.normalise(profiles[shuffled], scores[shuffled])
    np.testing.assert_array_equal(found.pval, whole.pval[shuffled])


def test_another_seed_draws_other_sets_and_hardly_changes_nes() -> None:
    rng = np.random.default_rng(4)
    sets = _random_sets(rng, 40)
    profiles = _profiles("heavy", 20, rng)
    one, other = (_normalised(profiles, sets, seed) for seed in (0, 1))
    assert not np.array_equal(one.nes, other.nes)
    assert np.abs(one.nes / other.nes - 1).mean() < 0.02


def test_a_planted_set_is_found_and_its_p_goes_below_the_number_of_draws() -> None:
    rng = np.random.default_rng(5)
    sets = _random_sets(rng, 50, 20, 60)
    profiles = _profiles("normal", 3, rng)
    profiles[1, sets.members_of(7)] += 3
    profiles[2, sets.members_of(7)] -= 3
    found = _normalised(profiles, sets)
    assert found.nes[1].argmax() == 7
    assert found.nes[2].argmin() == 7
    assert (found.pval[1:, 7] < 1e-6).all()
    assert (found.pval[1:, 7] > 0).all()
    assert (found.fdr[1:, 7] < 1e-4).all()
    assert found.pval[0, 7] > 0.001


def test_p_falls_as_a_score_grows() -> None:
    rng = np.random.default_rng(6)
    sets = index_sets(GeneSets({f"S{i}": GENES[i : i + 23] for i in range(0, 900, 2)}), GENES)
    profile = np.repeat(_profiles("heavy", 1, rng), 2, axis=0)
    ladder = np.linspace(0.01, 0.99, len(sets))
    found = SizeMatchedNull.of(sets, 0).normalise(profile, np.stack([ladder, -ladder]))
    assert (np.diff(found.pval, axis=1) <= 0).all()
    assert (found.pval[:, 0] > 0.99).all()
    assert (found.pval[:, -1] < 1e-6).all()


def test_a_profile_without_any_response_has_no_null() -> None:
    sets = _random_sets(np.random.default_rng(7), 10)
    profiles = np.zeros((2, N_GENES), np.float32)
    profiles[1] = np.random.default_rng(8).standard_normal(N_GENES)
    found = _normalised(profiles, sets)
    for values in (found.nes, found.pval, found.fdr):
        assert np.isnan(values[0]).all()
        assert np.isfinite(values[1]).all()


def test_a_sign_that_no_random_set_has_gives_no_nes() -> None:
    sets = _random_sets(np.random.default_rng(9), 4, 150, 200)
    profiles = (10 + np.random.default_rng(1).exponential(10, (1, N_GENES))).astype(np.float32)
    found = SizeMatchedNull.of(sets, 0).normalise(profiles, np.array([[0.4, 0.2, -0.2, np.nan]]))
    assert np.isfinite(found.nes[0, :2]).all()
    for values in (found.nes, found.pval, found.fdr):
        assert np.isnan(values[0, 2:]).all()
    assert found.fdr[0, 0] == pytest.approx(2 * found.pval[0, 0])


def test_random_places_hold_each_place_equally_often_and_never_twice() -> None:
    draws = RandomPlaces.draw(12, 50, 500, np.random.default_rng(0))
    assert draws.places.shape == (12, 500)
    assert (np.diff(draws.places, axis=0) > 0).all()
    counts = np.bincount(draws.places.ravel(), minlength=50)
    assert np.abs(counts - 120).max() < 5 * np.sqrt(120)


def test_scores_of_random_places_are_those_of_sets_at_these_places() -> None:
    rng = np.random.default_rng(1)
    profiles = _profiles("skewed", 3, rng)
    draws = RandomPlaces.draw(17, N_GENES, 40, rng)
    order = ranked_order(profiles)
    weights = np.abs(np.take_along_axis(profiles, order, axis=1)).T.copy()
    found = draws.scores(weights)
    for row in range(3):
        members = {f"D{i}": tuple(GENES[g] for g in order[row, draws.places[:, i]]) for i in range(40)}
        expected = enrichment_scores(profiles[row : row + 1], index_sets(GeneSets(members), GENES))[0]
        np.testing.assert_allclose(found[:, row], expected, atol=1e-5)


def test_scores_of_another_shape_are_refused() -> None:
    sets = _random_sets(np.random.default_rng(0), 5)
    profiles = _profiles("normal", 2, np.random.default_rng(0))
    with pytest.raises(SchemaError, match="do not belong to 2 profiles and 5 gene sets"):
        SizeMatchedNull.of(sets, 0).normalise(profiles, np.zeros((2, 4)))
