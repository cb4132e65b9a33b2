"""Genes are known by networks and by a user's table: found, standardised on training, reported, carried."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
from pertcast.encoding import ConditionEncoder, EncoderSpec
from pertcast.encoding.network_features import as_multiplex
from pertcast.models.multiplex_network.integration.config import IntegrationConfig
from pertcast.models.multiplex_network.integration.integrate import integrate
from pertcast_data.errors import ConfigError, SchemaError, UnknownGene
from pertcast_data.networks.reading import read_multiplex
from pertcast_data.splits import FittedOn
from pertcast_data.store import ExpressionStore
from pydantic import ValidationError

HELD_OUT = ("G4", "G4+G3", "G3+G4")
WIDTH = 3
Store = ExpressionStore


def rows_of(store: Store) -> np.ndarray:
    held_out = store.obs["pert_id"].is_in(list(HELD_OUT)).to_numpy()
    return np.flatnonzero(~store.is_control & ~held_out)


def asked(*genes: str) -> pl.DataFrame:
    return pl.DataFrame({"cell_iname": "K562", "pert_type": "trt_xpr", "pert_id": list(genes)})


def fitted(store: Store, **options: Any) -> ConditionEncoder:
    spec = EncoderSpec.model_validate({"gene_components": 4, "gene_network_components": 5, **options})
    return ConditionEncoder.fit(store, rows_of(store), spec)


def block(encoder: ConditionEncoder, name: str, *genes: str) -> np.ndarray:
    features = encoder.encode(asked(*genes)).summed_features().numpy()
    found: np.ndarray = features[:, encoder.perturbations.blocks[name]]
    return found


@pytest.fixture(scope="module")
def store(stores: SimpleNamespace) -> Store:
    found: Store = stores.genes
    return found


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two groups of genes with one edge between them; FAR and C1orf9 are no genes of the store."""
    path = tmp_path_factory.mktemp("network") / "interactions.tsv"
    first, second = ("G1", "G2", "G4", "FAR"), ("G3", "OUTSIDE", "G7", "C1orf9")
    pairs = [(a, b) for group in (first, second) for a in group for b in group if a < b]
    path.write_text("".join(f"{a}\t{b}\t0.9\n" for a, b in [*pairs, ("G1", "G7")]))
    return path


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("table") / "esm.csv"
    genes = ["G1", "G2", "G3", "g4", "NEWGENE"]
    values = np.random.default_rng(0).normal(4.0, 3.0, (len(genes), WIDTH))
    columns = {f"dim_{i}": values[:, i] for i in range(WIDTH)}
    pl.DataFrame({"gene_symbol": genes, **columns}).write_csv(path)
    return path


def table_values(table: Path) -> np.ndarray:
    return pl.read_csv(table).select(pl.selectors.numeric()).to_numpy()


def coordinates(network: Path, components: int = 5) -> tuple[tuple[str, ...], np.ndarray]:
    """Genes of a network, and what the default method of integration says of them."""
    read = read_multiplex([network])
    found = integrate(as_multiplex(read), components, IntegrationConfig())
    return read.genes, found.features.numpy()


def test_genes_of_a_network_have_its_coordinates_whether_the_store_knows_them_or_not(
    store: Store, network: Path
) -> None:
    encoder = fitted(store, gene_network=str(network))
    genes, values = coordinates(network)
    for gene in ("G1", "G4", "OUTSIDE", "FAR", "C1orf9"):
        expected = values[genes.index(gene)]
        np.testing.assert_array_equal(block(encoder, "network", gene)[0], expected)
    assert not block(encoder, "network", "G9").any() and block(encoder, "loadings", "G9").any()
    assert not block(encoder, "loadings", "FAR").any()
    together = block(encoder, "network", "G2", "G4", "OUTSIDE")
    assert together[0] @ together[1] > together[0] @ together[2]


def test_a_gene_of_a_file_is_found_in_any_spelling_and_called_as_the_store_calls_it(
    store: Store, network: Path
) -> None:
    encoder = fitted(store, gene_network=network)
    batch = encoder.encode(asked("g4", "G4", "outside", "OUTSIDE", "c1ORF9", "C1orf9"))
    key, index = batch.key.tolist(), batch.perturbation[:, 0].tolist()
    assert key[0] == key[1] and key[2] == key[3] and key[4] == key[5]
    assert index[2] == index[3] == encoder.space.perturbations.index("OUTSIDE") and index[0] == -1
    assert batch.own_gene[:2, 0].tolist() == [4, 4]


