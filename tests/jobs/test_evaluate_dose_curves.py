"""Dose curves of a run: the strongest held-out curves at many doses, the tested doses among them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from pertcast.analysis.compared import CONDITION_COLUMNS, ComparedResponses
from pertcast.analysis.dose_response.curves import find_curves
from pertcast.analysis.dose_response.result import dense_title
from pertcast.predictor import Predictor
from pertcast.training.bundle import find_bundle
from pertcast_data.errors import ConfigError, SchemaError
from pertcast_data.ingest import ingest
from pertcast_data.simulate import AtlasConfig, simulate_atlas, write_atlas
from pertcast_data.splits import make_split
from pertcast_data.store import ExpressionStore
from pertcast_jobs.evaluate.dose_curves import dense_conditions, generated_dose_curves, run_dose_response
from pertcast_jobs.run_config import load_config
from pertcast_jobs.train import run_training

DOSES = (0.1, 1.0, 10.0)
ATLAS = AtlasConfig(
    regime="saturating",
    n_genes=60,
    n_contexts=2,
    n_compounds=16,
    n_unprofiled=4,
    doses=DOSES,
    times=(6.0, 24.0),
    n_plates=3,
    n_knockouts=8,
    n_pairs=0,
    n_cells=200,
)


@dataclass(frozen=True)
class DosedRun:
    """A ridge on structure and dose, its held-out conditions with the truth, and its predictor."""

    path: Path
    compared: ComparedResponses
    predictor: Predictor
    store: ExpressionStore


@pytest.fixture(scope="module")
def dosed(tmp_path_factory: pytest.TempPathFactory) -> DosedRun:
    folder = tmp_path_factory.mktemp("dosed")
    atlas = simulate_atlas(ATLAS)
    ingest([write_atlas(atlas, folder / "atlas").wells], folder / "store")
    store = ExpressionStore.open(folder / "store")
    split = make_split(store, "unseen_compound")
    split.save(folder / "split.json")
    ridge = ["model.name=fingerprint_ridge", "model.config={}"]
    data = [f"data.store={folder / 'store'}", f"data.split={folder / 'split.json'}"]
    run_training(load_config("response_mlp", [*data, *ridge]), folder / "run")
    predictor = Predictor.from_bundle(find_bundle(folder / "run"))
    held = store.obs[split.rows(store, 0, "test")].unique("condition_id", keep="first", maintain_order=True)
    known = dict(zip(atlas.wells_truth.condition_ids, atlas.wells_truth.response, strict=True))
    truth = np.stack([known[name] for name in held["condition_id"]])
    said = predictor.predict(held.drop("batch_id")).mean
    compared = ComparedResponses(
        held.select(CONDITION_COLUMNS), store.genes, truth, {"Ridge": said}, np.zeros_like(truth)
    )
    return DosedRun(folder / "run", compared, predictor, store)


def test_every_held_out_curve_is_asked_from_the_lowest_to_the_highest_tested_dose(dosed: DosedRun) -> None:
    curves = find_curves(dosed.compared)
    dense = generated_dose_curves(dosed.path, dosed.compared, n_doses=9)
    assert dense.conditions.height == 9 * len(curves)
    assert dense.genes == dosed.store.genes
    first = dense.conditions[:9]
    assert first["pert_dose"].to_list() == pytest.approx(np.geomspace(0.1, 10.0, 9).tolist())
    assert tuple(first.row(0, named=True)[name] for name in CONDITION_COLUMNS[1:4]) == curves[0].key[:3]


def test_at_the_tested_doses_the_grid_is_what_the_model_predicts_anyway(dosed: DosedRun) -> None:
    dense = generated_dose_curves(dosed.path, dosed.compared, n_doses=3)
    columns = list(CONDITION_COLUMNS[1:])
    said = dict(
        zip(
            dosed.compared.conditions.select(columns).with_columns(pl.col("pert_dose").round(6)).rows(),
            dosed.compared.generated["Ridge"],
            strict=True,
        )
    )
    asked = dense.conditions.select(columns).with_columns(pl.col("pert_dose").round(6)).rows()
    assert set(asked) == set(said)
    assert np.allclose(dense.responses, [said[key] for key in asked], atol=1e-5)


def test_the_strongest_curves_are_asked_first_and_no_more_than_wanted(dosed: DosedRun) -> None:
    strongest = find_curves(dosed.compared)[:2]
    heard: list[tuple[int, int]] = []
    dense = generated_dose_curves(
        dosed.path,
        dosed.compared,
        n_doses=5,
        most_curves=2,
        progress=lambda done, total, note="": heard.append((done, total)),
    )
    asked = dense.conditions.select("cell_iname", "pert_type", "pert_id", "pert_time").unique(
        maintain_order=True
    )
    assert asked.rows() == [curve.key for curve in strongest]
    assert heard == [(2, 2)]


def test_a_runs_curves_stand_beside_the_measured_ones(dosed: DosedRun) -> None:
    result = run_dose_response(dosed.path, dosed.compared, n_doses=9, most_curves=4)
    title = dense_title("Ridge")
    assert [title in each.fits for each in result.curves] == [True] * 4 + [False] * (len(result.curves) - 4)
    assert len(result.curves[0].responses[title].doses) == 9
    assert sum(result.agreement_of(title).states.values()) == 4
    assert result.drift_of("Ridge").dose_strong.value > 0.5


def test_what_is_not_of_the_run_is_refused(dosed: DosedRun) -> None:
    with pytest.raises(ConfigError, match="n_doses=2 and most_curves=60"):
        generated_dose_curves(dosed.path, dosed.compared, n_doses=2)
    renamed = replace(dosed.compared, genes=dosed.compared.genes[::-1])
    with pytest.raises(SchemaError, match=r"has 60 genes, the compared responses 60, or another order"):
        generated_dose_curves(dosed.path, renamed)
    stranger = replace(
        dosed.compared,
        conditions=dosed.compared.conditions.with_columns(pl.lit("OTHER LINE").alias("cell_iname")),
    )
    with pytest.raises(SchemaError, match=r"does not hold .*OTHER LINE"):
        dense_conditions(dosed.store.obs, find_curves(stranger))
