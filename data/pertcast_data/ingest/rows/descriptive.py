"""Guides, donors and replicates: columns that a store has only where its source has them.

A file's own column of such a name stays as it is; one of another name is brought under the canonical one.
"""

from __future__ import annotations

import polars as pl

from pertcast_data.ingest.rows.columns import RowTable, Taken
from pertcast_data.ingest.rows.perturbations import GUIDES_READ
from pertcast_data.vocabulary import DESCRIPTIVE_COLUMNS


def batch_of_donor(table: RowTable, batches: pl.Series) -> pl.Series:
    """Return the donors as batches, where the file has no batch and the mapping file says nothing of it.

    Parameters
    ----------
    table
        The file's rows; its findings are told.
    batches
        The batches so far, without any value.
    """
    if table.mapping.batch_id is not None:
        return batches
    donors = table.take("donor_id")
    if donors is None:
        return batches
    table.findings.decide("batch_id", donors.column or f"= {donors.values[0]}", "derived")
    return donors.as_text().alias("batch_id")


def descriptive_columns(table: RowTable) -> pl.DataFrame:
    """Return those of DESCRIPTIVE_COLUMNS, as text, that the file tells under other names or by a constant.

    Where names of perturbations were read as those of guides, and no column is one of guides, the column of
    the names is `guide_id`. To be called after the perturbations are read.
    """
    found = {name: _taken(table, name) for name in DESCRIPTIVE_COLUMNS}
    return pl.DataFrame(
        [
            taken.as_text().alias(name)
            for name, taken in found.items()
            if taken is not None and not _is_kept_as_it_is(table, name, taken)
        ]
    )


def _taken(table: RowTable, name: str) -> Taken | None:
    taken = table.take(name)
    has_guides = GUIDES_READ in table.findings.counts
    if name != "guide_id" or taken is not None or table.mapping.guide_id is not None or not has_guides:
        return taken
    column = next(
        (
            decision.source
            for canonical in ("cmap_name", "pert_id")
            for decision in table.findings.columns
            if decision.canonical == canonical and decision.source in table.frame.columns
        ),
        None,
    )
    if column is None:
        return None
    table.findings.decide("guide_id", column, "derived")
    return Taken(table.frame[column], column)


def _is_kept_as_it_is(table: RowTable, name: str, taken: Taken) -> bool:
    rule = table.mapping.rule(name)
    return taken.column == name and (rule is None or rule.is_plain)
