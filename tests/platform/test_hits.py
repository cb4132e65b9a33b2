"""Hits and neighbours: definitions on small arrays, order, nothing invented."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from pertcast.analysis.hits import HIT_COLUMNS, condition_statistics, hit_columns, rank_hits

GENES = tuple("ABCDE")


def _sig_info(n: int, **columns: object) -> pl.DataFrame:
    base = {
        "sig_id": [f"s{i}" for i in range(n)],
        "pert_id": [f"p{i}" for i in range(n)],
        "cmap_name": [f"p{i}" for i in range(n)],
        "cell_iname": ["X"] * n,
        "pert_type": ["trt_cp"] * n,
        "pert_dose": [1.0] * n,
        "pert_time": [24.0] * n,
        "seen_pert": [True] * n,
        "seen_cell": [True] * n,
        "is_in_domain": [True] * n,
    }
    return pl.DataFrame({**base, **columns})


def test_statistics_are_what_their_definitions_say() -> None:
    mean = np.array([[3.0, -4.0, 0.0, 0.0, 0.0]], np.float32)
    sd = np.array([[1.0, 2.5, 1.0, 1.0, 1.0]], np.float32)
    row = condition_statistics(mean, sd, GENES, n_top=2).row(0, named=True)
    assert row["effect_size"] == pytest.approx(np.sqrt(25 / 5))
    assert row["effect_up"] == pytest.approx(np.sqrt(9 / 5))
    assert row["effect_down"] == pytest.approx(np.sqrt(16 / 5))
    assert row["n_deg"] == 1
    assert row["pred_sd"] == pytest.approx(np.sqrt((4 + 6.25) / 5))
    assert (row["top_up"], row["top_down"]) == ("A", "B")


def test_without_a_spread_nothing_is_counted_as_changed() -> None:
    found = condition_statistics(np.ones((2, 5), np.float32), None, GENES)
    assert found["n_deg"].to_list() == [None, None]
    assert found["pred_sd"].to_list() == [None, None]


def test_top_genes_come_strongest_first_with_ties_in_gene_order() -> None:
    mean = np.array([[1.0, 2.0, 2.0, -1.0, -3.0]], np.float32)
    row = condition_statistics(mean, None, GENES, n_top=3).row(0, named=True)
    assert row["top_up"] == "B;C;A"
    assert row["top_down"] == "E;D"


def test_hits_are_ranked_by_effect_with_ties_by_name_and_no_invented_p_value() -> None:
    mean = np.array([[1, 0], [0, -2], [0.5, -0.5], [0, 2]], np.float32)
    statistics = condition_statistics(mean, None, ("A", "B"))
    hits = rank_hits(pl.concat([_sig_info(4), statistics], how="horizontal"))
    assert tuple(hits.columns) == HIT_COLUMNS
    assert hits["sig_id"].to_list() == ["s1", "s3", "s0", "s2"]
    assert hits["rank"].to_list() == [1, 2, 3, 4]
    assert dict(hits.select("sig_id", "rank_neg").iter_rows()) == {"s1": 1, "s2": 2, "s0": 3, "s3": 4}
    assert dict(hits.select("sig_id", "rank_pos").iter_rows()) == {"s3": 1, "s0": 2, "s2": 3, "s1": 4}
    assert hits["p_value"].null_count() == hits["fdr"].null_count() == hits["calibration"].null_count() == 4


def test_given_p_values_stand_with_their_conditions_and_missing_ones_are_null() -> None:
    mean = np.array([[1, 0], [0, -2], [0.5, -0.5], [0, 2]], np.float32)
    info = pl.concat([_sig_info(4), condition_statistics(mean, None, ("A", "B"))], how="horizontal")
    p_value, fdr = np.array([0.2, np.nan, 0.5, 0.1]), np.array([0.3, np.nan, 0.5, 0.3])
    texts = pl.Series(["X", "none: far from training", "X", "X"])
    hits = rank_hits(info, p_value=p_value, fdr=fdr, calibration=texts)
    assert hits["sig_id"].to_list() == ["s1", "s3", "s0", "s2"]
    assert hits["p_value"].to_list() == [None, 0.1, 0.2, 0.5]
    assert hits["fdr"].to_list() == [None, 0.3, 0.3, 0.5]
    assert hits["calibration"][0] == "none: far from training"


def test_hits_made_in_blocks_equal_those_of_the_whole_table() -> None:
    mean = np.random.default_rng(0).standard_normal((9, 5)).astype(np.float32)
    info = pl.concat([_sig_info(9), condition_statistics(mean, None, GENES)], how="horizontal")
    p_value = np.linspace(0.1, 0.9, 9)
    whole = rank_hits(info, p_value=p_value, fdr=p_value)
    by_name = info.select("sig_id").join(whole, on="sig_id", maintain_order="left")
    ranks = {name: by_name[name].to_numpy() for name in ("rank", "rank_pos", "rank_neg")}
    blocks = [
        hit_columns(
            info[rows],
            ranks={name: values[rows] for name, values in ranks.items()},
            p_value=p_value[rows],
            fdr=p_value[rows],
        )
        for rows in (slice(0, 4), slice(4, 9))
    ]
    assert pl.concat(blocks).sort("rank").equals(whole)


def test_a_flag_names_what_is_extrapolated_and_stays_empty_where_nothing_is_known() -> None:
    info = _sig_info(
        5,
        seen_pert=[True, False, False, True, None],
        seen_cell=[True, True, True, False, None],
        is_in_domain=[True, True, False, True, None],
    )
    statistics = condition_statistics(np.arange(5, 0, -1, dtype=np.float32)[:, None], None, ("A",))
    flags = rank_hits(pl.concat([info, statistics], how="horizontal"))["flag"].to_list()
    assert flags == [
        "seen in training",
        "extrapolation: perturbation not in training",
        "extrapolation: far from training",
        "extrapolation: cell line not in training",
        None,
    ]
