"""Figures that the page added to reports: waterfalls, thinned running sums, effects by line and dose."""

from __future__ import annotations

import numpy as np
from pertcast.report.across_figures import dose_effects, line_effects
from pertcast.report.profile_figures import enrichment_bars, response_waterfall, running_sum_plot
from pertcast.report.theme import ACCENT, DOWN, UP, WHITE


def test_a_waterfall_ranks_the_most_increased_gene_first_and_colours_the_ten_most_extreme() -> None:
    mean = np.random.default_rng(0).standard_normal(200)
    points = response_waterfall(mean, [f"G{i}" for i in range(200)], "z").data[0]
    assert points.x[int(mean.argmax())] == 1
    assert points.x[int(mean.argmin())] == 200
    coloured = {i for i, colour in enumerate(points.marker.color) if colour in (UP, DOWN)}
    assert coloured == set(np.argsort(-np.abs(mean))[:10].tolist())
    assert all((points.marker.color[i] == UP) == (mean[i] > 0) for i in coloured)


def test_a_waterfall_of_some_genes_keeps_their_ranks_among_all() -> None:
    figure = response_waterfall(np.array([2.0, -1.0]), ["A", "B"], "z", ranks=np.array([1, 900]))
    assert list(figure.data[0].x) == [1, 900]


def test_a_thinned_running_sum_stands_at_its_places() -> None:
    curve, places = np.array([0.0, 0.5, 0.0]), np.array([0, 400, 977])
    figure = running_sum_plot([("set", curve, np.array([3, 400]))], positions=[places])
    assert list(figure.data[0].x) == [1, 401, 978]
    assert list(figure.data[1].x) == [4, 401]


def test_narrow_bars_write_the_counts_beside_the_plot_and_wide_ones_beside_the_names() -> None:
    given = (np.array([2.0, -1.0]), ["UP", "DOWN"], ["4 of 9", "5 of 8"], np.array([True, False]), "NES")
    narrow, wide = enrichment_bars(*given, is_narrow=True), enrichment_bars(*given)
    assert [each.y for each in narrow.layout.annotations] == [0, 1]
    assert all("of" in each.text for each in narrow.layout.annotations)
    assert not wide.layout.annotations
    assert "4 of 9" in wide.layout.yaxis.ticktext[0]
    assert narrow.layout.yaxis.ticktext[0] == "UP"


def test_the_line_that_one_looks_at_is_told_apart_and_each_dot_leads_somewhere() -> None:
    figure = line_effects(
        np.array([2.0, 1.0]),
        ["A<b", "C"],
        "z",
        chosen="C",
        cosines=np.array([0.5, 1.0]),
        addresses=["/a", "/c"],
    )
    dots = figure.data[0]
    assert [colour == ACCENT for colour in dots.marker.color] == [False, True]
    assert list(dots.customdata) == ["/a", "/c"]
    assert list(figure.layout.yaxis.ticktext) == ["A&lt;b", "<b>C</b>"]
    assert dots.hovertext[0] == "A&lt;b<br>cosine with C 0.50"


def test_the_dose_that_one_looks_at_is_filled_and_the_axis_starts_at_no_effect() -> None:
    figure = dose_effects(np.array([0.1, 1.0, 10.0]), np.array([0.1, 0.5, 0.6]), "z", chosen=1.0)
    assert list(figure.data[0].marker.color) == [WHITE, ACCENT, WHITE]
    assert figure.layout.xaxis.type == "log"
    assert figure.layout.yaxis.range[0] == 0
