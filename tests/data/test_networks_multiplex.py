"""Several networks over one set of genes: each as its file has it, and nothing lost when they are joined."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pertcast_data.errors import ConfigError, SchemaError
from pertcast_data.gene_tables.identifiers import fold_gene
from pertcast_data.networks.gene_network import join_networks
from pertcast_data.networks.multiplex import ListedNetwork, MultiplexNetwork
from pertcast_data.networks.reading import read_gene_network, read_gene_networks, read_multiplex


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def edges_of(network: MultiplexNetwork, listed: ListedNetwork) -> dict[frozenset[str], float]:
    """Return folded pair -> weight."""
    folded = [fold_gene(gene) for gene in network.genes]
    pairs = (frozenset(folded[end] for end in pair) for pair in listed.edges.tolist())
    return dict(zip(pairs, listed.weights.tolist(), strict=True))


def test_each_network_keeps_its_edges_and_scores_over_the_genes_of_all(tmp_path: Path) -> None:
    paths = [
        write(tmp_path / "a" / "string.tsv.gz", "TP53\tMDM2\t900\nMYC\tMAX\t200\n"),
        write(tmp_path / "b" / "string.tsv", "mdm2\tA1BG\t0.5\nmyc\tMYC\t1\n"),
        write(tmp_path / "sets.v7.0.gmt", "SET\t\tA1BG\tMAX\nALL\t\tTP53\n"),
        write(tmp_path / "c" / "string.txt", "MYC\tMAX\n"),
    ]
    network = read_multiplex(paths)
    assert network.genes == ("A1BG", "MAX", "MDM2", "MYC", "TP53")
    assert [each.name for each in network.networks] == ["string", "string_2", "sets.v7.0", "string_3"]
    assert [each.file for each in network.networks] == [path.name for path in paths]
    assert [each.edges.tolist() for each in network.networks] == [
        [[1, 3], [2, 4]],
        [[0, 2]],
        [[0, 1]],
        [[1, 3]],
    ]
    assert [each.weights.tolist() for each in network.networks] == [[200, 900], [0.5], [1], [1]]
    assert {each.edges.dtype for each in network.networks} == {np.dtype(np.int64)}
    assert {each.weights.dtype for each in network.networks} == {np.dtype(np.float32)}
    assert network.coverage_text().splitlines() == [
        "string: 2 rows, 2 edges, 4 genes, 0 ids unknown",
        "string_2: 2 rows, 1 self loops, 1 edges, 2 genes, 0 ids unknown",
        "sets.v7.0: 2 rows, 1 edges, 2 genes, 0 ids unknown; 1 groups of fewer than 2 and 0 of more than 300 "
        "genes left out",
        "string_3: 1 rows, 1 edges, 2 genes, 0 ids unknown",
    ]


def test_joined_it_is_the_join_of_its_files(tmp_path: Path) -> None:
    paths = [
        write(tmp_path / "one.tsv", "A\tB\t0.5\nB\tC\t1.5\nD\tD\t1\n"),
        write(tmp_path / "two.tsv", "b\ta\t1000\nC\tD\t1000\n"),
    ]
    joined, expected = read_multiplex(paths).joined(), join_networks([*map(read_gene_network, paths)])
    assert (joined.genes, joined.files, joined.sha256s) == (expected.genes, expected.files, expected.sha256s)
    assert (joined.n_rows, joined.n_self_loops) == (5, 1)
    np.testing.assert_array_equal(joined.edges, expected.edges)
    np.testing.assert_array_equal(joined.weights, expected.weights)


def test_one_table_of_names_brings_ids_and_symbols_together(tmp_path: Path) -> None:
    names = write(tmp_path / "names.tsv", "symbol\tentrez_id\tprev_symbol\nTP53\t7157\t\nMDM2\t4193\tHDM2\n")
    entrez = tmp_path / "entrez.parquet"
    pl.DataFrame({"gene1": [7157, 7157], "gene2": [4193, 99], "weight": [0.5, 0.5]}).write_parquet(entrez)
    symbols = write(tmp_path / "symbols.tsv", "hdm2\ttp53\t1\n")
    network = read_multiplex([entrez, symbols], gene_names=names)
    assert network.genes == ("MDM2", "TP53")
    assert [each.edges.tolist() for each in network.networks] == [[[0, 1]], [[0, 1]]]
    assert network.coverage_text().splitlines()[0] == ("entrez: 2 rows, 1 edges, 2 genes, 1 ids unknown (99)")
    assert read_gene_networks([entrez, symbols], gene_names=names).genes == ("MDM2", "TP53")


def test_no_file_or_one_file_twice_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "one.tsv", "A\tB\t1\n")
    with pytest.raises(ConfigError, match="No network is given"):
        read_multiplex([])
    with pytest.raises(ConfigError, match=r"one\.tsv: the network is given twice. Name each file once"):
        read_multiplex([path, tmp_path / "x" / ".." / "one.tsv"])


edge_rows = st.lists(
    st.tuples(st.integers(0, 7), st.integers(0, 7), st.integers(1, 9)), min_size=1, max_size=25
).filter(lambda rows: any(a != b for a, b, _ in rows))


@given(edge_rows, st.integers(0, 2**32 - 1))
def test_direction_order_repeats_and_case_never_change_a_network_of_edges(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, int, int]], seed: int
) -> None:
    draw = random.Random(seed)
    folder = tmp_path_factory.mktemp("edges")

    def spelled(gene: int) -> str:
        return draw.choice([f"Gene{gene}", f"gene{gene}", f"GENE-{gene}", f" gene{gene} "])

    plain = [f"GENE{a}\tGENE{b}\t{score}" for a, b, score in rows]
    changed = [(b, a, score) if draw.random() < 0.5 else (a, b, score) for a, b, score in rows + rows[:3]]
    draw.shuffle(changed)
    other = [f"{spelled(a)}\t{spelled(b)}\t{score}" for a, b, score in changed]
    one = read_multiplex([write(folder / "one.tsv", "\n".join(plain) + "\n")])
    two = read_multiplex([write(folder / "two.tsv", "\n".join(other) + "\n")])
    assert [fold_gene(gene) for gene in two.genes] == list(one.genes)
    np.testing.assert_array_equal(one.networks[0].edges, two.networks[0].edges)
    np.testing.assert_array_equal(one.networks[0].weights, two.networks[0].weights)


gene_groups = st.lists(st.lists(st.integers(0, 7), min_size=1, max_size=5), min_size=2, max_size=6).filter(
    lambda groups: any(len(set(group)) > 1 for group in groups)
)


@given(gene_groups, st.integers(0, 2**32 - 1))
def test_order_repeats_and_case_never_change_a_network_of_groups(
    tmp_path_factory: pytest.TempPathFactory, groups: list[list[int]], seed: int
) -> None:
    draw = random.Random(seed)
    folder = tmp_path_factory.mktemp("groups")
    plain = [
        "\t".join([f"SET{row}", "", *(f"G{gene}" for gene in group)]) for row, group in enumerate(groups)
    ]
    shuffled = [draw.sample(group + group[:1], len(group) + 1) for group in draw.sample(groups, len(groups))]
    other = [
        "\t".join([f"SET{row}", "", *(draw.choice(["g{}", "G{}", "g-{}"]).format(gene) for gene in group)])
        for row, group in enumerate(shuffled)
    ]
    one = read_multiplex([write(folder / "one.gmt", "\n".join(plain) + "\n")])
    two = read_multiplex([write(folder / "two.gmt", "\n".join(other) + "\n")])
    assert [fold_gene(gene) for gene in two.genes] == list(one.genes)
    np.testing.assert_array_equal(one.networks[0].edges, two.networks[0].edges)
    np.testing.assert_allclose(one.networks[0].weights, two.networks[0].weights, rtol=1e-6)


REAL = {
    "transcriptionnet/network_corum.parquet": (40_170, 0, 40_132, 3_400, 6),
    "transcriptionnet/network_disease.parquet": (4_047, 0, 3_979, 964, 18),
    "transcriptionnet/network_drug.parquet": (131_193, 0, 130_446, 2_786, 6),
    "networks/iref_interactome.txt": (175_853, 33, 175_818, 15_401, 0),
    "networks/string_export.tsv": (4_698, 0, 2_349, 736, 0),
}
"""File -> rows, self loops, edges, genes, ids unknown, with gene_meta.parquet as the table of names."""


def test_real_networks_of_entrez_ids_and_symbols_share_their_genes(
    shared_data: Callable[[str], Path],
) -> None:
    names = shared_data("transcriptionnet/gene_meta.parquet")
    network = read_multiplex([shared_data(name) for name in REAL], gene_names=names)
    found = [
        (each.n_rows, each.n_self_loops, len(each.edges), each.n_genes, each.n_unmapped_ids)
        for each in network.networks
    ]
    assert found == list(REAL.values())
    assert len(network.genes) == 16_005
    assert network.networks[0].examples_unmapped == ("107080638", "107984053", "219072")
    assert "1,064 symbols that gene_names lacks keep their name" in network.networks[3].coverage_text()
    joined = network.joined()
    assert joined.genes == network.genes
    assert len(joined.edges) == len(set().union(*(edges_of(network, each) for each in network.networks)))


def test_real_entrez_rows_are_found_again_under_their_symbols(shared_data: Callable[[str], Path]) -> None:
    path, names = (shared_data(f"transcriptionnet/{name}.parquet") for name in ("network_corum", "gene_meta"))
    network = read_multiplex([path], gene_names=names)
    meta = pl.read_parquet(names).filter(pl.col("symbol") != "-")
    symbol_of = dict(meta.select("entrez_id", "symbol").iter_rows())
    expected: dict[frozenset[str], float] = {}
    for one, two, weight in pl.read_parquet(path).iter_rows():
        if one in symbol_of and two in symbol_of:
            pair = frozenset((fold_gene(symbol_of[one]), fold_gene(symbol_of[two])))
            expected[pair] = max(expected.get(pair, 0.0), weight)
    assert edges_of(network, network.networks[0]) == pytest.approx(expected)


@pytest.mark.parametrize("name", ["corum", "disease", "drug"])
def test_real_networks_of_entrez_ids_are_refused_without_names(
    name: str, shared_data: Callable[[str], Path]
) -> None:
    with pytest.raises(
        SchemaError, match=rf"network_{name}\.parquet: names genes by Entrez ids.*gene_names="
    ):
        read_multiplex([shared_data(f"transcriptionnet/network_{name}.parquet")])


REAL_SETS = {
    "gene_sets/h.all.v7.0.symbols.gmt": (50, 590_609, 4_384, ()),
    "gene_sets/enrichr.KEGG_2016.gmt": (
        293,
        932_441,
        6_605,
        ("0 groups of fewer than 2 and 4 of more than 300 genes left out",),
    ),
}


@pytest.mark.parametrize("name", REAL_SETS)
def test_real_gene_sets_become_networks_whose_weights_add_up(
    name: str, shared_data: Callable[[str], Path]
) -> None:
    n_rows, n_edges, n_genes, notes = REAL_SETS[name]
    path = shared_data(name)
    listed = read_multiplex([path]).networks[0]
    assert (listed.n_rows, len(listed.edges), listed.n_genes, listed.notes) == (
        n_rows,
        n_edges,
        n_genes,
        notes,
    )
    lines = [line.split("\t")[2:] for line in path.read_text().splitlines()]
    sizes = [len({field.split(",")[0].strip() for field in line} - {""}) for line in lines]
    # Each gene gives 1 to its partners within a group, so a group of n genes holds n / 2 in its pairs.
    assert listed.weights.sum(dtype=np.float64) == pytest.approx(
        sum(size / 2 for size in sizes if 2 <= size <= 300), rel=1e-5
    )
