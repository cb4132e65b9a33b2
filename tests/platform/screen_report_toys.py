"""Screens of invented numbers, as the report of a screen takes them; nothing here is a model."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pertcast.analysis.enrichment import PRERANK_SCHEMA, enrichment_scores
from pertcast.analysis.gene_sets import GeneSets, SetIndex, index_sets
from pertcast.analysis.hits import HIT_COLUMNS, condition_statistics, domain_flag, rank_hits
from pertcast.analysis.screened_doses import fit_screened_doses, project_curves
from pertcast.report.screen.columns import ENRICHMENT_COLUMNS, RANKED_COLUMNS
from pertcast.report.screen.results import MOST_HITS, ScreenResults, thinned
from pertcast.report.screen.results_parts import (
    DoseCurves,
    PairResults,
    ProfileMap,
    Selectivity,
    Significance,
)
from pertcast.report.screen.words import names_of

DOSES = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
CELLS = ("A375", "MCF7")
UNIT = "z-score"


def toy_genes(count: int) -> tuple[str, ...]:
    return tuple(f"GENE{i}" for i in range(count))


def toy_conditions(n_perturbations: int, n_genes: int) -> tuple[pl.DataFrame, NDArray[np.float32]]:
    """Return the table of all conditions, and a response that grows with dose for each."""
    rng = np.random.default_rng(0)
    names = [f"drug<{i}>" for i in range(n_perturbations)]
    rows = [(cell, name, dose) for cell in CELLS for name in names for dose in DOSES]
    direction = dict(zip(names, rng.standard_normal((n_perturbations, n_genes)), strict=True))
    strength = dict(zip(names, np.linspace(0.2, 3, n_perturbations), strict=True))
    scale = {"A375": 1.0, "MCF7": 0.5}
    mean = np.stack(
        [direction[name] * strength[name] * scale[cell] / (1 + 0.4 / dose) for cell, name, dose in rows]
    ).astype(np.float32)
    info = pl.DataFrame(
        {
            "sig_id": [f"{cell}|trt_cp|{name}|{dose:g}|24" for cell, name, dose in rows],
            "pert_id": [name for _, name, _ in rows],
            "cmap_name": [name for _, name, _ in rows],
            "pert_type": "trt_cp",
            "cell_iname": [cell for cell, _, _ in rows],
            "pert_dose": [dose for _, _, dose in rows],
            "pert_time": 24.0,
            "seen_pert": [name != names[-1] for _, name, _ in rows],
            "seen_cell": True,
            "nn_train_dist": [0.0 if name != names[-1] else 0.4 for _, name, _ in rows],
            "is_in_domain": True,
        }
    )
    statistics = condition_statistics(mean, np.full_like(mean, 1.5), toy_genes(n_genes))
    return pl.concat([info, statistics], how="horizontal"), mean


def toy_results(n_perturbations: int = 10, n_genes: int = 60, n_sets: int = 3) -> ScreenResults:
    """Return a screen of compounds at six doses in two cell lines, with gene sets; nothing calibrates it."""
    info, mean = toy_conditions(n_perturbations, n_genes)
    genes = toy_genes(n_genes)
    hits = rank_hits(info.with_columns(flag=domain_flag())).join(
        info.select("sig_id", "nn_train_dist", "pred_sd"), on="sig_id", maintain_order="left"
    )
    row_of = {sig_id: row for row, sig_id in enumerate(info["sig_id"])}
    best = hits["sig_id"].head(20).to_list()
    profiles = {sig_id: mean[row_of[sig_id]] for sig_id in best}
    sets = toy_sets(genes, n_sets)
    ranked = hits[thinned(hits.height)]
    return ScreenResults(
        title=f"Screen of {n_perturbations} compounds in {len(CELLS)} cell lines",
        provenance="response_mlp, bundle 0123",
        footer="Pertcast",
        unit=UNIT,
        genes=genes,
        kind="compounds",
        n_conditions=hits.height,
        n_refused=2,
        n_repeated=1,
        metrics={},
        hits=hits.head(MOST_HITS).select(*HIT_COLUMNS, "nn_train_dist", "pred_sd"),
        ranked=ranked.select(RANKED_COLUMNS),
        flags=hits.group_by("flag").agg(conditions=pl.len().cast(pl.Int64)).sort("flag"),
        distance=(0.0, 0.4),
        profiles=profiles,
        sd=np.full(n_genes, 1.5, np.float32),
        neighbors=toy_neighbors(best, hits["sig_id"].tail(20).to_list()),
        names=dict(zip(hits["sig_id"], names_of(hits), strict=True)),
        sets=sets,
        enrichment=toy_enrichment(profiles, sets),
        doses=toy_doses(info, mean, best),
        selectivity=toy_selectivity(info),
        map=toy_map(ranked),
    )


def toy_sets(genes: tuple[str, ...], count: int) -> SetIndex:
    rng = np.random.default_rng(1)
    size = min(30, len(genes) // 3)
    members = {f"PATHWAY_{i}": tuple(rng.choice(genes, size, replace=False)) for i in range(count)}
    return index_sets(GeneSets({**members, "TINY": genes[:2]}), genes)


def toy_enrichment(profiles: dict[str, NDArray[np.float32]], sets: SetIndex) -> pl.DataFrame:
    """Return rows with true scores; p-values and FDR are invented."""
    es = enrichment_scores(np.stack(list(profiles.values())), sets)
    n_rows = es.size
    rng = np.random.default_rng(2)
    p_value = rng.uniform(size=n_rows)
    flat = es.ravel()
    return pl.DataFrame(
        {
            "sig_id": np.repeat(list(profiles), len(sets)),
            "term": list(sets.names) * len(profiles),
            "es": flat,
            "nes": flat * 3,
            "pval": p_value,
            "fdr": np.minimum(p_value * 2, 1),
            "screen_z": flat * 5,
            "prerank_nes": flat * 3.1,
            "prerank_pval": p_value,
            "prerank_fdr": np.minimum(p_value * 2, 1),
            "size": list(sets.sizes) * len(profiles),
            "lead_genes": ";".join(toy_genes(8)),
        },
        schema_overrides={"lead_genes": PRERANK_SCHEMA["lead_genes"]},
    ).select(ENRICHMENT_COLUMNS)


def toy_neighbors(best: list[str], others: list[str]) -> pl.DataFrame:
    rows = [
        {"sig_id": sig_id, "neighbor_sig_id": other, "tail": tail, "rank": rank, "cosine": sign / (rank + 1)}
        for sig_id in best
        for tail, sign in (("mimics", 1), ("reverses", -1))
        for rank, other in enumerate(others[:10], start=1)
    ]
    return pl.DataFrame(rows, schema_overrides={"rank": pl.Int16, "cosine": pl.Float32})


def toy_doses(info: pl.DataFrame, mean: NDArray[np.float32], best: list[str]) -> DoseCurves:
    """Fit the curves of the first hits; one of them is cut to three doses, too few to fit."""
    key = ["pert_id", "cmap_name", "pert_type", "cell_iname", "pert_time"]
    curves = info.filter(pl.col("sig_id").is_in(best)).select(key).unique(maintain_order=True).head(4)
    fits, points = [], []
    for number, curve in enumerate(curves.iter_rows(named=True)):
        own = info.with_row_index("row").filter(
            pl.col("pert_id") == curve["pert_id"], pl.col("cell_iname") == curve["cell_iname"]
        )
        own = own.head(3) if number == 1 else own
        dose, response = own["pert_dose"].to_numpy()[None], mean[own["row"].to_numpy()][None]
        fits.append(pl.concat([pl.DataFrame([curve]), fit_screened_doses(dose, response)], how="horizontal"))
        projected = project_curves(dose, response).values[0] / np.sqrt(mean.shape[1])
        points.append(
            own.select("pert_dose", "effect_size").with_columns(response=pl.Series(projected), curve=number)
        )
    states = pl.DataFrame({"state": ["identified", "too few doses"], "curves": [3, 1]})
    return DoseCurves(pl.concat(fits).with_row_index("curve"), pl.concat(points), states)


def toy_selectivity(info: pl.DataFrame, most: int = 12) -> Selectivity:
    names = info["pert_id"].unique(maintain_order=True).to_list()[::-1][:most]
    top = info.filter(pl.col("pert_dose") == DOSES[-1], pl.col("pert_id").is_in(names))
    wide = top.pivot("cell_iname", index="pert_id", values="effect_size").sort("pert_id")
    measures = pl.DataFrame(
        {
            "pert_id": wide["pert_id"],
            "n_contexts": 2,
            "strongest_cell": "A375",
            "strongest_effect": wide["A375"],
            "tau": 0.5,
            "mean_cosine": 0.99,
        }
    )
    return Selectivity(measures, tuple(wide["pert_id"]), CELLS, wide.select(CELLS).to_numpy())


def toy_map(ranked: pl.DataFrame) -> ProfileMap:
    rng = np.random.default_rng(3)
    place = rng.standard_normal((ranked.height, 2))
    points = pl.DataFrame(
        {"x": place[:, 0], "y": place[:, 1], "name": names_of(ranked), "group": ranked["cell_iname"]}
    )
    return ProfileMap(points, (0.42, 0.13))


def calibrated(results: ScreenResults, n_hits: int = 7, n_calibration: int = 49) -> dict[str, Any]:
    """Return what changes where inactive perturbations calibrate one cell line of the screen."""
    floor = 1 / (n_calibration + 1)
    has_p = pl.col("cell_iname") == CELLS[0]

    def filled(table: pl.DataFrame) -> pl.DataFrame:
        rank = pl.col("rank")
        p_value = pl.when(rank <= n_hits).then(floor).otherwise((rank / table["rank"].max()).clip(floor, 1))
        fdr = pl.when(rank <= n_hits).then(0.04).otherwise(0.6)
        return table.with_columns(p_value=pl.when(has_p).then(p_value), fdr=pl.when(has_p).then(fdr))

    half = results.n_conditions // 2
    strata = pl.DataFrame(
        {
            "stratum": ["A375, compounds"],
            "calibration": [n_calibration],
            "conditions": [half],
            "hits": [n_hits],
        }
    )
    reasons = pl.DataFrame({"reason": ["3 inactive perturbations, 19 are needed"], "conditions": [half]})
    return {
        "hits": filled(results.hits),
        "ranked": filled(results.ranked),
        "significance": Significance(half, 5, n_hits, strata, reasons),
    }


def toy_pairs() -> PairResults:
    top = pl.DataFrame(
        {
            "cmap_name": ["A+B", "A+C"],
            "pert_type": "trt_xpr",
            "cell_iname": "K562",
            "pert_dose": None,
            "pert_time": None,
            "kind": ["synergy", "additive"],
            "excess_size": [0.9, 0.1],
            "additive_size": [1.2, 1.1],
            "first_size": [0.6, 0.6],
            "second_size": [0.7, 0.5],
            "relative_excess": [0.5, 0.05],
            "c": [1.7, 1.0],
        }
    )
    kinds = pl.DataFrame({"kind": ["additive", "synergy"], "pairs": [1, 1]})
    return PairResults("1 of 2 pairs differ from the sum of their singles (1 synergy).", kinds, top)
