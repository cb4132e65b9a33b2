"""Exports: what comes out is what went in, value by value and name by name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata
import h5py
import numpy as np
import pandas as pd
import polars as pl
import pytest
from pertcast_data.errors import ConfigError, SchemaError, StorageError
from pertcast_data.export import export_store, ordering
from pertcast_data.ingest import ingest
from pertcast_data.readers import open_source
from pertcast_data.readers.cmap.gctx import GctxSource
from pertcast_data.store import ExpressionStore, create_store
from pertcast_data.vocabulary import OBS_COLUMNS
from scipy import sparse

SharedData = Callable[[str], Path]

REAL_FILES = (
    "l1000/ht115_level3_compounds.h5ad",
    "l1000/gctv13_01.gctx",
    "l1000/test_l1000.gctx",
    "l1000/test_l1000_highprecision.gctx",
    "l1000/level3_lm_n5x978.gctx",
    "l1000/modzs_gct_n3x978.gctx",
    "l1000/modzs_n25x50.gctx",
    "perturb_seq/norman_mcfaline_devel.h5ad",
    "perturb_seq/marson_cd4_small.h5ad",
    "l1000/level5_s2n_lm_n5x978.gctx",
    "l1000/mini_gctx_with_metadata_n2x3.gctx",
)
MAPPINGS = {
    "l1000/level5_s2n_lm_n5x978.gctx": {
        "cell_iname": {"value": "42MGBA"}, "cmap_name": "class_a", "pert_type": {"value": "trt_cp"},
    },
    "l1000/mini_gctx_with_metadata_n2x3.gctx": {
        "cell_iname": {"value": "A375"}, "cmap_name": "bead_batch", "pert_type": {"value": "trt_cp"},
    },
}  # fmt: skip
"""What files that tell too little need to be ingested."""
MISSING = ("", "nan", "na", "n/a", "<na>", "null", "-666", "-666.0", "-666.00", "-666.000000")


def source_matrix(path: Path) -> np.ndarray[Any, np.dtype[np.float32]]:
    batches = [batch.toarray() if sparse.issparse(batch) else batch for batch in open_source(path).batches()]
    return np.concatenate(batches).astype(np.float32)


def h5ad_values(path: Path) -> np.ndarray[Any, Any]:
    data = anndata.read_h5ad(path)
    return np.asarray(data.X.toarray() if sparse.issparse(data.X) else data.X)


def bits(values: np.ndarray[Any, Any]) -> bytes:
    """Return the bytes of values; every NaN has the same ones."""
    same = values.astype(np.float32)
    same[np.isnan(same)] = np.nan
    return same.tobytes()


def cleared(series: pl.Series) -> pl.Series:
    """Return a source's column as an ingest leaves it: missing words and numbers null, text stripped."""
    if series.dtype == pl.String:
        text = series.str.strip_chars()
        return pl.select(pl.when(~text.str.to_lowercase().is_in(MISSING)).then(text)).to_series()
    if series.dtype.is_float():
        return series.fill_nan(None).set(series.fill_nan(None) == -666, None)
    return series.set(series == -666, None) if series.dtype.is_integer() else series


def written(path: Path) -> tuple[list[str], list[str], pl.DataFrame, pl.DataFrame]:
    """Return row names, gene names and both tables of an export, by this project's own readers."""
    source = open_source(path)
    obs, var = source.obs(), source.var()
    return obs["source_id"].to_list(), var["source_id"].to_list(), obs, var


def assert_same_columns(source: pl.DataFrame, exported: pl.DataFrame) -> int:
    """Compare every column of the source that holds anything; return how many there were."""
    compared = 0
    for series in source.drop("source_id"):
        own = cleared(series)
        if own.null_count() == len(own):
            continue
        other = cleared(exported[series.name])
        if own.dtype == pl.Boolean:
            own = own.cast(pl.Int64)
            other = other.cast(pl.Int64)
        if own.dtype.is_numeric() and other.dtype == pl.String:
            other = other.cast(own.dtype)
        assert own.cast(other.dtype).eq_missing(other).all(), series.name
        compared += 1
    return compared


@pytest.fixture(scope="module")
def ingested(
    shared_data: SharedData, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], ExpressionStore]:
    folder = tmp_path_factory.mktemp("stores")
    stores: dict[str, ExpressionStore] = {}

    def store_of(name: str) -> ExpressionStore:
        if name not in stores:
            mapping = None
            if name in MAPPINGS:
                mapping = folder / f"map{len(stores)}.yaml"
                mapping.write_text(json.dumps(MAPPINGS[name]), encoding="utf-8")
            ingest([shared_data(name)], folder / f"store{len(stores)}", mapping)
            stores[name] = ExpressionStore.open(folder / f"store{len(stores)}")
        return stores[name]

    return store_of


