"""The report of a screen: self-contained, says what it shows and what it does not."""

from __future__ import annotations

import importlib
import re
import sys
from base64 import b64decode
from dataclasses import replace
from html import unescape
from io import BytesIO
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from pertcast.naming import condition_name
from pertcast.report.screen.report import screen_report
from pertcast.report.screen.results import ScreenResults, SignatureQuery
from pertcast_data.errors import SchemaError

sys.path.append(str(Path(__file__).parent))
toys = importlib.import_module("screen_report_toys")

ALL_FIGURES = 10
"""Ranks, spread or volcano, heatmap, best response, likeness, bars, sums, screen z, lines, doses, map."""


@pytest.fixture(scope="module")
def results() -> ScreenResults:
    found: ScreenResults = toys.toy_results()
    return found


@pytest.fixture(scope="module")
def html(results: ScreenResults) -> str:
    return screen_report(results)


@pytest.fixture(scope="module")
def bare(results: ScreenResults) -> ScreenResults:
    """A screen without anything that is optional."""
    empty = pl.lit(None, dtype=pl.Float64)
    return replace(
        results,
        hits=results.hits.with_columns(pred_sd=empty, n_deg=pl.lit(None, dtype=pl.Int32)),
        ranked=results.ranked.with_columns(pred_sd=empty),
        profiles=dict(list(results.profiles.items())[:3]),
        sd=None,
        sets=None,
        enrichment=None,
        doses=None,
        selectivity=None,
        map=None,
    )


def downloads(html: str) -> dict[str, pl.DataFrame]:
    """Return the tables inside a page by file name."""
    found = re.findall(r'download="([^"]+)" href="data:text/csv;base64,([^"]+)"', html)
    return {name: pl.read_csv(BytesIO(b64decode(data)), infer_schema_length=None) for name, data in found}


def test_the_report_asks_nothing_of_any_network(html: str) -> None:
    outside = re.sub(r"<script>.*?</script>", "", html, flags=re.DOTALL)
    assert not re.search(r"(src|href)\s*=\s*[\"']?(https?:)?//", outside)
    assert "connect-src 'none'" in unescape(html)


def test_the_report_holds_every_figure_and_names_the_first_hit_before_all(html: str) -> None:
    assert html.count('class="figure"') == ALL_FIGURES + 1
    for heading in (
        "Rank plot",
        "Effect against spread",
        "Hits",
        "What the top hits do",
        "Which hits are alike",
        "Response to",
        "Pathways of",
        "Running sums of",
        "How the top hits differ from the screen",
        "Most similar",
        "Most opposite",
        "Same perturbation across cell lines",
        "Dose response",
        "Map of profiles",
        "Can it be believed?",
        "What this does not show",
    ):
        assert f"<h2>{heading}" in html, heading
    first = html.index("Strongest predicted effect: drug&lt;7&gt; 10 uM, A375, 24 h")
    assert first < html.index("<h2>Rank plot")
    assert "seen in training" in html[first - 200 : first]


def test_names_from_a_list_cannot_become_markup(html: str) -> None:
    assert "drug<7>" not in html


def test_every_table_can_be_downloaded(results: ScreenResults) -> None:
    found = downloads(screen_report(replace(results, **toys.calibrated(results), pairs=toys.toy_pairs())))
    heights = {name: table.height for name, table in found.items()}
    assert heights.pop("top_hits.csv") == results.hits.height
    assert heights.pop("top_responses.csv") == len(results.genes)
    assert heights.pop("mimics.csv") == heights.pop("reverses.csv") == 10 * len(results.profiles)
    assert heights == {
        "applicability.csv": 2,
        "pathways.csv": 3,
        "selectivity.csv": 10,
        "dose_response.csv": 4,
        "pair_kinds.csv": 2,
        "top_pairs.csv": 2,
        "calibration_strata.csv": 1,
        "without_p_value.csv": 1,
    }


def test_what_is_not_shown_is_said(html: str) -> None:
    for said in (
        "No false-discovery rate",
        "Ranked, not tested",
        "p_value and fdr are empty",
        "carries no held-out metrics",
        "1 dropped: TINY",
        "2 rows of the list could not be predicted",
        "1 row of the list that say the same",
        "Nothing calibrates this bundle",
    ):
        assert said in html, said


def test_hits_are_counted_only_among_conditions_that_something_calibrates(results: ScreenResults) -> None:
    html = screen_report(replace(results, **toys.calibrated(results)))
    assert "7 hits at a false-discovery rate of 10 %, 5 of them at 5 %," in html
    assert (
        "among the 60 conditions that measured inactive perturbations calibrate; 60 others are ranked" in html
    )
    assert "3 inactive perturbations, 19 are needed" in html
    assert "<h2>Volcano" in html
    assert "Effect against spread" not in html
    assert "No false-discovery rate" not in html


