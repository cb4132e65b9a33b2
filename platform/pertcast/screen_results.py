"""What a screen's report is made from, read back from its finished tables: first hits, thinned ranks, counts.

The same when a screen ends and when its report is made again. Tables are streamed: the other engine of
polars holds whole columns of strings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pertcast.analysis.gene_sets import SetIndex
from pertcast.analysis.pair_excess import SUMMARY_COLUMNS, summarise_pairs
from pertcast.analysis.screened_doses import project_curves
from pertcast.naming import condition_name, response_unit
from pertcast.report.screen.columns import RANKED_COLUMNS
from pertcast.report.screen.function_section import FunctionOfScreen
from pertcast.report.screen.results import MOST_HITS, MOST_POINTS, MOST_ROWS_OF_MATRIX, ScreenResults, thinned
from pertcast.report.screen.results_parts import (
    DoseCurves,
    PairResults,
    ProfileMap,
    Selectivity,
    SignatureQuery,
)
from pertcast.report.screen.significance import significance_of
from pertcast.screens.files import DOSES, ENRICHMENT, HITS, NEIGHBORS, PROFILES, SELECTIVITY, SIG_INFO
from pertcast.screens.profile_read import ProfileRead
from pertcast.screens.sig_info import SigInfo

_SCORE: Final = "score"
_MOST_CURVES: Final = 6
_MOST_PAIRS: Final = 20
_KEY: Final = ("pert_id", "pert_type", "pert_dose", "pert_time")
_CURVE: Final = ("pert_id", "pert_type", "cell_iname", "pert_time")
_IDENTITY: Final = ("sig_id", "cmap_name", "pert_type", "cell_iname", "pert_dose", "pert_time")


@dataclass(frozen=True)
class FinishedTables:
    """The tables of a screen, and what its manifest says of it.

    Attributes
    ----------
    path
        The screen's folder.
    facts
        Its manifest, or what it will hold.
    genes
        Names of the G genes.
    sets
        Gene sets over them, or None.
    strongest
        Row -> (G,) profile of the reported hits, best first.
    function
        Gene function of the screened genes, or None.
    """

    path: Path
    facts: Mapping[str, Any]
    genes: tuple[str, ...]
    sets: SetIndex | None
    strongest: Mapping[int, NDArray[np.float32]]
    function: FunctionOfScreen | None

    @property
    def sig_info(self) -> SigInfo:
        """The table of conditions."""
        return SigInfo.open(self.path / SIG_INFO)

    def has(self, name: str) -> bool:
        """Whether a table was written."""
        return (self.path / name).is_file()


def screen_results(tables: FinishedTables, *, has_map: bool = True) -> ScreenResults:
    """Read what the report of a screen shows.

    Parameters
    ----------
    tables
        The screen.
    has_map
        Whether the map of profiles is made: it reads thousands of profiles, all else a few.
    """
    facts, sig_info = tables.facts, tables.sig_info
    order = np.argsort(-sig_info.values(_SCORE), kind="stable")
    reported = sig_info.rows(np.array(list(tables.strongest), dtype=np.int64), ["sig_id"])["sig_id"].to_list()
    neighbors = _of_reported(tables.path / NEIGHBORS, reported)
    hits = pl.scan_parquet(tables.path / HITS)
    unit = response_unit(facts["bundle"]["normalisation"])
    bundle = facts["bundle"]
    return ScreenResults(
        title=_title(facts),
        provenance=_provenance(facts),
        footer=f"Pertcast {facts['pertcast_version']}, plan {facts['plan_hash'][:12]}, "
        f"seed {facts['plan']['settings']['seed']}.",
        unit=unit,
        genes=tables.genes,
        kind=facts["plan"]["settings"]["kind"],
        n_conditions=sig_info.n_rows,
        n_refused=facts["plan"]["n_refused"],
        n_repeated=facts["n_repeated"],
        metrics=bundle["metrics"],
        hits=_hits(hits, sig_info, order),
        ranked=_ranked(hits, sig_info, order),
        flags=hits.group_by("flag")
        .agg(conditions=pl.len().cast(pl.Int64))
        .collect(engine="streaming")
        .sort("flag"),
        distance=_distance(sig_info),
        profiles=dict(zip(reported, tables.strongest.values(), strict=True)),
        sd=_spread_of(tables.path, next(iter(tables.strongest))) if "sd" in facts["layers"] else None,
        neighbors=neighbors,
        names=_names(tables.path, neighbors["neighbor_sig_id"].unique().to_list()),
        significance=significance_of(hits),
        sets=tables.sets,
        enrichment=None if tables.sets is None else _of_reported(tables.path / ENRICHMENT, reported),
        doses=_doses(tables, order) if tables.has(DOSES) else None,
        selectivity=_selectivity(tables) if tables.has(SELECTIVITY) else None,
        pairs=_pairs(tables, order) if facts["plan"]["settings"]["kind"] == "pairs" else None,
        signature=_signature(facts),
        map=profile_plane(tables, order) if has_map else None,
        function=tables.function,
        absent=facts["absent"],
    )


def _of_reported(path: Path, sig_ids: Sequence[str]) -> pl.DataFrame:
    """Return the rows of the reported hits from a table."""
    return pl.scan_parquet(path).filter(pl.col("sig_id").is_in(sig_ids)).collect(engine="streaming")


def _title(facts: Mapping[str, Any]) -> str:
    plan, cells = facts["plan"], facts["n_cells"]
    kind = plan["settings"]["kind"]
    what = "perturbations" if kind == "table" else kind
    return f"Screen of {plan['n_perturbations']:,} {what} in {cells:,} cell line{'s' * (cells != 1)}"


def _provenance(facts: Mapping[str, Any]) -> str:
    bundle, plan = facts["bundle"], facts["plan"]
    split = f"split {bundle['split_kind']}" if bundle["split_kind"] else "no split"
    return (
        f"{bundle['model']}, bundle {bundle['content_hash'][:12]} · "
        f"data {bundle['data_hash'][:12]}, {split} · "
        f"{facts['n_profiles']:,} conditions x {facts['n_genes']:,} genes · from {plan['library']}"
    )


def _hits(hits: pl.LazyFrame, sig_info: SigInfo, order: NDArray[np.int64]) -> pl.DataFrame:
    first = hits.head(MOST_HITS).collect(engine="streaming")
    more = sig_info.rows(order[:MOST_HITS], ["nn_train_dist", "pred_sd"])
    return pl.concat([first, more], how="horizontal")


def _ranked(hits: pl.LazyFrame, sig_info: SigInfo, order: NDArray[np.int64]) -> pl.DataFrame:
    ranks = thinned(len(order))
    found = hits.filter(pl.col("rank").is_in((ranks + 1).tolist())).collect(engine="streaming").sort("rank")
    spread = sig_info.rows(order[ranks], ["pred_sd"])
    return pl.concat([found, spread], how="horizontal").select("sig_id", *RANKED_COLUMNS)


def _distance(sig_info: SigInfo) -> tuple[float, float] | None:
    distance = sig_info.values("nn_train_dist")
    known = distance[np.isfinite(distance)]
    return (float(np.median(known)), float(known.max())) if len(known) else None


def _spread_of(path: Path, row: int) -> NDArray[np.float32]:
    spread = ProfileRead(path / PROFILES, "layers/sd")(np.array([row], dtype=np.int64))
    first: NDArray[np.float32] = spread[0]
    return first


def _names(path: Path, sig_ids: Sequence[str]) -> dict[str, str]:
    found = pl.scan_parquet(path / SIG_INFO).filter(pl.col("sig_id").is_in(sig_ids)).select(_IDENTITY)
    return {
        row["sig_id"]: condition_name(row) for row in found.collect(engine="streaming").iter_rows(named=True)
    }


def _doses(tables: FinishedTables, order: NDArray[np.int64]) -> DoseCurves:
    """Bring the curves of the strongest perturbations that have one, and count all states."""
    fits = pl.scan_parquet(tables.path / DOSES)
    states = (
        fits.group_by("state").agg(curves=pl.len().cast(pl.Int64)).collect(engine="streaming").sort("state")
    )
    top = tables.sig_info.rows(order[:MOST_HITS], list(_CURVE)).unique(maintain_order=True)
    strongest = top.with_row_index("place").lazy()
    chosen = (
        strongest.join(fits, on=list(_CURVE), nulls_equal=True)
        .collect(engine="streaming")
        .sort("place")
        .head(_MOST_CURVES)
    )
    chosen = chosen.drop("place").with_row_index("curve").with_columns(pl.col("curve").cast(pl.Int64))
    points = [_points(tables, row) for row in chosen.iter_rows(named=True)]
    schema = {"curve": pl.Int64, "pert_dose": pl.Float64, "response": pl.Float64, "effect_size": pl.Float64}
    return DoseCurves(chosen, pl.concat([pl.DataFrame(schema=schema), *points]), states)


def _points(tables: FinishedTables, curve: Mapping[str, Any]) -> pl.DataFrame:
    """Return the doses of one curve, each with its response along the curve's own direction."""
    same = [pl.col(name).eq_missing(pl.lit(curve[name])) for name in _CURVE]
    rows = (
        pl.scan_parquet(tables.path / SIG_INFO, row_index_name="place")
        .filter(*same, pl.col("pert_dose") > 0)
        .select("place", "pert_dose", "effect_size")
        .collect(engine="streaming")
        .sort("pert_dose")
    )
    responses = ProfileRead(tables.path / PROFILES)(rows["place"].to_numpy().astype(np.int64))
    found = project_curves(rows["pert_dose"].to_numpy()[None], responses[None])
    return rows.select(
        pl.lit(curve["curve"], dtype=pl.Int64).alias("curve"),
        "pert_dose",
        pl.Series("response", found.values[0] / np.sqrt(responses.shape[1]), dtype=pl.Float64),
        "effect_size",
    )


