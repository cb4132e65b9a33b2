"""Hits with a false-discovery rate: predicted scores against held-out conditions that were measured inactive.

`labels` tells from a store which conditions did nothing, `from_store` pairs that with what a model predicted,
`calibration` turns scores of a screen into conformal p-values (docs/hits.md).
"""

from pertcast.evaluation.hit_calibration.calibration import COLUMNS, HitCalibration
from pertcast.evaluation.hit_calibration.significance import FDR_LEVELS, hits_at, screen_fdr

__all__ = ["COLUMNS", "FDR_LEVELS", "HitCalibration", "hits_at", "screen_fdr"]
