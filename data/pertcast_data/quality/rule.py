"""Which rows an ingest keeps by their quality: the optional `quality:` section of a mapping file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from pertcast_data.errors import ConfigError

if TYPE_CHECKING:
    from pertcast_data.quality.measure import Quality


class QualityRule(BaseModel):
    """What profiles and conditions must have to be kept; nothing is left out by default.

    Attributes
    ----------
    min_profiles_per_condition
        Treated conditions with fewer rows are left out.
    min_replicate_correlation, min_tas
        Treated conditions below are left out; those that cannot be told (one row, no controls) stay.
    require_target_change
        Genetic conditions with a measured target that does not change the expected way by |z| >= 2 are left
        out; those without a measured target stay.
    drop_duplicates
        Of rows with the same values the first stays.
    drop_rows_with_missing
        Rows with a missing or infinite value are left out.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_profiles_per_condition: int | None = Field(default=None, ge=1)
    min_replicate_correlation: float | None = Field(default=None, ge=-1, le=1)
    min_tas: float | None = Field(default=None, ge=0, le=1)
    require_target_change: bool = False
    drop_duplicates: bool = False
    drop_rows_with_missing: bool = False

    @property
    def asks_conditions(self) -> bool:
        """Whether the rule needs every condition measured."""
        named = self.min_replicate_correlation, self.min_tas
        return self.require_target_change or any(each is not None for each in named)


def kept_rows(quality: Quality, rule: QualityRule) -> tuple[NDArray[np.bool_], list[tuple[str, int]]]:
    """Apply a rule.

    Rows are judged in the order of the reasons below; a row counts for the first that meets it. Rules about
    conditions never drop controls. Sizes, correlation and TAS are those of all rows of the file.

    Parameters
    ----------
    quality
        From `measure_quality` on the same rows.
    rule
        What is asked.

    Returns
    -------
    mask
        (N,) whether each row is kept, in source order.
    reasons
        Why rows were left out, and how many; reasons that met no row are not listed.

    Raises
    ------
    ConfigError
        The rule asks something of conditions that were not all measured.
    """
    _require_measured(quality, rule)
    rows = quality.per_row.join(
        quality.per_condition, on="condition_id", how="left", maintain_order="left", suffix="_of_condition"
    )
    treated = ~pl.col("is_control")
    tests: list[tuple[str, pl.Expr]] = []
    if rule.drop_rows_with_missing:
        tests.append(("has missing or infinite values", (pl.col("n_missing") + pl.col("n_infinite")) > 0))
    if rule.drop_duplicates:
        tests.append(("has the values of an earlier row", pl.col("copy_of") < pl.col("row")))
    if rule.min_profiles_per_condition is not None:
        least = rule.min_profiles_per_condition
        few = treated & (pl.col("n_rows") < least)
        tests.append((f"its condition has fewer than {least} profiles", few))
    if rule.min_replicate_correlation is not None:
        limit = rule.min_replicate_correlation
        low = treated & (pl.col("replicate_correlation") < limit)
        tests.append((f"its condition's replicate correlation is below {limit:g}", low))
    if rule.min_tas is not None:
        low = treated & (pl.col("tas") < rule.min_tas)
        tests.append((f"its condition's TAS is below {rule.min_tas:g}", low))
    if rule.require_target_change:
        tests.append(("its target's own gene does not change as expected", treated & ~pl.col("target_seen")))
    kept = np.ones(rows.height, np.bool_)
    reasons = []
    for reason, test in tests:
        meets = rows.select(test.fill_null(False)).to_series().to_numpy() & kept
        if meets.any():
            reasons.append((reason, int(meets.sum())))
        kept &= ~meets
    return kept, reasons


def _require_measured(quality: Quality, rule: QualityRule) -> None:
    effects = quality.report.effects
    if not rule.asks_conditions:
        return
    if effects is None:
        raise ConfigError(
            "The mapping file's `quality:` asks for effects of conditions, which cannot be measured here: "
            f"{quality.report.no_effects}. Leave out min_replicate_correlation, min_tas and "
            "require_target_change."
        )
    if effects.n_measured < effects.n_treated:
        raise ConfigError(
            f"The mapping file's `quality:` asks for effects of every condition, but {effects.n_measured:,} "
            f"of {effects.n_treated:,} were drawn. Measure with max_conditions={effects.n_treated}, or leave "
            "out min_replicate_correlation, min_tas and require_target_change."
        )
