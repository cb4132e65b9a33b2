"""Drug sensitivity of runs: whole folds see no judged compound, doses are as asked, odd input is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from pertcast.evaluation.sensitivity.drug_sensitivity import DrugSensitivity
from pertcast.predictor import Predictor
from pertcast_data.compounds import canonicalise, inchi_key_14
from pertcast_data.errors import ConfigError, SchemaError
from pertcast_data.splits import Split
from pertcast_data.store import ExpressionStore
from pertcast_jobs.evaluate.runs import open_run
from pertcast_jobs.evaluate.sensitivity import (
    SensitivityOptions,
    drug_sensitivity_of_run,
    drug_sensitivity_of_runs,
)
from pertcast_jobs.evaluate.sensitivity_inputs import (
    measured_responses,
    seen_compounds,
    store_compounds,
    usual_dose_and_time,
)
from pertcast_jobs.run_config import load_config
from pertcast_jobs.train import run_training

RIDGE = ["model.name=fingerprint_ridge", "model.config={}"]
DRAWS = 50


@pytest.fixture(scope="module")
def runs(small_screen: Any, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A ridge, solved on each of the four folds."""
    folder = tmp_path_factory.mktemp("sensitivity")
    found = [folder / f"fold{fold}" for fold in range(4)]
    for fold, run in enumerate(found):
        run_training(load_config("response_mlp", [*small_screen.overrides, *RIDGE, f"data.fold={fold}"]), run)
    return found


@pytest.fixture(scope="module")
def atlas(small_screen: Any) -> Path:
    return small_screen.store.parent / "atlas"


@pytest.fixture(scope="module")
def options(atlas: Path) -> SensitivityOptions:
    return SensitivityOptions(library=atlas / "library.csv", n_draws=DRAWS)


@pytest.fixture(scope="module")
def pooled(runs: list[Path], atlas: Path, options: SensitivityOptions) -> DrugSensitivity:
    return drug_sensitivity_of_runs(runs, atlas / "sensitivity.csv", options)


def test_all_folds_together_saw_no_compound_and_join_the_whole_library(
    pooled: DrugSensitivity, atlas: Path
) -> None:
    table = pl.read_csv(atlas / "sensitivity.csv")
    board = pooled.by_compound.boards[0]
    assert board.n_pairs == table.height and board.n_compounds == table["pert_id"].n_unique()
    assert "never saw" in board.title and pooled.by_compound.board("seen") is None
    assert pooled.facts.join["by"]["id"] == board.n_compounds
    assert any(f"0 of {board.n_compounds} compounds were seen" in remark for remark in pooled.facts.remarks)
    assert {"generated", "generated_baseline", "structure"} <= {row.name for row in board.rows}
    assert pooled.verdict.startswith("A plumbing check") and "2 cell lines joined" in pooled.by_line.withheld


def test_a_compounds_expression_comes_from_a_run_that_did_not_see_it(
    runs: list[Path], small_screen: Any, pooled: DrugSensitivity
) -> None:
    split, store = Split.load(small_screen.split), ExpressionStore.open(small_screen.store)
    smiles = store_compounds(store).with_columns(
        compound=pl.col("canonical_smiles").map_elements(
            lambda text: inchi_key_14(canonicalise(text).inchi_key), return_dtype=pl.String
        )
    )
    seen = np.array([seen_compounds(open_run(run), smiles) for run in runs])
    assert not seen.all(axis=0).any() and seen.any(axis=1).all()
    for fold, known in enumerate(seen):
        tested = {name.split("|")[2] for name in split.fold(fold).test}
        assert tested == set(smiles["pert_id"].filter(pl.Series(~known)).to_list())


def test_one_run_marks_the_compounds_that_it_saw(
    runs: list[Path], atlas: Path, options: SensitivityOptions
) -> None:
    found = drug_sensitivity_of_run(runs[0], atlas / "sensitivity.csv", options=options)
    boards = {board.name: board for board in found.by_compound.boards}
    n_seen, n_measured = boards["seen"].n_compounds, boards["measured"].n_compounds
    assert 0 < n_seen <= 12 and n_measured <= 16
    assert boards["unseen"].n_compounds == boards["all"].n_compounds - n_seen
    assert f"trained on {n_seen} of the {n_measured} compounds" in boards["measured"].title
    assert found.by_compound.headline == boards["unseen"]


