"""Gene features outlive their files: a bundle predicts genes of a network; blocks mark and cut off."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
from pertcast.encoding import BasalProfiles, ConditionEncoder, EncoderSpec
from pertcast.models.registry import get_model
from pertcast.predictor import Predictor
from pertcast.training.bundle import BundleFacts, save_bundle
from pertcast_data.store import ExpressionStore

GROUPS = (("G1", "G2", "G4", "FAR"), ("G3", "G5", "G7", "AWAY"))
Store = ExpressionStore


def asked(*genes: str) -> pl.DataFrame:
    return pl.DataFrame({"cell_iname": "K562", "pert_type": "trt_xpr", "pert_id": list(genes)})


def fitted(store: Store, **options: Any) -> ConditionEncoder:
    spec = EncoderSpec.model_validate({"gene_components": 4, "gene_network_components": 5, **options})
    return ConditionEncoder.fit(store, np.flatnonzero(~store.is_control), spec)


def block(encoder: ConditionEncoder, name: str, *genes: str) -> np.ndarray:
    features = encoder.encode(asked(*genes)).summed_features().numpy()
    found: np.ndarray = features[:, encoder.perturbations.blocks[name]]
    return found


def write_network(path: Path, turned: bool = False) -> Path:
    """Two groups of connected genes with one edge between them; OUTSIDE, which is perturbed, is in none."""
    pairs = [(a, b) for group in GROUPS for a in group for b in group if a < b] + [("G1", "G7")]
    rows = [(b, a) for a, b in reversed(pairs)] if turned else pairs
    path.write_text("".join(f"{a}\t{b}\t0.9\n" for a, b in rows))
    return path


def write_table(path: Path, far: float = 4.0) -> Path:
    """A table of which the last column is constant over the genes that training perturbs."""
    rows = {"G1": (1, 2, 5), "G2": (2, 7, 5), "G3": (4, 1, 5), "G4": (3, 3, 5), "NEW": (far, 4, 9)}
    path.write_text("gene,a,b,c\n" + "".join(f"{gene},{a},{b},{c}\n" for gene, (a, b, c) in rows.items()))
    return path


@pytest.fixture(scope="module")
def store(stores: SimpleNamespace) -> Store:
    found: Store = stores.genes
    return found


def test_a_bundle_predicts_genes_that_only_files_know_after_the_files_are_gone(
    store: Store, tmp_path: Path
) -> None:
    folder = tmp_path / "secret_folder_name"
    folder.mkdir()
    network, table = write_network(folder / "network.tsv"), write_table(folder / "esm.csv")
    encoder = fitted(store, gene_network=network, gene_embedding=table)
    model = get_model("no_change").build({}, encoder.space, encoder.training_conditions)
    save_bundle(
        tmp_path / "bundle",
        model_name="no_change",
        model=model,
        conditions=encoder.training_conditions,
        encoder_state=encoder.state(),
        basal_state=BasalProfiles.fit(store, None).state(),
        facts=BundleFacts(data_hash=store.data_hash, measure="expression", normalisation="log2_intensity"),
    )
    network.unlink()
    table.unlink()
    predictor = Predictor.from_bundle(tmp_path / "bundle")
    wanted = asked("FAR", "NEW", "G1+AWAY", "g7")
    assert predictor.predict(wanted).mean.shape == (4, 20)
    found, expected = predictor.encoder.encode(wanted), encoder.encode(wanted)
    np.testing.assert_array_equal(found.summed_features(), expected.summed_features())
    np.testing.assert_array_equal(found.key, expected.key)
    assert predictor.encoder.applicability(wanted).equals(encoder.applicability(wanted))
    assert predictor.encoder.gene_coverage == encoder.gene_coverage
    manifest = (tmp_path / "bundle" / "bundle.json").read_text()
    assert folder.name not in manifest
    assert json.loads(manifest)["encoder"]["spec"]["gene_network"] == ["network.tsv"]


def test_a_perturbed_gene_that_the_network_lacks_is_zero_and_marked(store: Store, tmp_path: Path) -> None:
    encoder = fitted(store, gene_network=write_network(tmp_path / "network.tsv"))
    features = block(encoder, "network", "G1", "FAR", "OUTSIDE", "G9")
    assert features.shape == (4, 6) and features[:, -1].tolist() == [0, 0, 1, 1]
    assert not features[2:, :-1].any() and features[:2, :-1].any(axis=1).all()
    assert encoder.gene_coverage[0].missing == ("OUTSIDE",)


def test_every_block_of_gene_features_has_a_mean_square_length_of_one(store: Store, tmp_path: Path) -> None:
    network, table = write_network(tmp_path / "network.tsv"), write_table(tmp_path / "esm.csv")
    encoder = fitted(store, gene_network=network, gene_embedding=table)
    genes = {
        "loadings": encoder.space.genes,
        "network": [gene for group in GROUPS for gene in group],
        "gene_table": ("G1", "G2", "G3", "G4"),
    }
    for name, names in genes.items():
        lengths = np.square(block(encoder, name, *names)).sum(axis=1)
        assert lengths.mean() == pytest.approx(1, rel=1e-4), name


def test_a_value_far_outside_of_training_is_cut_off_and_a_constant_column_says_nothing(
    store: Store, tmp_path: Path
) -> None:
    encoder = fitted(store, gene_embedding=write_table(tmp_path / "esm.csv", far=1e9))
    features = block(encoder, "gene_table", "G1", "G2", "G3", "G4", "NEW")
    assert features[4, 0] == pytest.approx(10 * features[:4, 0].std(), rel=1e-4)
    assert not features[:, 2].any()
    assert encoder.gene_coverage[0].text().endswith("1 of 3 columns constant in training, left at zero")


def test_without_components_a_network_is_no_feature(store: Store, tmp_path: Path) -> None:
    network = write_network(tmp_path / "network.tsv")
    encoder = fitted(store, gene_network=network, gene_network_components=0)
    assert encoder.gene_coverage == ()
    plain = fitted(store)
    np.testing.assert_array_equal(encoder.training_conditions.features, plain.training_conditions.features)


def test_the_least_score_decides_which_genes_the_network_knows(store: Store, tmp_path: Path) -> None:
    path = write_network(tmp_path / "network.tsv")
    path.write_text(path.read_text() + "FAINT\tG1\t0.1\n")
    assert block(fitted(store, gene_network=path), "network", "FAINT").any()
    encoder = fitted(store, gene_network=path, gene_network_score=0.7)
    _, rows, problems = encoder.encode_lenient(asked("FAR", "FAINT"))
    assert rows.tolist() == [0] and [problem.value for problem in problems] == ["FAINT"]
    assert "network.tsv (8 genes)" in problems[0].message
