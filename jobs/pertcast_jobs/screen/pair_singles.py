"""The single perturbations of pairs, predicted in the same contexts, and what a pair does beyond their sum."""

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

    def excess(self, table: pl.DataFrame, pair: NDArray[np.float32]) -> pl.DataFrame:
        """Return the excess of each pair over the sum of its singles, a row a pair.

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
        return pair_excess(pair, one, other, self._predictor.genes)

    def _places(self, table: pl.DataFrame, member: int) -> pl.DataFrame:
        names = [split_perturbation(name) for name in table["pert_id"]]
        odd = next((row for row, parts in enumerate(names) if len(parts) != 2), None)
        if odd is not None:
            raise SchemaError(f"{table['pert_id'][odd]} is no pair: list pairs as A+B.")
        return table.select(_CONTEXT).with_columns(
            pert_id=pl.Series([parts[member] for parts in names], dtype=pl.String)
        )
