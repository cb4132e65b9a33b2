"""Figures of drug-target matching: AUROC of every contender, targets in the top of a ranking."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import plotly.graph_objects as go

from pertcast.analysis.drug_targets import Recovery
from pertcast.analysis.drug_targets.recovery import CURVE_SHARES
from pertcast.report.figures import interval_forest
from pertcast.report.theme import ACCENT, CURVE_COLOURS, MUTED

_CHANCE: Final = 0.5


def auroc_forest(recovery: Sequence[Recovery], among: bool) -> go.Figure:
    """Draw the AUROC of every contender with its interval; hollow where chance is inside.

    Parameters
    ----------
    recovery
        The contenders, the result first.
    among
        Against genes that are targets of some drug, or against all genes.
    """
    shown = [(found, found.among if among else found.auroc) for found in recovery]
    shown = [(found, value) for found, value in shown if not np.isnan(value.value)]
    against = "genes that are targets of some drug" if among else "all genes"
    return interval_forest(
        [short_title(found) for found, _ in shown],
        np.array([value.value for _, value in shown]),
        np.array([value.low for _, value in shown]),
        np.array([value.high for _, value in shown]),
        axis_title=f"AUROC against {against}, mean over drugs with 95 % interval",
        counts=[found.n_drugs for found, _ in shown],
        reference=_CHANCE,
    )


def recovery_curves(recovery: Sequence[Recovery]) -> go.Figure:
    """Draw the share of targets within the top of the ranking: the result and every control."""
    shown = [recovery[0], *(found for found in recovery if found.is_control)]
    figure = go.Figure()
    for found, colour in zip(shown, CURVE_COLOURS, strict=False):
        figure.add_scatter(
            x=CURVE_SHARES,
            y=found.curve,
            name=short_title(found),
            mode="lines",
            line={"color": colour, "width": 3 if colour == ACCENT else 1.5},
            hovertemplate="top %{x:.0%}: %{y:.0%} of targets<extra>" + short_title(found) + "</extra>",
        )
    figure.add_shape(
        type="line", x0=0, y0=0, x1=1, y1=1, line={"color": MUTED, "width": 1, "dash": "dot"}, layer="below"
    )
    figure.update_layout(
        showlegend=True,
        legend={"orientation": "h", "y": -0.22, "font": {"size": 12}},
        xaxis={"title": {"text": "top share of the ranking"}, "tickformat": ".0%", "range": [0, 1]},
        yaxis={"title": {"text": "share of true targets"}, "tickformat": ".0%", "range": [0, 1.01]},
    )
    return figure


def short_title(found: Recovery) -> str:
    """Return a contender's title for axes: a control without the word, marked by its place alone."""
    return found.title.removeprefix("Control: ")
