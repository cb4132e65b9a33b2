"""Measurement noise of condition means, estimated from replicates: its size by gene, and draws of it.

The rows of a condition carry noise of their own; the controls' noise is shared by all conditions that are
measured against the same controls (a plate). Draws keep the correlation of genes within a row.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import scipy.sparse as sparse
from numpy.typing import NDArray
from pertcast_data.loading import ControlPairing
from pertcast_data.store.readers import RowReader

from pertcast.evaluation.held_out import FloatArray, IndexArray
from pertcast.evaluation.units import Units

POOL_ROWS: Final = 512
"""At most so many rows, and so many controls, give the residuals that noise is made of."""

FEWEST_DEGREES: Final = 8
"""Rows beyond the first of their condition, summed over conditions, that an estimate needs."""

_LEAST_SHARE: Final = 0.05


@dataclass(frozen=True)
class ReplicateNoise:
    """Noise of the measured mean responses of N conditions over G genes.

    Attributes
    ----------
    row_residuals
        (K, G) float32; their mean square by gene is the variance of a single row.
    control_residuals
        (L, G) float32, the same of single controls; L is 0 where responses need no controls.
    n_rows
        (N,) rows of each condition.
    group_share
        (N, Q) which share of a condition's rows is measured against each group of controls.
    n_controls
        (Q,) controls of each group.
    """

    row_residuals: FloatArray
    control_residuals: FloatArray
    n_rows: IndexArray
    group_share: sparse.csr_matrix
    n_controls: IndexArray

    @property
    def n_conditions(self) -> int:
        """N."""
        return len(self.n_rows)

    def take(self, index: IndexArray) -> ReplicateNoise:
        """Return the noise of the conditions at `index`."""
        return replace(self, n_rows=self.n_rows[index], group_share=self.group_share[index])

    def variance(self, rows: slice = slice(None)) -> FloatArray:
        """Return (B, G) variances of the mean responses of the conditions in `rows`."""
        own = _mean_square(self.row_residuals) / self.n_rows[rows, None]
        if not len(self.control_residuals):
            return own
        shared = self.group_share[rows].power(2) @ (1 / self.n_controls)
        total: FloatArray = own + shared[:, None] * _mean_square(self.control_residuals)
        return total

    def of_halves(self) -> ReplicateNoise:
        """Return the noise of the responses from half of the rows and half of the controls."""
        return replace(
            self, n_rows=np.maximum(self.n_rows // 2, 1), n_controls=np.maximum(self.n_controls // 2, 1)
        )

    def draw(self, generator: np.random.Generator) -> FloatArray:
        """Return one (N, G) float32 draw: normal, with the covariance over genes of the residuals.

        Conditions that are measured against the same controls share the noise of their mean.
        """
        noise = _combine(self.row_residuals, self.n_rows, generator)
        if len(self.control_residuals):
            shared = _combine(self.control_residuals, self.n_controls, generator)
            noise -= self.group_share @ shared
        return noise


def _mean_square(residuals: FloatArray) -> FloatArray:
    total: FloatArray = np.einsum("ij,ij->j", residuals, residuals, dtype=np.float64) / len(residuals)
    return total


def _combine(residuals: FloatArray, sizes: IndexArray, generator: np.random.Generator) -> FloatArray:
    """Return (M, G) random combinations of residuals, with the variance of a mean of `sizes` (M,) rows."""
    factors = generator.standard_normal((len(sizes), len(residuals)), dtype=np.float32)
    factors /= np.sqrt(sizes * len(residuals), dtype=np.float32)[:, None]
    combined: FloatArray = factors @ residuals
    return combined


def _evenly(positions: IndexArray, most: int) -> IndexArray:
    if len(positions) <= most:
        return positions
    return positions[np.linspace(0, len(positions) - 1, most).astype(np.int64)]


def _group_shares(units: Units) -> tuple[sparse.csr_matrix, IndexArray]:
    """Return (N, Q) shares of control groups in the conditions' rows, and the Q groups."""
    groups, place = np.unique(units.control_group, return_inverse=True)
    rows = np.bincount(units.condition, units.n_rows, units.n_conditions)
    weights = units.n_rows / rows[units.condition]
    shape = (units.n_conditions, len(groups))
    return sparse.csr_matrix((weights, (units.condition, place)), shape), groups


