"""Profiles of different conditions that are too alike to be two measurements: exact copies, near copies.

Looked for once in a store, in bounded memory; which of them cross a border is the matter of each fold.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pertcast_data.progress import ProgressCallback, no_progress
from pertcast_data.splits.audit.likeness import Likeness, learn_likeness
from pertcast_data.splits.audit.residuals import READ_ROWS, ProfileStore, Residuals, read_residuals

MOST_SKETCHED: Final = 400_000
MOST_PRODUCTS: Final = 600_000_000_000
"""Multiplications at most; of larger stores profiles are sketched, then a sample is compared with all."""

_SKETCH_WIDTH: Final = 128
_QUERY_ROWS: Final = 512
_MOST_PAIRS: Final = 100_000
_SHARE_OF_EQUAL_REPLICATES: Final = 0.05


@dataclass(frozen=True)
class Twins:
    """Pairs of treated rows of different conditions.

    Attributes
    ----------
    exact, near
        (P, 2) int64 rows that hold the same values; rows that correlate beyond the limit of `likeness`.
    likeness
        What replicates and strangers show; None where nothing was compared.
    n_rows, n_compared
        Treated rows, and how many of them were compared with the others.
    note
        Why something could not be told, "" where everything could.
    """

    exact: NDArray[np.int64]
    near: NDArray[np.int64]
    likeness: Likeness | None
    n_rows: int
    n_compared: int
    note: str = ""


def find_twins(
    store: ProfileStore,
    progress: ProgressCallback = no_progress,
    most_products: int = MOST_PRODUCTS,
    seed: int = 0,
) -> Twins:
    """Find treated profiles of different conditions that are copies of each other.

    Exact: equal in every stored value. Near: the correlation of the profiles, each minus the mean of its
    context, lies beyond what replicates of one condition and strangers show (`learn_likeness`). Profiles that
    hold next to nothing are passed over: they are equal by chance.

    Parameters
    ----------
    store
        A store; its treated rows are read twice.
    progress
        Told rows read.
    most_products
        Bounds the work: above, profiles are compared by random projections onto 128 directions
        (Johnson-Lindenstrauss) and candidates again in full; still above, a sample drawn with `seed` is
        compared with all.
    """
    residuals = read_residuals(store, progress)
    condition = store.condition_of_row[residuals.rows]
    telling = np.flatnonzero(residuals.tells)
    n_rows = len(residuals.rows)
    if len(telling) < 2:
        return _nothing(n_rows, "the profiles hold too few values to be told apart")
    exact, share_equal = _equal_pairs(residuals.digest[telling], condition[telling])
    if share_equal > _SHARE_OF_EQUAL_REPLICATES:
        return _nothing(
            n_rows, f"{share_equal:.0%} of replicates are equal to the last bit: there is no noise"
        )
    random = np.random.default_rng(seed)
    kept = np.sort(random.permutation(telling)[:MOST_SKETCHED])
    profiles = _profiles(residuals, kept, most_products, random, progress)
    n_queries = int(min(len(kept), max(1, most_products // (len(kept) * profiles.shape[1]))))
    queries = np.sort(random.permutation(len(kept))[:n_queries])
    likeness = learn_likeness(profiles, condition[kept], random)
    is_sketch = profiles.shape[1] < residuals.n_genes
    candidates = _close_pairs(profiles, queries, condition[kept], _first_limit(likeness.limit, is_sketch))
    if is_sketch:
        correlation = _exact_correlation(residuals, kept, candidates)
        candidates = candidates[correlation > likeness.limit]
    near = residuals.rows[kept[candidates]]
    note = "" if n_queries == n_rows else _told_of_few(n_queries, n_rows, n_telling=len(telling))
    return Twins(residuals.rows[telling[exact]], near, likeness, n_rows, n_queries, note)


def _told_of_few(n_queries: int, n_rows: int, *, n_telling: int) -> str:
    why = "hold enough values to be told apart" if n_queries == n_telling else "were compared (a sample)"
    return f"only {n_queries:,} of {n_rows:,} profiles {why}"


def _nothing(n_rows: int, note: str) -> Twins:
    empty = np.zeros((0, 2), np.int64)
    return Twins(empty, empty, None, n_rows, 0, note)


def _equal_pairs(digest: NDArray[np.uint64], condition: NDArray[Any]) -> tuple[NDArray[np.int64], float]:
    """Return pairs of equal rows of different conditions, and the share of rows equal to a replicate."""
    order = np.lexsort((condition, digest))
    equal = digest[order][1:] == digest[order][:-1]
    same = condition[order][1:] == condition[order][:-1]
    pairs = np.column_stack([order[:-1], order[1:]])
    return pairs[equal & ~same].astype(np.int64), float((equal & same).sum() / len(digest))


def _profiles(
    residuals: Residuals,
    kept: NDArray[np.int64],
    most_products: int,
    random: np.random.Generator,
    progress: ProgressCallback,
) -> NDArray[np.float32]:
    """Return (N, D) float32: residuals, or sketches of them where the work would be too much."""
    n_genes = residuals.n_genes
    whole = n_genes <= _SKETCH_WIDTH or len(kept) ** 2 * n_genes <= most_products
    width = n_genes if whole else _SKETCH_WIDTH
    directions = random.standard_normal((n_genes, 0 if whole else width)).astype(np.float32)
    profiles = np.empty((len(kept), width), np.float32)
    for start in range(0, len(kept), READ_ROWS):
        block = residuals.block(kept[start : start + READ_ROWS])
        profiles[start : start + READ_ROWS] = block if whole else _unit(block @ directions)
        progress(min(start + READ_ROWS, len(kept)), len(kept), "profiles compared")
    return profiles


def _unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    length = np.linalg.norm(rows, axis=1, keepdims=True).astype(np.float32)
    return (rows / np.where(length > 0, length, 1)).astype(np.float32)


def _first_limit(limit: float, is_sketch: bool) -> float:
    """Return the limit for candidates: on Fisher's scale four standard errors lower for a sketch."""
    slack = 4 / np.sqrt(_SKETCH_WIDTH - 3) if is_sketch else 0.0
    return float(np.tanh(np.arctanh(limit) - slack))


