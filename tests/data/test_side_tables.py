"""Tables are read whatever they are kept in; LINCS' own need no key; what is wrong has its line."""

from __future__ import annotations

import gzip
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pertcast_data.errors import FormatError, SchemaError
from pertcast_data.ingest.mapping.rules import TableRule
from pertcast_data.ingest.side_tables.joining import join_side_table
from pertcast_data.ingest.side_tables.lincs import lincs_tables, recognise_side_table
from pertcast_data.tables import text_blocks
from pertcast_data.tables.table import open_table

TEXT = "id,dose,note\nw1,10 µM,a\nw2,500 nM,\nw3,,c\n"
FRAME = pl.DataFrame({"id": ["w1", "w2", "w3"], "dose": ["10 µM", "500 nM", None], "note": ["a", None, "c"]})
TEXTS: dict[str, bytes] = {
    "csv": TEXT.encode(),
    "tsv": TEXT.replace(",", "\t").encode(),
    "semicolons": TEXT.replace(",", ";").encode(),
    "windows": TEXT.replace("\n", "\r\n").encode(),
    "byte order mark": b"\xef\xbb\xbf" + TEXT.encode(),
    "utf-16": TEXT.encode("utf-16"),
    "utf-16 tsv of Excel": TEXT.replace(",", "\t").replace("\n", "\r\n").encode("utf-16"),
    "latin-1": TEXT.encode("latin-1"),
    "gzip": gzip.compress(TEXT.encode()),
    "gzip of utf-16": gzip.compress(TEXT.encode("utf-16")),
    "blanks": TEXT.replace(",", ", ").replace("w", " w").encode(),
    "quotes": b'"id","dose","note"\n"w1","10 \xc2\xb5M","a"\n"w2","500 nM",\n"w3",,"c"\n',
    "quotes between tabs": b'"id"\t"dose"\t"note"\n"w1"\t"10 \xc2\xb5M"\t"a"\n'
    b'"w2"\t"500 nM"\t\n"w3"\t\t"c"\n',
    "spare separators": TEXT.replace("M,a", "M,a,,").encode(),
    "comments": b"# made by hand\n## twice\n" + TEXT.encode(),
    "blank lines": TEXT.replace("\n", "\n\n").encode(),
    "no last line end": TEXT.rstrip("\n").encode(),
}


