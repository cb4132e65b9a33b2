"""A bundle answers tables: the same answer whatever stands beside a row, and typed problems."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
import torch
from pertcast.encoding import BasalProfiles, ConditionEncoder, EncoderSpec, make_training_data
from pertcast.models.contract import GradientStage
from pertcast.models.registry import get_model
from pertcast.predictor import Predictor
from pertcast.training.bundle import BundleFacts, save_bundle
from pertcast_data.errors import ConfigError, CorruptBundle, SchemaError, UnknownCompound, UnknownContext
from pertcast_data.loading import pair_controls
from pertcast_data.splits import make_split


def trained_bundle(store: object, path: Path, name: str, toy: SimpleNamespace) -> Path:
    """Train a model a little on a store's compounds and write its bundle."""
    split = make_split(store, "unseen_compound", n_folds=4, seed=0)
    encoder = ConditionEncoder.fit(store, split.rows(store, 0, "train"), EncoderSpec(fingerprint_bits=128))
    data = make_training_data(store, split, 0, encoder, batch_size=32)
    torch.manual_seed(0)
    model = get_model(name).build({}, encoder.space, encoder.training_conditions)
    for stage in model.stages():
        if isinstance(stage, GradientStage):
            toy.descend(stage, next(iter(data.train.batches(0))), 15)
        else:
            toy.solve(stage, data.statistics.batches(0))
    pairing = pair_controls(store) if store.measure == "expression" else None
    facts = BundleFacts(data_hash=store.data_hash, measure=store.measure, normalisation=store.normalisation)
    return save_bundle(
        path,
        model_name=name,
        model=model,
        conditions=encoder.training_conditions,
        encoder_state=encoder.state(),
        basal_state=BasalProfiles.fit(store, pairing).state(),
        facts=facts,
    )


