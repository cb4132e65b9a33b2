"""What a comparison of sensitivity predictors found: rows, boards, the two ways of holding out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from pertcast.evaluation.bootstrap import Estimate
from pertcast.evaluation.held_out import FloatArray

HeldOutKind = Literal["compounds", "lines"]

GENERATED: Final = "generated"
GENERATED_BASELINE: Final = "generated_baseline"
MEASURED: Final = "measured"
STRUCTURE_AND_CELL: Final = "structure_and_cell"
STRUCTURE: Final = "structure"
CELL: Final = "cell"
KNOWN_MEAN: Final = "known_mean"
MEAN: Final = "mean"

FEWEST_GROUPS: Final = 8
"""Compounds (or lines) that are needed for any figure: fewer cannot be resampled."""
FEWEST_TO_JUDGE: Final = 40
"""Compounds that are needed for a verdict: with 29 the interval of a correlation of .5 is .17 to .74."""

ALL: Final = "all"
UNSEEN: Final = "unseen"
SEEN: Final = "seen"
NEAR: Final = "near"
FAR: Final = "far"


@dataclass(frozen=True)
class PredictorScore:
    """One predictor on one board.

    Attributes
    ----------
    name, title
        One of the names above, and words for people.
    metrics
        Metric -> estimate, see `scores.METRICS`.
    chosen
        (design, folds): what the regression chose to look at in how many folds; empty for means.
    """

    name: str
    title: str
    metrics: Mapping[str, Estimate]
    chosen: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True)
class Board:
    """Predictors of the same pairs.

    Attributes
    ----------
    name, title
        Which pairs: "all", "unseen" or "seen" (compounds, by the generator), "near" or "far" (unseen ones,
        from its training), "measured"; words for people.
    n_pairs, n_compounds, n_lines
        How many.
    rows
        The predictors, generated expression first.
    gains
        Other predictor -> metric -> generated expression minus it, paired.
    """

    name: str
    title: str
    n_pairs: int
    n_compounds: int
    n_lines: int
    rows: tuple[PredictorScore, ...]
    gains: Mapping[str, Mapping[str, Estimate]]

    def row(self, name: str) -> PredictorScore | None:
        """Return a predictor's row, None where it is not on the board."""
        return next((row for row in self.rows if row.name == name), None)


@dataclass(frozen=True)
class PairPredictions:
    """Out-of-fold predictions of every pair, for figures and files.

    Attributes
    ----------
    compound, line
        (N,) names.
    value
        (N,) measured.
    predicted
        Predictor -> (N,).
    is_seen
        (N,) whether the generator had the compound in its training.
    """

    compound: tuple[str, ...]
    line: tuple[str, ...]
    value: FloatArray
    predicted: Mapping[str, FloatArray]
    is_seen: tuple[bool, ...]


@dataclass(frozen=True)
class HeldOutSensitivity:
    """One way of holding out.

    Attributes
    ----------
    kind
        "compounds" (drug-blind) or "lines" (cell-blind): what is never in training and test at once.
    n_groups, n_folds
        How many there are, in how many folds.
    withheld
        Why there are no figures; "" where there are.
    boards
        All pairs first, then strata by what the generator saw, then the pairs with a measured response.
    predictions
        Of the first board; None where withheld.
    """

    kind: HeldOutKind
    n_groups: int
    n_folds: int
    withheld: str = ""
    boards: tuple[Board, ...] = ()
    predictions: PairPredictions | None = None

    def board(self, name: str) -> Board | None:
        """Return a board, None where there is none of that name."""
        return next((board for board in self.boards if board.name == name), None)

    @property
    def headline(self) -> Board | None:
        """The board a verdict is about: compounds that the generator never saw, else all pairs."""
        return self.board(UNSEEN) or self.board(ALL)


@dataclass(frozen=True)
class SensitivityFacts:
    """Where a comparison's pairs come from.

    Attributes
    ----------
    model, baseline
        Titles of the generators; "" for no baseline.
    table, value
        File of the measured sensitivity, and which value: "ln_ic50" (natural logarithm of uM) or "auc".
    dose, time
        At which expression was generated, uM and h; None where unknown.
    runs
        Names of the runs that generated.
    n_genes
        G.
    joined
        Sentences about how much of the table joined.
    join
        The same as counts.
    remarks
        Further sentences.
    """

    model: str
    table: str
    value: str
    baseline: str = ""
    dose: float | None = None
    time: float | None = None
    runs: tuple[str, ...] = ()
    n_genes: int = 0
    joined: tuple[str, ...] = ()
    join: Mapping[str, Any] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()

    @property
    def value_title(self) -> str:
        """The value with its unit, for axes."""
        return {"ln_ic50": "ln IC50 (uM)", "auc": "AUC (mean viability)"}.get(self.value, self.value)

    @property
    def value_word(self) -> str:
        """The value, for sentences."""
        return {"ln_ic50": "ln IC50", "auc": "AUC"}.get(self.value, self.value)


@dataclass(frozen=True)
class SensitivityResult:
    """The comparison.

    Attributes
    ----------
    facts
        Where the pairs come from.
    by_compound, by_line
        Drug-blind and cell-blind.
    n_draws, seed
        Of the bootstrap; the seed also dealt the folds.
    """

    facts: SensitivityFacts
    by_compound: HeldOutSensitivity
    by_line: HeldOutSensitivity
    n_draws: int
    seed: int