def _control_residuals(pairing: ControlPairing, reader: RowReader, groups: IndexArray) -> FloatArray:
    """Return (L, G) residuals of controls from their group's mean, of groups with at least two."""
    sizes = np.bincount(pairing.group_of_control, minlength=pairing.n_groups)
    usable = np.isin(pairing.group_of_control, groups[sizes[groups] > 1])
    kept_groups = _evenly(np.unique(pairing.group_of_control[usable]), 64)
    each = max(2, POOL_ROWS // max(1, len(kept_groups)))
    parts = []
    for group in kept_groups:
        members = _evenly(pairing.members(int(group)), each)
        profiles = reader.dense(members).astype(np.float64)
        centred = profiles - profiles.mean(axis=0)
        parts.append(centred * np.sqrt(len(members) / (len(members) - 1)))
    return np.concatenate(parts).astype(np.float32) if parts else np.empty((0, 0), dtype=np.float32)


def _row_residuals(
    units: Units, reader: RowReader, truth: FloatArray, control_means: FloatArray | None
) -> tuple[FloatArray, IndexArray]:
    """Return (K, G) residuals of rows from their condition's mean response, and (K,) places of the rows."""
    condition = units.condition_of_row
    n_rows = np.bincount(condition, minlength=units.n_conditions)
    chosen = _evenly(np.flatnonzero(n_rows[condition] > 1), POOL_ROWS)
    responses = reader.dense(units.rows[chosen]).astype(np.float64)
    if control_means is not None:
        responses -= control_means[units.control_group[units.unit_of_row[chosen]]]
    return responses - truth[condition[chosen]], chosen


def _control_part(
    units: Units, share: sparse.csr_matrix, groups: IndexArray, sizes: IndexArray, chosen: IndexArray
) -> FloatArray:
    """Return (K,) how much of one control's variance is in a row's residual.

    The residual of a row of group q holds c_q - sum_g w_g c_g, c_g the error of a group's control mean with
    variance s / m_g; so 1/m_q - 2 w_q/m_q + sum_g w_g^2/m_g times s.
    """
    condition = units.condition_of_row[chosen]
    place = np.searchsorted(groups, units.control_group[units.unit_of_row[chosen]])
    own = np.asarray(share[condition, place]).ravel()
    spread = share.power(2) @ (1 / sizes)
    part: FloatArray = (1 - 2 * own) / sizes[place] + spread[condition]
    return part


def estimate_noise(
    units: Units,
    reader: RowReader,
    truth: FloatArray,
    pairing: ControlPairing | None,
    control_means: FloatArray | None,
) -> ReplicateNoise | None:
    """Estimate the noise of the mean responses of held-out conditions from their replicates.

    The variance of a row is pooled over conditions, gene by gene (moments; the controls' part is taken out
    first): single conditions have too few replicates for a variance of their own. Where no group has two
    controls, a control counts as noisy as a treated row.

    Parameters
    ----------
    units
        The held-out rows.
    reader
        Reads normalised profiles.
    truth
        (N, G) their mean responses.
    pairing, control_means
        Controls of each row and their means; None for measure "response".

    Returns
    -------
    ReplicateNoise or None
        None where fewer than 8 rows repeat another of their condition.
    """
    n_rows = np.bincount(units.condition_of_row, minlength=units.n_conditions)
    if int((n_rows - 1).sum()) < FEWEST_DEGREES:
        return None
    share, groups = _group_shares(units)
    residuals, chosen = _row_residuals(units, reader, truth, control_means)
    own = n_rows[units.condition_of_row[chosen]]
    factor = (own - 1) / own
    squares = _mean_square(residuals)
    residuals /= np.sqrt(factor)[:, None]
    if pairing is None:
        nothing = np.empty((0, truth.shape[1]), dtype=np.float32)
        rows = _rescaled(residuals, squares / factor.mean())
        return ReplicateNoise(rows, nothing, n_rows, share, np.ones(len(groups), dtype=np.int64))
    sizes = np.bincount(pairing.group_of_control, minlength=pairing.n_groups)[groups]
    part = float(_control_part(units, share, groups, sizes, chosen).mean())
    controls = _control_residuals(pairing, reader, groups)
    if not len(controls):
        rows = _rescaled(residuals, squares / (factor.mean() + part))
        return ReplicateNoise(rows, rows, n_rows, share, sizes)
    variance = np.maximum(squares - part * _mean_square(controls), _LEAST_SHARE * squares) / factor.mean()
    return ReplicateNoise(_rescaled(residuals, variance), controls, n_rows, share, sizes)


def _rescaled(residuals: FloatArray, variance: NDArray[Any]) -> FloatArray:
    squares = _mean_square(residuals)
    factor = np.sqrt(np.divide(variance, squares, out=np.zeros_like(squares), where=squares > 0))
    rescaled: FloatArray = (residuals * factor).astype(np.float32)
    return rescaled
