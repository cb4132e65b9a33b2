"""Gene-set enrichment of whole screens: the exact running-sum score of every profile and set at once.

gseapy permutes genes for one profile at a time; a screen needs the score of all profiles. The full
permutation test stays gseapy's and is asked for the reported hits only.
"""

from __future__ import annotations

from collections.abc import Sequence

import gseapy
import numpy as np
import pandas as pd
import polars as pl
from numpy.typing import NDArray
from pertcast_data.errors import SchemaError

from pertcast.analysis.gene_sets import SetIndex

_BLOCK_VALUES = 1 << 17
_SIGN_TOLERANCE = 1e-9
_MAD_TO_SD = 1.4826
_MIN_PROFILES_FOR_Z = 10

PRERANK_SCHEMA = {
    "term": pl.String,
    "es": pl.Float64,
    "nes": pl.Float64,
    "pval": pl.Float64,
    "fdr": pl.Float64,
    "size": pl.Int64,
    "lead_genes": pl.String,
}


def ranked_order(profiles: NDArray[np.floating]) -> NDArray[np.int64]:
    """Return the genes of each profile from highest to lowest, ties in gene order.

    Parameters
    ----------
    profiles
        (N, G) float32 or float64.

    Returns
    -------
    ndarray
        (N, G) int64, positions of genes.
    """
    falling = -profiles
    order = np.argsort(falling, axis=1)
    ranked = np.take_along_axis(falling, order, axis=1)
    tied = (ranked[:, 1:] == ranked[:, :-1]).any(axis=1)
    if tied.any():
        order[tied] = np.argsort(falling[tied], axis=1, kind="stable")
    return order


