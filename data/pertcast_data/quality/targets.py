"""Did the perturbation hit: the change of the target's own gene, beside the same gene elsewhere.

Knock-down, knock-out down; activation and over-expression up. What other conditions of the same line and kind
do to that gene is the null: it tells batch effects and noisy genes from a hit.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pertcast_data.quality.design import Design
from pertcast_data.quality.effects import STRONG
from pertcast_data.readers.spill import scratch_array
from pertcast_data.vocabulary import PAIR_SEPARATOR

EXPECTED_SIGN: Final = MappingProxyType({"trt_sh": -1, "trt_xpr": -1, "trt_act": 1, "trt_oe": 1})
"""Kind of perturbation -> sign of its target's change."""

_FEW_OTHERS: Final = 5
_BLOCK_VALUES: Final = 1 << 21


@dataclass(frozen=True)
class OwnGenes:
    """Pairs of a genetic condition and a target of it that is a gene of the matrix.

    Attributes
    ----------
    group
        (P,) which of the measured conditions.
    gene
        (P,) column of the matrix.
    n_genetic, n_testable
        Measured genetic conditions, and those with a measured target, by kind of perturbation.
    """

    group: NDArray[np.int64]
    gene: NDArray[np.int64]
    n_genetic: dict[str, int]
    n_testable: dict[str, int]


def own_genes(design: Design, var: pl.DataFrame) -> OwnGenes:
    """Find the targets of the measured conditions among the genes, by symbol or id in any case."""
    names = pl.concat(
        [
            pl.DataFrame({"name": var[column].cast(pl.String), "gene": np.arange(var.height)})
            for column in ("gene_symbol", "gene_id")
            if column in var.columns
        ]
    )
    names = (
        names.drop_nulls()
        .with_columns(pl.col("name").str.to_uppercase())
        .unique("name", keep="first", maintain_order=True)
    )
    measured = design.conditions[design.real.conditions.tolist()].select("pert_type", "targets")
    genetic = measured.with_row_index("group").filter(pl.col("pert_type").is_in(list(EXPECTED_SIGN)))
    found = (
        genetic.with_columns(name=pl.col("targets").str.to_uppercase().str.split(PAIR_SEPARATOR))
        .explode("name")
        .with_columns(pl.col("name").str.strip_chars())
        .join(names, on="name", how="inner", maintain_order="left")
        .unique(["group", "gene"], maintain_order=True)
    )
    testable = found.unique("group")
    return OwnGenes(
        group=found["group"].to_numpy().astype(np.int64),
        gene=found["gene"].to_numpy().astype(np.int64),
        n_genetic=dict(genetic["pert_type"].value_counts().iter_rows()),
        n_testable=dict(testable["pert_type"].value_counts().iter_rows()),
    )


