"""Selectivity across cell lines: in which one a perturbation acts most, and whether the direction agrees.

Effects of all profiles are a few numbers each and are compared at once; profiles are read a block of
perturbations at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pertcast_data.errors import SchemaError
from pertcast_data.reading import ProfileReader

from pertcast.analysis.selectivity_measures import (
    Contexts,
    excess_of_strongest,
    mean_cosine,
    median_of_others,
    quotient,
    specificity,
)

PerturbationReader = Callable[[NDArray[np.int64]], pl.DataFrame]
"""Returns pert_id, pert_type, pert_dose and pert_time of rows (M,) int64, in any order."""

PERTURBATION_COLUMNS: Final = {
    "pert_id": pl.String,
    "pert_type": pl.String,
    "pert_dose": pl.Float64,
    "pert_time": pl.Float64,
}

SELECTIVITY_SCHEMA: Final = {
    "rank": pl.Int32,
    **PERTURBATION_COLUMNS,
    "n_contexts": pl.Int32,
    "strongest_cell": pl.String,
    "strongest_effect": pl.Float64,
    "median_other_effect": pl.Float64,
    "excess_effect": pl.Float64,
    "effect_ratio": pl.Float64,
    "robust_z": pl.Float64,
    "tau": pl.Float64,
    "relative_strongest_cell": pl.String,
    "relative_tau": pl.Float64,
    "mean_cosine": pl.Float64,
}

LIMITS: Final = (
    "A difference between cell lines here is a difference of predictions, not a measured one: it shows what "
    "the model learned or assumes of the cell lines, and it has no p-value. A model whose response does not "
    "depend on the cell line (as when it adds cell line and perturbation) shows no selectivity at all, tau 0 "
    "and cosine 1, whatever the biology. Effects are transcriptional and say nothing of viability."
)
"""What selectivity does not show; belongs beside every table and figure of it."""

_NO_CONTEXTS: Final = (
    "No perturbation is predicted in two cell lines, and selectivity compares cell lines. Screen the same "
    "perturbations, doses and times in two or more."
)
_MAD_TO_SD: Final = 1.4826
_BLOCK_PERTURBATIONS: Final = 512


class Selectivity:
    """Compares the cell lines that each perturbation of a screen is predicted in.

    Parameters
    ----------
    effect
        (N,) effect sizes, 0 or more, in the response's unit.
    cell
        (N,) integers from 0, cell lines.
    key
        (N,) integers; equal ones are the same perturbation at the same dose and time.

    Raises
    ------
    SchemaError
        The arrays differ in length, an effect is negative or not finite, or a perturbation stands twice in
        one cell line.
    """

    def __init__(
        self, effect: NDArray[np.floating], cell: NDArray[np.integer], key: NDArray[np.integer]
    ) -> None:
        if not len(effect) == len(cell) == len(key):
            raise SchemaError(
                f"{len(effect)} effects, {len(cell)} cell lines and {len(key)} keys: give N each."
            )
        bad = np.flatnonzero(~(np.isfinite(effect) & (effect >= 0)))
        if len(bad):
            raise SchemaError(
                f"Row {bad[0]} has effect {effect[bad[0]]}; effects are finite and 0 or more. Screen again."
            )
        self._effect, self._cell = effect, cell
        order = np.lexsort((cell, key)).astype(np.int64, copy=False)
        start = np.flatnonzero(np.diff(key[order], prepend=key[order][:1] - 1))
        count = np.diff(start, append=len(order))
        _require_once(order, cell, key)
        self._order, self._start, self._count = order, start[count > 1], count[count > 1]
        self._cell_scale = self._median_by_cell()

    @property
    def n_perturbations(self) -> int:
        """Perturbations (with dose and time) that are predicted in at least two cell lines."""
        return len(self._start)

    @property
    def reason(self) -> str | None:
        """Why the table is empty; None where it is not."""
        return None if self.n_perturbations else _NO_CONTEXTS

    def blocks(
        self,
        read: ProfileReader,
        describe: PerturbationReader,
        cells: Sequence[str],
        *,
        block_perturbations: int = _BLOCK_PERTURBATIONS,
    ) -> Iterator[pl.DataFrame]:
        """Compare cell lines, a block of perturbations at a time, in the order of their keys.

        Parameters
        ----------
        read
            Returns profiles by row. Asked for one cell line's rows at a time, rising: neighbours where
            consecutive keys are consecutive rows of a cell line.
        describe
            Returns what the perturbations of rows are called.
        cells
            Names of the cell lines by code.
        block_perturbations
            Perturbations of a block: two numbers of 8 bytes a gene are held for each.

        Yields
        ------
        DataFrame
            `SELECTIVITY_SCHEMA`; one empty frame where there is nothing to compare (see `reason`).

            rank: from 1, by excess_effect, ties in the order of keys. strongest_cell, strongest_effect: of
            the largest effect, the first cell line of equal ones. median_other_effect: over all other cell
            lines. excess_effect: strongest less median_other. effect_ratio: strongest over median_other.
            robust_z: excess over 1.4826 times the median absolute deviation of the others; empty below
            three others or where they are all the same. tau: sum(1 - x / max x) / (n - 1) over the effects
            x (Yanai et al. 2005, Bioinformatics 21:650), 0 where all are equal, 1 where one cell line alone
            responds. relative_tau, relative_strongest_cell: the same after each effect was divided by the
            median effect of its cell line, so that a line that responds strongly to everything is no
            finding. mean_cosine: over all pairs of cell lines, of the profiles; profiles of zeros left out.
        """
        if not self.n_perturbations:
            yield pl.DataFrame(schema=SELECTIVITY_SCHEMA)
            return
        starts = range(0, self.n_perturbations, block_perturbations)
        excess = [excess_of_strongest(self._contexts(start, block_perturbations)) for start in starts]
        rank = np.empty(self.n_perturbations, np.int32)
        rank[np.argsort(-np.concatenate(excess), kind="stable")] = np.arange(1, len(rank) + 1)
        for start in starts:
            contexts = self._contexts(start, block_perturbations)
            named = describe(contexts.row[:, 0]).select(
                pl.col(name).cast(dtype) for name, dtype in PERTURBATION_COLUMNS.items()
            )
            columns = {
                "rank": rank[start : start + block_perturbations],
                **self._statistics(contexts, cells),
                "mean_cosine": mean_cosine(contexts, read),
            }
            numbers = pl.DataFrame(columns, nan_to_null=True)
            yield pl.concat([named, numbers], how="horizontal").select(
                pl.col(name).cast(dtype) for name, dtype in SELECTIVITY_SCHEMA.items()
            )

    def _contexts(self, start: int, size: int) -> Contexts:
        """Lay some perturbations out, a line each."""
        first, count = self._start[start : start + size], self._count[start : start + size]
        place = np.arange(count.max())
        is_used = place < count[:, None]
        row = np.where(is_used, self._order[np.where(is_used, first[:, None] + place, 0)], -1)
        effect = np.where(is_used, self._effect[row], np.nan).astype(np.float64)
        return Contexts(effect, np.where(is_used, self._cell[row], -1), row)

    def _median_by_cell(self) -> NDArray[np.float64]:
        """Return the median effect of each cell line over the perturbations that are compared."""
        places = np.repeat(self._start - np.cumsum(self._count) + self._count, self._count)
        rows = self._order[places + np.arange(len(places))]
        frame = pl.DataFrame({"cell": self._cell[rows].astype(np.int64), "effect": self._effect[rows]})
        medians = frame.group_by("cell").agg(pl.col("effect").median())
        scale = np.full(int(self._cell.max(initial=-1)) + 1, np.nan)
        scale[medians["cell"].to_numpy()] = medians["effect"].to_numpy()
        return scale

    def _statistics(
        self, contexts: Contexts, cells: Sequence[str]
    ) -> dict[str, NDArray[np.generic] | pl.Series]:
        names = pl.Series(cells, dtype=pl.String)
        lines = np.arange(len(contexts.effect))
        strongest = np.nanargmax(contexts.effect, axis=1)
        largest = contexts.effect[lines, strongest]
        median, deviation = median_of_others(contexts, strongest)
        excess = largest - median
        scale = self._cell_scale[contexts.cell]
        relative = np.divide(contexts.effect, scale, out=np.full_like(scale, np.nan), where=scale > 0)
        # A cell line with median 0 has no scale: the perturbation then has no relative index.
        relative[(np.isnan(relative) & (contexts.row >= 0)).any(axis=1)] = np.nan
        relative_strongest = np.argmax(np.where(np.isnan(relative), -1, relative), axis=1)
        relative_cell = names.gather(contexts.cell[lines, relative_strongest])
        has_relative = ~np.isnan(relative[:, 0])
        return {
            "n_contexts": contexts.count,
            "strongest_cell": names.gather(contexts.cell[lines, strongest]),
            "strongest_effect": largest,
            "median_other_effect": median,
            "excess_effect": excess,
            "effect_ratio": quotient(largest, median),
            "robust_z": quotient(excess, _MAD_TO_SD * deviation),
            "tau": specificity(contexts.effect, contexts.count),
            "relative_strongest_cell": relative_cell.zip_with(
                pl.Series(has_relative), pl.Series([None], dtype=pl.String)
            ),
            "relative_tau": specificity(relative, contexts.count),
        }


def _require_once(order: NDArray[np.int64], cell: NDArray[np.integer], key: NDArray[np.integer]) -> None:
    twice = np.flatnonzero((np.diff(key[order]) == 0) & (np.diff(cell[order]) == 0))
    if len(twice):
        one, other = order[twice[0]], order[twice[0] + 1]
        raise SchemaError(
            f"Rows {one} and {other} are the same perturbation, dose and time in the same cell line. Give "
            "every row its own key, or leave one out."
        )
