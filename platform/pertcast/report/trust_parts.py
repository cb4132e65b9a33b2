"""Sections of a trust report's further parts: held out, calibration, gene structure, function, seeds."""

from __future__ import annotations

import math
from types import MappingProxyType
from typing import Final

import numpy as np
import polars as pl

from pertcast.evaluation.bootstrap import LEVEL
from pertcast.evaluation.parts import Calibration
from pertcast.evaluation.trust.table import TrustTable
from pertcast.naming import response_unit
from pertcast.report.figures import interval_forest
from pertcast.report.page import Section, figure_html, paragraph_html
from pertcast.report.tables import fixed, format_number, table_html
from pertcast.report.trust_figures import correlation_heatmaps, coverage_figure, risk_figure

_FUNCTION_ROWS: Final = MappingProxyType(
    {
        "predicted": "similarity of predicted profiles",
        "measured": "similarity of measured profiles",
        "features": "similarity of the model's features",
        "network features": "similarity of the networks' features alone",
        "network": "network alone",
        "degree": "degree alone",
    }
)


def held_out(trust: TrustTable) -> Section | None:
    """Return counts of every part of the fold, and what of the test is new."""
    counts = trust.parts.held_out
    if counts is None:
        return None
    rows = [{"": part, **dict(found)} for part, found in counts.parts.items()]
    html = table_html(pl.DataFrame(rows), caption=_examples(counts.examples))
    new = [f"{n:,} with new {what}" for what, n in counts.new_in_test.items() if n]
    if new:
        html += paragraph_html(f"Of the test conditions: {', '.join(new)}.")
    return Section("What was held out", html, subtitle=trust.facts.split_kind, width="half")


def _examples(names: tuple[str, ...]) -> str:
    return f"Held out, for example: {', '.join(names)}." if names else ""


def calibration(trust: TrustTable) -> list[Section]:
    """Return coverage and risk-coverage, as far as they are known."""
    found = trust.parts.calibration
    if found is None:
        return []
    sections = [_coverage(found)]
    if found.risk_coverage is not None:
        figure = risk_figure(found.risk_coverage, response_unit(trust.facts.normalisation))
        subtitle = "the solid line should fall to the right as the dotted one does"
        html = figure_html(figure, 340, "Error of the conditions kept")
        sections.append(Section("Refusing what is uncertain", html, subtitle, width="half"))
    return sections


def _coverage(found: Calibration) -> Section:
    html = figure_html(coverage_figure(found), 340, "Coverage against nominal level")
    html += table_html(
        pl.DataFrame(
            [
                {"level": f"{e.nominal:.0%}", "model's sd": e.gaussian.mean, "calibrated": e.conformal.mean}
                for e in found.coverage
            ]
        ),
        formats={"model's sd": fixed(3), "calibrated": fixed(3)},
        caption=f"Share of measured responses (condition x gene) inside; {found.n_calibration:,} conditions "
        f"calibrated, {found.n_test:,} judged. "
        + ("" if found.exchangeable else "Test and calibration are not exchangeable: nothing is promised. ")
        + found.remark,
    )
    return Section("Are its intervals true?", html, "hollow: holds the nominal level", width="half")


def gene_structure(trust: TrustTable) -> Section | None:
    """Return the gene-gene correlation heatmaps and how far they agree with the measured one."""
    found = trust.parts.correlation
    if found is None:
        return None
    titles = {c.name: c.title for c in trust.order} | {"truth": "Measured", "split_half": "Split halves"}
    html = figure_html(correlation_heatmaps(found, titles), 420, "Gene-gene correlation, side by side")
    rows = [
        {"": titles.get(name, name), "agreement": e.mean, "low": e.low, "high": e.high}
        for name, e in found.agreement.items()
    ]
    html += table_html(
        pl.DataFrame(rows),
        formats=dict.fromkeys(("agreement", "low", "high"), fixed(3)),
        caption="Agreement: Pearson of the upper triangle with the measured one, over "
        f"{found.n_genes:,} genes and {found.n_conditions:,} conditions, {LEVEL:.0%} interval. "
        f"{len(found.genes):,} genes are drawn.",
    )
    subtitle = "over held-out conditions, within context, on residuals from the context's mean"
    return Section("Which genes move together", html, subtitle)


def gene_function(trust: TrustTable) -> Section | None:
    """Return whether predicted profiles recover complexes and pathways."""
    found = trust.parts.function
    if found is None:
        return None
    estimates = list(found.rows.values())
    figure = interval_forest(
        [_FUNCTION_ROWS.get(name, name) for name in found.rows],
        np.array([e.mean for e in estimates]),
        np.array([e.low for e in estimates]),
        np.array([e.high for e in estimates]),
        axis_title="area under the ROC curve",
        reference=0.5,
    )
    html = figure_html(figure, 90 + 42 * len(estimates), "Recovery of common membership")
    precision = ", ".join(
        f"{_FUNCTION_ROWS.get(name, name)} {format_number(e.mean)}" for name, e in found.precision.items()
    )
    html += paragraph_html(
        f"{found.n_pairs:,} pairs of {found.n_genes:,} perturbed genes, {found.share_positive:.1%} of them "
        f"in a common set of {found.source}. Average precision: {precision} (chance "
        f"{found.share_positive:.3f}).",
        muted=True,
    )
    subtitle = "are genes of one complex or pathway predicted alike? hollow: not distinguishable from chance"
    return Section("Gene function", html, subtitle, width="half")


def seeds(trust: TrustTable) -> Section | None:
    """Return the primary metric of every training seed."""
    spread = trust.parts.seeds
    if spread is None:
        return None
    titles = {c.name: c.title for c in trust.order}
    rows = [
        {
            "": titles.get(name, name),
            **{f"seed {seed}": float(value) for seed, value in zip(spread.seeds, means, strict=True)},
            "sd": float(np.std(means, ddof=1)) if len(means) > 1 else math.nan,
        }
        for name, means in spread.means.items()
    ]
    numbers = [f"seed {seed}" for seed in spread.seeds]
    html = table_html(
        pl.DataFrame(rows),
        formats=dict.fromkeys((*numbers, "sd"), fixed(3)),
        caption=f"Mean {trust.primary} over the same conditions; trainings differ in their seed alone.",
    )
    return Section("From seed to seed", html, width="half")


def ensemble(trust: TrustTable) -> Section | None:
    """Return the score of every member of an ensemble, and what the ensemble gains over them."""
    found = trust.parts.ensemble
    if found is None:
        return None
    own = trust.summary[trust.board.model.name][found.metric]
    scored = {"the ensemble": own, **found.members}
    rows = [
        {"": name, found.metric: each.mean, "low": each.low, "high": each.high}
        for name, each in scored.items()
    ]
    gain = found.gain
    html = table_html(
        pl.DataFrame(rows),
        formats=dict.fromkeys((found.metric, "low", "high"), fixed(3)),
        caption=f"The ensemble gains {gain.mean:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}] over the mean of "
        "its members: 95 % over held-out perturbations and members.",
    )
    return Section("The ensemble and its members", html, width="half")


def control_hits(trust: TrustTable) -> Section | None:
    """Return how often the test calls a gene where controls are compared with controls."""
    found = trust.parts.control_hits
    if found is None:
        return None
    share = found.n_called / found.n_tests if found.n_tests else math.nan
    words = (
        f"Controls tested against controls of the same group ({found.method}): {found.n_called:,} of "
        f"{found.n_tests:,} genes called at a false discovery rate of 5 % ({share:.3%})."
    )
    return Section("Controls as if they were perturbed", paragraph_html(words), width="half")
