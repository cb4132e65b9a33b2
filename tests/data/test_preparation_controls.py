"""Robust z: against whom a profile is measured, and by what numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from pertcast_data.errors import ControlsMissing
from pertcast_data.preparation import RobustZ, fit_preparation, preparation_config, prepare_store
from pertcast_data.preparation.control_levels import median_and_mad
from pertcast_data.splits import make_split
from pertcast_data.store import ExpressionStore, create_store
from scipy.stats import median_abs_deviation

N_GENES = 12
Z = preparation_config([RobustZ(min_controls=4, min_mad=0.1)])
Rows = list[dict[str, Any]]


def plate(line: str, name: str, n_controls: int, drugs: range = range(8), **more: Any) -> Rows:
    common = {"cell_iname": line, "batch_id": name, "pert_time": 24.0, "donor": name} | more
    controls = [{**common, "pert_type": "ctl_vehicle", "pert_id": "DMSO"} for _ in range(n_controls)]
    return controls + [{**common, "pert_type": "trt_cp", "pert_id": f"drug-{n}"} for n in drugs]


def make_store(path: Path, rows: Rows, values: Any = None) -> ExpressionStore:
    obs = pl.DataFrame(rows, infer_schema_length=None).with_row_index("row")
    if values is None:
        random = np.random.default_rng(1)
        shift = obs["batch_id"].rank("dense").to_numpy()[:, None]
        values = (8 + shift + random.normal(0, 1, (obs.height, N_GENES))).astype(np.float32)
        values[:, 0] = 9.0
    var = pl.DataFrame({"gene_symbol": [f"GENE{n}" for n in range(N_GENES)]})
    facts: dict[str, Any] = {"measure": "expression", "normalisation": "log2_intensity"}
    return create_store(path, obs=obs, var=var, batches=[values], **facts)


def raw(store: ExpressionStore) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return values in source order."""
    values = np.empty((store.n_rows, store.n_genes), np.float32)
    values[store.obs["row"].to_numpy()] = store.reader().dense(np.arange(store.n_rows))
    return values


def scores(values: Any, controls: Any, floor: float = 0.1) -> Any:
    mad = np.maximum(median_abs_deviation(controls, axis=0), floor)
    return (values - np.median(controls, axis=0)) / (1.4826 * mad)


def test_median_and_mad_equal_scipys_however_little_memory_there_is() -> None:
    values = np.random.default_rng(0).normal(5, 2, (31, N_GENES)).astype(np.float32)
    for budget in (1, 500, 1 << 20):
        centre, mad = median_and_mad(lambda rows: values[rows], np.arange(31), N_GENES, budget)
        np.testing.assert_array_equal(centre, np.median(values, axis=0))
        np.testing.assert_allclose(mad, median_abs_deviation(values, axis=0), rtol=1e-6)


def test_missing_values_of_controls_are_passed_over() -> None:
    values = np.random.default_rng(0).normal(5, 2, (9, N_GENES)).astype(np.float32)
    values[2, 3] = np.nan
    centre, mad = median_and_mad(lambda rows: values[rows], np.arange(9), N_GENES)
    np.testing.assert_allclose(centre[3], np.nanmedian(values[:, 3]))
    np.testing.assert_allclose(mad, median_abs_deviation(values, axis=0, nan_policy="omit"), rtol=1e-6)


def test_each_plate_is_measured_against_its_own_controls_and_poor_plates_against_their_line(
    tmp_path: Path,
) -> None:
    rows = plate("A375", "P1", 6) + plate("A375", "P2", 5) + plate("A375", "P3", 3) + plate("HT29", "P4", 4)
    store = make_store(tmp_path / "store", rows)
    split = make_split(store, "unseen_compound")
    prepared = prepare_store(store, fit_preparation(store, split, 0, Z), tmp_path / "out", split)
    before, after = raw(store), raw(prepared.store)
    table = store.obs.sort("row")
    control = table["is_control"].to_numpy()
    for name in ("P1", "P2", "P4"):
        own = (table["batch_id"] == name).to_numpy()
        np.testing.assert_allclose(
            after[own], scores(before[own], before[own & control]), rtol=2e-5, atol=1e-5
        )
    poor, line = (table["batch_id"] == "P3").to_numpy(), (table["cell_iname"] == "A375").to_numpy()
    np.testing.assert_allclose(
        after[poor], scores(before[poor], before[line & control]), rtol=2e-5, atol=1e-5
    )
    assert (prepared.n_plates, prepared.n_lines, prepared.n_rows_by_line) == (3, 1, int(poor.sum()))
    assert np.array_equal(after[:, 0], np.zeros(len(after)))
    assert (prepared.store.measure, prepared.store.normalisation) == ("response", "z_score")
    assert prepared.store.info.layout == "dense"


