"""Signatures from files of every layout, and files that are none."""

from __future__ import annotations

import gzip
from pathlib import Path

import polars as pl
import pytest
from pertcast_data.errors import FormatError, SchemaError
from pertcast_data.signatures import read_gene_list, read_weighted_genes


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.txt", "TP53\nEGFR\n\nMYC\n"),
        ("a.grp", "# a comment\nTP53\nEGFR\nMYC\n"),
        ("a.txt", "gene_symbol\nTP53\r\nEGFR\nMYC"),
        ("a.csv", "logfc,gene\n1,TP53\n2,EGFR\n3,MYC\n4,NA\n"),
        ("a.tsv", "Gene\tp\tq\tr\nTP53\t1\t1\t1\nEGFR\t1\t1\t1\nMYC\t1\t1\t1\n"),
        ("a.gmt", "whatever\t\tTP53\tEGFR\tMYC\n"),
        ("a.gmt", "drug_DOWN\t\tX\tY\tZ\ndrug_UP\t\tTP53\tEGFR\tMYC\n"),
        ("sets", "UP\tdescription\tTP53\tEGFR\tMYC\ndown\tnone\tX\tY\tZ\n"),
    ],
)
def test_a_list_is_read_from_every_layout(tmp_path: Path, name: str, text: str) -> None:
    assert read_gene_list(written(tmp_path, name, text), "up").genes == ("TP53", "EGFR", "MYC")


def test_parquet_and_packed_text_are_read_alike(tmp_path: Path) -> None:
    pl.DataFrame({"gene": ["TP53", "EGFR"], "value": [1.5, -2.0]}).write_parquet(tmp_path / "s.parquet")
    (tmp_path / "s.txt.gz").write_bytes(gzip.compress(b"TP53\nEGFR\n"))
    assert read_gene_list(tmp_path / "s.parquet", "down").genes == ("TP53", "EGFR")
    assert read_gene_list(tmp_path / "s.txt.gz", "down").genes == ("TP53", "EGFR")
    assert read_weighted_genes(tmp_path / "s.parquet").values == (1.5, -2.0)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.rnk", "TP53\t1.5\nEGFR\t-2\n"),
        ("a.rnk", "#gene\tscore\nTP53\t1.5\nEGFR\t-2\n"),
        ("a.csv", "gene,baseMean,log2FoldChange,pvalue\nTP53,10,1.5,.1\nEGFR,20,-2,.2\nMYC,3,NA,NA\n"),
        ("a.tsv", "symbol\tmine\nTP53\t1.5\nEGFR\t-2\n"),
    ],
)
def test_values_are_read_from_every_layout(tmp_path: Path, name: str, text: str) -> None:
    found = read_weighted_genes(written(tmp_path, name, text))
    assert found.genes == ("TP53", "EGFR") and found.values == (1.5, -2.0)


def test_rows_without_a_value_are_counted_and_the_column_is_named(tmp_path: Path) -> None:
    found = read_weighted_genes(written(tmp_path, "a.csv", "gene,stat,logFC\nTP53,1,2\nMYC,3,NA\n"))
    assert found.values == (2.0,)
    assert found.remarks == (
        "values are column 'logFC' of a.csv",
        "1 row of a.csv without a gene or value left out",
    )


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("a.txt", "", "no gene|empty"),
        ("a.txt", "# nothing\n", "holds no gene"),
        ("a.txt", "TP53 EGFR MYC\n", "one gene a line"),
        ("a.csv", "alpha,beta\n1,2\n", "no column names genes"),
        ("a.gmt", "one\t\tX\tY\ntwo\t\tZ\tW\n", "holds 2 sets .*none of them named 'up'"),
    ],
)
def test_a_file_that_is_no_list_is_refused(tmp_path: Path, name: str, text: str, told: str) -> None:
    with pytest.raises((FormatError, SchemaError), match=told):
        read_gene_list(written(tmp_path, name, text), "up")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("gene,logFC\nTP53,1\nMYC,high\n", r"row 3 \(MYC\): logFC is 'high'"),
        ("gene,logFC\nTP53,inf\n", "no finite number"),
        ("gene,alpha,beta\nTP53,1,2\n", "no column holds the values"),
        ("gene\nTP53\n", "no column holds the values"),
        ("gene,logFC\n,1\n", "no row has a gene and a value"),
    ],
)
def test_values_that_are_none_are_refused(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(SchemaError, match=told):
        read_weighted_genes(written(tmp_path, "a.csv", text))


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="no such"):
        read_gene_list(tmp_path / "none.txt", "up")
    with pytest.raises(FormatError, match="no such"):
        read_weighted_genes(tmp_path / "none.csv")
