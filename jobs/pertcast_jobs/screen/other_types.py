"""In how many other ways each gene of a screen was perturbed in training, in the same cell line.

A model that couples types knows more of a gene whose knock-out was measured when its knock-down is asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

import polars as pl
from pertcast.encoding.perturbations import Perturbations
from pertcast.predictor import Predictor
from pertcast_data.vocabulary import GENETIC_TYPES, PAIR_SEPARATOR, split_perturbation

N_OTHER_TYPES: Final = "n_other_types"
_SCHEMA: Final = {"cell_iname": pl.String, "genes": pl.String, "pert_type": pl.String}
_CONTEXT_KEYS: Final = ("cell_iname", "genes")


@dataclass(frozen=True)
class OtherTypes:
    """What a bundle's training holds of each gene.

    Attributes
    ----------
    measured
        Distinct cell_iname, genes (sorted, joined by "+") and pert_type of the training conditions.
    known
        The bundle's perturbations: they say what a spelling means.
    """

    measured: pl.DataFrame
    known: Perturbations

    @classmethod
    def of(cls, predictor: Predictor) -> Self | None:
        """Read a bundle's training conditions; None where it was trained on fewer than two genetic types."""
        space, conditions = predictor.space, predictor.encoder.training_conditions
        if len(set(space.pert_types) & set(GENETIC_TYPES)) < 2:
            return None
        members = conditions.perturbation.cpu().numpy()
        columns = {
            "cell_iname": [space.contexts[index] for index in conditions.context.tolist()],
            "genes": [
                PAIR_SEPARATOR.join(sorted(space.perturbations[index] for index in row if index >= 0))
                for row in members
            ],
            "pert_type": [
                space.pert_types[kind] if kind >= 0 else None for kind in conditions.pert_type[:, 0].tolist()
            ],
        }
        measured = pl.DataFrame(columns, schema=_SCHEMA).filter(pl.col("pert_type").is_in(GENETIC_TYPES))
        return cls(measured.unique(maintain_order=True), predictor.encoder.perturbations)

    def count(self, table: pl.DataFrame) -> pl.Series:
        """Return how many other types of the same genes training holds in the same cell line.

        Parameters
        ----------
        table
            N conditions: cell_iname, pert_type, pert_id and targets.

        Returns
        -------
        Series
            (N,) int64 "n_other_types".
        """
        asked = table.select("cell_iname", "pert_type", genes=pl.coalesce("targets", "pert_id"))
        names = {name: self._genes(name) for name in asked["genes"].unique().drop_nulls()}
        asked = asked.with_columns(pl.col("genes").replace(names))
        total = self.measured.group_by(_CONTEXT_KEYS).len("total")
        own = self.measured.with_columns(own=pl.lit(1, dtype=pl.Int64))
        found = asked.join(total, on=_CONTEXT_KEYS, how="left", maintain_order="left").join(
            own, on=list(_SCHEMA), how="left", maintain_order="left"
        )
        count = pl.col("total").cast(pl.Int64).fill_null(0) - pl.col("own").fill_null(0)
        return found.select(count.alias(N_OTHER_TYPES)).to_series()

    def _genes(self, text: str) -> str:
        parts = (self.known.known_gene(gene) or gene for gene in split_perturbation(text))
        return PAIR_SEPARATOR.join(sorted(parts))
