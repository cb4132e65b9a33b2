"""The report of drug-target matching: the answer beside its controls, best genes, known targets, limits."""

from __future__ import annotations

from typing import Final

import polars as pl

from pertcast.analysis.drug_targets import TargetMatch
from pertcast.analysis.drug_targets.recovery import TOP_SHARES
from pertcast.report.drug_target_figures import auroc_forest, recovery_curves
from pertcast.report.page import Section, figure_html, list_html, paragraph_html, render_page
from pertcast.report.tables import fixed, table_html

_GENES_A_DRUG: Final = 5
_MOST_ROWS: Final = 200
_CAPTION: Final = (
    "AUROC: chance that a known target scores above a gene that is none (ties half), mean over drugs. Among "
    "targets: only against genes that the table names as targets of some drug. Pooled: all drugs' scores "
    "together. Top x %: share of a drug's targets that at most x % of the other genes score above. Brackets: "
    "95 % over drugs, differences paired. Popular targets are counted over other drugs only."
)


def drug_target_report(match: TargetMatch, footer: str = "") -> str:
    """Return the whole report as one self-contained HTML document."""
    facts = match.facts
    lines = ", ".join(facts["lines"][:4]) + (
        f" and {len(facts['lines']) - 4} more" if len(facts["lines"]) > 4 else ""
    )
    provenance = (
        f"library {facts['library']}: {facts['n_profiles']:,} profiles of {facts['n_genes']:,} genes "
        f"({', '.join(facts['types'])}) · drugs {facts['drugs']} · "
        f"{facts['n_shared_genes']:,} shared genes · "
        f"{'lines ' + lines if lines else 'consensus of lines'} · seed {facts['seed']}"
    )
    return render_page(
        title=match.title(), provenance=provenance, sections=drug_target_sections(match), footer=footer
    )


def drug_target_sections(match: TargetMatch) -> list[Section]:
    """Return the cards of a match, the answer first.

    Parameters
    ----------
    match
        Of `pertcast.analysis.drug_targets.match_drug_targets`.
    """
    cards = [_answer(match)]
    if match.recovery:
        cards += _figures(match)
    cards.append(_best(match))
    if match.known is not None:
        cards.append(_known(match.known, match.facts["boards"][-1]))
    limits = list_html([*match.not_shown(), *match.remarks])
    return [*cards, Section("What this does not show", limits, tone="care")]


def _answer(match: TargetMatch) -> Section:
    html = paragraph_html(match.sentence(), lead=True)
    if match.recovery:
        rows = [
            {
                "": found.title,
                "AUROC": found.auroc.words(),
                "result minus it": "" if found.difference is None else found.difference.words(),
                "AUROC among targets": found.among.words(),
                "minus it among targets": ""
                if found.difference_among is None
                else found.difference_among.words(),
                "pooled AUROC": found.pooled.words(),
                **{f"top {share:.0%}": found.top[share].words(2) for share in TOP_SHARES},
                "drugs": found.n_drugs,
            }
            for found in match.recovery
        ]
        frame = pl.DataFrame(rows)
        html += table_html(
            frame,
            row_classes=["strong", *("muted" if each.is_control else "" for each in match.recovery[1:])],
            number_columns=frame.columns[1:],
            caption=_CAPTION,
            download="target_recovery.csv",
        )
    return Section("Which genes' loss do drugs resemble?", html)


def _figures(match: TargetMatch) -> list[Section]:
    height = 90 + 34 * len(match.recovery)
    forests = [
        Section(
            title,
            figure_html(auroc_forest(match.recovery, among), height, title),
            "hollow: chance (0.5) is inside the interval; grey numbers: drugs",
            width="half",
        )
        for title, among in (
            ("Targets against all genes", False),
            (
                f"Targets against the {match.facts['n_target_genes']:,} genes that are targets of some drug",
                True,
            ),
        )
    ]
    curves = figure_html(recovery_curves(match.recovery), 400, "Share of targets in the top of the ranking")
    return [*forests, Section("How far down the ranking are the targets?", curves, "dotted: chance")]


def _best(match: TargetMatch) -> Section:
    board = match.facts["boards"][-1]
    rows = match.targets.filter((pl.col("type") == board) & (pl.col("rank") <= _GENES_A_DRUG))
    queries = rows.group_by("drug", "cell_iname", maintain_order=True).agg(
        pl.col("gene").str.join(", ").alias("genes"),
        pl.col("score").first(),
        pl.col("gene").filter(pl.col("is_known")).str.join(", ").alias("known"),
    )
    shown = queries.sort("score", descending=True, maintain_order=True).head(_MOST_ROWS)
    return Section(
        "Best genes of every drug",
        table_html(
            shown.with_columns(pl.col("cell_iname").fill_null("consensus")),
            headers={
                "cell_iname": "cell line",
                "genes": f"best {_GENES_A_DRUG} genes, best first",
                "score": "score of the best",
                "known": "known targets among them",
            },
            formats={"score": fixed(3)},
            caption=f"{board}; {shown.height:,} of {queries.height:,} drugs x cell lines, largest scores. "
            f"All rankings (best {match.facts['keep']:,}) are in targets.parquet.",
            download="best_genes.csv",
        ),
        "sign by type: an inhibitor resembles knock-down and knock-out and opposes over-expression",
    )


def _known(known: pl.DataFrame, board: str) -> Section:
    own = known.filter(pl.col("type") == board).sort("percentile", descending=True, maintain_order=True)
    shown = own.drop("type").head(_MOST_ROWS)
    return Section(
        "Known targets, best placed first",
        table_html(
            shown.with_columns(pl.col("cell_iname").fill_null("consensus")),
            headers={"cell_iname": "cell line", "n_genes": "genes ranked"},
            formats={"score": fixed(3), "rank": fixed(1), "percentile": fixed(1)},
            caption=f"{board}; {shown.height:,} of {own.height:,} pairs; ranks over all genes, equal "
            "scores at their mean rank; percentile 100 is the top. All are in known.parquet.",
            download="known_targets.csv",
        ),
        "chosen by rank: the recovery above, not this list, says how good the ranking is",
    )
