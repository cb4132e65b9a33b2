"""Batches of a store hold each row's target against its own controls, once each, and cheaply."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from pertcast.encoding import BasalProfiles, ConditionEncoder, EncoderSpec, make_training_data
from pertcast.encoding.source import compact
from pertcast.models.batch import Batch
from pertcast_data.errors import ConfigError, UnknownContext
from pertcast_data.loading import pair_controls
from pertcast_data.splits import make_split

SPEC = EncoderSpec(fingerprint_bits=128, gene_components=3)


@pytest.fixture(scope="module")
def setting(stores: SimpleNamespace) -> SimpleNamespace:
    store = stores.compounds
    split = make_split(store, "unseen_compound", n_folds=4, seed=0)
    encoder = ConditionEncoder.fit(store, split.rows(store, 0, "train"), SPEC)
    data = make_training_data(store, split, 0, encoder, batch_size=7, seed=3)
    return SimpleNamespace(store=store, split=split, encoder=encoder, data=data)


def joined(batches: list[Batch], name: str) -> torch.Tensor:
    return torch.cat([getattr(batch, name) for batch in batches])


def test_statistics_and_validation_hold_their_rows_once_each(setting: SimpleNamespace) -> None:
    for source, part in ((setting.data.statistics, "train"), (setting.data.validation, "validation")):
        rows = joined(list(source.batches(0)), "sample_id")
        assert rows.tolist() == setting.split.rows(setting.store, 0, part).tolist()
        assert source.n_rows == len(rows)


def test_a_target_is_the_profile_minus_the_mean_control_of_its_plate(setting: SimpleNamespace) -> None:
    store = setting.store
    profiles, plate = store.reader().dense(np.arange(store.n_rows)), store.obs["batch_id"].to_numpy()
    for batch in setting.data.train.batches(0):
        for row, target, basal in zip(batch.sample_id.tolist(), batch.target, batch.basal, strict=True):
            controls = profiles[store.is_control & (plate == plate[row])].mean(axis=0)
            np.testing.assert_allclose(basal.numpy(), controls, rtol=1e-5)
            np.testing.assert_allclose(target.numpy(), profiles[row] - controls, rtol=1e-4, atol=1e-5)


def test_rows_know_their_condition_and_plate(setting: SimpleNamespace) -> None:
    store, encoder = setting.store, setting.encoder
    ids = store.obs["condition_id"].to_list()
    groups = store.obs["batch_id"].to_list()
    names = list(encoder.training_index)
    for batch in setting.data.train.batches(1):
        rows = batch.sample_id.tolist()
        assert [names[i] for i in batch.condition_index.tolist()] == [ids[row] for row in rows]
        assert [encoder.space.groups[i] for i in batch.conditions.group.tolist()] == [groups[r] for r in rows]
        expected = encoder.training_conditions.take(batch.condition_index)
        assert torch.equal(batch.conditions.perturbation, expected.perturbation)
        assert torch.equal(batch.conditions.summed_features(), expected.summed_features())
    held_out = joined(list(setting.data.validation.batches(0)), "condition_index")
    assert bool((held_out == -1).all())


def test_a_run_resumed_at_a_step_sees_the_same_batches(setting: SimpleNamespace) -> None:
    whole = list(setting.data.train.batches(2))
    rest = list(setting.data.train.batches(2, start_step=3))
    assert len(whole) == setting.data.train.steps(2) and len(rest) == len(whole) - 3
    for first, second in zip(whole[3:], rest, strict=True):
        assert torch.equal(first.sample_id, second.sample_id) and torch.equal(first.target, second.target)


def test_ranks_share_the_rows(setting: SimpleNamespace) -> None:
    rows = []
    for rank in range(2):
        data = make_training_data(
            setting.store, setting.split, 0, setting.encoder, batch_size=5, rank=rank, world_size=2
        )
        rows += joined(list(data.statistics.batches(0)), "sample_id").tolist()
    assert sorted(rows) == setting.split.rows(setting.store, 0, "train").tolist()


def test_what_is_held_in_memory_equals_what_is_read(setting: SimpleNamespace) -> None:
    arguments: dict[str, Any] = {"batch_size": 16, "seed": 1}
    kept = make_training_data(setting.store, setting.split, 0, setting.encoder, **arguments)
    reader = setting.store.reader("disk")
    read = make_training_data(
        setting.store, setting.split, 0, setting.encoder, kept_bytes=0, reader=reader, **arguments
    )
    for first, second in zip(kept.train.batches(0), read.train.batches(0), strict=True):
        assert torch.equal(first.target, second.target) and torch.equal(first.basal, second.basal)


def test_responses_are_their_own_target_and_have_no_basal(stores: SimpleNamespace) -> None:
    store = stores.response
    split = make_split(store, "random", n_folds=3, seed=0)
    encoder = ConditionEncoder.fit(store, split.rows(store, 0, "train"), SPEC)
    data = make_training_data(store, split, 0, encoder, batch_size=8)
    for batch in data.statistics.batches(0):
        expected = store.reader().dense(batch.sample_id.numpy())
        np.testing.assert_array_equal(batch.target.numpy(), expected)
        assert not batch.basal.any()


def test_an_encoder_of_another_fold_is_refused(setting: SimpleNamespace) -> None:
    with pytest.raises(ConfigError, match="same fold"):
        make_training_data(setting.store, setting.split, 1, setting.encoder, batch_size=8)


def test_validation_rows_without_features_are_left_out_and_logged(
    stores: SimpleNamespace, caplog: pytest.LogCaptureFixture
) -> None:
    store = stores.genes
    split = make_split(store, "unseen_perturbation", n_folds=3, seed=0)
    for fold in range(3):
        encoder = ConditionEncoder.fit(store, split.rows(store, fold, "train"), SPEC)
        data = make_training_data(store, split, fold, encoder, batch_size=8)
        asked = split.rows(store, fold, "validation")
        found = [] if data.validation is None else list(data.validation.batches(0))
        kept = joined(found, "sample_id").tolist() if found else []
        names = store.obs["pert_id"].gather(asked).to_list()
        expected = [
            row
            for row, name in zip(asked.tolist(), names, strict=True)
            if "OUTSIDE" not in name or "OUTSIDE" in encoder.space.perturbations
        ]
        assert kept == expected
        if len(expected) < len(asked):
            assert "left out" in caplog.text


def test_a_batch_carries_only_the_features_it_uses(setting: SimpleNamespace) -> None:
    conditions = setting.encoder.training_conditions
    few = compact(conditions.take(torch.tensor([0, 1, 5])))
    assert few.features.shape[0] <= 3 < conditions.features.shape[0]
    expected = conditions.take(torch.tensor([0, 1, 5]))
    assert torch.equal(few.summed_features(), expected.summed_features())


def test_a_batch_costs_little_more_than_a_gather(stores: SimpleNamespace, tmp_path: Path) -> None:
    """Process time of 256-row batches of a held store: at most 4 plain gathers of the same rows."""
    obs = pl.concat([stores.compound_obs(n_plates=20)] * 2)
    store = stores.make(tmp_path / "store", obs, n_genes=978)
    split = make_split(store, "all", n_folds=1, seed=0)
    encoder = ConditionEncoder.fit(store, split.rows(store, 0, "train"))
    data = make_training_data(store, split, 0, encoder, batch_size=256)
    list(data.train.batches(0))
    held = np.zeros((store.n_rows, 978), np.float32)

    def best(work: Any) -> float:
        times = []
        for _ in range(5):
            start = time.process_time()
            work()
            times.append(time.process_time() - start)
        return min(times)

    batches = [batch.sample_id.numpy() for batch in data.train.batches(0)]
    plain = best(lambda: [(held[rows], held[rows], torch.from_numpy(held[rows])) for rows in batches])
    assert best(lambda: list(data.train.batches(0))) < 4 * plain + 0.004 * len(batches)


def test_basal_profiles_are_the_mean_controls_at_the_time_else_over_times(
    stores: SimpleNamespace, tmp_path: Path
) -> None:
    obs = stores.compound_obs(n_plates=2).with_columns(
        pert_time=pl.when(pl.col("batch_id").str.ends_with("-1")).then(6.0).otherwise(24.0)
    )
    store = stores.make(tmp_path / "store", obs)
    basal = BasalProfiles.fit(store, pair_controls(store), store.reader())
    profiles, line = store.reader().dense(np.arange(store.n_rows)), store.obs["cell_iname"].to_numpy()
    time_of = store.obs["pert_time"].to_numpy()
    controls = store.is_control & (line == "HT29")
    table = pl.DataFrame(
        {"cell_iname": "HT29", "pert_time": [6.0, 1440.0, 3.0], "pert_time_unit": ["h", "min", "h"]}
    )
    expected = [
        profiles[controls & (time_of == 6)].mean(axis=0),
        profiles[controls & (time_of == 24)].mean(axis=0),
        profiles[controls].mean(axis=0),
    ]
    np.testing.assert_allclose(basal.lookup(table), expected, rtol=1e-5)
    again = BasalProfiles.from_state(*basal.state())
    np.testing.assert_array_equal(again.lookup(table), basal.lookup(table))
    with pytest.raises(UnknownContext, match=r"HT2.*HT29"):
        basal.lookup(pl.DataFrame({"cell_iname": ["HT2"]}))


def test_basal_profiles_of_responses_are_zero(stores: SimpleNamespace) -> None:
    basal = BasalProfiles.fit(stores.response, None)
    found = BasalProfiles.from_state(*basal.state()).lookup(pl.DataFrame({"cell_iname": ["anything"]}))
    assert found.shape == (1, 20) and not found.any()
