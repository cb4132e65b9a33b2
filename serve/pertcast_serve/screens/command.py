"""The `pertcast screen` command of a request: its words, and the files that they name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import polars as pl

from pertcast_serve.schemas.base import Problem
from pertcast_serve.schemas.screens import ScreenRequest

LIBRARY: Final = "library.parquet"
UP: Final = "up.parquet"
DOWN: Final = "down.parquet"
LONGEST_COMMAND: Final = 100_000
"""Letters of a command: the system takes 128 KiB in one argument, and a job's line is one."""

_ROW_SCHEMA: Final = {
    "pert_id": pl.String,
    "pert_type": pl.String,
    "cell_iname": pl.String,
    "pert_dose": pl.Float64,
    "pert_time": pl.Float64,
    "canonical_smiles": pl.String,
    "targets": pl.String,
}


@dataclass(frozen=True, slots=True)
class ScreenCommand:
    """A request as a command.

    Attributes
    ----------
    request
        What is asked for.
    bundle
        Folder of the bundle.
    gene_sets
        Path of the gene sets; None without.
    """

    request: ScreenRequest
    bundle: str
    gene_sets: Path | None = None

    def write_lists(self, folder: Path) -> None:
        """Write the files that the command reads: Parquet, so that no name can be read as something else."""
        request = self.request
        if request.rows is not None:
            table = pl.DataFrame([row.model_dump() for row in request.rows], schema=_ROW_SCHEMA)
            stated = [name for name in table.columns if table[name].null_count() < table.height]
            table.select(stated or ["pert_id"]).write_parquet(folder / LIBRARY)
        for name, genes in ((UP, request.up), (DOWN, request.down)):
            if genes is not None:
                pl.DataFrame({"gene": genes}).write_parquet(folder / name)

    def words(self, folder: Path) -> list[str]:
        """Return the words before those that say where and how it runs; `folder` holds the lists."""
        request = self.request
        given: dict[str, str | None] = {
            "model": self.bundle,
            "gmt": None if self.gene_sets is None else str(self.gene_sets.absolute()),
            "cells": _joined(request.cell_iname),
            "pert-types": None if request.kind == "compounds" else _joined(request.pert_type),
            "doses": _joined(request.pert_dose),
            "times": _joined(request.pert_time),
            "up": None if request.up is None else str(folder / UP),
            "down": None if request.down is None else str(folder / DOWN),
            "objective": request.objective,
            "seed": str(request.seed),
        }
        words = ["screen", request.kind]
        if request.rows is not None:
            words.append(str(folder / LIBRARY))
        words += [f"--{name}={value}" for name, value in given.items() if value is not None]
        return [*words, "--skip-unknown"] if request.skip_unknown else words

    def names(self, folder: Path, model: str) -> Mapping[str, str]:
        """Return what messages name by paths -> what the caller calls it."""
        names = {self.bundle: f"model {model}"}
        for file, name in ((LIBRARY, "rows"), (UP, "up"), (DOWN, "down")):
            names |= {str(folder / file): name, file: name}
        if self.gene_sets is not None:
            names[str(self.gene_sets.absolute())] = f"gene_sets {self.request.gene_sets}"
        return names


def _joined(values: list[str] | list[float] | None) -> str | None:
    return None if values is None else ",".join(str(value).strip() for value in values)


def command_of(request: ScreenRequest, bundle: str, gene_sets: Mapping[str, Path]) -> ScreenCommand | Problem:
    """Return a request as a command, or what of it a command cannot say.

    Parameters
    ----------
    request
        What is asked for.
    bundle
        Folder of the model's bundle.
    gene_sets
        Name -> file of the collections that the server holds.
    """
    for name in (*(request.cell_iname or ()), *(request.pert_type or ())):
        if "," in name or not name.isprintable() or not name.strip():
            return _refused(
                f"{name[:100]!r} is no name of a cell line or type: names have no commas and no control "
                "characters. Give each name as one entry of the list."
            )
    if request.kind == "compounds" and set(request.pert_type or ["trt_cp"]) != {"trt_cp"}:
        return _refused("pert_type: compounds are trt_cp. Leave it out, or screen genes, pairs or a table.")
    if request.kind == "genes" and request.pert_dose is not None:
        return _refused("pert_dose: perturbed genes have no dose. Leave it out, or screen compounds.")
    if request.gene_sets is not None and request.gene_sets not in gene_sets:
        known = ", ".join(gene_sets) or "none"
        return _refused(f"gene_sets: {request.gene_sets[:100]!r} is no collection here. Known: {known}.")
    found = ScreenCommand(
        request, bundle, None if request.gene_sets is None else gene_sets[request.gene_sets]
    )
    if sum(len(word.encode()) + 3 for word in found.words(Path())) > LONGEST_COMMAND:
        return _refused(
            "The names of cell lines are too long for one command. Name fewer in cell_iname, or state them "
            "in rows."
        )
    return found


def _refused(detail: str) -> Problem:
    return Problem(title="Screen refused", status=422, detail=detail)