def test_a_gene_that_nothing_knows_is_refused_with_what_was_searched(
    store: Store, network: Path, table: Path
) -> None:
    encoder = fitted(store, gene_network=network, gene_embedding=table)
    with pytest.raises(UnknownGene, match=r"'NEWGEN'.*Nearest known: NEWGENE") as caught:
        encoder.encode(asked("NEWGEN"))
    for source in (
        "gene space (20 genes)",
        "training (4)",
        "interactions.tsv (8 genes)",
        "esm.csv (5 genes)",
    ):
        assert source in str(caught.value)
    with pytest.raises(UnknownGene, match="Only genes of the gene space, or perturbed in training"):
        fitted(store).encode(asked("FAR"))


def test_a_tables_columns_are_standardised_on_the_training_genes_and_missing_ones_are_marked(
    store: Store, table: Path
) -> None:
    encoder = fitted(store, gene_embedding=table)
    values = table_values(table)
    expected = (values - values[:3].mean(axis=0)) / values[:3].std(axis=0) / np.sqrt(WIDTH)
    features = block(encoder, "gene_table", "G1", "G4", "NEWGENE", "OUTSIDE", "G9")
    np.testing.assert_allclose(features[:3, :WIDTH], expected[[0, 3, 4]], rtol=1e-4)
    assert features[:, WIDTH].tolist() == [0, 0, 0, 1, 1] and not features[3:, :WIDTH].any()
    trained = block(encoder, "gene_table", "G1", "G2", "G3")[:, :WIDTH]
    assert np.square(trained).sum(axis=1).mean() == pytest.approx(1, rel=1e-4)


def test_no_mark_is_made_where_every_training_gene_has_a_row(store: Store, network: Path) -> None:
    assert block(fitted(store, gene_network=network), "network", "G1").shape == (1, 5)


def test_held_out_rows_of_the_table_do_not_change_what_is_fitted(
    store: Store, table: Path, tmp_path: Path
) -> None:
    changed = pl.read_csv(table).with_columns(
        pl.when(pl.col("gene_symbol").is_in(["g4", "NEWGENE"]))
        .then(pl.lit(1e3))
        .otherwise(f"dim_{i}")
        .alias(f"dim_{i}")
        for i in range(WIDTH)
    )
    changed.write_csv(tmp_path / "esm.csv")
    one, two = fitted(store, gene_embedding=table), fitted(store, gene_embedding=tmp_path / "esm.csv")
    np.testing.assert_array_equal(one.training_conditions.features, two.training_conditions.features)
    claim = FittedOn.of("scale of the gene embedding", "scaler", "train", rows_of(store))
    assert claim in one.fitted_on and claim not in fitted(store).fitted_on


def test_without_one_hot_a_gene_that_only_a_file_knows_needs_no_column_of_its_own(
    store: Store, network: Path
) -> None:
    assert fitted(store, one_hot=False).perturbations.blocks["one_hot"] == slice(4, 5)
    encoder = fitted(store, one_hot=False, gene_network=network)
    assert encoder.perturbations.blocks["one_hot"] == slice(9, 9)


def test_coverage_counts_store_perturbed_and_training_genes_and_names_the_missing(
    store: Store, network: Path, table: Path
) -> None:
    encoder = fitted(store, gene_network=[network], gene_embedding=table)
    assert [each.source for each in encoder.gene_coverage] == ["network", "gene_table"]
    assert encoder.gene_coverage[0].text() == (
        "gene network interactions.tsv (8 genes): 5 of 20 genes of the store, 5 of 5 perturbed ones, "
        "4 of 4 in training"
    )
    assert encoder.gene_coverage[1].text() == (
        "gene table esm.csv (5 genes): 4 of 20 genes of the store, 4 of 5 perturbed ones, 3 of 4 in "
        "training; missing: OUTSIDE"
    )
    assert fitted(store).gene_coverage == ()


def test_state_carries_the_blocks_without_files_or_folders(store: Store, network: Path, table: Path) -> None:
    encoder = fitted(store, gene_network=network, gene_embedding=table)
    facts, arrays = encoder.state()
    assert str(network.parent) not in str(facts) and str(table.parent) not in str(facts)
    restored = ConditionEncoder.from_state(facts, arrays)
    genes = ("G1", "g4", "FAR", "NEWGENE", "G9", "OUTSIDE+FAR")
    expected, found = encoder.encode(asked(*genes)), restored.encode(asked(*genes))
    np.testing.assert_array_equal(found.summed_features(), expected.summed_features())
    assert restored.applicability(asked(*genes)).equals(encoder.applicability(asked(*genes)))
    assert restored.gene_coverage == encoder.gene_coverage


