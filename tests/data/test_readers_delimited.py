"""Text matrices: any separator, packing, encoding and orientation gives the profiles, or a typed error."""

from __future__ import annotations

import bz2
import gzip
import lzma
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pertcast_data.errors import ConfigError, FormatError, PertcastError
from pertcast_data.readers.source import as_dense
from pertcast_data.readers.text import delimited_rows, text_content
from pertcast_data.readers.text.delimited import DelimitedSource
from pertcast_data.readers.text.delimited_columns import AnnotationTableError

Matrix = np.ndarray[Any, np.dtype[np.float32]]
SharedData = Callable[[str], Path]

BY_PROFILE = "id,drug,dose,TP53,MYC,EGFR\nc1,x,1,1.5,NA,3\nc2,y,2,-666,,+6\n"
BY_GENE = "gene\tdescription\ts1\ts2\nTP53\tfirst\t1\t2\nMYC\tsecond\t4\t5\n"


def write(folder: Path, content: str | bytes, name: str = "file.csv") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def whole(source: DelimitedSource, rows: int | None = None) -> Matrix:
    return np.concatenate([as_dense(batch) for batch in source.batches(rows)])


def read_all(path: Path) -> int:
    source = DelimitedSource(path)
    source.obs(), source.var(), source.schema()
    return sum(batch.shape[0] for batch in source.batches())


def test_lines_of_profiles_give_their_annotations_and_numbers(tmp_path: Path) -> None:
    source = DelimitedSource(write(tmp_path, BY_PROFILE))
    schema = source.schema()
    assert (schema.n_rows, schema.n_genes, schema.layout, schema.is_splittable) == (2, 3, "dense", True)
    assert source.obs().to_dict(as_series=False) == {
        "source_id": ["c1", "c2"],
        "drug": ["x", "y"],
        "dose": [1, 2],
    }
    assert source.var()["source_id"].to_list() == ["TP53", "MYC", "EGFR"]
    values = whole(source)
    assert values.dtype == np.float32
    assert np.array_equal(
        values, np.array([[1.5, np.nan, 3], [np.nan, np.nan, 6]], np.float32), equal_nan=True
    )
    assert "drug, dose" in " ".join(schema.notes)


def test_lines_of_genes_are_turned_and_their_annotations_describe_genes(tmp_path: Path) -> None:
    source = DelimitedSource(write(tmp_path, BY_GENE))
    schema = source.schema()
    assert (schema.n_rows, schema.n_genes, schema.is_splittable) == (2, 2, False)
    assert source.obs()["source_id"].to_list() == ["s1", "s2"]
    assert source.var().to_dict(as_series=False) == {
        "source_id": ["TP53", "MYC"],
        "description": ["first", "second"],
    }
    assert whole(source, 1).tolist() == [[1, 4], [2, 5]]


CODINGS: dict[str, Callable[[str], bytes]] = {
    "plain": lambda text: text.encode(),
    "with a mark": lambda text: text.encode("utf-8-sig"),
    "UTF-16 little": lambda text: b"\xff\xfe" + text.encode("utf-16-le"),
    "UTF-16 big": lambda text: b"\xfe\xff" + text.encode("utf-16-be"),
    "gzip": lambda text: gzip.compress(text.encode()),
    "gzip of UTF-16": lambda text: gzip.compress(text.encode("utf-16")),
    "bzip2": lambda text: bz2.compress(text.encode()),
    "xz": lambda text: lzma.compress(text.encode()),
    "CRLF": lambda text: text.replace("\n", "\r\n").encode(),
    "CR": lambda text: text.replace("\n", "\r").encode(),
    "blank lines": lambda text: text.replace("\n", "\n\n").encode(),
    "comments": lambda text: b"# made by hand\n!more\n" + text.encode(),
    "no last line end": lambda text: text.rstrip("\n").encode(),
}


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("text", [BY_PROFILE, BY_GENE], ids=["profiles", "genes"])
def test_packing_encoding_and_line_ends_change_nothing(tmp_path: Path, coding: str, text: str) -> None:
    wanted = DelimitedSource(write(tmp_path, text, "plain"))
    path = write(tmp_path, CODINGS[coding](text))
    assert DelimitedSource.detects(path)
    source = DelimitedSource(path)
    assert source.obs().equals(wanted.obs())
    assert source.var().equals(wanted.var())
    assert np.array_equal(whole(source), whole(wanted), equal_nan=True)


