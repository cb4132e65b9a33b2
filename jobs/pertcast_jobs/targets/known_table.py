"""Tables of known drug targets: csv, tsv or parquet, one pair a row or several genes in a cell."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import polars as pl
from pertcast.analysis.drug_targets import KnownPairs
from pertcast_data.errors import FormatError, SchemaError, nearest_known

DRUG_COLUMNS: Final = ("cmap_name", "pert_id")
GENE_COLUMNS: Final = ("symbol", "target", "targets", "gene_symbol")
MISSING: Final = frozenset({"", "-", "-666", "NA", "nan", "None"})
_SEPARATORS: Final = r"[|;,+]"


def read_known(path: Path, names: Mapping[str, str]) -> tuple[KnownPairs, tuple[str, ...]]:
    """Read known targets and give drugs the names that they bear among the profiles.

    Parameters
    ----------
    path
        A table with cmap_name or pert_id, and symbol or target; "-" is missing; "A|B" are two targets.
    names
        Name of a drug in lower case -> drug, of the profiles.

    Returns
    -------
    known
        Every pair, of drugs without profiles too.
    remarks
        How many drugs have known targets.

    Raises
    ------
    FormatError
        The file is missing or cannot be read.
    SchemaError
        It lacks the columns, holds no pair, or names no drug of the profiles.
    """
    table = _read(path)
    drug_columns = [name for name in DRUG_COLUMNS if name in table.columns]
    gene_column = next((name for name in GENE_COLUMNS if name in table.columns), None)
    if not drug_columns or gene_column is None:
        raise SchemaError(
            f"{path} has the columns {', '.join(table.columns)}; wanted are {' or '.join(DRUG_COLUMNS)} and "
            f"{' or '.join(GENE_COLUMNS)}. Rename its columns."
        )
    asked = {_drug_of(row[:-1], names): None for row in table.select(*drug_columns, gene_column).iter_rows()}
    pairs = [
        (drug, symbol)
        for *aliases, cell in table.select(*drug_columns, gene_column).iter_rows()
        if (drug := _drug_of(tuple(aliases), names)) is not None
        for symbol in _symbols(cell)
    ]
    if not pairs:
        raise SchemaError(f"{path} names no target: column {gene_column} holds nothing but missing values.")
    profiled = set(names.values())
    found = {drug for drug, _ in pairs} & profiled
    if not found:
        raise SchemaError(_no_drug(path, [drug for drug in asked if drug], names))
    remark = (
        f"{len(found):,} of {len(profiled):,} drugs have known targets in {path.name}, which names "
        f"{len({drug for drug, _ in pairs}):,} drugs."
    )
    return KnownPairs.of(pairs, path.name), (remark,)


def _read(path: Path) -> pl.DataFrame:
    if not path.is_file():
        raise FormatError(f"There is no table of known targets at {path}. Name a csv, tsv or parquet file.")
    try:
        if path.suffix in (".parquet", ".pq"):
            table = pl.read_parquet(path)
        else:
            separator = "\t" if path.suffix in (".tsv", ".txt") else ","
            table = pl.read_csv(path, separator=separator, infer_schema=False)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise FormatError(
            f"{path} cannot be read as a table ({error}). Save it as csv, tsv or parquet."
        ) from error
    return table.with_columns(pl.all().cast(pl.String, strict=False))


def _drug_of(aliases: tuple[str | None, ...], names: Mapping[str, str]) -> str | None:
    """Return the drug of the profiles that bears one of the names, else the first name; None without any."""
    given = [alias.strip() for alias in aliases if alias and alias.strip() not in MISSING]
    return next(
        (names[alias.casefold()] for alias in given if alias.casefold() in names), next(iter(given), None)
    )


def _symbols(cell: str | None) -> list[str]:
    if cell is None:
        return []
    parts = pl.Series([cell]).str.replace_all(_SEPARATORS, "|").str.split("|")[0]
    return [part.strip() for part in parts if part.strip() not in MISSING]


def _no_drug(path: Path, asked: list[str], names: Mapping[str, str]) -> str:
    near = [
        f"{drug} (nearest: {', '.join(names[each.casefold()] for each in found)})"
        for drug in asked[:200]
        if (found := nearest_known(drug, names, count=2))
    ]
    shown = near[:3] or asked[:3]
    return (
        f"None of the {len(asked):,} drugs of {path} is among the {len(set(names.values())):,} profiled ones "
        f"({', '.join(sorted(set(names.values()))[:3])}). It names {'; '.join(shown)}. Give cmap_name or "
        "pert_id as the profiles do."
    )
