"""The last step of a training: what the model predicts for held-out conditions that were measured inactive.

Saved with the bundle, so that screens have p-values. `pertcast evaluate` does the same for bundles without.
"""

from __future__ import annotations

import logging
from pathlib import Path

from pertcast.evaluation.hit_calibration.calibration import HitCalibration
from pertcast.evaluation.hit_calibration.from_store import calibrate_hits
from pertcast.predictor import CALIBRATION, Predictor
from pertcast.training.bundle_supplements import add_supplement
from pertcast_data.splits import Split
from pertcast_data.store import ExpressionStore, RowReader

log = logging.getLogger(__name__)


def calibrate_bundle(
    bundle: Path,
    store: ExpressionStore,
    split: Split,
    fold: int,
    reader: RowReader,
    predictor: Predictor | None = None,
) -> HitCalibration:
    """Calibrate a bundle on the validation part of its fold, and save that with it.

    Parameters
    ----------
    bundle
        Folder of the bundle.
    store, split, fold, reader
        What it was trained on.
    predictor
        The bundle, if it is loaded already.

    Returns
    -------
    HitCalibration
        One that calibrates nothing and says why, where the validation part does not allow it.
    """
    rows = split.rows(store, fold, "validation")
    calibration = calibrate_hits(predictor or Predictor.from_bundle(bundle), store, reader, rows)
    add_supplement(bundle, CALIBRATION, calibration.to_bytes())
    if calibration.reason:
        log.info("screens with this bundle have no false-discovery rate: %s", calibration.reason)
    else:
        log.info("hits calibrated: %s", calibration.facts)
    return calibration
