"""CellRanger's table of guide calls, found beside a 10x matrix and joined to its barcodes.

`protospacer_calls_per_cell.csv` names the guides that were found in a cell; cells without any are not in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import polars as pl

from pertcast_data.errors import FormatError
from pertcast_data.readers.source import SOURCE_ID
from pertcast_data.tables.content import content_start
from pertcast_data.tables.text_blocks import TextLayout, require_text, table_blocks

CALL_FILE: Final = "protospacer_calls_per_cell.csv"
_COLUMNS: Final = ("cell_barcode", "num_features", "feature_call", "num_umis")
_NO_CALL: Final = ("", "None", "NA", "nan")


def find_guide_calls(folder: Path, prefixes: tuple[str, ...] = ("",)) -> Path | None:
    """Return the call file in a folder or in its `crispr_analysis`; the first prefix that has one wins."""
    for prefix in prefixes:
        for place in (folder, folder / "crispr_analysis"):
            for name in (CALL_FILE, f"{CALL_FILE}.gz"):
                if (place / f"{prefix}{name}").is_file():
                    return place / f"{prefix}{name}"
    return None


def name_prefixes(name: str) -> tuple[str, ...]:
    """Return the starts of a file name up to each "_", longest first, and "" (GSM1_a.h5: GSM1_, "")."""
    return (*_prefixes(name), "")


def _prefixes(name: str) -> Iterator[str]:
    while "_" in name:
        name = name.rpartition("_")[0]
        yield f"{name}_"


def cells_with_guides(
    cells: pl.DataFrame, calls: Path | None, n_guides: int
) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """Return the barcodes with their guides where calls lie beside, and what is to be told of it.

    Parameters
    ----------
    cells
        Row table with `source_id`, the barcodes.
    calls
        The call file, None where there is none.
    n_guides
        Guides that were captured: without calls, their cells have none, and that is said.

    Raises
    ------
    FormatError
        As `join_guide_calls`.
    """
    if calls is None:
        return cells, (missing_calls_note(n_guides),) if n_guides else ()
    obs, note = join_guide_calls(cells, calls)
    return obs, (note,)


def join_guide_calls(obs: pl.DataFrame, path: Path) -> tuple[pl.DataFrame, str]:
    """Add the calls to the barcodes they are of.

    Parameters
    ----------
    obs
        Row table with `source_id`, the barcodes. "ACGT-1" and "ACGT" are the same barcode.
    path
        The call file.

    Returns
    -------
    tuple
        `obs` with `guide_id` ("A-1|B-2" where there are several), `num_guides` and `guide_umis` ("12|5"),
        null for cells without a call; and what was found, in words.

    Raises
    ------
    FormatError
        The file lacks a column, names a barcode twice, or holds a count that is none.
    """
    calls = _read_calls(path)
    barcode = pl.col(SOURCE_ID).str.strip_suffix("-1").alias("_barcode")
    taken = [name for name in calls.columns if name in obs.columns]
    joined = (
        obs.drop(taken).with_columns(barcode).join(calls, on="_barcode", how="left", maintain_order="left")
    )
    n_called = joined["guide_id"].count()
    n_several = int((joined["num_guides"] > 1).sum())
    n_unknown = calls.height - calls.join(joined, on="_barcode", how="semi").height
    note = (
        f"guides from {path.name}: {n_called - n_several:,} cells with one, {n_several:,} with several, "
        f"{obs.height - n_called:,} with none"
    )
    if n_unknown:
        note += f"; {n_unknown:,} of its {calls.height:,} barcodes are not in the matrix"
    return joined.drop("_barcode"), note


def missing_calls_note(n_guides: int) -> str:
    """Return what to do where guides were captured and no call file lies beside the matrix."""
    return (
        f"{n_guides:,} guides were captured, but no {CALL_FILE} lies beside the matrix, so no cell has a "
        "guide: put it (or its folder crispr_analysis) there, or bring the calls as --obs-table with --key"
    )


def _read_calls(path: Path) -> pl.DataFrame:
    header = content_start(path).split(b"\n", 1)[0].decode("utf-8-sig", errors="replace")
    names = [name.strip().strip('"') for name in header.split(",")]
    missing = [name for name in _COLUMNS if name not in names]
    if missing or len(set(names)) != len(names):
        raise FormatError(
            f"{path}: its first line lacks {', '.join(missing) or 'distinct names'}; it holds "
            f"{', '.join(names)[:200]}. Bring CellRanger's own {CALL_FILE}."
        )
    layout = TextLayout(names, ",", len(names), 1, comment=None, is_quoted=True)
    blocks = list(table_blocks(path, layout))
    table = pl.concat(blocks) if blocks else pl.DataFrame(schema=dict.fromkeys(names, pl.String))
    return _checked_calls(table, path)


def _checked_calls(table: pl.DataFrame, path: Path) -> pl.DataFrame:
    barcodes, count = table["cell_barcode"], table["num_features"].cast(pl.Int64, strict=False)
    wrong = barcodes.is_null() | count.is_null()
    if wrong.any():
        row = int(wrong.arg_max() or 0)
        raise FormatError(
            f"{path}, row {row + 1}: cell_barcode {barcodes[row]!r}, num_features "
            f"{table['num_features'][row]!r}; a barcode and a whole number are due. Copy the file again."
        )
    calls = table.select(
        pl.col("cell_barcode").str.strip_chars().str.strip_suffix("-1").alias("_barcode"),
        pl.when(~pl.col("feature_call").is_in(_NO_CALL)).then(pl.col("feature_call")).alias("guide_id"),
        count.alias("num_guides"),
        pl.col("num_umis").alias("guide_umis"),
    ).filter(pl.col("guide_id").is_not_null())
    require_text(path, calls["guide_id"].unique().to_list())
    repeated = calls.filter(pl.col("_barcode").is_duplicated())["_barcode"]
    if len(repeated):
        raise FormatError(
            f"{path}: names the barcode {repeated[0]!r} more than once. Bring the table of one sample, or of "
            "the aggregation the matrix is from."
        )
    return calls
