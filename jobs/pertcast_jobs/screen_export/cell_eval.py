"""A screen as a prediction that `cell-eval run` accepts: levels of every condition, and controls.

cell-eval compares two h5ad files of log-normalised levels with the same genes and the same perturbations, and
subtracts each file's own controls. A screen holds none, so they are recovered: expression = basal + response.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pertcast.screens.finished import EXPRESSION, RESPONSE, FinishedScreen
from pertcast_data.errors import ConfigError
from pertcast_data.export.content import ROW_NAME, BlockTable, ExportContent
from pertcast_data.progress import ProgressCallback

from pertcast_jobs.screen_export.content import facts_of, observations

LARGEST_LEVEL: Final = 15.0
"""From here on cell-eval (0.8) takes levels for raw counts and refuses the file."""

CLIPPED: Final = "n_values_set_to_zero"
_CONTEXT: Final = ("cell_iname", "pert_time")
_CONTEXT_TYPES: Final = {"cell_iname": pl.String, "pert_time": pl.Float64, "pert_type": pl.String}
_NUMBERED: Final = (*_CONTEXT, "context")


@dataclass(frozen=True)
class Labels:
    """How cell-eval finds perturbations and controls.

    Attributes
    ----------
    pert_col
        Column of `obs` with the perturbation's label; cell-eval's --pert-col.
    control
        Label of the controls; cell-eval's --control-pert.
    cell_col
        Column with the cell line; cell-eval's --celltype-col.
    label
        Column of sig_info that labels a perturbation.
    """

    pert_col: str = "target_gene"
    control: str = "non-targeting"
    cell_col: str = "cell_iname"
    label: str = "pert_id"


def cell_eval_content(screen: FinishedScreen, rows: NDArray[np.int64], labels: Labels) -> ExportContent:
    """Return what a prediction for cell-eval holds: one row a profile, then one a context.

    A context is a cell line at a time, and its control the mean of expression - response over its chosen
    profiles: what remains of rounding to float16 is a fraction of a half of its last digit. Levels are
    control + response, so that what cell-eval subtracts gives the response; below 0 they are set to 0, which
    cell-eval wants, and `facts` counts them.

    Raises
    ------
    ConfigError
        The screen predicts no levels; two conditions of a cell line have one label, or the controls' one.
    """
    _require_levels(screen)
    contexts = _check(screen, rows, labels)
    facts = facts_of(screen, EXPRESSION)
    basal = _Basal(screen, rows, contexts)

    def values(progress: ProgressCallback) -> Iterator[tuple[int, NDArray[np.float32]]]:
        facts[CLIPPED] = 0
        for start, levels in basal.levels(progress):
            below = levels < 0
            facts[CLIPPED] += int(below.sum())
            levels[below] = 0.0
            _require_small(screen, levels)
            yield start, levels

    return ExportContent(
        obs=_observations(screen, rows, contexts, labels),
        var=BlockTable.of(screen.genes, screen.var),
        values=values,
        dtype=np.dtype(np.float32),
        facts=facts,
    )


class _Basal:
    """Levels of the chosen profiles and of their controls, in two passes over the screen."""

    def __init__(self, screen: FinishedScreen, rows: NDArray[np.int64], contexts: pl.DataFrame) -> None:
        self._screen, self._rows, self._contexts = screen, rows, contexts

    def levels(self, progress: ProgressCallback) -> Iterator[tuple[int, NDArray[np.float32]]]:
        total = 2 * len(self._rows)
        controls = np.zeros((self._contexts.height, len(self._screen.genes)))
        counts = np.zeros(self._contexts.height)
        for start, context, response in self._blocks():
            chosen = self._rows[start : start + len(context)]
            difference = self._screen.read(EXPRESSION, chosen).astype(np.float64) - response
            for code in np.unique(context):
                controls[code] += difference[context == code].sum(axis=0)
                counts[code] += np.count_nonzero(context == code)
            progress(start + len(context), total, "controls")
        controls = controls / counts[:, None]
        for start, context, response in self._blocks():
            yield start, (controls[context] + response).astype(np.float32)
            progress(len(self._rows) + start + len(context), total)
        yield len(self._rows), controls.astype(np.float32)

    def _blocks(self) -> Iterator[tuple[int, NDArray[np.int64], NDArray[np.float32]]]:
        """Yield the first place, the contexts (M,) and the responses (M, G) of each block."""
        start = 0
        for table in self._screen.sig_info(_CONTEXT, self._rows, at_once=self._screen.block_rows):
            numbers = self._contexts.select(_NUMBERED)
            context = table.join(numbers, on=_CONTEXT, how="left", nulls_equal=True, maintain_order="left")
            chosen = self._rows[start : start + table.height]
            yield start, context["context"].to_numpy(), self._screen.read(RESPONSE, chosen)
            start += table.height


def _require_levels(screen: FinishedScreen) -> None:
    if EXPRESSION not in screen.layers:
        raise ConfigError(
            f"{screen.path} holds responses ({screen.bundle.get('normalisation')}) and no levels, which is "
            "what cell-eval scores. Screen with a bundle that was trained on a store of measure "
            "'expression', or write the responses: --to h5ad."
        )


def _check(screen: FinishedScreen, rows: NDArray[np.int64], labels: Labels) -> pl.DataFrame:
    """Return the contexts, numbered, and refuse labels under which two conditions would be pooled.

    Columns: context, cell_iname, pert_time, and the pert_type of its first condition.
    """
    if labels.pert_col in (labels.cell_col, "cell_iname", "pert_time"):
        raise ConfigError(
            f"--pert-col {labels.pert_col}: this column holds cell lines or times. Name another."
        )
    if labels.label not in screen.sig_info_columns:
        raise ConfigError(f"--label {labels.label}: sig_info has no such column. Use pert_id or sig_id.")
    contexts = pl.DataFrame(schema=_CONTEXT_TYPES)
    keys = [np.zeros(0, np.uint64)]
    for block in screen.sig_info(sorted({*_CONTEXT_TYPES, labels.label}), rows):
        named = block.with_columns(pl.col(labels.label).cast(pl.String).alias("label"))
        if bool((named["label"] == labels.control).any()) or named["label"].null_count():
            raise ConfigError(
                f"{screen.path}: {labels.label} is missing or is {labels.control!r}, the label of controls. "
                "Choose another --label or --control."
            )
        keys.append(named.select(pl.struct("cell_iname", "label").hash(seed=0)).to_series().to_numpy())
        seen = block.select(pl.col(name).cast(dtype) for name, dtype in _CONTEXT_TYPES.items())
        contexts = pl.concat([contexts, seen]).unique(_CONTEXT, keep="first", maintain_order=True)
    n_labels = len(np.unique(np.concatenate(keys)))
    if n_labels < len(rows):
        raise ConfigError(
            f"{screen.path}: {len(rows):,} conditions have only {n_labels:,} labels ({labels.label} in a "
            "cell line): cell-eval would average their doses, times or types. Choose one each with --doses, "
            "--times and --pert-types, or name every condition by --label sig_id (as the truth must then)."
        )
    return contexts.with_row_index("context").with_columns(pl.col("context").cast(pl.Int64))


def _require_small(screen: FinishedScreen, levels: NDArray[np.float32]) -> None:
    largest = float(levels.max())
    if not largest < LARGEST_LEVEL:
        raise ConfigError(
            f"{screen.path}: a predicted level is {largest:.4g}, and cell-eval refuses {LARGEST_LEVEL:g} and "
            f"more (these are {screen.bundle.get('normalisation')}, it wants log1p of normalised counts). "
            "Write the levels for other tools: --to h5ad --layer expression."
        )


def _observations(
    screen: FinishedScreen, rows: NDArray[np.int64], contexts: pl.DataFrame, labels: Labels
) -> BlockTable:
    profiles = observations(screen, rows)
    added = {labels.pert_col: labels.label, labels.cell_col: "cell_iname"}
    columns = (*profiles.columns, *(name for name in added if name not in profiles.columns))
    controls = _control_rows(contexts, labels)

    def blocks(asked: Sequence[str]) -> Iterator[pl.DataFrame]:
        source = {name: added.get(name, name) for name in asked}
        types: dict[str, pl.DataType] = {}
        for block in profiles.blocks(sorted(set(source.values()))):
            shown = block.select(pl.col(own).alias(name) for name, own in source.items())
            types = dict(shown.schema)
            yield shown
        absent = [pl.lit(None).alias(name) for name in types if name not in controls.columns]
        yield controls.with_columns(absent).select(pl.col(name).cast(types[name]) for name in asked)

    return BlockTable(len(rows) + contexts.height, columns, blocks)


def _control_rows(contexts: pl.DataFrame, labels: Labels) -> pl.DataFrame:
    """Return what is known of the controls: names, cell line, time and CMap's type."""
    named = pl.concat_str(
        pl.lit(labels.control), "cell_iname", pl.col("pert_time").cast(pl.String).fill_null(""), separator="|"
    )
    vehicle = pl.when(pl.col("pert_type") == "trt_cp").then(pl.lit("ctl_vehicle"))
    # One may choose a column that is there already for the labels, such as pert_id.
    columns = {
        ROW_NAME: named,
        "sig_id": named,
        "pert_type": vehicle.otherwise(pl.lit("ctl_vector")),
        "pert_id": pl.lit(labels.control),
        labels.cell_col: pl.col("cell_iname"),
        labels.pert_col: pl.lit(labels.control),
    }
    return contexts.with_columns(values.alias(name) for name, values in columns.items())