def test_controls_of_another_time_on_the_plate_do_not_count(tmp_path: Path) -> None:
    rows = plate("A375", "P1", 5) + plate("A375", "P1", 6, pert_time=6.0)
    store = make_store(tmp_path / "store", rows)
    split = make_split(store, "unseen_compound")
    prepared = prepare_store(store, fit_preparation(store, split, 0, Z), tmp_path / "out", split)
    before, after = raw(store), raw(prepared.store)
    table = store.obs.sort("row")
    late = (table["pert_time"] == 24).to_numpy()
    controls = before[late & table["is_control"].to_numpy()]
    np.testing.assert_allclose(after[late], scores(before[late], controls), rtol=2e-5, atol=1e-5)
    assert prepared.n_plates == 2


def test_too_few_controls_are_an_error_that_names_the_lines(tmp_path: Path) -> None:
    store = make_store(tmp_path / "store", plate("A375", "P1", 6) + plate("HT29", "P2", 2))
    split = make_split(store, "unseen_compound")
    preparation = fit_preparation(store, split, 0, Z)
    with pytest.raises(ControlsMissing, match=r"10 profiles have fewer than 4 controls .*: HT29\. Lower"):
        prepare_store(store, preparation, tmp_path / "out", split)
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def separate_store(path: Path, change: float = 0.0) -> ExpressionStore:
    """Four donors on one plate; `change` moves the controls of donor D0."""
    rows = [row for n in range(4) for row in plate("A375", "P1", 5, range(2 * n, 2 * n + 2), donor=f"D{n}")]
    values = np.random.default_rng(2).normal(8, 1, (len(rows), N_GENES)).astype(np.float32)
    for number, row in enumerate(rows):
        if row["donor"] == "D0" and row["pert_id"] == "DMSO":
            values[number] += change
    return make_store(path, rows, values)


def test_with_separate_controls_tested_donors_have_no_say_in_how_training_rows_are_measured(
    tmp_path: Path,
) -> None:
    results = {}
    for change in (0.0, 5.0):
        store = separate_store(tmp_path / f"store{change}", change)
        split = make_split(store, "group", group_column="donor", controls="separate")
        fold = next(
            number
            for number in range(len(split.folds))
            if "D0" in set(store.obs["donor"].gather(split.rows(store, number, "test")))
        )
        preparation = fit_preparation(store, split, fold, Z)
        prepared = prepare_store(store, preparation, tmp_path / f"out{change}", split)
        table = store.obs.sort("row")
        seen = np.zeros(store.n_rows, bool)
        for part in ("train", "validation"):
            seen[store.obs["row"].gather(split.rows(store, fold, part)).to_numpy()] = True
        results[change] = (preparation.fitted_hash, raw(prepared.store), seen, table)
    (one, before, seen, table), (other, after, _, _) = results[0.0], results[5.0]
    tested = (table["donor"] == "D0").to_numpy() & ~table["is_control"].to_numpy()
    assert one == other
    assert seen.any() and np.array_equal(before[seen], after[seen])
    assert tested.any() and not np.array_equal(before[tested], after[tested])


def test_with_separate_controls_the_step_is_bound_to_its_fold(tmp_path: Path) -> None:
    store = separate_store(tmp_path / "store")
    split = make_split(store, "group", group_column="donor", controls="separate")
    prepared = prepare_store(store, fit_preparation(store, split, 1, Z), tmp_path / "out", split)
    (step,) = prepared.store.preprocessing
    assert (step.fitted_on, step.split, step.fold) == ("train", prepared.split.hash, 1)
    assert not prepared.split.audit(prepared.store, 1).errors
    assert prepared.split.audit(prepared.store, 0).errors


def test_a_tested_line_brings_its_own_controls(tmp_path: Path) -> None:
    rows = [row for n in range(4) for row in plate(f"LINE{n}", f"P{n}a", 3) + plate(f"LINE{n}", f"P{n}b", 3)]
    store = make_store(tmp_path / "store", rows)
    split = make_split(store, "unseen_context", controls="separate")
    preparation = fit_preparation(store, split, 0, Z)
    tested = store.obs["cell_iname"].gather(split.rows(store, 0, "test")).unique().item()
    assert tested not in preparation.fitted[-1].lines and len(preparation.fitted[-1].lines) == 3
    prepared = prepare_store(store, preparation, tmp_path / "out", split)
    before, after = raw(store), raw(prepared.store)
    table = store.obs.sort("row")
    own = (table["cell_iname"] == tested).to_numpy()
    controls = before[own & table["is_control"].to_numpy()]
    np.testing.assert_allclose(after[own], scores(before[own], controls), rtol=2e-5, atol=1e-5)
