"""The genes that several files share, whatever order each of them has its genes in.

What a file lacks was not measured there; it is left out of the store, with the number said.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from pertcast_data.errors import SchemaError
from pertcast_data.gene_tables.identifiers import ENSEMBL_VERSION, identifier_key
from pertcast_data.ingest.findings import Findings
from pertcast_data.ingest.genes.alignment import check_alignment, columns_to_check
from pertcast_data.ingest.mapping.rules import GeneRule
from pertcast_data.text import listed

GeneKey = Literal["gene_id", "gene_symbol"]
LEAST_SHARED: Final = 0.8
"""Share of a file's genes that several files must share for a join without a warning."""


def join_genes(
    tables: Sequence[pl.DataFrame],
    paths: Sequence[Path],
    on: GeneKey | None,
    findings: Findings,
    rule: GeneRule | None = None,
) -> tuple[pl.DataFrame, list[npt.NDArray[np.int64]]]:
    """Find the genes that all files share, in the first file's order.

    A gene that a file lacks was not measured there: it is left out, never taken for zero. Ids are compared
    without version ("ENSG00000141510.17") and a trailing ".0".

    Parameters
    ----------
    tables
        Canonical gene tables.
    paths
        Their files.
    on
        Column to join on; None takes the one that more genes share.
    findings
        Told the join and what it left out.
    rule
        What the mapping file says: the columns it chose, and whether genes may be `missing`.

    Returns
    -------
    tuple
        The first file's gene table restricted to shared genes, and for each file the columns of its matrix in
        that order.

    Raises
    ------
    SchemaError
        No gene is shared, a file lacks genes of another and the mapping file refuses that, or the files
        contradict each other in what ids are called.
    """
    rule = rule or GeneRule()
    check_alignment([columns_to_check(table, rule) for table in tables], paths, findings)
    shared = {key: _shared([_keys_of(table, key) for table in tables]) for key in _keys(on)}
    key = max(shared, key=lambda name: len(shared[name]))
    names = shared[key]
    if not names:
        raise SchemaError(
            f"{listed(path.name for path in paths)} share no gene by {' or '.join(shared)}. "
            "Name the columns of the gene table in the mapping file (genes, join), or a table of gene names "
            "(genes: names)."
        )
    joined = [_keys_of(table, key) for table in tables]
    _tell_lost(joined, names, paths, findings, rule)
    findings.converted.append(f"{len(tables)} files joined on {len(names):,} shared genes by {key}")
    columns = [
        np.array([position[name] for name in names], np.int64)
        for position in ({name: row for row, name in enumerate(each)} for each in joined)
    ]
    return tables[0][columns[0].tolist()], columns


def _keys(on: GeneKey | None) -> tuple[GeneKey, ...]:
    return ("gene_id", "gene_symbol") if on is None else (on,)


def _keys_of(table: pl.DataFrame, key: GeneKey) -> pl.Series:
    """Return the names by which files are joined: ids without version and ".0", symbols as they are."""
    if key == "gene_symbol":
        return table[key]
    return table[key].str.replace(ENSEMBL_VERSION, "$1").str.replace(r"^(\d+)\.0$", "$1")


def _shared(names: Sequence[pl.Series]) -> list[str]:
    once = [each.filter(~each.is_duplicated()).drop_nulls() for each in names]
    common = set(once[0].to_list()).intersection(*(each.to_list() for each in once[1:]))
    return [name for name in once[0].to_list() if name in common]


def _tell_lost(
    joined: Sequence[pl.Series], names: list[str], paths: Sequence[Path], findings: Findings, rule: GeneRule
) -> None:
    """Tell the genes that each file loses; a warning where they are many, or differ only in spelling."""
    lost = [each.filter(~each.is_in(names).fill_null(False)) for each in joined]
    incomplete = [place for place, each in enumerate(lost) if len(each)]
    if incomplete and rule.missing == "refuse":
        told = (
            f"{len(lost[place]):,} only in {paths[place].name} ({listed(lost[place])})"
            for place in incomplete
        )
        raise SchemaError(
            f"The files do not have the same genes: {'; '.join(told)} (mapping file, genes: missing: "
            "refuse). Bring files of the same genes, choose them (genes: keep), or say missing: shared."
        )
    for place in incomplete:
        n_genes = len(joined[place])
        findings.dropped.append(f"{len(lost[place]):,} genes of {paths[place].name} that not all files have")
        if len(names) < LEAST_SHARED * n_genes:
            findings.warnings.append(
                f"only {len(names):,} of {n_genes:,} genes of {paths[place].name} are shared by all files; "
                "the others are left out"
            )
    _tell_spellings(lost, findings)


def _tell_spellings(lost: Sequence[pl.Series], findings: Findings) -> None:
    """Warn of genes that were not joined because files spell them differently."""
    spelled = [{identifier_key(name): name for name in each.drop_nulls()} for each in lost]
    common = sorted(set(spelled[0]).intersection(*spelled[1:]))
    if common:
        told = listed(" / ".join(dict.fromkeys(each[key] for each in spelled)) for key in common)
        findings.warnings.append(
            f"{len(common):,} genes are not joined because the files spell them differently: {told}. A table "
            "of gene names brings them together (mapping file, genes: names)"
        )
