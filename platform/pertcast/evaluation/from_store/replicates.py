"""Tests of conditions that have replicates: profiles of wells, or batches of cells, by moderated t.

Sums are kept for as many conditions at a time as fit a fixed budget; profiles are read once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from pertcast_data.loading import ControlPairing
from pertcast_data.store.readers import RowReader

from pertcast.evaluation.from_store.control_spread import ControlSpread, control_spread
from pertcast.evaluation.from_store.store_truth import read_blocks
from pertcast.evaluation.gene_tests.moderated import moderated_t
from pertcast.evaluation.held_out import FloatArray, GeneTests, IndexArray
from pertcast.evaluation.rowwise import BLOCK_BYTES
from pertcast.evaluation.units import Units, add_by_label
from pertcast.multiple_testing import benjamini_hochberg

REPLICATE_METHOD: Final = (
    "moderated t-test (Smyth 2004) of replicate profiles against their matched controls, Benjamini-Hochberg "
    "over genes"
)
PSEUDOBULK_METHOD: Final = (
    "moderated t-test (Smyth 2004) over batches of the mean response of a batch's cells to the batch's own "
    "controls, Benjamini-Hochberg over genes"
)


@dataclass(frozen=True)
class _Samples:
    """Samples of C conditions: how many, their (C, G) mean, and (C, G) sums of squares about it."""

    count: IndexArray
    mean: FloatArray
    squares: FloatArray


@dataclass(frozen=True)
class _Model:
    """What an effect's t is made of: (C,) variance factor, (C, G) residual squares, (C,) their freedom."""

    factor: FloatArray
    squares: FloatArray
    freedom: IndexArray


