"""Rows of profiles that were found: how people call them, and the view of their perturbation."""

from __future__ import annotations

from pertcast.naming import kind_word

from pertcast_serve.page.html import link
from pertcast_serve.page.views.asked import COMPOUND, VIEW
from pertcast_serve.schemas.analysis import ConnectivityRow, NeighborRow

FoundRow = ConnectivityRow | NeighborRow
_SPACE = "\u00a0"
"""Does not break: a number stays with its unit."""


def row_name(row: FoundRow) -> str:
    """Return a perturbation for people, without its cell line: "nutlin-3, 10 uM, 24 h"."""
    words = [row.cmap_name or row.pert_id or row.sig_id or "unnamed"]
    if row.pert_type not in (None, COMPOUND):
        words[0] += f" {kind_word(str(row.pert_type))}"
    if row.pert_dose is not None:
        words.append(f"{row.pert_dose:.4g}{_SPACE}uM")
    if row.pert_time is not None:
        words.append(f"{row.pert_time:.4g}{_SPACE}h")
    return ", ".join(words)


def row_link(row: FoundRow, model: str | None) -> str:
    """Return the view of the perturbation of a row."""
    return link(
        VIEW,
        model=model,
        pert=row.pert_id or row.cmap_name,
        type=row.pert_type,
        cell=row.cell_iname,
        dose=row.pert_dose,
        time=row.pert_time,
    )