@pytest.mark.parametrize("ending", ["h5ad", "gctx"])
@pytest.mark.parametrize("name", REAL_FILES)
def test_a_real_file_comes_back_with_its_values_names_and_columns(
    name: str,
    ending: str,
    shared_data: SharedData,
    ingested: Callable[[str], ExpressionStore],
    tmp_path: Path,
) -> None:
    source = open_source(shared_data(name))
    path = export_store(ingested(name), tmp_path / f"back.{ending}", source_order=True, as_source=True)
    rows, genes, obs, var = written(path)
    values = h5ad_values(path) if ending == "h5ad" else source_matrix(path)
    assert values.dtype == np.float32
    assert bits(values) == bits(source_matrix(shared_data(name)))
    assert rows == [text.strip() for text in source.obs()["source_id"]]
    assert genes == source.var()["source_id"].to_list()
    assert assert_same_columns(source.obs(), obs) > 0
    assert_same_columns(source.var(), var)


@pytest.mark.parametrize("name", REAL_FILES[:2])
def test_an_export_in_store_order_holds_the_stores_columns_and_can_be_ingested_again(
    name: str, ingested: Callable[[str], ExpressionStore], tmp_path: Path
) -> None:
    store = ingested(name)
    path = export_store(store, tmp_path / "store.h5ad")
    data = anndata.read_h5ad(path)
    assert list(data.obs_names) == store.obs["sig_id"].to_list()
    assert list(data.var_names) == list(store.genes)
    assert list(data.obs.columns) == store.obs.columns
    assert data.uns["pertcast"]["data_hash"] == store.data_hash
    assert bits(data.X) == bits(store.reader().raw(np.arange(store.n_rows)))
    ingest([path], tmp_path / "again")
    again = ExpressionStore.open(tmp_path / "again")
    assert set(again.conditions["condition_id"]) == set(store.conditions["condition_id"])
    assert (again.measure, again.normalisation) == (store.measure, store.normalisation)


