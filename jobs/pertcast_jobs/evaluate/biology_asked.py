"""What is asked of the biology of evaluations, as typed on the command line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pertcast.analysis.gene_sets import GeneSets
from pertcast.analysis.sensitivity.reading import read_sensitivity
from pertcast.evaluation.bootstrap import N_DRAWS

from pertcast_jobs.screen.library import read_library


@dataclass(frozen=True)
class BiologyAsked:
    """What is asked of the biology of evaluations.

    Attributes
    ----------
    by_default
        Dose and time response, populations of wells and latent space, where the store has them.
    sets
        Gene sets for pathway agreement; None for none.
    sensitivity, library
        Table of drug sensitivity, and structures of compounds that neither it nor the store describes.
    dose, time
        uM and h at which expression is generated for drug sensitivity; the usual ones of training where None.
    n_draws, seed
        Of the bootstraps; the seed also of permutations, halves and samples.
    """

    by_default: bool = True
    sets: GeneSets | None = None
    sensitivity: Path | None = None
    library: Path | None = None
    dose: float | None = None
    time: float | None = None
    n_draws: int = N_DRAWS
    seed: int = 0

    def words(self) -> str:
        """Return the options as they are typed, with a space before each."""
        given: dict[str, Any] = {
            "--gmt": self.sets and self.sets.source,
            "--sensitivity": self.sensitivity and self.sensitivity.name,
            "--library": self.library and self.library.name,
            "--dose": self.dose,
            "--time": self.time,
        }
        said = "".join(f" {name} {value}" for name, value in given.items() if value)
        return said if self.by_default else f"{said} --no-biology"


def read_first(table: Path, library: Path | None) -> None:
    """Read a table of drug sensitivity and a library, so that a broken file is told before the work.

    Raises
    ------
    FormatError, SchemaError
        One of them cannot be read.
    """
    read_sensitivity(table)
    if library is not None:
        read_library(library, "compounds")
