"""A store that grows keeps its old rows, and its old state until the new one is complete."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import polars as pl
import pytest
import scipy.sparse as sparse
from pertcast_data.errors import SchemaError
from pertcast_data.store import ExpressionStore, append_rows, create_store, validate_store

GENES = 19


def observations(first: int, n_rows: int) -> pl.DataFrame:
    rng = np.random.default_rng(first)
    return pl.DataFrame(
        {
            "cell_iname": rng.choice(["A", "B"], n_rows),
            "pert_type": rng.choice(["trt_cp", "ctl_vehicle"], n_rows),
            "pert_id": rng.choice(["x", "y"], n_rows),
            "source_row": np.arange(first, first + n_rows),
        }
    )


def variables(order: np.ndarray | None = None) -> pl.DataFrame:
    names = np.array([f"g{number}" for number in range(GENES)])
    return pl.DataFrame({"gene_symbol": names if order is None else names[order]})


def values(layout: str, n_rows: int) -> Any:
    rng = np.random.default_rng(7)
    if layout == "dense":
        return rng.normal(size=(n_rows, GENES)).astype(np.float32)
    matrix = sparse.random(n_rows, GENES, 0.4, format="csr", random_state=rng)
    matrix.data = np.ceil(matrix.data * 50)
    return matrix


def create(path: Path, matrix: Any, shard_rows: int = 128) -> ExpressionStore:
    return create_store(
        path,
        obs=observations(0, matrix.shape[0]),
        var=variables(),
        batches=[matrix],
        measure="expression",
        normalisation="counts" if sparse.issparse(matrix) else "log2_intensity",
        sources=["first"],
        chunk_rows=16,
        shard_rows=shard_rows,
    )


def in_store_order(store: ExpressionStore, matrix: Any) -> np.ndarray:
    dense = matrix.toarray() if sparse.issparse(matrix) else matrix
    return dense[store.obs["source_row"].to_numpy()]


def shard_inodes(path: Path) -> dict[str, int]:
    return {
        str(file.relative_to(path)): file.stat().st_ino
        for file in (path / "X").rglob("c/**/*")
        if file.is_file()
    }


@pytest.mark.parametrize("layout", ["dense", "csr"])
@pytest.mark.parametrize("old_rows", [50, 256, 300])
def test_appended_rows_follow_the_old_ones_and_every_value_is_the_sources(
    tmp_path: Path, layout: str, old_rows: int
) -> None:
    matrix = values(layout, 450)
    old = create(tmp_path / "store", matrix[:old_rows])
    new = append_rows(
        tmp_path / "store",
        observations(old_rows, 450 - old_rows),
        variables(),
        [matrix[old_rows:400], matrix[400:]],
        sources=["second"],
        shard_rows=128,
    )
    assert new.n_rows == 450 and new.info.sources == ("first", "second")
    assert new.obs[:old_rows].equals(old.obs)
    read = anndata.read_zarr(tmp_path / "store").X
    np.testing.assert_array_equal(read.toarray() if layout == "csr" else read, in_store_order(new, matrix))
    raw = new.reader("disk").raw(np.arange(450))
    np.testing.assert_array_equal(raw.toarray() if layout == "csr" else raw, in_store_order(new, matrix))
    assert validate_store(tmp_path / "store") == []
    assert new.data_hash != old.data_hash
    assert [child.name for child in tmp_path.iterdir()] == ["store"]


@pytest.mark.parametrize("layout", ["dense", "csr"])
def test_complete_shards_are_taken_over_not_written_again(tmp_path: Path, layout: str) -> None:
    matrix = values(layout, 400)
    create(tmp_path / "store", matrix[:300])
    before = shard_inodes(tmp_path / "store")
    append_rows(tmp_path / "store", observations(300, 100), variables(), [matrix[300:]], shard_rows=128)
    after = shard_inodes(tmp_path / "store")
    kept = {name for name in before if after[name] == before[name]}
    expected = (
        {f"X/c/{n}/0" for n in (0, 1)}
        if layout == "dense"
        else {f"X/{a}/c/{n}" for a in ("data", "indices") for n in (0, 1)}
    )
    assert kept == expected


def test_values_that_need_a_wider_type_rewrite_the_store_without_loss(tmp_path: Path) -> None:
    matrix = values("csr", 400)
    create(tmp_path / "store", matrix[:300])
    more = matrix[300:].copy()
    more.data[0] = 0.5
    store = append_rows(tmp_path / "store", observations(300, 100), variables(), [more], shard_rows=128)
    raw = store.reader("memory").raw(np.arange(400))
    assert raw.dtype == np.float32
    np.testing.assert_array_equal(raw.toarray(), in_store_order(store, sparse.vstack([matrix[:300], more])))


def test_genes_in_another_order_are_put_into_the_stores_order(tmp_path: Path) -> None:
    for layout in ("dense", "csr"):
        matrix = values(layout, 120)
        create(tmp_path / layout, matrix[:60])
        order = np.random.default_rng(0).permutation(GENES)
        store = append_rows(
            tmp_path / layout, observations(60, 60), variables(order), [matrix[60:][:, order]]
        )
        raw = store.reader("memory").raw(np.arange(120))
        np.testing.assert_array_equal(
            raw.toarray() if layout == "csr" else raw, in_store_order(store, matrix)
        )


def test_columns_of_one_side_only_are_null_on_the_other(tmp_path: Path) -> None:
    matrix = values("dense", 60)
    create(tmp_path / "store", matrix[:30])
    obs = observations(30, 30).with_columns(batch_id=pl.lit("p9"), viability=pl.lit(0.5))
    store = append_rows(tmp_path / "store", obs, variables(), [matrix[30:]])
    assert store.obs["batch_id"].to_list() == [None] * 30 + ["p9"] * 30
    assert store.obs["viability"].null_count() == 30


def test_other_genes_are_refused_and_named(tmp_path: Path) -> None:
    create(tmp_path / "store", values("dense", 30))
    var = pl.DataFrame({"gene_symbol": [*(f"g{number}" for number in range(GENES - 1)), "TP53"]})
    with pytest.raises(SchemaError, match=f"g{GENES - 1}.*TP53"):
        append_rows(tmp_path / "store", observations(30, 1), var, [values("dense", 1)])


def test_an_append_that_fails_half_way_leaves_the_old_store_as_it_was(tmp_path: Path) -> None:
    matrix = values("csr", 300)
    old = create(tmp_path / "store", matrix[:200])
    before = {file: file.read_bytes() for file in (tmp_path / "store").rglob("*") if file.is_file()}

    def breaking() -> Iterator[Any]:
        yield matrix[200:250]
        raise OSError("the source went away")

    with pytest.raises(OSError, match="went away"):
        append_rows(
            tmp_path / "store", observations(200, 100), variables(), breaking(), memory_budget_bytes=10
        )
    after = {file: file.read_bytes() for file in (tmp_path / "store").rglob("*") if file.is_file()}
    assert after == before
    assert [child.name for child in tmp_path.iterdir()] == ["store"]
    assert ExpressionStore.open(tmp_path / "store").data_hash == old.data_hash


def test_while_rows_are_appended_the_old_store_is_open_and_valid(tmp_path: Path) -> None:
    matrix = values("dense", 300)
    old = create(tmp_path / "store", matrix[:200])
    reader = old.reader("disk")
    seen: list[int] = []

    def watching() -> Iterator[Any]:
        yield matrix[200:]
        assert validate_store(tmp_path / "store") == []
        seen.append(ExpressionStore.open(tmp_path / "store").n_rows)

    append_rows(tmp_path / "store", observations(200, 100), variables(), watching())
    assert seen == [200]
    # A reader opened before the append goes on with the rows it knows.
    np.testing.assert_array_equal(reader.raw(np.arange(200)), in_store_order(old, matrix))
