"""What is found of pairs and their interactions: as a record, as text for a terminal, as JSON."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import polars as pl

from pertcast.analysis.association import Interval, plain_number
from pertcast.analysis.epistasis.agreement import InteractionAgreement
from pertcast.analysis.epistasis.interactions import PairInteractions
from pertcast.analysis.epistasis.kinds import ADDITIVE, KINDS, SIGNIFICANT
from pertcast.analysis.printing import MISSING, decimal, percent, sentence_lines, table_lines

SCHEMA_VERSION: Final = 1
_SHOWN_PAIRS: Final = 12


@dataclass(frozen=True)
class PairEpistasis:
    """Measured interactions of held-out pairs, and what contenders say of them.

    Attributes
    ----------
    measured
        P pairs.
    contenders
        The model first, then baselines.
    sum_area, sum_precision
        Of finding the strongest interactions by the length of the sum of the measured singles: large
        responses have large excesses.
    n_held_out
        Held-out pairs, those without measured singles included.
    n_singles, n_training_singles
        Distinct singles of the P pairs, and how many of them are training conditions.
    remarks
        What was left out, and why.
    seed
        Of blocks and resampling.
    """

    measured: PairInteractions
    contenders: tuple[InteractionAgreement, ...]
    sum_area: Interval
    sum_precision: Interval
    n_held_out: int
    n_singles: int
    n_training_singles: int
    remarks: tuple[str, ...]
    seed: int

    @property
    def model(self) -> InteractionAgreement:
        """The model's agreement."""
        return self.contenders[0]

    @property
    def n_pairs(self) -> int:
        """P."""
        return self.measured.table.height

    @property
    def n_interacting(self) -> int:
        """Pairs that are not additive."""
        return sum(kind != ADDITIVE for kind in self.measured.kinds)

    def ceiling(self, interacting: bool = False) -> float:
        """Return what a perfect prediction would correlate with the measured excess; NaN where unknown.

        The square root of the reliability 2 r / (1 + r), with r between the halves of the replicates
        (Spearman-Brown), averaged over the same pairs.
        """
        table = self.measured.table
        if interacting:
            table = table.filter(pl.col("kind") != ADDITIVE)
        halves = table["half_correlation"].drop_nulls().to_numpy()
        if not len(halves):
            return math.nan
        kept = np.clip(halves, 0.0, 1.0)
        return float(np.sqrt(2 * kept / (1 + kept)).mean())

    def strongest(self) -> pl.DataFrame:
        """Return the pairs by falling excess, with what the model says of each."""
        said = pl.DataFrame(
            {
                "predicted_excess": self.model.excess,
                "predicted_kind": list(self.model.kinds),
                "predicted_c": self.model.c,
                "correlation": self.model.correlations,
            }
        ).with_columns(pl.col("predicted_c", "correlation").fill_nan(None))
        table = pl.concat([self.measured.table, said], how="horizontal")
        return table.sort("excess", descending=True, maintain_order=True)

    def sentence(self) -> str:
        """Say the answer in words."""
        counts = self.measured.counts()
        named = ", ".join(f"{count:,} {kind}" for kind, count in counts.items() if kind != ADDITIVE and count)
        text = (
            f"{self.n_interacting:,} of {self.n_pairs:,} held-out pairs differ from the sum of their singles"
            f"{f' ({named})' if named else ''}. "
        )
        return text + self._model_sentence()

    def _model_sentence(self) -> str:
        model, over = self.model, "pairs"
        found, ceiling = model.correlation, self.ceiling()
        if self.n_interacting:
            found, ceiling, over = model.correlation_interacting, self.ceiling(True), "interacting pairs"
        if math.isnan(found.value):
            said = f"{model.title} predicts no excess"
        else:
            said = (
                f"The excess predicted by {model.title} correlates with the measured one at {found.words(2)} "
                f"over genes, a mean of {found.n:,} {over} (a perfect prediction: {decimal(ceiling, 2)}"
                f"{self._others(over)})"
            )
        removed = model.removed
        if math.isnan(removed.value):
            return f"{said}."
        if removed.low > 0:
            return f"{said}; it removes {removed.value:.0%} of the additive rule's squared error."
        if removed.high < 0:
            return f"{said}; its pairs are worse than the sum of the measured singles."
        return f"{said}; its pairs are not told apart from the sum of the measured singles."

    def _others(self, over: str) -> str:
        name = "correlation_interacting" if over == "interacting pairs" else "correlation"
        known = [
            (getattr(found, name).value, found.title)
            for found in self.contenders[1:]
            if math.isfinite(getattr(found, name).value)
        ]
        if not known:
            return ""
        value, title = max(known)
        return f"; {title}: {value:.2f}"

    def lines(self) -> list[str]:
        """Return the result as text: the answer, contenders, kinds, strongest pairs, limits."""
        limits = [line for text in self.not_shown() for line in sentence_lines(text, bullet=True)]
        return [
            *sentence_lines(self.sentence()),
            "",
            *self._contender_lines(),
            "",
            *self._kind_lines(),
            "",
            *self._pair_lines(),
            "",
            "What this does not show",
            *limits,
            *(line for text in self.remarks for line in sentence_lines(text, bullet=True)),
        ]

    def _contender_lines(self) -> list[str]:
        rows = [
            (
                f"{'> ' if number == 0 else '  '}{found.title}",
                found.correlation.words(2),
                found.correlation_interacting.words(2),
                percent(found.removed.value),
                percent(found.same_kind.value),
                decimal(found.roc_area.value, 2),
                decimal(found.precision.value, 2),
            )
            for number, found in enumerate(self.contenders)
        ]
        ceiling = (decimal(self.ceiling(), 2), decimal(self.ceiling(True), 2))
        rows.append(("^ Perfect prediction", *ceiling, "", "", "", ""))
        finding = (decimal(self.sum_area.value, 2), decimal(self.sum_precision.value, 2))
        rows.append(("  Length of the measured sum", "", "", "", "", *finding))
        header = ("excess", "r", "r interacting", "removed", "same kind", "AUROC", "AP")
        return [*table_lines(header, rows), *(f"  {line}" for line in sentence_lines(self.note()))]

    def note(self) -> str:
        """Say what the columns of the contenders' table are."""
        return (
            "r: Pearson over genes of predicted (own pair minus own singles) and measured excess, mean of "
            "the pairs [95 %, over pairs]; removed: share of the additive rule's squared error, with the "
            "measured singles, that is removed; same kind: share of pairs; AUROC, AP: finding the strongest "
            f"third by predicted excess (chance {0.5:g} and {self._strong_share():.2f})."
        )

    def _strong_share(self) -> float:
        return math.ceil(self.n_pairs / 3) / self.n_pairs if self.n_pairs else math.nan

    def _kind_lines(self) -> list[str]:
        confusion = self.model.confusion
        rows = [
            (kind, *(f"{count:,}" for count in confusion[number]), f"{confusion[number].sum():,}")
            for number, kind in enumerate(KINDS)
        ]
        return table_lines(("measured kind / predicted", *KINDS, "all"), rows)

    def _pair_lines(self) -> list[str]:
        table = self.strongest()
        rows = [
            (
                f"{row['first']}+{row['second']}, {row['cell_iname']}",
                row["kind"],
                with_interval(row, "c"),
                decimal_or_dash(row["outside_share"]),
                decimal(row["excess"], 2),
                f"{row['q']:.1e}",
                row["predicted_kind"],
            )
            for row in table.head(_SHOWN_PAIRS).iter_rows(named=True)
        ]
        header = ("strongest", "kind", "c", "outside", "excess", "q", "predicted")
        more = table.height - len(rows)
        return table_lines(header, rows) + ([f"  and {more:,} more pairs"] if more > 0 else [])

    def not_shown(self) -> tuple[str, ...]:
        """Return the limits of what is found, as sentences."""
        return (
            f"A pair is called interacting at q of at most {SIGNIFICANT:g} (Benjamini-Hochberg over the "
            f"{self.n_pairs:,} pairs) where its relative excess is at least "
            f"{self.measured.smallest_excess:g}: an additive pair is one that is not told apart from the "
            "sum, and with few cells no pair is.",
            "Intervals of single pairs are not corrected for their number.",
            "The sum is of responses on the scale of the store, a logarithm for counts and intensities: on "
            "another scale other pairs are additive.",
            "Cells of one experiment are no independent repetitions of it: what differs between batches and "
            "is not in the matched controls counts as a response.",
            "Training and held-out responses share controls, whose noise is then in the predicted and in the "
            "measured excess: a correlation over pairs that do not interact is no evidence.",
            f"{self.n_training_singles:,} of the {self.n_singles:,} singles were trained on; pairs were not.",
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain values; undefined ones are None."""
        return {
            "schema": SCHEMA_VERSION,
            "counts": self.measured.counts(),
            "smallest_excess": self.measured.smallest_excess,
            "pairs": self.measured.to_json(),
            "contenders": [found.to_json() for found in self.contenders],
            "kinds": list(KINDS),
            "ceiling": plain_number(self.ceiling()),
            "ceiling_interacting": plain_number(self.ceiling(True)),
            "sum_roc_area": self.sum_area.to_json(),
            "sum_precision": self.sum_precision.to_json(),
            "n_held_out": self.n_held_out,
            "n_singles": self.n_singles,
            "n_training_singles": self.n_training_singles,
            "remarks": list(self.remarks),
            "seed": self.seed,
        }


def decimal_or_dash(value: float | None, decimals: int = 2) -> str:
    """Write a number with fixed decimals; a dash for None."""
    return MISSING if value is None else decimal(value, decimals)


def with_interval(row: dict[str, Any], name: str, decimals: int = 2) -> str:
    """Write a coefficient of a row of pairs with its interval; a dash where undefined."""
    value, low, high = (row[each] for each in (name, f"{name}_low", f"{name}_high"))
    if value is None:
        return MISSING
    if low is None or high is None:
        return decimal(value, decimals)
    return f"{value:.{decimals}f} [{low:.{decimals}f}, {high:.{decimals}f}]"
