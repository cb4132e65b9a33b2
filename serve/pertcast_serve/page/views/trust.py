"""How far a predicted condition lies from training, as a badge with its explanation."""

from __future__ import annotations

import polars as pl
from markupsafe import Markup
from pertcast.analysis.hits.columns import domain_flag

from pertcast_serve.page.html import badge
from pertcast_serve.schemas.predict import PredictedItem

SEEN = "seen in training"


def trust_badge(item: PredictedItem) -> Markup:
    """Return "seen in training", or "extrapolation" with the distance."""
    if trust_words(item) == SEEN:
        return badge(SEEN, "good")
    return badge(f"extrapolation, distance {item.nn_train_dist:.2f}", "care")


def trust_words(item: PredictedItem) -> str:
    """Return what of a condition lies outside the training data, in the words of screens."""
    row = pl.DataFrame([item.model_dump(include={"seen_pert", "seen_cell", "is_in_domain"})])
    return str(row.select(domain_flag()).item())


def trust_sentence(item: PredictedItem) -> str:
    """Say what the badge means."""
    words = trust_words(item)
    usual = "usual" if item.is_in_domain else "larger than usual"
    return (
        f"{words[0].upper()}{words[1:]}. The nearest perturbation of the training has distance "
        f"{item.nn_train_dist:.3g}, which is {usual} among perturbations of the training."
    )