@pytest.fixture(scope="module")
def bundle(stores: SimpleNamespace, toy: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained_bundle(stores.compounds, tmp_path_factory.mktemp("bundle") / "b", "response_mlp", toy)


@pytest.fixture(scope="module")
def predictor(bundle: Path) -> Predictor:
    return Predictor.from_bundle(bundle)


@pytest.fixture(scope="module")
def table(stores: SimpleNamespace) -> pl.DataFrame:
    """Every treated condition of the store, and combinations."""
    single = stores.compounds.conditions.filter(~pl.col("is_control")).select(
        "cell_iname", "pert_type", "pert_id", "pert_dose", "pert_time", "canonical_smiles"
    )
    return single.with_columns(note=pl.int_range(pl.len()))


def test_a_row_is_predicted_alike_in_any_table_and_order(predictor: Predictor, table: pl.DataFrame) -> None:
    whole = predictor.predict(table, n_samples=2, seed=4, batch_size=16)
    order = np.random.default_rng(0).permutation(table.height)
    shuffled = predictor.predict(table[order], n_samples=2, seed=4, batch_size=16)
    np.testing.assert_allclose(shuffled.mean, whole.mean[order], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(shuffled.samples, whole.samples[order], rtol=1e-5, atol=1e-6)
    alone = predictor.predict(table[7:8], batch_size=16)
    np.testing.assert_allclose(alone.mean[0], whole.mean[7], rtol=1e-5, atol=1e-6)


def test_a_padded_batch_gives_the_same_bits_whatever_fills_it(
    predictor: Predictor, table: pl.DataFrame
) -> None:
    full = predictor.predict(table[:16], batch_size=16)
    for count in (1, 5, 15):
        part = predictor.predict(table[:count], batch_size=16)
        assert np.array_equal(part.mean, full.mean[:count]) and np.array_equal(part.sd, full.sd[:count])
    again = predictor.predict(table, batch_size=16)
    assert np.array_equal(again.mean, predictor.predict(table, batch_size=16).mean)


def test_the_bundle_predicts_what_the_model_in_memory_predicts(
    predictor: Predictor, table: pl.DataFrame
) -> None:
    conditions = predictor.encoder.encode(table)
    basal = torch.from_numpy(predictor.basal.lookup(table))
    expected = predictor.model.predict(conditions, basal)
    found = predictor.predict(table)
    np.testing.assert_allclose(found.mean, expected.mean.numpy(), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(found.basal, basal.numpy())


def test_the_table_comes_back_with_names_and_flags(predictor: Predictor, table: pl.DataFrame) -> None:
    found = predictor.predict(table).table
    assert found["note"].to_list() == table["note"].to_list()
    assert found["sig_id"].n_unique() == table.height and found["sig_id"][0] == "A375|trt_cp|BRD-00|10|24"
    known = table["pert_id"].is_in(predictor.space.perturbations)
    assert found["seen_pert"].to_list() == known.to_list() and found["seen_cell"].all()
    assert set(found.columns) >= {"nn_train_dist", "is_in_domain"}
    assert (found.filter("seen_pert")["nn_train_dist"] == 0).all()
    named = predictor.predict(table[:2].with_columns(sig_id=pl.Series(["mine", None]))).table
    assert named["sig_id"].to_list() == ["mine", found["sig_id"][1]]


def bad_rows(table: pl.DataFrame, predictor: Predictor) -> pl.DataFrame:
    """Four rows: the second has an unknown cell line, the third an unknown compound."""
    known = predictor.space.perturbations[0]
    wrong = pl.DataFrame(
        {
            "cell_iname": ["A37", "A375"],
            "pert_type": "trt_cp",
            "pert_id": [known, "BRD-77"],
        }
    )
    return pl.concat([table[:1], wrong, table[1:2]], how="diagonal_relaxed")


def test_problems_are_collected_a_row_and_the_good_rows_are_predicted(
    predictor: Predictor, table: pl.DataFrame
) -> None:
    found = predictor.predict(bad_rows(table, predictor), on_error="collect")
    assert found.rows.tolist() == [0, 3] and found.mean.shape[0] == found.table.height == 2
    np.testing.assert_allclose(found.mean, predictor.predict(table[:2]).mean, rtol=1e-5, atol=1e-6)
    fields = [(problem.row, problem.field, problem.value) for problem in found.problems]
    assert fields == [(1, "cell_iname", "A37"), (2, "pert_id", "BRD-77")]
    assert found.problems[0].suggestions == ("A375",) and found.problems[1].suggestions


def test_the_first_problem_is_raised_with_its_row(predictor: Predictor, table: pl.DataFrame) -> None:
    with pytest.raises(UnknownContext, match=r"row 1.*A375"):
        predictor.predict(bad_rows(table, predictor))
    with pytest.raises(UnknownCompound, match="row 1"):
        predictor.predict(bad_rows(table, predictor)[[0, 2]])
    with pytest.raises(SchemaError, match="cell_iname"):
        predictor.predict(table.drop("cell_iname"), on_error="collect")


def test_samples_depend_on_seed_and_condition(predictor: Predictor, table: pl.DataFrame) -> None:
    twice = pl.concat([table[:2], table[:1]])
    found = predictor.predict(twice, n_samples=3, seed=1)
    assert found.samples.shape == (3, 3, 20)
    np.testing.assert_allclose(found.samples[0], found.samples[2], rtol=1e-5)
    assert not np.allclose(found.samples[0], found.samples[1])
    assert not np.allclose(found.samples, predictor.predict(twice, n_samples=3, seed=2).samples)


def test_an_empty_table_is_an_empty_answer(predictor: Predictor, table: pl.DataFrame) -> None:
    found = predictor.predict(table.clear())
    assert found.mean.shape == (0, 20) and found.table.height == 0 and not found.problems


def test_the_bundle_can_be_named(predictor: Predictor, bundle: Path) -> None:
    predictor.warm_up()
    assert predictor.bundle.path == bundle and predictor.bundle.model_name == "response_mlp"
    assert len(predictor.bundle.hash) == 64 and predictor.bundle.facts.measure == "expression"
    in_memory = Predictor(predictor.model, predictor.encoder, predictor.basal)
    with pytest.raises(ConfigError, match="no bundle"):
        _ = in_memory.bundle


def test_a_damaged_bundle_is_refused(bundle: Path, tmp_path: Path) -> None:
    for file in bundle.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = bytearray((tmp_path / "encoder.safetensors").read_bytes())
    weights[-1] ^= 1
    (tmp_path / "encoder.safetensors").write_bytes(weights)
    with pytest.raises(CorruptBundle, match="encoder"):
        Predictor.from_bundle(tmp_path)


def test_a_baseline_is_served_from_a_bundle_of_responses(
    stores: SimpleNamespace, toy: SimpleNamespace, tmp_path: Path, table: pl.DataFrame
) -> None:
    predictor = Predictor.from_bundle(
        trained_bundle(stores.response, tmp_path / "b", "fingerprint_ridge", toy)
    )
    found = predictor.predict(table.with_columns(cell_iname=pl.lit("never seen")))
    assert not found.basal.any() and not found.table["seen_cell"].any() and np.isfinite(found.mean).all()