@pytest.mark.parametrize("kind", TEXTS)
def test_the_same_table_is_read_from_every_kind_of_text(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "table.txt"
    path.write_bytes(TEXTS[kind])
    table = open_table(path)
    assert table.columns == ("id", "dose", "note")
    assert table.read().equals(FRAME)
    assert bool(table.notes) == (kind == "latin-1")


def test_parquet_and_arrow_are_read_packed_or_not_and_only_the_columns_asked_for(tmp_path: Path) -> None:
    FRAME.write_parquet(tmp_path / "a.parquet")
    FRAME.write_ipc(tmp_path / "a.arrow", compression="lz4")
    for name in ("a.parquet", "a.arrow"):
        packed = tmp_path / f"{name}.gz"
        packed.write_bytes(gzip.compress((tmp_path / name).read_bytes()))
        for path in (tmp_path / name, packed):
            table = open_table(path)
            assert table.read().equals(FRAME)
            assert table.read(["note", "id"]).equals(FRAME.select("note", "id"))


CELLS = st.text(st.characters(blacklist_categories=("Cs", "Cc", "Zs", "Zl", "Zp")), min_size=1, max_size=6)


@given(rows=st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=30), separator=st.sampled_from(",;\t"))
def test_what_is_written_in_quotes_is_read_back_in_blocks_of_any_size(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]], separator: str
) -> None:
    path = tmp_path_factory.mktemp("table") / "table.txt"
    frame = pl.DataFrame({"key": [a for a, _ in rows], "value": [f"{b} x\n{b}" for _, b in rows]})
    frame.write_csv(path, separator=separator, quote_style="always")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_blocks, "BLOCK_BYTES", 40)
        assert open_table(path).read().equals(frame)


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (b"", FormatError, r"is empty"),
        (b" \n\n", FormatError, r"is empty"),
        (b"\x00\x01\x02", FormatError, r"neither text nor Parquet"),
        (b"PK\x03\x04zip", FormatError, r"packed\. Unpack it first"),
        (gzip.compress(TEXT.encode(), mtime=0)[:-9], FormatError, r"packed with gzip and broken"),
        (TEXT.encode("utf-16")[:-1], FormatError, r"UTF-16 and breaks off"),
        (b"id\rw1\rw2", FormatError, r"old Macintosh"),
        (b"PAR1 and no more", FormatError, r"cannot be read as a table"),
        (b"id,a\nw1,1\nw2,2,3\n", SchemaError, r"line 3: 3 values, the header names 2 \(w2\)"),
        (b"id,a,b\nw1,1,2\n\nw2,2\n", SchemaError, r"line 4: 2 values, the header names 3 \(w2\)"),
        (b'id,a\nw1,"x\ny"\nw2\n', SchemaError, r"line 4: 1 values, the header names 2 \(w2\)"),
        (b"a\tb\n1\tx\ty\n2\tx\ty\n", SchemaError, r"line 2: 3 values.*row\.names = FALSE"),
    ],
)
def test_what_is_no_whole_table_is_refused_with_its_line(
    content: bytes, error: type[Exception], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "table.txt"
    path.write_bytes(content)
    with pytest.raises(error, match=rf"table\.txt.*{message}"):
        open_table(path).read()


def test_a_header_is_asked_for_where_the_first_line_is_a_row(tmp_path: Path) -> None:
    path = tmp_path / "wells.csv"
    path.write_text("w1,A375,10.0\nw2,A375,3.0\n")
    rows = pl.DataFrame({"source_id": ["w1"]})
    with pytest.raises(
        SchemaError, match=r"no column 'id'.*first line looks like a row.*line of names above"
    ):
        join_side_table(rows, TableRule(file=(path,), key="id"), "--key")
    with pytest.raises(SchemaError, match=r"first line looks like a row"):
        lincs_tables([path])


def test_numbers_that_name_rows_join_whatever_type_each_side_gives_them(tmp_path: Path) -> None:
    path = tmp_path / "genes.parquet"
    pl.DataFrame({"gene_id": [5720.0, 466.0], "gene_symbol": ["PSME1", "ATF1"]}).write_parquet(path)
    rows = pl.DataFrame({"source_id": ["466", "5720", "1"]})
    joined = join_side_table(rows, TableRule(file=(path,), key="gene_id"), "genes")
    assert joined.frame["gene_symbol"].to_list() == ["ATF1", "PSME1", None]
    assert joined.n_found == 2


def test_joined_repeats_keep_every_target_and_the_first_of_all_else(tmp_path: Path) -> None:
    path = tmp_path / "compounds.txt"
    path.write_text(
        "pert_id\tcmap_name\ttarget\tmoa\tcanonical_smiles\nB1\tone\tEGFR\tkinase inhibitor\t-666\n"
        "B1\tone\tERBB2\tkinase inhibitor\tCCO\nB2\ttwo\t-666\t\tCCN\nB2\ttwo\t\t\tCCN\n"
    )
    rows = pl.DataFrame({"source_id": ["w1", "w2", "w3"], "pert_id": ["B2", "B1", "B9"]})
    rule = TableRule(file=(path,), key="pert_id", matches="pert_id", repeats="join")
    frame = join_side_table(rows, rule, "tables").frame
    assert frame["target"].to_list() == [None, "EGFR|ERBB2", None]
    assert frame["moa"].to_list() == [None, "kinase inhibitor", None]
    assert frame["canonical_smiles"].to_list() == ["CCN", "CCO", None]
    with pytest.raises(SchemaError, match=r"1 ids stand in several different rows \(B1\)|2 ids"):
        join_side_table(rows, rule.model_copy(update={"repeats": "error"}), "tables")


GSE92742 = {
    "sig_info": "sig_id\tpert_id\tpert_iname\tpert_type\tcell_id\tpert_dose\tpert_dose_unit\tpert_time\t"
    "pert_time_unit\tdistil_id\n"
    "s1\tB1\tone\ttrt_cp\tA375\t10\tuM\t24\th\tx|y\ns2\tTRCN1\tTP53\ttrt_sh\tA375\t-666\t-666\t96\th\tz\n",
    "pert_info": "pert_id\tpert_iname\tpert_type\tinchi_key\tcanonical_smiles\nB1\tone\ttrt_cp\tK\tCCO\n",
    "cell_info": "cell_id\tcell_type\tbase_cell_id\tprimary_site\nA375\tcell line\tA375\tskin\n",
    "gene_info": "pr_gene_id\tpr_gene_symbol\tpr_is_lm\n5720\tPSME1\t1\n",
}
LINCS_2020 = {
    "siginfo_beta": "bead_batch\tpert_dose\tpert_dose_unit\tpert_time\tpert_id\tsig_id\tpert_type\t"
    "cell_iname\tdistil_ids\tcmap_name\ns\t10\tuM\t24\tB1\ts1\ttrt_cp\tA375\tx\tone\ns\t\t\t96\tG1\ts2\ttrt_xpr\tA375\tz\tTP53\n",
    "compoundinfo_beta": "pert_id\tcmap_name\ttarget\tmoa\tcanonical_smiles\tinchi_key\tcompound_aliases\n"
    "B1\tone\tEGFR\tEGFR inhibitor\tCCO\tK\t\nB1\tone\tKIT\tKIT inhibitor\tCCO\tK\t\n",
    "cellinfo_beta": "cell_iname\tcellosaurus_id\tcell_lineage\tprimary_disease\nA375\tC1\tskin\tmelanoma\n",
    "geneinfo_beta": "gene_id\tgene_symbol\tensembl_id\tfeature_space\n5720\tPSME1\tE1\tlandmark\n",
}


def written(tables: dict[str, str], folder: Path) -> list[Path]:
    for name, text in tables.items():
        (folder / f"{name}.txt.gz").write_bytes(gzip.compress(text.encode()))
    return [folder / f"{name}.txt.gz" for name in tables]


@pytest.mark.parametrize("release", [GSE92742, LINCS_2020], ids=["GSE92742", "2020"])
def test_tables_of_lincs_join_in_their_order_whatever_order_they_are_given_in(
    release: dict[str, str], tmp_path: Path
) -> None:
    paths = written(release, tmp_path)
    rules, genes = lincs_tables(paths[::-1])
    assert [rule.file[0] for rule in rules] == paths[:3]
    assert genes is not None and genes.file == (paths[3],) and genes.matches is None
    frame = pl.DataFrame({"source_id": ["s1", "s2"]})
    for rule in rules:
        frame = join_side_table(frame, rule, "--obs-table").frame
    name = "pert_iname" if "pert_iname" in frame.columns else "cmap_name"
    assert frame[name].to_list() == ["one", "TP53"]
    assert frame["pert_type"][1] in ("trt_sh", "trt_xpr")
    assert frame["canonical_smiles"].to_list() == ["CCO", None]
    assert (
        frame["primary_site" if "primary_site" in frame.columns else "cell_lineage"].to_list() == ["skin"] * 2
    )
    if "target" in frame.columns:
        assert frame["target"].to_list() == ["EGFR|KIT", None]


@pytest.mark.parametrize(
    ("header", "key", "matches"),
    [
        ("inst_id\trna_plate\trna_well\tpert_id\tpert_iname\tpert_type\tcell_id", "inst_id", None),
        ("inst_id\tcell_id\tdet_plate\tdet_well\tpert_mfc_id\tpert_time", "inst_id", None),
        ("bead_batch\tdet_plate\tpert_id\tsample_id\tcell_iname\tcmap_name", "sample_id", None),
        ("distil_id\tpert_id\tcell_id", "distil_id", None),
        ("sig_id\tpert_id\tcell_id\tdistil_id", "sig_id", None),
        ("pert_id\tcanonical_smiles\tinchi_key\tpert_iname\tpert_type", "pert_id", "pert_id"),
        ("pr_gene_id\tpr_gene_symbol\tpr_gene_title\tpr_is_lm\tpr_is_bing", "pr_gene_id", None),
    ],
)
def test_each_table_of_lincs_is_known_by_its_columns(
    header: str, key: str, matches: str | None, tmp_path: Path
) -> None:
    path = tmp_path / "anything.tsv"
    path.write_text(header + "\n" + "\t".join("x" for _ in header.split("\t")) + "\n")
    rule = recognise_side_table(path)
    assert rule is not None and (rule.key, rule.matches) == (key, matches)


def test_a_table_that_is_not_of_lincs_is_refused_with_its_columns_and_the_line_to_write(
    tmp_path: Path,
) -> None:
    path = tmp_path / "plates.csv"
    path.write_text("well,treatment\nA1,x\n")
    assert recognise_side_table(path) is None
    with pytest.raises(
        SchemaError, match=r"plates\.csv.*it has well, treatment.*--key COLUMN.*tables: \[\{file"
    ):
        lincs_tables([path])


def test_tables_of_one_kind_are_put_under_each_other_and_releases_are_not_mixed(tmp_path: Path) -> None:
    first, second, other = tmp_path / "1.txt", tmp_path / "2.txt", tmp_path / "3.txt"
    first.write_text("inst_id\tpert_id\tcell_id\na\tB1\tA375\n")
    second.write_text("inst_id\tpert_id\tcell_id\nb\tB2\tVCAP\n")
    other.write_text("sample_id\tpert_id\tcell_iname\nc\tB2\tVCAP\n")
    rules, genes = lincs_tables([first, second])
    assert [rule.file for rule in rules] == [(first, second)] and genes is None
    frame = join_side_table(pl.DataFrame({"source_id": ["b", "a"]}), rules[0], "--obs-table").frame
    assert frame["cell_id"].to_list() == ["VCAP", "A375"]
    with pytest.raises(SchemaError, match=r"different keys \(1\.txt: inst_id and 3\.txt: sample_id\)"):
        lincs_tables([first, other])


def test_tables_of_signatures_and_of_samples_are_not_joined_to_one_file(tmp_path: Path) -> None:
    samples = tmp_path / "inst_info.txt"
    samples.write_text("inst_id\tpert_id\tcell_id\na\tB1\tA375\n")
    with pytest.raises(
        SchemaError, match=r"sig_info\.txt\.gz tells signatures, inst_info\.txt samples.*level 5"
    ):
        lincs_tables([*written(GSE92742, tmp_path), samples])


def test_a_library_of_compounds_is_joined_by_pert_id_unless_structures_are_told_already(
    tmp_path: Path,
) -> None:
    library = tmp_path / "own.smi"
    library.write_text("CCO B1\n")
    rule = recognise_side_table(library)
    assert rule is not None and (rule.key, rule.matches) == ("id", "pert_id")
    signatures, compounds, *_ = written(GSE92742, tmp_path)
    rules, _ = lincs_tables([library, signatures])
    frame = pl.DataFrame({"source_id": ["s2", "s1"]})
    for rule in rules:
        frame = join_side_table(frame, rule, "--obs-table").frame
    assert frame["canonical_smiles"].to_list() == [None, "CCO"]
    with pytest.raises(
        SchemaError, match=r"own\.smi: a table before it tells canonical_smiles and inchi_key"
    ):
        lincs_tables([library, signatures, compounds])
