"""Drug sensitivity in a report: the verdict, predictors beside each other, predicted against measured."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType
from typing import Final

import numpy as np
import plotly.graph_objects as go
import polars as pl

from pertcast.evaluation.bootstrap import LEVEL
from pertcast.evaluation.sensitivity.result import (
    CELL,
    GENERATED,
    GENERATED_BASELINE,
    KNOWN_MEAN,
    MEAN,
    MEASURED,
    STRUCTURE,
    STRUCTURE_AND_CELL,
    Board,
    HeldOutSensitivity,
    SensitivityFacts,
    SensitivityResult,
)
from pertcast.evaluation.sensitivity.scores import METRICS, PRIMARY
from pertcast.evaluation.sensitivity.text import board_title, not_shown, provenance, verdict
from pertcast.report.figures import interval_forest
from pertcast.report.page import Section, csv_link, figure_html, list_html, paragraph_html
from pertcast.report.tables import fixed, table_html
from pertcast.report.theme import ACCENT, CARE, MUTED
from pertcast.report.trust_tables import plus_minus

_NAMES: Final = MappingProxyType({"compounds": "New compounds", "lines": "New cell lines"})
_RESAMPLED: Final = MappingProxyType({"compounds": "compounds", "lines": "cell lines"})
_GREYED: Final = (CELL, KNOWN_MEAN, MEAN)
_MOST_POINTS: Final = 4_000
_SEEN_COLOUR: Final = CARE


def sensitivity_sections(result: SensitivityResult) -> list[Section]:
    """Return the cards of a report: what was found, one row of cards a way of holding out, what is not shown.

    Parameters
    ----------
    result
        From `drug_sensitivity`.
    """
    facts = result.facts
    answer = paragraph_html(verdict(result), lead=True) + paragraph_html(provenance(result), muted=True)
    sections = [
        Section(f"Is {facts.value_word} predictable from generated expression?", answer + _joined(facts))
    ]
    for found in (result.by_compound, result.by_line):
        sections += _held_out(found, facts, result.n_draws)
    return [*sections, Section("What this does not show", list_html(not_shown(result)), tone="care")]


def _joined(facts: SensitivityFacts) -> str:
    """Say how much of the table joined: a figure of three pairs must not look like one of thousands."""
    said = [*facts.joined, *facts.remarks]
    return list_html(said) if said else ""


def _held_out(found: HeldOutSensitivity, facts: SensitivityFacts, n_draws: int) -> list[Section]:
    title = _NAMES[found.kind]
    board = found.headline
    if board is None:
        return [Section(title, paragraph_html(found.withheld), tone="care")]
    sections = [_forest(board, found), _scatter(board, found, facts), _table(board, found, n_draws)]
    in_full = [other for other in found.boards if other.name == MEASURED]
    others = [other for other in found.boards if other.name not in (board.name, MEASURED)]
    if others:
        sections.append(_in_short([board, *others], found))
    return [*sections, *(_table(other, found, n_draws) for other in in_full)]


def _forest(board: Board, found: HeldOutSensitivity) -> Section:
    """Draw the correlation of every predictor; hollow where generated expression is not told apart."""
    rows = [row for row in board.rows if not np.isnan(row.metrics[PRIMARY].mean)]
    held = [row.metrics[PRIMARY] for row in rows]
    own = board.rows[0].metrics[PRIMARY].mean
    figure = interval_forest(
        [row.title for row in rows],
        np.array([each.mean for each in held]),
        np.array([each.low for each in held]),
        np.array([each.high for each in held]),
        axis_title="correlation of predicted with measured",
        reference=own,
    )
    is_apart = [row.name == GENERATED or _is_apart(board, row.name) for row in rows]
    colours = [ACCENT if row.name in (GENERATED, GENERATED_BASELINE, MEASURED) else MUTED for row in rows]
    figure.data[0].marker.color = [
        colour if apart else "#ffffff" for colour, apart in zip(colours, is_apart, strict=True)
    ]
    figure.data[0].marker.line.color = colours
    html = figure_html(figure, 100 + 42 * len(rows), "Correlation of predicted with measured sensitivity")
    subtitle = "the line is generated expression; hollow: not distinguishable from it (paired)"
    return Section(f"{_NAMES[found.kind]}: what predicts sensitivity", html, subtitle, width="wide")


def _is_apart(board: Board, name: str) -> bool:
    gain = board.gains[name][PRIMARY]
    return not gain.low <= 0 <= gain.high


def _scatter(board: Board, found: HeldOutSensitivity, facts: SensitivityFacts) -> Section:
    """Draw predicted against measured of every pair, from generated expression."""
    shown = found.predictions
    if shown is None:
        return Section("Pair by pair", paragraph_html("No predictions are kept."), width="narrow")
    predicted = shown.predicted[GENERATED]
    n_pairs = len(shown.value)
    kept = np.unique(np.linspace(0, n_pairs - 1, min(n_pairs, _MOST_POINTS)).astype(np.int64))
    figure = go.Figure()
    is_seen = np.array(shown.is_seen)
    for rows, name, colour in (
        (kept[~is_seen[kept]], "compound new to the generator", ACCENT),
        (kept[is_seen[kept]], "compound seen by the generator", _SEEN_COLOUR),
    ):
        if not len(rows):
            continue
        figure.add_scatter(
            x=shown.value[rows],
            y=predicted[rows],
            mode="markers",
            name=name,
            hovertext=[f"{shown.compound[row]}, {shown.line[row]}" for row in rows],
            hovertemplate="%{hovertext}<br>measured %{x:.2f}, predicted %{y:.2f}<extra></extra>",
            marker={"size": 6, "color": colour, "opacity": 0.6, "line": {"width": 0}},
        )
    low, high = (float(end(np.concatenate([shown.value, predicted]))) for end in (np.min, np.max))
    line = {"color": "#9aa5b0", "width": 1, "dash": "dot"}
    figure.add_shape(type="line", x0=low, y0=low, x1=high, y1=high, line=line, layer="below")
    figure.update_layout(
        xaxis={"title": {"text": f"measured {facts.value_title}"}},
        yaxis={"title": {"text": "predicted from generated expression"}},
        showlegend=bool(is_seen.any()),
        legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        margin={"t": 60 if is_seen.any() else 12},
    )
    html = figure_html(figure, 100 + 42 * len(board.rows), "Predicted against measured sensitivity")
    dropped = "" if len(kept) == n_pairs else f", {len(kept):,} drawn"
    return Section("Pair by pair", html, f"{n_pairs:,} pairs, out of fold{dropped}", width="narrow")


def _table(board: Board, found: HeldOutSensitivity, n_draws: int) -> Section:
    within = "r within a line" if found.kind == "compounds" else "r within a compound"
    frame = pl.DataFrame(
        [
            {
                "": row.title,
                "r": plus_minus(row.metrics["pearson"]),
                "minus": "" if row.name == GENERATED else _signed(board, row.name),
                within: row.metrics["pearson_within"].mean,
                "rho": row.metrics["spearman"].mean,
                "R2": row.metrics["r2"].mean,
                "RMSE": row.metrics["rmse"].mean,
                "looks at": _looked_at(row.chosen, found.n_folds),
            }
            for row in board.rows
        ]
    )
    classes = {GENERATED: "strong", **dict.fromkeys(_GREYED, "muted")}
    html = table_html(
        frame,
        headers={"minus": "generated minus it, r", "rho": "rank r"},
        formats=dict.fromkeys((within, "rho", "R2", "RMSE"), fixed(3)),
        row_classes=[classes.get(row.name, "") for row in board.rows],
        number_columns=("r", "minus"),
        caption=f"Mean ± half the {LEVEL:.0%} interval ({n_draws:,} resamplings of whole "
        f"{_RESAMPLED[found.kind]}); differences are paired. Every row predicts the same pairs by "
        "ridge, linear or on kernels; which, and its penalty, is chosen inside the training folds.",
    )
    return Section(board_title(board, found), html + csv_link(_long(board), f"sensitivity_{board.name}.csv"))


def _in_short(boards: Sequence[Board], found: HeldOutSensitivity) -> Section:
    """Set generated expression beside what needs none, one row a choice of pairs."""
    frame = pl.DataFrame(
        [
            {
                "": board.title,
                "pairs": board.n_pairs,
                "compounds": board.n_compounds,
                "r": plus_minus(board.rows[0].metrics[PRIMARY]),
                STRUCTURE: _signed(board, STRUCTURE),
                STRUCTURE_AND_CELL: _signed(board, STRUCTURE_AND_CELL),
            }
            for board in boards
        ]
    )
    html = table_html(
        frame,
        headers={
            "r": "r of generated expression",
            STRUCTURE: "minus the fingerprint's",
            STRUCTURE_AND_CELL: "minus fingerprint + cell line's",
        },
        row_classes=["strong", *[""] * (len(boards) - 1)],
        number_columns=("r", STRUCTURE, STRUCTURE_AND_CELL),
        caption="The first row is the table above. Differences are paired, with 95% intervals.",
    )
    every = pl.concat([_long(board).with_columns(pairs=pl.lit(board.title)) for board in boards])
    title = f"{_NAMES[found.kind]}: by what the generator saw"
    return Section(title, html + csv_link(every, f"sensitivity_by_{found.kind}.csv"))


def _signed(board: Board, name: str) -> str:
    gain = board.gains[name][PRIMARY]
    return f"{gain.mean:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]"


def _looked_at(chosen: tuple[tuple[str, int], ...], n_folds: int) -> str:
    """Say what a regression chose to look at, and in how many folds where they disagree."""
    if not chosen:
        return ""
    title, count = chosen[0]
    return title if count == n_folds else f"{title} ({count} of {n_folds} folds)"


def _long(board: Board) -> pl.DataFrame:
    """Return every metric of every predictor with its interval, one a row."""
    rows = []
    for row in board.rows:
        for name in METRICS:
            found = row.metrics[name]
            rows.append(
                {
                    "predictor": row.title,
                    "metric": name,
                    "value": found.mean,
                    "low": found.low,
                    "high": found.high,
                }
            )
    return pl.DataFrame(rows)
