"""A latent space that keeps cell lines, doses and times is told from one that does not."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from pertcast.analysis.latent_space import LatentPaths, LatentProfiles, LatentSpace, latent_space
from pertcast.analysis.latent_space.principal import principal_axes
from pertcast.analysis.latent_space.profiles import MEASURED
from pertcast.analysis.latent_space.silhouette import silhouettes
from pertcast.analysis.latent_space.walks import find_walks
from pertcast.report.latent_figures import colour_of_lines
from pertcast.report.latent_sections import latent_sections
from pertcast.report.page import render_page
from pertcast_data.errors import SchemaError

Array = NDArray[Any]
LINES, PERTURBATIONS = ("A", "B", "C"), 9
DOSES, TIMES = (0.1, 1.0, 10.0), (6.0, 24.0)
D = 5
MODEL = "Tried model"


def table() -> pl.DataFrame:
    rows = [
        {"cell_iname": line, "pert_id": f"p{p}", "pert_type": "trt_cp", "pert_dose": dose, "pert_time": time}
        for line in LINES
        for p in range(PERTURBATIONS)
        for time in TIMES
        for dose in DOSES
    ]
    return pl.DataFrame(rows)


def planted(dose_sign: float = 1.0, noise: float = 0.0, seed: int = 0) -> tuple[Array, Array]:
    """Coordinates that leave their line's control along the perturbation's axis, with log dose and time."""
    random = np.random.default_rng(seed)
    conditions = table()
    line = random.normal(0, 20, (len(LINES), D))[
        [LINES.index(name) for name in conditions["cell_iname"].to_list()]
    ]
    axis = random.normal(size=(PERTURBATIONS, D))
    own = axis[[int(name[1:]) for name in conditions["pert_id"].to_list()]]
    height = np.log10(conditions["pert_dose"].to_numpy())
    size = (2.0 + dose_sign * height) * np.log10(conditions["pert_time"].to_numpy())
    points = line + own * size[:, None] + random.normal(0, noise, line.shape)
    return points, line


def profiles(generated: Array | None = None, **asked: Any) -> LatentProfiles:
    points, control = planted(**asked)
    return LatentProfiles(
        table(), points, points if generated is None else generated, control, "a planted space", MODEL
    )


@pytest.fixture(scope="module")
def found() -> LatentSpace:
    return latent_space(profiles(), n_draws=200)


def naive_silhouettes(points: Array, labels: Array) -> Array:
    result = []
    for i, point in enumerate(points):
        distance = np.sqrt(np.square(points - point).sum(axis=1))
        own = [j for j in range(len(points)) if labels[j] == labels[i] and j != i]
        if not own:
            result.append(0.0)
            continue
        inside = distance[own].mean()
        outside = min(distance[labels == other].mean() for other in set(labels) - {labels[i]})
        result.append((outside - inside) / max(inside, outside))
    return np.array(result)


@pytest.mark.parametrize("shift", [0.0, 1.0, 1000.0])
def test_silhouettes_equal_the_naive_ones_over_blocks_and_with_a_group_of_one(shift: float) -> None:
    random = np.random.default_rng(0)
    labels = np.array(["a", "b", "c"])[random.integers(0, 3, 700)]
    labels[13] = "d"
    points = random.normal(size=(700, 4)) + shift + (labels == "a")[:, None]
    got = silhouettes(points, labels)
    assert got == pytest.approx(naive_silhouettes(points, labels), abs=1e-7)
    assert got[13] == 0.0


def test_a_single_group_has_no_silhouette() -> None:
    assert np.isnan(silhouettes(np.zeros((3, 2)), np.array(["a"] * 3))).all()


@pytest.mark.parametrize("shape", [(30, 7), (7, 30)])
def test_principal_axes_are_those_of_the_singular_value_decomposition(shape: tuple[int, int]) -> None:
    values = np.random.default_rng(0).normal(3, 1, shape)
    axes = principal_axes(values, 4)
    _, singular, vectors = np.linalg.svd(values - values.mean(axis=0), full_matrices=False)
    assert np.abs(np.einsum("ij,ij->i", axes.axes, vectors[:4])) == pytest.approx(np.ones(4))
    assert axes.share == pytest.approx((singular**2 / (singular**2).sum())[:4])
    assert axes.axes @ axes.axes.T == pytest.approx(np.eye(4), abs=1e-9)
    assert axes.project(values).mean(axis=0) == pytest.approx(np.zeros(4), abs=1e-9)


def test_no_more_axes_than_vary_and_none_where_nothing_does() -> None:
    line = np.outer(np.arange(6.0), np.ones(4))
    assert len(principal_axes(line, 3).axes) == 1
    with pytest.raises(SchemaError, match="all equal"):
        principal_axes(np.ones((5, 3)), 2)
    with pytest.raises(SchemaError, match="at least two rows"):
        principal_axes(np.ones((1, 3)), 2)


def test_a_drift_that_rises_with_dose_and_time_is_one_and_a_falling_one_minus_one(found: LatentSpace) -> None:
    drift = found.drift_of(MODEL)
    for each in (drift.dose, drift.dose_strong, drift.time, drift.time_strong):
        assert each.value == pytest.approx(1.0)
    assert drift.dose.n == len(LINES) * PERTURBATIONS * len(TIMES)
    assert drift.time.n == len(LINES) * PERTURBATIONS * len(DOSES)
    falling = latent_space(profiles(planted(dose_sign=-0.9)[0]), n_draws=50)
    assert falling.drift_of(MODEL).dose.value == pytest.approx(-1.0)
    assert falling.drift_of(MEASURED).dose.value == pytest.approx(1.0)


def test_noise_takes_the_drift_away(found: LatentSpace) -> None:
    noisy = latent_space(profiles(planted(noise=30.0)[0]), n_draws=50)
    assert abs(noisy.drift_of(MODEL).dose.value) < 0.5
    assert "do not keep the order of doses" in noisy.sentence()
    assert "keep the order of doses" in found.sentence()


def test_middle_doses_of_a_straight_way_lie_on_it_halfway(found: LatentSpace) -> None:
    each = next(one for one in found.between if one.title == MODEL)
    assert each.position == pytest.approx(np.full(54, 0.5))
    assert each.off_axis == pytest.approx(np.zeros(54), abs=1e-6)
    assert each.share_between.every.value == 1.0


def test_a_middle_dose_beside_the_way_and_beyond_its_end_is_told() -> None:
    points, control = planted()
    away = points.copy()
    middle = table()["pert_dose"].to_numpy() == DOSES[1]
    first, last = (points[table()["pert_dose"].to_numpy() == dose] for dose in (DOSES[0], DOSES[2]))
    away[middle] = last + 0.5 * (last - first)
    given = LatentProfiles(table(), points, away, control, "planted", MODEL)
    beyond = next(one for one in latent_space(given, n_draws=50).between if one.title == MODEL)
    assert beyond.position == pytest.approx(np.full(54, 1.5))
    assert beyond.share_between.every.value == 0.0


def test_cell_lines_far_apart_have_a_silhouette_near_one_and_mixed_ones_near_zero(found: LatentSpace) -> None:
    assert found.silhouette[MODEL].value > 0.7
    points, control = planted()
    mixed = LatentProfiles(table(), points, points - control, control, "planted", MODEL)
    assert abs(latent_space(mixed, n_draws=50).silhouette[MODEL].value) < 0.1


def test_strong_walks_are_the_third_with_the_largest_measured_drift() -> None:
    given = profiles()
    walks = find_walks(given, "pert_dose")
    sizes = [float(np.sqrt(np.square(given.drift(MEASURED)[walk.rows]).mean())) for walk in walks]
    strong = [walk.is_strong for walk in walks]
    assert sum(strong) == len(walks) // 3
    assert min(size for size, is_strong in zip(sizes, strong, strict=True) if is_strong) >= max(
        size for size, is_strong in zip(sizes, strong, strict=True) if not is_strong
    )
    assert walks[0].name == "p0, A, 6 h" and walks[0].values.tolist() == list(DOSES)


def path(points: Array, n: int = 2) -> LatentPaths:
    doses = np.tile(np.geomspace(0.1, 10, len(points)), (n, 1))
    names = tuple(f"way {i}" for i in range(n))
    return LatentPaths(names, names, doses, np.stack([points] * n), np.zeros((n, points.shape[1])))


def test_an_even_way_has_steps_of_one_size_and_a_jump_is_one_large_step() -> None:
    even = np.linspace(1, 2, 11)[:, None] * np.ones(D)
    shape = latent_space(profiles(), path(even), n_draws=50).path_shape
    assert shape is not None
    assert shape.forward.value == 1.0 and shape.drift.value == pytest.approx(1.0)
    assert shape.largest_step.value == pytest.approx(1.0)
    jump = np.where(np.arange(11) < 5, 1.0, 2.0)[:, None] * np.ones(D)
    leap = latent_space(profiles(), path(jump), n_draws=50).path_shape
    assert leap is not None
    assert leap.largest_step.value == pytest.approx(10.0) and leap.forward.value == pytest.approx(0.1)


def test_a_model_that_ignores_the_dose_has_no_steps_to_describe() -> None:
    shape = latent_space(profiles(), path(np.ones((11, D))), n_draws=50).path_shape
    assert shape is not None
    assert math.isnan(shape.forward.value) and math.isnan(shape.largest_step.value)
    assert shape.drift.value == 0.0


def test_perturbations_without_doses_are_still_mapped() -> None:
    points, control = planted()
    without = table().with_columns(pert_dose=pl.lit(None, pl.Float64), pert_time=pl.lit(96.0))
    genes = latent_space(LatentProfiles(without, points, points, control, "planted", MODEL), n_draws=50)
    assert genes.walks == () and math.isnan(genes.drift_of(MODEL).dose.value)
    assert "there is no dose to follow" in genes.lines()[0] + genes.lines()[1]
    html = render_page(title="t", provenance="p", sections=latent_sections(genes))
    assert "Map" in html and "Drift with dose" not in html


def test_coordinates_that_do_not_fit_are_refused() -> None:
    points, control = planted()
    with pytest.raises(SchemaError, match="lacks pert_dose"):
        LatentProfiles(table().drop("pert_dose"), points, points, control, "s", MODEL)
    with pytest.raises(SchemaError, match=r"'generated' have shape \(162, 4\), wanted \(162, 5\)"):
        LatentProfiles(table(), points, points[:, 1:], control, "s", MODEL)
    with pytest.raises(SchemaError, match="one row for each condition"):
        LatentProfiles(table(), points[1:], points, control, "s", MODEL)
    with pytest.raises(SchemaError, match="'control'"):
        LatentProfiles(table(), points, points, control * np.nan, "s", MODEL)
    with pytest.raises(SchemaError, match="2 paths have doses"):
        LatentPaths(("a", "b"), ("a", "b"), np.ones((2, 3)), np.ones((2, 4, D)), np.ones((2, D)))


def test_the_result_is_told_in_words_in_json_and_in_a_report() -> None:
    even = np.linspace(1, 2, 11)[:, None] * np.ones(D)
    whole = latent_space(profiles(), path(even), n_draws=50)
    lines = whole.lines()
    assert lines[0].startswith("A planted space. Cell lines have a silhouette of")
    assert max(map(len, lines)) <= 110
    content = json.loads(json.dumps(whole.to_json(), allow_nan=False))
    assert content["drift"][1]["dose_strong"]["value"] == 1.0
    assert content["paths"]["n_doses"] == 11
    html = render_page(title="t", provenance="p", sections=latent_sections(whole))
    for title in ("Latent space", "Map", "Drift with dose", "Doses in between", "way over many doses"):
        assert title in html


def test_no_two_cell_lines_share_a_colour_unless_there_are_more_than_colours() -> None:
    few = colour_of_lines(["a", "b", "b", "c"])
    assert list(few) == ["b", "a", "c"] and len(set(few.values())) == 3
    many = colour_of_lines([f"line {i}" for i in range(20)])
    assert len(set(many.values())) == 6
