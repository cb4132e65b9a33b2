"""Networks written as one table are the networks that were read, to the byte the same each time."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pertcast_data.errors import ConfigError, FormatError, SchemaError
from pertcast_data.networks.edge_table import is_edge_table, write_edge_table
from pertcast_data.networks.multiplex import MultiplexNetwork
from pertcast_data.networks.reading import read_gene_network, read_gene_networks, read_multiplex

SharedData = Callable[[str], Path]
STRING_FULL = (
    "protein1 protein2 neighborhood neighborhood_transferred fusion cooccurence homology coexpression "
    "coexpression_transferred experiments experiments_transferred database database_transferred textmining "
    "textmining_transferred combined_score\n"
    "TP53 MDM2 0 0 0 0 0 10 0 900 1 0 0 20 0 990\nMDM2 TP53 0 0 0 0 0 12 0 900 1 0 0 20 0 980\n"
    "A1BG TP53 5 0 0 0 0 0 0 0 0 0 0 150 0 155\n"
)
FILES = {
    "plain.txt": "TP53 MDM2 0.9\nMDM2 TP53 1.018\nMYC MYC 0.4\nmyc MAX 0.2\n",
    "string.txt": STRING_FULL,
    "groups.gmt": "A\t\tTP53\tMDM2\tZNF1\nB\tna\tMYC\tMAX\n",
    "pairs.csv": "gene1,gene2\nMAX,ZNF1\nZNF1,max\nA1BG,MAX\n",
}


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    return [tmp_path / name for name in FILES]


def require_equal(found: MultiplexNetwork, wanted: MultiplexNetwork) -> None:
    assert found.genes == wanted.genes
    assert len(found.networks) == len(wanted.networks)
    for one, other in zip(found.networks, wanted.networks, strict=True):
        for name in ("name", "file", "sha256", "n_rows", "n_self_loops", "n_unmapped_ids", "has_scores"):
            assert getattr(one, name) == getattr(other, name), name
        assert (one.notes, one.examples_unmapped) == (other.notes, other.examples_unmapped)
        np.testing.assert_array_equal(one.edges, other.edges)
        np.testing.assert_array_equal(one.weights, other.weights)
        assert (one.merged_rows is None) == (other.merged_rows is None)
        np.testing.assert_array_equal(one.merged_rows, other.merged_rows)  # type: ignore[arg-type]
        assert sorted(one.evidence) == sorted(other.evidence)
        for name, values in one.evidence.items():
            np.testing.assert_array_equal(values, other.evidence[name])


def test_networks_read_back_are_the_networks_written(files: list[Path], tmp_path: Path) -> None:
    wanted = read_multiplex(files, with_evidence=True)
    path = tmp_path / "edges.parquet"
    write_edge_table(wanted, path)
    assert is_edge_table(path) and not is_edge_table(files[0])
    require_equal(read_multiplex([path], with_evidence=True), wanted)
    packed = tmp_path / "edges.parquet.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    require_equal(read_multiplex([packed], with_evidence=True), wanted)


GENES = st.sampled_from(["TP53", "tp53", "MDM2", "NKX2-1", "C1orf112", "HLA-A", "ZNF1", "a1bg"])
ROWS = st.lists(st.tuples(GENES, GENES, st.floats(0.125, 2, width=32)), min_size=1, max_size=30)


@given(listed=st.lists(ROWS, min_size=1, max_size=3))
def test_any_networks_survive_the_table(
    tmp_path_factory: pytest.TempPathFactory, listed: list[list[tuple[str, str, float]]]
) -> None:
    folder = tmp_path_factory.mktemp("networks")
    paths = []
    for number, rows in enumerate(listed):
        path = folder / f"n{number}.tsv"
        rows = [("TP53", "BAX", 1.0), *rows]
        path.write_text("".join(f"{a}\t{b}\t{score!r}\n" for a, b, score in rows))
        paths.append(path)
    wanted = read_multiplex(paths)
    write_edge_table(wanted, folder / "edges.parquet")
    require_equal(read_multiplex([folder / "edges.parquet"]), wanted)


def test_the_table_says_of_each_edge_what_it_was_made_of(files: list[Path], tmp_path: Path) -> None:
    write_edge_table(read_multiplex(files, with_evidence=True), tmp_path / "edges.parquet")
    frame = pl.read_parquet(tmp_path / "edges.parquet").cast(dict.fromkeys(("network", "gene_a"), pl.String))
    assert frame.columns[:5] == ["network", "gene_a", "gene_b", "weight", "n_rows"]
    assert frame.columns[5:] == sorted(frame.columns[5:]) and "combined_score" not in frame.columns
    plain = frame.filter(pl.col("network") == "plain")
    assert plain.select("gene_a", pl.col("gene_b").cast(pl.String), "n_rows").rows() == [
        ("MAX", "MYC", 1),
        ("MDM2", "TP53", 2),
    ]
    np.testing.assert_allclose(plain["weight"], [0.2, 1.018], rtol=1e-6)
    string = frame.filter(pl.col("network") == "string").row(1, named=True)
    assert (string["gene_a"], string["gene_b"], string["weight"]) == ("MDM2", "TP53", 990)
    assert (string["coexpression"], string["experiments"], string["textmining"]) == (12, 900, 20)
    assert plain["experiments"].null_count() == plain.height
    assert frame.filter(pl.col("network") == "groups")["n_rows"].null_count() == 4
    facts = json.loads(parquet.read_schema(tmp_path / "edges.parquet").metadata[b"pertcast.networks"])
    assert [each["sha256"] for each in facts] == [
        hashlib.sha256(path.read_bytes()).hexdigest() for path in files
    ]
    assert facts[0]["n_self_loops"] == 1 and facts[0]["file"] == "plain.txt"


def test_equal_networks_are_equal_bytes_and_an_existing_table_is_kept(
    files: list[Path], tmp_path: Path
) -> None:
    network = read_multiplex(files, with_evidence=True)
    for name in ("one.parquet", "two.parquet"):
        write_edge_table(network, tmp_path / name)
    assert (tmp_path / "one.parquet").read_bytes() == (tmp_path / "two.parquet").read_bytes()
    with pytest.raises(ConfigError, match=r"one\.parquet already exists"):
        write_edge_table(network, tmp_path / "one.parquet")
    assert not list(tmp_path.glob(".*"))


def test_a_table_stands_for_its_files_wherever_networks_are_read(files: list[Path], tmp_path: Path) -> None:
    path = tmp_path / "edges.parquet"
    write_edge_table(read_multiplex(files), path)
    for found in (read_gene_network(path), read_gene_networks([path])):
        joined = read_gene_networks(files)
        assert found.genes == joined.genes and found.files == joined.files
        np.testing.assert_array_equal(found.edges, joined.edges)
        np.testing.assert_allclose(found.weights, joined.weights, rtol=1e-6)
    beside = read_multiplex([path, files[0]])
    assert [each.name for each in beside.networks] == ["plain", "string", "groups", "pairs", "plain_2"]


def test_a_least_score_applies_to_scores_and_not_to_groups(files: list[Path], tmp_path: Path) -> None:
    path = tmp_path / "edges.parquet"
    write_edge_table(read_multiplex(files), path)
    found, wanted = read_multiplex([path], least_score=0.5), read_multiplex(files, least_score=0.5)
    assert [len(each.edges) for each in found.networks] == [len(each.edges) for each in wanted.networks]
    assert len(found.networks[0].edges) == 1 and len(found.networks[3].edges) == 2


def test_a_table_written_by_hand_is_read_and_what_is_wrong_with_it_is_named(tmp_path: Path) -> None:
    path = tmp_path / "hand.parquet"
    rows = {"network": ["a", "b", "a"], "gene_a": ["TP53", "MYC", "MAX"], "gene_b": ["MDM2", "MAX", "MYC"]}
    frame = pl.DataFrame(rows | {"weight": [1.0, 2.0, 0.5]})
    frame.write_parquet(path)
    found = read_multiplex([path])
    assert [(each.name, each.file, len(each.edges)) for each in found.networks] == [
        ("a", "hand.parquet", 2),
        ("b", "hand.parquet", 1),
    ]
    for changed, message in (
        (frame.with_columns(weight=pl.Series([1.0, None, 1.0])), "no finite number"),
        (frame.with_columns(network=pl.Series(["a", None, "b"])), "name no network"),
        (frame.with_columns(gene_b=pl.Series(["MDM2", "", "MYC"])), "names one gene only"),
        (frame.clear(), "holds no edge"),
    ):
        changed.write_parquet(path)
        with pytest.raises(SchemaError, match=rf"hand\.parquet.*{message}"):
            read_multiplex([path])
    table = frame.to_arrow().replace_schema_metadata({"pertcast.networks": "[{]"})
    parquet.write_table(table, path)
    with pytest.raises(FormatError, match=r"metadata pertcast\.networks cannot be read"):
        read_multiplex([path])


def test_real_interactomes_survive_the_table(shared_data: SharedData, tmp_path: Path) -> None:
    paths = [shared_data(f"networks/{name}") for name in ("iref_interactome.txt", "string_export.tsv")]
    wanted = read_multiplex(paths, with_evidence=True)
    write_edge_table(wanted, tmp_path / "edges.parquet")
    require_equal(read_multiplex([tmp_path / "edges.parquet"], with_evidence=True), wanted)
    string = wanted.networks[1]
    assert len(string.edges) == 2349 and string.merged_rows is not None and set(string.merged_rows) == {2}
    assert "experimentally_determined_interaction" in string.evidence
