"""Measured interactions: every pair against the sum of its singles, with intervals, kinds and q-values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pertcast_data.errors import ConfigError, SchemaError
from pertcast_data.progress import ProgressCallback, no_progress

from pertcast.analysis.association import FloatArray, pearson, plain_number
from pertcast.analysis.epistasis.gram import EXCESS, pair_gram
from pertcast.analysis.epistasis.kinds import (
    KINDS,
    SIGNIFICANT,
    SMALLEST_EXCESS,
    Coefficients,
    coefficients,
    kind_of,
    span_of_singles,
)
from pertcast.analysis.epistasis.replicates import ReplicateBlocks
from pertcast.multiple_testing import benjamini_hochberg

IndexArray = NDArray[np.int64]

N_DRAWS: Final = 1000
PAIR_COLUMNS: Final = ("condition_id", "first", "second", "cell_iname", "pert_type")
"""What is known of each pair."""

BOUNDED: Final = ("c", "c1", "c2", "excess", "relative_excess", "outside_share")
"""Coefficients that get an interval in the table."""


@dataclass(frozen=True)
class PairMembers:
    """Which conditions are pairs, and which are their singles.

    Attributes
    ----------
    table
        P rows with `PAIR_COLUMNS`.
    both, first, second
        (P,) conditions of the pair and of its singles.
    own_genes
        (P, K) genes that are perturbed, -1 for none. They are left out: what a knock-out does to its own
        transcript is no response of the cell.
    """

    table: pl.DataFrame
    both: IndexArray
    first: IndexArray
    second: IndexArray
    own_genes: IndexArray

    def __post_init__(self) -> None:
        missing = [name for name in PAIR_COLUMNS if name not in self.table.columns]
        if missing:
            raise SchemaError(f"The table of pairs lacks {', '.join(missing)}.")
        sizes = {len(each) for each in (self.both, self.first, self.second, self.own_genes)}
        if sizes != {self.table.height}:
            raise SchemaError(f"The table has {self.table.height} pairs, their members {sorted(sizes)}.")

    def __len__(self) -> int:
        """P."""
        return self.table.height

    def gene_weights(self, pair: int, n_genes: int) -> FloatArray:
        """Return (G,) ones, and 0 at the genes that the pair perturbs."""
        weights = np.ones(n_genes)
        own = self.own_genes[pair]
        weights[own[own >= 0]] = 0.0
        return weights

    def excess(self, responses: FloatArray) -> FloatArray:
        """Return (P, G) pair minus the sum of its singles, of (C, G) responses; 0 at the perturbed genes."""
        found = responses[self.both] - responses[self.first] - responses[self.second]
        for pair, own in enumerate(self.own_genes):
            found[pair, own[own >= 0]] = 0.0
        return found


@dataclass(frozen=True)
class PairInteractions:
    """Interactions of P pairs.

    Attributes
    ----------
    table
        P rows: `PAIR_COLUMNS`; c, c1, c2, excess, relative_excess, outside_share, with `_low` and `_high`;
        outside_of_excess, dominance, similarity; p, q, kind; n_pair, n_first, n_second replicates;
        half_correlation. Null where undefined.
    excess
        (P, G) measured excess, float32, with its noise.
    sum_of_singles
        (P, G) sum of the singles' responses, float32.
    smallest_excess
        Relative excess below which a pair counts as additive.
    """

    table: pl.DataFrame
    excess: FloatArray
    sum_of_singles: FloatArray
    smallest_excess: float = SMALLEST_EXCESS

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kind of each pair."""
        return tuple(self.table["kind"].to_list())

    def counts(self) -> dict[str, int]:
        """Return how many pairs are of each kind, in the order of `KINDS`."""
        found = self.kinds
        return {kind: found.count(kind) for kind in KINDS}

    def to_json(self) -> list[dict[str, Any]]:
        """Return one plain row a pair."""
        rows = self.table.to_dicts()
        return [
            {name: plain_number(value) if isinstance(value, float) else value for name, value in row.items()}
            for row in rows
        ]