def _selectivity(tables: FinishedTables) -> Selectivity:
    top = (
        pl.scan_parquet(tables.path / SELECTIVITY)
        .sort("rank")
        .head(MOST_ROWS_OF_MATRIX)
        .collect(engine="streaming")
    )
    keys = top.select(_KEY).with_row_index("place")
    effects = (
        pl.scan_parquet(tables.path / SIG_INFO)
        .join(keys.lazy(), on=list(_KEY), nulls_equal=True)
        .select("place", "cell_iname", "effect_size")
        .collect(engine="streaming")
    )
    cells = tuple(effects["cell_iname"].unique().sort())
    matrix = np.full((top.height, len(cells)), np.nan)
    column = {cell: number for number, cell in enumerate(cells)}
    for place, cell, effect in effects.iter_rows():
        matrix[place, column[cell]] = effect
    names = tuple(_everywhere(row) for row in top.iter_rows(named=True))
    return Selectivity(top, names, cells, matrix)


def _pairs(tables: FinishedTables, order: NDArray[np.int64]) -> PairResults:
    sig_info = tables.sig_info
    found = summarise_pairs(block for _, block in sig_info.blocks(SUMMARY_COLUMNS))
    kinds = pl.DataFrame({"kind": list(found.counts), "pairs": list(found.counts.values())})
    return PairResults(
        found.sentence(), kinds.filter(pl.col("pairs") > 0), sig_info.rows(order[:_MOST_PAIRS])
    )


