"""Screens with known hits: who is ranked first, what a profile that knows nothing scores, paired verdicts."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"
NAMES = ("paired", "screen_questions", "screen_tables")


@pytest.fixture(scope="module")
def modules() -> Iterator[dict[str, ModuleType]]:
    before = {name: sys.modules.get(name) for name in NAMES}
    found = {}
    for name in NAMES:
        spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
        assert spec is not None and spec.loader is not None
        found[name] = sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(found[name])
    yield found
    for name, module in before.items():
        if module is None:
            del sys.modules[name]
        else:
            sys.modules[name] = module


@pytest.fixture(scope="module")
def questions(modules: dict[str, ModuleType]) -> ModuleType:
    return modules["screen_questions"]


@pytest.fixture(scope="module")
def tables(modules: dict[str, ModuleType]) -> ModuleType:
    return modules["screen_tables"]


N_CANDIDATES, N_GENES = 20, 60


def planted(questions: ModuleType, sign: int) -> tuple[Any, Any]:
    """Return a question whose hit of query q is candidate q, and a library that answers it."""
    library = np.random.default_rng(0).normal(size=(N_CANDIDATES, N_GENES))
    names = tuple(f"G{number}" for number in range(N_CANDIDATES))
    hits = np.eye(N_CANDIDATES, dtype=bool)
    question = questions.Question("planted", "", names, sign * library, names, hits, sign)
    return question, library


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("score", ["cosine", "wtcs"])
def test_a_planted_mimic_and_a_planted_reverser_stand_first(
    questions: ModuleType, sign: int, score: str
) -> None:
    question, library = planted(questions, sign)
    found = questions.ranked(questions.connectivity(question, library, score), question.is_hit)
    assert found == {"auroc": [1.0] * 20, "first": [1.0] * 20, "top": [1.0] * 20}


def test_a_reverser_is_last_where_mimics_are_asked_for(questions: ModuleType) -> None:
    question, library = planted(questions, 1)
    found = questions.ranked(questions.connectivity(question, -library, "cosine"), question.is_hit)
    assert found["auroc"] == [0.0] * 20
    assert found["top"] == [0.0] * 20


def test_equal_scores_for_all_candidates_are_worth_what_chance_is(questions: ModuleType) -> None:
    hits = np.eye(N_CANDIDATES, dtype=bool)
    found = questions.ranked(np.zeros(hits.shape), hits)
    assert found["auroc"] == [0.5] * N_CANDIDATES
    chance = sum(1 / place for place in range(1, N_CANDIDATES + 1)) / N_CANDIDATES
    assert np.mean(found["first"]) == pytest.approx(chance, abs=0.03)
    assert np.mean(found["top"]) == pytest.approx(1 / N_CANDIDATES, abs=0.03)


def test_hiding_own_transcripts_leaves_nothing_of_an_own_effect(questions: ModuleType) -> None:
    genes, usual = ("A", "B", "C"), np.array([0.1, 0.2, 0.3])
    profiles = np.tile(usual, (3, 1)) - 9.0 * np.eye(3)
    hidden = questions.own_hidden(profiles, genes, genes, usual)
    np.testing.assert_array_equal(hidden, np.tile(usual, (3, 1)))
    np.testing.assert_array_equal(questions.own_hidden(profiles, ("X", "Y", "Z"), genes, usual), profiles)


def test_cosines_with_a_profile_of_zeros_are_zero(questions: ModuleType) -> None:
    found = questions.cosines(np.array([[1.0, 1.0], [0.0, 0.0]]), np.array([[2.0, 2.0], [-1.0, 0.0]]))
    np.testing.assert_allclose(found, [[1.0, -np.sqrt(0.5)], [0.0, 0.0]])


def lines_of(tables: ModuleType, gain: float, scatter: float) -> list[dict[str, Any]]:
    """Return two seeds of 30 queries in which a model is `gain` above the mean profile, give or take."""
    random = np.random.default_rng(1)
    lines = []
    for seed in (0, 1):
        base = random.uniform(0.2, 0.8, size=30)
        model = base + gain + scatter * random.normal(size=30)
        rows = {"mine": model, tables.MEAN: base}
        found = {row: {metric: values.tolist() for metric in tables.METRICS} for row, values in rows.items()}
        facts = {"seed": seed, "question": "q", "title": "", "group": "held_out", "candidates": 9, "hits": 30}
        units = [f"U{number % 15}" for number in range(30)]
        lines.append({**facts, "unit": units, "found": dict.fromkeys(tables.SCORES, found)})
    return lines


def test_a_constant_gain_has_an_interval_of_no_width(tables: ModuleType) -> None:
    column = ("auroc", "mine", tables.MEAN)
    gain = tables.estimates(lines_of(tables, 0.1, 0.0), "cosine", [column])[column]
    assert (gain.mean, gain.low, gain.high) == pytest.approx((0.1, 0.1, 0.1))
    assert gain.count == 60


@pytest.mark.parametrize(
    ("gain", "scatter", "word"), [(0.1, 0.05, "above"), (0.0, 0.3, "NOT above"), (-0.1, 0.05, "BELOW")]
)
def test_a_verdict_follows_the_paired_interval(
    tables: ModuleType, gain: float, scatter: float, word: str
) -> None:
    said = list(tables.verdicts(lines_of(tables, gain, scatter), "regime"))
    assert len(said) == len(tables.SCORES)
    assert all(f"mine is {word} {tables.MEAN}" in line for line in said)
