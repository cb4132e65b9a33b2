"""Which perturbation each row has: names, kinds and controls of a file put together.

Kinds come first, as they tell how names are read; names tell controls where the mapping file does not.
"""

from __future__ import annotations

import polars as pl

from pertcast_data.ingest.rows.columns import RowTable, Taken, missing_column_error
from pertcast_data.ingest.rows.kinds import (
    Kinds,
    flagged_controls,
    read_kinds,
    undecided_control_code,
    user_controls,
)
from pertcast_data.ingest.rows.perturbations import read_names
from pertcast_data.text import fold, listed
from pertcast_data.vocabulary import GENETIC_TYPES


def read_perturbations(
    table: RowTable, has_structures: bool, known_genes: frozenset[str]
) -> dict[str, pl.Series]:
    """Return `pert_type`, `pert_id` and `cmap_name` of all rows.

    Parameters
    ----------
    table
        The kept rows; its findings are told what was read as what.
    has_structures
        Whether the file has structures, so that its perturbations may be compounds.
    known_genes
        Symbols of the file's genes: a perturbation of such a name is no guide.

    Raises
    ------
    SchemaError
        No column names the perturbation, or its kind cannot be told.
    """
    names, ids = table.take("cmap_name"), table.take("pert_id")
    main = names or ids
    if main is None:
        raise missing_column_error(table, "the perturbation", "cmap_name: {column: YOUR_COLUMN}")
    kinds = read_kinds(table, main.column, has_structures)
    read, told = _read_names(table, main, kinds, known_genes)
    if names is None:
        table.findings.decide("cmap_name", "pert_id", "derived")
    if ids is None:
        table.findings.decide("pert_id", "cmap_name", "derived")
    own_ids = read if ids is None else _read_names(table, ids, kinds, known_genes)[0]
    flags = flagged_controls(table, main.column, main.as_text(), read)
    pert_type = _with_controls(table, kinds, told, flags)
    nameless = pl.when(pl.col("type").str.starts_with("ctl_")).then(pl.lit("control"))
    frame = pl.DataFrame({"name": read, "pert_id": own_ids, "type": pert_type})
    return {
        "pert_type": pert_type,
        "pert_id": frame.select(pl.coalesce("pert_id", "name", nameless)).to_series(),
        "cmap_name": frame.select(pl.coalesce("name", "pert_id", nameless)).to_series(),
    }


def _read_names(
    table: RowTable, taken: Taken, kinds: Kinds, known_genes: frozenset[str]
) -> tuple[pl.Series, pl.Series]:
    """Read names by the kind of their row; rows without a kind (controls) go with the majority."""
    kind = pl.DataFrame({"kind": kinds.treatment}).select(pl.when(pl.col("kind") != "").then(pl.col("kind")))
    genetic = kind.to_series().is_in(GENETIC_TYPES)
    genetic = genetic.fill_null(bool(genetic.drop_nulls().sum() * 2 > len(genetic.drop_nulls())))
    texts, controls = taken.as_text(), user_controls(table, taken.column)
    (gene, gene_told), (compound, compound_told) = (
        read_names(_where(texts, mask), is_genetic, fold(taken.column), table.findings, known_genes, controls)
        for mask, is_genetic in ((genetic, True), (~genetic, False))
    )
    return _first_of(gene, compound), _first_of(gene_told, compound_told)


def _where(values: pl.Series, mask: pl.Series) -> pl.Series:
    return pl.select(pl.when(mask).then(values)).to_series()


def _first_of(first: pl.Series, second: pl.Series) -> pl.Series:
    return pl.select(pl.coalesce(first, second)).to_series()


def _with_controls(table: RowTable, kinds: Kinds, told: pl.Series, flags: pl.Series | None) -> pl.Series:
    """Return pert_type of all rows: marked controls, then the file's codes, controls' names, treatments."""
    rule = table.mapping.controls
    undecided = undecided_control_code(kinds.treatment)
    code = rule.pert_type if rule is not None and rule.pert_type else None
    frame = pl.DataFrame({"treatment": kinds.treatment, "own": kinds.control, "told": told}).with_columns(
        flag=flags if flags is not None else pl.lit(False),
        told=pl.when(pl.col("told") == "").then(pl.lit(undecided)).otherwise(pl.col("told")),
        treatment=pl.when(pl.col("treatment") != "").then(pl.col("treatment")),
        word=pl.when(pl.col("treatment") == "").then(pl.lit(undecided)),
    )
    marked = pl.coalesce(pl.lit(code, dtype=pl.String), "own", "told", pl.lit(undecided))
    by_name = pl.lit(None, dtype=pl.String) if rule is not None else pl.col("told")
    result = frame.select(
        pert_type=pl.when("flag").then(marked).otherwise(pl.coalesce("own", by_name, "treatment", "word"))
    )["pert_type"]
    _report_controls(table, frame, result)
    return result


def _report_controls(table: RowTable, frame: pl.DataFrame, result: pl.Series) -> None:
    renamed = int((frame["own"].is_null() & result.str.starts_with("ctl_").fill_null(False)).sum())
    if not renamed:
        return
    how = "by the mapping file" if table.mapping.controls is not None else "by name or flag"
    kinds = result.filter(result.str.starts_with("ctl_").fill_null(False)).unique().sort().to_list()
    table.findings.converted.append(f"{renamed:,} rows read as controls {how} ({listed(kinds)})")
    table.findings.count("rows read as controls", renamed)
