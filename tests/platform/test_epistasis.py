"""Measured interactions of pairs: planted coefficients come back, and noise adds nothing to them."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from pertcast.analysis.epistasis import (
    PairInteractions,
    PairMembers,
    ReplicateBlocks,
    interactions_of_responses,
    pair_interactions,
)
from pertcast.analysis.epistasis.replicates import noise_vectors
from pertcast_data.errors import ConfigError, SchemaError

N_GENES = 400
N_BLOCKS = 16


def members(n_pairs: int, own_genes: NDArray[np.int64] | None = None) -> PairMembers:
    """Pairs k of conditions 3 k (pair), 3 k + 1 and 3 k + 2."""
    numbers = np.arange(n_pairs, dtype=np.int64)
    table = pl.DataFrame(
        {
            "condition_id": [f"pair{number}" for number in numbers],
            "first": [f"A{number}" for number in numbers],
            "second": [f"B{number}" for number in numbers],
            "cell_iname": ["line"] * n_pairs,
            "pert_type": ["trt_xpr"] * n_pairs,
        }
    )
    own = np.full((n_pairs, 2), -1, dtype=np.int64) if own_genes is None else own_genes
    return PairMembers(table, 3 * numbers, 3 * numbers + 1, 3 * numbers + 2, own)


def noisy(truth: NDArray[Any], sd: float, control_sd: float, seed: int) -> ReplicateBlocks:
    """Measure (C, G) responses in blocks, all against the same controls."""
    generator = np.random.default_rng(seed)
    blocks = truth[:, None] + sd * np.sqrt(N_BLOCKS) * generator.standard_normal(
        (len(truth), N_BLOCKS, truth.shape[1])
    )
    controls = control_sd * np.sqrt(N_BLOCKS) * generator.standard_normal((N_BLOCKS, 1, truth.shape[1]))
    shares = np.full(N_BLOCKS, 1 / N_BLOCKS)
    return ReplicateBlocks(
        means=list(blocks - controls.mean(axis=0)),
        shares=[shares] * len(truth),
        control_noise=noise_vectors(controls, shares[:, None]),
        control_shares=np.ones((len(truth), 1)),
        n_replicates=np.full(len(truth), N_BLOCKS),
    )


def planted(kind: str, n_pairs: int = 1, seed: int = 0) -> NDArray[np.float64]:
    """Return (3 n_pairs, G) responses whose pairs are 2 A, A / 2, A, or A with as much that is new."""
    generator = np.random.default_rng(seed)
    rows = []
    for _ in range(n_pairs):
        first, second, new = generator.standard_normal((3, N_GENES))
        both = {
            "synergy": 2 * (first + second),
            "suppression": 0.5 * (first + second),
            "additive": first + second,
            "neomorphism": first + second + 1.5 * new,
            "masked": second,
        }[kind]
        rows += [both, first, second]
    return np.array(rows)


def column(found: PairInteractions, name: str) -> NDArray[np.float64]:
    values: NDArray[np.float64] = found.table[name].cast(pl.Float64).fill_null(np.nan).to_numpy()
    return values


def row_of(found: PairInteractions, number: int = 0) -> dict[str, Any]:
    row: dict[str, Any] = found.table.row(number, named=True)
    return row


@pytest.mark.parametrize("kind", ["synergy", "suppression", "additive", "neomorphism"])
def test_planted_kinds_are_told_with_and_without_noise(kind: str) -> None:
    truth = planted(kind, n_pairs=5)
    exact = interactions_of_responses(members(5), truth)
    found = pair_interactions(members(5), noisy(truth, 0.4, 0.3, seed=1))
    assert set(exact.kinds) == set(found.kinds) == {kind}


def test_a_masked_single_has_coefficient_zero_and_the_other_one() -> None:
    row = row_of(interactions_of_responses(members(1), planted("masked")))
    assert row["c1"] == pytest.approx(0, abs=1e-6) and row["c2"] == pytest.approx(1, abs=1e-6)
    assert row["outside_share"] == pytest.approx(0, abs=1e-6) and row["kind"] == "suppression"


def test_lengths_and_coefficients_do_not_depend_on_the_noise() -> None:
    truth = planted("synergy", n_pairs=60)
    exact = interactions_of_responses(members(60), truth)
    found = pair_interactions(members(60), noisy(truth, 0.6, 0.4, seed=3))
    plain = noisy(truth, 0.6, 0.4, seed=3)
    responses = np.stack([plain.response(number) for number in range(180)])
    with_noise = interactions_of_responses(members(60), responses)
    for name, tolerance in (("c", 0.08), ("c1", 0.08), ("excess", 0.8), ("relative_excess", 0.02)):
        assert np.median(column(found, name)) == pytest.approx(column(exact, name).mean(), abs=tolerance)
    assert column(with_noise, "excess").mean() > column(exact, "excess").mean() + 3
    assert column(with_noise, "c").mean() < column(exact, "c").mean() - 0.2
    assert column(with_noise, "outside_share").mean() > 0.15
    assert np.median(column(found, "outside_share")) < 0.03


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    truth = planted("neomorphism", n_pairs=120, seed=4)
    exact = interactions_of_responses(members(120), truth)
    found = pair_interactions(members(120), noisy(truth, 0.8, 0.5, seed=5))
    for name in ("c", "c1", "c2", "excess", "outside_share"):
        low, high = (column(found, f"{name}_{end}") for end in ("low", "high"))
        held = (low <= column(exact, name)) & (column(exact, name) <= high)
        assert 0.88 <= held.mean() <= 1.0, name


def test_p_values_of_additive_pairs_are_uniform_and_few_pairs_are_called() -> None:
    truth = planted("additive", n_pairs=200, seed=6)
    found = pair_interactions(members(200), noisy(truth, 1.0, 0.7, seed=7), smallest_excess=0.0)
    p = column(found, "p")
    assert 0.02 <= (p < 0.05).mean() <= 0.09 and 0.4 <= p.mean() <= 0.6
    assert sum(kind != "additive" for kind in found.kinds) <= 3


def test_noise_that_genes_share_does_not_make_interactions() -> None:
    generator = np.random.default_rng(8)
    truth = planted("additive", n_pairs=100, seed=8)
    blocks = noisy(truth, 0.3, 0.2, seed=9)
    shared = generator.standard_normal((3, N_GENES))
    means = [each + 0.8 * generator.standard_normal((N_BLOCKS, 3)) @ shared for each in blocks.means]
    correlated = ReplicateBlocks(
        means, blocks.shares, blocks.control_noise, blocks.control_shares, blocks.n_replicates
    )
    p = column(pair_interactions(members(100), correlated, smallest_excess=0.0), "p")
    assert (p < 0.05).mean() <= 0.12


def test_perturbed_genes_do_not_count() -> None:
    truth = planted("additive")
    truth[0, 7] += 1000.0
    own = np.array([[7, -1]])
    assert interactions_of_responses(members(1), truth).kinds != ("additive",)
    found = interactions_of_responses(members(1, own), truth)
    assert found.kinds == ("additive",) and found.excess[0, 7] == 0 == found.sum_of_singles[0, 7]


def test_singles_that_do_nothing_leave_c_undefined_and_make_the_pair_neomorphic() -> None:
    truth = planted("neomorphism")
    truth[1:] = 0.0
    row = row_of(pair_interactions(members(1), noisy(truth, 0.3, 0.2, seed=10)))
    assert row["c"] is None and row["c1"] is None and row["c_low"] is None
    assert row["kind"] == "neomorphism" and row["outside_share"] == 1.0


def test_nothing_has_no_kind_and_no_share() -> None:
    found = pair_interactions(members(30), noisy(np.zeros((90, N_GENES)), 0.3, 0.2, seed=11))
    assert found.kinds.count("additive") >= 29
    assert np.isnan(column(found, "outside_share")).sum() >= 28


def test_the_same_seed_gives_the_same_table_and_another_moves_only_intervals() -> None:
    blocks, pairs = noisy(planted("synergy", 4), 1.0, 0.5, seed=12), members(4)
    first, again = (pair_interactions(pairs, blocks, seed=1).table for _ in range(2))
    other = pair_interactions(pairs, blocks, seed=2).table
    assert first.equals(again)
    assert first["c"].equals(other["c"]) and not first["c_low"].equals(other["c_low"])


def test_half_correlations_are_those_of_halves_that_share_no_measurement() -> None:
    additive = pair_interactions(members(40), noisy(planted("additive", 40), 1.0, 0.7, seed=14))
    strong = pair_interactions(members(40), noisy(planted("neomorphism", 40), 0.3, 0.2, seed=15))
    assert abs(column(additive, "half_correlation").mean()) < 0.03
    assert 0.7 < column(strong, "half_correlation").mean() < 0.85


def test_faults_name_what_to_do() -> None:
    with pytest.raises(ConfigError, match="at least 100 draws"):
        pair_interactions(members(1), noisy(planted("additive"), 1, 1, seed=0), n_draws=10)
    with pytest.raises(SchemaError, match="no pairs"):
        pair_interactions(members(0), noisy(planted("additive"), 1, 1, seed=0))
    with pytest.raises(SchemaError, match="one replicate"):
        ReplicateBlocks(
            [np.zeros((1, 3))], [np.ones(1)], np.zeros((2, 0, 3)), np.zeros((1, 0)), np.ones(1, np.int64)
        )
    with pytest.raises(SchemaError, match="lacks first"):
        PairMembers(members(1).table.drop("first"), *(np.zeros(1, np.int64),) * 3, np.zeros((1, 1), np.int64))
