"""The report of a screen: self-contained, says what it shows and what it does not."""

from __future__ import annotations

import re
from base64 import b64decode
from dataclasses import replace
from html import unescape
from io import BytesIO

import numpy as np
import polars as pl
import pytest
import screen_report_toys as toys
from pertcast.naming import condition_name
from pertcast.report.screen import (
    context_sections,
    enrichment_sections,
    hit_sections,
    rank_sections,
    trust_sections,
    verdict_sections,
)
from pertcast.report.screen.report import screen_report
from pertcast.report.screen.results import ScreenResults
from pertcast.report.screen.results_parts import SignatureQuery
from pertcast_data.errors import SchemaError

ALL_FIGURES = 11
"""Ranks, spread or volcano, heatmap, best response, likeness, bars, sums, screen z, lines, doses, map."""


@pytest.fixture(scope="module")
def results() -> ScreenResults:
    found: ScreenResults = toys.toy_results()
    return found


@pytest.fixture(scope="module")
def html(results: ScreenResults) -> str:
    return screen_report(results)


@pytest.fixture(scope="module")
def calibrated_html(results: ScreenResults) -> str:
    return screen_report(replace(results, **toys.calibrated(results), pairs=toys.toy_pairs()))


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
    assert html.count('class="figure"') == ALL_FIGURES
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


def test_every_table_can_be_downloaded(results: ScreenResults, calibrated_html: str) -> None:
    found = downloads(calibrated_html)
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


def test_hits_are_counted_only_among_conditions_that_something_calibrates(calibrated_html: str) -> None:
    for said in (
        "7 hits at a false-discovery rate of 10 %, 5 of them at 5 %,",
        "among the 60 conditions that measured inactive perturbations calibrate; 60 others",
        "3 inactive perturbations, 19 are needed",
        "<h2>Volcano",
    ):
        assert said in calibrated_html, said
    assert "Effect against spread" not in calibrated_html
    assert "No false-discovery rate" not in calibrated_html


def test_a_calibrated_screen_without_a_hit_says_so(bare: ScreenResults) -> None:
    section = verdict_sections.verdict(replace(bare, **toys.calibrated(bare, n_hits=0)), "drug")
    assert "No hit at a false-discovery rate of 10 % among the 60 conditions" in section.html
    assert section.tone == "care"


def test_what_calibrates_nothing_claims_no_hit(bare: ScreenResults) -> None:
    changed = toys.calibrated(bare)
    nothing = pl.lit(None, dtype=pl.Float64)
    for name in ("hits", "ranked"):
        changed[name] = changed[name].with_columns(p_value=nothing, fdr=nothing)
    changed["significance"] = replace(
        changed["significance"], n_calibrated=0, strata=changed["significance"].strata.clear()
    )
    changed_results = replace(bare, **changed)
    assert "Ranked, not tested" in verdict_sections.verdict(changed_results, "drug").html
    assert rank_sections.ranks(changed_results)[1].title == "Effect against spread"
    (section,) = trust_sections.calibration(changed_results)
    assert "3 inactive perturbations, 19 are needed" in section.html


def test_held_out_metrics_stand_in_the_report_where_the_bundle_has_them(bare: ScreenResults) -> None:
    html = trust_sections.applicability(replace(bare, metrics={"pearson_delta": 0.314, "r2": None})).html
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
    assert "predicts no response for any condition" in verdict_sections.verdict(flat, "drug").html
    (section,) = enrichment_sections.pathways(flat, ["drug"] * 3)
    assert "has no ranking of genes" in section.html


def test_a_screen_for_a_signature_says_what_was_asked_and_which_genes_are_not_used(
    bare: ScreenResults,
) -> None:
    asked = SignatureQuery("reverse", "inflammation.gmt", "WTCS", 120, 150, {"not predicted": 28})
    screen = replace(bare, signature=asked)
    assert "Best reversal of the signature: drug, WTCS" in verdict_sections.verdict(screen, "drug").html
    (section,) = verdict_sections.signature(screen)
    assert "how well they reverse inflammation.gmt" in section.html
    assert "120 of its 150 genes are used" in section.html
    assert "28 genes: not predicted" in section.html


def test_pairs_are_ranked_and_shown_by_their_excess(bare: ScreenResults) -> None:
    screen = replace(bare, kind="pairs", pairs=toys.toy_pairs())
    assert "Largest predicted excess over the sum of" in verdict_sections.verdict(screen, "A+B").html
    assert "A+B knock-out, K562" in context_sections.pairs(screen)[1].html
    additive = replace(screen, hits=bare.hits.with_columns(score=pl.lit(0.0)))
    said = verdict_sections.verdict(additive, "A+B").html
    assert "every pair is the sum of its singles: nothing can be ranked" in said


def test_a_neighbour_outside_the_hits_has_a_readable_name(bare: ScreenResults) -> None:
    first = bare.neighbors["neighbor_sig_id"][0]
    names = {**bare.names, first: "a far one, A375"}
    outside = replace(bare, names=names, hits=bare.hits.filter(pl.col("sig_id") != first))
    similar, opposite = hit_sections.neighbors(outside, ["drug"] * 3)
    assert "a far one, A375" in similar.html
    assert "a far one, A375" in opposite.html


def test_of_very_many_genes_the_page_carries_those_that_move_most(bare: ScreenResults) -> None:
    responses = np.tile(np.linspace(0, 1, 1_200, dtype=np.float32), (3, 1))
    wide = replace(
        bare, genes=toys.toy_genes(1_200), profiles=dict(zip(bare.profiles, responses, strict=True))
    )
    section = hit_sections.responses(wide, ["one", "two", "three"])
    genes = downloads(section.html)["top_responses.csv"]["gene"].to_list()
    assert genes == list(toys.toy_genes(1_200)[200:])
    assert "the csv holds the 1,000 genes that move most" in section.subtitle


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
