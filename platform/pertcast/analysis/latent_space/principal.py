"""Principal components, by the eigenvectors of the smaller of the two matrices of products."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pertcast_data.errors import SchemaError
from scipy.linalg import eigh

from pertcast.analysis.association import FloatArray

_LEAST_SHARE = 1e-10


@dataclass(frozen=True)
class PrincipalAxes:
    """Axes along which profiles vary most.

    Attributes
    ----------
    mean
        (G,) of the profiles that the axes were fitted on.
    axes
        (k, G) orthonormal; each points where its largest entry is positive.
    share
        (k,) share of the variance along each.
    """

    mean: FloatArray
    axes: FloatArray
    share: FloatArray

    def project(self, values: FloatArray) -> FloatArray:
        """Return the (N, k) float64 coordinates of (N, G) profiles."""
        found: FloatArray = (values.astype(np.float64) - self.mean) @ self.axes.T
        return found


def principal_axes(values: FloatArray, most: int) -> PrincipalAxes:
    """Return the first principal axes of (N, G) profiles: as many as vary, at most `most`.

    From the eigenvalues of X X' or X' X, whichever is smaller: the singular value decomposition of the
    centred X.

    Raises
    ------
    SchemaError
        There are fewer than two profiles, or they do not differ.
    """
    if values.ndim != 2 or len(values) < 2:
        raise SchemaError(f"Profiles of shape {values.shape} have no principal axes; give at least two rows.")
    mean = values.mean(axis=0, dtype=np.float64)
    centred = values - mean
    is_wide = centred.shape[0] < centred.shape[1]
    products = centred @ centred.T if is_wide else centred.T @ centred
    total = float(np.trace(products))
    if not total > 0:
        raise SchemaError("Profiles are all equal: they have no principal axes.")
    count = min(most, len(products))
    squares, vectors = eigh(products, subset_by_index=(len(products) - count, len(products) - 1))
    order = np.argsort(-squares, kind="stable")
    kept = order[squares[order] > _LEAST_SHARE * total]
    axes = (vectors[:, kept].T @ centred if is_wide else vectors[:, kept].T).astype(np.float64)
    axes /= np.sqrt(np.square(axes).sum(axis=1))[:, None]
    largest = np.take_along_axis(axes, np.abs(axes).argmax(axis=1)[:, None], axis=1)
    return PrincipalAxes(mean, axes * np.sign(largest), squares[kept] / total)