def test_latin_1_text_is_read_and_said(tmp_path: Path) -> None:
    source = DelimitedSource(write(tmp_path, BY_GENE.replace("first", "5 µM").encode("latin-1")))
    assert source.var()["description"].to_list() == ["5 µM", "second"]
    assert any("Latin-1" in note for note in source.schema().notes)


def test_a_header_one_field_shorter_is_that_of_write_table(tmp_path: Path) -> None:
    source = DelimitedSource(write(tmp_path, '"s1" "s2" "s 3"\n"TP53" 1 2 3\n"MYC" 4 NA 6\n'))
    assert source.obs()["source_id"].to_list() == ["s1", "s2", "s 3"]
    assert source.var()["source_id"].to_list() == ["TP53", "MYC"]
    assert np.array_equal(whole(source), np.array([[1, 4], [2, np.nan], [3, 6]]), equal_nan=True)


def test_quotes_may_hold_separators_line_ends_and_numbers(tmp_path: Path) -> None:
    text = 'id,note,TP53,MYC\nc1,"a\nb",1,2\n"c2","x, ""y""","3",4\nc3,z,5,6\n'
    source = DelimitedSource(write(tmp_path, text))
    assert source.obs()["note"].to_list() == ["a\nb", 'x, "y"', "z"]
    assert whole(source).tolist() == [[1, 2], [3, 4], [5, 6]]


def test_decimal_commas_are_read_where_they_are_sure(tmp_path: Path) -> None:
    source = DelimitedSource(write(tmp_path, "gene;s1;s2\nTP53;1,5;2\nMYC;4,25;1,125\n"))
    assert whole(source).tolist() == [[1.5, 4.25], [2, 1.125]]
    with pytest.raises(FormatError, match=r"'1,500' may be a decimal or thousands.*decimal point"):
        DelimitedSource(write(tmp_path, "gene;s1;s2\nTP53;1,500;2\nMYC;4,250;1,125\n"))


def test_a_series_matrix_tells_its_samples(tmp_path: Path) -> None:
    text = (
        '!Series_title\t"x"\n!Sample_title\t"a"\t"b"\n'
        '!Sample_characteristics_ch1\t"tissue: lung"\t"tissue: liver"\n'
        '!Sample_characteristics_ch1\t"age: 3"\t"sex: f"\n!series_matrix_table_begin\n'
        '"ID_REF"\t"GSM1"\t"GSM2"\n"1007_s_at"\t1.5\tnull\n"1053_at"\t3\t4\n!series_matrix_table_end\n'
    )
    source = DelimitedSource(write(tmp_path, text))
    assert source.obs().to_dict(as_series=False) == {
        "source_id": ["GSM1", "GSM2"],
        "title": ["a", "b"],
        "tissue": ["lung", "liver"],
        "age": [3, None],
        "sex": [None, "f"],
    }
    assert source.var()["source_id"].to_list() == ["1007_s_at", "1053_at"]
    assert np.array_equal(whole(source), np.array([[1.5, 3], [np.nan, 4]]), equal_nan=True)


