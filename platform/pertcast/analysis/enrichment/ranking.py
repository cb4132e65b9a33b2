"""The order of genes in profiles: sorted once, ties in gene order, and passed on in whatever form is at hand.

float32 profiles are sorted as whole numbers that hold value and gene, which settles ties in the same pass
and takes half the time of an argsort.
"""

from __future__ import annotations

from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray
from pertcast_data.errors import SchemaError

_BLOCK_VALUES: Final = 1 << 18
_ALL_BUT_SIGN: Final = np.int32(0x7FFFFFFF)

GenePlaces = NDArray[np.integer[Any]]
"""(N, G) either the genes of each profile from highest to lowest, or the place of each gene."""

Ranks = NDArray[np.unsignedinteger[Any]]
"""(N, G) the place of each gene from 0 = highest, as a screen stores it."""

Integer = TypeVar("Integer", bound=np.integer[Any])


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


def inverse(genes: GenePlaces, dtype: type[Integer]) -> NDArray[Integer]:
    """Return the place of each gene given the genes in order, or the genes in order given their places.

    (n, G) both; places count from 0 = highest.
    """
    n_profiles, n_genes = genes.shape
    found = np.empty(n_profiles * n_genes, dtype=dtype)
    found[flat(genes)] = np.broadcast_to(np.arange(n_genes, dtype=dtype), genes.shape).reshape(-1)
    return found.reshape(genes.shape)


def rank_dtype(n_genes: int) -> type[np.uint16] | type[np.uint32]:
    """Return the type that a stored rank among `n_genes` has: uint16 as long as it fits."""
    return np.uint16 if n_genes <= 1 << 16 else np.uint32


def ranks_of(order: GenePlaces) -> Ranks:
    """Return the place of each gene from 0 = highest, in its stored type; (n, G) as `order`."""
    return inverse(order, rank_dtype(order.shape[1]))


def gene_ranks(profiles: NDArray[np.floating[Any]]) -> Ranks:
    """Return the place of each gene in its profile (N, G), 0 = highest, ties in gene order.

    uint16, or uint32 for more than 65,536 genes.
    """
    return ranks_of(ranked_order(profiles))