def _runs(units: Units, n_genes: int) -> Iterator[slice]:
    """Yield slices of units that hold whole conditions, whose sums fit the budget."""
    most = max(1, BLOCK_BYTES // (8 * 4 * n_genes))
    starts = np.flatnonzero(np.r_[True, units.condition[1:] != units.condition[:-1]])
    bounds = np.r_[starts, units.n_units]
    for first in range(0, len(starts), most):
        yield slice(int(bounds[first]), int(bounds[min(first + most, len(starts))]))


def _label(units: Units, run: slice) -> tuple[IndexArray, int]:
    """Return the conditions of a run's units counted from its first one, and how many there are."""
    label = units.condition[run] - units.condition[run.start]
    return label, int(label[-1]) + 1


def _responses(
    units: Units, run: slice, reader: RowReader, control_means: FloatArray | None
) -> Iterator[tuple[IndexArray, FloatArray]]:
    """Yield the units, counted from the run's first, and float64 responses of a run's rows, in blocks."""
    low, high = np.searchsorted(units.unit_of_row, [run.start, run.stop])
    for block in read_blocks(int(high - low)):
        rows = slice(int(low) + block.start, int(low) + block.stop)
        unit = units.unit_of_row[rows]
        response = reader.dense(units.rows[rows]).astype(np.float64)
        if control_means is not None:
            response -= control_means[units.control_group[unit]]
        yield unit - run.start, response


def _profiles(
    units: Units, run: slice, reader: RowReader, control_means: FloatArray | None, g: int
) -> _Samples:
    """Sum the rows of each condition of a run."""
    label, n = _label(units, run)
    sums, squares = np.zeros((n, g)), np.zeros((n, g))
    for unit, response in _responses(units, run, reader, control_means):
        add_by_label(sums, label[unit], response)
        add_by_label(squares, label[unit], np.square(response))
    count = np.bincount(label, units.n_rows[run], n).astype(np.int64)
    mean = sums / count[:, None]
    return _Samples(count, mean, np.maximum(squares - sums * mean, 0.0))


def _shares(units: Units, run: slice) -> tuple[IndexArray, IndexArray, FloatArray]:
    """Return the distinct pairs (condition, control group) of a run, and each one's share of the rows."""
    label, n = _label(units, run)
    rows = np.bincount(label, units.n_rows[run], n)
    pairs, inverse = np.unique(np.stack([label, units.control_group[run]]), axis=1, return_inverse=True)
    share = np.bincount(inverse.reshape(-1), units.n_rows[run]) / rows[pairs[0]]
    return pairs[0], pairs[1], share


def _one_sample(samples: _Samples) -> _Model:
    """Return the model of samples that are responses already."""
    return _Model(1.0 / samples.count, samples.squares, samples.count - 1)


def _with_controls(units: Units, run: slice, samples: _Samples, spread: ControlSpread) -> _Model:
    """Return the model of a run's conditions and their controls together."""
    condition, group, share = _shares(units, run)
    n = len(samples.count)
    factor = 1.0 / samples.count + np.bincount(condition, np.square(share) / spread.size[group], n)
    squares = samples.squares.copy()
    np.add.at(squares, condition, spread.squares[group])
    freedom = samples.count - 1 + np.bincount(condition, spread.size[group] - 1, n)
    return _Model(factor, squares, freedom.astype(np.int64))


def _fill(tests: GeneTests, first: int, samples: _Samples, model: _Model) -> None:
    """Test a run's conditions and write them into `tests` from row `first`; NaN for one sample alone."""
    freedom = np.where(samples.count > 1, model.freedom, 0).astype(np.float64)
    variance = model.squares / np.maximum(freedom, 1)[:, None]
    tested = moderated_t(samples.mean, model.factor, variance, freedom)
    rows = slice(first, first + len(samples.count))
    tests.statistic[rows] = tested.statistic
    tests.q_value[rows] = benjamini_hochberg(tested.p_value)


def _untested(units: Units, n_genes: int, method: str) -> GeneTests:
    shape = (units.n_conditions, n_genes)
    return GeneTests(np.full(shape, np.nan, np.float32), np.full(shape, np.nan, np.float32), method)


def replicate_tests(
    units: Units,
    reader: RowReader,
    pairing: ControlPairing | None,
    control_means: FloatArray | None,
    n_genes: int,
) -> GeneTests | None:
    """Test the replicate profiles of every condition against their matched controls.

    A linear model with one mean a control group and one effect a condition: the residual variance is pooled
    over the condition's profiles and its groups' controls, shrunk over genes, and the effect has variance
    s^2 (1/n + sum_k (n_k/n)^2 / m_k) for n_k of its n profiles in a group of m_k controls. For measure
    "response" (no controls) it is a one-sample test, s^2 / n.

    Parameters
    ----------
    units
        The held-out rows.
    reader
        Reads normalised profiles.
    pairing, control_means
        Controls of each row and their (K, G) means; None for measure "response".
    n_genes
        G.

    Returns
    -------
    GeneTests or None
        None where no condition has two profiles; NaN for conditions with one.
    """
    rows = np.bincount(units.condition, units.n_rows, units.n_conditions)
    if rows.max(initial=0) < 2:
        return None
    spread = None
    if pairing is not None and control_means is not None:
        spread = control_spread(pairing, reader, control_means)
    tests = _untested(units, n_genes, REPLICATE_METHOD)
    for run in _runs(units, n_genes):
        samples = _profiles(units, run, reader, control_means, n_genes)
        model = _one_sample(samples) if spread is None else _with_controls(units, run, samples, spread)
        _fill(tests, int(units.condition[run.start]), samples, model)
    return tests


def _batches(units: Units, run: slice, reader: RowReader, control_means: FloatArray, g: int) -> _Samples:
    """Average the rows of each pair of condition and control group, and sum the pairs of each condition."""
    label, n = _label(units, run)
    pairs, pair = np.unique(np.stack([label, units.control_group[run]]), axis=1, return_inverse=True)
    pair = pair.reshape(-1)
    sums = np.zeros((pairs.shape[1], g))
    for unit, response in _responses(units, run, reader, control_means):
        add_by_label(sums, pair[unit], response)
    means = sums / np.bincount(pair, units.n_rows[run])[:, None]
    count = np.bincount(pairs[0], minlength=n)
    total = np.zeros((n, g))
    np.add.at(total, pairs[0], means)
    mean = total / count[:, None]
    squares = np.zeros((n, g))
    np.add.at(squares, pairs[0], np.square(means - mean[pairs[0]]))
    return _Samples(count.astype(np.int64), mean, squares)


def pseudobulk_tests(
    units: Units, reader: RowReader, control_means: FloatArray | None, n_genes: int
) -> GeneTests | None:
    """Test the batches of every condition: each batch's mean response to its own controls is one sample.

    Batches (donors, replicates) that share a control group are one sample, as their responses share the
    error of those controls. One-sample moderated t-test, variance s^2 / n for n batches.

    Returns
    -------
    GeneTests or None
        None where no condition has cells in two control groups; NaN for conditions with one.
    """
    if control_means is None:
        return None
    pairs = np.unique(np.stack([units.condition, units.control_group]), axis=1)
    if np.bincount(pairs[0]).max(initial=0) < 2:
        return None
    tests = _untested(units, n_genes, PSEUDOBULK_METHOD)
    for run in _runs(units, n_genes):
        samples = _batches(units, run, reader, control_means, n_genes)
        _fill(tests, int(units.condition[run.start]), samples, _one_sample(samples))
    return tests
