"""Priors know training controls, genes, edges and pathways of a fold, and nothing of what is tested."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from pertcast.encoding import ConditionEncoder, EncoderSpec
from pertcast.encoding.priors import priors_fitted_on, training_priors
from pertcast.models.priors import TrainingPriors
from pertcast_data.errors import ConfigError, SchemaError
from pertcast_data.splits import FittedOn, Split, make_split, row_hash
from pertcast_data.splits.provenance import Provenance
from pertcast_data.store import ExpressionStore, create_store

NETWORK = "G1\tG2\t0.5\nG2\tG1\t0.7\nG3\tG3\t1\ng4\tG5\t0.2\nOUT\tG1\t1\nG9\tG7\t0.4\n"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    folder = tmp_path_factory.mktemp("knowledge")
    (folder / "network.tsv").write_text(NETWORK)
    members = "\t".join(f"g{i}" for i in range(12))
    (folder / "sets.gmt").write_text(f"LARGE ENOUGH\t\t{members}\tABSENT\nSMALL\t\tG1\tG2\n")
    genes = [f"G{i}" for i in range(15)]
    values = np.random.default_rng(1).normal(size=(15, 2))
    pl.DataFrame({"gene": genes, "a": values[:, 0], "b": values[:, 1]}).write_csv(folder / "table.csv")
    return SimpleNamespace(
        folder=folder,
        options={
            "gene_network": folder / "network.tsv",
            "gene_sets": folder / "sets.gmt",
            "gene_embedding": folder / "table.csv",
        },
    )


def spec_of(**options: Any) -> EncoderSpec:
    return EncoderSpec.model_validate({"gene_components": 4, "gene_network_components": 3, **options})


def priors_of(
    store: ExpressionStore, split: Split, spec: EncoderSpec, **options: Any
) -> tuple[TrainingPriors, ConditionEncoder]:
    encoder = ConditionEncoder.fit(store, split.rows(store, 0, "train"), spec)
    return training_priors(store, split, 0, encoder, store.reader(), spec=spec, **options), encoder


def expression_store(path: Path, obs: pl.DataFrame, values: np.ndarray) -> ExpressionStore:
    return create_store(
        path,
        obs=obs,
        var=pl.DataFrame({"gene_symbol": [f"G{i}" for i in range(values.shape[1])]}),
        batches=[values],
        measure="expression",
        normalisation="log2_intensity",
    )


@pytest.fixture(scope="module")
def genes(stores: SimpleNamespace) -> tuple[ExpressionStore, Split]:
    return stores.genes, make_split(stores.genes, "random", 2, seed=0)


@pytest.fixture(scope="module")
def lines(stores: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> ExpressionStore:
    """Four cell lines with six controls each."""
    obs = stores.compound_obs()
    others = obs.with_columns(
        pl.concat_str(pl.lit("X"), name).alias(name) for name in ("cell_iname", "batch_id")
    )
    found: ExpressionStore = stores.make(tmp_path_factory.mktemp("lines") / "store", pl.concat([obs, others]))
    return found


@pytest.fixture(scope="module")
def by_line(lines: ExpressionStore) -> tuple[ExpressionStore, Split]:
    """Cell lines with controls of their own; some are held out."""
    return lines, make_split(lines, "unseen_context", 2, seed=0, controls="separate")


def test_controls_are_relative_to_the_mean_of_their_own_group(stores: SimpleNamespace) -> None:
    store = stores.compounds
    split = make_split(store, "random", 2, seed=0)
    priors, encoder = priors_of(store, split, spec_of())
    assert priors.controls.shape == (12, 20) and priors.controls.dtype == torch.float32
    assert priors.control_context.tolist() == [0] * 6 + [1] * 6
    rows = np.flatnonzero(store.is_control)
    order = np.argsort(store.obs["cell_iname"].gather(rows).to_numpy(), kind="stable")
    profiles = store.reader().dense(rows)[order]
    plates = store.obs["batch_id"].gather(rows).to_numpy()[order]
    expected = np.stack(
        [
            profile - profiles[plates == plate].mean(axis=0)
            for profile, plate in zip(profiles, plates, strict=True)
        ]
    )
    np.testing.assert_allclose(priors.controls.numpy(), expected, atol=1e-4)
    assert encoder.space.contexts == ("A375", "HT29")


def test_a_draw_has_at_most_so_many_controls_of_a_context_each_once(stores: SimpleNamespace) -> None:
    store = stores.compounds
    split = make_split(store, "random", 2, seed=0)
    few, _ = priors_of(store, split, spec_of(), controls_per_context=4)
    again, _ = priors_of(store, split, spec_of(), controls_per_context=4)
    other, _ = priors_of(store, split, spec_of(), controls_per_context=4, seed=1)
    assert few.control_context.tolist() == [0] * 4 + [1] * 4
    assert len(torch.unique(few.controls, dim=0)) == 8
    assert torch.equal(few.controls, again.controls) and not torch.equal(few.controls, other.controls)


def test_controls_of_a_tested_line_stay_out_where_they_are_separate(
    by_line: tuple[ExpressionStore, Split],
) -> None:
    store, split = by_line
    tested = store.obs["cell_iname"].gather(split.rows(store, 0, "test")).unique().to_list()
    priors, encoder = priors_of(store, split, spec_of())
    assert tested and not set(tested) & set(encoder.space.contexts)
    assert len(priors.controls) == 6 * (4 - len(tested))
    allowed = split.training_controls(store, 0)
    assert allowed is not None
    claim = next(each for each in priors_fitted_on(store, split, 0) if each.part == "controls")
    assert claim.rows_hash == row_hash(allowed)


def test_shared_controls_of_another_context_have_no_row(lines: ExpressionStore) -> None:
    split = make_split(lines, "unseen_context", 2, seed=0)
    assert split.training_controls(lines, 0) is None
    priors, encoder = priors_of(lines, split, spec_of())
    trained = len(encoder.space.contexts)
    assert 0 < trained < 4
    assert priors.control_context.tolist() == [-1] * 6 * (4 - trained) + sorted([*range(trained)] * 6)


def test_a_control_alone_in_its_group_and_responses_give_none(
    stores: SimpleNamespace, tmp_path: Path
) -> None:
    rows = [
        {"cell_iname": "K562", "batch_id": batch, "pert_type": kind, "pert_id": name}
        for batch in ("one", "two")
        for kind, name in [("ctl_vector", "NTC")] * (1 if batch == "one" else 3)
        + [("trt_xpr", f"G{i}") for i in range(8)]
    ]
    store = stores.make(tmp_path / "lonely", pl.DataFrame(rows))
    priors, _ = priors_of(store, make_split(store, "random", 2, seed=0), spec_of())
    assert len(priors.controls) == 3
    response = stores.response
    none, _ = priors_of(response, make_split(response, "random", 2, seed=0), spec_of())
    assert none.controls.shape == (0, 20) and none.control_context.shape == (0,)


def test_gene_embedding_is_the_encoders_blocks_of_all_genes_without_one_hot_and_marks(
    genes: tuple[ExpressionStore, Split], files: SimpleNamespace
) -> None:
    priors, encoder = priors_of(*genes, spec_of(**files.options))
    known = encoder.perturbations
    assert priors.gene_embedding.shape == (20, 4 + 3 + 2)
    singles = {single.name: row for row, single in enumerate(known.singles())}
    features = known.features(known.singles())[:, known.gene_columns]
    for name in sorted(set(singles) & set(encoder.space.genes)):
        place = encoder.space.genes.index(name)
        np.testing.assert_array_equal(priors.gene_embedding[place].numpy(), features[singles[name]])
    assert not priors.gene_embedding[19, 4:].any() and priors.gene_embedding[19, :4].any()


def test_edges_are_pairs_of_rows_each_once_in_order(
    genes: tuple[ExpressionStore, Split], files: SimpleNamespace
) -> None:
    priors, _ = priors_of(*genes, spec_of(**files.options))
    assert priors.edges.tolist() == [[1, 2], [4, 5], [7, 9]] and priors.edges.dtype == torch.int64
    mean = np.mean([0.7, 0.2, 1.0, 0.4])
    np.testing.assert_allclose(priors.edge_weight, np.array([0.7, 0.2, 0.4]) / mean, rtol=1e-5)


def test_pathways_are_sets_of_a_useful_size_over_the_genes(
    genes: tuple[ExpressionStore, Split], files: SimpleNamespace
) -> None:
    priors, _ = priors_of(*genes, spec_of(**files.options))
    assert priors.pathway_names == ("LARGE ENOUGH",)
    assert priors.pathways.tolist() == [[1.0] * 12 + [0.0] * 8]
    (files.folder / "foreign.gmt").write_text("A\t\tENSG1\tENSG2\n")
    with pytest.raises(SchemaError, match=r"foreign\.gmt.*10 to 300 of the 20 genes.*ENSG1.*G0"):
        priors_of(*genes, spec_of(gene_sets=files.folder / "foreign.gmt"))


def test_without_files_edges_and_pathways_are_empty(genes: tuple[ExpressionStore, Split]) -> None:
    priors, _ = priors_of(*genes, spec_of())
    assert priors.edges.shape == (0, 2) and priors.pathways.shape == (0, 20) and priors.pathway_names == ()


def test_stores_of_compounds_have_knowledge_of_genes_too(
    stores: SimpleNamespace, files: SimpleNamespace
) -> None:
    store = stores.compounds
    priors, encoder = priors_of(store, make_split(store, "random", 2, seed=0), spec_of(**files.options))
    assert encoder.perturbations.loadings.shape[1] == 0
    assert priors.gene_embedding.shape == (20, 9) and bool(priors.gene_embedding.any(dim=0).all())


def test_a_worker_with_the_restored_encoder_gets_the_same_priors(
    genes: tuple[ExpressionStore, Split], files: SimpleNamespace
) -> None:
    store, split = genes
    spec = spec_of(**files.options)
    priors, encoder = priors_of(store, split, spec)
    worker = ConditionEncoder.from_state(*encoder.state())
    again = training_priors(store, split, 0, worker, store.reader("disk"), spec=spec)
    for name in ("controls", "control_context", "gene_embedding", "edges", "edge_weight", "pathways"):
        assert torch.equal(getattr(again, name), getattr(priors, name)), name


def test_priors_ask_for_the_paths_and_notice_other_options_and_changed_files(
    genes: tuple[ExpressionStore, Split], tmp_path: Path
) -> None:
    store, split = genes
    (tmp_path / "network.tsv").write_text(NETWORK)
    spec = spec_of(gene_network=tmp_path / "network.tsv")
    _, encoder = priors_of(store, split, spec)
    with pytest.raises(ConfigError, match=r"network\.tsv.*spec=config\.encoder"):
        training_priors(store, split, 0, encoder, store.reader())
    with pytest.raises(ConfigError, match="other options"):
        training_priors(store, split, 0, encoder, store.reader(), spec=spec_of())
    (tmp_path / "network.tsv").write_text(NETWORK + "G1\tG8\t1\n")
    with pytest.raises(ConfigError, match=r"network\.tsv changed since"):
        training_priors(store, split, 0, encoder, store.reader(), spec=spec)


def test_tested_profiles_do_not_change_the_priors(
    stores: SimpleNamespace, files: SimpleNamespace, tmp_path: Path
) -> None:
    obs = stores.compound_obs()
    values = np.random.default_rng(3).normal(8.0, 1.0, (obs.height, 20)).astype(np.float32)
    spec = spec_of(**files.options)
    store = expression_store(tmp_path / "before", obs, values)
    split = make_split(store, "unseen_compound", 4, seed=0)
    tested = store.obs["pert_id"].gather(split.rows(store, 0, "test")).unique()
    is_tested = obs["pert_id"].is_in(tested.implode()).to_numpy()
    assert 0 < is_tested.sum() < obs.height
    changed = expression_store(tmp_path / "after", obs, values + 1e3 * is_tested[:, None].astype(np.float32))
    other = make_split(changed, "unseen_compound", 4, seed=0)
    assert other.folds == split.folds
    before, after = priors_of(store, split, spec)[0], priors_of(changed, other, spec)[0]
    assert torch.equal(before.controls, after.controls)
    assert torch.equal(before.gene_embedding, after.gene_embedding)


@pytest.mark.parametrize("world", ["genes", "by_line"])
def test_the_auditor_accepts_what_the_priors_claim_and_no_other_rows(
    world: str, request: pytest.FixtureRequest
) -> None:
    store, split = request.getfixturevalue(world)
    claims = priors_fitted_on(store, split, 0)
    assert [each.part for each in claims] == ["train", "controls"]

    def findings(*made: FittedOn) -> list[str]:
        report = split.audit(store, 0, Provenance("the bundle", made))
        return [finding.message for finding in report.findings if "of the priors" in finding.message]

    assert findings(*claims) == []
    everything = np.arange(store.n_rows)
    wrong = [FittedOn.of(each.name, each.role, each.part, everything) for each in claims]
    assert len(findings(*wrong)) == 2
