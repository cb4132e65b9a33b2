"""The report of a screen: self-contained, says what it shows and what it does not."""

from __future__ import annotations

import re
from dataclasses import replace
from html import unescape

import numpy as np
import polars as pl
import pytest
from pertcast.analysis.enrichment import prerank
from pertcast.analysis.gene_sets import GeneSets, index_sets
from pertcast.analysis.hits import condition_statistics, rank_hits
from pertcast.analysis.neighbors import nearest_and_opposite
from pertcast.naming import condition_name
from pertcast.report import screen_figures
from pertcast.report.screen_details import dose_curves
from pertcast.report.screen_report import screen_report
from pertcast.report.screen_results import ScreenResults

GENES = tuple(f"GENE{i}" for i in range(60))
DOSES = (0.1, 1.0, 10.0)
SETS = {"PATHWAY ONE": GENES[:12], "PATHWAY TWO": GENES[20:40], "TINY": GENES[:2]}


@pytest.fixture(scope="module")
def results() -> ScreenResults:
    rng = np.random.default_rng(0)
    compounds = [f"drug<{i}>" for i in range(8)]
    rows = [(name, dose) for name in compounds for dose in DOSES]
    mean = rng.standard_normal((len(rows), len(GENES))).astype(np.float32)
    mean *= np.array([(1 + compounds.index(name)) * dose**0.3 for name, dose in rows], np.float32)[:, None]
    info = pl.DataFrame(
        {
            "sig_id": [f"X|trt_cp|{name}|{dose:g}|24" for name, dose in rows],
            "pert_id": [name for name, _ in rows],
            "cmap_name": [name for name, _ in rows],
            "pert_type": "trt_cp",
            "cell_iname": "X",
            "pert_dose": [dose for _, dose in rows],
            "pert_time": 24.0,
            "seen_pert": [name != "drug<7>" for name, _ in rows],
            "seen_cell": True,
            "nn_train_dist": [0.0 if name != "drug<7>" else 0.4 for name, _ in rows],
            "is_in_domain": True,
        }
    )
    info = pl.concat([info, condition_statistics(mean, np.full_like(mean, 1.5), GENES)], how="horizontal")
    hits = rank_hits(info)
    index = index_sets(GeneSets(SETS), GENES)
    row_of = {sig_id: row for row, sig_id in enumerate(info["sig_id"])}
    best = hits["sig_id"].head(5).to_list()
    enrichment = pl.concat(
        prerank(mean[row_of[name]], GENES, index, 20).with_columns(
            sig_id=pl.lit(name), screen_z=pl.lit(None, dtype=pl.Float64)
        )
        for name in best
    )
    return ScreenResults(
        title="Screen of 8 compounds in 1 cell line",
        provenance="response_mlp, bundle 0123",
        footer="Pertcast",
        unit="z-score",
        genes=GENES,
        sig_info=info,
        hits=hits,
        profiles={name: mean[row_of[name]] for name in best},
        sd=np.full(len(GENES), 1.5, np.float32),
        sets=index,
        enrichment=enrichment,
        neighbors=nearest_and_opposite(info, lambda chosen: mean[chosen]),
        n_refused=2,
        n_repeated=1,
        metrics={},
    )


def test_the_report_asks_nothing_of_any_network(results: ScreenResults) -> None:
    html = screen_report(results)
    outside = re.sub(r"<script>.*?</script>", "", html, flags=re.DOTALL)
    assert not re.search(r"(src|href)\s*=\s*[\"']?(https?:)?//", outside)
    assert "connect-src 'none'" in unescape(html)


def test_the_report_holds_every_figure_and_names_the_first_hit(results: ScreenResults) -> None:
    html = screen_report(results)
    assert html.count('class="figure"') == 6
    headings = ("Rank plot", "Effect against spread", "Hits", "What the top hits do", "Running sums")
    for heading in (*headings, "Pathways of", "Most similar", "Most opposite", "Dose response"):
        assert heading in html
    first = html.index("Strongest predicted effect: drug&lt;7&gt; 10 uM, X, 24 h")
    assert first < html.index("Rank plot")
    assert "extrapolation" in html[first - 200 : first]


