"""From the p-values of a screen to false-discovery rates: one correction over all calibrated conditions."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from pertcast.multiple_testing import benjamini_hochberg

FDR_LEVELS: Final = (0.05, 0.10)
"""False-discovery rates at which a report counts hits."""


def screen_fdr(
    p_values: NDArray[np.float64], shares: NDArray[np.float64] | None = None
) -> NDArray[np.float64]:
    """Return (N,) Benjamini-Hochberg q values of (N,) p-values; NaN is not tested and stays NaN.

    With (N,) `shares` of inactive perturbations (`HitCalibration.significance`), the q values are those of
    conformal selection (Jin and Candes, JMLR 24, 2023). Without, they hold whatever share of the screen is
    inactive, at less power.
    """
    return benjamini_hochberg(p_values if shares is None else p_values * shares)


def hits_at(fdr: NDArray[np.float64]) -> dict[float, int]:
    """Return how many of (N,) conditions are hits at each of `FDR_LEVELS`; NaN is none.

    A hit: its true effect is claimed to exceed what controls show among themselves at 95 %, and at most this
    share of such claims is expected to be wrong.
    """
    return {level: int((np.nan_to_num(fdr, nan=1.0) <= level).sum()) for level in FDR_LEVELS}