def test_a_calibrated_screen_without_a_hit_says_so(results: ScreenResults) -> None:
    html = screen_report(replace(results, **toys.calibrated(results, n_hits=0)))
    assert "No hit at a false-discovery rate of 10 % among the 60 conditions" in html


def test_what_calibrates_nothing_claims_no_hit(results: ScreenResults) -> None:
    changed = toys.calibrated(results)
    nothing = pl.lit(None, dtype=pl.Float64)
    for name in ("hits", "ranked"):
        changed[name] = changed[name].with_columns(p_value=nothing, fdr=nothing)
    changed["significance"] = replace(
        changed["significance"], n_calibrated=0, strata=changed["significance"].strata.clear()
    )
    html = screen_report(replace(results, **changed))
    assert "Ranked, not tested" in html
    assert "Effect against spread" in html
    assert "3 inactive perturbations, 19 are needed" in html


def test_held_out_metrics_stand_in_the_report_where_the_bundle_has_them(bare: ScreenResults) -> None:
    html = screen_report(replace(bare, metrics={"pearson_delta": 0.314, "r2": None}))
    assert "0.314" in html
    assert "carries no held-out metrics" not in html


def test_parts_that_a_screen_has_none_of_are_named_with_the_reason(bare: ScreenResults) -> None:
    html = screen_report(replace(bare, absent={"doses": "Genes have no dose."}))
    assert "This bundle predicts no spread" in html
    for said in (
        "Pathways. No gene sets were given",
        "Same perturbation across cell lines. Every perturbation was predicted in one cell line",
        "Dose response. Genes have no dose.",
        "Map of profiles. There are too few profiles",
    ):
        assert said in html, said
    assert html.count('class="figure"') == 4


def test_a_screen_without_any_response_is_not_ranked_in_words(
    results: ScreenResults, bare: ScreenResults
) -> None:
    silent = {"effect_size": pl.lit(0.0), "score": pl.lit(0.0)}
    flat = replace(
        bare,
        hits=bare.hits.with_columns(**silent),
        ranked=bare.ranked.with_columns(**silent),
        profiles={sig_id: np.zeros_like(profile) for sig_id, profile in bare.profiles.items()},
        sets=results.sets,
        enrichment=results.enrichment.with_columns(es=pl.lit(None, dtype=pl.Float64))
        if results.enrichment is not None
        else None,
    )
    html = screen_report(flat)
    assert "predicts no response for any condition" in html
    assert "has no ranking of genes" in html


def test_a_screen_for_a_signature_says_what_was_asked_and_which_genes_are_not_used(
    bare: ScreenResults,
) -> None:
    asked = SignatureQuery("reverse", "inflammation.gmt", "WTCS", 120, 150, {"not predicted": 28})
    html = screen_report(replace(bare, signature=asked))
    assert "Best reversal of the signature: drug&lt;7&gt; 10 uM" in html
    assert "how well they reverse inflammation.gmt" in html
    assert "120 of its 150 genes are used" in html
    assert "28 genes: not predicted" in html


def test_pairs_are_ranked_and_shown_by_their_excess(bare: ScreenResults) -> None:
    html = screen_report(replace(bare, kind="pairs", pairs=toys.toy_pairs()))
    assert "Largest predicted excess over the sum of its singles" in html
    assert "A+B knock-out, K562" in html
    additive = bare.hits.with_columns(score=pl.lit(0.0))
    html = screen_report(replace(bare, kind="pairs", pairs=toys.toy_pairs(), hits=additive))
    assert "every pair is the sum of its singles: nothing can be ranked" in html


def test_a_neighbour_outside_the_hits_has_a_readable_name(bare: ScreenResults) -> None:
    first = bare.neighbors["neighbor_sig_id"][0]
    names = {**bare.names, first: "a far one, A375"}
    outside = replace(bare, names=names, hits=bare.hits.filter(pl.col("sig_id") != first))
    assert "a far one, A375" in screen_report(outside)


def test_tables_that_grow_with_the_screen_are_refused(results: ScreenResults) -> None:
    with pytest.raises(SchemaError, match="'hits' of a screen's report has 1,080 rows, at most 1,000"):
        replace(results, hits=pl.concat([results.hits] * 9))
    with pytest.raises(SchemaError, match="lacks fdr"):
        replace(results, ranked=results.ranked.drop("fdr"))


def test_a_page_of_4000_points_and_1000_hits_is_smaller_than_8_megabytes() -> None:
    large = toys.toy_results(n_perturbations=400, n_genes=978, n_sets=50)
    large = replace(large, **toys.calibrated(large, n_hits=40))
    assert (large.ranked.height, large.hits.height, large.n_conditions) == (4_000, 1_000, 4_800)
    assert large.map is not None
    assert large.map.points.height == 4_000
    assert len(screen_report(large).encode()) < 8_000_000


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
