"""Which rows of a library a bundle can predict, asked before anything is predicted.

A perturbation or cell line that the model cannot represent is refused by name, never turned into zeros.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import polars as pl
from pertcast.encoding.problems import Fault, report
from pertcast.predictor import Predictor
from pertcast_data.errors import ConfigError, SchemaError, nearest_sentence
from pertcast_data.progress import ProgressCallback, no_progress

from pertcast_jobs.screen.conditions import Grid
from pertcast_jobs.screen.library import Refusal

_BLOCK_ROWS = 4096
_SHOWN = 5


def find_refusals(
    predictor: Predictor,
    library: pl.DataFrame,
    grid: Grid,
    progress: ProgressCallback = no_progress,
) -> tuple[Refusal, ...]:
    """Return the library rows that cannot be predicted, sorted by row.

    Parameters
    ----------
    predictor
        The loaded bundle.
    library
        `pertcast_jobs.screen.library.LIBRARY_SCHEMA`.
    grid
        What the rows are crossed with.
    progress
        Called as perturbations are encoded.

    Raises
    ------
    ConfigError
        A cell line of the grid cannot be predicted.
    """
    refused = {item.row: item for item in _unencodable(predictor, _first_conditions(library, grid), progress)}
    good = library.filter(~pl.col("row").is_in(list(refused)))
    for cell, message, suggestions in _unknown_cells(predictor, _first_conditions(good, grid), grid):
        rows = good.filter(cell_iname=cell).select("row", "pert_id").unique("row")
        if rows.is_empty():
            raise ConfigError(f"--cells {cell}: {message}{nearest_sentence(suggestions)}")
        for row, name in rows.iter_rows():
            refused.setdefault(row, Refusal(row, name, "cell_iname", message, suggestions))
    return tuple(sorted(refused.values(), key=lambda item: item.row))


def _first_conditions(library: pl.DataFrame, grid: Grid) -> pl.DataFrame:
    """Return one condition of each row: whatever the row leaves open is the first that the grid offers."""
    typed = library.with_columns(
        pl.col("cell_iname").fill_null(grid.cells[0]),
        pl.col("pert_type").fill_null(grid.types[0] if grid.types else None),
    )
    for name, amounts in (("pert_dose", grid.doses), ("pert_time", grid.times)):
        first = pl.col("pert_type").replace_strict(
            {kind: options[0] for kind, options in amounts.items()}, return_dtype=pl.Float64, default=None
        )
        typed = typed.with_columns(pl.coalesce(pl.col(name), first))
    return typed


def _unencodable(predictor: Predictor, table: pl.DataFrame, progress: ProgressCallback) -> Iterable[Refusal]:
    """Encode each row of the library once: what it means does not hang on the cell line or dose."""
    faults: dict[int, Fault] = {}
    for start in range(0, table.height, _BLOCK_ROWS):
        progress(start, table.height, "features")
        for member in predictor.members:
            block = member.encoder.encode_table(table.slice(start, _BLOCK_ROWS))
            for row, fault in block.faults.items():
                faults.setdefault(start + row, fault)
    progress(table.height, table.height, "features")
    for problem in report(faults.items()):
        row, name = table["row"][problem.row], table["pert_id"][problem.row]
        yield Refusal(row, name, problem.field, problem.message, tuple(problem.suggestions))


def _unknown_cells(
    predictor: Predictor, first: pl.DataFrame, grid: Grid
) -> Iterable[tuple[str, str, tuple[str, ...]]]:
    """Predict one condition of each cell line and time; yield those without a basal profile."""
    if first.is_empty():
        return
    contexts = pl.concat(
        [first, *(first.head(1).with_columns(cell_iname=pl.lit(cell)) for cell in grid.cells)]
    )
    distinct = contexts.unique(subset=["cell_iname", "pert_time"], keep="first", maintain_order=True)
    for problem in predictor.predict(distinct, on_error="collect").problems:
        yield distinct["cell_iname"][problem.row], problem.message, tuple(problem.suggestions)


def raise_refused(refused: Sequence[Refusal], source: str) -> None:
    """Raise a SchemaError that names the first refused rows and the way around them."""
    if not refused:
        return
    shown = "\n".join(f"  {item}" for item in refused[:_SHOWN])
    more = f"\n  and {len(refused) - _SHOWN} more" if len(refused) > _SHOWN else ""
    rows = "1 row" if len(refused) == 1 else f"{len(refused)} rows"
    raise SchemaError(
        f"{rows} of {source} cannot be predicted by this bundle:\n{shown}{more}\n"
        "Correct or remove them, or add --skip-unknown to leave them out and list them in refused.csv."
    )