def test_feature_counts_output_is_read_with_its_comment_and_annotations(tmp_path: Path) -> None:
    text = (
        "# Program:featureCounts\nGeneid\tChr\tStart\tEnd\tStrand\tLength\ta.bam\tb.bam\n"
        "ENSG00000001234\t1;1\t1;5\t4;9\t+;+\t100\t4\t5\nENSG00000001235\t1\t1\t4\t+\t100\t4\t7\n"
    )
    source = DelimitedSource(write(tmp_path, text))
    assert source.obs()["source_id"].to_list() == ["a.bam", "b.bam"]
    assert source.var().columns == ["source_id", "Chr", "Start", "End", "Strand", "Length"]
    assert whole(source).tolist() == [[4, 4], [5, 7]]


def test_numbers_before_the_genes_are_annotations_and_said(tmp_path: Path) -> None:
    genes = [f"GENE{number}" for number in range(8)]
    text = f"id,age,weight,{','.join(genes)}\nc1,1,2,{','.join('3' * 8)}\nc2,4,5,{','.join('6' * 8)}\n"
    source = DelimitedSource(write(tmp_path, text))
    assert source.obs().columns == ["source_id", "age", "weight"]
    assert "annotation columns: age, weight" in source.schema().notes


def test_repeated_names_are_kept_and_said(tmp_path: Path) -> None:
    source = DelimitedSource(write(tmp_path, "id,note,note,TP53,TP53,MYC\nc1,a,b,1,2,3\nc2,c,d,4,5,6\n"))
    assert source.var()["source_id"].to_list() == ["TP53", "TP53", "MYC"]
    assert source.obs().columns == ["source_id", "note", "note_3"]
    notes = " ".join(source.schema().notes)
    assert "several times: 1 (TP53)" in notes and "note -> note_3" in notes


def test_rows_without_names_are_numbered(tmp_path: Path) -> None:
    source = DelimitedSource(write(tmp_path, "cell_line,TP53,MYC\nA375,1,2\nA375,4,5\n"))
    assert source.obs().to_dict(as_series=False) == {"source_id": ["0", "1"], "cell_line": ["A375", "A375"]}
    assert any("numbered" in note for note in source.schema().notes)


def test_counts_stay_exact(tmp_path: Path) -> None:
    values = whole(DelimitedSource(write(tmp_path, "id,TP53,MYC\nc1,16777216,0\nc2,999999,1e3\n")))
    assert values.tolist() == [[16777216, 0], [999999, 1000]]


AMBIGUOUS = "x,y,z\na,1,2\nb,4,5\n"


def test_an_orientation_that_cannot_be_told_is_asked_for_and_taken(tmp_path: Path) -> None:
    path = write(tmp_path, AMBIGUOUS)
    with pytest.raises(
        FormatError, match=r"cannot tell whether a line is a profile or a gene.*orientation: genes"
    ):
        DelimitedSource(path)
    assert whole(DelimitedSource(path, orientation="genes")).tolist() == [[1, 4], [2, 5]]
    assert whole(DelimitedSource(path, orientation="profiles")).tolist() == [[1, 2], [4, 5]]
    with pytest.raises(ConfigError, match="profiles or genes"):
        DelimitedSource(path, orientation="rows")  # type: ignore[arg-type]


def test_two_sides_of_genes_are_no_matter_of_guessing(tmp_path: Path) -> None:
    genes = ["TP53", "MYC", "EGFR", "KRAS"]
    lines = [",".join(["", *genes]), *(f"{gene},1,2,3,4" for gene in genes)]
    with pytest.raises(FormatError, match="both sides look like genes"):
        DelimitedSource(write(tmp_path, "\n".join(lines)))


