"""Figures of a screen's report: what is drawn, in which order, and what is left out."""

from __future__ import annotations

import numpy as np
from pertcast.report.profile_figures import enrichment_bars
from pertcast.report.screen.dose_figures import DosePanel, dose_panels
from pertcast.report.screen.heatmaps import (
    clustered_order,
    correlation_heatmap,
    heatmap,
    hit_heatmap,
    profile_correlation,
)
from pertcast.report.screen.rank_figures import profile_map, rank_plot, spread_plot, volcano_plot
from pertcast.report.screen.results import MOST_POINTS, thinned
from pertcast.report.theme import ACCENT, WHITE

NAMES = [f"drug{i}, A549" for i in range(6)]
SEEN = np.zeros(6, dtype=bool)


def test_a_large_screen_is_thinned_but_its_strongest_conditions_are_all_drawn() -> None:
    shown = thinned(800_000)
    assert len(shown) <= MOST_POINTS
    assert shown[:2000].tolist() == list(range(2000))
    assert shown[-1] == 799_999
    assert (np.diff(shown) > 0).all()
    assert thinned(50).tolist() == list(range(50))


def test_points_that_extrapolate_are_hollow_and_hits_are_coloured() -> None:
    hits = np.array([True, True, False, False, False, False])
    outside = np.array([False, True, False, False, False, True])
    figure = rank_plot(
        np.arange(1, 7), np.linspace(3, 1, 6), NAMES, outside, score_title="effect", is_hit=hits
    )
    found = {trace.name: (trace.marker.color, list(trace.x)) for trace in figure.data}
    assert found["FDR at most 10 %"] == (ACCENT, [1])
    assert found["FDR at most 10 %, extrapolated"] == (WHITE, [2])
    assert found["not told apart"][1] == [3, 4, 5]
    assert found["not told apart, extrapolated"][1] == [6]


def test_the_volcano_leaves_out_conditions_without_a_p_value_and_draws_the_smallest_possible_one() -> None:
    p_value = np.array([0.02, 0.02, 0.1, np.nan, 0.5, 1.0])
    figure = volcano_plot(
        np.linspace(3, 1, 6), p_value, NAMES, SEEN, p_value < 0.05, unit="z", n_calibration=[49, 49, 19]
    )
    heights = np.concatenate([trace.y for trace in figure.data])
    np.testing.assert_allclose(np.sort(heights), np.sort(-np.log10(p_value[~np.isnan(p_value)])))
    lines = [shape.y0 for shape in figure.layout.shapes]
    np.testing.assert_allclose(lines, np.log10([50, 20]))
    assert heights.max() <= max(lines) + 1e-12
    assert "conformal" in figure.layout.yaxis.title.text


def test_a_spread_of_zero_leaves_a_point_out_instead_of_dividing_by_it() -> None:
    spread = np.array([1.0, 0, 1, 1, 1, 1])
    figure = spread_plot(np.linspace(3, 1, 6), spread, NAMES, SEEN, unit="z")
    assert np.isnan(figure.data[0].y[1])
    assert np.isfinite(np.delete(figure.data[0].y, 1)).all()
    assert all(np.isfinite(bound) for bound in figure.layout.yaxis.range)


def test_labels_of_a_screen_of_4000_points_neither_collide_nor_repeat() -> None:
    count = 4000
    names = [f"compound {i // 2} 10 uM, A549" for i in range(count)]
    figure = rank_plot(
        np.arange(1, count + 1),
        4 / np.arange(1, count + 1) ** 0.3,
        names,
        np.zeros(count, dtype=bool),
        score_title="effect",
    )
    texts = [note.text for note in figure.layout.annotations]
    assert texts[0] == "compound 0 10 uM"
    assert 5 <= len(texts) <= 10
    assert len(set(texts)) == len(texts)


