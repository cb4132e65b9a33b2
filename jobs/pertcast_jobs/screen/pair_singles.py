"""Single perturbations of pairs, predicted in the same contexts, and what a pair does beyond their sum."""

from __future__ import annotations

from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pertcast.analysis.pair_excess import pair_excess
from pertcast.predictor import Predictor
from pertcast_data.errors import SchemaError
from pertcast_data.vocabulary import split_perturbation

from pertcast_jobs.screen.plan import ScreenSettings

_CONTEXT: Final = ("cell_iname", "pert_type", "pert_dose", "pert_time")


class PairSingles:
    """Predicts the singles of a shard's pairs, each once.

    Parameters
    ----------
    predictor
        The loaded bundle.
    settings
        How the screen is computed.
    """

    def __init__(self, predictor: Predictor, settings: ScreenSettings) -> None:
        self._predictor = predictor
        self._settings = settings
        self._column = {gene: number for number, gene in enumerate(predictor.genes)}
        self._trained = _trained_pairs(predictor)

    def excess(self, table: pl.DataFrame, pair: NDArray[np.float32]) -> pl.DataFrame:
        """Return the excess of each pair over its singles, and seen_pair: whether training holds it.

        Parameters
        ----------
        table
            M conditions, each of two perturbations.
        pair
            (M, G) their predicted responses.
        """
        first, second = (self._places(table, member) for member in (0, 1))
        singles = pl.concat([first, second])
        distinct = singles.unique(maintain_order=True).with_row_index("place")
        found = self._predictor.predict(
            distinct.drop("place"), seed=self._settings.seed, batch_size=self._settings.batch_size
        )
        keys = list(first.columns)
        place = singles.join(distinct, on=keys, how="left", nulls_equal=True, maintain_order="left")["place"]
        rows = place.to_numpy()
        one, other = found.mean[rows[: len(pair)]], found.mean[rows[len(pair) :]]
        own = np.stack([self._own_genes(names["pert_id"]) for names in (first, second)], axis=1)
        found_excess = pair_excess(pair, one, other, self._predictor.genes, own_genes=own)
        return found_excess.with_columns(self._seen(first["pert_id"], second["pert_id"]))

    def _seen(self, first: pl.Series, second: pl.Series) -> pl.Series:
        known = self._predictor.encoder.perturbations
        names = {
            name: known.known_gene(name) or (found.name if (found := known.compound(name, None)) else name)
            for name in {*first, *second}
        }
        pairs = zip(first, second, strict=True)
        seen = [frozenset((names[one], names[other])) in self._trained for one, other in pairs]
        return pl.Series("seen_pair", seen, dtype=pl.Boolean)

    def _own_genes(self, names: pl.Series) -> NDArray[np.int64]:
        """Return (M,) the column of each perturbed gene, -1 where the profiles do not hold it."""
        known, column = self._predictor.encoder.perturbations, self._column
        found = {name: column.get(known.known_gene(name) or name, -1) for name in names.unique()}
        return names.replace_strict(found, return_dtype=pl.Int64).to_numpy()

    def _places(self, table: pl.DataFrame, member: int) -> pl.DataFrame:
        names = [split_perturbation(name) for name in table["pert_id"]]
        odd = next((row for row, parts in enumerate(names) if len(parts) != 2), None)
        if odd is not None:
            raise SchemaError(f"{table['pert_id'][odd]} is no pair: list pairs as A+B.")
        return table.select(_CONTEXT).with_columns(
            pert_id=pl.Series([parts[member] for parts in names], dtype=pl.String)
        )


def _trained_pairs(predictor: Predictor) -> frozenset[frozenset[str]]:
    """Return the pairs of perturbations that training conditions hold, in whatever cell line and way."""
    names = predictor.space.perturbations
    members = predictor.encoder.training_conditions.perturbation.cpu().numpy()
    rows = np.unique(members[(members >= 0).sum(axis=1) == 2], axis=0)
    return frozenset(frozenset(names[index] for index in row if index >= 0) for row in rows.tolist())