@pytest.mark.parametrize(
    "text",
    [
        "id,cell_line,dose\na,A375,2\nb,K562,5\n",
        "sig_id\tpert_iname\tpert_dose\tdistil_nsample\tremark\ns1\tx\t1\t3\tq\ns2\ty\t2\t4\tr\n",
        "gene_id,symbol,description\n1,A1BG,x\n2,A2M,y\n",
        "id,gene,value\nc1,TP53,1\nc1,MYC,2\n",
    ],
)
def test_tables_of_annotations_are_refused_with_the_option_to_use(tmp_path: Path, text: str) -> None:
    path = write(tmp_path, text)
    assert DelimitedSource.detects(path)
    with pytest.raises(AnnotationTableError, match=r"table of annotations.*--obs-table"):
        DelimitedSource(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gene,s1,s2\nTP53,1,2\nMYC,4\n", "line 3: 2 fields where 3 are expected"),
        ("gene,s1,s2\nTP53,1,2\nMYC,4,5,6\n", "line 3: 4 fields where 3 are expected"),
        ("gene,s1,s2\nTP53,1,2\n\nMYC,4,abc\n", "line 4, column 's2': 'abc' is no number"),
        ("gene,s1,s2\nTP53,1,2\nMYC,4,1_0\n", "line 3, column 's2': '1_0'"),
        ("id,TP53,MYC\nc1,0.5,0x1\nc2,1,2\n", "line 2, column 'MYC': '0x1'"),
        ("s,0.5,0.25\nc1,1,2\n", "line 1: holds numbers where the header"),
        ("s,0,0\nc1,1,2\n", "line 1: holds numbers where the header"),
        ("id,TP53,MYC\n", "is no text table"),
        ("", "is no text table"),
        ("one column\nof words\n", "is no text table|table of annotations"),
    ],
)
def test_what_is_wrong_is_named_with_line_and_text(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(FormatError, match=f"file\\.csv.*({message})"):
        read_all(write(tmp_path, text))


def test_a_ragged_or_broken_line_far_down_is_named(tmp_path: Path) -> None:
    lines = ["id,TP53,MYC", *(f"c{number},1,2" for number in range(3000))]
    lines[2500] = "c,1"
    with pytest.raises(FormatError, match="line 2501: 2 fields"):
        read_all(write(tmp_path, "\n".join(lines)))
    lines[2500] = "c,1,low"
    with pytest.raises(FormatError, match="line 2501, column 'MYC': 'low'"):
        read_all(write(tmp_path, "\n".join(lines)))


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
@pytest.mark.parametrize("share", [0.3, 0.9, 0.99])
def test_broken_packing_is_named(tmp_path: Path, pack: Callable[[bytes], bytes], share: float) -> None:
    random = np.random.default_rng(0)
    lines = ["id,TP53,MYC", *(f"c{n},{a},{b}" for n, (a, b) in enumerate(random.normal(size=(500, 2))))]
    packed = pack("\n".join(lines).encode())
    path = write(tmp_path, packed[: int(len(packed) * share)])
    assert DelimitedSource.detects(path)
    with pytest.raises(FormatError, match=r"file\.csv.*(broken|truncated)"):
        read_all(path)


def test_nul_bytes_are_refused_at_the_head_and_further_down(tmp_path: Path) -> None:
    body = "".join(f"c{number},1,2\n" for number in range(500_000))
    path = write(tmp_path, ("id,TP53,MYC\n" + body).encode() + b"c,\0,1\n")
    with pytest.raises(FormatError, match="NUL bytes"):
        read_all(path)
    assert not DelimitedSource.detects(write(tmp_path, b"id,TP53\nc1,\0\n"))


@pytest.mark.parametrize(
    "content",
    [
        b"PAR1" + b"\0" * 20,
        b"\x89HDF\r\n\x1a\n",
        b"#1.3\n2\t2\t1\t1\nid\tsymbol\ts1\ts2\n",
        b"%%MatrixMarket matrix coordinate integer general\n3 3 2\n1 1 5\n",
        b'{"a": 1, "b": 2}\n{"a": 2, "b": 3}\n',
        b"just some words\n",
        b"A page of prose, with commas.\nIts lines are, well, of any length, so to say.\nNo table.\n",
        b"",
        b"\n\n",
        gzip.compress(b"#1.3\n1\t1\t1\t1\n", mtime=0),
    ],
)
def test_other_files_are_not_taken_for_matrices(tmp_path: Path, content: bytes) -> None:
    assert not DelimitedSource.detects(write(tmp_path, content))


names = st.integers(0, 10**6).map(str)
floats = st.floats(width=32, allow_nan=False, allow_infinity=False).filter(lambda value: value != -666)
cells = st.one_of(floats, floats, st.none())


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=st.data(),
    shape=st.tuples(st.integers(1, 7), st.integers(2, 6)),
    separator=st.sampled_from([",", "\t", ";", "|", " "]),
    missing=st.sampled_from(["NA", "nan", "NaN", "N/A", "null", "-666", "-666.0", ""]),
    is_by_gene=st.booleans(),
    is_quoted=st.booleans(),
    has_short_header=st.booleans(),
    pack=st.sampled_from([bytes, gzip.compress]),
    rows=st.one_of(st.none(), st.integers(1, 4)),
)
def test_any_matrix_comes_back_whatever_way_it_is_written(
    tmp_path: Path,
    data: st.DataObject,
    shape: tuple[int, int],
    separator: str,
    missing: str,
    is_by_gene: bool,
    is_quoted: bool,
    has_short_header: bool,
    pack: Callable[[bytes], bytes],
    rows: int | None,
) -> None:
    missing = "NA" if separator == " " and not missing else missing
    table = data.draw(
        st.lists(st.lists(cells, min_size=shape[1], max_size=shape[1]), min_size=shape[0], max_size=shape[0])
    )
    profiles = [f"cell{number}" for number in range(shape[0])]
    genes = [f"ENSG{number:011d}" for number in range(shape[1])]
    written = [list(column) for column in zip(*table, strict=True)] if is_by_gene else table
    lines, columns = (genes, profiles) if is_by_gene else (profiles, genes)
    mark = '"' if is_quoted else ""
    text = separator.join(
        ([] if has_short_header else [f"{mark}name{mark}"]) + [f"{mark}{name}{mark}" for name in columns]
    )
    for name, row in zip(lines, written, strict=True):
        fields = [missing if value is None else repr(value) for value in row]
        text += "\n" + separator.join([f"{mark}{name}{mark}", *fields])
    path = tmp_path / "matrix"
    path.write_bytes(pack((text + "\n").encode()))
    source = DelimitedSource(path)
    assert source.obs()["source_id"].to_list() == profiles
    assert source.var()["source_id"].to_list() == genes
    wanted = np.array([[np.nan if value is None else value for value in row] for row in table], np.float32)
    assert np.array_equal(whole(source, rows), wanted, equal_nan=True)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    is_by_gene=st.booleans(),
    is_packed=st.booleans(),
    block=st.integers(20, 300),
    rows=st.one_of(st.none(), st.integers(1, 50)),
    start=st.integers(0, 45),
    stop=st.one_of(st.none(), st.integers(0, 45)),
)
def test_a_range_of_profiles_is_that_slice_of_all(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    is_by_gene: bool,
    is_packed: bool,
    block: int,
    rows: int | None,
    start: int,
    stop: int | None,
) -> None:
    monkeypatch.setattr(text_content, "BLOCK_BYTES", block)
    monkeypatch.setattr(delimited_rows, "_SKIP_BYTES", 7)
    matrix = np.arange(40 * 3, dtype=np.float32).reshape(40, 3)
    profiles, genes = [f"cell{number}" for number in range(40)], ["TP53", "MYC", "EGFR"]
    lines, columns, table = (genes, profiles, matrix.T) if is_by_gene else (profiles, genes, matrix)
    text = ",".join(["", *columns]) + "\n"
    text += "".join(
        ",".join([f'"{name}"', *map(str, row)]) + "\n" for name, row in zip(lines, table, strict=True)
    )
    path = tmp_path / "matrix"
    path.write_bytes(gzip.compress(text.encode()) if is_packed else text.encode())
    source = DelimitedSource(path)
    parts = [as_dense(batch) for batch in source.batches(rows, start, stop)]
    assert all(len(part) == (rows or len(part)) for part in parts[:-1])
    assert np.array_equal(np.concatenate([np.zeros((0, 3)), *parts]), matrix[start:stop])
    assert source.schema().is_splittable == (not is_by_gene and not is_packed)


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=st.sampled_from([BY_PROFILE, BY_GENE, 'id,"a, b",TP53\n"x",q,1\ny,"r",2\n']),
    coding=st.sampled_from([*CODINGS]),
    places=st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), max_size=8),
    length=st.floats(0, 1),
)
def test_damaged_bytes_give_a_typed_error_or_a_file_that_reads(
    tmp_path: Path, text: str, coding: str, places: list[tuple[float, int]], length: float
) -> None:
    damaged = bytearray(CODINGS[coding](text))
    for place, value in places:
        damaged[int(place * len(damaged))] = value
    path = tmp_path / "damaged"
    path.write_bytes(damaged[: round(len(damaged) * length)])
    assert DelimitedSource.detects(path) in (True, False)
    try:
        n_rows = read_all(path)
    except PertcastError as error:
        assert str(path) in str(error)
    else:
        assert n_rows > 0


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.one_of(st.binary(max_size=200), st.text('ab1.,;\t\n"# -', max_size=120).map(str.encode)))
def test_any_bytes_give_a_typed_error_or_a_file_that_reads(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "any"
    path.write_bytes(content)
    assert DelimitedSource.detects(path) in (True, False)
    try:
        assert read_all(path) > 0
    except PertcastError as error:
        assert str(path) in str(error)


@pytest.mark.parametrize("name", ["drugs/gdsc_drugs.csv", "drugs/ccle_cell_lines.tsv"])
def test_real_tables_of_annotations_are_refused(shared_data: SharedData, name: str) -> None:
    with pytest.raises(AnnotationTableError, match=r"--obs-table"):
        DelimitedSource(shared_data(name))


@pytest.mark.parametrize("name", ["drugs/drugcell_test.txt", "networks/iref_interactome.txt"])
def test_real_lists_without_a_header_are_refused(shared_data: SharedData, name: str) -> None:
    with pytest.raises(FormatError, match="line 1: holds numbers where the header should be"):
        DelimitedSource(shared_data(name))


def test_a_real_matrix_of_drugs_by_lines_needs_to_be_told(shared_data: SharedData) -> None:
    path = shared_data("drugs/GDSC_IC50.csv")
    with pytest.raises(FormatError, match="cannot tell"):
        DelimitedSource(path)
    assert DelimitedSource(path, orientation="genes").schema().n_genes == 266


@pytest.mark.parametrize(
    ("content", "named", "genes", "profiles"),
    [
        ("id,TP53,MYC,EGFR,weird\nc1,1,2,3,9\nc2,4,5,6,8\n", "weird", ["TP53", "MYC", "EGFR"], ["c1", "c2"]),
        ("gene\tlen\ts1\ts2\nTP53\t9\t1\t2\nMYC\t8\t4\t5\n", "len", ["TP53", "MYC"], ["s1", "s2"]),
    ],
)
def test_a_named_annotation_is_no_part_of_the_matrix(
    content: str, named: str, genes: list[str], profiles: list[str], tmp_path: Path
) -> None:
    source = DelimitedSource(write(tmp_path, content), annotation_columns=(named,))
    assert source.var()["source_id"].to_list() == genes
    assert source.obs()["source_id"].to_list() == profiles
    annotated = source.obs() if named in source.obs().columns else source.var()
    assert annotated[named].to_list() == [9, 8]
    assert whole(source).shape == (len(profiles), len(genes))
    with pytest.raises(FormatError, match="no column 'fig'"):
        DelimitedSource(source.path, annotation_columns=("fig",))
