"""An ensemble is served as one model: its answers are the offline predictor's, its card says what it is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from local_predictor import LocalPredictor
from pertcast.predictor import Predictor
from pertcast_serve.api import make_api
from pertcast_serve.config import ServeConfig
from pertcast_serve.prediction.answers import Answer
from pertcast_serve.prediction.service import BundleService
from pertcast_serve.schemas.predict import PredictRequest
from pertcast_serve.services import Services


@pytest.fixture(scope="module")
def call(tiny_ensemble: Path, call_api: Callable[..., Any]) -> Any:
    config = ServeConfig(models={"default": tiny_ensemble})
    client = LocalPredictor(config, tiny_ensemble)
    services = Services(predictor=client, analysis=None, screens=None, page=None)  # type: ignore[arg-type]
    return call_api(make_api(services, config))


def test_its_answers_are_those_of_the_offline_predictor(call: Any, tiny_ensemble: Path) -> None:
    condition = {"cell_iname": "A375", "pert_id": "drug-1", "pert_dose": 10.0, "pert_time": 24.0}
    assert call("POST", "/v1/predict", json={"conditions": [condition]}).status_code == 200
    predictor = Predictor.from_bundle(tiny_ensemble)
    request = PredictRequest.model_validate({"conditions": [condition]})
    (answer,) = BundleService(predictor, rows_per_pass=(8,)).answer([request])
    assert isinstance(answer, Answer)
    found = predictor.predict(pl.DataFrame({**condition, "pert_type": ["trt_cp"]}), batch_size=8)
    assert np.array_equal(answer.mean, found.mean)
    assert answer.sd is not None and found.sd is not None
    assert np.array_equal(answer.sd, found.sd)


def test_its_card_says_that_it_is_an_ensemble(call: Any, tiny_ensemble: Path) -> None:
    (model,) = call("GET", "/v1/models").json()
    assert model["title"].startswith("Ensemble of 3: ")
    assert model["family"] == "response_mlp"
    manifest = json.loads((tiny_ensemble / "bundle.json").read_text())
    assert list(manifest["model"]["members"]) == ["seed0", "seed1", "seed2"]