def pair_interactions(
    pairs: PairMembers,
    blocks: ReplicateBlocks,
    *,
    n_draws: int = N_DRAWS,
    smallest_excess: float = SMALLEST_EXCESS,
    seed: int = 0,
    progress: ProgressCallback = no_progress,
) -> PairInteractions:
    """Set every pair against the sum of its singles.

    Parameters
    ----------
    pairs
        P pairs among the C conditions of `blocks`.
    blocks
        Responses of the C conditions, in blocks of replicates.
    n_draws, seed
        Of the resampling; each pair has a stream of its own.
    smallest_excess
        Relative excess below which a pair counts as additive, whatever its q.
    progress
        Told of pairs done.

    Raises
    ------
    ConfigError
        Fewer than 100 draws are asked for, or `smallest_excess` is negative.
    SchemaError
        There are no pairs.
    """
    if n_draws < 100 or smallest_excess < 0:
        raise ConfigError(
            f"n_draws={n_draws} and smallest_excess={smallest_excess}: ask for at least 100 draws (a 95 % "
            "interval needs them) and an excess of at least 0."
        )
    if not len(pairs):
        raise SchemaError("There are no pairs with measured singles.")
    found: list[tuple[dict[str, float], dict[str, tuple[float, float]], float]] = []
    for number in range(len(pairs)):
        members = (int(pairs.both[number]), int(pairs.first[number]), int(pairs.second[number]))
        weights = pairs.gene_weights(number, blocks.n_genes)
        gram = pair_gram(blocks, members, weights, n_draws, np.random.default_rng((seed, number)))
        span = span_of_singles(gram.products, gram.draws)
        value = _single(coefficients(gram.products[None], span))
        found.append((value, coefficients(gram.draws, span).bounds(), gram.excess_p))
        progress(number + 1, len(pairs), "pairs")
    means = np.stack([blocks.response(condition) for condition in range(len(blocks.means))])
    return PairInteractions(
        table=_table(pairs, blocks, found, smallest_excess),
        excess=pairs.excess(means).astype(np.float32),
        sum_of_singles=_without_own(pairs, means[pairs.first] + means[pairs.second]).astype(np.float32),
        smallest_excess=smallest_excess,
    )


def interactions_of_responses(
    pairs: PairMembers, responses: FloatArray, *, smallest_excess: float = SMALLEST_EXCESS
) -> PairInteractions:
    """Return the interactions of (C, G) responses without noise: of a truth, or as a model predicts them.

    Every interval is a point, and a pair is additive only by the smallness of its excess.
    """
    blocks = ReplicateBlocks.exact(responses.astype(np.float64))
    return pair_interactions(pairs, blocks, n_draws=100, smallest_excess=smallest_excess)


def _single(found: Coefficients) -> dict[str, float]:
    return {field.name: float(getattr(found, field.name)[0]) for field in fields(found)}


def _without_own(pairs: PairMembers, values: FloatArray) -> FloatArray:
    for pair, own in enumerate(pairs.own_genes):
        values[pair, own[own >= 0]] = 0.0
    return values


def _table(
    pairs: PairMembers,
    blocks: ReplicateBlocks,
    found: Sequence[tuple[dict[str, float], dict[str, tuple[float, float]], float]],
    smallest_excess: float,
) -> pl.DataFrame:
    p = np.array([each[2] for each in found])
    q = benjamini_hochberg(p)
    relative = np.array([value["relative_excess"] for value, _, _ in found])
    interacting = (q <= SIGNIFICANT) & (relative >= smallest_excess)
    columns: dict[str, Any] = {}
    for name in (field.name for field in fields(Coefficients)):
        columns[name] = [value[name] for value, _, _ in found]
        if name in BOUNDED:
            columns[f"{name}_low"] = [bounds[name][0] for _, bounds, _ in found]
            columns[f"{name}_high"] = [bounds[name][1] for _, bounds, _ in found]
    numbers = pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.Float64)).fill_nan(None)
    kinds = [
        kind_of(value, bounds, bool(is_interacting))
        for (value, bounds, _), is_interacting in zip(found, interacting, strict=True)
    ]
    further = pl.DataFrame({"p": p, "q": q, "kind": kinds})
    sizes = pl.DataFrame(
        {
            f"n_{name}": blocks.n_replicates[index]
            for name, index in (("pair", pairs.both), ("first", pairs.first), ("second", pairs.second))
        }
    )
    halves = pl.DataFrame({"half_correlation": _half_correlations(pairs, blocks)}).fill_nan(None)
    known = pairs.table.select(PAIR_COLUMNS)
    return pl.concat([known, numbers, further, sizes, halves], how="horizontal")


def _half_correlations(pairs: PairMembers, blocks: ReplicateBlocks) -> FloatArray:
    """Return (P,) correlation over genes of the excess in one half of the replicates with the other half."""
    halves: dict[int, FloatArray] = {}
    result = np.full(len(pairs), np.nan)
    for number in range(len(pairs)):
        members = [int(index[number]) for index in (pairs.both, pairs.first, pairs.second)]
        for member in members:
            if member not in halves:
                halves[member] = blocks.halves(member)
        sides = np.tensordot(EXCESS, np.stack([halves[member] for member in members]), axes=1)
        kept = pairs.gene_weights(number, blocks.n_genes) > 0
        result[number] = pearson(sides[0, kept], sides[1, kept])
    return result