class TargetChanges:
    """Mean z of all target genes in all genetic conditions, kept while blocks of conditions go by."""

    def __init__(self, design: Design, own: OwnGenes) -> None:
        kinds = design.conditions["pert_type"].fill_null("").cast(pl.String).to_numpy()
        self._design, self._own = design, own
        self._kind = kinds[design.real.conditions]
        self._genetic = np.flatnonzero(np.isin(self._kind, list(EXPECTED_SIGN)))
        self._genes = np.unique(own.gene)
        self._z = scratch_array((len(self._genetic), len(self._genes)), np.float32)

    def visit(self, groups: slice, mean: NDArray[np.float32]) -> None:
        """Keep what belongs to genetic conditions and target genes."""
        begin, end = np.searchsorted(self._genetic, [groups.start, groups.stop])
        if end > begin and len(self._genes):
            rows = self._genetic[begin:end] - groups.start
            self._z[begin:end] = mean[np.ix_(rows, self._genes)]

    def table(
        self, sizes: NDArray[np.int64], spreads: NDArray[np.float32], is_level: bool, scale: float
    ) -> pl.DataFrame:
        """Return one row a pair of condition and target gene.

        Parameters
        ----------
        sizes
            (K,) rows of each measured condition.
        spreads
            (contexts, G) units of z.
        is_level
            Whether z is against controls; else it is against other conditions where there are enough.
        scale
            From units of the values to those of `change` (1 / ln 2 for natural logarithms).

        Returns
        -------
        pl.DataFrame
            group, gene, pert_type, change, z (mean z * sqrt n), z_of_others (against the mean and deviation
            of the same gene in other conditions of the line and kind; null below five), toward (the z that
            is judged, times the expected sign), is_expected (the sign), is_seen (|z| >= 2 the expected way),
            others_expected, others_seen (share of the other conditions that go that way), n_others.
        """
        own = self._own
        at = np.searchsorted(self._genetic, own.group)
        column = np.searchsorted(self._genes, own.gene)
        context = self._design.context_of_condition[self._design.real.conditions]
        others = _Others(len(own.group))
        strata = np.stack(
            [context[self._genetic], np.unique(self._kind, return_inverse=True)[1][self._genetic]]
        )
        _, stratum = np.unique(strata, axis=1, return_inverse=True)
        stratum = stratum.reshape(-1)
        weights = np.sqrt(sizes[self._genetic])
        for number in range(int(stratum.max(initial=-1)) + 1):
            rows = np.flatnonzero((stratum == number) & (weights > 0))
            if len(rows):
                sign = EXPECTED_SIGN[str(self._kind[self._genetic[rows[0]]])]
                self._compare(rows, weights[rows], sign, at, column, others, is_level)
        mean = np.asarray(self._z[at, column], np.float64) if len(at) else np.zeros(0)
        z = mean * np.sqrt(sizes[own.group])
        signs = np.array([EXPECTED_SIGN[str(kind)] for kind in self._kind[own.group]], np.int64)
        judged = z if is_level else np.where(np.isnan(others.z), z, others.z)
        told = sizes[own.group] > 0
        frame = pl.DataFrame(
            {
                "group": own.group,
                "gene": own.gene,
                "pert_type": pl.Series(self._kind[own.group].tolist(), dtype=pl.String),
                "change": mean * spreads[context[own.group], own.gene] * scale,
                "z": z,
                "z_of_others": others.z,
                "toward": judged * signs,
                "is_expected": judged * signs > 0,
                "is_seen": judged * signs >= STRONG,
                "others_expected": others.expected,
                "others_seen": others.seen,
                "n_others": others.count,
            }
        )
        return frame.filter(pl.Series(told)).fill_nan(None)

    def _compare(
        self,
        rows: NDArray[np.int64],
        weights: NDArray[np.float64],
        sign: int,
        at: NDArray[np.int64],
        column: NDArray[np.int64],
        others: _Others,
        is_level: bool,
    ) -> None:
        """Compare the pairs of one line and kind with the same genes in its other conditions."""
        place = np.full(len(self._genetic), -1, np.int64)
        place[rows] = np.arange(len(rows))
        step = max(1, _BLOCK_VALUES // len(rows))
        for start in range(0, len(self._genes), step):
            pairs = np.flatnonzero((place[at] >= 0) & (column >= start) & (column < start + step))
            if not len(pairs):
                continue
            block = np.asarray(self._z[rows, start : start + step], np.float64)
            spot = place[at[pairs]], column[pairs] - start
            own = block[spot]
            block[spot] = np.nan
            others.fill(pairs, spot, own, block, weights, sign, is_level)


class _Others:
    """What other conditions do to the gene of each pair."""

    def __init__(self, n_pairs: int) -> None:
        self.z = np.full(n_pairs, np.nan)
        self.expected, self.seen = np.full(n_pairs, np.nan), np.full(n_pairs, np.nan)
        self.count = np.zeros(n_pairs, np.int64)

    def fill(
        self,
        pairs: NDArray[np.int64],
        spot: tuple[NDArray[np.int64], NDArray[np.int64]],
        own: NDArray[np.float64],
        block: NDArray[np.float64],
        weights: NDArray[np.float64],
        sign: int,
        is_level: bool,
    ) -> None:
        """Compare with `block`, where conditions that target a gene are NaN in its column."""
        there = ~np.isnan(block)
        count = there.sum(axis=0)
        n = np.where(there, weights[:, None] ** 2, 0)
        values = np.where(there, block, 0)
        centre = (n * values).sum(axis=0) / np.maximum(n.sum(axis=0), 1)
        z = np.where(there, (values - centre) * weights[:, None], 0)
        deviation = np.sqrt((z * z).sum(axis=0) / np.maximum(count - 1, 1))
        judged = values * weights[:, None] if is_level else z / np.where(deviation > 0, deviation, np.inf)
        divisor = np.maximum(count, 1)
        expected = ((judged * sign > 0) & there).sum(axis=0) / divisor
        seen = ((judged * sign >= STRONG) & there).sum(axis=0) / divisor
        row, gene = spot
        enough = (count[gene] >= _FEW_OTHERS) & (deviation[gene] > 0)
        kept, row, gene = pairs[enough], row[enough], gene[enough]
        self.z[kept] = (own[enough] - centre[gene]) * weights[row] / deviation[gene]
        self.expected[kept], self.seen[kept] = expected[gene], seen[gene]
        self.count[pairs] = count[spot[1]]
