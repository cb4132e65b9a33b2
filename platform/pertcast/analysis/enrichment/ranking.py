"""The order of genes in profiles: sorted once, ties in gene order, and passed on in whatever form is at hand.

float32 profiles are sorted as whole numbers that hold value and gene, which settles ties in the same pass
and takes half the time of an argsort.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pertcast_data.errors import SchemaError

_BLOCK_VALUES: Final = 1 << 18
_ALL_BUT_SIGN: Final = np.int32(0x7FFFFFFF)

GenePlaces = NDArray[np.integer[Any]]
"""(N, G) either the genes of each profile from highest to lowest, or the place of each gene."""


def ranked_order(profiles: NDArray[np.floating]) -> NDArray[np.int64]:
    """Return the genes of each profile from highest to lowest, ties in gene order.

    Parameters
    ----------
    profiles
        (N, G) float32 or float64, finite.

    Returns
    -------
    ndarray
        (N, G) int64, positions of genes.
    """
    if profiles.dtype != np.float32:
        return _order_by_argsort(profiles)
    order = np.empty(profiles.shape, dtype=np.int64)
    rows = max(1, _BLOCK_VALUES // max(profiles.shape[1], 1))
    for start in range(0, len(profiles), rows):
        order[start : start + rows] = sorted_genes(profiles[start : start + rows])
    return order


def sorted_genes(profiles: NDArray[np.float32]) -> NDArray[np.int32]:
    """Return what `ranked_order` does of a block of float32 profiles, as a view of int32."""
    n_profiles, n_genes = profiles.shape
    # 0 - x, not -x: zeros of both signs become the same number.
    bits = np.subtract(np.float32(0), profiles).view(np.int32)
    # Bits of negative floats fall as the value rises; all but the sign turned over, they rise with it.
    turned = bits >> 31
    turned &= _ALL_BUT_SIGN
    keys = np.empty((n_profiles, n_genes), dtype="<i8")
    halves = keys.view("<i4").reshape(n_profiles, n_genes, 2)
    np.bitwise_xor(bits, turned, out=halves[..., 1])
    halves[..., 0] = np.arange(n_genes, dtype=np.int32)
    keys.sort(axis=1)
    genes: NDArray[np.int32] = halves[..., 0]
    return genes


def _order_by_argsort(profiles: NDArray[np.floating]) -> NDArray[np.int64]:
    falling = -profiles
    order = np.argsort(falling, axis=1)
    ranked = np.take_along_axis(falling, order, axis=1)
    tied = (ranked[:, 1:] == ranked[:, :-1]).any(axis=1)
    if tied.any():
        order[tied] = np.argsort(falling[tied], axis=1, kind="stable")
    return order


def checked_profiles(profiles: NDArray[np.floating], n_genes: int) -> NDArray[np.floating]:
    """Return finite profiles (N, G) in float32 or float64.

    Raises
    ------
    SchemaError
        A profile has another width, or holds NaN or infinity.
    """
    if profiles.ndim != 2 or profiles.shape[1] != n_genes:
        raise SchemaError(f"Profiles of shape {profiles.shape} do not have the sets' {n_genes} genes.")
    if profiles.dtype not in (np.float32, np.float64):
        profiles = profiles.astype(np.float32)
    if not np.isfinite(profiles).all():
        row = int(np.flatnonzero(~np.isfinite(profiles).all(axis=1))[0])
        raise SchemaError(f"Profile {row} holds NaN or infinite values; it has no enrichment score.")
    return np.ascontiguousarray(profiles)


def checked_places(places: GenePlaces | None, shape: tuple[int, ...], name: str) -> GenePlaces | None:
    """Return a caller's order or ranks of genes.

    Raises
    ------
    SchemaError
        Its shape is not that of the profiles, or it names a gene or a place that does not exist.
    """
    if places is None:
        return None
    if places.shape != shape:
        raise SchemaError(f"`{name}` of shape {places.shape} does not belong to profiles of shape {shape}.")
    if places.size and (places.min() < 0 or places.max() >= shape[1]):
        raise SchemaError(
            f"`{name}` holds values outside of 0 to {shape[1] - 1}: give one place to each gene."
        )
    return places


def flat(genes: GenePlaces) -> NDArray[np.int64]:
    """Return where the genes (n, G) of each profile stand in the flattened block, (n * G,)."""
    n_profiles, n_genes = genes.shape
    result = np.arange(n_profiles, dtype=np.int64)[:, None] * n_genes + genes
    flattened: NDArray[np.int64] = result.reshape(-1)
    return flattened


def places_of(order: GenePlaces) -> NDArray[np.uint32]:
    """Return the place of each gene from 0 = highest, given the genes in order; (n, G) both."""
    n_profiles, n_genes = order.shape
    places = np.empty(n_profiles * n_genes, dtype=np.uint32)
    places[flat(order)] = np.broadcast_to(np.arange(n_genes, dtype=np.uint32), order.shape).reshape(-1)
    return places.reshape(order.shape)
