"""A query's table: normalised scores, tau, q-values, ranks, against plain definitions."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from pertcast.analysis.connectivity import (
    ConnectivityIndex,
    QueryOptions,
    QueryResult,
    Signature,
    ask_library,
)
from pertcast.analysis.connectivity.consensus import consensus_table
from pertcast.analysis.connectivity.significance import q_values
from pertcast.analysis.connectivity.strata import SignedMeans, Strata, draw_stratified
from pertcast_data.errors import SchemaError
from scipy.stats import false_discovery_control

N, G, PLANTED = 240, 80, 77
GENES = tuple(f"G{number}" for number in range(G))
SIGNATURE = Signature.of_sets(GENES[:8], GENES[8:18], "mine.gmt")
FEW = QueryOptions(per_tail=4, n_references=60, n_random=200)


@pytest.fixture(scope="module")
def profiles() -> NDArray[np.float32]:
    found = np.random.default_rng(0).standard_normal((N, G)).astype(np.float32)
    found[PLANTED, :8] += 4
    found[PLANTED, 8:18] -= 4
    found[150] = -found[PLANTED]
    return found


@pytest.fixture(scope="module")
def table() -> pl.DataFrame:
    return pl.DataFrame(
        {
            "sig_id": [f"S{row}" for row in range(N)],
            "pert_id": [f"P{row % 120}" for row in range(N)],
            "cell_iname": ["A549"] * 120 + ["MCF7"] * 117 + ["PC3"] * 3,
            "pert_type": ["trt_cp"] * N,
        }
    )


def asked(profiles: NDArray[np.float32], table: pl.DataFrame, score: str, **changes: object) -> QueryResult:
    prepared, mapping = SIGNATURE.prepare(GENES, score)
    options = {"library": "predicted (s)", "mapping": mapping, "options": FEW} | changes
    return ask_library(ConnectivityIndex.in_memory(profiles), table, prepared, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("score", ["wtcs", "cosine", "xsum"])
def test_the_planted_profile_mimics_first_and_its_opposite_reverses_first(
    score: str, profiles: NDArray[np.float32], table: pl.DataFrame
) -> None:
    found = asked(profiles, table, score)
    assert found.tail("mimics")["sig_id"][0] == f"S{PLANTED}"
    assert found.tail("reverses")["sig_id"][0] == "S150"
    assert found.tail("mimics")["tau"][0] == 100 and found.tail("reverses")["tau"][0] == -100
    assert found.table["sig_id"][0] == f"S{PLANTED}" and found.table["sig_id"][-1] == "S150"
    assert found.table.height == N and found.table["tau"].drop_nulls().len() == 8


def test_a_normalised_score_is_the_score_over_the_mean_of_its_sign_in_its_stratum(
    profiles: NDArray[np.float32], table: pl.DataFrame
) -> None:
    found = asked(profiles, table, "cosine").table
    for line in ("A549", "MCF7"):
        own = found.filter(pl.col("cell_iname") == line)
        for row in own.iter_rows(named=True):
            raw = row["raw_cs"]
            alike = own.filter(pl.col("raw_cs").sign() == np.sign(raw))["raw_cs"]
            assert row["norm_cs"] == pytest.approx(raw / abs(alike.mean()))  # type: ignore[arg-type]


def test_a_stratum_with_few_scores_has_no_normalised_score_and_the_result_says_so(
    profiles: NDArray[np.float32], table: pl.DataFrame
) -> None:
    found = asked(profiles, table, "cosine")
    small = found.table.filter(pl.col("cell_iname") == "PC3")
    assert small.height == 3 and small["norm_cs"].null_count() == 3 and small["tau"].null_count() == 3
    assert any("3 profiles without norm_cs" in remark and "PC3, trt_cp" in remark for remark in found.remarks)
    last = found.table.filter(pl.col("word") == "mimics").sort("rank").tail(3)
    assert set(small.filter(pl.col("word") == "mimics")["sig_id"]) <= set(last["sig_id"])


def test_tau_is_the_share_of_reference_queries_that_are_connected_less(
    profiles: NDArray[np.float32], table: pl.DataFrame
) -> None:
    own, rows = table[:237], np.arange(237)
    prepared, _ = SIGNATURE.prepare(GENES, "wtcs")
    everyone = QueryOptions(per_tail=4, n_references=N, n_random=50)
    found = asked(profiles[:237], own, "wtcs", options=everyone).tail("mimics")
    # With a reference query of every row nothing is drawn.
    index, strata = ConnectivityIndex.in_memory(profiles[:237]), Strata.of(own)
    scores = index.scores(prepared.like_profiles(profiles[:237]))
    normal = SignedMeans.of(scores, strata.of_row, 2).normalise(scores, strata.of_row)
    for row in found.iter_rows(named=True):
        place = int(row["sig_id"][1:])
        others = np.abs(normal[rows != place, place])
        assert row["tau"] == pytest.approx(100 * (others < row["norm_cs"]).mean())


def test_q_is_benjamini_and_hochbergs_beside_the_null_of_each_sign() -> None:
    random = np.random.default_rng(0)
    scores, null = random.standard_normal(200), random.standard_normal(5000)
    scores[:5] += 4
    scores[7] = 0
    q = q_values(scores, null)
    p = np.array([(1 + (null >= each).sum()) / 5001 if each > 0 else 1.0 for each in scores])
    expected = false_discovery_control(p, method="bh")
    assert np.allclose(q[scores > 0], expected[scores > 0]) and q[7] == 1
    assert np.allclose(q_values(-scores, -null)[scores > 0], expected[scores > 0])


def test_queries_of_random_genes_find_nothing(table: pl.DataFrame) -> None:
    noise = np.random.default_rng(9).standard_normal((N, G)).astype(np.float32)
    q = 10 ** -asked(noise, table, "wtcs").table["fdr_q_nlog10"].to_numpy()
    assert (q > 0.05).all() and (q <= 1).all()


def test_xsum_has_no_q_value_and_the_result_says_why(
    profiles: NDArray[np.float32], table: pl.DataFrame
) -> None:
    found = asked(profiles, table, "xsum")
    assert found.table["fdr_q_nlog10"].null_count() == N
    assert any("grows with a profile's effect" in remark for remark in found.to_json()["remarks"])


def test_the_same_seed_gives_the_same_table_and_ties_rank_by_row(
    profiles: NDArray[np.float32], table: pl.DataFrame
) -> None:
    twice = profiles.copy()
    twice[30] = twice[10]
    first, second = asked(twice, table, "wtcs"), asked(twice, table, "wtcs")
    assert first.table.equals(second.table)
    ranks = dict(first.table.select("sig_id", "rank").iter_rows())
    assert ranks["S30"] == ranks["S10"] + 1


def test_only_the_rows_asked_for_are_searched_and_normalised(
    profiles: NDArray[np.float32], table: pl.DataFrame
) -> None:
    rows = np.arange(120, 237)
    found = asked(profiles, table, "cosine", rows=rows)
    alone = asked(profiles[rows], table[rows], "cosine")
    assert found.table.equals(alone.table)


def test_a_table_that_does_not_fit_is_refused(profiles: NDArray[np.float32], table: pl.DataFrame) -> None:
    with pytest.raises(SchemaError, match="its table 10 rows"):
        asked(profiles, table[:10], "cosine")
    with pytest.raises(SchemaError, match="No profile is left"):
        asked(profiles, table, "cosine", rows=np.empty(0, dtype=np.int64))


def test_drawn_rows_are_shares_of_the_strata_and_no_stratum_is_left_out() -> None:
    strata = Strata.of(
        pl.DataFrame({"cell_iname": ["A"] * 900 + ["B"] * 99 + ["C"], "pert_type": ["trt_cp"] * 1000})
    )
    drawn = draw_stratified(strata, 100, np.random.default_rng(0))
    counts = np.bincount(strata.of_row[drawn])
    assert abs(counts[0] - 90) <= 1 and abs(counts[1] - 10) <= 1 and counts[2] == 1
    assert (np.diff(drawn) > 0).all()


def test_a_perturbation_is_summed_up_by_its_maximum_quantile() -> None:
    scores = {"A": [3.0, 0.1, 0.2, 2.0], "B": [-4.0, -3.0, 0.5], "C": [None]}
    rows = [(name, f"L{i}", value) for name, values in scores.items() for i, value in enumerate(values)]
    table = pl.DataFrame(rows, schema=["pert_id", "cell_iname", "norm_cs"], orient="row").with_columns(
        pert_type=pl.lit("trt_cp")
    )
    found = consensus_table(table)
    assert found["pert_id"].to_list() == ["A", "B"] and found["word"].to_list() == ["mimics", "reverses"]
    a, b = np.array(scores["A"]), np.array(scores["B"])
    assert found["norm_cs"].to_list() == pytest.approx([np.quantile(a, 0.67), np.quantile(b, 0.33)])
    assert found["n_cells"].to_list() == [4, 3] and found["median_norm_cs"][1] == -3.0


def test_lines_show_mapping_both_tails_and_what_limits_them(
    profiles: NDArray[np.float32], table: pl.DataFrame
) -> None:
    found = asked(profiles, table, "wtcs")
    told = "\n".join(found.lines())
    assert told.startswith("240 profiles of the library predicted (s), by weighted connectivity")
    assert "up: 8 of 8 genes used" in told and "Mimickers: 4 of" in told and "Reversers: 4 of" in told
    assert max(map(len, told.splitlines())) <= 110
    assert "perturbations of the library" in "\n".join(found.summary().lines())