def test_without_a_library_what_was_never_profiled_is_left_out_and_named(
    runs: list[Path], atlas: Path
) -> None:
    table = pl.read_csv(atlas / "sensitivity.csv")
    profiled = set(store_compounds(open_run(runs[0]).store)["pert_id"])
    options = SensitivityOptions(with_baseline=False, n_draws=DRAWS)
    found = drug_sensitivity_of_run(runs[0], atlas / "sensitivity.csv", options=options)
    joined = profiled & set(table["pert_id"])
    assert found.by_compound.boards[0].n_compounds == found.facts.join["n_drugs_joined"] == len(joined)
    assert len(found.facts.join["drugs_left_out"]) == table["pert_id"].n_unique() - len(joined) > 0


def test_expression_is_generated_at_the_dose_that_training_reaches_or_the_one_asked_for(
    runs: list[Path], atlas: Path, pooled: DrugSensitivity, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert usual_dose_and_time(open_run(runs[0])) == (10.0, 24.0)
    assert (pooled.facts.dose, pooled.facts.time) == (10.0, 24.0)
    asked: list[pl.DataFrame] = []
    honest = Predictor.predict

    def spy(self: Predictor, table: pl.DataFrame, **rest: Any) -> Any:
        asked.append(table)
        return honest(self, table, **rest)

    monkeypatch.setattr(Predictor, "predict", spy)
    options = SensitivityOptions(dose=1.0, with_baseline=False, n_draws=DRAWS)
    found = drug_sensitivity_of_run(runs[0], atlas / "sensitivity.csv", options=options)
    assert set(pl.concat(asked)["pert_dose"]) == {1.0} and found.facts.dose == 1.0
    assert found.by_compound.boards[0].row("generated_baseline") is None


def test_measured_responses_are_those_of_the_pair_at_its_dose(runs: list[Path]) -> None:
    run = open_run(runs[0])
    compounds = store_compounds(run.store).with_columns(compound=pl.lit("none"))
    pairs = compounds.with_columns(cell_iname=pl.lit("SIMLINE01"))
    found, elsewhere = measured_responses(run, pairs, 10.0, 24.0)
    assert found is not None and np.isfinite(found).all() and elsewhere == 0
    near, moved = measured_responses(run, pairs, 4.0, 24.0)
    assert near is not None and moved == pairs.height
    np.testing.assert_array_equal(near, found)
    assert measured_responses(run, pairs, 1000.0, 24.0) == (None, 0)
    first = (pl.col("pert_id") == pairs["pert_id"][0]) & (pl.col("cell_iname") == "SIMLINE01")
    obs = run.store.obs.with_row_index("row")
    wells = obs.filter(first & (pl.col("pert_dose") == 10.0))
    by_hand = []
    for row, plate in wells.select("row", "batch_id").iter_rows():
        controls = obs.filter((pl.col("batch_id") == plate) & pl.col("is_control"))["row"].to_numpy()
        own = run.reader.dense(np.array([row])).mean(axis=0)
        by_hand.append(own - run.reader.dense(controls.astype(np.int64)).mean(axis=0))
    np.testing.assert_allclose(found[0], np.mean(by_hand, axis=0), atol=1e-5)


def test_the_same_question_gets_the_same_answer(
    runs: list[Path], atlas: Path, options: SensitivityOptions, pooled: DrugSensitivity
) -> None:
    again = drug_sensitivity_of_runs(runs, atlas / "sensitivity.csv", options)
    assert again.to_json() == pooled.to_json()


def test_auc_is_predicted_where_it_is_asked_for(runs: list[Path], atlas: Path) -> None:
    options = SensitivityOptions(value="auc", n_draws=DRAWS, with_baseline=False)
    found = drug_sensitivity_of_run(runs[0], atlas / "sensitivity.csv", options=options)
    assert found.facts.value_title == "AUC (mean viability)"
    with pytest.raises(SchemaError, match="holds no potency; it holds ln_ic50, auc"):
        drug_sensitivity_of_run(
            runs[0], atlas / "sensitivity.csv", options=SensitivityOptions(value="potency")
        )


def test_runs_that_are_not_folds_of_one_split_are_refused(runs: list[Path], atlas: Path) -> None:
    with pytest.raises(ConfigError, match="Only runs of one model on different folds"):
        drug_sensitivity_of_runs([runs[0], runs[0]], atlas / "sensitivity.csv")
    with pytest.raises(ConfigError, match="No run is named"):
        drug_sensitivity_of_runs([], atlas / "sensitivity.csv")


def test_a_table_about_other_cell_lines_names_those_of_the_store(runs: list[Path], tmp_path: Path) -> None:
    path = tmp_path / "other.csv"
    path.write_text("drug,smiles,cell,ln_ic50\na,CCO,HELA,1.0\n")
    with pytest.raises(SchemaError, match=r"HELA.*SIMLINE01"):
        drug_sensitivity_of_run(runs[0], path)
