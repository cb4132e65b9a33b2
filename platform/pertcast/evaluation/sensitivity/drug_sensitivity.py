"""Is drug sensitivity predictable from generated expression? The comparison, drug-blind and cell-blind."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import numpy as np

from pertcast.evaluation.sensitivity.boards import Asked, hold_out
from pertcast.evaluation.sensitivity.json_form import to_json
from pertcast.evaluation.sensitivity.pairs import SensitivityPairs
from pertcast.evaluation.sensitivity.regression import N_FOLDS
from pertcast.evaluation.sensitivity.result import SensitivityFacts, SensitivityResult
from pertcast.evaluation.sensitivity.scores import N_DRAWS
from pertcast.evaluation.sensitivity.text import lines, not_shown, verdict

MOST_PAIRS: Final = 20_000


class DrugSensitivity(SensitivityResult):
    """The comparison, as text and JSON."""

    @property
    def verdict(self) -> str:
        """What was found, in a sentence or two."""
        return verdict(self)

    @property
    def not_shown(self) -> list[str]:
        """What this does not show."""
        return not_shown(self)

    def lines(self) -> list[str]:
        """Return the terminal's text: verdict, one table a board, what joined, what this does not show."""
        return lines(self)

    def to_json(self) -> dict[str, Any]:
        """Return everything but the pairs' predictions as plain JSON, undefined values as None."""
        return to_json(self)


def drug_sensitivity(
    pairs: SensitivityPairs,
    facts: SensitivityFacts,
    *,
    n_folds: int = N_FOLDS,
    n_draws: int = N_DRAWS,
    seed: int = 0,
) -> DrugSensitivity:
    """Compare what predicts the sensitivity of cell lines to compounds.

    Drug-blind, folds over compounds, and cell-blind, folds over lines. All predictors see the same folds and
    pairs and the same regression (ridge, linear or on kernels, chosen in the training folds by exactly
    left-out groups): generated expression of the model and of the strongest baseline, the fingerprint with
    and without the cell line, the cell line alone, means; where responses were measured, measured expression
    as well, on those pairs. Intervals resample compounds (drug-blind) or lines (cell-blind).

    Parameters
    ----------
    pairs
        The pairs; above 20,000 they are thinned out evenly over compounds.
    facts
        Where they come from.
    n_folds
        At most so many folds.
    n_draws, seed
        Of the bootstrap; the seed also deals the folds.
    """
    if pairs.n_pairs > MOST_PAIRS:
        said = f"{MOST_PAIRS:,} of {pairs.n_pairs:,} pairs compared, evenly over compounds."
        facts = replace(facts, remarks=(*facts.remarks, said))
        ordered = np.lexsort((pairs.line, pairs.compound))
        pairs = pairs.take(np.sort(ordered[np.linspace(0, len(ordered) - 1, MOST_PAIRS).astype(np.int64)]))
    asked = Asked(n_folds, n_draws, seed)
    return DrugSensitivity(
        facts=facts,
        by_compound=hold_out(pairs, "compounds", asked),
        by_line=hold_out(pairs, "lines", asked),
        n_draws=n_draws,
        seed=seed,
    )
