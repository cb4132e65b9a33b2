"""From a file's row table to the store's: one canonical row a profile, with everything that was changed said.

The order matters: missing values, then names and kinds, then controls, then doses, times and structures.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import polars as pl

from pertcast_data.errors import SchemaError
from pertcast_data.ingest.findings import Findings
from pertcast_data.ingest.mapping.ingest_mapping import IngestMapping
from pertcast_data.ingest.rows.amount_text import plain_micro
from pertcast_data.ingest.rows.amounts import DOSE, TIME, AmountKind, read_amounts
from pertcast_data.ingest.rows.columns import (
    SOURCE_ROW,
    RowTable,
    Taken,
    kept_rows,
    missing_column_error,
    tell_rows,
)
from pertcast_data.ingest.rows.descriptive import batch_of_donor, descriptive_columns
from pertcast_data.ingest.rows.missing import clear_missing
from pertcast_data.ingest.rows.structures import canonical_structures
from pertcast_data.ingest.rows.treatments import read_perturbations
from pertcast_data.ingest.storable import storable_names
from pertcast_data.readers.source import SOURCE_ID
from pertcast_data.text import counted, fold, listed
from pertcast_data.vocabulary import GENETIC_TYPES, OBS_COLUMNS

SOURCE_FILE = "source_file"
_TEXT_COLUMNS = ("cell_iname", "batch_id", "targets")
_OWN_COLUMNS = ("condition_id", "is_control")
"""What a store adds to every row."""

_NEEDED = ("cell_iname", "pert_id", "pert_type")


def harmonise(
    raw: pl.DataFrame, path: Path, mapping: IngestMapping, known_genes: frozenset[str] = frozenset()
) -> tuple[pl.DataFrame, Findings]:
    """Bring a file's row table into canonical form.

    Parameters
    ----------
    raw
        The file's row table (with its side table joined): `source_id` and the file's columns.
    path
        The file, for messages and `source_file`.
    mapping
        What the user says.
    known_genes
        Symbols of the file's genes, where known: a perturbation of such a name is no guide ("NKX2-1").

    Returns
    -------
    tuple
        The kept rows in file order: OBS_COLUMNS, `source_id`, `source_row` (row number in the file, from 0),
        `source_file`, those of DESCRIPTIVE_COLUMNS that the file tells under other names, then the file's
        other columns; and what was found out.

    Raises
    ------
    SchemaError, UnitError
        Something that is needed cannot be told, or a value cannot be read.
    """
    findings = Findings()
    numbered = raw.with_columns(pl.int_range(raw.height, dtype=pl.Int64).alias(SOURCE_ROW))
    cleared = clear_missing(numbered, findings)
    table = RowTable(path, cleared, mapping, findings, frozenset({*raw.columns} - {*cleared.columns}))
    table = replace(table, frame=cleared.filter(kept_rows(table)))
    if table.frame.is_empty():
        raise SchemaError(f"{path}: no row is left. Check `keep` and `exclude` in the mapping file.")
    canonical = _canonical_columns(table, known_genes)
    return _assemble(table, canonical, descriptive_columns(table)), findings


def _canonical_columns(table: RowTable, known_genes: frozenset[str]) -> pl.DataFrame:
    columns: dict[str, pl.Series] = {name: _text(table, name) for name in _TEXT_COLUMNS}
    if columns["batch_id"].null_count() == table.frame.height:
        columns["batch_id"] = batch_of_donor(table, columns["batch_id"])
    if columns["cell_iname"].null_count() == table.frame.height:
        raise missing_column_error(table, "cell_iname", "cell_iname: {value: K562}")
    smiles = table.take("canonical_smiles")
    columns |= read_perturbations(table, smiles is not None, known_genes)
    columns |= _structures(table, smiles)
    frame = pl.DataFrame(columns)
    frame = frame.with_columns(_amount(table, frame, DOSE), _amount(table, frame, TIME))
    return frame.with_columns(
        sig_id=_unique_names(table),
        pert_dose_unit=pl.when(pl.col("pert_dose").is_not_null()).then(pl.lit(DOSE.unit)),
        pert_time_unit=pl.when(pl.col("pert_time").is_not_null()).then(pl.lit(TIME.unit)),
    ).select(OBS_COLUMNS)


def _text(table: RowTable, canonical: str) -> pl.Series:
    taken = table.take(canonical)
    if taken is None:
        return _empty(table, canonical)
    return taken.as_text().alias(canonical)


def _empty(table: RowTable, canonical: str, dtype: pl.DataType | type[pl.DataType] = pl.String) -> pl.Series:
    if table.mapping.rule(canonical) is None:
        table.findings.decide(canonical, "", "absent")
    return pl.Series(canonical, [None] * table.frame.height, dtype=dtype)


def _structures(table: RowTable, smiles: Taken | None) -> dict[str, pl.Series]:
    if smiles is None:
        keys = table.take("inchi_key")
        empty = _empty(table, "canonical_smiles")
        return {
            "canonical_smiles": empty,
            "inchi_key": _empty(table, "inchi_key") if keys is None else keys.as_text(),
        }
    table.findings.decide("inchi_key", "canonical_smiles", "derived")
    texts = smiles.as_text()
    structures = canonical_structures(texts, table.findings)
    unread = texts.filter(structures["canonical_smiles"].is_null()).drop_nulls().unique(maintain_order=True)
    table.findings.list_all("texts that are no structure", unread)
    return {name: structures[name] for name in structures.columns}


def _amount(table: RowTable, canonical: pl.DataFrame, kind: AmountKind) -> pl.Series:
    taken = table.take(kind.name)
    if taken is None:
        return _empty(table, kind.name, pl.Float64)
    units = table.take(f"{kind.name}_unit")
    amounts, unit_values = taken.values, None if units is None else units.as_text()
    if kind is DOSE:
        amounts = _without_meaningless_doses(table, canonical["pert_type"], amounts)
    names = table.frame[SOURCE_ID]
    column = fold(plain_micro(taken.column))
    read = read_amounts(amounts, unit_values, names, kind, column, str(table.path))
    if read.n_without_unit and taken.column:
        table.findings.warnings.append(
            f"{read.n_without_unit:,} rows of {taken.column} have no unit: taken as {kind.unit}"
        )
        table.findings.count(f"{kind.name} without a unit", read.n_without_unit)
    return read.values


def _without_meaningless_doses(table: RowTable, pert_type: pl.Series, amounts: pl.Series) -> pl.Series:
    """Return doses of compounds and ligands only: of controls and genetic perturbations they have no unit."""
    frame = pl.DataFrame({"dose": amounts, "type": pert_type})
    genetic = pl.col("type").is_in(GENETIC_TYPES).fill_null(False)
    control = pl.col("type").str.starts_with("ctl_").fill_null(False)
    lost = frame.filter(genetic & pl.col("dose").is_not_null())["dose"].unique(maintain_order=True)
    if len(lost):
        table.findings.dropped.append(
            f"doses of genetic perturbations, which have none in uM: {listed(lost.to_list())}"
        )
        table.findings.list_all("doses of genetic perturbations", lost)
    kept = frame.select(pl.when(~(genetic | control)).then(pl.col("dose"))).to_series()
    if kept.null_count() == len(kept):
        table.findings.decide("pert_dose", "", "absent")
    return kept


def _unique_names(table: RowTable) -> pl.Series:
    taken = table.take("sig_id")
    if taken is None:
        table.findings.decide("sig_id", "row id", "derived")
    names = (table.frame[SOURCE_ID] if taken is None else taken.as_text()).alias("sig_id")
    if names.n_unique() == len(names) and not names.null_count():
        return names
    repeats = int(names.is_duplicated().sum())
    table.findings.converted.append(f"{repeats:,} rows share their id with others: the row number was added")
    table.findings.count("rows that share their id", repeats)
    frame = pl.DataFrame({"name": names.fill_null("row"), "row": table.frame[SOURCE_ROW]})
    return frame.select(
        pl.when(pl.col("name").is_duplicated() | (pl.col("name") == "row"))
        .then(pl.format("{}#{}", "name", "row"))
        .otherwise(pl.col("name"))
        .alias("sig_id")
    ).to_series()


def _assemble(table: RowTable, canonical: pl.DataFrame, descriptive: pl.DataFrame) -> pl.DataFrame:
    raw = table.frame.drop(SOURCE_ID, SOURCE_ROW)
    ours = (*OBS_COLUMNS, *descriptive.columns)
    kept = raw.select(
        pl.col(name).alias(f"source_{name}" if name in ours else name)
        for name in raw.columns
        if name not in OBS_COLUMNS or not _same(raw[name], canonical[name])
    )
    identity = table.frame.select(SOURCE_ID, SOURCE_ROW, pl.lit(table.path.name).alias(SOURCE_FILE))
    extra = kept.drop([name for name in identity.columns if name in kept.columns])
    taken = (*canonical.columns, *identity.columns, *descriptive.columns, *_OWN_COLUMNS)
    extra = extra.rename(storable_names(extra.columns, taken, table.findings))
    whole = pl.concat([canonical, identity, descriptive, extra], how="horizontal")
    complete = pl.all_horizontal(pl.col(name).is_not_null() for name in _NEEDED)
    for name in _NEEDED:
        missing = int(whole[name].null_count())
        if missing:
            table.findings.dropped.append(f"{counted(missing, 'row')} without {name}")
            tell_rows(table, f"rows without {name}", whole[name].is_null())
    rows = whole.filter(complete)
    if rows.is_empty():
        raise SchemaError(f"{table.path}: no row has a cell line, a perturbation and its kind. See --map.")
    return _with_targets(rows, table.findings)


def _same(raw: pl.Series, canonical: pl.Series) -> bool:
    return raw.dtype == canonical.dtype and bool(raw.eq_missing(canonical).all())


def _with_targets(rows: pl.DataFrame, findings: Findings) -> pl.DataFrame:
    is_genetic = pl.col("pert_type").is_in(GENETIC_TYPES)
    given = pl.col("targets").str.replace_all(r"\s*[|,;]\s*", "+")
    control = pl.col("pert_type").str.starts_with("ctl_")
    targets = pl.when(control).then(None).otherwise(pl.coalesce(given, pl.when(is_genetic).then("cmap_name")))
    filled = rows.with_columns(targets=targets)
    if rows["targets"].null_count() == rows.height and filled["targets"].null_count() < rows.height:
        findings.decide("targets", "cmap_name", "derived")
    return filled
