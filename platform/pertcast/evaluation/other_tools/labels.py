"""Which cell of an h5ad file belongs to which condition: column names, control labels, contexts.

The names are those of the two files that cell-eval takes, or Pertcast's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pertcast_data.errors import SchemaError, nearest_known
from pertcast_data.vocabulary import CONTROL_TYPES, PAIR_SEPARATOR, condition_id, split_perturbation

from pertcast.evaluation.held_out import IndexArray

DEFAULT_PERTURBATION: Final = "target_gene"
DEFAULT_CONTROL: Final = "non-targeting"
ONE_CONTEXT: Final = "all cells"
"""Name of the context where no column of contexts is given."""

_OWN_PERTURBATION: Final = "pert_id"
_IDENTITY: Final = ("cell_iname", "pert_type", "pert_id", "pert_dose", "pert_time")


@dataclass(frozen=True, slots=True)
class Columns:
    """Names of the columns of `obs` that say what was done to a cell.

    Attributes
    ----------
    perturbation
        What was perturbed: "KLF1", "A+B" for a pair in any order. None: `target_gene`, else `pert_id`.
    control
        The label of unperturbed cells in that column; as a member of a pair it counts as nothing ("A+ctrl").
    context
        Cell line or type: conditions have the controls of their own context. None: one context.
    dose, time
        Numbers (uM, hours) that tell conditions of one perturbation apart. None: there are none.
    kind
        CMap's code of what was done ("trt_xpr"); controls' codes mark controls. None: there is none.

    Notes
    -----
    Where `perturbation` is left open and the file has Pertcast's own columns (`pert_id`), the others that are
    left open are `cell_iname`, `pert_dose`, `pert_time` and `pert_type`, as far as the file has them.
    """

    perturbation: str | None = None
    control: str = DEFAULT_CONTROL
    context: str | None = None
    dose: str | None = None
    time: str | None = None
    kind: str | None = None

    def resolve(self, obs: pl.DataFrame, path: Path) -> Columns:
        """Return the same with every name decided for a file's `obs`; raises SchemaError if one is absent."""
        found = self
        if self.perturbation is None:
            is_own = _OWN_PERTURBATION in obs.columns and DEFAULT_PERTURBATION not in obs.columns
            found = replace(self, perturbation=_OWN_PERTURBATION if is_own else DEFAULT_PERTURBATION)
            if is_own:
                found = replace(
                    found,
                    context=self.context or _present("cell_iname", obs),
                    dose=self.dose or _present("pert_dose", obs),
                    time=self.time or _present("pert_time", obs),
                    kind=self.kind or _present("pert_type", obs),
                )
        found._require(obs, path)
        return found

    def _require(self, obs: pl.DataFrame, path: Path) -> None:
        named = {
            "--pert-col": self.perturbation,
            "--context-col": self.context,
            "dose": self.dose,
            "time": self.time,
            "kind": self.kind,
        }
        for option, name in named.items():
            if name is None or name in obs.columns:
                continue
            present = [column for column in obs.columns if column != "source_id"]
            near = nearest_known(name, present) or present
            raise SchemaError(
                f"{path}: obs has no column {name!r} ({option}). Nearest there: {', '.join(near[:8])}. "
                "Name the right one, or rename the column in the file."
            )


@dataclass(frozen=True)
class CellLabels:
    """What each of M cells is.

    Attributes
    ----------
    conditions
        K rows, sorted by `condition_id`: condition_id, cell_iname, pert_type, pert_id, pert_dose, pert_time.
    condition_of_row
        (M,) row of `conditions`, -1 for controls.
    contexts
        Names of the contexts, sorted.
    context_of_row
        (M,) context of each cell.
    """

    conditions: pl.DataFrame
    condition_of_row: IndexArray
    contexts: tuple[str, ...]
    context_of_row: IndexArray

    @property
    def control_rows(self) -> NDArray[np.bool_]:
        """(M,) whether a cell is a control."""
        return self.condition_of_row < 0


def _present(name: str, obs: pl.DataFrame) -> str | None:
    return name if name in obs.columns else None


