"""Ingest of real files: values equal the source in full, and their oddities are handled."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata
import h5py
import numpy as np
import polars as pl
import pytest
from pertcast_data.errors import FormatError, SchemaError
from pertcast_data.ingest import IngestReport, ingest
from pertcast_data.store import ExpressionStore, validate_store
from scipy import sparse

SharedData = Callable[[str], Path]
Matrix = np.ndarray[Any, np.dtype[np.float32]]

HT115 = "l1000/ht115_level3_compounds.h5ad"
NORMAN = "perturb_seq/norman_mcfaline_devel.h5ad"
MARSON = "perturb_seq/marson_cd4_small.h5ad"


def h5ad_matrix(path: Path) -> tuple[list[str], list[str], Matrix]:
    data = anndata.read_h5ad(path)
    values = data.X.toarray() if sparse.issparse(data.X) else data.X
    return list(data.obs_names), list(data.var_names), np.asarray(values, np.float32)


def gctx_matrix(path: Path) -> tuple[list[str], list[str], Matrix]:
    with h5py.File(path, "r") as file:
        samples = [name.decode().strip() for name in file["0/META/COL/id"][()]]
        genes = [name.decode().strip() for name in file["0/META/ROW/id"][()]]
        return samples, genes, np.asarray(file["0/DATA/0/matrix"][()], np.float32)


def gct_matrix(path: Path) -> tuple[list[str], list[str], Matrix]:
    lines = path.read_text(encoding="latin-1").splitlines()
    _, _, n_gene_fields, n_sample_fields = (int(field) for field in lines[1].split("\t"))
    rows = [line.split("\t") for line in lines[3 + n_sample_fields :]]
    values = np.array([row[1 + n_gene_fields :] for row in rows], np.float64)
    samples = lines[2].split("\t")[1 + n_gene_fields :]
    return samples, [row[0] for row in rows], values.T.astype(np.float32)


FILES = {
    HT115: (h5ad_matrix, "expression", "log2_intensity", 20),
    "l1000/test_l1000.gct": (gct_matrix, "expression", "log2_intensity", 26),
    "l1000/test_l1000.gctx": (gct_matrix, "response", "z_score", 26),
    "l1000/gctv13_01.gctx": (gctx_matrix, "expression", "log2_intensity", 16),
    "l1000/test_l1000_highprecision.gctx": (gctx_matrix, "response", "z_score", 26),
    "l1000/level3_lm_n5x978.gctx": (gctx_matrix, "expression", "log2_intensity", 0),
    "l1000/modzs_gct_n3x978.gctx": (gctx_matrix, "response", "z_score", 0),
    "l1000/modzs_n25x50.gctx": (gctx_matrix, "response", "z_score", 0),
    NORMAN: (h5ad_matrix, "expression", "log1p_cpm", 400),
    MARSON: (h5ad_matrix, "expression", "counts", 13),
}


@pytest.fixture(scope="module")
def ingested(
    shared_data: SharedData, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], IngestReport]:
    folder = tmp_path_factory.mktemp("stores")
    reports: dict[str, IngestReport] = {}

    def report_of(name: str) -> IngestReport:
        if name not in reports:
            reports[name] = ingest([shared_data(name)], folder / f"store{len(reports)}")
        return reports[name]

    return report_of


@pytest.mark.parametrize("name", list(FILES))
def test_values_rows_and_genes_equal_the_source_in_full(
    name: str, shared_data: SharedData, ingested: Callable[[str], IngestReport]
) -> None:
    read, measure, normalisation, n_controls = FILES[name]
    samples, genes, values = read(shared_data(name))
    report = ingested(name)
    assert report.out is not None
    assert (report.measure, report.normalisation, report.n_control_rows) == (
        measure,
        normalisation,
        n_controls,
    )
    data = anndata.read_zarr(report.out)
    rows = data.obs["source_row"].to_numpy()
    assert sorted(rows) == list(range(len(samples)))
    stored = data.X.toarray() if sparse.issparse(data.X) else data.X
    assert np.array_equal(np.asarray(stored, np.float32), values[rows])
    assert data.obs["source_id"].astype(str).tolist() == [samples[row] for row in rows]
    assert data.var["gene_id"].astype(str).tolist() == genes
    assert validate_store(report.out) == []


@pytest.mark.parametrize("name", list(FILES))
def test_no_minus_666_survives_in_any_column(name: str, ingested: Callable[[str], IngestReport]) -> None:
    store = ExpressionStore.open(str(ingested(name).out))
    for column in (*store.obs.iter_columns(), *store.var.iter_columns()):
        text = column.cast(pl.String).drop_nulls().str.to_lowercase()
        assert not text.str.contains(r"^(-666(\.0*)?|nan)$").any(), column.name


def test_ht115_has_structures_doses_and_the_plate_that_holds_values(
    ingested: Callable[[str], IngestReport],
) -> None:
    obs = ExpressionStore.open(str(ingested(HT115).out)).obs
    controls, treated = obs.filter("is_control"), obs.filter(~pl.col("is_control"))
    assert sorted(obs["batch_id"].unique()) == ["CPC006_HT115_6H_X1", "CPC006_HT115_6H_X2"]
    assert controls["batch_id"].value_counts().sort("count")["count"].to_list() == [9, 11]
    assert controls["pert_dose"].null_count() == controls.height
    assert treated["pert_dose"].null_count() == 0
    assert set(treated["pert_dose_unit"]) == {"uM"}
    assert set(obs["pert_time"]) == {6.0}
    assert obs["inchi_key"].null_count() == 0
    assert treated["pert_id"].n_unique() == 271
    assert treated["inchi_key"].n_unique() <= 271
    assert "det_plate" not in obs.columns


def test_upper_case_codes_and_units_and_entrez_as_float_are_understood(
    ingested: Callable[[str], IngestReport],
) -> None:
    store = ExpressionStore.open(str(ingested("l1000/gctv13_01.gctx").out))
    treated = store.obs.filter(~pl.col("is_control"))
    assert set(treated["pert_type"]) == {"trt_cp"}
    assert set(store.obs["pert_time"]) == {6.0}
    assert 11.1 in treated["pert_dose"].to_list()
    assert store.var["pr_gene_id"].dtype == pl.Int64
    assert store.genes[0] == "PSME1"
    assert store.var["gene_id"][0] == "200814_at"


def test_a_broken_micro_sign_beside_nanomolar_is_one_unit(ingested: Callable[[str], IngestReport]) -> None:
    obs = ExpressionStore.open(str(ingested("l1000/modzs_n25x50.gctx").out)).obs
    doses = dict(obs["pert_dose"].value_counts().iter_rows())
    assert doses == {10.0: 21, 3.0: 2, 0.5: 2}
    assert set(obs["pert_time"]) == {6.0, 24.0}
    assert obs["cell_iname"].n_unique() == 18


def test_norman_is_activation_mcfaline_interference_and_pairs_have_one_order(
    ingested: Callable[[str], IngestReport],
) -> None:
    report = ingested(NORMAN)
    obs = ExpressionStore.open(str(report.out)).obs
    kinds = obs.group_by("dataset", "pert_type").len().sort("dataset", "pert_type").rows()
    assert kinds == [
        ("mcfaline23", "ctl_vector", 300),
        ("mcfaline23", "trt_sh", 2286),
        ("norman19", "ctl_vector", 100),
        ("norman19", "trt_act", 2675),
    ]
    pairs = [name for name in obs["pert_id"].unique() if "+" in name]
    assert len(pairs) == 11
    assert all(name == "+".join(sorted(name.split("+"))) for name in pairs)
    assert "MAP3K21" in set(obs["targets"])
    assert obs["pert_dose"].null_count() == obs.height
    assert any("1+1" in note for note in report.sources[0].dropped)


def test_guides_of_a_cellxgene_file_are_read_as_genes(ingested: Callable[[str], IngestReport]) -> None:
    obs = ExpressionStore.open(str(ingested(MARSON).out)).obs
    by_guide = dict(obs.select("genetic_perturbation_id", "targets").iter_rows())
    assert by_guide["KIF16B-2"] == "KIF16B"
    assert by_guide["ABCD2-2 || ProbeNTC-666"] == "ABCD2"
    assert by_guide["FBXO11-1 || PLEK-1"] == "FBXO11+PLEK"
    assert by_guide["NTC-135"] is None
    controls = obs.filter("is_control")
    assert dict(controls["pert_type"].value_counts().iter_rows()) == {"ctl_vector": 12, "ctl_untrt": 1}
    assert set(obs.filter(~pl.col("is_control"))["pert_type"]) == {"trt_sh"}


@pytest.mark.parametrize("name", ["mini_gctx_with_metadata_n2x3.gctx", "level5_s2n_lm_n5x978.gctx"])
def test_files_that_do_not_tell_their_cells_are_refused_with_the_way_out(
    name: str, shared_data: SharedData, tmp_path: Path
) -> None:
    with pytest.raises(SchemaError, match=f"{name}: no column tells cell_iname.*--obs-table"):
        ingest([shared_data(f"l1000/{name}")], tmp_path / "store")
    assert list(tmp_path.iterdir()) == []


def test_a_mapping_opens_a_file_that_names_only_classes(shared_data: SharedData, tmp_path: Path) -> None:
    mapping = tmp_path / "map.yaml"
    mapping.write_text(
        "cell_iname: {value: 42MGBA}\ncmap_name: class_a\npert_type: {value: trt_cp}\n", encoding="utf-8"
    )
    report = ingest([shared_data("l1000/level5_s2n_lm_n5x978.gctx")], tmp_path / "store", mapping)
    obs = ExpressionStore.open(str(report.out)).obs
    assert set(obs["cmap_name"]) == {"Trametinib"}
    assert report.measure == "response"


def test_two_files_of_different_gene_order_are_joined_by_gene(
    shared_data: SharedData, tmp_path: Path
) -> None:
    names = ("l1000/level3_lm_n5x978.gctx", "l1000/gctv13_01.gctx")
    report = ingest([shared_data(name) for name in names], tmp_path / "store")
    store = ExpressionStore.open(str(report.out))
    _, _, values = gctx_matrix(shared_data(names[1]))
    with h5py.File(shared_data(names[1]), "r") as file:
        symbols = [name.decode() for name in file["0/META/ROW/pr_gene_symbol"][()]]
    assert list(store.genes) != symbols
    own = store.obs.with_row_index("at").filter(pl.col("source_file") == "gctv13_01.gctx")
    stored = store.reader().dense(own["at"].to_numpy().astype(np.int64))
    columns = [symbols.index(gene) for gene in store.genes]
    assert len(columns) > 900
    assert np.array_equal(stored, values[own["source_row"].to_numpy()][:, columns])


@pytest.mark.parametrize("name", [HT115, "l1000/gctv13_01.gctx", "l1000/test_l1000.gct"])
def test_a_truncated_copy_is_refused_by_name_with_nothing_left_behind(
    name: str, shared_data: SharedData, tmp_path: Path
) -> None:
    whole = shared_data(name).read_bytes()
    cut = tmp_path / f"cut_{Path(name).name}"
    cut.write_bytes(whole[: int(len(whole) * 0.7)])
    with pytest.raises(FormatError, match=cut.name):
        ingest([cut], tmp_path / "store")
    assert list(tmp_path.iterdir()) == [cut]
