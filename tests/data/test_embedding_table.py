"""A table of embeddings is read whatever its format, and what cannot be used is refused with its place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from pertcast_data.embedding_table import read_embedding_table
from pertcast_data.errors import FormatError, SchemaError

CASES = {
    "ragged": ("pert_id,a,b\nx,1,2\ny,1,2,3\n", r"line 3: 4 values, the header names 3 \(y\)"),
    "short": ("pert_id,a,b\nx,1,2\ny,1\n", r"line 3: 2 values, the header names 3 \(y\)"),
    "empty": ("pert_id,a,b\nx,1,2\ny,1,\n", r"row 2 \(y\): b is empty"),
    "not a number": ("pert_id,a\nx,1\ny,nan\n", r"row 2 \(y\): a is nan, which is no finite number"),
    "infinite": ("pert_id,a\nx,1\ny,-inf\n", r"row 2 \(y\): a is -inf"),
    "beyond float32": ("pert_id,a\nx,1e300\n", r"row 1 \(x\): a is 1e\+300"),
    "text": ("pert_id,moa\nx,kinase\n", r"row 1 \(x\): moa is 'kinase', which is no number"),
    "no header": (
        "BRD-A00100033, CC1CS\nBRD-A00150179, NC\n",
        r"'BRD-A00100033'.*header line with one of pert_id",
    ),
    "no key": ("pert_id,a\n ,1\ny,2\n", r"row 1 names no compound.*Fill in pert_id"),
    "no numbers": ("pert_id,smiles\nx,CC\n", "no column of numbers"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_cannot_be_used_is_refused_with_its_place(case: str, tmp_path: Path) -> None:
    text, message = CASES[case]
    path = tmp_path / "table.csv"
    path.write_text(text)
    with pytest.raises(SchemaError, match=rf"table\.csv.*{message}"):
        read_embedding_table(path)


def test_leading_blanks_a_saved_index_and_equal_duplicates_do_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text(
        ", pert_id, canonical_smiles, a, b\n0, x, CCO, 1, 2\n1, y, CCN, 3, 4\n2, x, CCO.Cl, 1, 2\n"
    )
    table = read_embedding_table(path)
    assert table.columns == ("a", "b") and table.keys["pert_id"].to_list() == ["x", "y", "x"]
    np.testing.assert_array_equal(table.values, [[1, 2], [3, 4], [1, 2]])


def test_pickled_arrays_wrong_types_and_absent_files_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "objects.npz", pert_id=np.array(["x"], dtype=object), a=np.ones((1, 2)))
    np.savez(tmp_path / "lengths.npz", pert_id=np.array(["x"]), a=np.ones((2, 2)))
    pl.DataFrame({"pert_id": ["x"], "flag": [True]}).write_parquet(tmp_path / "flags.parquet")
    pl.DataFrame({"pert_id": ["x", "y", "z"], "e": [[1.0, 2.0], [1.0], [1.0, 3.0]]}).write_parquet(
        tmp_path / "ragged.parquet"
    )
    for name, error, message in (
        ("objects.npz", FormatError, "dtype=str"),
        ("lengths.npz", SchemaError, "pert_id: 1, a: 2"),
        ("flags.parquet", SchemaError, "'flag' holds Boolean"),
        ("ragged.parquet", SchemaError, r"row 2 \(y\): e holds 1 values, most rows hold 2"),
        ("nothing.csv", FormatError, r"no such embedding table.*encoder\.compound_embedding"),
    ):
        with pytest.raises(error, match=message):
            read_embedding_table(tmp_path / name)
