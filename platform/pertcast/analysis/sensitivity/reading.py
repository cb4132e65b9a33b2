"""Read tables of drug sensitivity by content: a pair a row, GDSC's matrix, or triples without a header.

Column names are compared folded (small letters, everything but letters and digits as "_"), so that the
files of GDSC, LINCS and Pertcast's own atlas are read as they are.
"""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path
from types import MappingProxyType
from typing import Final

import polars as pl
from pertcast_data.errors import FormatError, SchemaError

from pertcast.analysis.sensitivity.gdsc import looks_like_matrix, matrix_table
from pertcast.analysis.sensitivity.table import (
    DRUG_SCHEMA,
    VALUE_NAMES,
    SensitivityTable,
    distinct_pairs,
    numbers,
    require_pairs,
    text_or_null,
)

COLUMN_WORDS: Final = MappingProxyType(
    {
        "pert_id": ("pert_id", "broad_id", "compound_id", "drug_id"),
        "cmap_name": ("cmap_name", "pert_iname", "drug_name", "drug", "compound_name", "compound", "name"),
        "canonical_smiles": ("canonical_smiles", "smiles", "isomeric_smiles"),
        "cell_iname": (
            *("cell_iname", "cell_id", "cell_line_name", "cell_line", "cell_name", "cell"),
            *("ccle_id", "ccle_name", "depmap_id", "depmapid", "model_id"),
        ),
        "ln_ic50": ("ln_ic50", "lnic50", "ln_ic50_um"),
        "auc": ("auc", "area_under_curve"),
    }
)
"""Column -> folded names that mean it, the first one present is taken."""

_DRUG_COLUMNS: Final = ("pert_id", "cmap_name", "canonical_smiles")
_UNLOGGED: Final = ("ic50", "ic50_um", "ic50_nm", "pic50", "log10_ic50")
_NUMBER: Final = re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?$")
_TRIPLES: Final = ("cell_iname", "canonical_smiles", "auc")


def read_sensitivity(
    path: Path | str, *, drug_names: Path | str | None = None, line_names: Path | str | None = None
) -> SensitivityTable:
    """Read a table of drug sensitivity; csv or tsv, the content decides the layout.

    Long: one pair a row with a drug (pert_id, cmap_name, drug or canonical_smiles), a cell line (cell_iname,
    cell line) and ln_ic50, auc or both. Matrix: drugs x lines as GDSC_IC50.csv. Triples: cell line, SMILES
    and AUC without a header.

    Parameters
    ----------
    path
        The table.
    drug_names, line_names
        For a matrix: gdsc_drugs.csv and ccle_cell_lines.tsv, which say what its ids mean; looked for beside
        the table where None.

    Raises
    ------
    FormatError
        The file is missing or no table.
    SchemaError
        A column is missing, or a value cannot be believed.
    """
    path = Path(path)
    text, separator = _text(path)
    first = next(csv.reader(io.StringIO(text), delimiter=separator))
    if len(first) == len(_TRIPLES) and _NUMBER.match(first[-1].strip()):
        frame = _frame(path, text, separator, has_header=False)
        return _long(frame.rename(dict(zip(frame.columns, _TRIPLES, strict=True))), path, "triples")
    frame = _frame(path, text, separator, has_header=True)
    if looks_like_matrix(frame):
        return matrix_table(frame, path, drug_names, line_names)
    return _long(_with_known_names(frame, path), path, "long")


def _text(path: Path) -> tuple[str, str]:
    """Return the file's text and the character that separates its columns."""
    if not path.is_file():
        raise FormatError(f"{path} does not exist. Name a csv or tsv table of drug sensitivity.")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise FormatError(f"{path} is no text ({error}). Save it as csv or tsv in UTF-8.") from error
    if not text.strip():
        raise FormatError(f"{path} is empty. Name a csv or tsv table of drug sensitivity.")
    header = text.split("\n", 1)[0]
    return text, max("\t,;", key=header.count)


