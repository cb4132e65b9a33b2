"""What a screen ranks its conditions by: their effect, or a signature that they mimic or reverse."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pertcast.analysis.connectivity import Signature, get_score
from pertcast.analysis.connectivity.signature import require_comparable
from pertcast_data.errors import ConfigError, nearest_known
from pertcast_data.signatures import read_gene_list, read_weighted_genes

from pertcast_jobs.screen.plan import Objective

OBJECTIVES: Final[dict[str, Objective]] = {"mimic": "mimic", "reverse": "reverse"}
"""What may be wanted of a signature."""


@dataclass(frozen=True, slots=True)
class ScreenObjective:
    """A signature, what is wanted of it and how it is compared; all None where effects are ranked."""

    signature: Signature | None = None
    objective: Objective | None = None
    score: str | None = None


def weighted_signature(path: Path, score: str | None) -> Signature:
    """Read a signature of values that can be compared; raises SchemaError where it cannot."""
    genes = read_weighted_genes(path)
    require_comparable(genes.genes, genes.values or (), score, f"{path}")
    return Signature.of_lists([genes])


def objective_of(
    up: Path | None, down: Path | None, weighted: Path | None, objective: str | None, score: str | None
) -> ScreenObjective:
    """Read the signature that a screen is to be ranked by.

    Parameters
    ----------
    up, down
        Lists of genes that rise and fall: both or none.
    weighted
        Genes with values, instead of lists.
    objective
        "mimic" or "reverse"; None: reverse, where there is a signature.
    score
        A name of `pertcast.analysis.connectivity.SCORES`; one that fits the signature where None.

    Raises
    ------
    ConfigError
        One list without the other, lists beside values, a score or objective without a signature, an unknown
        objective or score.
    FormatError, SchemaError
        Of the files.
    """
    if objective is not None and objective not in OBJECTIVES:
        nearest = nearest_known(objective, OBJECTIVES) or list(OBJECTIVES)
        raise ConfigError(f"--objective {objective}: use {' or '.join(nearest)}.")
    if up is None and down is None and weighted is None:
        for name, value in (("--objective", objective), ("--score", score)):
            if value is not None:
                raise ConfigError(f"{name} compares with a signature: add --up and --down, or --signature.")
        return ScreenObjective()
    if weighted is not None and (up is not None or down is not None):
        raise ConfigError("Give one signature: --up FILE and --down FILE, or --signature FILE.")
    if weighted is not None:
        signature = weighted_signature(weighted, score)
    elif up is None or down is None:
        raise ConfigError("A signature of lists needs both: --up FILE and --down FILE.")
    else:
        signature = Signature.of_lists([read_gene_list(up, "up"), read_gene_list(down, "down")])
    name = get_score(score or signature.default_score()).name
    return ScreenObjective(signature, OBJECTIVES[objective or "reverse"], name)
