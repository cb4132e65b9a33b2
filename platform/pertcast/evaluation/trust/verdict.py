"""The verdict in words, about the primary metric alone, which is decided beforehand.

"Better" must hold against every baseline, each at the 95 % level (an intersection-union test: no further
correction is due). "Worse" is corrected for the number of baselines (Bonferroni).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from pertcast.evaluation.bootstrap import Estimate

ALPHA: Final = 0.05
FEWEST_CLUSTERS: Final = 6
"""Below this many held-out perturbations resampling them cannot support any claim."""

Outcome = Literal["better", "not distinguishable", "worse"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the comparison with the baselines says.

    Attributes
    ----------
    outcome
        "better" (than every baseline), "not distinguishable" or "worse" (than `against`).
    against
        Name of the baseline the words are about: the strongest; None where there is no baseline.
    text
        The verdict as a sentence.
    p_value
        The largest p value over the baselines for "better", else the one against `against`.
    """

    outcome: Outcome
    against: str | None
    text: str
    p_value: float


def p_words(p_value: float) -> str:
    """Write a p value for people."""
    return "p < 0.001" if p_value < 0.001 else f"p = {p_value:.2g}"


def _gap(metric: str, estimate: Estimate) -> str:
    return f"{metric} {estimate.mean:+.3f} [{estimate.low:+.3f}, {estimate.high:+.3f}]"


def decide(
    differences: Mapping[str, Estimate],
    *,
    metric: str,
    n_clusters: int,
    titles: Mapping[str, str] | None = None,
) -> Verdict:
    """Turn differences to the baselines into a verdict.

    Parameters
    ----------
    differences
        Baseline -> estimate of (model minus baseline), positive where the model is better.
    metric
        Name of the metric, for the sentence.
    n_clusters
        Number of held-out perturbations.
    titles
        Baseline -> title for people.

    Returns
    -------
    Verdict
        About the strongest baseline: the one with the smallest difference.
    """
    known = {name: d for name, d in differences.items() if not np.isnan(d.mean)}
    if not known:
        return Verdict(
            "not distinguishable", None, "not comparable: no baseline could be scored", float("nan")
        )
    strongest = min(known, key=lambda name: (known[name].mean, name))
    nearest = known[strongest]
    title = (titles or {}).get(strongest, strongest)
    if n_clusters < FEWEST_CLUSTERS:
        few = f"only {n_clusters} held-out perturbations: too few to tell"
        text = f"not distinguishable from {title} ({few})"
        return Verdict("not distinguishable", strongest, text, nearest.p_value)
    if all(d.low > 0 and d.p_value < ALPHA for d in known.values()):
        p_value = max(d.p_value for d in known.values())
        found = f"{p_words(p_value)}; {_gap(metric, nearest)}"
        text = f"better than every baseline ({found} over the strongest, {title})"
        if len(known) == 1:
            text = f"better than {title}, the only baseline ({found})"
        return Verdict("better", strongest, text, p_value)
    corrected = min(1.0, nearest.p_value * len(known))
    gap = _gap(metric, nearest)
    if nearest.high < 0 and corrected < ALPHA:
        return Verdict("worse", strongest, f"worse than {title} ({p_words(corrected)}; {gap})", corrected)
    text = f"not distinguishable from {title} ({p_words(nearest.p_value)}; {gap})"
    return Verdict("not distinguishable", strongest, text, nearest.p_value)