def _close_pairs(
    profiles: NDArray[np.float32], queries: NDArray[np.int64], condition: NDArray[Any], limit: float
) -> NDArray[np.int64]:
    """Return (P, 2) places of rows of different conditions whose correlation is above `limit`."""
    found: list[NDArray[np.int64]] = []
    n_found = 0
    asked = np.zeros(len(profiles), bool)
    asked[queries] = True
    for start in range(0, len(queries), _QUERY_ROWS):
        chosen = queries[start : start + _QUERY_ROWS]
        correlation = profiles[chosen] @ profiles.T
        correlation[np.arange(len(chosen)), chosen] = 0
        close = np.flatnonzero(correlation.max(axis=1) > limit)
        one, two = np.nonzero(correlation[close] > limit)
        one = chosen[close[one]]
        strangers = (condition[one] != condition[two]) & ((one < two) | ~asked[two])
        found.append(np.column_stack([one, two])[strangers].astype(np.int64))
        n_found += len(found[-1])
        if n_found > _MOST_PAIRS:
            break
    return np.concatenate(found)[:_MOST_PAIRS]


def _exact_correlation(
    residuals: Residuals, kept: NDArray[np.int64], pairs: NDArray[np.int64]
) -> NDArray[np.float32]:
    correlation = np.zeros(len(pairs), np.float32)
    for start in range(0, len(pairs), READ_ROWS):
        one, two = (residuals.block(kept[pairs[start : start + READ_ROWS, side]]) for side in (0, 1))
        correlation[start : start + READ_ROWS] = (one * two).sum(axis=1)
    return correlation
