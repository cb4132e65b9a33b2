"""The notebook API loads lazily and speaks AnnData."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import anndata
import numpy as np
import pandas as pd
import pertcast
import polars as pl
import pytest
from pertcast.encoding import BasalProfiles, ConditionEncoder, EncoderSpec, make_training_data
from pertcast.models.registry import get_model
from pertcast.predictor import Predictor
from pertcast_data.errors import FormatError
from pertcast_data.splits import make_split


@pytest.fixture(scope="module")
def predictor(stores: SimpleNamespace, toy: SimpleNamespace) -> Predictor:
    store = stores.compounds
    split = make_split(store, "all", n_folds=1, seed=0)
    encoder = ConditionEncoder.fit(store, split.rows(store, 0, "train"), EncoderSpec(fingerprint_bits=64))
    data = make_training_data(store, split, 0, encoder, batch_size=64)
    model = get_model("knn").build({}, encoder.space, encoder.training_conditions)
    toy.solve(model.stages()[0], data.statistics.batches(0))
    return Predictor(model, encoder, BasalProfiles.fit(store, None))


def test_importing_pertcast_loads_nothing_heavy() -> None:
    heavy = ["torch", "polars", "anndata", "ray", "zarr"]
    code = f"import sys, pertcast; assert not set({heavy}) & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_store_opens_through_the_api(stores: SimpleNamespace) -> None:
    assert pertcast.open_store(stores.compounds.path).data_hash == stores.compounds.data_hash


def test_predict_returns_responses_levels_and_spread(predictor: Predictor) -> None:
    rows = {
        "cell_iname": ["A375", "HT29"],
        "pert_type": "trt_cp",
        "pert_id": "BRD-01",
        "pert_dose": [1.0, 5.0],
    }
    table = pl.DataFrame(rows)
    data = pertcast.predict(predictor, table, n_samples=2)
    found = predictor.predict(table)
    np.testing.assert_array_equal(data.X, found.mean)
    np.testing.assert_array_equal(data.layers["expression"], found.basal + found.mean)
    np.testing.assert_array_equal(data.layers["sd"], found.sd)
    assert data.obsm["samples"].shape == (2, 2, 20) and list(data.var_names) == list(predictor.genes)
    assert list(data.obs_names) == found.table["sig_id"].to_list() and "is_in_domain" in data.obs
    from_pandas = pertcast.predict(
        predictor, pd.DataFrame({**rows, "pert_type": ["trt_cp"] * 2, "pert_id": ["BRD-01"] * 2})
    )
    np.testing.assert_array_equal(from_pandas.X, data.X)


def test_a_prediction_can_be_written_and_read(predictor: Predictor, tmp_path: Path) -> None:
    table = pl.DataFrame({"cell_iname": ["A375"] * 2, "pert_type": "trt_cp", "pert_id": "BRD-01"})
    data = pertcast.predict(predictor, table)
    data.write_h5ad(tmp_path / "prediction.h5ad")
    again = anndata.read_h5ad(tmp_path / "prediction.h5ad")
    np.testing.assert_array_equal(again.X, data.X)
    assert again.obs_names.is_unique


def test_a_folder_without_a_finished_screen_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="no finished screen"):
        pertcast.load_screen(tmp_path)


def test_a_screen_opens_as_anndata(tmp_path: Path) -> None:
    profiles = anndata.AnnData(np.ones((2, 3), np.float32), obs=pd.DataFrame(index=["a", "b"]))
    profiles.write_zarr(tmp_path / "profiles.zarr")
    (tmp_path / "manifest.json").write_text("{}")
    assert pertcast.load_screen(tmp_path).shape == (2, 3)
