"""Populations of wells and latent spaces of runs: what is compared, and where there is nothing to compare."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pertcast.evaluation.wells.from_part import measured_wells, well_labels
from pertcast.evaluation.wells.labelled import deal_wells
from pertcast.evaluation.wells.samples import generate_wells
from pertcast.models.baselines.ridge import BilinearRidge
from pertcast.models.batch import ConditionBatch, Prediction
from pertcast_data.errors import ConfigError
from pertcast_data.ingest import ingest
from pertcast_data.simulate import AtlasConfig, simulate_atlas, write_atlas
from pertcast_data.splits import make_split
from pertcast_data.store import ExpressionStore
from pertcast_jobs.evaluate.latent import latent_space_of_run
from pertcast_jobs.evaluate.runs import open_run
from pertcast_jobs.evaluate.wells import part_of_run, statistics_of_run, well_populations_of_run
from pertcast_jobs.run_config import load_config
from pertcast_jobs.train import run_training
from torch import Tensor

CELLS = AtlasConfig(
    n_genes=60, n_contexts=2, n_compounds=8, n_unprofiled=2, n_knockouts=8, n_pairs=0, n_cells=200
)
RIDGE = ["model.name=bilinear_ridge", "model.config={}"]


@pytest.fixture(scope="module")
def run(small_screen: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wells") / "run"
    run_training(load_config("response_mlp", [*small_screen.overrides, *RIDGE]), out)
    return out


@pytest.fixture(scope="module")
def part(run: Path) -> Any:
    opened = open_run(run)
    return part_of_run(opened, statistics_of_run(opened))


def test_a_run_on_wells_is_compared_with_its_held_out_wells(run: Path) -> None:
    found = well_populations_of_run(run)
    assert found is not None and found.has_halves
    assert found.model.contender.title == "Ridge, components x features"
    assert found.counts.n_conditions == 16
    assert found.counts.n_generated == found.counts.n_measured == 32
    assert not any(found.beats_noise(measure) for measure in found.to_noise)
    assert found.to_json() == well_populations_of_run(run).to_json()  # type: ignore[union-attr]


def test_replicates_on_different_plates_draw_different_noise(run: Path, part: Any) -> None:
    model = open_run(run).predictor.model
    labels = well_labels(part)
    twins = np.flatnonzero(labels.condition == labels.condition[0])[:2]
    units = part.inputs.units
    assert len(set(units.unit_of_row[twins].tolist())) == 2
    assert len(set(part.inputs.conditions.key[units.unit_of_row[twins]].tolist())) == 1
    found = generate_wells(model, part.inputs, twins)
    assert found is not None
    assert not np.allclose(found.samples[:, 0], found.samples[:, 1])
    assert not np.allclose(found.samples[0], found.samples[1])
    assert not np.allclose(found.samples, found.independent)


def test_a_generated_well_does_not_depend_on_which_others_are_asked_for(run: Path, part: Any) -> None:
    model, wells = open_run(run).predictor.model, np.arange(20)
    some, one = (generate_wells(model, part.inputs, index, seed=3) for index in (wells, wells[7:8]))
    assert some is not None and one is not None
    assert one.samples[:, 0] == pytest.approx(some.samples[:, 7], rel=1e-5)


def test_measured_wells_are_relative_to_the_controls_of_their_own_plate(part: Any) -> None:
    units, wells = part.inputs.units, np.arange(6)
    own = part.inputs.control_means[units.control_group[units.unit_of_row[wells]]]
    assert measured_wells(part.inputs, wells) + own == pytest.approx(
        part.inputs.reader.dense(units.rows[wells]), abs=1e-4
    )


def test_a_model_without_samples_has_no_population(
    run: Path, part: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def means_only(_self: Any, conditions: ConditionBatch, basal: Tensor, *_: Any, **__: Any) -> Prediction:
        return Prediction(mean=torch.zeros_like(basal))

    monkeypatch.setattr(BilinearRidge, "predict", means_only)
    assert well_populations_of_run(run) is None


def test_an_sd_that_a_model_does_not_state_is_that_of_its_samples(
    run: Path, part: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = BilinearRidge.predict

    def silent(self: Any, *args: Any, **asked: Any) -> Prediction:
        found = plain(self, *args, **asked)
        return Prediction(mean=found.mean, samples=found.samples)

    dealt = deal_wells(well_labels(part), 10)
    model = open_run(run).predictor.model
    stated = generate_wells(model, part.inputs, dealt.first)
    monkeypatch.setattr(BilinearRidge, "predict", silent)
    guessed = generate_wells(model, part.inputs, dealt.first)
    assert stated is not None and guessed is not None
    spread = [(each.independent - each.samples.mean(axis=0)).std() for each in (stated, guessed)]
    assert spread[1] == pytest.approx(spread[0], rel=0.1)


def test_stores_of_cells_have_no_wells(tmp_path: Path) -> None:
    files = write_atlas(simulate_atlas(CELLS), tmp_path / "atlas")
    ingest([files.cells], tmp_path / "store")
    split = make_split(ExpressionStore.open(tmp_path / "store"), "unseen_perturbation")
    split.save(tmp_path / "split.json")
    data = [f"data.store={tmp_path / 'store'}", f"data.split={tmp_path / 'split.json'}"]
    run_training(load_config("response_mlp", [*data, *RIDGE]), tmp_path / "run")
    assert well_populations_of_run(tmp_path / "run") is None


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        well_populations_of_run(tmp_path)
    with pytest.raises(ConfigError):
        latent_space_of_run(tmp_path)


def test_a_model_without_a_latent_space_is_looked_at_in_components_of_training_profiles(run: Path) -> None:
    found = latent_space_of_run(run)
    assert "principal components of training profiles" in found.space
    assert found.n_dimensions <= 32 and found.conditions.height == 16
    assert found.silhouette["measured"].value > 0.3
    assert found.path_shape is None or found.path_shape.n_paths == 0
    assert found.to_json() == latent_space_of_run(run).to_json()


def test_a_models_own_latent_space_is_taken_where_it_has_one(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def three(_self: Any, conditions: ConditionBatch, basal: Tensor, response: Tensor) -> Tensor:
        assert len(conditions) == len(basal) == len(response)
        return (basal + response)[:, :3]

    monkeypatch.setattr(BilinearRidge, "latent", three)
    found = latent_space_of_run(run)
    assert found.space == "latent space of Ridge, components x features"
    assert found.n_dimensions == 3