def read_labels(obs: pl.DataFrame, columns: Columns, path: Path) -> CellLabels:
    """Sort the cells of a file into conditions.

    Parameters
    ----------
    obs
        The row table of the file.
    columns
        Resolved names, all present.
    path
        For messages.

    Raises
    ------
    SchemaError
        A cell has no perturbation or context, or a dose or time is no number.
    """
    names = _text(obs, columns.perturbation, path)
    kinds = _kinds(obs, columns.kind)
    labels = pl.DataFrame(
        {
            "cell_iname": _text(obs, columns.context, path)
            if columns.context
            else [ONE_CONTEXT] * obs.height,
            "pert_type": kinds,
            "pert_id": _canonical_names(names, kinds, columns.control),
            "pert_dose": _numbers(obs, columns.dose, path),
            "pert_time": _numbers(obs, columns.time, path),
        },
        schema_overrides={"pert_dose": pl.Float64, "pert_time": pl.Float64},
    ).with_row_index("row")
    contexts = tuple(sorted(labels["cell_iname"].unique().to_list()))
    treated = labels.filter(pl.col("pert_id") != "")
    grouped = treated.group_by(_IDENTITY, maintain_order=True).agg("row")
    identifiers = [condition_id(*row) for row in grouped.select(_IDENTITY).iter_rows()]
    grouped = grouped.with_columns(pl.Series("condition_id", identifiers, pl.String)).sort("condition_id")
    condition_of_row = np.full(obs.height, -1, dtype=np.int64)
    for number, rows in enumerate(grouped["row"]):
        condition_of_row[rows.to_numpy()] = number
    return CellLabels(
        conditions=grouped.select("condition_id", *_IDENTITY),
        condition_of_row=condition_of_row,
        contexts=contexts,
        context_of_row=np.searchsorted(contexts, labels["cell_iname"].to_numpy()).astype(np.int64),
    )


def _text(obs: pl.DataFrame, name: str | None, path: Path) -> list[str]:
    values = obs[name or ""].cast(pl.String)
    empty = values.is_null() | (values == "")
    if empty.any():
        row = int(empty.arg_true()[0])
        raise SchemaError(
            f"{path}: obs[{name!r}] is empty in {int(empty.sum()):,} of {obs.height:,} rows, first in row "
            f"{row} ({obs['source_id'][row]!r}). Fill the column, or leave those cells out of the file."
        )
    return values.to_list()


def _numbers(obs: pl.DataFrame, name: str | None, path: Path) -> list[float | None]:
    if name is None:
        return [None] * obs.height
    values = obs[name]
    numbers = values.cast(pl.Float64, strict=False)
    wrong = numbers.is_null() & values.is_not_null()
    if wrong.any():
        row = int(wrong.arg_true()[0])
        raise SchemaError(
            f"{path}: obs[{name!r}] holds {values[row]!r} in row {row}, which is no number. Write doses in "
            "uM and times in hours, or do not name the column."
        )
    return numbers.fill_nan(None).to_list()


def _kinds(obs: pl.DataFrame, name: str | None) -> list[str]:
    if name is None:
        return [""] * obs.height
    return obs[name].cast(pl.String).fill_null("").to_list()


def _canonical_names(names: Sequence[str], kinds: Sequence[str], control: str) -> list[str]:
    """Return one spelling a perturbation; "" for controls."""
    known: dict[str, str] = {control: ""}
    for name in set(names) - {control}:
        members = (member for member in split_perturbation(name) if member != control)
        known[name] = PAIR_SEPARATOR.join(members)
    return ["" if kind in CONTROL_TYPES else known[name] for name, kind in zip(names, kinds, strict=True)]


def gene_positions(genes: Sequence[str], conditions: pl.DataFrame) -> NDArray[Any]:
    """Return (N, S) int64 positions of each condition's own target genes, -1 for none.

    Members of `pert_id` that are names of genes are targets.
    """
    place = {gene: number for number, gene in enumerate(genes)}
    found = [
        [place[member] for member in split_perturbation(name) if member in place]
        for name in conditions["pert_id"]
    ]
    width = max((len(own) for own in found), default=0) or 1
    return np.array([own + [-1] * (width - len(own)) for own in found], dtype=np.int64).reshape(-1, width)
