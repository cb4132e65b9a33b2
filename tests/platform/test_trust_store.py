"""What is measured from a store equals a plain loop over its rows; plates keep their own controls."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from pertcast.evaluation.from_store.store_truth import measure_responses
from pertcast.evaluation.units import lay_out_units
from pertcast_data.errors import ControlsMissing, SchemaError
from pertcast_data.loading import pair_controls
from pertcast_data.store import ExpressionStore, create_store

G = 12


def make_store(path: Path, measure: str = "expression", n_controls: int = 3) -> ExpressionStore:
    """Two plates; compound A on both, B on the first, C once on the second."""
    generator = np.random.default_rng(0)
    wells = [("p1", "A")] * 3 + [("p2", "A")] * 2 + [("p1", "B")] * 4 + [("p2", "C")]
    wells += [(plate, "DMSO") for plate in ("p1", "p2") for _ in range(n_controls)]
    obs = pl.DataFrame(
        {
            "sig_id": [f"w{i}" for i in range(len(wells))],
            "cell_iname": ["A549"] * len(wells),
            "pert_type": ["ctl_vehicle" if name == "DMSO" else "trt_cp" for _, name in wells],
            "pert_id": [name for _, name in wells],
            "pert_dose": [None if name == "DMSO" else 10.0 for _, name in wells],
            "pert_time": [24.0] * len(wells),
            "batch_id": [plate for plate, _ in wells],
        }
    )
    plate_effect = np.array([5.0 if plate == "p1" else 9.0 for plate, _ in wells])[:, None]
    values = (plate_effect + generator.normal(0, 1, (len(wells), G))).astype(np.float32)
    normalisation: Any = "log2_intensity" if measure == "expression" else "z_score"
    return create_store(
        path, obs=obs, var=pl.DataFrame({"gene_id": [f"g{i}" for i in range(G)]}), batches=[values],
        measure=measure, normalisation=normalisation,
    )  # fmt: skip


def rows_of(store: ExpressionStore, *names: str) -> NDArray[np.int64]:
    return np.flatnonzero(store.obs["pert_id"].is_in(list(names)).to_numpy())


def plain_delta(store: ExpressionStore, row: int) -> NDArray[np.float64]:
    everything = store.reader().dense(np.arange(store.n_rows)).astype(float)
    plate = (store.obs["batch_id"] == store.obs["batch_id"][int(row)]).to_numpy()
    return everything[row] - everything[plate & store.is_control].mean(axis=0)


def test_mean_responses_equal_a_plain_loop_with_each_plates_own_controls(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s")
    rows = rows_of(store, "A", "B", "C")
    pairing, reader = pair_controls(store), store.reader()
    means = pairing.means(reader)
    units = lay_out_units(store, rows, pairing)
    measured = measure_responses(units, reader, G, pairing, means)
    assert units.n_conditions == 3 and units.n_units == 4
    for i, name in enumerate(units.conditions["pert_id"]):
        golden = np.mean([plain_delta(store, row) for row in rows_of(store, name)], axis=0)
        assert measured.truth[i] == pytest.approx(golden, abs=1e-5)


def test_predictions_by_plate_average_to_the_mean_over_the_conditions_rows(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s")
    pairing = pair_controls(store)
    units = lay_out_units(store, rows_of(store, "A", "B", "C"), pairing)
    values = np.arange(units.n_units, dtype=np.float32)[:, None] * np.ones((1, G), np.float32)
    sums = np.zeros((3, G))
    for block in (slice(0, 1), slice(1, 4)):
        units.average(block, values[block], sums)
    for i in range(3):
        members = units.condition == i
        golden = np.average(np.flatnonzero(members), weights=units.n_rows[members])
        assert sums[i] == pytest.approx(np.full(G, golden))
    assert np.bincount(units.unit_of_row).tolist() == units.n_rows.tolist()


def test_halves_share_no_row_and_no_control(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s", n_controls=4)
    pairing, reader = pair_controls(store), store.reader()
    units = lay_out_units(store, rows_of(store, "B"), pairing)
    halves = measure_responses(units, reader, G, pairing, pairing.means(reader)).halves
    assert halves.index.tolist() == [0]
    everything = reader.dense(np.arange(store.n_rows)).astype(float)
    treated = everything[rows_of(store, "B")]
    on_plate = ((store.obs["batch_id"] == "p1") & store.obs["is_control"]).to_numpy()
    total = treated.mean(axis=0) - everything[on_plate].mean(axis=0)
    assert (halves.first[0] + halves.second[0]) / 2 == pytest.approx(total, abs=1e-5)
    assert np.abs(halves.first[0] - halves.second[0]).max() > 0.1


def test_without_replicates_or_with_a_single_control_there_are_no_halves(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s", n_controls=1)
    pairing, reader = pair_controls(store), store.reader()
    units = lay_out_units(store, rows_of(store, "A", "B"), pairing)
    assert not len(measure_responses(units, reader, G, pairing, pairing.means(reader)).halves.index)
    many = make_store(tmp_path / "m")
    pairing, reader = pair_controls(many), many.reader()
    units = lay_out_units(many, rows_of(many, "C"), pairing)
    assert not len(measure_responses(units, reader, G, pairing, pairing.means(reader)).halves.index)


def test_responses_are_their_own_truth(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s", measure="response")
    rows = rows_of(store, "A", "B")
    units = lay_out_units(store, rows, None)
    measured = measure_responses(units, store.reader(), G, None, None)
    golden = store.reader().dense(rows_of(store, "A")).mean(axis=0)
    assert measured.truth[0] == pytest.approx(golden, abs=1e-5)
    assert not measured.control.any()


def test_selected_conditions_keep_their_own_rows(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s")
    pairing, reader = pair_controls(store), store.reader()
    units = lay_out_units(store, rows_of(store, "A", "B", "C"), pairing)
    whole = measure_responses(units, reader, G, pairing, pairing.means(reader))
    part = units.select_conditions(np.array([False, True, True]))
    again = measure_responses(part, reader, G, pairing, pairing.means(reader))
    assert part.conditions["pert_id"].to_list() == units.conditions["pert_id"].to_list()[1:]
    assert np.array_equal(again.truth, whole.truth[1:])


def test_held_out_rows_without_controls_or_no_rows_are_refused(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s", n_controls=0)
    with pytest.raises(ControlsMissing):
        lay_out_units(store, rows_of(store, "A"), pair_controls(store))
    with pytest.raises(SchemaError, match="part of the fold is empty"):
        lay_out_units(store, np.empty(0, dtype=np.int64), None)
