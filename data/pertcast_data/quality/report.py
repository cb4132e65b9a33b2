"""The quality report: what is known of profiles before anything is written, as plain numbers.

It is printed (`report_lines`), saved as JSON and drawn as a page; the tables it was made from stand beside
it.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from pertcast_data.vocabulary import Measure, Normalisation

QUANTILES: Final = tuple(number / 20 for number in range(21))
"""Levels at which distributions are told: 0, 0.05, ... 1."""

SIZE_STEPS: Final = (2, 3, 5, 10, 30)


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class Distribution(_Frozen):
    """Mean of `n` numbers and their quantiles at `QUANTILES`; None and empty where there are none."""

    n: int
    mean: float | None = None
    values: tuple[float, ...] = ()

    @classmethod
    def of(cls, numbers: NDArray[Any]) -> Distribution:
        """Describe the numbers that are not NaN."""
        told = np.asarray(numbers, np.float64)
        told = told[np.isfinite(told)]
        values = np.quantile(told, QUANTILES).tolist() if len(told) else ()
        mean = float(told.mean()) if len(told) else None
        return cls(n=len(told), mean=mean, values=tuple(float(value) for value in values))

    def at(self, level: float) -> float | None:
        """Return the quantile at one of `QUANTILES`, None where there are no numbers."""
        return self.values[QUANTILES.index(level)] if self.values else None


class CopyExample(_Frozen):
    """Rows with the same values: their names and conditions."""

    sig_ids: tuple[str, ...]
    condition_ids: tuple[str, ...]


class Duplicates(_Frozen):
    """Rows that repeat.

    Attributes
    ----------
    n_rows, n_sets
        Rows whose values equal another row's byte by byte, and sets of equal rows. Rows with too few values
        to tell (shallow cells) are not counted.
    n_rows_across
        Those in sets that span conditions: a profile under two names.
    examples
        Some sets, those across conditions first.
    n_repeated_names
        Rows whose sig_id another row bears.
    repeated_barcodes
        Column of barcodes -> rows whose barcode repeats within a batch.
    """

    n_rows: int
    n_sets: int
    n_rows_across: int
    examples: tuple[CopyExample, ...]
    n_repeated_names: int
    repeated_barcodes: dict[str, int] = {}


class Values(_Frozen):
    """Missing, empty and impossible values.

    Attributes
    ----------
    n_missing, n_infinite, n_rows_with_missing, worst_genes
        NaN and infinite values, rows with any, and genes with most of them.
    n_zero_rows, n_zero_genes, n_constant_genes, constant_genes
        Rows and genes without any value but 0; genes of one value (those of only 0 among them), and examples.
    expected_low, expected_high, smallest, largest, n_out_of_scale, n_fractional
        The range that the declared normalisation can give (None: unbounded), what was found, and how many
        values lie outside; counts that are not whole.
    deviation
        Standard deviation of all values.
    library_sizes
        Counts a row, None where the values are no counts.
    """

    n_missing: int
    n_infinite: int
    n_rows_with_missing: int
    worst_genes: tuple[tuple[str, int], ...]
    n_zero_rows: int
    n_zero_genes: int
    n_constant_genes: int
    constant_genes: tuple[str, ...]
    expected_low: float | None
    expected_high: float | None
    smallest: float | None
    largest: float | None
    n_out_of_scale: int
    n_fractional: int
    deviation: float
    library_sizes: Distribution | None


class Conditions(_Frozen):
    """Sizes of treated conditions and their controls.

    Attributes
    ----------
    n_conditions, n_treated, n_treated_rows, n_control_rows
        All conditions, treated ones, and rows.
    sizes
        Rows a treated condition.
    below
        Number -> treated conditions with fewer rows than that.
    size_counts
        Rows a condition ("1", "6-9", "500+") -> conditions.
    contexts_without_controls
        Cell lines with treated rows and no control.
    coverage
        Level of the nearest controls ("batch", "context_time", "context", "none") -> treated rows; None for
        responses, which need none. The rule is that of `loading.control_pairing`.
    """

    n_conditions: int
    n_treated: int
    n_treated_rows: int
    n_control_rows: int
    sizes: Distribution
    below: dict[int, int]
    size_counts: dict[str, int]
    contexts_without_controls: tuple[str, ...]
    coverage: dict[str, int] | None


class GroupStatistics(_Frozen):
    """CC, SS and TAS over groups of rows (see `quality.effects.Strengths`)."""

    n_groups: int
    correlation: Distribution
    strength: Distribution
    activity: Distribution


class EffectSummary(_Frozen):
    """Statistics of the conditions of one kind.

    Attributes
    ----------
    kind
        Perturbation code.
    measured
        Of its conditions.
    null
        The same of rows reassigned among conditions of this kind within line and batch: what the kind, the
        batch and the shared controls give without the perturbation.
    share_beyond_null
        Conditions whose CC exceeds the null's 95th percentile (chance gives 0.05); None without either.
    """

    kind: str
    measured: GroupStatistics
    null: GroupStatistics
    share_beyond_null: float | None


class Effects(_Frozen):
    """Replicate correlation and TAS.

    Attributes
    ----------
    method
        "pairs" or "halves", see `quality.effects`.
    n_measured, n_treated
        Conditions that were measured, of how many (drawn where there are more than can be).
    kinds
        By kind of perturbation.
    """

    method: Literal["pairs", "halves"]
    n_measured: int
    n_treated: int
    kinds: tuple[EffectSummary, ...]


class TargetExample(_Frozen):
    """A perturbation whose own gene does not go the expected way."""

    condition_id: str
    gene: str
    change: float
    z: float | None
    z_of_others: float | None


class TargetSummary(_Frozen):
    """The target's own change, for one kind of genetic perturbation.

    Attributes
    ----------
    kind, expected
        Perturbation code; "down" or "up".
    n_conditions, n_testable
        Measured conditions, and those with a target among the genes.
    share_expected, share_seen
        Of the pairs of condition and target: the sign is right; and |z| >= 2 that way.
    others_expected, others_seen
        The same of other conditions on the same genes: what chance gives.
    change, z, z_of_others
        Change in `unit`, against controls (mean z * sqrt n) and against other conditions.
    worst
        The pairs that go least the expected way, of those that do not reach |z| >= 2.
    """

    kind: str
    expected: Literal["down", "up"]
    n_conditions: int
    n_testable: int
    share_expected: float | None
    share_seen: float | None
    others_expected: float | None
    others_seen: float | None
    unit: str
    change: Distribution
    z: Distribution
    z_of_others: Distribution
    worst: tuple[TargetExample, ...]


class QualityReport(_Frozen):
    """Everything measured on profiles before they are written.

    Attributes
    ----------
    effects, no_effects
        None and why, where responses cannot be told.
    targets
        By kind of genetic perturbation; empty where there is none.
    seed, seconds
        Of all draws; time it took.
    """

    n_rows: int
    n_genes: int
    measure: Measure
    normalisation: Normalisation
    duplicates: Duplicates
    values: Values
    conditions: Conditions
    effects: Effects | None
    no_effects: str = ""
    targets: tuple[TargetSummary, ...] = ()
    seed: int = 0
    seconds: float = 0.0

    def to_json(self) -> str:
        """Return the report as indented JSON."""
        return self.model_dump_json(indent=2)