@pytest.mark.parametrize("ending", ["h5ad", "gctx", "parquet"])
@pytest.mark.parametrize("layout", ["csr", "dense"])
def test_a_store_that_is_left_on_disk_is_exported_in_source_order_to_the_same_values(
    layout: str, ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = screen_file(tmp_path / "cells.h5ad", layout=layout)
    ingest([source], tmp_path / "store")
    store = ExpressionStore.open(tmp_path / "store")
    from_disk = store.reader("disk")
    monkeypatch.setattr(ExpressionStore, "reader", lambda *_: from_disk)
    monkeypatch.setattr(ordering, "rows_per_batch", lambda _: 47)
    path = export_store(store, tmp_path / f"back.{ending}", source_order=True)
    assert not from_disk.is_in_memory
    values = (
        pl.read_parquet(path).select(store.genes).to_numpy() if ending == "parquet" else source_matrix(path)
    )
    assert bits(values) == bits(source_matrix(source))


def test_a_file_that_the_system_refuses_is_a_typed_error_and_leaves_nothing(tmp_path: Path) -> None:
    store = made_store(tmp_path / "store", np.ones((3, 2), np.float32))
    long_name = "x" * 300 + ".h5ad"
    with pytest.raises(StorageError, match=r"cannot be written .*try again"):
        export_store(store, tmp_path / long_name)
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def screen_file(path: Path, seed: int = 0, layout: str = "csr") -> Path:
    random = np.random.default_rng(seed)
    names = ["control", "KRAS", "TP53+KRAS", "IL2"]
    count = 300
    obs = pd.DataFrame(
        {
            "cell_line": pd.Categorical(random.choice(["K562", "A549"], count)),
            "perturbation": random.choice(names, count),
            "perturbation_type": "CRISPRi",
            "n_counts": random.integers(0, 1000, count),
            "passed": random.random(count) < 0.5,
            "score": np.where(random.random(count) < 0.2, np.nan, random.normal(size=count)),
            "remark": pd.Categorical(np.where(random.random(count) < 0.3, None, "µ-plate")),
            "stage": pd.Categorical(
                random.choice(["late", "early"], count), categories=["late", "early"], ordered=True
            ),
        },
        index=[f"cell{seed}-{number}" for number in range(count)],
    )
    counts = random.poisson(0.4, (count, 40)).astype(np.float32)
    counts[0, 0] = 70_000
    matrix = sparse.csr_matrix(counts) if layout == "csr" else counts
    var = pd.DataFrame({"symbol": [f"G{n}" for n in range(40)]}, index=[f"ENSG{n:011d}" for n in range(40)])
    anndata.AnnData(matrix, obs, var).write_h5ad(path)
    return path


@pytest.mark.parametrize("layout", ["csr", "dense"])
@pytest.mark.parametrize("ending", ["h5ad", "gctx"])
def test_a_file_of_cells_comes_back_whole(layout: str, ending: str, tmp_path: Path) -> None:
    source = screen_file(tmp_path / "cells.h5ad", layout=layout)
    ingest([source], tmp_path / "store")
    store = ExpressionStore.open(tmp_path / "store")
    path = export_store(store, tmp_path / f"back.{ending}", source_order=True, as_source=True)
    rows, genes, obs, var = written(path)
    assert rows == [f"cell0-{number}" for number in range(300)] and genes[0] == "ENSG00000000000"
    assert bits(source_matrix(path)) == bits(source_matrix(source))
    assert assert_same_columns(open_source(source).obs(), obs) == 8
    assert "inchi_key" not in obs.columns and "condition_id" not in obs.columns
    assert var["symbol"].to_list() == [f"G{n}" for n in range(40)]


def test_a_sparse_store_stays_sparse_and_text_becomes_categories(tmp_path: Path) -> None:
    ingest([screen_file(tmp_path / "cells.h5ad")], tmp_path / "store")
    path = export_store(ExpressionStore.open(tmp_path / "store"), tmp_path / "out.h5ad", as_source=True)
    data = anndata.read_h5ad(path)
    assert sparse.issparse(data.X) and data.X.has_sorted_indices
    assert isinstance(data.obs["cell_line"].dtype, pd.CategoricalDtype)
    assert data.obs["remark"].isna().any()
    assert data.obs["passed"].dtype == bool and data.obs["n_counts"].dtype == np.int64


def test_rows_of_several_files_come_back_file_after_file(tmp_path: Path) -> None:
    files = [screen_file(tmp_path / f"{name}.h5ad", seed) for name, seed in (("z", 1), ("a", 2))]
    ingest(files, tmp_path / "store")
    path = export_store(ExpressionStore.open(tmp_path / "store"), tmp_path / "out.h5ad", source_order=True)
    assert bits(h5ad_values(path)) == bits(np.concatenate([source_matrix(each) for each in files]))


def test_gctx_is_laid_out_as_cmappy_reads_it(tmp_path: Path) -> None:
    ingest([screen_file(tmp_path / "cells.h5ad")], tmp_path / "store")
    store = ExpressionStore.open(tmp_path / "store")
    path = export_store(store, tmp_path / "out.gctx")
    with h5py.File(path, "r") as file:
        assert file.attrs["version"] == b"GCTX1.0"
        assert file["0/DATA/0/matrix"].shape == (store.n_rows, store.n_genes)
        assert file["0/META/ROW/id"].shape == (store.n_genes,)
        assert file["0/META/COL/id"].dtype.kind == "S"
        assert [name.decode() for name in file["0/META/COL/id"][()]] == store.obs["sig_id"].to_list()
        doses, remarks = file["0/META/COL/pert_dose"][()], file["0/META/COL/remark"][()]
        assert set(doses.tolist()) == {-666.0}
        assert {text.decode() for text in remarks} == {"-666", "µ-plate"}
        assert set(file["0/META/COL/passed"][()].tolist()) == {0, 1}
        nothing_else = set(file["0/META/COL"]) - {*store.obs.columns, "id"}
        assert not nothing_else


def test_missing_values_survive_in_every_format(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(8, 1, (6, 5)).astype(np.float32)
    values[2, 3] = np.nan
    store = made_store(tmp_path / "store", values)
    stored = store.reader().raw(np.arange(6))
    assert np.isnan(stored).sum() == 1
    assert bits(h5ad_values(export_store(store, tmp_path / "a.h5ad"))) == bits(stored)
    assert bits(source_matrix(export_store(store, tmp_path / "a.gctx"))) == bits(stored)
    assert bits(source_matrix(export_store(store, tmp_path / "a.gct"))) == bits(stored)
    table = pl.read_parquet(export_store(store, tmp_path / "a.parquet"))
    assert bits(table.select(store.genes).to_numpy()) == bits(stored)


def made_store(path: Path, values: Any, gene: str = "GENE0", **columns: Any) -> ExpressionStore:
    count, n_genes = values.shape
    plain = {"cell_iname": "A375", "pert_type": "trt_cp", "pert_id": "a", "sig_id": None}
    obs = pl.DataFrame([{**plain, **columns}] * count, schema_overrides={"sig_id": pl.String})
    symbols = [gene, *(f"GENE{n}" for n in range(1, n_genes))]
    facts: dict[str, Any] = {"measure": "expression", "normalisation": "log2_intensity"}
    return create_store(path, obs=obs, var=pl.DataFrame({"gene_symbol": symbols}), batches=[values], **facts)


def test_parquet_has_a_row_a_profile_and_a_column_a_gene(tmp_path: Path) -> None:
    ingest([screen_file(tmp_path / "cells.h5ad")], tmp_path / "store")
    store = ExpressionStore.open(tmp_path / "store")
    table = pl.read_parquet(export_store(store, tmp_path / "out.parquet"))
    assert table.columns == ["row_id", *store.obs.columns, *store.genes]
    assert table["pert_id"].equals(store.obs["pert_id"])
    expected = store.reader().raw(np.arange(store.n_rows)).toarray()
    assert bits(table.select(store.genes).to_numpy()) == bits(expected)


def test_a_gene_that_is_called_like_a_column_is_refused_in_a_wide_table(tmp_path: Path) -> None:
    store = made_store(tmp_path / "store", np.ones((3, 2), np.float32), gene="targets")
    with pytest.raises(SchemaError, match="'targets' is both a gene and a column"):
        export_store(store, tmp_path / "out.parquet")
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_a_column_called_id_does_not_hide_the_names_of_rows(tmp_path: Path) -> None:
    store = made_store(tmp_path / "store", np.ones((3, 2), np.float32), id="x")
    obs = GctxSource(export_store(store, tmp_path / "out.gctx")).obs()
    assert obs["source_id"].to_list() == ["0", "1", "2"] and set(obs["id_"]) == {"x"}


def test_counts_beyond_float32_are_written_as_float64(tmp_path: Path) -> None:
    counts = sparse.csr_matrix(np.array([[2**24 + 1, 0], [0, 3]], dtype=np.uint32))
    obs = pl.DataFrame({"cell_iname": ["A"] * 2, "pert_type": ["trt_cp"] * 2, "pert_id": ["a", "b"]})
    var = pl.DataFrame({"gene_symbol": ["G1", "G2"]})
    facts: dict[str, Any] = {"measure": "expression", "normalisation": "counts"}
    store = create_store(tmp_path / "store", obs=obs, var=var, batches=[counts], **facts)
    data = anndata.read_h5ad(export_store(store, tmp_path / "out.h5ad"))
    assert data.X.dtype == np.float64 and data.X.max() == 2**24 + 1


def test_an_existing_file_an_unknown_ending_and_a_missing_folder_are_refused(tmp_path: Path) -> None:
    store = made_store(tmp_path / "store", np.ones((3, 2), np.float32))
    mine = tmp_path / "mine.h5ad"
    mine.write_text("mine")
    with pytest.raises(ConfigError, match=r"mine\.h5ad already exists"):
        export_store(store, mine)
    with pytest.raises(ConfigError, match=r"must end in one of \.h5ad, \.gctx, \.parquet"):
        export_store(store, tmp_path / "out.csv")
    with pytest.raises(ConfigError, match="no such folder"):
        export_store(store, tmp_path / "nowhere" / "out.h5ad")
    assert mine.read_text() == "mine" and len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("ending", ["h5ad", "gctx", "gct", "parquet"])
def test_an_export_that_is_interrupted_leaves_nothing(ending: str, tmp_path: Path) -> None:
    store = made_store(tmp_path / "store", np.ones((3, 2), np.float32))

    def interrupt(done: int, total: int, note: str = "") -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_store(store, tmp_path / f"out.{ending}", progress=interrupt)
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_a_store_without_source_rows_cannot_go_back_to_them(tmp_path: Path) -> None:
    store = made_store(tmp_path / "store", np.ones((3, 2), np.float32))
    for options in ({"source_order": True}, {"as_source": True}):
        with pytest.raises(ConfigError, match=r"was not ingested from files.*Leave out"):
            export_store(store, tmp_path / "out.h5ad", **options)


def test_rewritten_columns_stand_beside_the_harmonised_ones_unless_the_source_is_asked_for(
    tmp_path: Path,
) -> None:
    source = screen_file(tmp_path / "cells.h5ad")
    data = anndata.read_h5ad(source)
    data.obs["pert_type"] = "CRISPRi"
    data.write_h5ad(source)
    ingest([source], tmp_path / "store")
    store = ExpressionStore.open(tmp_path / "store")
    both = anndata.read_h5ad(export_store(store, tmp_path / "both.h5ad")).obs
    back = anndata.read_h5ad(export_store(store, tmp_path / "back.h5ad", as_source=True)).obs
    assert "trt_sh" in set(both["pert_type"]) and set(both["source_pert_type"]) == {"CRISPRi"}
    assert set(back["pert_type"]) == {"CRISPRi"} and "source_pert_type" not in back.columns
    assert {*OBS_COLUMNS} <= {*both.columns}
