"""Sections of a trust report about conditions: strata, all of them, extremes, gene by gene, error curve."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import polars as pl

from pertcast.evaluation.bootstrap import LEVEL
from pertcast.evaluation.metrics import get_metric
from pertcast.evaluation.trust.scored_strata import ScoredStratum
from pertcast.evaluation.trust.table import TrustTable
from pertcast.naming import condition_name, response_unit
from pertcast.report.figures import interval_forest, score_scatter
from pertcast.report.page import Section, figure_html, paragraph_html
from pertcast.report.tables import csv_link, fixed, table_html
from pertcast.report.trust_figures import error_curve_figure, shown_conditions

_EXTREMES: Final = 5
_BY_MEMBERS: Final = (
    *("pearson_delta", "pearson_delta_top20", "centroid_accuracy", "discrimination_l1"),
    *("overlap_at_N", "de_direction_match", "e_distance"),
)
_BY_TYPE: Final = (
    *("pearson_delta", "pearson_delta_pert", "r2_train_mean", "r2_train_mean_pooled"),
    *("retrieval_rank", "discrimination_cosine"),
)


def gain_by_stratum(trust: TrustTable) -> Section:
    """Return the gain over the strongest baseline by kind of condition."""
    if trust.strongest is None:
        return Section("Where it gains", paragraph_html("No baseline could be scored."), width="narrow")
    estimates = [stratum.gain for stratum in trust.strata]
    figure = interval_forest(
        [stratum.name for stratum in trust.strata],
        np.array([e.mean for e in estimates]),
        np.array([e.low for e in estimates]),
        np.array([e.high for e in estimates]),
        axis_title=f"gain in {trust.primary}",
        counts=[stratum.n_conditions for stratum in trust.strata],
    )
    label = f"Gain in {trust.primary} over {trust.strongest.title} by stratum"
    html = figure_html(figure, height=90 + 42 * len(trust.strata), label=label)
    subtitle = (
        f"over {trust.strongest.title}; {LEVEL:.0%} interval; hollow: not distinguishable from 0; grey: "
        "number of conditions"
    )
    return Section("Gain by stratum", html, subtitle=subtitle, width="narrow")


def by_members(trust: TrustTable) -> Section | None:
    """Return the scores of everybody by how many members training has shown; None where all are alike."""
    caption = "Means over conditions. Unseen: members of which training holds no profile of their own."
    html = _scores_by_stratum(trust, trust.by_members, _BY_MEMBERS, caption, "by_members.csv")
    return Section("By members seen in training", html, width="half") if html else None


def by_type(trust: TrustTable) -> Section | None:
    """Return the scores of everybody by type and by other types measured; None where all are alike."""
    caption = (
        "Means over conditions. Other types: of the same perturbation, measured in training. Deviations are "
        "from the mean training response of the type."
    )
    html = _scores_by_stratum(trust, trust.by_type, _BY_TYPE, caption, "by_type.csv")
    return Section("By perturbation type", html, width="half") if html else None


def _scores_by_stratum(
    trust: TrustTable, strata: Sequence[ScoredStratum], columns: Sequence[str], caption: str, download: str
) -> str:
    """Return the table of model and baselines in every stratum; "" without strata."""
    if not strata:
        return ""
    names = [name for name in columns if name in strata[0].scores[trust.board.model.name]]
    shown = [contender for contender in trust.order if contender.role in ("model", "baseline")]
    rows = [
        {
            "stratum": stratum.name,
            "who": trust.shown_title(contender),
            "conditions": stratum.n_conditions,
            **{name: stratum.scores[contender.name][name].mean for name in names},
        }
        for stratum in strata
        for contender in shown
    ]
    is_model = [contender.role == "model" for _ in strata for contender in shown]
    return table_html(
        pl.DataFrame(rows),
        headers={"who": "", **{name: get_metric(name).title for name in names}},
        formats={name: fixed(3) for name in names},
        row_classes=["strong" if each else "" for each in is_model],
        caption=caption,
        download=download,
    )


def every_condition(trust: TrustTable) -> Section | None:
    """Return the scatter of model against strongest baseline, one point a condition."""
    if trust.strongest is None:
        return None
    board = trust.board
    names = _condition_names(board.conditions)
    short = [name.split(",")[0] for name in names]
    x, y = (board.scores[c.name][trust.primary] for c in (trust.strongest, board.model))
    colour = None
    if "nn_train_dist" in board.conditions.columns and board.conditions["nn_train_dist"].n_unique() > 1:
        colour = board.conditions["nn_train_dist"].cast(pl.Float64).to_numpy()
    figure = score_scatter(
        x,
        y,
        names,
        short,
        x_title=f"{trust.primary}, {trust.strongest.title}",
        y_title=f"{trust.primary}, {trust.facts.title}",
        colour=colour,
        colour_title="distance to training",
    )
    dropped = int((np.isnan(x) | np.isnan(y)).sum())
    subtitle = (
        f"{len(x) - dropped:,} shown, {dropped:,} undefined left out; above the line the model is better"
    )
    return Section(
        "Every condition", figure_html(figure, 540, "Model against baseline"), subtitle, width="half"
    )


def _condition_names(conditions: pl.DataFrame) -> list[str]:
    """Return readable names where the table tells enough, else the ids."""
    if {"pert_id", "pert_type", "cell_iname"} <= set(conditions.columns):
        return [condition_name(row) for row in conditions.iter_rows(named=True)]
    return [str(name) for name in conditions["condition_id"]]


def extremes(trust: TrustTable) -> Section | None:
    """Return the conditions of largest gain and loss against the strongest baseline."""
    if trust.strongest is None:
        return None
    board = trust.board
    facts = [c for c in ("n_rows", "effect_size", "nn_train_dist") if c in board.conditions.columns]
    scores = {"model": board.model.name, "baseline": trust.strongest.name}
    frame = board.conditions.select(
        pl.Series("condition", _condition_names(board.conditions)),
        *facts,
        *(pl.Series(who, board.scores[name][trust.primary]) for who, name in scores.items()),
        pl.Series("gain", board.gain(trust.primary, trust.strongest.name)),
    )
    frame = frame.filter(pl.col("gain").is_not_nan()).sort("gain", "condition", descending=[True, False])
    shown = frame
    if frame.height > 2 * _EXTREMES:
        shown = pl.concat([frame.head(_EXTREMES), frame.tail(_EXTREMES)])
    headers = {"n_rows": "profiles", "effect_size": "effect (rms)", "nn_train_dist": "distance"}
    caption = (
        f"{shown.height} of {frame.height} conditions: the largest gains and losses in {trust.primary} over "
        f"{trust.strongest.title}. Distance: to the nearest training perturbation."
    )
    formats = {"gain": fixed(3), "model": fixed(3), "baseline": fixed(3), "effect_size": fixed(3)}
    html = table_html(shown.drop("n_rows", strict=False), headers=headers, formats=formats, caption=caption)
    link = csv_link(frame, "conditions.csv")
    return Section("Where it wins and where it loses", html + link, width="half")


def gene_by_gene(trust: TrustTable) -> Section | None:
    """Return predicted against measured response of single conditions; None where none are kept."""
    shown = trust.parts.shown
    if not shown or trust.strongest is None:
        return None
    figure = shown_conditions(
        shown, trust.parts.genes, response_unit(trust.facts.normalisation), trust.strongest.title
    )
    height = 90 + 300 * -(-len(shown) // 3)
    subtitle = (
        f"one point a gene, {len(trust.parts.genes):,} genes; {sum(s.rank == 'best' for s in shown)} "
        f"conditions of the largest gain over {trust.strongest.title}, then "
        f"{sum(s.rank == 'worst' for s in shown)} of the largest loss; dotted: predicted as measured"
    )
    label = "Predicted against measured response of single conditions"
    return Section("Gene by gene", figure_html(figure, height, label), subtitle)


def error_by_distance(trust: TrustTable) -> Section | None:
    """Return the metric against distance to training: what the applicability score is worth."""
    curve = trust.parts.error_curve
    if curve is None:
        return None
    baseline = trust.strongest.title if trust.strongest else "strongest baseline"
    figure = error_curve_figure(curve, trust.primary, trust.facts.title, baseline)
    rho = curve.spearman
    words = f"Distance and error (rms) correlate at rank {rho.mean:.2f} [{rho.low:.2f}, {rho.high:.2f}]"
    if rho.low > 0:
        words += ": the distance does tell where the model errs."
    else:
        words += ": nothing here shows that the distance tells where the model errs."
    if np.isnan(rho.mean):
        words = "All held-out conditions are equally far from training."
    counts = ", ".join(f"{count:,}" for count in curve.counts)
    html = figure_html(figure, 360, f"{trust.primary} by distance to training")
    html += paragraph_html(f"{words} Conditions in the bins: {counts}.", muted=True)
    return Section("Error against similarity to training", html, "bins of distance; intervals", width="half")
