"""Sections of a report about gene modules: the answer, the heatmap, every module, limits."""

from __future__ import annotations

import polars as pl

from pertcast.analysis.gene_modules import GeneModuleResult
from pertcast.analysis.gene_modules.names import SIGNIFICANT
from pertcast.report.gene_module_figures import module_heatmaps, shown_columns
from pertcast.report.page import Section, figure_html, list_html, paragraph_html
from pertcast.report.tables import fixed, table_html


def gene_module_sections(result: GeneModuleResult) -> list[Section]:
    """Return the cards of a result, the answer first.

    Parameters
    ----------
    result
        Of `pertcast.analysis.gene_modules.analyse_gene_modules`.
    """
    limits = Section("What gene modules do not show", list_html(result.not_shown()), tone="care")
    return [_answer(result), _heatmap(result), _modules(result), limits]


def _answer(result: GeneModuleResult) -> Section:
    entries = [*result.contenders, *([result.ceiling] if result.ceiling is not None else [])]
    rows = [
        {"": found.title, "over modules": found.overall.words(), "over conditions": found.module_mean}
        for found in entries
    ]
    muted = ["muted"] if result.ceiling is not None else []
    html = paragraph_html(result.sentence(), lead=True)
    html += table_html(
        pl.DataFrame(rows),
        formats={"over conditions": fixed(3)},
        row_classes=["strong", *[""] * (len(result.contenders) - 1), *muted],
        number_columns=("over modules",),
        caption="Pearson of predicted and measured module responses. Over modules: mean of the conditions, "
        "with 95 % intervals over perturbations. Over conditions: mean of the modules, whether perturbations "
        f"are told apart. {result.n_conditions:,} held-out conditions of {result.n_perturbations:,} "
        "perturbations.",
        download="module_agreement.csv",
    )
    return Section("Are the responses of modules predicted?", html)


def _heatmap(result: GeneModuleResult) -> Section:
    rows, columns = result.heatmap.conditions.height, len(shown_columns(result))
    label = "Responses of conditions and modules, measured and predicted"
    html = figure_html(module_heatmaps(result), 260 + 16 * rows, label)
    subtitle = (
        f"mean over genes of response / gene's root mean square; {rows:,} of {result.n_conditions:,} "
        f"conditions, largest measured effects; {columns:,} of {len(result.heatmap.columns):,} modules; both "
        "in the order of clustering what was measured"
    )
    return Section("Conditions and modules", html, subtitle)


def _modules(result: GeneModuleResult) -> Section:
    frame = result.module_frame().sort("genes", descending=True, maintain_order=True)
    html = table_html(
        frame,
        headers={
            "gene_set": "best gene set",
            "edges": "edges within",
            "z": "network enrichment z",
            "shared": "genes shared",
            "set_genes": "genes of the set",
            "pearson": "Pearson over conditions",
        },
        formats=dict.fromkeys(("z",), fixed(1)) | {"pearson": fixed(2)},
        row_classes=["muted" if q is not None and q > SIGNIFICANT else "" for q in frame["q"]],
        caption=_caption(result),
        download="gene_modules.csv",
    )
    return Section("All modules", html, "members: modules.gmt beside this report")


def _caption(result: GeneModuleResult) -> str:
    network, names = result.connections, result.names
    said = [f"z {result.network_note.rstrip('.')}."]
    if network is not None:
        said = [
            f"z: edges within the module against {network.permutations:,} permutations of the labels of the "
            f"{network.n_genes:,} genes with an edge in {network.source or 'the network'}."
        ]
    if names is None:
        said.append(f"Modules are {result.names_note.rstrip('.')}.")
    else:
        said.append(
            f"q: one-sided hypergeometric test by gseapy, {len(result.modules.genes):,} genes as background, "
            f"Benjamini-Hochberg over all pairs of module and set ({names.n_sets:,} sets of {names.source}, "
            f"{len(names.dropped):,} dropped); muted where it is above {SIGNIFICANT:g}."
        )
    return " ".join(said)
