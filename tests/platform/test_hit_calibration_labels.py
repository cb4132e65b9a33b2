"""What counts as measured inactive: by controls, control signatures, strength or replicates."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pertcast.evaluation.hit_calibration.control_effects import layouts_of, measured_effects
from pertcast.evaluation.hit_calibration.labels import ActivityLabels, activity_labels
from pertcast.evaluation.units import lay_out_units
from pertcast_data.loading import pair_controls
from pertcast_data.store import ExpressionStore, create_store
from pertcast_data.vocabulary import Measure

N_GENES = 30
N_PERTURBATIONS = 60
PLATES = ("P1", "P2", "P3")


def table_of(n_controls: int) -> pl.DataFrame:
    """Perturbations once on each of three plates, and controls."""
    rows = [
        {"cell_iname": "A", "batch_id": plate, "pert_type": kind, "pert_id": name, "pert_time": 24.0}
        for plate in PLATES
        for kind, name in [("ctl_vehicle", "DMSO")] * n_controls
        + [("trt_cp", f"p{number}") for number in range(N_PERTURBATIONS)]
    ]
    return pl.DataFrame(rows)


def store_of(
    path: Path,
    obs: pl.DataFrame,
    size: float,
    measure: Measure = "expression",
    **columns: NDArray[np.float64],
) -> ExpressionStore:
    """Make a store where the first half of the perturbations has an effect of `size` noise units a gene.

    Genes share noise, and plates shift everything on them.
    """
    generator = np.random.default_rng(0)
    loadings = generator.standard_normal((4, N_GENES))
    noise = generator.standard_normal((obs.height, 4)) @ loadings / 2 + generator.standard_normal(
        (obs.height, N_GENES)
    )
    number = obs["pert_id"].str.strip_prefix("p").cast(pl.Int64, strict=False).fill_null(N_PERTURBATIONS)
    effects = size * generator.standard_normal((N_PERTURBATIONS + 1, N_GENES))
    effects[N_PERTURBATIONS // 2 :] = 0.0
    plates = np.array([PLATES.index(plate) for plate in obs["batch_id"]], np.float64)[:, None]
    level = 8.0 + 3.0 * plates if measure == "expression" else 0.0
    return create_store(
        path,
        obs=obs.with_columns(pl.Series(name, values) for name, values in columns.items()),
        var=pl.DataFrame({"gene_symbol": [f"G{i}" for i in range(N_GENES)]}),
        batches=[(noise + effects[number.to_numpy()] + level).astype(np.float32)],
        measure=measure,
        normalisation="log2_intensity" if measure == "expression" else "z_score",
    )


def labelled(store: ExpressionStore) -> tuple[ActivityLabels | None, NDArray[np.bool_]]:
    """Return the labels of all treated conditions, and which of them truly do something."""
    pairing = pair_controls(store) if store.measure == "expression" else None
    units = lay_out_units(store, np.flatnonzero(~store.is_control), pairing)
    number = units.conditions["pert_id"].str.strip_prefix("p").cast(pl.Int64)
    labels = activity_labels(units, store, store.reader(), pairing)
    return labels, number.to_numpy() < N_PERTURBATIONS // 2


def test_conditions_without_an_effect_are_inactive_by_their_plates_controls(tmp_path: Path) -> None:
    labels, active = labelled(store_of(tmp_path / "s", table_of(20), 2.0))
    assert labels is not None and labels.is_labelled.all()
    assert not labels.is_inactive[active].any()
    assert labels.is_inactive[~active].mean() > 0.8


def test_the_threshold_is_exceeded_by_one_in_twenty_where_nothing_happens(tmp_path: Path) -> None:
    labels, _ = labelled(store_of(tmp_path / "s", table_of(60), 0.0))
    assert labels is not None
    assert 0.0 < 1 - labels.is_inactive.mean() < 0.15


def test_the_measured_effect_is_that_of_the_mean_over_plates_of_profile_minus_controls(
    tmp_path: Path,
) -> None:
    store = store_of(tmp_path / "s", table_of(3), 1.0)
    pairing, reader = pair_controls(store), store.reader()
    units = lay_out_units(store, np.flatnonzero(~store.is_control), pairing)
    means = pairing.means(reader)
    found = measured_effects(units, reader, means, N_GENES)
    profiles, obs = reader.dense(np.arange(store.n_rows)).astype(np.float64), store.obs.with_row_index("row")
    for place in (0, 31, 59):
        name = units.conditions["pert_id"][place]
        responses = []
        for plate in PLATES:
            here = obs.filter(pl.col("batch_id") == plate)
            own = here.filter(pl.col("pert_id") == name)["row"].to_list()
            controls = here.filter("is_control")["row"].to_list()
            responses.append(profiles[own[0]] - profiles[controls].mean(axis=0))
        expected = np.sqrt(np.square(np.mean(responses, axis=0)).mean())
        assert abs(found[place] - expected) < 1e-5
    assert {sum(count for _, count in layout) for layout in layouts_of(units)} == {len(PLATES)}


def test_a_group_with_one_control_gives_no_label(tmp_path: Path) -> None:
    labels, _ = labelled(store_of(tmp_path / "s", table_of(1), 1.0))
    assert labels is not None
    assert not labels.is_labelled.any() and not labels.is_inactive.any()


def test_responses_are_labelled_by_control_signatures_where_there_are_some(tmp_path: Path) -> None:
    labels, active = labelled(store_of(tmp_path / "s", table_of(20), 2.0, "response"))
    assert labels is not None and "control signatures" in labels.method
    assert not labels.is_inactive[active].any() and labels.is_inactive[~active].mean() > 0.8


def test_responses_without_controls_are_labelled_by_their_strength(tmp_path: Path) -> None:
    obs = table_of(0)
    strength = np.linspace(0, 1, obs.height)
    labels, _ = labelled(store_of(tmp_path / "s", obs, 1.0, "response", tas=strength))
    assert labels is not None and "tas" in labels.method
    np.testing.assert_array_equal(labels.is_inactive, labels.effect < 0.2)


def test_responses_without_either_are_labelled_by_their_replicates(tmp_path: Path) -> None:
    labels, active = labelled(store_of(tmp_path / "s", table_of(0), 2.0, "response"))
    assert labels is not None and "replicates" in labels.method
    assert not labels.is_inactive[active].any() and labels.is_inactive[~active].mean() > 0.7


def test_single_responses_without_anything_else_are_not_labelled(tmp_path: Path) -> None:
    obs = table_of(0).filter(pl.col("batch_id") == PLATES[0])
    labels, _ = labelled(store_of(tmp_path / "s", obs, 2.0, "response"))
    assert labels is None
