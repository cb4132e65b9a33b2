"""What a search with a signature found, as tables, words and a heatmap of its genes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import plotly.graph_objects as go
import polars as pl
from markupsafe import Markup, escape
from numpy.typing import NDArray
from pertcast.report.screen.heatmaps import heatmap
from pertcast.report.tables import fixed, format_number
from pertcast.report.theme import INK
from pertcast_data.gene_tables.identifiers import fold_gene
from pertcast_data.text import counted, listed

from pertcast_serve.page.html import anchor, table
from pertcast_serve.page.views.asked import COMPOUND
from pertcast_serve.page.views.profile_rows import row_link, row_name
from pertcast_serve.schemas.analysis import ConnectivityResponse, ConnectivityRow, MappedList
from pertcast_serve.schemas.models import Vocabulary
from pertcast_serve.services import StoredProfiles

DRAWN_ROWS: Final = 8
"""Rows of each tail in the heatmap."""
_DRAWN_GENES: Final = 15
"""Genes of each direction in the heatmap."""
_TAU: Final = 95
_MOST_NAMES: Final = 12
_HEADERS: Final = {
    "raw_cs": "raw",
    "norm_cs": "NCS",
    "tau": "tau",
    "fdr_q_nlog10": "−log10 q",
    "n_profiles": "profiles",
}


def of_word(rows: Sequence[ConnectivityRow], word: str) -> list[ConnectivityRow]:
    """Return the rows that mimic, or those that reverse."""
    return [row for row in rows if row.word == word]


def tail_table(
    rows: Sequence[ConnectivityRow], header: str, vocabulary: Vocabulary, model: str | None, own: str = ""
) -> Markup | None:
    """Return one tail as a table; None where it is empty.

    Parameters
    ----------
    rows
        Rows of the tail, the strongest first.
    header
        Heading of the names.
    vocabulary
        Perturbations that it knows lead to their own view.
    model
        As the address names it.
    own
        Address of the perturbation that is asked about; its row is greyed.
    """
    if not rows:
        return None
    addresses = [_address(row, vocabulary, model) for row in rows]
    columns: dict[str, list[Any]] = {
        "name": [
            str(escape(row_name(row)) if address is None else anchor(row_name(row), address))
            for row, address in zip(rows, addresses, strict=True)
        ]
    }
    if any(row.cell_iname is not None for row in rows):
        columns["line"] = [row.cell_iname for row in rows]
    else:
        columns["n_cells"] = [row.n_cells for row in rows]
        columns["n_profiles"] = [row.n_profiles for row in rows]
    for name in ("raw_cs", "norm_cs", "tau", "fdr_q_nlog10"):
        columns[name] = [getattr(row, name) for row in rows]
    numbers = dict.fromkeys(("raw_cs", "norm_cs", "tau", "fdr_q_nlog10"), pl.Float64)
    return table(
        pl.DataFrame(columns, schema_overrides=numbers),
        headers={"name": header, "n_cells": "lines", **_HEADERS},
        formats={"raw_cs": fixed(3), "norm_cs": fixed(2), "tau": fixed(1), "fdr_q_nlog10": fixed(1)},
        row_classes=["muted" if own and address == own else "" for address in addresses],
        raw_columns=["name"],
    )


def _address(row: ConnectivityRow, vocabulary: Vocabulary, model: str | None) -> str | None:
    """Return the view of a perturbation; None where the model does not know it."""
    if row.pert_id is None:
        return None
    parts = row.pert_id.split("+") if row.pert_type != COMPOUND else [row.pert_id]
    known = {*vocabulary.compounds, *vocabulary.targets, *vocabulary.genes}
    if not known.issuperset(parts):
        return None
    return row_link(row, model)


def verdict(found: ConnectivityResponse) -> str:
    """Say which reference is the strongest of each tail."""
    said = []
    for word, words in (("mimics", "mimics it most"), ("reverses", "reverses it most")):
        first = next((row for row in found.rows if row.word == word), None)
        if first is None:
            said.append(f"Nothing {word} it.")
            continue
        name = row_name(first) + (f" in {first.cell_iname}" if first.cell_iname else "")
        numbers = f"NCS {format_number(first.norm_cs)}" if first.norm_cs is not None else ""
        numbers = numbers or f"{found.score} {format_number(first.raw_cs)}"
        if first.tau is not None:
            numbers = f"tau {first.tau:.1f}, {numbers}"
        said.append(f"{name} {words} ({numbers}).")
    return " ".join(said)


def by_chance(found: ConnectivityResponse) -> str:
    """Say how many rows of the library would have a large tau of any signature."""
    if not any(row.tau is not None for row in found.rows):
        return ""
    share = 1 - _TAU / 100
    expected = round(found.n_searched * share)
    return (
        f"Of an unrelated signature about {share:.0%} of the {counted(found.n_searched, 'profile')} of this "
        f"library, here {expected:,}, have a tau beyond {_TAU} or -{_TAU}: a large tau alone is no finding."
    )


def mapping_rows(mapped: MappedList) -> list[tuple[str, str]]:
    """Return what became of one list: (what, names and their number)."""
    rows = [("used", f"{len(mapped.used):,} of {mapped.n_named:,}")]
    for words, names in (
        ("known, not measured here", mapped.not_measured),
        ("no gene", mapped.invalid),
    ):
        if names:
            rows.append((words, f"{len(names):,}: {listed(names, _MOST_NAMES)}"))
    return rows


def heatmap_of(
    rows: Sequence[ConnectivityRow],
    profiles: StoredProfiles,
    rising: Sequence[str],
    falling: Sequence[str],
) -> tuple[go.Figure, int, int]:
    """Draw the signature's genes over its strongest mimickers and reversers.

    Parameters
    ----------
    rows
        The H rows, mimickers before reversers.
    profiles
        Their profiles (H, G).
    rising, falling
        Genes of the signature as the profiles name them, the ones to prefer first.

    Returns
    -------
    tuple
        The figure, and how many rising and falling genes it shows.
    """
    place = {gene: column for column, gene in enumerate(profiles.genes)}
    up = _strongest(profiles.values, [place[gene] for gene in rising])
    down = _strongest(profiles.values, [place[gene] for gene in falling])
    values = profiles.values[:, [*up, *down]]
    names = [f"{row_name(row)}, {row.cell_iname}" if row.cell_iname else row_name(row) for row in rows]
    limit = float(np.quantile(np.abs(values), 0.98)) or 1.0
    drawn = heatmap(
        values,
        names,
        [profiles.genes[column] for column in [*up, *down]],
        colour_title="response",
        limits=(-limit, limit),
    )
    n_mimics = sum(row.word == "mimics" for row in rows)
    edge = {"color": INK, "width": 1.5}
    if 0 < n_mimics < len(rows):
        drawn.add_hline(n_mimics - 0.5, line=edge)
    if up and down:
        drawn.add_vline(len(up) - 0.5, line=edge)
    return drawn, len(up), len(down)


def _strongest(values: NDArray[np.float32], columns: Sequence[int]) -> list[int]:
    """Return the columns that move most in any row, ordered by their mean over the rows."""
    if not columns:
        return []
    chosen = np.array(columns)
    size = np.abs(values[:, chosen]).max(axis=0)
    kept = chosen[np.argsort(-size, kind="stable")[:_DRAWN_GENES]]
    return [int(column) for column in kept[np.argsort(-values[:, kept].mean(axis=0), kind="stable")]]


def directions(
    values: Mapping[str, float], genes: Sequence[str], most: int = _DRAWN_GENES
) -> tuple[list[str], list[str]]:
    """Return the genes of a library that rise and fall most in a signature of values.

    Parameters
    ----------
    values
        Gene as the signature names it -> value.
    genes
        Names of the library.
    most
        Genes of each direction.
    """
    folded = {fold_gene(name): value for name, value in values.items()}
    found = [(folded[name], gene) for gene in genes if (name := fold_gene(gene)) in folded]
    rising = sorted((pair for pair in found if pair[0] > 0), key=lambda pair: -pair[0])[:most]
    falling = sorted((pair for pair in found if pair[0] < 0), key=lambda pair: pair[0])[:most]
    return [gene for _, gene in rising], [gene for _, gene in falling]
