"""Large tables written a column and a block at a time: what AnnData and the stores' own reader find."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import anndata
import polars as pl
import pytest
import zarr
from pertcast_data.errors import SchemaError
from pertcast_data.store import frame_blocks
from pertcast_data.store.frame_blocks import write_frame_blocks
from pertcast_data.store.frames import read_frame
from pertcast_data.store.zarr_layout import create_dense_group

ROWS = 50
TABLE = pl.DataFrame(
    {
        "sig_id": [f"row {number}" for number in range(ROWS)],
        "cell_iname": ["A", "B"] * (ROWS // 2),
        "note": [None if number % 3 else f"n{number}" for number in range(ROWS)],
        "nothing": pl.Series([None] * ROWS, dtype=pl.String),
        "effect": [None if number == 7 else number / 3 for number in range(ROWS)],
        "half": pl.Series([float(number) for number in range(ROWS)], dtype=pl.Float32),
        "rank": list(range(ROWS)),
        "count": pl.Series([None if number == 3 else number for number in range(ROWS)], dtype=pl.Int32),
        "seen": [number % 2 == 0 for number in range(ROWS)],
        "maybe": [None if number % 5 == 0 else number % 2 == 0 for number in range(ROWS)],
    }
)


def write(folder: Path, table: pl.DataFrame, block_rows: int) -> None:
    def read(name: str) -> Iterator[pl.Series]:
        for start in range(0, table.height, block_rows):
            yield table[name][start : start + block_rows]

    write_frame_blocks(folder, "obs", table.schema, table.height, read, "sig_id")


@pytest.mark.parametrize("categories", [1 << 16, 10])
def test_a_table_reads_back_as_it_was_whatever_its_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, categories: int
) -> None:
    monkeypatch.setattr(frame_blocks, "MOST_CATEGORIES", categories)
    monkeypatch.setattr(frame_blocks, "CHUNK_ROWS", 16)
    create_dense_group(tmp_path / "store", ROWS, 2, var=pl.DataFrame({"gene_symbol": ["X", "Y"]}))
    for block_rows in (7, 16, 50):
        write(tmp_path / "store", TABLE, block_rows)
        group = zarr.open_group(str(tmp_path / "store" / "obs"), mode="r")
        assert read_frame(group).equals(TABLE)
    data = anndata.read_zarr(tmp_path / "store")
    assert data.obs_names.tolist() == TABLE["sig_id"].to_list()
    assert data.obs["count"].isna().sum() == 1
    assert data.obs["cell_iname"].tolist() == TABLE["cell_iname"].to_list()


def test_a_column_that_a_table_of_profiles_cannot_hold_is_refused_by_name(tmp_path: Path) -> None:
    create_dense_group(tmp_path / "store", ROWS, 2, var=pl.DataFrame({"gene_symbol": ["X", "Y"]}))
    table = TABLE.select("sig_id", parts=pl.concat_list("rank"))
    with pytest.raises(SchemaError, match="'parts' has type List"):
        write(tmp_path / "store", table, 10)