def _frame(path: Path, text: str, separator: str, *, has_header: bool) -> pl.DataFrame:
    try:
        return pl.read_csv(
            io.StringIO(text), separator=separator, has_header=has_header, infer_schema=False
        )  # fmt: skip
    except pl.exceptions.PolarsError as error:
        raise FormatError(
            f"{path} is no table: {error}. Every row needs as many columns as the header."
        ) from error


def folded(name: str) -> str:
    """Return a column's name as it is compared."""
    return re.sub(r"[^a-z0-9]+", "_", name.strip().lower()).strip("_")


def _with_known_names(frame: pl.DataFrame, path: Path) -> pl.DataFrame:
    """Keep the columns that are known, under the names of Pertcast."""
    places = {folded(name): name for name in reversed(frame.columns)}
    found: dict[str, str] = {}
    for name, words in COLUMN_WORDS.items():
        present = next((places[word] for word in words if word in places), None)
        if present is not None and present not in found.values():
            found[name] = present
    missing = []
    if not any(name in found for name in _DRUG_COLUMNS):
        missing.append("a drug (pert_id, cmap_name or canonical_smiles)")
    if "cell_iname" not in found:
        missing.append("a cell line (cell_iname)")
    if not any(name in found for name in VALUE_NAMES):
        missing.append("a sensitivity (ln_ic50 or auc)")
    if missing:
        shown = [*map(repr, frame.columns[:12]), *(["..."] if frame.width > 12 else [])]
        raise SchemaError(
            f"{path} lacks {' and '.join(missing)}; its columns are {', '.join(shown)}. {_remedy(places)}"
        )
    return frame.select(pl.col(old).alias(new) for new, old in found.items())


def _remedy(places: dict[str, str]) -> str:
    unlogged = [places[name] for name in _UNLOGGED if name in places]
    if unlogged:
        return f"Write the natural logarithm of {unlogged[0]} in uM as a column ln_ic50."
    return "Rename the columns; docs/drug_sensitivity.md lists the names that are known."


def _long(frame: pl.DataFrame, path: Path, layout: str) -> SensitivityTable:
    header_rows = 1 if layout == "triples" else 2
    frame = _complete(frame.with_columns(text_or_null(name) for name in frame.columns))
    frame = frame.with_columns(pl.coalesce(_DRUG_COLUMNS).alias("drug"), pl.col("cell_iname").alias("line"))
    frame = frame.with_columns(numbers(frame[name], name, str(path), header_rows) for name in VALUE_NAMES)
    named = frame.filter(pl.col("drug").is_not_null() & pl.col("line").is_not_null())
    remarks = []
    if nameless := frame.height - named.height:
        remarks.append(f"{nameless:,} rows name no drug or no cell line; left out.")
    pairs, said = distinct_pairs(named)
    require_pairs(pairs, str(path))
    return SensitivityTable(
        drugs=_drugs(named),
        lines=_lines(named),
        pairs=pairs,
        source=path.name,
        layout="triples" if layout == "triples" else "long",
        remarks=(*remarks, *said),
    )


def _complete(frame: pl.DataFrame) -> pl.DataFrame:
    wanted = (*_DRUG_COLUMNS, "cell_iname", *VALUE_NAMES)
    return frame.with_columns(
        pl.lit(None, dtype=pl.String).alias(name) for name in wanted if name not in frame.columns
    )


def _drugs(frame: pl.DataFrame) -> pl.DataFrame:
    found = frame.group_by("drug", maintain_order=True).agg(
        pl.col("pert_id").drop_nulls().first(),
        pl.col("cmap_name").drop_nulls().unique(maintain_order=True).alias("names"),
        pl.col("canonical_smiles").drop_nulls().first(),
    )
    return found.select(pl.col(name).cast(dtype) for name, dtype in DRUG_SCHEMA.items())


def _lines(frame: pl.DataFrame) -> pl.DataFrame:
    found = frame.select(pl.col("line").unique(maintain_order=True))
    return found.with_columns(pl.concat_list("line").alias("names"))
