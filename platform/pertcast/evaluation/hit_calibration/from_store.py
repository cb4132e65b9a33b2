"""Calibrate a model's hits on held-out rows of a store: what it predicts for what was measured inactive."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import polars as pl
from pertcast_data.errors import PertcastError
from pertcast_data.loading import ControlPairing, pair_controls
from pertcast_data.splits.identity import perturbation_members
from pertcast_data.store import ExpressionStore, RowReader
from pertcast_data.vocabulary import PAIR_SEPARATOR

from pertcast.effect_size import effect_sizes
from pertcast.encoding.condition_frame import condition_frame, convert_units
from pertcast.evaluation.held_out import IndexArray
from pertcast.evaluation.hit_calibration.calibration import COLUMNS, SCHEMA, HitCalibration
from pertcast.evaluation.hit_calibration.labels import activity_labels
from pertcast.evaluation.hit_calibration.strata import FEWEST_CLUSTERS
from pertcast.evaluation.units import Units, lay_out_units

if TYPE_CHECKING:
    from pertcast.predictor import Predictor

MOST_CONDITIONS: Final = 20_000
"""Conditions that are calibrated with; of more, perturbations are drawn."""

_ASKED: Final = (
    "cell_iname",
    "pert_type",
    "pert_id",
    "cmap_name",
    "pert_dose",
    "pert_dose_unit",
    "pert_time",
    "pert_time_unit",
    "canonical_smiles",
    "inchi_key",
    "targets",
)


def clusters_of(conditions: pl.DataFrame) -> IndexArray:
    """Return (N,) the number of each condition's perturbation, by what it is and not how it is written."""
    names = [PAIR_SEPARATOR.join(members) for members in perturbation_members(conditions)]
    return np.unique(np.array(names), return_inverse=True)[1].reshape(-1).astype(np.int64)


def predicted_effects(predictor: Predictor, conditions: pl.DataFrame, seed: int = 0) -> pl.DataFrame:
    """Predict conditions as a screen does: no plate is named.

    Returns
    -------
    DataFrame
        `COLUMNS`, and `row`, the row in `conditions`, of those that can be predicted.
    """
    table = conditions.select(name for name in _ASKED if name in conditions.columns)
    found = predictor.predict(table, seed=seed, on_error="collect")
    converted, _ = convert_units(condition_frame(found.table))
    return found.table.with_columns(
        converted["pert_dose"],
        converted["pert_time"],
        effect_size=pl.Series(effect_sizes(found.mean)),
        row=pl.Series(found.rows),
    ).select(*COLUMNS, "row")


def calibrate_hits(
    predictor: Predictor,
    store: ExpressionStore,
    reader: RowReader,
    rows: IndexArray,
    seed: int = 0,
) -> HitCalibration:
    """Calibrate a model's predicted effects with held-out rows.

    Parameters
    ----------
    predictor
        The model, as a screen uses it.
    store, reader
        The truth.
    rows
        Treated rows that were neither trained on nor are tested: the validation part of the fold.
    seed
        Of the draws of controls and of perturbations, where there are very many.

    Returns
    -------
    HitCalibration
        One that calibrates nothing and says why, where the rows do not allow a calibration.
    """
    if not len(rows):
        return HitCalibration.none("the split holds no validation part out")
    try:
        pairing = pair_controls(store) if store.measure == "expression" else None
        units = _few_enough(lay_out_units(store, rows, pairing), seed)
        return _calibrate(predictor, store, reader, units, pairing, seed)
    except PertcastError as error:
        return HitCalibration.none(f"the validation part cannot be used: {error}")


def _few_enough(units: Units, seed: int) -> Units:
    """Return the units of whole perturbations drawn at random, at most `MOST_CONDITIONS` conditions."""
    if units.n_conditions <= MOST_CONDITIONS:
        return units
    cluster = clusters_of(units.conditions)
    sizes = np.bincount(cluster)
    order = np.random.default_rng(seed).permutation(len(sizes))
    kept = order[np.cumsum(sizes[order]) <= MOST_CONDITIONS]
    return units.select_conditions(np.isin(cluster, kept))


def _calibrate(
    predictor: Predictor,
    store: ExpressionStore,
    reader: RowReader,
    units: Units,
    pairing: ControlPairing | None,
    seed: int,
) -> HitCalibration:
    labels = activity_labels(units, store, reader, pairing, seed)
    if labels is None:
        return HitCalibration.none(
            "nothing in the store tells what is inactive: no controls, control signatures, TAS or replicates"
        )
    predicted = predicted_effects(predictor, units.conditions, seed)
    place = predicted["row"].to_numpy()
    inside = predicted["is_in_domain"].to_numpy().astype(np.bool_)
    labelled, inactive = labels.is_labelled[place] & inside, labels.is_inactive[place] & inside
    cluster = clusters_of(units.conditions)[place]
    facts: dict[str, Any] = {
        "method": labels.method,
        "n_conditions": units.n_conditions,
        "n_predicted": len(place),
        "n_in_domain": int(inside.sum()),
        "n_labelled": int(labelled.sum()),
        "n_inactive": int(inactive.sum()),
        "n_inactive_perturbations": len(np.unique(cluster[inactive])),
    }
    table = predicted.with_columns(cluster=pl.Series(cluster), is_inactive=pl.Series(inactive))
    found = HitCalibration(table.filter(pl.Series(labelled)).select(list(SCHEMA)), facts)
    if found.n_strata:
        return found
    return HitCalibration.none(
        f"{facts['n_inactive_perturbations']} perturbations of the validation part were measured inactive, "
        f"{FEWEST_CLUSTERS} are needed in one cell line and type",
        facts,
    )
