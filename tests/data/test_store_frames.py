"""Tables survive the way through AnnData's encoding, nulls included."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import polars as pl
import pytest
import zarr
from anndata.io import read_elem
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pertcast_data.errors import SchemaError
from pertcast_data.store.frames import canonical_frame, read_frame, write_frame
from zarr.core.buffer.cpu import Buffer
from zarr.storage import MemoryStore

TEXT = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\x00"), max_size=6)
COLUMNS = {
    pl.String: TEXT,
    pl.Int32: st.integers(-(2**31), 2**31 - 1),
    pl.UInt8: st.integers(0, 255),
    pl.Int64: st.integers(-(2**63), 2**63 - 1),
    pl.Float64: st.floats(allow_nan=False),
    pl.Float32: st.floats(allow_nan=False, width=32),
    pl.Boolean: st.booleans(),
}


@st.composite
def tables(draw: st.DrawFn) -> pl.DataFrame:
    height = draw(st.integers(1, 6))
    kinds = draw(st.lists(st.sampled_from(list(COLUMNS)), min_size=1, max_size=3))
    series = []
    for number, kind in enumerate(kinds):
        cell = st.none() | COLUMNS[kind] if draw(st.booleans()) else COLUMNS[kind]
        values = draw(st.lists(cell, min_size=height, max_size=height))
        series.append(pl.Series(f"column{number}", values, dtype=kind))
    return pl.DataFrame(series)


def written(frame: pl.DataFrame) -> zarr.Group:
    with TemporaryDirectory() as folder:
        zarr.create_group(folder, zarr_format=3)
        write_frame(Path(folder), "obs", canonical_frame(frame), [str(row) for row in range(frame.height)])
        files = {
            str(file.relative_to(folder)): file.read_bytes()
            for file in Path(folder).rglob("*")
            if file.is_file()
        }
    return zarr.open_group(MemoryStore({name: Buffer.from_bytes(content) for name, content in files.items()}))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(tables())
def test_a_table_reads_back_equal_with_nulls_as_null(frame: pl.DataFrame) -> None:
    back = read_frame(written(frame)["obs"])
    assert back.schema == frame.schema
    assert back.equals(frame, null_equal=True)


def test_anndata_sees_missing_values_as_missing() -> None:
    frame = pl.DataFrame(
        {
            "text": ["a", None, "b"],
            "number": [1, None, 3],
            "real": [0.5, None, 2.0],
            "truth": [True, None, False],
            "unique": ["x", "y", "z"],
        }
    )
    table = read_elem(written(frame)["obs"])
    assert table.isna().sum().to_dict() == {"text": 1, "number": 1, "real": 1, "truth": 1, "unique": 0}
    assert isinstance(table["text"].dtype, pd.CategoricalDtype)
    assert table["unique"].tolist() == ["x", "y", "z"]


def test_an_enum_keeps_the_order_of_its_categories() -> None:
    levels = pl.Enum(["late", "early", "middle"])
    frame = pl.DataFrame({"stage": pl.Series(["early", "late", None, "early"], dtype=levels)})
    root = written(frame)
    assert read_frame(root["obs"]).schema["stage"] == levels
    assert read_elem(root["obs"])["stage"].cat.categories.tolist() == ["late", "early", "middle"]


def test_a_categorical_becomes_text_whatever_order_its_categories_appeared_in() -> None:
    frame = pl.DataFrame({"kind": pl.Series(["z", "a", "z", None], dtype=pl.Categorical)})
    root = written(frame)
    assert read_frame(root["obs"])["kind"].to_list() == ["z", "a", "z", None]
    assert read_elem(root["obs"])["kind"].cat.categories.tolist() == ["a", "z"]


def test_columns_outside_anndata_are_made_text_or_refused() -> None:
    frame = pl.DataFrame({"when": [date(2024, 5, 1)], "a/b": [1], "empty": [None], "not_a_number": [np.nan]})
    canonical = canonical_frame(frame)
    assert canonical.to_dict(as_series=False) == {
        "when": ["2024-05-01"],
        "a_b": [1],
        "empty": [None],
        "not_a_number": [None],
    }
    with pytest.raises(SchemaError, match="pairs"):
        canonical_frame(pl.DataFrame({"pairs": [[1, 2]]}))
    with pytest.raises(SchemaError, match="a_b"):
        canonical_frame(pl.DataFrame({"a/b": [1], "a_b": [2]}))


def test_names_that_differ_only_in_case_are_refused() -> None:
    with pytest.raises(SchemaError, match=r"not unique: SMILES, smiles"):
        canonical_frame(pl.DataFrame({"SMILES": ["C"], "smiles": ["N"], "dose": [1.0]}))
