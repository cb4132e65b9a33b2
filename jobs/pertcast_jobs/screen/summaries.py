"""What a shard knows of each of its profiles: applicability, effect, score, pair excess, enrichment.

Taken from predictions in full precision, in the same pass that writes them.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pertcast.analysis.connectivity import Signature
from pertcast.analysis.enrichment import SizeMatchedNull, enrichment_scores
from pertcast.analysis.gene_sets import SetIndex
from pertcast.analysis.hits import condition_statistics
from pertcast.predictor import PredictedConditions, Predictor

from pertcast_jobs.screen.conditions import IDENTITY_SCHEMA
from pertcast_jobs.screen.other_types import OtherTypes
from pertcast_jobs.screen.pair_singles import PairSingles
from pertcast_jobs.screen.plan import ScreenSettings

SCORE: Final = "score"
"""Conditions are ranked by it, largest first."""
DISAGREEMENT: Final = "sd_between"
"""What the members of an ensemble disagree on: root mean square over genes, in the units of the response."""
ES: Final = "es"
NES: Final = "nes"
NULL_P: Final = "pval"
NULL_FDR: Final = "fdr"
SET_COLUMNS: Final = (ES, NES, NULL_P, NULL_FDR)
"""One value a gene set, in the order of the sets; kept until the enrichment table is written."""

_APPLICABILITY_SCHEMA: Final = {
    "seen_pert": pl.Boolean,
    "seen_cell": pl.Boolean,
    "nn_train_dist": pl.Float64,
    "is_in_domain": pl.Boolean,
}


class Summaries:
    """Summarises the profiles of shards of one screen.

    Parameters
    ----------
    predictor
        The loaded bundle.
    settings
        How the screen is computed.
    sets
        Gene sets over the bundle's genes, or None.
    signature
        What conditions are compared with, or None.
    model_id
        Short name of the bundle.
    """

    def __init__(
        self,
        predictor: Predictor,
        settings: ScreenSettings,
        sets: SetIndex | None,
        signature: Signature | None,
        *,
        model_id: str,
    ) -> None:
        self._settings = settings
        self._genes = predictor.genes
        self._sets = sets
        self._null = None if sets is None else SizeMatchedNull.of(sets, settings.seed)
        self._model_id = model_id
        self._other_types = None if settings.kind == "compounds" else OtherTypes.of(predictor)
        self._singles = PairSingles(predictor, settings) if settings.kind == "pairs" else None
        self._query = None if signature is None else signature.queries(predictor.genes, settings.score)

    def of(self, table: pl.DataFrame, found: PredictedConditions, order: NDArray[np.int64]) -> pl.DataFrame:
        """Return one row a profile.

        Parameters
        ----------
        table
            The conditions, `IDENTITY_SCHEMA`.
        found
            What is predicted for them.
        order
            (N, G) genes of each profile from highest to lowest.
        """
        settings, mean = self._settings, found.mean
        parts = [
            table.select(list(IDENTITY_SCHEMA)),
            self._applicability(found.table),
            condition_statistics(mean, found.sd, self._genes),
        ]
        if found.sd_between is not None:
            parts.append(pl.DataFrame({DISAGREEMENT: _root_mean_square(found.sd_between)}))
        if self._singles is not None:
            parts.append(self._singles.excess(table, mean))
        if self._query is not None:
            parts.append(pl.DataFrame({"connectivity": self._query.against(mean)[0].astype(np.float64)}))
        joined = pl.concat(parts, how="horizontal").with_columns(
            model_id=pl.lit(self._model_id), seed=pl.lit(settings.seed, dtype=pl.Int64)
        )
        joined = joined.with_columns(self._score().alias(SCORE))
        return joined if self._sets is None else joined.with_columns(self._enrichment(mean, order))

    def _score(self) -> pl.Expr:
        score = pl.col(self._settings.ranks_by)
        return -score if self._settings.objective == "reverse" else score

    def _applicability(self, table: pl.DataFrame) -> pl.DataFrame:
        """Return the flags of each condition; the other types of a gene where the bundle knows several."""
        flags = table.select(
            (pl.col(name) if name in table.columns else pl.lit(None)).cast(dtype).alias(name)
            for name, dtype in _APPLICABILITY_SCHEMA.items()
        )
        return flags if self._other_types is None else flags.with_columns(self._other_types.count(table))

    def _enrichment(self, mean: NDArray[np.float32], order: NDArray[np.int64]) -> list[pl.Series]:
        assert self._sets is not None and self._null is not None
        return set_columns(mean, order, self._sets, self._null)


def _root_mean_square(values: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.asarray(np.sqrt(np.square(values, dtype=np.float64).mean(axis=1)))


def set_columns(
    profiles: NDArray[np.float32], order: NDArray[np.int64], sets: SetIndex, null: SizeMatchedNull
) -> list[pl.Series]:
    """Return `SET_COLUMNS` of N profiles, each an array over the S sets.

    Parameters
    ----------
    profiles
        (N, G) responses.
    order
        (N, G) genes of each from highest to lowest.
    sets, null
        The sets, and what their scores are held against.
    """
    scores = enrichment_scores(profiles, sets, order=order)
    normal = null.normalise(profiles, scores, order=order)
    found = {ES: scores, NES: normal.nes, NULL_P: normal.pval, NULL_FDR: normal.fdr}
    kinds = {ES: pl.Float64, NES: pl.Float32, NULL_P: pl.Float32, NULL_FDR: pl.Float32}
    return [
        pl.Series(name, values.astype(np.float64 if name == ES else np.float32)).cast(
            pl.Array(kinds[name], len(sets))
        )
        for name, values in found.items()
    ]
