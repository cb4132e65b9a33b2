"""Neighbours: a brute force search agrees, and neither blocks, memory nor layout change a bit of them."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
import torch
from numpy.typing import NDArray
from pertcast.analysis.neighbors import (
    NEIGHBOR_SCHEMA,
    NeighborBlock,
    nearest_and_opposite,
    neighbor_blocks,
    neighbors_of,
    write_neighbors,
)
from pertcast_data.errors import SchemaError

Triples = set[tuple[int, int, str]]


def reader(profiles: NDArray[np.floating]) -> Callable[[NDArray[np.int64]], NDArray[np.float32]]:
    return lambda rows: profiles[rows].astype(np.float32)


def codes(values: list[int] | NDArray[np.int64]) -> NDArray[np.int64]:
    return np.asarray(values, dtype=np.int64)


def brute_force(
    profiles: NDArray[np.floating], stratum: NDArray[np.int64], perturbation: NDArray[np.int64], keep: int
) -> Triples:
    wide = profiles.astype(np.float64)
    unit = wide / np.linalg.norm(wide, axis=1, keepdims=True)
    found: Triples = set()
    for i in range(len(unit)):
        others = np.flatnonzero((stratum == stratum[i]) & (perturbation != perturbation[i]))
        cosine = unit[others] @ unit[i]
        order = np.argsort(cosine, kind="stable")
        found |= {(i, int(others[j]), "mimics") for j in order[::-1][:keep] if cosine[j] > 0}
        found |= {(i, int(others[j]), "reverses") for j in order[:keep] if cosine[j] < 0}
    return found


def triples(blocks: list[NeighborBlock]) -> Triples:
    return {
        (int(query), int(row), tail)
        for block in blocks
        for tail, rows in (("mimics", block.mimic_rows), ("reverses", block.reverse_rows))
        for query, line in zip(block.queries, rows, strict=True)
        for row in line[line >= 0]
    }


def bits(blocks: list[NeighborBlock]) -> list[NDArray[np.generic]]:
    fields = ("queries", "mimic_rows", "mimic_cosine", "reverse_rows", "reverse_cosine")
    return [np.concatenate([getattr(block, field) for block in blocks]) for field in fields]


def same_bits(one: list[NeighborBlock], other: list[NeighborBlock]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(bits(one), bits(other), strict=True))


def sig_info(n: int, **columns: object) -> pl.DataFrame:
    base = {
        "sig_id": [f"s{i}" for i in range(n)],
        "pert_id": [f"p{i}" for i in range(n)],
        "cell_iname": ["X"] * n,
        "pert_type": ["trt_cp"] * n,
    }
    return pl.DataFrame({**base, **columns})


@pytest.fixture(scope="module")
def screen() -> tuple[NDArray[np.float16], NDArray[np.int64], NDArray[np.int64]]:
    """700 correlated profiles in three strata, one of them small; four doses a perturbation."""
    rng = np.random.default_rng(0)
    factors = rng.standard_normal((700, 5)) @ rng.standard_normal((5, 33))
    profiles = (factors + rng.standard_normal((700, 33))).astype(np.float16)
    return profiles, codes(np.repeat([4, 1, 2], [500, 190, 10])), codes(np.arange(700) // 4 % 60)


@pytest.mark.parametrize("block_rows", [3, 100, 128, 1024])
def test_blocks_equal_a_brute_force_search_whatever_their_size(screen: tuple, block_rows: int) -> None:
    found = list(neighbor_blocks(*screen[1:], reader(screen[0]), per_tail=7, block_rows=block_rows))
    assert triples(found) == brute_force(*screen, keep=7)
    assert np.concatenate([block.queries for block in found]).tolist() == list(range(700))
    assert all((np.diff(block.mimic_cosine, axis=1) <= 0).all() for block in found)
    assert all((np.diff(block.reverse_cosine, axis=1) >= 0).all() for block in found)


@pytest.mark.parametrize("layout", ["interleaved", "falling"])
def test_profiles_of_a_stratum_need_not_lie_together(screen: tuple, layout: str) -> None:
    profiles, _, perturbation = screen
    stratum = codes(np.arange(700) % 3 if layout == "interleaved" else np.arange(700)[::-1] // 250)
    found = list(neighbor_blocks(stratum, perturbation, reader(profiles), per_tail=4, block_rows=64))
    assert triples(found) == brute_force(profiles, stratum, perturbation, keep=4)


@pytest.mark.parametrize("memory_bytes", [1, 40_000, 50_000, 10**9], ids=str)
@pytest.mark.parametrize("block_rows", [64, 128])
def test_neither_memory_nor_block_nor_threads_change_a_bit(
    screen: tuple, memory_bytes: int, block_rows: int
) -> None:
    """40 kB keep the candidates of a part of the largest stratum, 50 kB all, but not all its profiles."""
    profiles, stratum, perturbation = screen
    whole = list(neighbor_blocks(stratum, perturbation, reader(profiles), per_tail=3))
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        parts = neighbor_blocks(
            stratum,
            perturbation,
            reader(profiles),
            per_tail=3,
            block_rows=block_rows,
            memory_bytes=memory_bytes,
        )
        assert same_bits(whole, list(parts))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_a_stratum_that_fits_is_read_once(screen: tuple) -> None:
    read, asked = reader(screen[0]), []

    def counted(rows: NDArray[np.int64]) -> NDArray[np.float32]:
        asked.extend(rows.tolist())
        return read(rows)

    list(neighbor_blocks(*screen[1:], counted, block_rows=128))
    assert asked == list(range(700))


def test_equal_profiles_are_neighbours_in_the_order_of_rows() -> None:
    rng = np.random.default_rng(1)
    kinds = rng.standard_normal((3, 50))
    which = rng.integers(0, 3, 400)
    found = list(
        neighbor_blocks(
            codes([0] * 400), codes(np.arange(400)), reader(kinds[which]), per_tail=20, block_rows=64
        )
    )
    for block in found:
        for query, line in zip(block.queries, block.mimic_rows, strict=True):
            same = np.flatnonzero((which == which[query]) & (np.arange(400) != query))
            assert line.tolist() == same[:20].tolist()


def test_a_profile_of_zeros_has_no_neighbours_and_is_none() -> None:
    profiles = np.array([[0, 0], [1, 0], [1, 1], [-1, 0]], np.float32)
    found = list(neighbor_blocks(codes([0] * 4), codes([0, 1, 2, 3]), reader(profiles), per_tail=3))
    assert triples(found) == {
        (1, 2, "mimics"),
        (2, 1, "mimics"),
        (1, 3, "reverses"),
        (3, 1, "reverses"),
        (2, 3, "reverses"),
        (3, 2, "reverses"),
    }


def test_the_same_perturbation_at_another_dose_is_no_neighbour() -> None:
    profiles = np.ones((5, 4), np.float32)
    found = list(neighbor_blocks(codes([0] * 5), codes([7, 8, 7, 8, 8]), reader(profiles)))
    assert triples(found) == {(i, j, "mimics") for i in (0, 2) for j in (1, 3, 4)} | {
        (i, j, "mimics") for i in (1, 3, 4) for j in (0, 2)
    }


def test_a_profile_that_is_not_finite_is_named() -> None:
    profiles = np.ones((9, 4), np.float32)
    profiles[7, 2] = np.inf
    with pytest.raises(SchemaError, match="Profile 7 "):
        list(neighbor_blocks(codes([0] * 9), codes(np.arange(9)), reader(profiles)))


def test_codes_of_another_number_are_refused() -> None:
    with pytest.raises(SchemaError, match="3 strata, but 2 perturbations"):
        list(neighbor_blocks(codes([0] * 3), codes([0] * 2), reader(np.ones((3, 2)))))


def test_a_screen_without_profiles_has_no_blocks(tmp_path: Path) -> None:
    blocks = neighbor_blocks(codes([]), codes([]), reader(np.ones((0, 2))))
    assert write_neighbors(tmp_path / "n.parquet", blocks, lambda rows: pl.Series(rows).cast(pl.String)) == 0
    table = pl.read_parquet(tmp_path / "n.parquet")
    assert table.height == 0 and dict(table.schema) == NEIGHBOR_SCHEMA


def test_memory_does_not_grow_with_a_stratum_that_does_not_fit() -> None:
    limit, n_genes = 1 << 20, 64
    template = np.random.default_rng(0).standard_normal((257, n_genes)).astype(np.float32)

    def peak(n: int) -> int:
        blocks = neighbor_blocks(
            codes(np.zeros(n)),
            codes(np.arange(n)),
            lambda rows: template[rows % 257],
            per_tail=25,
            block_rows=256,
            memory_bytes=limit,
        )
        tracemalloc.start()
        next(blocks)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found - 3 * 8 * n

    assert peak(20_000) < 1.1 * peak(4_000)


def test_a_streamed_file_equals_the_table_held_in_memory(screen: tuple, tmp_path: Path) -> None:
    profiles, stratum, perturbation = screen
    info = sig_info(700, cell_iname=[f"c{i}" for i in stratum], pert_id=[f"p{i}" for i in perturbation])
    asked: list[int] = []

    def names(rows: NDArray[np.int64]) -> pl.Series:
        asked.append(len(rows))
        return info["sig_id"].gather(rows)

    blocks = neighbor_blocks(stratum, perturbation, reader(profiles), block_rows=128)
    written = write_neighbors(tmp_path / "n.parquet", blocks, names, group_rows=10_000)
    table = pl.read_parquet(tmp_path / "n.parquet")
    assert table.equals(nearest_and_opposite(info, reader(profiles)))
    assert dict(table.schema) == NEIGHBOR_SCHEMA
    assert written == table.height
    assert asked == [500, 190, 10], "names are asked for one stratum at a time"
    assert pq.ParquetFile(tmp_path / "n.parquet").num_row_groups == 3


def test_one_profile_against_its_stratum_has_the_bits_of_the_whole_search(screen: tuple) -> None:
    profiles, stratum, perturbation = screen
    [*_, whole] = (
        block for block in neighbor_blocks(stratum, perturbation, reader(profiles)) if 200 in block.queries
    )
    place = whole.queries.tolist().index(200)
    one = neighbors_of(
        200, perturbation, reader(profiles), among=np.flatnonzero(stratum == stratum[200]), block_rows=100
    )
    assert one.queries.tolist() == [200]
    for field in ("mimic_rows", "mimic_cosine", "reverse_rows", "reverse_cosine"):
        assert np.array_equal(getattr(one, field)[0], getattr(whole, field)[place]), field


def test_one_profile_is_searched_in_the_whole_screen_and_may_meet_its_own_perturbation() -> None:
    profiles = np.array([[1, 0], [1, 0.1], [1, 0.2], [-1, 0]], np.float32)
    perturbation = codes([0, 0, 1, 2])
    without = neighbors_of(0, perturbation, reader(profiles), per_tail=2)
    assert without.mimic_rows.tolist() == [[2, -1]]
    assert without.reverse_rows.tolist() == [[3, -1]]
    with_same = neighbors_of(0, perturbation, reader(profiles), per_tail=2, with_same_perturbation=True)
    assert with_same.mimic_rows.tolist() == [[1, 2]]


@pytest.mark.parametrize("block_rows", [3, 1024])
def test_the_table_of_a_small_screen_is_in_the_order_of_its_profiles(block_rows: int) -> None:
    rng = np.random.default_rng(0)
    profiles = rng.standard_normal((30, 8)).astype(np.float32)
    stratum, perturbation = codes(np.arange(30) % 2), codes(np.arange(30) // 4)
    info = sig_info(30, cell_iname=[("X", "Y")[i] for i in stratum], pert_id=[f"p{i}" for i in perturbation])
    found = nearest_and_opposite(info, reader(profiles), per_tail=3, block_rows=block_rows)
    pairs = {
        (int(one[1:]), int(other[1:]), tail)
        for one, other, tail in found.select("sig_id", "neighbor_sig_id", "tail").iter_rows()
    }
    assert pairs == brute_force(profiles, stratum, perturbation, keep=3)
    order = found.select(pl.col("sig_id").str.slice(1).cast(pl.Int64), "tail", "rank")
    assert order.equals(order.sort("sig_id", "tail", "rank"))
    assert found.filter(tail="mimics")["cosine"].min() > 0
    assert found.filter(tail="reverses")["cosine"].max() < 0
