"""GDSC's matrix of ln IC50, drugs x cell lines, with the side tables that say what its ids mean."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import polars as pl
from pertcast_data.errors import FormatError, SchemaError

from pertcast.analysis.sensitivity.table import (
    DRUG_SCHEMA,
    LINE_SCHEMA,
    SensitivityTable,
    distinct_pairs,
    numbers,
    require_pairs,
    text_or_null,
)

DRUG_FILE: Final = "gdsc_drugs.csv"
LINE_FILE: Final = "ccle_cell_lines.tsv"
_DRUG_ID: Final = re.compile(r"^(?:GDSC\d?:)?(\d+)$", re.IGNORECASE)
_LINE_ID: Final = re.compile(r"^ACH-\d+$", re.IGNORECASE)
_PROBED_ROWS: Final = 5


def looks_like_matrix(frame: pl.DataFrame) -> bool:
    """Whether a table is drugs x lines: ids of GDSC down its first column, or of DepMap along its header."""
    if frame.width < 2:
        return False
    heads = [name.strip() for name in frame.columns[1:]]
    rows = [text for text in frame[frame.columns[0]].head(_PROBED_ROWS).to_list() if text]
    is_drug = bool(rows) and all(text.strip().upper().startswith("GDSC") for text in rows)
    return is_drug or sum(bool(_LINE_ID.match(head)) for head in heads) > len(heads) / 2


def matrix_table(
    frame: pl.DataFrame, path: Path, drug_names: Path | str | None, line_names: Path | str | None
) -> SensitivityTable:
    """Make a sensitivity table of a matrix of ln IC50.

    Parameters
    ----------
    frame
        Text; ids of drugs in the first column, one further column a cell line.
    path
        Where it was read; the side tables are looked for beside it.
    drug_names, line_names
        The side tables, or None.

    Raises
    ------
    FormatError, SchemaError
        A side table that was named is missing or lacks a column; a value cannot be believed.
    """
    first, *heads = frame.columns
    frame = frame.with_columns(text_or_null(name) for name in frame.columns)
    values = [numbers(frame[name], "ln_ic50", f"{path}, column {name}", 2).alias(name) for name in heads]
    wide = frame.select(pl.col(first).alias("drug"), *values)
    melted = wide.unpivot(index="drug", variable_name="line", value_name="ln_ic50").with_columns(
        pl.col("line").str.strip_chars(), pl.lit(None, dtype=pl.Float64).alias("auc")
    )
    unnamed = melted["drug"].null_count()
    melted = melted.filter(pl.col("drug").is_not_null())
    pairs, said = distinct_pairs(melted)
    require_pairs(pairs, str(path))
    drugs, drug_remarks = _named_drugs(melted["drug"].unique(maintain_order=True).to_list(), path, drug_names)
    lines, line_remarks = _named_lines(melted["line"].unique(maintain_order=True).to_list(), path, line_names)
    nameless = (f"{unnamed:,} cells lie in rows without a drug's id; left out.",) if unnamed else ()
    return SensitivityTable(
        drugs, lines, pairs, path.name, "matrix", (*nameless, *said, *drug_remarks, *line_remarks)
    )


def _side_table(
    named: Path | str | None, beside: Path, file: str, columns: tuple[str, ...]
) -> pl.DataFrame | None:
    """Return a side table's text columns; None where it was not named and does not lie beside the matrix."""
    path = beside.with_name(file) if named is None else Path(named)
    if not path.is_file():
        if named is None:
            return None
        raise FormatError(f"{path} does not exist. Name the table that says what the matrix's ids mean.")
    with path.open(encoding="utf-8", errors="replace") as stream:
        header = stream.readline()
    separator = max("\t,", key=header.count)
    try:
        frame = pl.read_csv(
            path, separator=separator, infer_schema=False, encoding="utf8-lossy", truncate_ragged_lines=True
        )
    except pl.exceptions.PolarsError as error:
        raise FormatError(f"{path} is no table: {error}.") from error
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        raise SchemaError(
            f"{path} lacks the column {missing[0]!r}; it has {', '.join(frame.columns[:8])}. Give a table "
            f"with the columns {', '.join(columns)}, as {file} has."
        )
    return frame.select(text_or_null(name) for name in columns)


def _named_drugs(
    keys: list[str], path: Path, named: Path | str | None
) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """Return the drugs with name and synonyms; a drug's key itself is no name."""
    side = _side_table(named, path, DRUG_FILE, ("drug_id", "Name", "Synonyms"))
    names: dict[str, list[str]] = {}
    for drug_id, name, synonyms in side.iter_rows() if side is not None else ():
        known = [name, *(synonyms or "").split(",")]
        names.setdefault(str(drug_id), []).extend(word.strip() for word in known if word and word.strip())
    found = []
    for key in keys:
        matched = _DRUG_ID.match(key)
        found.append(list(dict.fromkeys(names.get(matched[1] if matched else key, []))))
    frame = pl.DataFrame(
        {"drug": keys, "pert_id": [None] * len(keys), "names": found, "canonical_smiles": None},
        schema=DRUG_SCHEMA,
    )
    remark = _unnamed(keys, found, "drugs", DRUG_FILE, side is None)
    return frame, remark


def _named_lines(
    keys: list[str], path: Path, named: Path | str | None
) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """Return the cell lines with their own id, their CCLE id and their name."""
    side = _side_table(named, path, LINE_FILE, ("depMapID", "CCLE_ID", "Name"))
    names: dict[str, list[str]] = {}
    for depmap, ccle, name in side.iter_rows() if side is not None else ():
        names.setdefault(str(depmap), []).extend(word for word in (name, ccle) if word)
    known = [names.get(key, []) for key in keys]
    frame = pl.DataFrame(
        {"line": keys, "names": [[key, *found] for key, found in zip(keys, known, strict=True)]},
        schema=LINE_SCHEMA,
    )
    return frame, _unnamed(keys, known, "cell lines", LINE_FILE, side is None)


def _unnamed(
    keys: list[str], names: list[list[str]], what: str, file: str, is_absent: bool
) -> tuple[str, ...]:
    if is_absent:
        return (f"No {file} lies beside the matrix: its {what} are known by their ids alone.",)
    bare = [key for key, found in zip(keys, names, strict=True) if not found]
    if not bare:
        return ()
    return (f"{len(bare):,} of {len(keys):,} {what} have no name in the side table, e.g. {bare[0]}.",)
