"""What the 10x formats have in common: tables of features and barcodes, and which features are genes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from pertcast_data.errors import FormatError
from pertcast_data.readers.source import id_frame
from pertcast_data.tables.content import content_start
from pertcast_data.tables.text_blocks import TextLayout, require_text, table_blocks

GENE_EXPRESSION: Final = "Gene Expression"
GUIDE_CAPTURE: Final = "CRISPR Guide Capture"
_FEATURE_TYPES: Final = frozenset(
    {
        *(GENE_EXPRESSION, GUIDE_CAPTURE, "Antibody Capture", "Antigen Capture", "Multiplexing Capture"),
        *("Custom", "Peaks", "VDJ"),
    }
)
_FEATURE_COLUMNS: Final = ("source_id", "gene_symbol", "feature_type", "chromosome", "start", "end")


@dataclass(frozen=True, slots=True)
class Genes:
    """The features that are genes.

    Attributes
    ----------
    var
        The gene table: `source_id`, `gene_symbol`, `feature_type`, ...
    columns
        Where they stand among all features; None where all are genes.
    notes
        What was left out.
    n_guides
        Number of features that are captured guides.
    """

    var: pl.DataFrame
    columns: npt.NDArray[np.int64] | None
    notes: tuple[str, ...]
    n_guides: int


def choose_genes(features: pl.DataFrame, path: Path) -> Genes:
    """Leave out what is no gene expression (antibodies, guides); raises FormatError where no gene is left."""
    types = features["feature_type"] if "feature_type" in features.columns else None
    kinds = set() if types is None else set(types.drop_nulls())
    if types is None or (GENE_EXPRESSION not in kinds and not kinds <= _FEATURE_TYPES):
        return Genes(features, None, (), 0)
    counts = dict(types.value_counts(sort=True).iter_rows())
    left_out = {str(kind): count for kind, count in counts.items() if kind != GENE_EXPRESSION}
    if GENE_EXPRESSION not in counts and features.height:
        raise FormatError(
            f"{path}: no feature has the type {GENE_EXPRESSION!r}, only {_listed(left_out)}. Name the matrix "
            "of the genes."
        )
    if not left_out:
        return Genes(features, None, (), 0)
    is_gene = (types == GENE_EXPRESSION).fill_null(False)
    note = f"features that are no gene expression were left out: {_listed(left_out)}"
    return Genes(
        features.filter(is_gene),
        is_gene.arg_true().to_numpy().astype(np.int64),
        (note,),
        counts.get(GUIDE_CAPTURE, 0),
    )


def read_features(path: Path) -> pl.DataFrame:
    """Read features.tsv or genes.tsv: id, name, type, chromosome, start, end, as far as there are columns."""
    table = _read_lines(path)
    names = [*_FEATURE_COLUMNS, *(f"column_{number + 1}" for number in range(6, table.width))]
    renamed = dict(zip(table.columns, names, strict=False))
    return _with_ids(table.rename(renamed), path)


def read_barcodes(path: Path) -> pl.DataFrame:
    """Read barcodes.tsv: the barcodes, and further columns as they are."""
    table = _read_lines(path)
    return _with_ids(table.rename({table.columns[0]: "source_id"}), path)


def _read_lines(path: Path) -> pl.DataFrame:
    first = content_start(path).split(b"\n", 1)[0]
    layout = TextLayout(None, "\t", first.count(b"\t") + 1, 0, comment=None, is_quoted=False)
    blocks = list(table_blocks(path, layout))
    if not blocks:
        return pl.DataFrame(schema={"column_1": pl.String})
    return pl.concat(blocks)


def _with_ids(table: pl.DataFrame, path: Path) -> pl.DataFrame:
    ids = table["source_id"]
    if ids.null_count():
        row = int(ids.is_null().arg_max() or 0) + 1
        raise FormatError(f"{path}, row {row}: has no name in its first column. Write the file again.")
    names = [name.strip().strip('"') for name in ids]
    require_text(path, names)
    return id_frame(names, {name: table[name] for name in table.columns if name != "source_id"})


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {kind}" for kind, count in counts.items())