def test_a_state_of_an_older_bundle_still_loads(store: Store) -> None:
    encoder = fitted(store)
    facts, arrays = encoder.state()
    assert "gene_blocks" not in facts
    names = [
        name
        for name in facts["spec"]
        if name.startswith(("gene_network", "gene_embedding", "gene_sets", "gene_names"))
    ]
    assert len(names) == 9
    older = {**facts, "spec": {key: value for key, value in facts["spec"].items() if key not in names}}
    restored = ConditionEncoder.from_state(older, arrays)
    np.testing.assert_array_equal(
        restored.encode(asked("G4", "G9")).features, encoder.encode(asked("G4", "G9")).features
    )


def test_distances_to_training_are_cosines_over_all_gene_features(store: Store, network: Path) -> None:
    encoder = fitted(store, gene_network=network)
    columns = encoder.perturbations.gene_columns
    trained = encoder.training_conditions.features.numpy()[:, columns]
    features = encoder.encode(asked("FAR", "G4")).summed_features().numpy()[:, columns]
    unit = [each / np.linalg.norm(each, axis=1, keepdims=True) for each in (features, trained)]
    expected = 1 - (unit[0] @ unit[1].T).max(axis=1)
    found = encoder.applicability(asked("FAR", "G4"))
    np.testing.assert_allclose(found["nn_train_dist"], expected, atol=1e-5)
    assert expected[0] < 0.99


def test_files_that_know_no_training_gene_or_contradict_themselves_are_refused(
    store: Store, tmp_path: Path
) -> None:
    (tmp_path / "foreign.tsv").write_text("ENSG1\tENSG2\nENSG2\tENSG3\n")
    (tmp_path / "foreign.csv").write_text("gene,a\nENSG1,1\nENSG2,2\n")
    (tmp_path / "twice.csv").write_text("gene,a\nG1,1\nG2,2\ng1,3\n")
    (tmp_path / "constant.csv").write_text("gene,a\nG1,1\nG2,1\nX,3\n")
    (tmp_path / "compounds.csv").write_text("pert_id,a\nx,1\n")
    none = r"knows none of the 4 training genes \(G1, G2, G3.*it knows ENSG1"
    with pytest.raises(ConfigError, match=rf"encoder\.gene_network: foreign\.tsv {none}"):
        fitted(store, gene_network=tmp_path / "foreign.tsv")
    with pytest.raises(ConfigError, match=rf"encoder\.gene_embedding: foreign\.csv {none}"):
        fitted(store, gene_embedding=tmp_path / "foreign.csv")
    for name, message in (
        ("twice", r"row 1 \(G1\) and row 3 \(g1\).*one row a gene"),
        ("constant", "all 1 columns are constant over the 2 training genes"),
        ("compounds", "no column names the genes"),
    ):
        with pytest.raises(SchemaError, match=rf"{name}\.csv.*{message}"):
            fitted(store, gene_embedding=tmp_path / f"{name}.csv")


def test_a_saved_index_without_a_name_holds_the_symbols(store: Store, tmp_path: Path) -> None:
    (tmp_path / "esm.csv").write_text(",a,b\nG1,1,5\nG2,2,3\nG3,4,4\n")
    assert fitted(store, gene_embedding=tmp_path / "esm.csv").gene_coverage[0].n_training_found == 3


def test_one_path_is_one_network_and_a_score_needs_a_network() -> None:
    assert EncoderSpec.model_validate({"gene_network": "a.tsv"}).gene_network == (Path("a.tsv"),)
    several = EncoderSpec.model_validate({"gene_network": ["x/a.tsv", "x/b.tsv"], "gene_sets": "x/c.gmt"})
    assert several.without_folders().gene_network == (Path("a.tsv"), Path("b.tsv"))
    assert several.without_folders().gene_sets == Path("c.gmt")
    assert all(path.is_absolute() for path in several.with_absolute_paths().gene_network)
    assert EncoderSpec.model_validate(several.model_dump(mode="json")) == several
    with pytest.raises(ValidationError, match="without a network"):
        EncoderSpec(gene_network_score=0.7)


def test_compounds_alone_take_no_features_of_genes(stores: SimpleNamespace, network: Path) -> None:
    compounds = stores.compounds
    rows = np.flatnonzero(~compounds.is_control)
    encoder = ConditionEncoder.fit(compounds, rows, EncoderSpec(gene_network=(network,)))
    assert encoder.gene_coverage == () and encoder.space.feature_width == 1024
