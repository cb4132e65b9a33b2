"""Inactive conditions of a store of responses, which has no controls to subtract.

By its control signatures where it has some, else by the strength (TAS) that came with it, else by replicates
that agree no more than profiles of different conditions do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pertcast_data.store import ExpressionStore, RowReader

from pertcast.effect_size import effect_sizes
from pertcast.evaluation.from_store.store_truth import read_blocks
from pertcast.evaluation.held_out import FloatArray, IndexArray
from pertcast.evaluation.hit_calibration.control_effects import (
    N_DRAWS,
    QUANTILE,
    measured_effects,
)
from pertcast.evaluation.units import Units

FEWEST_CONTROLS: Final = 20
"""Control signatures of a cell line that a 95th percentile needs."""

FEWEST_REPLICATED: Final = 20
"""Profiles of a cell line that replicates are compared with."""

INACTIVE_TAS: Final = 0.2
"""Transcriptional activity score below which CLUE calls a signature inactive (Subramanian et al. 2017)."""

MOST_PROFILES: Final = 1024
_STRENGTH: Final = "tas"


@dataclass(frozen=True)
class ResponseLabels:
    """(N,) measured strength, (N,) threshold (NaN: not told), and the method in words."""

    effect: NDArray[np.float64]
    threshold: NDArray[np.float64]
    method: str


def _cell_lines(units: Units) -> list[str | None]:
    return units.conditions["cell_iname"].to_list()


def _thinned(rows: IndexArray, seed: int) -> IndexArray:
    if len(rows) <= MOST_PROFILES:
        return rows
    return np.sort(np.random.default_rng(seed).choice(rows, MOST_PROFILES, replace=False))


def by_control_signatures(
    units: Units, store: ExpressionStore, reader: RowReader, seed: int = 0
) -> ResponseLabels | None:
    """Label by control signatures of the same cell line, as many averaged as the condition has profiles.

    None where the store holds none; conditions of a cell line with fewer than 20 are not told.
    """
    controls = np.flatnonzero(store.is_control)
    if len(controls) < FEWEST_CONTROLS:
        return None
    cell_of = np.array([name or "" for name in store.obs["cell_iname"].gather(controls).to_list()])
    n_rows = np.bincount(units.condition, units.n_rows, units.n_conditions).astype(np.int64)
    cells = np.array([name or "" for name in _cell_lines(units)])
    threshold = np.full(units.n_conditions, np.nan)
    for cell in np.unique(cells):
        own = controls[cell_of == cell]
        if len(own) < FEWEST_CONTROLS:
            continue
        profiles = reader.dense(_thinned(own, seed)).astype(np.float64)
        here = cells == cell
        for count in np.unique(n_rows[here]).tolist():
            effects = _effects_of_means(profiles, count, seed)
            threshold[here & (n_rows == count)] = np.quantile(effects, QUANTILE)
    effect = measured_effects(units, reader, None, store.n_genes)
    method = "effect at most the 95th percentile of control signatures of the cell line, averaged alike"
    return ResponseLabels(effect, threshold, method)


def _effects_of_means(profiles: FloatArray, count: int, seed: int) -> NDArray[np.float64]:
    """Return effects of single profiles, or of means of so many that are drawn with replacement."""
    if count == 1:
        return effect_sizes(profiles)
    n = len(profiles)
    generator = np.random.default_rng((seed, count))
    counts = generator.multinomial(count, np.full(n, 1 / n), size=N_DRAWS)
    return effect_sizes(counts @ profiles / count)


def by_strength(
    units: Units, store: ExpressionStore, reader: RowReader, seed: int = 0
) -> ResponseLabels | None:
    """Label by the largest TAS of a condition's profiles, inactive below 0.2; None without that column.

    Neither profiles nor draws are needed.
    """
    if _STRENGTH not in store.obs.columns:
        return None
    measured = store.obs[_STRENGTH].cast(pl.Float64, strict=False).gather(units.rows)
    table = pl.DataFrame({"condition": units.condition_of_row, "tas": measured})
    highest = table.group_by("condition").agg(pl.col("tas").max()).sort("condition")["tas"]
    effect = highest.fill_null(float("nan")).to_numpy()
    below = float(np.nextafter(INACTIVE_TAS, 0))
    threshold = np.where(np.isnan(effect), np.nan, below)
    return ResponseLabels(effect, threshold, "transcriptional activity score (tas) below 0.2")


def by_replicates(
    units: Units, store: ExpressionStore, reader: RowReader, seed: int = 0
) -> ResponseLabels | None:
    """Label by the mean cosine between a condition's profiles, against profiles of different conditions.

    Conditions with one profile, and cell lines with fewer than 20 profiles, are not told; None where no
    condition has two. What all perturbations share counts as no effect here.
    """
    count = np.bincount(units.condition, units.n_rows, units.n_conditions).astype(np.int64)
    if count.max(initial=0) < 2:
        return None
    agreement = _agreement(units, reader, count, store.n_genes)
    cells = np.array([name or "" for name in _cell_lines(units)])
    threshold = np.full(units.n_conditions, np.nan)
    firsts = np.append(0, np.cumsum(count))[:-1]
    for cell in np.unique(cells):
        here = cells == cell
        rows = units.rows[firsts[here]]
        if len(rows) < FEWEST_REPLICATED:
            continue
        directions = _directions(reader.dense(np.sort(_thinned(rows, seed))))
        for size in np.unique(count[here & (count > 1)]).tolist():
            mixed = _agreement_of_strangers(directions, size, seed)
            threshold[here & (count == size)] = np.quantile(mixed, QUANTILE)
    method = "mean cosine of replicates at most the 95th percentile of profiles of different conditions"
    return ResponseLabels(agreement, threshold, method)


def _directions(profiles: FloatArray) -> NDArray[np.float64]:
    wide = profiles.astype(np.float64)
    lengths = np.linalg.norm(wide, axis=1, keepdims=True)
    return wide / np.where(lengths == 0, 1.0, lengths)


def _agreement(units: Units, reader: RowReader, count: IndexArray, n_genes: int) -> NDArray[np.float64]:
    """Return (N,) the mean cosine between a condition's profiles; NaN for a single one."""
    found = np.full(units.n_conditions, np.nan)
    bounds = np.append(0, np.cumsum(count))
    first = 0
    while first < units.n_conditions:
        last = int(np.searchsorted(bounds, bounds[first] + MOST_PROFILES, side="right")) - 1
        last = min(max(last, first + 1), units.n_conditions)
        sums = np.zeros((last - first, n_genes))
        for block in read_blocks(int(bounds[last] - bounds[first])):
            rows = slice(int(bounds[first]) + block.start, int(bounds[first]) + block.stop)
            directions = _directions(reader.dense(units.rows[rows]))
            np.add.at(sums, units.condition_of_row[rows] - first, directions)
        n = count[first:last]
        several = n > 1
        pairs = np.where(several, n * (n - 1), 1)
        found[first:last] = np.where(several, (np.square(sums).sum(axis=1) - n) / pairs, np.nan)
        first = last
    return found


def _agreement_of_strangers(directions: FloatArray, count: int, seed: int) -> NDArray[np.float64]:
    """Return draws of the mean cosine between `count` profiles of different conditions."""
    generator = np.random.default_rng((seed, count))
    size = min(count, len(directions))
    chosen = np.stack([generator.permutation(len(directions))[:size] for _ in range(N_DRAWS)])
    sums = np.zeros((N_DRAWS, directions.shape[1]))
    for column in chosen.T:
        sums += directions[column]
    agreement: NDArray[np.float64] = (np.square(sums).sum(axis=1) - size) / (size * (size - 1))
    return agreement
