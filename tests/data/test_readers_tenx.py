"""10x matrices as folders of text and as HDF5: the same cells as SciPy reads, and the guides beside them."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import polars as pl
import pytest
import scipy.io
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pertcast_data.errors import FormatError, PertcastError
from pertcast_data.ingest.rows.perturbations import read_genetic_name
from pertcast_data.readers import ProfileSource, open_source, spill
from pertcast_data.readers.source import as_dense
from pertcast_data.readers.tenx import matrix_market_text
from pertcast_data.readers.tenx.matrix_market import MatrixMarketSource
from scipy import sparse

N_CELLS, N_GENES = 23, 9
BARCODES = [f"ACGT{number:03d}-1" for number in range(N_CELLS)]
TYPES = ["Gene Expression"] * 6 + ["CRISPR Guide Capture"] * 2 + ["Antibody Capture"]
CALLS = """cell_barcode,num_features,feature_call,num_umis
ACGT000-1,1,GATA1-2,12
ACGT003-1,2,GATA1-2|NTC_1,7|31
ACGT999-1,1,NTC_1,4
"""


def counts(n_genes: int = N_GENES, seed: int = 0) -> sparse.csr_matrix:
    matrix = sparse.random(N_CELLS, n_genes, 0.4, format="csr", random_state=seed)
    matrix.data = np.ceil(matrix.data * 9)
    return matrix.astype(np.int32)


def write_text(path: Path, text: str, is_packed: bool = False) -> None:
    packed = path.with_name(f"{path.name}.gz") if is_packed else path
    packed.write_bytes(gzip.compress(text.encode()) if is_packed else text.encode())


def write_mtx(
    folder: Path,
    matrix: Any,
    *,
    prefix: str = "",
    version: int = 3,
    types: list[str] | None = None,
    cells_are_lines: bool = False,
    field: str = "integer",
) -> Path:
    """Write a 10x folder of version 2 (plain genes.tsv) or 3 (packed features.tsv with types)."""
    folder.mkdir(exist_ok=True)
    written = matrix if cells_are_lines else matrix.T
    scipy.io.mmwrite(folder / f"{prefix}matrix.mtx", sparse.coo_matrix(written), field=field)
    kinds = types or ["Gene Expression"] * matrix.shape[1]
    lines = [f"ENSG{n}\tS{n}" + (f"\t{kinds[n]}" if version == 3 else "") for n in range(matrix.shape[1])]
    name = "features.tsv" if version == 3 else "genes.tsv"
    write_text(folder / f"{prefix}{name}", "\n".join(lines) + "\n", version == 3)
    barcodes = "\n".join(BARCODES[: matrix.shape[0]]) + "\n"
    write_text(folder / f"{prefix}barcodes.tsv", barcodes, version == 3)
    if version == 3:
        plain = folder / f"{prefix}matrix.mtx"
        write_text(plain, plain.read_text(), is_packed=True)
        plain.unlink()
    return folder


def write_h5(path: Path, matrix: Any, types: list[str] | None = None) -> Path:
    columns = sparse.csc_matrix(matrix.T)
    with h5py.File(path, "w") as file:
        for name in ("data", "indices", "indptr"):
            file[f"matrix/{name}"] = getattr(columns, name)
        file["matrix/shape"] = np.array(columns.shape, np.int32)
        file["matrix/barcodes"] = np.array(BARCODES, "S18")
        ids = [f"ENSG{n}" for n in range(matrix.shape[1])]
        file["matrix/features/id"] = np.array(ids, "S16")
        file["matrix/features/name"] = np.array([f"S{n}" for n in range(matrix.shape[1])], "S16")
        file["matrix/features/feature_type"] = np.array(types or ["Gene Expression"] * len(ids), "S24")
        file["matrix/features/genome"] = np.array(["GRCh38"] * len(ids), "S8")
        file["matrix/features/_all_tag_keys"] = np.array([b"genome"])
    return path


def write_old_h5(path: Path, genomes: dict[str, Any]) -> Path:
    with h5py.File(path, "w") as file:
        for genome, matrix in genomes.items():
            columns = sparse.csc_matrix(matrix.T)
            group = file.create_group(genome)
            for name in ("data", "indices", "indptr"):
                group[name] = getattr(columns, name)
            group["shape"] = np.array(columns.shape)
            group["barcodes"] = np.array(BARCODES, "S18")
            group["genes"] = np.array([f"ENSG{n}" for n in range(matrix.shape[1])], "S16")
            group["gene_names"] = np.array([f"S{n}" for n in range(matrix.shape[1])], "S16")
    return path


def whole(source: ProfileSource, rows: int | None = None) -> np.ndarray[Any, np.dtype[Any]]:
    return np.concatenate([as_dense(batch) for batch in source.batches(rows)])


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("cells_are_lines", [False, True])
@pytest.mark.parametrize("field", ["integer", "real", "pattern"])
def test_a_folder_gives_what_scipy_reads_from_its_matrix(
    tmp_path: Path, version: int, cells_are_lines: bool, field: str
) -> None:
    folder = write_mtx(
        tmp_path / "run", counts(), version=version, cells_are_lines=cells_are_lines, field=field
    )
    read = scipy.io.mmread(next(folder.glob("matrix.mtx*"))).toarray()
    source = open_source(folder)
    assert np.array_equal(whole(source), read if cells_are_lines else read.T)
    assert np.array_equal(whole(source, 4), whole(source))
    assert source.obs()["source_id"].to_list() == BARCODES
    assert source.var()["source_id"].to_list() == [f"ENSG{n}" for n in range(N_GENES)]
    assert source.var()["gene_symbol"].to_list() == [f"S{n}" for n in range(N_GENES)]
    schema = source.schema()
    assert (schema.format, schema.layout, schema.is_splittable) == ("mtx", "csr", False)
    assert any("cells as lines" in note for note in schema.notes) == cells_are_lines


def test_a_square_matrix_is_read_as_10x_writes_it_and_says_so(tmp_path: Path) -> None:
    folder = write_mtx(tmp_path / "run", counts(N_CELLS))
    source = open_source(folder)
    assert np.array_equal(whole(source), counts(N_CELLS).toarray())
    assert any("square" in note for note in source.schema().notes)


def test_several_matrices_in_a_folder_are_told_apart_by_name_and_never_guessed(tmp_path: Path) -> None:
    folder = write_mtx(tmp_path / "geo", counts(seed=1), prefix="GSM1_a_")
    write_mtx(folder, counts(seed=2), prefix="GSM2_")
    with pytest.raises(
        FormatError, match=r"geo: holds 2 matrices \(GSM1_a_matrix.mtx.gz, GSM2_matr.*Name one"
    ):
        open_source(folder)
    assert np.array_equal(whole(open_source(folder / "GSM1_a_")), counts(seed=1).toarray())
    assert np.array_equal(whole(open_source(folder / "GSM2_matrix.mtx.gz")), counts(seed=2).toarray())
    with pytest.raises(FormatError, match=r"GSM3_: no such file"):
        open_source(folder / "GSM3_")


def test_tables_named_after_the_matrix_are_found(tmp_path: Path) -> None:
    folder = write_mtx(tmp_path / "run", counts(), version=2, cells_are_lines=True)
    (folder / "matrix.mtx").rename(folder / "cells_x_genes.mtx")
    (folder / "genes.tsv").rename(folder / "cells_x_genes.genes.txt")
    (folder / "barcodes.tsv").rename(folder / "cells_x_genes.barcodes.txt")
    assert np.array_equal(whole(open_source(folder)), counts().toarray())


@pytest.mark.parametrize("kind", ["mtx", "h5"])
def test_features_that_are_no_genes_are_left_out_and_counted(tmp_path: Path, kind: str) -> None:
    path = (
        write_mtx(tmp_path / "run", counts(), types=TYPES)
        if kind == "mtx"
        else write_h5(tmp_path / "run.h5", counts(), TYPES)
    )
    source = open_source(path)
    assert np.array_equal(whole(source, 5), counts().toarray()[:, :6])
    assert source.var()["source_id"].to_list() == [f"ENSG{n}" for n in range(6)]
    assert source.schema().n_genes == 6
    first, second = source.schema().notes
    assert first.endswith("left out: 2 CRISPR Guide Capture, 1 Antibody Capture")
    assert second.startswith("2 guides were captured, but no protospacer_calls_per_cell.csv")
    assert "guide_id" not in source.obs().columns


@pytest.mark.parametrize("kind", ["mtx", "h5"])
def test_a_matrix_without_any_gene_is_refused(tmp_path: Path, kind: str) -> None:
    types = ["Antibody Capture"] * N_GENES
    path = (
        write_mtx(tmp_path / "run", counts(), types=types)
        if kind == "mtx"
        else write_h5(tmp_path / "run.h5", counts(), types)
    )
    with pytest.raises(FormatError, match="no feature has the type 'Gene Expression', only 9 Antibody"):
        open_source(path)


def test_cellranger_3_is_read_by_ranges_of_cells(tmp_path: Path) -> None:
    source = open_source(write_h5(tmp_path / "any.name", counts()))
    assert np.array_equal(whole(source), counts().toarray())
    part = np.concatenate([batch.toarray() for batch in source.batches(3, 7, 19)])
    assert np.array_equal(part, counts().toarray()[7:19])
    assert source.var().columns == ["source_id", "gene_symbol", "feature_type", "genome"]
    assert source.schema().is_splittable
    with pytest.raises(FormatError, match="holds one matrix"):
        open_source(tmp_path / "any.name", matrix="raw")


def test_cellranger_2_names_its_genome_where_there_are_several(tmp_path: Path) -> None:
    one = open_source(write_old_h5(tmp_path / "one.h5", {"GRCh38": counts()}))
    assert np.array_equal(whole(one), counts().toarray())
    assert one.var()["gene_symbol"].to_list() == [f"S{n}" for n in range(N_GENES)]
    path = write_old_h5(tmp_path / "two.h5", {"GRCh38": counts(), "mm10": counts(4, 1)})
    with pytest.raises(FormatError, match=r"genomes GRCh38, mm10.*`matrix: GRCh38`"):
        open_source(path)
    assert np.array_equal(whole(open_source(path, "mm10")), counts(4, 1).toarray())
    with pytest.raises(FormatError, match=r"no genome 'mm100'.*Nearest: mm10\."):
        open_source(path, "mm100")
    empty = sparse.csr_matrix((N_CELLS, 4), dtype=np.int32)
    lone = open_source(write_old_h5(tmp_path / "lone.h5", {"GRCh38": counts(), "mm10": empty}))
    assert lone.schema().notes == ("read from GRCh38; mm10 hold no entry",)


def test_the_molecules_of_a_run_are_refused_with_the_file_to_bring(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "molecule_info.h5", "w") as file:
        for name in ("barcodes", "barcode_idx", "feature_idx", "count", "umi"):
            file[name] = np.zeros(3)
    with pytest.raises(FormatError, match=r"molecules.*filtered_feature_bc_matrix"):
        open_source(tmp_path / "molecule_info.h5")


@pytest.mark.parametrize("place", ["run", "run/crispr_analysis", "crispr_analysis"])
@pytest.mark.parametrize("is_packed", [False, True])
def test_guide_calls_beside_the_matrix_are_joined_by_barcode(
    tmp_path: Path, place: str, is_packed: bool
) -> None:
    folder = write_mtx(tmp_path / "run", counts(), types=TYPES)
    (tmp_path / place).mkdir(exist_ok=True)
    write_text(tmp_path / place / "protospacer_calls_per_cell.csv", CALLS, is_packed)
    source = open_source(folder)
    obs = source.obs()
    assert obs.columns == ["source_id", "guide_id", "num_guides", "guide_umis"]
    assert obs["source_id"].to_list() == BARCODES
    assert obs["guide_id"].to_list()[:5] == ["GATA1-2", None, None, "GATA1-2|NTC_1", None]
    assert obs["num_guides"].to_list()[:4] == [1, None, None, 2]
    assert obs["guide_umis"].to_list()[:4] == ["12", None, None, "7|31"]
    assert "1 cells with one, 1 with several, 21 with none; 1 of its 3 barcodes" in source.schema().notes[-1]


def test_barcodes_match_with_and_without_the_suffix_of_the_first_run(tmp_path: Path) -> None:
    path = write_h5(tmp_path / "GSM1_filtered_feature_bc_matrix.h5", counts())
    calls = CALLS.replace("ACGT000-1", "ACGT000").replace("ACGT003-1", "ACGT003-2")
    (tmp_path / "GSM1_protospacer_calls_per_cell.csv").write_text(calls, encoding="utf-8")
    (tmp_path / "protospacer_calls_per_cell.csv").write_text("not this one\n", encoding="utf-8")
    assert open_source(path).obs()["guide_id"].to_list()[:4] == ["GATA1-2", None, None, None]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("barcode,call\na,b\n", "first line lacks cell_barcode, num_features, feature_call, num_umis"),
        (CALLS.replace(",1,GATA1-2,12", ",one,GATA1-2,12"), "row 1: cell_barcode 'ACGT000-1', num_f.*'one'"),
        (CALLS + "ACGT000,1,NTC_1,4\n", "names the barcode 'ACGT000' more than once"),
        (CALLS + "ACGT001-1,1,NTC_1,4,5,6\n", "line 5: 6 values"),
        ("", "first line lacks"),
    ],
)
def test_a_wrong_table_of_calls_is_refused_by_name(tmp_path: Path, text: str, message: str) -> None:
    folder = write_mtx(tmp_path / "run", counts())
    (folder / "protospacer_calls_per_cell.csv").write_text(text, encoding="utf-8")
    with pytest.raises(FormatError, match=rf"protospacer_calls_per_cell\.csv.*{message}"):
        open_source(folder).obs()


HEAD = "%%MatrixMarket matrix coordinate integer general\n%made by hand\n\n"
TEXT = HEAD + "3 2 4\n1 1 5\n3 1 2\n2 2 1\n3 2 7\n"
VALUES = [[5, 0, 2], [0, 1, 7]]


def tiny(folder: Path, text: str | bytes, name: str = "matrix.mtx") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    (folder / "features.tsv").write_text("g1\tA\ng2\tB\ng3\tC\n", encoding="utf-8")
    (folder / "barcodes.tsv").write_text("AC-1\nGT-1\n", encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    "text",
    [
        TEXT,
        TEXT.replace("\n", "\r\n"),
        TEXT.replace(" ", "\t").replace("%%MatrixMarket\t", "%%MatrixMarket "),
        TEXT.replace("1 1 5\n", " 1  1 5 \n"),
        TEXT.replace("1 1 5\n", "1 1 5\n\n% a remark\n"),
        TEXT.rstrip("\n"),
        HEAD + "3 2 4\n3 2 7\n2 2 1\n3 1 2\n1 1 5\n",
        HEAD + "3 2 5\n1 1 2\n3 1 2\n2 2 1\n3 2 7\n1 1 3\n",
        HEAD.replace("integer", "REAL") + "3 2 4\n1 1 5.0\n3 1 2e0\n2 2 1\n3 2 +7\n",
    ],
)
def test_every_way_to_write_the_same_entries_is_read(tmp_path: Path, text: str) -> None:
    assert whole(open_source(tiny(tmp_path / "run", text))).tolist() == VALUES
    packed = tiny(tmp_path / "packed", gzip.compress(text.encode()), "matrix.mtx.gz")
    assert whole(open_source(packed)).tolist() == VALUES


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (TEXT.replace("3 2 7\n", ""), "line 8: ends after 3 of 4 entries"),
        (TEXT + "1 2 1\n", "more entries than the 4 that line 4"),
        (TEXT.replace("3 1 2", "4 1 2"), "line 6: row 4, column 1 lie outside the 3 x 2"),
        (TEXT.replace("3 1 2", "0 1 2"), "line 6: row 0"),
        (TEXT.replace("3 1 2", "3 one 2"), "line 6: '3 one 2'"),
        (TEXT.replace("3 1 2", "3 1"), "line 6: '3 1' where row, column and value"),
        (TEXT.replace("3 1 2", "3 1 2 9"), "line 6: '3 1 2 9'"),
        (TEXT.replace("3 1 2", "3 1 2.5"), "line 6: '3 1 2.5'"),
        (TEXT.replace("3 1 2", "3 1 3000000000"), "line 6: 3000000000 is too large"),
        (TEXT.replace("3 1 2", "3 1 " + "9" * 40), "a number is too large"),
        (TEXT.replace("3 2 4", "3 2"), "line 4: '3 2' where rows, columns and entries"),
        (TEXT.replace("3 2 4", "3 2 99"), "99 entries in 3 x 2 do not fit"),
        (TEXT.replace("3 2 4", "3 3 4"), "is 3 x 3, but features.tsv names 3 features and barcodes.tsv 2"),
        (TEXT.replace("general", "symmetric"), "is symmetric"),
        (TEXT.replace("coordinate", "array"), "kind 'array'.*coordinate"),
        (TEXT.replace("integer", "complex"), "complex numbers"),
        (TEXT.replace("matrix coordinate", "vector coordinate"), "line 1"),
        (HEAD, "line 4"),
    ],
)
def test_a_wrong_matrix_is_refused_by_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(FormatError, match=rf"matrix\.mtx.*{message}"):
        whole(open_source(tiny(tmp_path / "run", text)))


def test_a_packed_matrix_that_breaks_off_is_refused(tmp_path: Path) -> None:
    packed = gzip.compress(TEXT.encode())
    with pytest.raises(FormatError, match=r"matrix\.mtx\.gz: is packed with gzip and broken"):
        whole(open_source(tiny(tmp_path / "run", packed[:-12], "matrix.mtx.gz")))


@pytest.mark.parametrize("name", ["features.tsv", "barcodes.tsv"])
def test_a_matrix_without_its_tables_is_refused_by_the_missing_name(tmp_path: Path, name: str) -> None:
    folder = tiny(tmp_path / "run", TEXT)
    (folder / name).unlink()
    with pytest.raises(FormatError, match=rf"matrix\.mtx: has no {name}.*beside it"):
        open_source(folder)


def test_small_blocks_give_the_same_matrix_in_any_order_of_entries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(matrix_market_text, "BLOCK_BYTES", 50)
    for cells_are_lines in (True, False):
        folder = write_mtx(
            tmp_path / str(cells_are_lines), counts(), version=2, cells_are_lines=cells_are_lines
        )
        assert np.array_equal(whole(open_source(folder)), counts().toarray())
    late = (tmp_path / "False" / "matrix.mtx").read_text().splitlines(keepends=True)
    late[-3] = "1 99 1\n"
    (tmp_path / "False" / "matrix.mtx").write_text("".join(late), encoding="utf-8")
    with pytest.raises(FormatError, match=rf"line {len(late) - 2}: row 1, column 99"):
        whole(open_source(tmp_path / "False"))


@pytest.mark.parametrize("block", [1, 7, 10_000])
def test_entries_in_any_order_become_rows(block: int) -> None:
    entries = counts().tocoo()
    order = np.random.default_rng(0).permutation(entries.nnz)
    rows, columns, values = entries.row[order], entries.col[order], entries.data[order]
    pointers, turned, data = spill.entries_to_row_order(rows, columns, values, N_CELLS, block)
    matrix = sparse.csr_matrix((data, turned, pointers), shape=entries.shape)
    assert np.array_equal(matrix.toarray(), entries.toarray())
    in_order = spill.entries_to_row_order(np.sort(rows), columns, values, N_CELLS, block)
    assert in_order[1] is columns


def test_a_disk_without_room_for_the_turned_matrix_is_a_typed_error() -> None:
    with pytest.raises(PertcastError, match=r"no room for .* TMPDIR"):
        spill.scratch_array((1 << 58,), np.int32)


def test_a_folder_of_something_else_is_told_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "filtered_feature_bc_matrix").mkdir()
    (tmp_path / "metrics_summary.csv").write_text("a\n", encoding="utf-8")
    with pytest.raises(
        FormatError, match=r"is a folder.*filtered_feature_bc_matrix, metrics_summary.csv.*Name"
    ):
        open_source(tmp_path)
    assert not MatrixMarketSource.detects(tmp_path / "absent" / "folder")


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("whole")
    write_mtx(folder / "mtx2", counts(), version=2)
    write_mtx(folder / "mtx3", counts(), types=TYPES)
    for name in ("h5", "old_h5"):
        (folder / name).mkdir()
    write_h5(folder / "h5" / "run.h5", counts(), TYPES)
    write_old_h5(folder / "old_h5" / "run.h5", {"GRCh38": counts()})
    for place in folder.iterdir():
        (place / "protospacer_calls_per_cell.csv").write_text(CALLS, encoding="utf-8")
    return {path.name: path for path in folder.iterdir()}


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(["mtx2", "mtx3", "h5", "old_h5"]),
    which=st.integers(0, 10),
    places=st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), max_size=20),
    kept=st.sampled_from([0.0, 0.3, 0.9, 0.99, 1.0, 1.0]),
)
def test_damaged_files_give_a_typed_error_or_a_source_that_reads(
    sources: dict[str, Path],
    tmp_path: Path,
    name: str,
    which: int,
    places: list[tuple[float, int]],
    kept: float,
) -> None:
    folder = tmp_path / "damaged"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(sources[name], folder)
    files = sorted(folder.iterdir())
    target = files[which % len(files)]
    content = bytearray(target.read_bytes())
    for place, value in places:
        content[int(place * len(content))] = value
    target.write_bytes(content[: int(len(content) * kept)])
    try:
        source = open_source(folder / "run.h5" if "h5" in name else folder)
        n_rows = source.obs().height
        assert source.var().height == source.schema().n_genes
        assert whole(source).shape == (n_rows, source.schema().n_genes)
    except PertcastError as error:
        assert str(folder) in str(error)


def test_calls_are_split_into_guides_by_the_ingest(tmp_path: Path) -> None:
    folder = write_mtx(tmp_path / "run", counts())
    (folder / "protospacer_calls_per_cell.csv").write_text(CALLS, encoding="utf-8")
    guides = open_source(folder).obs().filter(pl.col("num_guides") == 2)["guide_id"]
    assert read_genetic_name(guides[0], strip_guides=True).name == "GATA1"