def test_similar_profiles_stand_beside_each_other() -> None:
    rng = np.random.default_rng(0)
    one, other = rng.standard_normal((2, 200))
    noise = 0.1 * rng.standard_normal((6, 200))
    profiles = np.stack([one, other, one, other, one, other]) + noise
    order = clustered_order(profile_correlation(profiles))
    kinds = order % 2
    assert np.abs(np.diff(kinds)).sum() == 1
    assert sorted(order) == list(range(6))
    figure = correlation_heatmap(profiles, NAMES)
    np.testing.assert_allclose(np.diag(figure.data[0].z), 1)
    np.testing.assert_allclose(profile_correlation(profiles), np.corrcoef(profiles), atol=1e-12)


def test_a_profile_of_one_value_has_no_correlation_and_does_not_break_the_order() -> None:
    rng = np.random.default_rng(0)
    profiles = np.vstack([rng.standard_normal((3, 50)), np.zeros((1, 50))])
    correlation = profile_correlation(profiles)
    assert np.isnan(correlation[3]).all()
    assert sorted(clustered_order(correlation)) == [0, 1, 2, 3]


def test_a_heatmap_shows_the_genes_that_move_most_with_rising_ones_first() -> None:
    profiles = np.array([[0.1, 5.0, -7.0, 0.2], [0.0, 4.0, -6.0, 0.1]])
    figure = hit_heatmap(profiles, NAMES[:2], ["A", "B", "C", "D"], "z", most=2)
    assert list(figure.layout.xaxis.ticktext) == ["B", "C"]
    assert figure.data[0].zmin == -figure.data[0].zmax


def test_repeated_names_of_rows_stay_apart_and_are_not_markup() -> None:
    figure = heatmap(np.ones((2, 1)), ["a<b>", "a<b>"], ["gene"], colour_title="effect", limits=(0.0, 1.0))
    assert list(figure.layout.yaxis.tickvals) == [0, 1]
    assert list(figure.layout.yaxis.ticktext) == ["a&lt;b&gt;", "a&lt;b&gt;"]


def test_a_dose_curve_has_a_line_only_where_it_is_fitted() -> None:
    doses = np.array([0.1, 1.0, 10.0])
    fit = (0.0, 2.0, 1.0, 1.5)
    curve = 2.0 / (1 + (1 / doses) ** 1.5)
    panels = [
        DosePanel("drug, A549", "EC50 1 uM", doses, curve, fit),
        DosePanel("other, A549", "flat: no response at any dose", doses, np.zeros(3), None),
    ]
    figure = dose_panels(panels, "z")
    fitted, points, unfitted = figure.data
    np.testing.assert_allclose(np.interp([0.1, 10], fitted.x, fitted.y), curve[[0, 2]], atol=1e-4)
    assert points.mode == "markers"
    assert (unfitted.mode, unfitted.line.dash) == ("lines+markers", "dot")
    assert "flat: no response" in figure.layout.annotations[1].text


def test_a_map_gives_the_most_frequent_groups_their_own_colour_and_mark() -> None:
    groups = ["A"] * 5 + ["B"] * 4 + ["C"] * 3 + ["D"] * 3 + ["E"] * 2 + ["F", "G"]
    place = np.random.default_rng(0).standard_normal((len(groups), 2))
    figure = profile_map(
        place[:, 0], place[:, 1], [f"p{i}, X" for i in range(len(groups))], groups, share=(0.5, 0.2)
    )
    assert [trace.name for trace in figure.data] == ["A", "B", "C", "D", "E", "2 others"]
    assert len({(trace.marker.color, trace.marker.symbol) for trace in figure.data}) == 6
    assert sum(len(trace.x) for trace in figure.data) == len(groups)
    assert "50% of the variance" in figure.layout.xaxis.title.text


def test_bars_that_are_not_told_apart_are_hollow() -> None:
    figure = enrichment_bars(
        np.array([2.0, -1.0]), ["UP", "DOWN"], ["10 of 20", "5 of 9"], np.array([True, False]), "NES"
    )
    up, down = figure.data[0].marker.color
    assert (up != WHITE, down) == (True, WHITE)
    assert "10 of 20" in figure.layout.yaxis.ticktext[0]
    assert figure.layout.xaxis.range[1] > 2.0