def test_names_from_a_list_cannot_become_markup(results: ScreenResults) -> None:
    html = screen_report(results)
    assert "drug<7>" not in html


def test_what_is_not_shown_is_said(results: ScreenResults) -> None:
    html = screen_report(results)
    for said in (
        "What this does not show",
        "No false-discovery rate",
        "p_value and fdr are empty",
        "carries no held-out metrics",
        "1 dropped: TINY",
        "2 rows of the list could not be predicted",
    ):
        assert said in html


def test_held_out_metrics_stand_in_the_report_where_the_bundle_has_them(results: ScreenResults) -> None:
    html = screen_report(replace(results, metrics={"pearson_delta": 0.314, "r2": None}))
    assert "0.314" in html
    assert "carries no held-out metrics" not in html


def test_without_a_spread_and_gene_sets_the_report_says_so_instead_of_drawing(results: ScreenResults) -> None:
    empty = pl.lit(None)
    info = results.sig_info.with_columns(pred_sd=empty.cast(pl.Float64), n_deg=empty.cast(pl.Int32))
    bare = replace(results, sig_info=info, hits=rank_hits(info), sd=None, sets=None, enrichment=None)
    html = screen_report(bare)
    assert "This bundle predicts no spread" in html
    assert "No gene sets were given" in html
    assert html.count('class="figure"') == 4


def test_a_screen_without_any_response_is_not_ranked_in_words(results: ScreenResults) -> None:
    silent = np.zeros((results.sig_info.height, len(GENES)), np.float32)
    info = results.sig_info.drop(
        "effect_size", "effect_up", "effect_down", "n_deg", "pred_sd", "top_up", "top_down"
    )
    info = pl.concat([info, condition_statistics(silent, None, GENES)], how="horizontal")
    hits = rank_hits(info)
    flat = replace(
        results,
        sig_info=info,
        hits=hits,
        sd=None,
        profiles=dict.fromkeys(hits["sig_id"].head(5), silent[0]),
        enrichment=results.enrichment.clear() if results.enrichment is not None else None,
    )
    html = screen_report(flat)
    assert "predicts no response for any condition" in html
    assert "has no ranking of genes" in html


def test_dose_curves_join_the_doses_of_one_perturbation_in_one_context(results: ScreenResults) -> None:
    curves = dose_curves(results.sig_info, results.hits, 3)
    assert [name for name, _, _ in curves] == ["drug<7>, X, 24 h", "drug<6>, X, 24 h", "drug<5>, X, 24 h"]
    _, dose, effect = curves[0]
    expected = results.sig_info.filter(pert_id="drug<7>")
    assert dose.tolist() == list(DOSES)
    assert effect.tolist() == expected["effect_size"].to_list()


def test_a_condition_is_written_for_people() -> None:
    row = {
        "cmap_name": "TP53",
        "pert_type": "trt_xpr",
        "cell_iname": "A549",
        "pert_dose": None,
        "pert_time": None,
    }
    assert condition_name(row) == "TP53 knock-out, A549"
    row |= {"cmap_name": "vorinostat", "pert_type": "trt_cp", "pert_dose": 10.0, "pert_time": 24.0}
    assert condition_name(row) == "vorinostat 10 uM, A549, 24 h"


def test_a_large_screen_is_thinned_but_its_strongest_conditions_are_all_drawn() -> None:
    shown = screen_figures.thinned(100_000)
    assert len(shown) <= screen_figures.MOST_POINTS
    assert shown[:2000].tolist() == list(range(2000))
    assert shown[-1] == 99_999
    assert screen_figures.thinned(50).tolist() == list(range(50))
