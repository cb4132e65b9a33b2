"""Pair against the sum of its singles, as a table: sizes, coefficients, kind in words, genes of the excess.

A screen predicts pair and singles in the same context with the same model, so that what the model gets wrong
about a single is not taken for an interaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pertcast_data.errors import ConfigError, SchemaError

from pertcast.analysis.epistasis.kinds import (
    ADDITIVE,
    NEOMORPHISM,
    SMALLEST_EXCESS,
    SUPPRESSION,
    SYNERGY,
    UNRESOLVED,
)
from pertcast.analysis.hits import TOP_GENES
from pertcast.analysis.pair_excess.products import FloatArray, PairProducts, pair_products

DOMINANT: Final = 0.5
"""log10 of the ratio of coefficients from which one single dominates: threefold."""

_BALANCED: Final = 1e-6
"""A projection c so near 1 is neither more nor less than the sum."""
_BLOCK_VALUES: Final = 1 << 18

PAIR_SCHEMA: Final = {
    "first_size": pl.Float64,
    "second_size": pl.Float64,
    "additive_size": pl.Float64,
    "excess_size": pl.Float64,
    "relative_excess": pl.Float64,
    "excess_share": pl.Float64,
    "additive_cosine": pl.Float64,
    "similarity": pl.Float64,
    "c": pl.Float64,
    "c1": pl.Float64,
    "c2": pl.Float64,
    "fit_r2": pl.Float64,
    "dominance": pl.Float64,
    "dominant_single": pl.String,
    "kind": pl.String,
    "excess_top_up": pl.String,
    "excess_top_down": pl.String,
}


def pair_excess(
    pair: NDArray[np.floating],
    first: NDArray[np.floating],
    second: NDArray[np.floating],
    genes: Sequence[str],
    *,
    own_genes: NDArray[np.integer] | None = None,
    smallest_excess: float = SMALLEST_EXCESS,
    n_top: int = TOP_GENES,
) -> pl.DataFrame:
    """Set predicted pairs against the sums of their predicted singles.

    With responses d of the pair, a and b of its singles, A = a + b and excess E = d - A. An excess that
    rounding in single precision explains (below 1e-4 of the three responses' length) counts as exactly 0.

    Parameters
    ----------
    pair, first, second
        (M, G) predicted responses in the same contexts, before any rounding to half precision.
    genes
        Names of the G genes.
    own_genes
        (M, K) places of genes that a pair perturbs, -1 for none: they are left out, as of measured pairs.
        None leaves no gene out.
    smallest_excess
        Relative excess below which a pair is additive.
    n_top
        Genes named on each side.

    Returns
    -------
    DataFrame
        `PAIR_SCHEMA`, a row a pair, null where undefined. first_size, second_size, additive_size,
        excess_size: root mean squares over genes of a, b, A and E, in the response's unit; relative_excess:
        |E| / sqrt(|d|^2 + |A|^2), which `kind` is judged by, the same for twice and half the sum;
        excess_share: |E|^2 / (|E|^2 + |A|^2), from 0 (additive) to 1 (nothing but excess);
        additive_cosine: of d with A; similarity: cosine of a with b; c: <d, A> / |A|^2; c1 and c2: least
        squares of d on a and b (Norman et al. 2019), null where these are one direction or zero; fit_r2:
        share of |d|^2 that the regression explains; dominance: |log10(|c1| / |c2|)|; dominant_single:
        "first" or "second" where its coefficient is at least threefold and the pair is not additive; kind:
        a word of `epistasis.KINDS`; excess_top_up and excess_top_down: genes of the excess, "A;B".

    Raises
    ------
    SchemaError
        Shapes do not fit, or responses are not finite.
    ConfigError
        `smallest_excess` or `n_top` is negative.
    """
    _require(pair, first, second, genes)
    _require_own(own_genes, pair.shape)
    if smallest_excess < 0 or n_top < 0:
        raise ConfigError(f"smallest_excess={smallest_excess:g}, n_top={n_top}: give 0 or more.")
    names = np.array(genes, dtype=object)
    step = max(1, _BLOCK_VALUES // max(len(genes), 1))
    frames = []
    for start in range(0, len(pair), step):
        part = slice(start, start + step)
        own = None if own_genes is None else own_genes[part]
        both, one, other, n_genes = _widened(pair[part], first[part], second[part], own)
        found, excess = pair_products(both, one, other, n_genes)
        frames.append(_frame(found, smallest_excess, _top_genes(excess, found, names, n_top)))
    return pl.concat(frames) if frames else pl.DataFrame(schema=PAIR_SCHEMA)


def _require(
    pair: NDArray[np.floating],
    first: NDArray[np.floating],
    second: NDArray[np.floating],
    genes: Sequence[str],
) -> None:
    shapes = {each.shape for each in (pair, first, second)}
    if len(shapes) > 1 or pair.ndim != 2 or pair.shape[1] != len(genes):
        raise SchemaError(
            f"Pairs {pair.shape}, first singles {first.shape}, second singles {second.shape} and "
            f"{len(genes)} genes do not fit: give (pairs, genes) of each."
        )
    for title, values in (("pair", pair), ("first single", first), ("second single", second)):
        if not np.isfinite(values.sum(dtype=np.float64)):
            row = int(np.flatnonzero(~np.isfinite(values).all(axis=1))[0])
            raise SchemaError(f"The response of the {title} in row {row} is not finite: leave the pair out.")


def _require_own(own_genes: NDArray[np.integer] | None, shape: tuple[int, ...]) -> None:
    if own_genes is None:
        return
    if own_genes.ndim != 2 or len(own_genes) != shape[0]:
        raise SchemaError(f"Perturbed genes have shape {own_genes.shape}: give (pairs, genes a pair).")
    if own_genes.max(initial=-1) >= shape[1]:
        row = int(np.flatnonzero((own_genes >= shape[1]).any(axis=1))[0])
        raise SchemaError(f"Pair {row} perturbs gene {own_genes[row].max()} of only {shape[1]} genes.")


def _widened(
    pair: NDArray[np.floating],
    first: NDArray[np.floating],
    second: NDArray[np.floating],
    own_genes: NDArray[np.integer] | None,
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Return the responses in double precision, 0 at perturbed genes, and (M,) how many genes count."""
    both, one, other = (each.astype(np.float64) for each in (pair, first, second))
    n_genes = np.full(len(both), float(both.shape[1]))
    if own_genes is not None:
        row, member = np.nonzero(own_genes >= 0)
        is_out = np.zeros(both.shape, dtype=bool)
        is_out[row, own_genes[row, member]] = True
        n_genes -= is_out.sum(axis=1)
        for each in (both, one, other):
            each[is_out] = 0.0
    return both, one, other, np.maximum(n_genes, 1.0)


def _frame(found: PairProducts, smallest_excess: float, top: tuple[list[str], list[str]]) -> pl.DataFrame:
    """Return the table of a block."""
    kind = _kinds(found, smallest_excess)
    with np.errstate(divide="ignore", invalid="ignore"):
        lean = np.log10(np.abs(found.c1) / np.abs(found.c2))
    is_told = (kind != ADDITIVE) & (np.abs(lean) >= DOMINANT)
    columns: dict[str, Any] = {
        field.name: getattr(found, field.name) for field in fields(PairProducts) if field.name in PAIR_SCHEMA
    }
    columns["dominance"] = np.where(np.isfinite(lean), np.abs(lean), np.nan)
    columns["dominant_single"] = np.where(is_told, np.where(lean > 0, "first", "second"), "")
    columns["kind"] = kind
    columns["excess_top_up"], columns["excess_top_down"] = top
    table = pl.DataFrame(columns, schema_overrides=PAIR_SCHEMA).select(PAIR_SCHEMA.keys())
    return table.fill_nan(None).with_columns(pl.col("dominant_single").replace("", None))


def _kinds(found: PairProducts, smallest_excess: float) -> NDArray[np.str_]:
    """Return the kind of each pair: as of a measured pair whose every interval is a point.

    Without a sum (both singles zero, or opposite) c is undefined, and what the pair does is new.
    """
    is_additive = (found.relative_excess < smallest_excess) | (found.excess_size == 0)
    return np.select(
        [
            is_additive,
            found.outside_of_excess >= 0.5,
            found.c > 1 + _BALANCED,
            found.c < 1 - _BALANCED,
            found.fit_r2 < 1 - _BALANCED,
        ],
        [ADDITIVE, NEOMORPHISM, SYNERGY, SUPPRESSION, NEOMORPHISM],
        UNRESOLVED,
    )


def _top_genes(
    excess: FloatArray, found: PairProducts, names: NDArray[np.object_], n_top: int
) -> tuple[list[str], list[str]]:
    """Name the genes with the largest excess upwards and downwards, the largest first."""
    n_pairs, n_genes = excess.shape
    n_top = min(n_top, n_genes)
    if not n_top:
        return [""] * n_pairs, [""] * n_pairs
    single = np.where(found.excess_size[:, None] > 0, excess, 0.0).astype(np.float32)
    split = np.argpartition(single, sorted({n_top - 1, n_genes - n_top}), axis=1)
    tails = np.sort(split[:, n_genes - n_top :], axis=1), np.sort(split[:, :n_top], axis=1)
    return (
        _named(-np.take_along_axis(single, tails[0], axis=1), tails[0], names),
        _named(np.take_along_axis(single, tails[1], axis=1), tails[1], names),
    )


def _named(values: NDArray[np.float32], picked: NDArray[np.int64], names: NDArray[np.object_]) -> list[str]:
    """Join the names of negative values, the least first, ties in the order of genes."""
    order = np.argsort(values, axis=1, kind="stable")
    counts = (values < 0).sum(axis=1)
    rows = names[np.take_along_axis(picked, order, axis=1)]
    return [";".join(row[:count]) for row, count in zip(rows.tolist(), counts.tolist(), strict=True)]
