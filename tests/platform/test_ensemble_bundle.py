"""The bundle of an ensemble: one door for every reader, the members' mean, and what they disagree on."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pertcast
import polars as pl
import pytest
import torch
from pertcast.models.batch import ConditionBatch, Prediction
from pertcast.models.contract import ModelConfig, ResponseModel, Stage
from pertcast.models.ensemble import EnsembleModel, combined
from pertcast.models.noise import KeyedNoise
from pertcast.predictor import Predictor
from pertcast.training.bundle import BundleFiles, build_model, load_bundle_files
from pertcast.training.bundle_ensemble import save_ensemble
from pertcast.training.bundle_metrics import add_metrics
from pertcast_data.errors import ConfigError, CorruptBundle

ASKED = pl.DataFrame(
    {
        "cell_iname": ["A375", "HT29", "A375"],
        "pert_type": ["trt_cp", "trt_cp", "trt_xpr"],
        "pert_id": ["drug-1", "drug-3", "GENE1"],
        "pert_dose": [1.0, 10.0, None],
        "pert_time": 24.0,
    }
)


def alone(files: BundleFiles) -> Predictor:
    whole = Predictor.from_bundle(files.path)
    return Predictor(build_model(files), whole.encoder, whole.basal)


def test_an_ensemble_predicts_what_its_members_predict_alone_combined(
    tiny_ensemble: Path, tiny_members: list[BundleFiles]
) -> None:
    found = pertcast.load_bundle(tiny_ensemble).predict(ASKED)
    each = [alone(files).predict(ASKED) for files in tiny_members]
    means = np.stack([one.mean for one in each]).astype(np.float64)
    assert means.std(axis=0).max() > 1e-3
    np.testing.assert_allclose(found.mean, means.mean(axis=0), rtol=1e-6, atol=1e-7)
    variance = np.mean([np.square(one.sd) for one in each if one.sd is not None], axis=0)
    assert found.sd is not None and found.sd_between is not None
    np.testing.assert_allclose(found.sd, np.sqrt(variance + means.var(axis=0)), rtol=1e-5)
    np.testing.assert_allclose(found.sd_between, means.std(axis=0), rtol=1e-4, atol=1e-7)
    assert each[0].sd_between is None
    assert found.table.equals(each[0].table)


def test_conditions_are_encoded_once_however_many_members_there_are(
    tiny_ensemble: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor = pertcast.load_bundle(tiny_ensemble)
    calls: list[int] = []
    encode = predictor.encoder.encode_table
    monkeypatch.setattr(
        predictor.encoder, "encode_table", lambda table: (calls.append(len(table)), encode(table))[1]
    )
    predictor.predict(ASKED)
    assert calls == [3]
    assert len(predictor.bundle.members) == 3


def test_a_prediction_depends_neither_on_its_neighbours_nor_on_the_number_of_samples(
    tiny_ensemble: Path,
) -> None:
    predictor = pertcast.load_bundle(tiny_ensemble)
    whole = predictor.predict(ASKED, n_samples=7, seed=3)
    last = predictor.predict(ASKED[[2]], n_samples=4, seed=3)
    assert whole.samples is not None and last.samples is not None
    assert whole.samples.shape == (3, 7, 24)
    assert np.array_equal(whole.mean[2], last.mean[0])
    assert np.array_equal(whole.samples[2, :4], last.samples[0])


def test_a_notebook_sees_the_disagreement_as_a_layer(tiny_ensemble: Path, tiny_bundle: Path) -> None:
    assert set(pertcast.predict(tiny_ensemble, ASKED).layers) == {"sd", "sd_between", "expression"}
    assert set(pertcast.predict(tiny_bundle, ASKED).layers) == {"sd", "expression"}


def test_an_ensemble_is_named_by_its_family_its_size_and_its_members(tiny_ensemble: Path) -> None:
    bundle = pertcast.load_bundle(tiny_ensemble).bundle
    assert bundle.model_name == "response_mlp"
    assert bundle.title.startswith("Ensemble of 3: ")
    assert list(bundle.members) == ["seed0", "seed1", "seed2"]
    assert [record["seed"] for record in bundle.members.values()] == [0, 1, 2]
    assert bundle.facts.metrics == {}


def test_its_hash_stays_with_metrics_and_changes_with_a_member(
    tiny_ensemble: Path, tiny_members: list[BundleFiles], tmp_path: Path
) -> None:
    before = load_bundle_files(tiny_ensemble).content_hash
    copied = Path(shutil.copytree(tiny_ensemble, tmp_path / "copy"))
    add_metrics(copied, {"test_mse": 0.5})
    assert load_bundle_files(copied).content_hash == before
    fewer = save_ensemble(tmp_path / "fewer", tiny_members[:2])
    assert load_bundle_files(fewer).content_hash != before


@pytest.mark.parametrize("fault", ["flipped", "truncated", "missing"])
def test_a_damaged_member_is_refused_by_name(tiny_ensemble: Path, tmp_path: Path, fault: str) -> None:
    copied = Path(shutil.copytree(tiny_ensemble, tmp_path / "copy"))
    file = copied / "weights-seed1.safetensors"
    content = bytearray(file.read_bytes())
    if fault == "flipped":
        content[-1] ^= 1
        file.write_bytes(content)
    elif fault == "truncated":
        file.write_bytes(content[:-4])
    else:
        file.unlink()
    with pytest.raises(CorruptBundle, match="weights-seed1"):
        pertcast.load_bundle(copied)


def test_members_that_differ_in_more_than_their_seed_are_refused(
    tiny_members: list[BundleFiles], tiny_ensemble: Path, tmp_path: Path
) -> None:
    first, second, _ = tiny_members
    strange = replace(second, facts=second.facts.model_copy(update={"data_hash": "other"}))
    with pytest.raises(ConfigError, match="same training data"):
        save_ensemble(tmp_path / "e", [first, strange])
    state = (second.encoder_state[0], {name: each + 1 for name, each in second.encoder_state[1].items()})
    with pytest.raises(ConfigError, match="same encoder"):
        save_ensemble(tmp_path / "e", [first, replace(second, encoder_state=state)])
    with pytest.raises(ConfigError, match="same seed"):
        save_ensemble(tmp_path / "e", [first, first])
    with pytest.raises(ConfigError, match="at least 2"):
        save_ensemble(tmp_path / "e", [first])
    with pytest.raises(ConfigError, match="ensemble itself"):
        save_ensemble(tmp_path / "e", [first, load_bundle_files(tiny_ensemble)])
    assert not (tmp_path / "e").exists()


def test_an_encoder_that_differs_by_rounding_is_the_same(
    tiny_members: list[BundleFiles], tmp_path: Path
) -> None:
    first, second, _ = tiny_members
    state = {
        name: each * np.asarray(1 + 1e-7, each.dtype) if np.issubdtype(each.dtype, np.floating) else each
        for name, each in second.encoder_state[1].items()
    }
    found = save_ensemble(
        tmp_path / "e", [first, replace(second, encoder_state=(second.encoder_state[0], state))]
    )
    assert len(load_bundle_files(found).members) == 2


def test_where_no_spread_is_stated_it_is_what_the_members_disagree_on() -> None:
    means = [torch.zeros(2, 3), torch.full((2, 3), 2.0)]
    mean, sd, between = combined(means, [None, torch.ones(2, 3)])
    assert torch.equal(mean, torch.ones(2, 3))
    torch.testing.assert_close(sd, torch.full((2, 3), 2.0**0.5))
    assert torch.equal(between, torch.ones(2, 3))


class Constant(ResponseModel):
    """Draws nothing but its own number, and says how many it was asked for."""

    def __init__(self, like: ResponseModel, number: float, conditions: ConditionBatch) -> None:
        super().__init__(ModelConfig(), like.space, conditions)
        self.number = number

    def stages(self) -> tuple[Stage, ...]:
        return ()

    def predict(
        self,
        conditions: ConditionBatch,
        basal: torch.Tensor,
        n_samples: int = 0,
        noise: KeyedNoise | None = None,
    ) -> Prediction:
        mean = torch.full_like(basal, self.number)
        return Prediction(mean, None, mean.unsqueeze(1).expand(-1, n_samples, -1))


def test_samples_are_drawn_from_every_member_alike_also_one_by_one(tiny_ensemble: Path) -> None:
    predictor = pertcast.load_bundle(tiny_ensemble)
    known = predictor.encoder.training_conditions
    members: dict[str, Any] = {f"seed{i}": Constant(predictor.model, float(i), known) for i in range(3)}
    model, basal = EnsembleModel(members, known), torch.zeros(len(known), 24)
    six = model.predict(known, basal, 6).samples
    assert six is not None
    assert torch.equal(
        six[..., 0].sort(dim=1).values, torch.tensor([0.0, 0, 1, 1, 2, 2]).expand(len(known), -1)
    )
    one = model.predict(known, basal, 1).samples
    assert one is not None
    assert set(one[:, 0, 0].tolist()) == {0.0, 1.0, 2.0}
    assert torch.equal(one[:, 0], six[:, 0])
