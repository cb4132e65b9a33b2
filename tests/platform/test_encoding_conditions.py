"""Conditions are encoded by what they mean: structures, genes, units, order; what is unknown is named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from pertcast.encoding import ConditionEncoder, EncoderSpec
from pertcast.models.batch import ConditionBatch
from pertcast_data.compounds import morgan_fingerprints
from pertcast_data.errors import ConfigError, SchemaError, UnitError, UnknownCompound, UnknownGene

SPEC = EncoderSpec(fingerprint_bits=256, gene_components=4)


def treated(store: Any, without: tuple[str, ...] = ()) -> np.ndarray:
    held_out = store.obs["pert_id"].is_in(list(without)).to_numpy()
    return np.flatnonzero(~store.is_control & ~held_out)


@pytest.fixture(scope="module")
def compounds(stores: SimpleNamespace) -> ConditionEncoder:
    """Fitted without BRD-03 and BRD-05."""
    return ConditionEncoder.fit(stores.compounds, treated(stores.compounds, ("BRD-03", "BRD-05")), SPEC)


@pytest.fixture(scope="module")
def genes(stores: SimpleNamespace) -> ConditionEncoder:
    """Fitted without G4 and its pair."""
    return ConditionEncoder.fit(stores.genes, treated(stores.genes, ("G4", "G4+G3", "G3+G4")), SPEC)


def asked(**columns: Any) -> pl.DataFrame:
    return pl.DataFrame({"cell_iname": "A375", "pert_type": "trt_cp", **columns})


def same(first: ConditionBatch, second: ConditionBatch) -> bool:
    """Equal, but for the order of the feature table."""
    names = ("context", "group", "perturbation", "pert_type", "own_gene", "key")
    equal = all(torch.equal(getattr(first, name), getattr(second, name)) for name in names)
    return equal and torch.equal(first.slot_features()[0], second.slot_features()[0])


def test_vocabularies_hold_what_training_rows_hold(
    compounds: ConditionEncoder, stores: SimpleNamespace
) -> None:
    space = compounds.space
    assert space.contexts == ("A375", "HT29") and space.pert_types == ("trt_cp",)
    assert space.groups == ("A375-0", "A375-1", "HT29-0", "HT29-1")
    assert len(space.perturbations) == 14 and "BRD-03" not in space.perturbations
    assert (
        space.n_conditions
        == 14 * 2 * 2
        == len(compounds.training_conditions)
        == len(compounds.training_index)
    )
    assert space.feature_width == 256 and not space.own_genes and space.max_slots == 1
    names = stores.compounds.conditions["condition_id"].to_list()
    assert all(names.index(name) >= 0 for name in compounds.training_index)


def test_the_features_of_a_compound_are_its_fingerprint(compounds: ConditionEncoder) -> None:
    batch = compounds.encode(asked(pert_id=["BRD-00", "BRD-03"], canonical_smiles=[None, "CCBr"]))
    expected = morgan_fingerprints(["CCO", "CCBr"], 256, 2)
    np.testing.assert_array_equal(batch.summed_features().numpy(), expected)
    assert batch.perturbation.tolist() == [[compounds.space.perturbations.index("BRD-00")], [-1]]


def test_a_compound_is_recognised_by_its_structure_under_another_name(compounds: ConditionEncoder) -> None:
    plain = compounds.encode(asked(pert_id=["BRD-00"]))
    table = asked(pert_id=["mine-1", "BRD-00", "drug-0"], canonical_smiles=["OCC", "CCO.Cl", None])
    for row in range(3):
        assert same(compounds.encode(table[row : row + 1]), plain)


def test_a_known_name_with_another_structure_is_a_new_compound(compounds: ConditionEncoder) -> None:
    batch = compounds.encode(asked(pert_id=["BRD-00"], canonical_smiles=["CCCCCCF"]))
    assert batch.perturbation.item() == -1
    expected = morgan_fingerprints(["CCCCCCF"], 256, 2)
    np.testing.assert_array_equal(batch.summed_features().numpy(), expected)


def test_compounds_can_be_combined_by_name_in_any_order(compounds: ConditionEncoder) -> None:
    first, second = (compounds.encode(asked(pert_id=[name])) for name in ("BRD-01+BRD-00", "BRD-00+BRD-01"))
    assert same(first, second) and first.slot.shape == (1, 2)
    expected = morgan_fingerprints(["CCO", "CCN"], 256, 2).sum(axis=0)
    np.testing.assert_array_equal(first.summed_features()[0].numpy(), expected)


def test_units_are_converted_and_missing_doses_stay_missing(compounds: ConditionEncoder) -> None:
    table = asked(
        pert_id=["BRD-00"] * 4,
        pert_dose=[1.0, 1000.0, 0.001, None],
        pert_dose_unit=[None, "nM", "mM", None],
        pert_time=[24.0, 1440.0, 1.0, None],
        pert_time_unit=["h", "min", "d", None],
    )
    batch = compounds.encode(table)
    np.testing.assert_allclose(batch.log_dose[:3, 0].numpy(), 0.0, atol=1e-6)
    np.testing.assert_allclose(batch.log_time[:3].numpy(), np.log10(24.0), atol=1e-6)
    assert batch.log_dose[3].isnan().all() and batch.log_time[3].isnan()
    assert len(set(batch.key[:3].tolist())) == 1 and batch.key[3] != batch.key[0]


def test_groups_are_filled_from_batch_id_and_unseen_names_are_minus_one(compounds: ConditionEncoder) -> None:
    table = pl.DataFrame(
        {
            "cell_iname": ["HT29", "PC3"],
            "pert_type": ["trt_cp", "ctl_vehicle"],
            "pert_id": ["BRD-00", "DMSO"],
            "batch_id": ["HT29-1", "elsewhere"],
        }
    )
    batch = compounds.encode(table)
    assert batch.group.tolist() == [3, -1] and batch.context.tolist() == [1, -1]
    assert batch.slot.tolist() == [[0], [-1]]


def test_training_conditions_are_the_stores_conditions_encoded(
    compounds: ConditionEncoder, stores: SimpleNamespace
) -> None:
    names = list(compounds.training_index)
    table = stores.compounds.conditions.filter(pl.col("condition_id").is_in(names))
    assert table["condition_id"].to_list() == names
    again, training = compounds.encode(table), compounds.training_conditions
    assert same(again, training)
    torch.testing.assert_close(again.log_dose, training.log_dose)
    assert torch.equal(training.slot, training.perturbation) and bool((training.group == -1).all())


def test_genes_have_loadings_one_hot_and_an_own_gene(genes: ConditionEncoder) -> None:
    assert genes.space.perturbations == ("G1", "G2", "G3", "OUTSIDE")
    assert genes.space.feature_width == 4 + 4 and genes.space.own_genes and genes.space.max_slots == 2
    table = pl.DataFrame(
        {"cell_iname": "K562", "pert_type": "trt_xpr", "pert_id": ["G2+G1", "G4", "OUTSIDE"]}
    )
    batch = genes.encode(table)
    assert batch.perturbation.tolist() == [[0, 1], [-1, -1], [3, -1]]
    assert batch.own_gene.tolist() == [[1, 2], [4, -1], [-1, -1]]
    features = batch.slot_features()[0].numpy()
    np.testing.assert_array_equal(features[0, 0, 4:], [1, 0, 0, 0])
    assert features[1, 0, :4].any() and not features[1, 0, 4:].any()
    assert not features[2, 0, :4].any() and features[2, 0, 7] == 1


def test_features_look_at_training_rows_only(stores: SimpleNamespace, tmp_path: Path) -> None:
    """Other values and other names in the held-out rows change nothing."""
    obs = stores.genes.obs.select("cell_iname", "batch_id", "pert_type", "pert_id", "targets")
    changed = obs.with_columns(
        pl.when(pl.col("pert_id") == "G4").then(pl.lit("G9")).otherwise(pl.col(name)).alias(name)
        for name in ("pert_id", "targets")
    )
    states = []
    for number, table in enumerate((obs, changed)):
        store = stores.make(tmp_path / str(number), table)
        rows = treated(store, ("G4", "G9"))
        states.append(ConditionEncoder.fit(store, rows, SPEC).state())
    assert states[0][0] == states[1][0]
    assert all(np.array_equal(a, states[1][1][n], equal_nan=True) for n, a in states[0][1].items())


def test_the_gene_loadings_are_the_principal_components_of_the_training_rows(
    genes: ConditionEncoder, stores: SimpleNamespace
) -> None:
    rows = treated(stores.genes, ("G4", "G4+G3", "G3+G4"))
    profiles = stores.genes.reader().dense(rows).astype(float)
    _, values, right = np.linalg.svd(profiles - profiles.mean(axis=0), full_matrices=False)
    expected = right[:4].T * values[:4]
    expected /= np.sqrt((expected**2).sum(axis=1).mean())
    found = genes.perturbations.loadings
    np.testing.assert_allclose(np.abs(found), np.abs(expected), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("columns", "error", "message"),
    [
        ({"pert_id": ["BRD-99"]}, UnknownCompound, "BRD-9"),
        ({"pert_id": ["x"], "canonical_smiles": ["C1CC"]}, UnknownCompound, "no valid structure"),
        ({"pert_id": ["BRD-00"], "pert_dose": [1.0], "pert_dose_unit": ["cups"]}, UnitError, "cups"),
        ({"pert_id": ["BRD-00"], "pert_time": [1.0], "pert_time_unit": ["moons"]}, UnitError, "moons"),
        ({"pert_id": ["BRD-00"], "cell_iname": [None]}, SchemaError, "cell_iname"),
        ({"pert_id": ["BRD-00"], "pert_type": ["trt_magic"]}, SchemaError, "trt_magic"),
        ({"pert_id": [None], "cmap_name": [None]}, SchemaError, "pert_id"),
        ({"pert_id": ["GENE"], "pert_type": ["trt_xpr"]}, UnknownGene, "GENE"),
    ],
)
def test_what_cannot_be_encoded_is_a_typed_error_or_a_row_problem(
    compounds: ConditionEncoder, columns: dict[str, Any], error: type[Exception], message: str
) -> None:
    table = pl.concat([asked(pert_id=["BRD-00"]), asked(**columns)], how="diagonal_relaxed")
    with pytest.raises(error, match=message):
        compounds.encode(table)
    batch, rows, problems = compounds.encode_lenient(table)
    assert len(batch) == 1 and rows.tolist() == [0]
    assert [problem.row for problem in problems] == [1] and message in str(problems[0])


def test_a_misspelt_gene_comes_with_the_nearest_known_ones(genes: ConditionEncoder) -> None:
    table = pl.DataFrame({"cell_iname": "K562", "pert_type": "trt_xpr", "pert_id": ["G1+OUTSID"]})
    with pytest.raises(UnknownGene, match="OUTSIDE"):
        genes.encode(table)
    (problem,) = genes.encode_lenient(table)[2]
    assert problem.field == "pert_id" and problem.value == "OUTSID" and "OUTSIDE" in problem.suggestions
    assert "Nearest" not in problem.message


def test_a_missing_column_is_named(compounds: ConditionEncoder) -> None:
    with pytest.raises(SchemaError, match="cell_iname"):
        compounds.encode(
            pl.DataFrame({"cell_name": ["A375"], "pert_type": ["trt_cp"], "pert_id": ["BRD-00"]})
        )


def test_the_type_may_be_left_out_where_training_knew_only_one(compounds: ConditionEncoder) -> None:
    table = asked(pert_id=["BRD-00"])
    assert same(compounds.encode(table.drop("pert_type")), compounds.encode(table))


def test_an_empty_table_is_an_empty_batch(compounds: ConditionEncoder) -> None:
    batch, rows, problems = compounds.encode_lenient(asked(pert_id=["BRD-00"]).clear())
    assert len(batch) == 0 and len(rows) == 0 and not problems


def test_a_training_compound_without_structure_keeps_a_feature_of_its_own(
    stores: SimpleNamespace, tmp_path: Path
) -> None:
    obs = stores.compound_obs(n_plates=1, compounds=range(4)).with_columns(
        canonical_smiles=pl.when(pl.col("pert_id") == "BRD-01").then(None).otherwise("canonical_smiles")
    )
    store = stores.make(tmp_path / "store", obs)
    encoder = ConditionEncoder.fit(store, treated(store), SPEC)
    features = encoder.encode(asked(pert_id=["BRD-01", "BRD-00"])).summed_features()
    assert features.shape[1] == 256 + 1
    assert not features[0, :256].any() and features[0, 256] == 1 and features[1, 256] == 0


def test_the_state_makes_the_same_encoder(
    compounds: ConditionEncoder, genes: ConditionEncoder, stores: SimpleNamespace
) -> None:
    for encoder, store in ((compounds, stores.compounds), (genes, stores.genes)):
        again = ConditionEncoder.from_state(*encoder.state())
        assert again.space == encoder.space and again.training_index == encoder.training_index
        assert same(again.training_conditions, encoder.training_conditions)
        table = store.conditions.filter(~pl.col("pert_id").is_in(["BRD-99"]))
        assert same(again.encode(table), encoder.encode(table))
        assert again.applicability(table).equals(encoder.applicability(table))


def test_applicability_is_the_distance_to_the_nearest_training_compound(compounds: ConditionEncoder) -> None:
    table = pl.DataFrame(
        {
            "cell_iname": ["A375", "PC3", "A375"],
            "pert_type": "trt_cp",
            "pert_id": ["BRD-00", "BRD-03", "odd"],
            "canonical_smiles": [None, "CCBr", "O=S(=O)(c1cccs1)N1CCOCC1"],
        }
    )
    flags = compounds.applicability(table)
    assert flags["seen_pert"].to_list() == [True, False, False]
    assert flags["seen_cell"].to_list() == [True, False, True]
    training = compounds.training_conditions.features.numpy()
    bits = morgan_fingerprints(table["canonical_smiles"][1:].to_list(), 256, 2)
    shared = bits @ training.T
    similarity = shared / (bits.sum(1)[:, None] + training.sum(1)[None] - shared)
    expected = [0.0, *(1 - similarity.max(axis=1))]
    np.testing.assert_allclose(flags["nn_train_dist"].to_numpy(), expected, rtol=1e-5)
    shared = training @ training.T
    among = shared / (training.sum(1)[:, None] + training.sum(1)[None] - shared)
    np.fill_diagonal(among, -1)
    limit = np.quantile(1 - among.max(axis=1), 0.95)
    assert flags["is_in_domain"].to_list() == [value <= limit + 1e-6 for value in expected]
    assert flags["is_in_domain"].to_list()[2] is False


def test_gene_distances_are_cosine_and_a_pair_is_as_far_as_its_farther_gene(genes: ConditionEncoder) -> None:
    names = ["G4", "G1", "G1+G4", "OUTSIDE"]
    flags = genes.applicability(
        pl.DataFrame({"cell_iname": "K562", "pert_type": "trt_xpr", "pert_id": names})
    )
    loadings = genes.perturbations.loadings / np.linalg.norm(
        genes.perturbations.loadings, axis=1, keepdims=True
    )
    expected = 1 - (loadings[[1, 2, 3]] @ loadings[4]).max()
    np.testing.assert_allclose(flags["nn_train_dist"].to_numpy(), [expected, 0, expected, 0], rtol=1e-4)
    assert flags["seen_pert"].to_list() == [False, True, False, True]


def test_a_gene_that_was_only_knocked_out_is_not_seen_as_activated(genes: ConditionEncoder) -> None:
    asked = pl.DataFrame({"cell_iname": "K562", "pert_type": ["trt_xpr", "trt_act"], "pert_id": "G1"})
    assert genes.applicability(asked)["seen_pert"].to_list() == [True, False]


def test_an_encoder_needs_treated_rows(stores: SimpleNamespace) -> None:
    with pytest.raises(ConfigError, match="no treated training rows"):
        ConditionEncoder.fit(stores.compounds, np.flatnonzero(stores.compounds.is_control), SPEC)


def test_the_real_level_3_file_is_encoded_whole(shared_data: Callable[[str], Path], tmp_path: Path) -> None:
    from pertcast_data.ingest import ingest
    from pertcast_data.store import ExpressionStore

    ingest([shared_data("l1000/ht115_level3_compounds.h5ad")], tmp_path / "store")
    store = ExpressionStore.open(tmp_path / "store")
    encoder = ConditionEncoder.fit(store, treated(store))
    assert len(encoder.training_conditions) == store.conditions.filter(~pl.col("is_control")).height
    assert bool((encoder.training_conditions.summed_features().sum(dim=1) > 0).all())