def _signature(facts: Mapping[str, Any]) -> SignatureQuery | None:
    asked = facts["signature"]
    return None if asked is None else SignatureQuery(**asked)


def profile_plane(
    tables: FinishedTables, order: NDArray[np.int64] | None = None, most: int = MOST_POINTS
) -> ProfileMap | None:
    """Place a thinned selection of profiles on their first two principal components.

    Parameters
    ----------
    tables
        The screen.
    order
        (N,) rows of the conditions, best first; read where None.
    most
        Most profiles placed.

    Returns
    -------
    ProfileMap or None
        None for fewer than three profiles, and for profiles that are all the same.
    """
    if order is None:
        order = np.argsort(-tables.sig_info.values(_SCORE), kind="stable")
    chosen = order[thinned(len(order), most)]
    if len(chosen) < 3:
        return None
    rising = np.sort(chosen)
    profiles = ProfileRead(tables.path / PROFILES)(rising)
    centred = profiles - profiles.mean(axis=0)
    product = centred.T @ centred
    variance, directions = np.linalg.eigh(product.astype(np.float64))
    total = float(variance.sum())
    if total <= 0:
        return None
    # A sign that does not hang on the library: the gene that moves most along an axis rises.
    axes = directions[:, [-1, -2]]
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), [0, 1]])
    place = centred @ axes
    info = tables.sig_info.rows(rising, list(_IDENTITY))
    points = pl.DataFrame(
        {
            "sig_id": info["sig_id"],
            "x": place[:, 0],
            "y": place[:, 1],
            "name": [condition_name(row) for row in info.iter_rows(named=True)],
            "group": info["cell_iname"],
        }
    )
    return ProfileMap(points, (float(variance[-1] / total), float(variance[-2] / total)))


def _everywhere(row: Mapping[str, Any]) -> str:
    """Name a perturbation without a cell line."""
    return condition_name({**row, "cell_iname": ""}).replace(", ,", ",").removesuffix(", ")
