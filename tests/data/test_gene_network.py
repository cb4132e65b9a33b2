"""Edge lists of every layout become one network; what cannot be used is refused with its place."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pertcast_data.errors import FormatError, PertcastError, SchemaError
from pertcast_data.networks.edge_list import read_edge_list
from pertcast_data.networks.gene_network import GeneNetwork, join_networks
from pertcast_data.networks.reading import read_gene_network, read_gene_networks
from pertcast_data.simulate import AtlasConfig
from pertcast_data.simulate.genome import Network, build_network
from pertcast_data.simulate.network_files import LAYOUTS, write_network
from pertcast_data.simulate.networks import list_networks
from pertcast_data.simulate.streams import stream

ROWS = (("A1BG", "TP53", 0.9), ("TP53", "MDM2", 0.5), ("MYC", "MAX", 0.25))
STRING = (
    "#node1\tnode2\tnode1_string_id\tnode2_string_id\tcoexpression\tcombined_score\n"
    "A1BG\tTP53\t9606.E1\t9606.E2\t0\t0.9\nTP53\tA1BG\t9606.E2\t9606.E1\t0\t0.9\n"
    "TP53\tMDM2\t9606.E2\t9606.E3\t0.1\t0.5\nMDM2\tTP53\t9606.E3\t9606.E2\t0.1\t0.5\n"
    "MYC\tMAX\t9606.E4\t9606.E5\t0.2\t0.25\n"
)


def text(separator: str, header: str = "") -> str:
    lines = [separator.join((a, b, str(score))) for a, b, score in ROWS]
    return "\n".join([header, *lines] if header else lines) + "\n"


LAYOUT_TEXTS = {
    "tabs, no header": text("\t"),
    "tabs, windows": text("\t").replace("\n", "\r\n"),
    "commas, header": text(",", "gene_a,gene_b,score"),
    "semicolons, odd header": text(";", "one;two;how much"),
    "blanks": text("  ", "protein1 protein2 combined_score"),
    "quoted": text(",", "source,target,weight").replace("TP53", '"TP53"'),
    "string export": STRING,
    "quoted between tabs, as R writes it": '"node1"\t"node2"\t"score"\n'
    + "".join(f'"{a}"\t"{b}"\t"{score}"\n' for a, b, score in ROWS),
    "quoted between blanks": "".join(f'"{a}" "{b}" {score}\n' for a, b, score in ROWS),
    "byte order mark": "\ufeff" + text(",", "gene1,gene2,score"),
    "commas, no header": text(","),
    "blanks, no header": text("   "),
    "a blank line after the header": text("\t", "gene1\tgene2\tscore\n"),
    "comments and blank lines": "# made by hand\n\n" + text("\t") + "\n",
    "other case, loops, repeats": text("\t") + "a1bg\tTp53\t0.1\nMYC\tmyc\t1\nMAX\tMYC\t0.25\n",
    "columns in other places": "id,score,target,source\n"
    + "".join(f"{row},{score},{b},{a}\n" for row, (a, b, score) in enumerate(ROWS)),
}


def named(network: GeneNetwork) -> dict[frozenset[str], float]:
    genes = np.array(network.genes)
    pairs = zip(genes[network.edges].tolist(), network.weights.tolist(), strict=True)
    return {frozenset(pair): round(weight, 6) for pair, weight in pairs}


EXPECTED = {frozenset((a, b)): score for a, b, score in ROWS}


@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize("separator", ["\t", ",", ";", " "])
def test_two_columns_are_edges_of_weight_one(separator: str, header: bool, tmp_path: Path) -> None:
    lines = [("gene1", "gene2")] * header + [(a, b) for a, b, _ in ROWS]
    (tmp_path / "pairs.txt").write_text("".join(separator.join(pair) + "\n" for pair in lines))
    assert named(read_gene_network(tmp_path / "pairs.txt")) == dict.fromkeys(EXPECTED, 1.0)


@pytest.mark.parametrize("layout", LAYOUT_TEXTS)
def test_every_layout_gives_the_same_edges_and_scores(layout: str, tmp_path: Path) -> None:
    path = tmp_path / "network.txt"
    path.write_bytes(LAYOUT_TEXTS[layout].encode())
    network = read_gene_network(path)
    assert named(network) == EXPECTED
    assert (network.edges[:, 0] < network.edges[:, 1]).all()
    assert len(network.genes) == 5 and network.files == ("network.txt",)


def test_parquet_is_known_by_its_content(tmp_path: Path) -> None:
    frame = pl.DataFrame(list(ROWS), schema=["gene1", "gene2", "weight"], orient="row")
    frame.write_parquet(tmp_path / "network.tsv")
    assert named(read_gene_network(tmp_path / "network.tsv")) == EXPECTED


def test_parquet_needs_no_scores_and_broken_rows_of_it_are_named(tmp_path: Path) -> None:
    path = tmp_path / "network.parquet"
    pairs = pl.DataFrame({"one": ["A", "C"], "two": ["B", "D"]})
    pairs.cast(pl.Categorical).write_parquet(path)
    assert named(read_gene_network(path)) == {frozenset("AB"): 1.0, frozenset("CD"): 1.0}
    pairs.with_columns(score=pl.Series([900, None])).write_parquet(path)
    with pytest.raises(SchemaError, match=r"network\.parquet, row 2 \(C, D\): score is None"):
        read_gene_network(path)
    pairs.clear().write_parquet(path)
    with pytest.raises(SchemaError, match=r"connects no two genes\. Bring edges"):
        read_gene_network(path)
    path.write_bytes(b"PAR1 cut off")
    with pytest.raises(FormatError, match=r"network\.parquet: cannot be read as Parquet.*Write it anew"):
        read_gene_network(path)


def test_a_gene_is_called_as_it_is_first_spelled_and_its_largest_score_counts(tmp_path: Path) -> None:
    (tmp_path / "network.tsv").write_text("Nkx2-1\tC1orf9\t0.2\nC1ORF9\tNKX2.1\t0.8\nnkx2-1\tc1orf9\t0.3\n")
    network = read_gene_network(tmp_path / "network.tsv")
    assert sorted(network.genes) == ["C1orf9", "Nkx2-1"]
    assert (network.n_rows, network.n_self_loops) == (3, 0)
    np.testing.assert_allclose(network.weights, [0.8])


def test_without_scores_every_edge_counts_alike_and_none_falls_below_a_score(tmp_path: Path) -> None:
    (tmp_path / "pairs.tsv").write_text("A1BG\tTP53\nTP53\tMDM2\n")
    assert read_gene_network(tmp_path / "pairs.tsv", 700).weights.tolist() == [1.0, 1.0]


def test_the_least_score_keeps_what_reaches_it_and_drops_genes_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "network.tsv"
    path.write_text(text("\t"))
    assert set(named(read_gene_network(path, 0.5))) == {
        frozenset(("A1BG", "TP53")),
        frozenset(("TP53", "MDM2")),
    }
    assert read_gene_network(path, 0.5).genes == ("A1BG", "MDM2", "TP53")
    with pytest.raises(SchemaError, match=r"network\.tsv: no edge.*700 or more.*from 0\.25 to 0\.9.*Lower"):
        read_gene_network(path, 700)


def test_genes_that_are_called_like_columns_are_no_header_beside_a_score(tmp_path: Path) -> None:
    (tmp_path / "network.tsv").write_text("GENE1\tGENE2\t0.9\nGENE2\tGENE3\t0.9\n")
    assert read_gene_network(tmp_path / "network.tsv").genes == ("GENE1", "GENE2", "GENE3")


def test_signs_of_regulation_do_not_matter(tmp_path: Path) -> None:
    (tmp_path / "regulon.tsv").write_text("source\ttarget\tweight\nMYC\tMAX\t-1\nTP53\tMDM2\t1\n")
    assert read_gene_network(tmp_path / "regulon.tsv").weights.tolist() == [1.0, 1.0]


BROKEN: dict[str, tuple[str, type[PertcastError], str]] = {
    "text score": (
        "A\tB\t0.5\nC\tD\tstrong\n",
        SchemaError,
        r"row 2 \(C, D\).*'strong'.*no finite number.*Correct",
    ),
    "nan score": ("A\tB\tnan\n", SchemaError, r"row 1 \(A, B\).*'nan'"),
    "infinite score": ("A\tB\tinf\n", SchemaError, "'inf'.*leave the column out to count every edge alike"),
    "no score above zero": ("A\tB\t0\n", SchemaError, "with scores above 0"),
    "no score": ("A\tB\t0.5\nC\tD\t\n", SchemaError, r"row 2 \(C, D\).*None"),
    "half an edge": ("A\tB\t1\nC\t\t1\n", SchemaError, r"row 2: names one gene only \('C'"),
    "ragged": ("A\tB\t1\nC\tD\t1\t2\n", FormatError, "line 2: 4 values, the first row has 3. Write"),
    "ragged blanks": ("A B 1\nC D 1 2\n", FormatError, "row 2: 4 values"),
    "one column": ("A\nB\n", SchemaError, "one column. Bring an edge list"),
    "loops alone": ("A\tA\t1\n", SchemaError, "connects no two genes. Bring edges"),
    "a header alone": ("gene1\tgene2\n", SchemaError, "holds no edge"),
    "comments alone": ("# nothing\n", SchemaError, "holds no edge"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_cannot_be_used_is_refused_with_file_and_row(case: str, tmp_path: Path) -> None:
    content, error, message = BROKEN[case]
    (tmp_path / "broken.txt").write_text(content)
    with pytest.raises(error, match=rf"broken\.txt.*{message}"):
        read_gene_network(tmp_path / "broken.txt")


def test_absent_packed_and_binary_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "zipped.tsv").write_bytes(b"PK\x03\x04rest")
    (tmp_path / "cut.tsv").write_bytes(gzip.compress(b"A\tB\t1\n" * 100)[:-9])
    (tmp_path / "binary.tsv").write_bytes(b"A\0B")
    (tmp_path / "latin.tsv").write_bytes("Gène\tB\n".encode("latin-1"))
    for name, message in (
        ("absent", "no such edge list"),
        ("zipped", r"is packed\. Unpack it first \(unzip FILE\)"),
        ("cut", "packed with gzip and broken.*gunzip -t"),
        ("binary", "neither"),
        ("latin", "UTF-8"),
    ):
        with pytest.raises(FormatError, match=message):
            read_edge_list(tmp_path / f"{name}.tsv")


def test_networks_of_other_scales_weigh_alike_and_shared_edges_add_up(tmp_path: Path) -> None:
    (tmp_path / "one.tsv").write_text("A\tB\t0.5\nB\tC\t1.5\n")
    (tmp_path / "two.tsv").write_text("b\ta\t1000\nC\tD\t1000\n")
    joined = read_gene_networks([tmp_path / "one.tsv", tmp_path / "two.tsv"])
    assert named(joined) == {frozenset("AB"): 1.5, frozenset("BC"): 1.5, frozenset("CD"): 1.0}
    assert joined.genes == ("A", "B", "C", "D") and joined.files == ("one.tsv", "two.tsv")


def test_edges_among_the_genes_of_a_store_are_rows_of_it(tmp_path: Path) -> None:
    path = tmp_path / "network.tsv"
    path.write_text(text("\t"))
    edges, weights = read_gene_network(path).among(["mdm2", "OTHER", "TP53", "MAX", "A1BG"])
    assert edges.tolist() == [[0, 2], [2, 4]]
    np.testing.assert_allclose(weights, [0.5, 0.9])


edge_lists = st.lists(
    st.tuples(st.integers(0, 6), st.integers(0, 6), st.integers(1, 9)), min_size=1, max_size=30
).filter(lambda rows: any(a != b for a, b, _ in rows))


@given(edge_lists, st.randoms(use_true_random=False))
def test_order_and_direction_of_the_rows_do_not_matter(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, int, int]], random: object
) -> None:
    folder = tmp_path_factory.mktemp("edges")
    turned = [(b, a, score) for a, b, score in reversed(rows)]
    for name, listed in (("one", rows), ("two", turned)):
        (folder / name).write_text("".join(f"G{a}\tG{b}\t{score}\n" for a, b, score in listed))
    one, two = read_gene_network(folder / "one"), read_gene_network(folder / "two")
    assert one.genes == two.genes
    np.testing.assert_array_equal(one.edges, two.edges)
    np.testing.assert_array_equal(one.weights, two.weights)
    best: dict[frozenset[str], float] = {}
    for a, b, score in rows:
        if a != b:
            pair = frozenset((f"G{a}", f"G{b}"))
            best[pair] = max(best.get(pair, 0.0), score)
    assert named(one) == best
    assert named(join_networks([one, one])).keys() == best.keys()


def test_real_interactomes_are_read_whole(shared_data: Callable[[str], Path]) -> None:
    iref = read_gene_network(shared_data("networks/iref_interactome.txt"))
    assert (iref.n_rows, iref.n_self_loops) == (175_853, 33)
    assert (len(iref.genes), len(iref.edges)) == (15_401, 175_818)
    string = read_gene_network(shared_data("networks/string_export.tsv"))
    assert (string.n_rows, len(string.edges)) == (4_698, 2_349)


@pytest.fixture(scope="module")
def genome() -> Network:
    return build_network(300, stream(0, "network"))


@pytest.mark.parametrize("layer", LAYOUTS)
def test_the_atlas_own_networks_are_read_back_edge_by_edge(
    layer: str, genome: Network, tmp_path: Path
) -> None:
    listed = next(each for each in list_networks(AtlasConfig(n_genes=300), genome) if each.name == layer)
    write_network(tmp_path / "layer.tsv", listed, genome)
    network = read_gene_network(tmp_path / "layer.tsv")
    pairs = np.asarray(genome.gene_symbols)[listed.edges].tolist()
    assert set(named(network)) == {frozenset(pair) for pair in pairs if pair[0] != pair[1]}
