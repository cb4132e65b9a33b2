"""Pairs against the sum of their singles: planted coefficients are found, and nothing is called nothing."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pertcast.analysis.epistasis import KINDS, PairMembers, interactions_of_responses
from pertcast.analysis.pair_excess import PAIR_SCHEMA, pair_excess, summarise_pairs
from pertcast_data.errors import ConfigError, SchemaError
from polars.testing import assert_frame_equal

N_GENES = 60
GENES = [f"G{gene}" for gene in range(N_GENES)]
Floats = NDArray[np.floating]


def singles(n_pairs: int, seed: int = 0) -> tuple[Floats, Floats]:
    first, second = np.random.default_rng(seed).normal(size=(2, n_pairs, N_GENES))
    return first, second


def mixed(n_pairs: int, seed: int = 0) -> tuple[Floats, Floats, Floats]:
    """Pairs with random coefficients and a share that neither single has."""
    random = np.random.default_rng(seed)
    first, second = singles(n_pairs, seed + 1)
    c1, c2, new = random.uniform(0.0, 2.2, (3, n_pairs, 1))
    return c1 * first + c2 * second + 0.7 * new * random.normal(size=first.shape), first, second


def test_planted_coefficients_are_found() -> None:
    first, second = singles(20)
    c1, c2 = np.random.default_rng(9).uniform(-1.0, 3.0, (2, 20, 1))
    table = pair_excess(c1 * first + c2 * second, first, second, GENES)
    assert table.schema == PAIR_SCHEMA
    np.testing.assert_allclose(table["c1"], c1[:, 0], rtol=1e-9)
    np.testing.assert_allclose(table["c2"], c2[:, 0], rtol=1e-9)
    assert table["fit_r2"].to_numpy() == pytest.approx(1.0)
    expected = np.sqrt(np.square((c1 - 1) * first + (c2 - 1) * second).mean(axis=1))
    np.testing.assert_allclose(table["excess_size"], expected, rtol=1e-9)
    np.testing.assert_allclose(table["dominance"], np.abs(np.log10(np.abs(c1 / c2)))[:, 0], rtol=1e-6)


def test_kinds_and_coefficients_are_those_of_measured_pairs_without_noise() -> None:
    pair, first, second = mixed(60)
    pair[:5] = first[:5] + 1.05 * second[:5]
    members = PairMembers(
        table=pl.DataFrame(
            {name: ["x"] * 60 for name in ("condition_id", "first", "second", "cell_iname", "pert_type")}
        ),
        both=np.arange(60),
        first=np.arange(60, 120),
        second=np.arange(120, 180),
        own_genes=np.stack([np.arange(60) % N_GENES, np.full(60, -1)], axis=1),
    )
    expected = interactions_of_responses(members, np.concatenate([pair, first, second])).table
    found = pair_excess(pair, first, second, GENES, own_genes=members.own_genes)
    assert found["kind"].to_list() == expected["kind"].to_list()
    assert set(found["kind"]) == {"additive", "synergy", "suppression", "neomorphism"}
    for name in ("c", "c1", "c2", "relative_excess", "dominance", "similarity"):
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-6, err_msg=name)
    np.testing.assert_allclose(
        1 - found["fit_r2"].to_numpy(), expected["outside_share"], rtol=1e-6, atol=1e-12
    )
    size = expected["excess"].to_numpy() / np.sqrt(N_GENES - 1)
    np.testing.assert_allclose(found["excess_size"], size, rtol=1e-6)


def test_a_model_that_adds_in_single_precision_has_no_excess_and_that_is_said() -> None:
    first, second = (each.astype(np.float32) * 0.1 for each in singles(30))
    second[:5] = -first[:5] + np.float32(1e-3)
    basal = np.float32(9.0)
    pair = (basal + first + second) - basal
    table = pair_excess(pair, first, second, GENES)
    assert (pair != first + second).any()
    assert set(table["excess_size"]) == {0.0} and set(table["relative_excess"]) == {0.0}
    assert set(table["kind"]) == {"additive"}
    assert set(table["excess_top_up"]) == {""} and set(table["excess_top_down"]) == {""}
    summary = summarise_pairs([table])
    assert "predicts no interactions" in summary.sentence()
    assert summary.n_without_excess == summary.n_pairs == 30


@pytest.mark.parametrize(
    ("factors", "new", "kind"),
    [
        ((1.0, 1.0), 0.0, "additive"),
        ((1.1, 1.1), 0.0, "additive"),
        ((2.0, 2.0), 0.0, "synergy"),
        ((0.4, 0.4), 0.0, "suppression"),
        ((1.0, 0.0), 0.0, "suppression"),
        ((1.0, 1.0), 1.5, "neomorphism"),
        ((0.0, 0.0), 0.0, "suppression"),
        ((1.8, 0.2), 0.0, "unresolved"),
    ],
)
def test_a_planted_interaction_gets_its_word(factors: tuple[float, float], new: float, kind: str) -> None:
    first, second, third = np.eye(3, N_GENES)[:, None]
    pair = factors[0] * first + factors[1] * second + new * third
    table = pair_excess(pair, first, second, GENES)
    assert table["kind"].to_list() == [kind] and kind in KINDS


def test_the_single_that_counts_threefold_is_named_where_the_pair_is_not_additive() -> None:
    first, second = singles(4)
    factors = np.array([[1.0, 0.1], [0.2, 1.1], [1.0, 1.0], [1.2, 0.6]])
    pair = factors[:, :1] * first + factors[:, 1:] * second
    table = pair_excess(pair, first, second, GENES)
    assert table["dominant_single"].to_list() == ["first", "second", None, None]
    assert table["kind"][2] == "additive"


def test_coefficients_of_singles_that_are_one_direction_are_null_and_all_else_is_not() -> None:
    first, _ = singles(3)
    second = np.stack([2 * first[0], np.zeros(N_GENES), -0.5 * first[2]])
    table = pair_excess(2.0 * (first + second), first, second, GENES)
    assert table["c1"].null_count() == table["c2"].null_count() == table["dominance"].null_count() == 3
    assert table["kind"].to_list() == ["synergy"] * 3
    assert table["fit_r2"].to_numpy() == pytest.approx(1.0)
    assert table["c"].to_numpy() == pytest.approx(2.0)
    assert table["similarity"].to_list() == [pytest.approx(1.0), None, pytest.approx(-1.0)]


def test_a_pair_whose_singles_do_nothing_is_new_and_nothing_at_all_is_additive() -> None:
    nothing = np.zeros((2, N_GENES))
    pair = np.stack([np.ones(N_GENES), np.zeros(N_GENES)])
    table = pair_excess(pair, nothing, nothing, GENES)
    assert table["kind"].to_list() == ["neomorphism", "additive"]
    assert table["excess_share"].to_list() == [1.0, 0.0]
    assert table["relative_excess"].to_list() == [1.0, 0.0]
    for name in ("c", "c1", "c2", "additive_cosine", "similarity"):
        assert table[name].null_count() == 2, name
    assert table["fit_r2"].to_list() == [0.0, None]


@given(st.integers(0, 10**6), st.floats(-3.0, 3.0), st.floats(-3.0, 3.0), st.floats(0.0, 3.0))
@settings(max_examples=40, deadline=None)
def test_shares_stay_in_their_bounds(seed: int, c1: float, c2: float, new: float) -> None:
    random = np.random.default_rng(seed)
    first, second = singles(1, seed)
    row = pair_excess(c1 * first + c2 * second + new * random.normal(size=(1, N_GENES)), first, second, GENES)
    found = row.to_dicts()[0]
    assert 0 <= found["excess_share"] <= 1
    assert 0 <= found["relative_excess"] <= np.sqrt(2) + 1e-12
    for name in ("additive_cosine", "similarity"):
        assert found[name] is None or -1 <= found[name] <= 1
    assert found["fit_r2"] is None or 0 <= found["fit_r2"] <= 1


def test_the_relative_excess_is_the_same_for_twice_and_for_half_the_sum() -> None:
    first, second = singles(1)
    sizes = [
        pair_excess(c * (first + second), first, second, GENES)["relative_excess"].item() for c in (2, 0.5)
    ]
    assert sizes[0] == pytest.approx(sizes[1]) == pytest.approx(np.sqrt(0.2))


def test_swapping_the_singles_swaps_what_belongs_to_them_and_nothing_else() -> None:
    pair, first, second = mixed(20)
    one = pair_excess(pair, first, second, GENES)
    other = pair_excess(pair, second, first, GENES)
    names = {"first_size": "second_size", "second_size": "first_size", "c1": "c2", "c2": "c1"}
    swapped = other.rename(names).select(PAIR_SCHEMA.keys())
    turned = pl.col("dominant_single").replace({"first": "second", "second": "first"})
    assert_frame_equal(one, swapped.with_columns(turned), rel_tol=1e-9, abs_tol=1e-12)


def test_the_genes_with_the_largest_excess_are_named_in_order_and_by_sign() -> None:
    first, second = singles(1)
    pair = first + second
    pair[0, [3, 7, 11]] += [2.0, 5.0, 1.0]
    pair[0, [2, 9]] -= [3.0, 4.0]
    table = pair_excess(pair, first, second, GENES)
    named = [name.split(";") for name in (table["excess_top_up"][0], table["excess_top_down"][0])]
    assert named[0][:3] == ["G7", "G3", "G11"] and named[1][:2] == ["G9", "G2"]
    few = pair_excess(pair, first, second, GENES, n_top=2)
    assert (few["excess_top_up"][0], few["excess_top_down"][0]) == ("G7;G3", "G9;G2")
    none = pair_excess(pair, first, second, GENES, n_top=0)
    assert (none["excess_top_up"][0], none["excess_top_down"][0]) == ("", "")


def test_perturbed_genes_are_left_out_as_if_they_were_no_genes() -> None:
    pair, first, second = mixed(6)
    own = np.array([[0, 5]] * 6)
    pair[:, [0, 5]] += 100.0
    found = pair_excess(pair, first, second, GENES, own_genes=own)
    kept = [gene for gene in range(N_GENES) if gene not in (0, 5)]
    expected = pair_excess(pair[:, kept], first[:, kept], second[:, kept], [GENES[gene] for gene in kept])
    assert_frame_equal(found, expected)


def test_a_pair_does_not_depend_on_the_pairs_beside_it() -> None:
    pair, first, second = (each.astype(np.float32) for each in mixed(9_000))
    whole = pair_excess(pair, first, second, GENES)
    parts = [
        pair_excess(pair[rows], first[rows], second[rows], GENES) for rows in (slice(0, 7), slice(7, None))
    ]
    assert_frame_equal(whole, pl.concat(parts), check_exact=True)


def test_no_pair_is_an_empty_table() -> None:
    none = np.empty((0, N_GENES))
    table = pair_excess(none, none, none, GENES)
    assert table.schema == PAIR_SCHEMA and table.height == 0
    assert summarise_pairs([table]).sentence() == "There are no pairs."
    assert summarise_pairs([]).sentence() == "There are no pairs."


def test_what_does_not_fit_is_refused_with_its_place() -> None:
    pair, first, second = mixed(3)
    with pytest.raises(SchemaError, match="do not fit"):
        pair_excess(pair, first[:2], second, GENES)
    with pytest.raises(SchemaError, match="do not fit"):
        pair_excess(pair, first, second, GENES[1:])
    with pytest.raises(SchemaError, match="Pair 1 perturbs gene 60"):
        pair_excess(pair, first, second, GENES, own_genes=np.array([[0], [60], [1]]))
    with pytest.raises(SchemaError, match="give \\(pairs, genes a pair\\)"):
        pair_excess(pair, first, second, GENES, own_genes=np.array([0, 1, 2]))
    second[2, 4] = np.nan
    with pytest.raises(SchemaError, match="second single in row 2"):
        pair_excess(pair, first, second, GENES)
    with pytest.raises(ConfigError, match="smallest_excess=-1"):
        pair_excess(pair, first, first, GENES, smallest_excess=-1)


def test_a_summary_of_blocks_is_that_of_the_whole() -> None:
    pair, first, second = mixed(50)
    table = pair_excess(pair, first, second, GENES)
    whole, parts = summarise_pairs([table]), summarise_pairs([table[:13], table[13:14], table[14:]])
    assert whole == parts
    assert sum(whole.counts.values()) == whole.n_pairs == 50
    assert dict(whole.counts) == {kind: table["kind"].to_list().count(kind) for kind in KINDS}
    ratio = table["excess_size"] / pl.Series(np.maximum(table["first_size"], table["second_size"]))
    assert whole.excess_per_single == pytest.approx(ratio.median(), rel=1e-5)


def test_an_excess_that_only_follows_the_size_of_the_sum_is_shown_beside_it() -> None:
    first, second = singles(40)
    size = np.linspace(0.1, 3.0, 40)[:, None]
    first, second = first * size, second * size
    summary = summarise_pairs([pair_excess(1.5 * (first + second), first, second, GENES)])
    assert summary.excess_by_sum > 0.95
    assert "Spearman" in summary.sentence() and "40 synergy" in summary.sentence()
