"""Sections of a report about pairs: the answer, contenders, the map, predicted against measured, limits."""

from __future__ import annotations

from typing import Any, Final

import polars as pl

from pertcast.analysis.epistasis import KINDS, PairEpistasis
from pertcast.analysis.epistasis.kinds import ADDITIVE
from pertcast.analysis.epistasis.result import with_interval
from pertcast.report.epistasis_figures import LARGEST_C, excess_scatter, interaction_map
from pertcast.report.page import Section, figure_html, list_html, paragraph_html
from pertcast.report.tables import fixed, format_number, table_html

MOST_ROWS: Final = 40
"""Pairs in the table, strongest first; the download holds as many, biology.json all."""

_FIGURE_HEIGHT: Final = 440


def epistasis_sections(result: PairEpistasis, unit: str = "response") -> list[Section]:
    """Return the cards of a result, the answer first.

    Parameters
    ----------
    result
        Of held-out pairs.
    unit
        Of a response.
    """
    limits = Section(
        "What interactions of pairs do not show",
        list_html([*result.not_shown(), *result.remarks]),
        tone="care",
    )
    return [_answer(result), _map(result), _scatter(result, unit), _strongest(result), _kinds(result), limits]


def _answer(result: PairEpistasis) -> Section:
    rows: list[dict[str, Any]] = [
        {
            "": found.title,
            "r": found.correlation.words(2),
            "interacting": found.correlation_interacting.words(2),
            "removed": found.removed.words(2),
            "kind": found.same_kind.words(2),
            "area": found.roc_area.words(2),
            "precision": found.precision.words(2),
        }
        for found in result.contenders
    ]
    dash = dict.fromkeys(("r", "interacting", "removed", "kind", "area", "precision"), "–")
    perfect = {"r": fixed(2)(result.ceiling()), "interacting": fixed(2)(result.ceiling(True))}
    finding = {"area": result.sum_area.words(2), "precision": result.sum_precision.words(2)}
    rows.append({"": "Perfect prediction", **dash, **perfect})
    rows.append({"": "Length of the measured sum", **dash, **finding})
    html = paragraph_html(result.sentence(), lead=True) + table_html(
        pl.DataFrame(rows),
        headers={
            "r": "r of excess",
            "interacting": "r, interacting pairs",
            "removed": "error removed",
            "kind": "same kind",
            "area": "AUROC, strongest third",
            "precision": "average precision",
        },
        row_classes=["strong", *[""] * (len(result.contenders) - 1), "muted", "muted"],
        number_columns=tuple(dash),
        caption=result.note(),
        download="pair_contenders.csv",
    )
    return Section("Are interactions of pairs predicted?", html)


def _map(result: PairEpistasis) -> Section:
    table = result.measured.table
    unknown = int(table["c"].null_count())
    beyond = int((table["c"].abs() > LARGEST_C).sum())
    drawn = table.height - unknown
    said = [f"{drawn:,} of {table.height:,} pairs; hollow: not told apart from the sum, or unresolved"]
    if unknown:
        said.append(f"{unknown:,} are not drawn: the sum of their singles is not told apart from nothing")
    said += [f"{beyond:,} with |c| above {LARGEST_C:g} at the border"] if beyond else []
    label = "Measured pairs: projection on the sum of the singles against the share outside their span"
    html = figure_html(interaction_map(result), _FIGURE_HEIGHT, label)
    return Section("What pairs do", html, "; ".join(said), width="half")


def _scatter(result: PairEpistasis, unit: str) -> Section:
    label = "Length of the predicted excess against the measured one, pair by pair"
    html = figure_html(excess_scatter(result, unit), _FIGURE_HEIGHT, label)
    said = f"{result.n_pairs:,} held-out pairs; measured lengths are freed of noise; dotted: equal"
    return Section("Predicted and measured excess", html, said, width="half")


def _strongest(result: PairEpistasis) -> Section:
    table = result.strongest()
    rows = [
        {
            "pair": f"{row['first']}+{row['second']}",
            "context": row["cell_iname"],
            "kind": row["kind"],
            "c": with_interval(row, "c"),
            "c1": row["c1"],
            "c2": row["c2"],
            "outside": with_interval(row, "outside_share"),
            "excess": with_interval(row, "excess"),
            "q": row["q"],
            "predicted_kind": row["predicted_kind"],
            "predicted": row["predicted_excess"],
            "r": row["correlation"],
        }
        for row in table.head(MOST_ROWS).iter_rows(named=True)
    ]
    html = table_html(
        pl.DataFrame(
            rows, schema_overrides=dict.fromkeys(("c1", "c2", "r"), pl.Float64), infer_schema_length=None
        ),
        headers={
            "outside": "share outside",
            "predicted_kind": "predicted kind",
            "predicted": "predicted excess",
            "r": "r of excess",
        },
        formats={"c1": fixed(2), "c2": fixed(2), "r": fixed(2), "q": format_number},
        row_classes=["muted" if row["kind"] == ADDITIVE else "" for row in rows],
        number_columns=("c", "outside", "excess"),
        caption="c: projection on the sum of the singles, 1 where additive; c1, c2: coefficients of the two "
        "singles; share outside: of the squared response, outside the span of the singles; excess: length "
        "over genes of pair minus sum; all freed of noise, with 95 % intervals over replicates. q: of no "
        f"excess, Benjamini-Hochberg over {result.n_pairs:,} pairs. Predicted: by {result.model.title}.",
        download="strongest_pairs.csv",
    )
    return Section("Strongest interactions", html, f"{len(rows):,} of {result.n_pairs:,} pairs")


def _kinds(result: PairEpistasis) -> Section:
    confusion = result.model.confusion
    rows = [
        {"measured": kind, **dict(zip(KINDS, confusion[number].tolist(), strict=True))}
        for number, kind in enumerate(KINDS)
    ]
    share = result.model.same_kind
    html = table_html(
        pl.DataFrame(rows),
        headers={"measured": "measured kind / predicted"},
        caption=f"Pairs of each measured kind by the kind that {result.model.title} predicts; "
        f"the same kind in {share.words(2)} of {share.n:,}.",
        download="pair_kinds.csv",
    )
    return Section("Kinds, measured and predicted", html)
