"""Training hands a model that asks what is known before it: before its stages, the same each time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from pertcast.models.contract import Stage
from pertcast.models.priors import TrainingPriors
from pertcast.models.registry import get_model
from pertcast.models.response_mlp.model import ResponseMlp
from pertcast_jobs.run_config import RunConfig, load_config
from pertcast_jobs.run_folder import RunFolder
from pertcast_jobs.train import plan_training, run_training
from pertcast_jobs.train.prepare import prepare

QUICK = ["model.config.width=16", "model.config.depth=1", "model.config.basal_width=8"]
QUICK += ["train.batch_size=32", "train.epochs=1"]


class CuriousModel(ResponseMlp):
    """A model that cannot name its stages before it was given what is known."""

    wants_priors: ClassVar[bool] = True
    given: ClassVar[list[TrainingPriors]] = []
    knows = False

    def take_up(self, priors: TrainingPriors) -> None:
        self.knows = True
        self.given.append(priors)

    def stages(self) -> tuple[Stage, ...]:
        assert self.knows
        return super().stages()


@pytest.fixture
def config(small_screen: Any, monkeypatch: pytest.MonkeyPatch) -> RunConfig:
    CuriousModel.given.clear()
    curious = replace(get_model("response_mlp"), model_type=CuriousModel)
    monkeypatch.setattr("pertcast_jobs.train.prepare.get_model", lambda _: curious)
    monkeypatch.setattr("pertcast_jobs.train.start.get_model", lambda _: curious)
    return load_config("response_mlp", [*small_screen.overrides, *QUICK])


def test_a_model_that_asks_is_given_the_priors_before_its_stages(config: RunConfig, tmp_path: Path) -> None:
    run_training(config, tmp_path / "run")
    plan_training(config)
    first, second = CuriousModel.given
    assert first.controls.shape[0] > 0 and first.controls.shape == second.controls.shape
    assert torch.equal(first.controls, second.controls), "drawn by the run's seed"
    assert RunFolder.open(tmp_path / "run").is_done


def test_rows_that_the_priors_are_made_of_are_told_to_the_auditor(config: RunConfig) -> None:
    names = [each.name for each in prepare(config).fitted_on]
    assert "controls of the priors" in names


def test_a_model_that_does_not_ask_is_given_nothing(small_screen: Any, tmp_path: Path) -> None:
    CuriousModel.given.clear()
    config = load_config("response_mlp", [*small_screen.overrides, *QUICK])
    run_training(config, tmp_path / "run")
    assert not CuriousModel.given
    assert not any("priors" in each.name for each in prepare(config).fitted_on)