def enrichment_scores(profiles: NDArray[np.floating], sets: SetIndex) -> NDArray[np.float64]:
    """Compute the weighted running-sum enrichment score of every profile and gene set.

    Subramanian et al. 2005 with weight p = 1, the maximal deviation of

        sum over members up to rank i of |x| / sum over members of |x| - (non-members up to i) / (G - K)

    Only the ranks of members are visited: the sum peaks on a member and bottoms out just before one. Ties
    are ranked in gene order; where the two extremes are equal the negative one counts (as in gseapy).

    Parameters
    ----------
    profiles
        (N, G) float32 or float64, finite.
    sets
        S gene sets over the same G genes.

    Returns
    -------
    ndarray
        (N, S) float64; NaN where all members of a set are exactly zero (no weight to distribute).

    Raises
    ------
    SchemaError
        A profile has another width, or holds NaN or infinity.
    """
    if profiles.ndim != 2 or profiles.shape[1] != sets.n_genes:
        raise SchemaError(f"Profiles of shape {profiles.shape} do not have the sets' {sets.n_genes} genes.")
    if profiles.dtype not in (np.float32, np.float64):
        profiles = profiles.astype(np.float32)
    if not np.isfinite(profiles).all():
        row = int(np.flatnonzero(~np.isfinite(profiles).all(axis=1))[0])
        raise SchemaError(f"Profile {row} holds NaN or infinite values; it has no enrichment score.")
    scores = np.empty((len(profiles), len(sets)), dtype=np.float64)
    block = max(1, _BLOCK_VALUES // max(sets.n_genes, len(sets.members)))
    for start in range(0, len(profiles), block):
        scores[start : start + block] = _block_scores(profiles[start : start + block], sets)
    return scores


def _block_scores(profiles: NDArray[np.floating], sets: SetIndex) -> NDArray[np.float64]:
    n_genes = sets.n_genes
    order = ranked_order(profiles)
    rank = np.empty(order.shape, dtype=np.uint32)
    np.put_along_axis(rank, order, np.arange(n_genes, dtype=np.uint32)[None, :], axis=1)
    set_of_member = np.repeat(np.arange(len(sets)), sets.sizes)
    base = (set_of_member * n_genes).astype(np.uint32)
    keys = rank[:, sets.members] + base
    keys.sort(axis=1)
    ranks = (keys - base).astype(np.int64)
    genes = np.take_along_axis(order, ranks, axis=1)
    weights = np.abs(np.take_along_axis(profiles, genes, axis=1)).astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        return _peak_scores(ranks, weights, set_of_member, sets)


def _peak_scores(
    ranks: NDArray[np.int64], weights: NDArray[np.float64], set_of_member: NDArray[np.int64], sets: SetIndex
) -> NDArray[np.float64]:
    """Return the extreme of each set's running sum from its members' ranks and weights, (N, T) each."""
    total = np.add.reduceat(weights, sets.starts, axis=1)
    summed = np.cumsum(weights, axis=1)
    before_set = summed[:, sets.starts] - weights[:, sets.starts]
    place = np.arange(len(sets.members)) - sets.starts[set_of_member]
    misses = (ranks - place) / (sets.n_genes - sets.sizes[set_of_member])
    hits = (summed - before_set[:, set_of_member]) / total[:, set_of_member]
    top = np.maximum.reduceat(hits - misses, sets.starts, axis=1)
    steps = weights / total[:, set_of_member]
    bottom = np.minimum(np.minimum.reduceat(hits - steps - misses, sets.starts, axis=1), 0.0)
    return np.where(top > -bottom + _SIGN_TOLERANCE, top, bottom)


def running_sum(profile: NDArray[np.floating], members: NDArray[np.integer]) -> NDArray[np.float64]:
    """Return the running sum of one set over the ranked genes of one profile, (G,) float64; for figures."""
    order = ranked_order(profile[None, :])[0]
    is_member = np.zeros(len(profile), dtype=bool)
    is_member[members] = True
    is_hit = is_member[order]
    weights = np.where(is_hit, np.abs(profile[order]).astype(np.float64), 0.0)
    total = weights.sum()
    if total == 0:
        return np.full(len(profile), np.nan)
    result: NDArray[np.float64] = np.cumsum(weights / total - ~is_hit / (len(profile) - len(members)))
    return result


def screen_z(scores: NDArray[np.floating]) -> NDArray[np.float64]:
    """Compare each score with the same set's scores over the screen.

    (ES - median) / (1.4826 MAD), a set at a time: gene permutation ignores that genes are correlated, the
    rest of the screen does not.

    Parameters
    ----------
    scores
        (N, S) enrichment scores.

    Returns
    -------
    ndarray
        (N, S) float64; NaN for sets without spread and for screens of fewer than 10 profiles.
    """
    if len(scores) < _MIN_PROFILES_FOR_Z:
        return np.full(scores.shape, np.nan)
    wide = scores.astype(np.float64)
    result = np.full(wide.shape, np.nan)
    for column in range(wide.shape[1]):
        known = wide[:, column][np.isfinite(wide[:, column])]
        if not len(known):
            continue
        centre = np.median(known)
        spread = _MAD_TO_SD * np.median(np.abs(known - centre))
        if spread > 0:
            result[:, column] = (wide[:, column] - centre) / spread
    return result


def prerank(
    profile: NDArray[np.floating],
    genes: Sequence[str],
    sets: SetIndex,
    permutations: int = 1000,
    seed: int = 0,
) -> pl.DataFrame:
    """Run gseapy's prerank on one profile: permuted gene labels, NES, p, FDR over the sets, leading edge.

    Parameters
    ----------
    profile
        (G,) finite response.
    genes
        Names of the G genes.
    sets
        S gene sets over these genes.
    permutations
        Number of permutations; the smallest p is about 1 / permutations.
    seed
        Seed of the permutations.

    Returns
    -------
    DataFrame
        term, es, nes, pval, fdr, size, lead_genes ("A;B"), in the order of `sets.names`; empty for a profile
        of one value only, which has no ranking.
    """
    if np.ptp(profile) == 0:
        return pl.DataFrame(schema=PRERANK_SCHEMA)
    order = ranked_order(np.asarray(profile)[None, :])[0]
    ranking = pd.DataFrame(
        {"gene": [genes[index] for index in order], "score": np.asarray(profile, dtype=np.float64)[order]}
    )
    tested = {name: [genes[member] for member in sets.members_of(i)] for i, name in enumerate(sets.names)}
    outcome = gseapy.prerank(
        rnk=ranking,
        gene_sets=tested,
        outdir=None,
        min_size=1,
        max_size=sets.n_genes,
        permutation_num=permutations,
        ascending=None,
        threads=1,
        no_plot=True,
        seed=seed,
        verbose=False,
    )
    return _prerank_table(outcome.res2d, sets)


def _prerank_table(found: pd.DataFrame, sets: SetIndex) -> pl.DataFrame:
    def numbers(column: str) -> list[float]:
        return [float(value) for value in found[column]]

    table = pl.DataFrame(
        {
            "term": [str(term) for term in found["Term"]],
            "es": numbers("ES"),
            "nes": numbers("NES"),
            "pval": numbers("NOM p-val"),
            "fdr": numbers("FDR q-val"),
            "lead_genes": [str(genes) for genes in found["Lead_genes"]],
        },
        schema_overrides={name: PRERANK_SCHEMA[name] for name in ("term", "lead_genes")},
    )
    order = pl.DataFrame({"term": list(sets.names), "size": sets.sizes})
    joined = order.join(table, on="term", how="left", maintain_order="left")
    return joined.select(list(PRERANK_SCHEMA)).with_columns(pl.col("es", "nes", "pval", "fdr").fill_nan(None))
