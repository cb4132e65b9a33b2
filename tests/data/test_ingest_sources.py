"""Files, patterns and folders become the list of sources; what stands for nothing is said with a remedy."""

from __future__ import annotations

import os
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pertcast_data.errors import ConfigError, FormatError, PertcastError
from pertcast_data.ingest.sources import expand_sources, natural_order

GCT = "#1.2\n2\t1\nName\tDescription\ts1\ng1\tx\t1\ng2\ty\t2\n"
MATRIX = "id,TP53,MYC\nc1,1,2\nc2,3,4\n"
TABLE = "sig_id,cell_iname,pert_dose\nc1,A375,1\nc2,K562,2\n"


def fill(folder: Path, files: dict[str, str | bytes]) -> Path:
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def names(sources: tuple[str | Path, ...]) -> list[str]:
    return [Path(source).name for source in sources]


def test_a_folder_stands_for_its_files_of_profiles_in_natural_order(tmp_path: Path) -> None:
    folder = fill(
        tmp_path / "plates",
        {
            "plate10.gct": GCT,
            "plate2.txt": GCT,
            "plate1.csv": MATRIX,
            "README.md": "Plates of the screen.\nMade by hand.\n",
            "layout.csv": TABLE,
            ".hidden.gct": GCT,
            "picture.png": b"\x89PNG\r\n\x1a\n\0\0",
        },
    )
    (folder / "old").mkdir()
    os.mkfifo(folder / "pipe")
    pl.DataFrame({"TP53": [1.0], "MYC": [2.0]}).write_parquet(folder / "plate3.parquet")
    pl.DataFrame({"sig_id": ["c1"], "cell_iname": ["A375"]}).write_parquet(folder / "rows.parquet")
    assert names(expand_sources([folder])) == ["plate1.csv", "plate2.txt", "plate3.parquet", "plate10.gct"]


def test_a_folder_that_is_a_data_set_stays_one_source(tmp_path: Path) -> None:
    data = anndata.AnnData(np.ones((2, 2), np.float32), pd.DataFrame(index=["a", "b"]))
    data.write_zarr(tmp_path / "cells.zarr")
    assert expand_sources([tmp_path / "cells.zarr"]) == (tmp_path / "cells.zarr",)
    fill(tmp_path, {"plate.gct": GCT})
    assert names(expand_sources([tmp_path])) == ["cells.zarr", "plate.gct"]
    assert names(expand_sources([str(tmp_path / "*")])) == ["cells.zarr", "plate.gct"]


def test_a_pattern_stands_for_what_it_matches(tmp_path: Path) -> None:
    fill(tmp_path, {"b10.gct": GCT, "b9.gct": GCT, "b1.csv": MATRIX})
    fill(tmp_path / "more", {"b11.gct": GCT})
    assert names(expand_sources([str(tmp_path / "*.gct")])) == ["b9.gct", "b10.gct"]
    assert names(expand_sources([tmp_path / "b?.*"])) == ["b1.csv", "b9.gct"]
    assert names(expand_sources([str(tmp_path / "**" / "*.gct")])) == ["b9.gct", "b10.gct", "b11.gct"]


def test_a_file_whose_name_holds_pattern_signs_is_itself(tmp_path: Path) -> None:
    fill(tmp_path, {"plate[1].gct": GCT, "plate1.gct": GCT})
    assert names(expand_sources([str(tmp_path / "plate[1].gct")])) == ["plate[1].gct"]


def test_what_is_named_twice_is_taken_once_in_the_order_given(tmp_path: Path) -> None:
    folder = fill(tmp_path / "plates", {"a.gct": GCT, "b.gct": GCT})
    (tmp_path / "link.gct").symlink_to(folder / "b.gct")
    given_twice = [tmp_path / "link.gct", str(folder / "*.gct"), folder, folder / ".." / "plates" / "a.gct"]
    assert names(expand_sources(given_twice)) == ["link.gct", "a.gct"]


def test_remote_places_are_passed_on_as_they_are(tmp_path: Path) -> None:
    file = fill(tmp_path, {"a.gct": GCT}) / "a.gct"
    given_places = ["s3://bucket/plates/*.gctx", file, "gs://bucket/x", "s3://bucket/plates/*.gctx"]
    assert expand_sources(given_places) == ("s3://bucket/plates/*.gctx", file, "gs://bucket/x")


def test_nothing_named_and_nothing_matched_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Name at least one"):
        expand_sources([])
    with pytest.raises(ConfigError, match=r"nothing_\*\.gctx: matches no file.*quotes"):
        expand_sources([str(tmp_path / "nothing_*.gctx")])


def test_an_absent_file_is_named_with_its_nearest(tmp_path: Path) -> None:
    fill(tmp_path, {"plate_1.gct": GCT})
    with pytest.raises(FormatError, match=r"plat_1\.gct: no such file.*plate_1\.gct"):
        expand_sources([tmp_path / "plat_1.gct"])
    with pytest.raises(FormatError, match="no such file or folder"):
        expand_sources([tmp_path / "absent" / "a.gct"])


def test_a_folder_without_profiles_lists_what_it_holds(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"holds no file of profiles\. It is empty\."):
        expand_sources([fill(tmp_path / "empty", {})])
    folder = fill(tmp_path / "notes", {"notes.txt": "hello\n", "layout.csv": TABLE})
    with pytest.raises(FormatError, match=r"layout\.csv \(they belong into --obs-table\).*notes\.txt.*h5ad"):
        expand_sources([folder])


@given(st.lists(st.text("ab1２0/ ", max_size=6), max_size=6))
def test_natural_order_is_an_order_of_any_names(texts: list[str]) -> None:
    paths = [Path(text) for text in texts]
    assert natural_order(paths) == natural_order(reversed(paths))
    assert sorted(natural_order(paths)) == sorted(paths)


def test_numbers_in_names_count_by_size() -> None:
    ordered = natural_order(Path(name) for name in ("p10", "p9", "P1", "p", "9", "q", "p010"))
    assert [path.name for path in ordered] == ["9", "p", "P1", "p9", "p010", "p10", "q"]


@given(st.text(max_size=12))
def test_any_text_gives_sources_or_a_typed_error(text: str) -> None:
    try:
        assert expand_sources([f"/absent-folder/{text}"])
    except PertcastError as error:
        assert "absent-folder" in str(error)
