"""Which held-out conditions were measured inactive: no larger an effect than controls show among themselves.

Three ways, the first that a store allows: its controls; control signatures, strengths (TAS) or replicates of
a store of responses. A condition that none of them can tell stays without a label.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pertcast_data.loading import ControlPairing
from pertcast_data.store import ExpressionStore, RowReader

from pertcast.evaluation.hit_calibration.control_effects import control_thresholds, measured_effects
from pertcast.evaluation.hit_calibration.response_labels import (
    by_control_signatures,
    by_replicates,
    by_strength,
)
from pertcast.evaluation.units import Units

CONTROLS_METHOD = (
    "effect (root mean square over genes of the mean response) at most the 95th percentile of controls that "
    "are drawn as the condition's profiles, as many on each plate, against the plate's controls"
)


@dataclass(frozen=True)
class ActivityLabels:
    """What was measured of N conditions.

    Attributes
    ----------
    effect
        (N,) measured effect, in the unit of `method`.
    threshold
        (N,) up to which a condition counts as inactive; NaN where that cannot be told.
    method
        In words.
    """

    effect: NDArray[np.float64]
    threshold: NDArray[np.float64]
    method: str

    @property
    def is_labelled(self) -> NDArray[np.bool_]:
        """(N,) which conditions have a label."""
        return ~(np.isnan(self.threshold) | np.isnan(self.effect))

    @property
    def is_inactive(self) -> NDArray[np.bool_]:
        """(N,) which conditions are labelled inactive."""
        found: NDArray[np.bool_] = self.is_labelled & (self.effect <= self.threshold)
        return found


def activity_labels(
    units: Units, store: ExpressionStore, reader: RowReader, pairing: ControlPairing | None, seed: int = 0
) -> ActivityLabels | None:
    """Label the conditions of some units.

    Parameters
    ----------
    units
        Held-out rows.
    store, reader
        The truth.
    pairing
        Its controls; None for measure "response".
    seed
        Of the draws of controls.

    Returns
    -------
    ActivityLabels or None
        None where the store has nothing to tell inactive conditions by.
    """
    if pairing is not None:
        means = pairing.means(reader)
        effect = measured_effects(units, reader, means, store.n_genes)
        threshold = control_thresholds(units, reader, pairing, seed)
        return ActivityLabels(effect, threshold, CONTROLS_METHOD)
    for method in (by_control_signatures, by_strength, by_replicates):
        found = method(units, store, reader, seed)
        if found is not None and not np.isnan(found.threshold).all():
            return ActivityLabels(found.effect, found.threshold, found.method)
    return None
