"""Helpers of the benchmarks by type: intervals, references with a known answer, names kept apart."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"
NAMES = ("paired", "typed_references")


def loaded(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def modules() -> Iterator[dict[str, ModuleType]]:
    before = {name: sys.modules.get(name) for name in NAMES}
    yield {name: loaded(name) for name in NAMES}
    for name, module in before.items():
        if module is None:
            del sys.modules[name]
        else:
            sys.modules[name] = module


@pytest.fixture(scope="module")
def paired(modules: dict[str, ModuleType]) -> ModuleType:
    return modules["paired"]


@pytest.fixture(scope="module")
def references(modules: dict[str, ModuleType]) -> ModuleType:
    return modules["typed_references"]


def line(seed: int, fold: int, model: list[float | None], other: list[float | None], **more: Any) -> Any:
    number = len(model)
    known = {
        "model": "mine",
        "roles": {"mine": "model", "other": "baseline"},
        "gene": [f"G{i // 2}" for i in range(number)],
        "pert_type": ["trt_sh" if i % 2 else "trt_xpr" for i in range(number)],
        "other_types": [i % 2 for i in range(number)],
        "scores": {"mine": {"pearson_delta_pert": model}, "other": {"pearson_delta_pert": other}},
    }
    return {"seed": seed, "fold": fold, **known, **more}


def test_a_constant_gain_has_an_interval_of_no_width(paired: ModuleType) -> None:
    lines = [line(seed, 0, [0.5, 0.7, 0.1, 0.3], [0.4, 0.6, 0.0, 0.2]) for seed in (0, 1, 2)]
    gain = paired.gain_over(
        lines, lines, ("mine", "other"), paired.METRICS[0], paired.POOLED, seeds_are_data=True
    )
    assert gain.mean == pytest.approx(0.1) and gain.low == pytest.approx(0.1)
    assert gain.high == pytest.approx(0.1) and gain.count == 12


def test_the_interval_of_one_seed_is_the_bootstrap_over_genes(paired: ModuleType) -> None:
    values = np.random.default_rng(0).normal(1.0, 1.0, 400)
    gain = paired.interval([(values, np.ones(400))])
    expected = values.std() / np.sqrt(400)
    assert gain.mean == pytest.approx(values.mean())
    assert gain.error == pytest.approx(expected, rel=0.1)
    assert gain.high - gain.low == pytest.approx(2 * 1.96 * expected, rel=0.1)


def test_seeds_that_disagree_widen_the_interval(paired: ModuleType) -> None:
    random = np.random.default_rng(1)
    alike = [(random.normal(0.0, 0.1, 200), np.ones(200)) for _ in range(4)]
    apart = [(sums + shift, counts) for (sums, counts), shift in zip(alike, (-1, 0, 0, 1), strict=True)]
    assert paired.interval(apart).error > 10 * paired.interval(alike).error


def test_repeated_deals_of_the_same_genes_are_no_further_evidence(paired: ModuleType) -> None:
    once = [line(0, 0, [0.5, 0.1, 0.9, 0.3], [0.0] * 4)]
    thrice = [{**once[0], "seed": seed} for seed in range(3)]
    metric, kind = paired.METRICS[0], paired.POOLED
    first, second = (
        paired.mean_score(lines, "mine", metric, kind, seeds_are_data=False) for lines in (once, thrice)
    )
    assert first.mean == pytest.approx(second.mean) and first.error == pytest.approx(second.error)


def test_types_are_scored_apart_and_what_is_undefined_counts_as_uninformative(paired: ModuleType) -> None:
    lines = [line(0, 0, [1.0, 0.2, None, 0.4], [0.0] * 4)]
    metric = paired.METRICS[0]
    means = {
        kind: paired.mean_score(lines, "mine", metric, kind, seeds_are_data=True).mean
        for kind in paired.kinds_of(lines)
    }
    assert means == {"trt_sh": pytest.approx(0.3), "trt_xpr": 0.5, paired.POOLED: pytest.approx(0.4)}


def test_gains_between_trainings_on_other_conditions_are_refused(paired: ModuleType) -> None:
    first = [line(0, 0, [1.0, 0.2], [0.0] * 2)]
    second = [{**first[0], "gene": ["G8", "G9"]}]
    with pytest.raises(ValueError, match="other conditions"):
        paired.gain_over(
            first, second, ("mine", "mine"), paired.METRICS[0], paired.POOLED, seeds_are_data=True
        )


def test_kept_lines_come_back_for_the_same_setting_alone(paired: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "lines.json"
    assert paired.read_lines(path, {"config": "a"}) == {"config": "a", "lines": []}
    paired.keep_lines(path, {"config": "a", "lines": [line(0, 0, [1.0], [0.5])]})
    assert len(paired.read_lines(path, {"config": "a"})["lines"]) == 1
    assert paired.read_lines(path, {"config": "b"})["lines"] == []
    assert json.loads(path.read_text())["config"] == "a"


def test_left_out_predictions_of_the_ridge_are_those_of_fitting_without_the_row(
    references: ModuleType,
) -> None:
    random = np.random.default_rng(2)
    features = random.normal(size=(30, 8))
    target = features @ random.normal(size=(8, 5)) + random.normal(size=(30, 5))
    fit = references.fit_ridge(features, target, features[:1])
    size = float(np.square(features - features.mean(axis=0)).sum(axis=1).mean())
    for row in (0, 7):
        rest = np.delete(np.arange(30), row)
        # A free constant: the penalty holds the slopes alone.
        design = np.column_stack([np.ones(29), features[rest]])
        hold = np.diag([0.0, *[fit.penalty * size] * 8])
        slopes = np.linalg.solve(design.T @ design + hold, design.T @ target[rest])
        assert fit.left_out[row] == pytest.approx(np.array([1.0, *features[row]]) @ slopes, abs=1e-8)


def test_without_anything_to_learn_the_ridge_is_the_mean(references: ModuleType) -> None:
    random = np.random.default_rng(3)
    features, target = random.normal(size=(40, 20)), random.normal(size=(40, 200))
    fit = references.fit_ridge(features, target, random.normal(size=(6, 20)))
    assert fit.penalty > 1.0
    assert np.abs(fit.predicted - target.mean(axis=0)).max() < 0.2
    assert fit.predicted.shape == (6, 200)


def coupled_types(references: ModuleType, coupling: float) -> tuple[Any, Any, Any, Any]:
    """Return training and asked conditions of two types of 80 genes; asked is type 1 of the last 20."""
    random = np.random.default_rng(4)
    first = random.normal(size=(80, 60))
    second = coupling * first + np.sqrt(1 - coupling**2) * random.normal(size=(80, 60))
    kind = np.array([0] * 80 + [1] * 60)
    gene = np.array([*range(80), *range(60)])
    nothing = np.full(140, -1)
    training = references.Measured(kind, gene, nothing, np.zeros((140, 1)))
    asked = references.Measured(np.ones(20, dtype=int), np.arange(60, 80), nothing[:20], np.zeros((20, 1)))
    return training, np.vstack([first, second[:60]]), asked, second[60:]


def test_other_types_tell_as_much_as_types_are_coupled(references: ModuleType) -> None:
    for coupling in (0.8, 0.0):
        training, response, asked, truth = coupled_types(references, coupling)
        means = {0: response[:80].mean(axis=0), 1: response[80:].mean(axis=0)}
        found = references.reference_predictions(training, response, asked, means)["ref_types_own"]
        said, true = found - means[1], truth - means[1]
        explained = 1 - np.square(true - said).sum() / np.square(true).sum()
        assert explained == pytest.approx(coupling**2, abs=0.05)


def test_the_own_effect_is_learned_by_type_and_lands_on_the_own_transcript(references: ModuleType) -> None:
    random = np.random.default_rng(5)
    response = random.normal(size=(40, 50))
    kind, own = np.repeat([0, 1], 20), np.tile(np.arange(20), 2)
    response[np.arange(40), own] += np.where(kind == 0, -8.0, 4.0)
    training = references.Measured(kind, own.copy(), own, np.zeros((40, 1)))
    asked = references.Measured(np.array([0, 1]), np.array([-1, -1]), np.array([30, 30]), np.zeros((2, 1)))
    means = {number: response[kind == number].mean(axis=0) for number in (0, 1)}
    found = references.reference_predictions(training, response, asked, means)["ref_own"]
    shift = [found[row] - means[row] for row in (0, 1)]
    assert shift[0][30] < -5 and shift[1][30] > 2
    assert all(np.count_nonzero(each) == 1 for each in shift)
