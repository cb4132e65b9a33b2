"""Predicted interactions beside measured ones: what perfect, additive and wrong predictions are given."""

from __future__ import annotations

import json
from html import escape
from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from pertcast.analysis.association import Interval
from pertcast.analysis.epistasis import (
    InteractionAgreement,
    PairEpistasis,
    PairInteractions,
    PairMembers,
    finding_strongest,
    interaction_agreement,
    interactions_of_responses,
)
from pertcast.analysis.epistasis.agreement import average_precision, roc_area
from pertcast.evaluation.metrics import gene_lists
from pertcast.report.epistasis_sections import epistasis_sections

N_PAIRS = 12
N_GENES = 80
SIZES = np.repeat([0.0, 1.0, 2.0], 4)


def world() -> tuple[PairMembers, NDArray[np.float64]]:
    """Return pairs and responses: a third additive, a third neomorphic, a third strongly so."""
    generator = np.random.default_rng(0)
    first, second, new = generator.standard_normal((3, N_PAIRS, N_GENES))
    both = first + second + SIZES[:, None] * new
    numbers = np.arange(N_PAIRS, dtype=np.int64)
    table = pl.DataFrame(
        {
            "condition_id": [f"pair{number}" for number in numbers],
            "first": [f"A{number}" for number in numbers],
            "second": [f"<B>{number}" for number in numbers],
            "cell_iname": ["line"] * N_PAIRS,
            "pert_type": ["trt_xpr"] * N_PAIRS,
        }
    )
    own = np.full((N_PAIRS, 2), -1, dtype=np.int64)
    pairs = PairMembers(table, numbers, N_PAIRS + numbers, 2 * N_PAIRS + numbers, own)
    return pairs, np.concatenate([both, first, second])


@pytest.fixture(scope="module")
def measured() -> PairInteractions:
    return interactions_of_responses(*world())


def said(title: str, responses: NDArray[np.float64], measured: PairInteractions) -> InteractionAgreement:
    return interaction_agreement(title, world()[0], measured, responses, n_draws=100)


def with_pairs(scale: float) -> NDArray[np.float64]:
    """Return the responses with the excess of each pair scaled."""
    pairs, responses = world()
    responses = responses.copy()
    responses[pairs.both] += (scale - 1) * pairs.excess(responses)
    return responses


def test_a_perfect_prediction_is_told_so_in_every_column(measured: PairInteractions) -> None:
    found = said("perfect", world()[1], measured)
    assert found.correlation_interacting.value == pytest.approx(1)
    assert found.removed.value == pytest.approx(1)
    assert found.same_kind.value == 1 and found.confusion.trace() == N_PAIRS
    assert found.roc_area.value == 1 and found.precision.value == 1


def test_the_additive_rule_has_no_excess_and_removes_none_of_its_own_error(
    measured: PairInteractions,
) -> None:
    found = said("additive", with_pairs(0.0).astype(np.float32), measured)
    assert np.isnan(found.correlation.value) and not found.excess.any()
    assert found.removed.value == pytest.approx(0, abs=1e-6)
    assert found.same_kind.value == pytest.approx(4 / 12) and set(found.kinds) == {"additive"}
    assert found.roc_area.value == 0.5 and found.precision.value == pytest.approx(4 / 12)


def test_the_opposite_excess_correlates_at_minus_one_and_is_worse_than_the_rule(
    measured: PairInteractions,
) -> None:
    found = said("opposite", with_pairs(-1.0), measured)
    assert found.correlation_interacting.value == pytest.approx(-1)
    assert found.removed.value == pytest.approx(-3) and found.removed.high < 0


def test_what_a_contender_gets_wrong_about_singles_is_no_interaction(measured: PairInteractions) -> None:
    pairs, responses = world()
    shift = np.random.default_rng(1).standard_normal((N_PAIRS, N_GENES))
    wrong = responses.copy()
    wrong[pairs.first] += shift
    wrong[pairs.both] += shift
    found = said("wrong singles", wrong, measured)
    assert found.correlation_interacting.value == pytest.approx(1)
    assert found.removed.value < 1


def test_areas_are_those_of_the_trust_table_also_with_ties() -> None:
    generator = np.random.default_rng(2)
    for _ in range(20):
        positive, score = generator.random(30) < 0.4, np.round(generator.random(30), 1)
        assert roc_area(positive, score) == pytest.approx(gene_lists.roc_area(positive, score))
        assert average_precision(positive, score) == pytest.approx(
            gene_lists.average_precision(positive, score)
        )


def result(measured: PairInteractions) -> PairEpistasis:
    area, precision = finding_strongest(measured, np.linalg.norm(measured.sum_of_singles, axis=1), 100)
    return PairEpistasis(
        measured=measured,
        contenders=(said("Half", with_pairs(0.5), measured), said("Sum", with_pairs(0.0), measured)),
        sum_area=area,
        sum_precision=precision,
        n_held_out=N_PAIRS + 1,
        n_singles=2 * N_PAIRS,
        n_training_singles=20,
        remarks=("1 of 13 held-out pairs left out: its single is not measured.",),
        seed=0,
    )


def test_text_json_and_report_say_the_same(measured: PairInteractions) -> None:
    found = result(measured)
    counts = measured.counts()
    assert counts["additive"] == 4 and counts["neomorphism"] == 8
    text = "\n".join(found.lines())
    assert found.sentence().startswith("8 of 12 held-out pairs differ from the sum of their singles")
    assert "removes 75%" in found.sentence() and "1 of 13" in text and "Perfect prediction" in text
    content: dict[str, Any] = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert content["counts"] == counts and len(content["pairs"]) == N_PAIRS
    assert [each["title"] for each in content["contenders"]] == ["Half", "Sum"]
    html = "".join(section.html for section in epistasis_sections(found, "log1p difference"))
    assert escape(found.sentence()) in html and "<B>" not in html and "&lt;B&gt;11" in html
    assert "1 of 13 held-out pairs left out" in html


def test_the_strongest_pairs_come_first_with_what_the_model_says_of_them(measured: PairInteractions) -> None:
    table = result(measured).strongest()
    assert table["excess"].is_sorted(descending=True)
    np.testing.assert_allclose(table["predicted_excess"], table["excess"] / 2, atol=1e-6)


def test_the_ceiling_is_stepped_up_from_halves(measured: PairInteractions) -> None:
    halves = measured.table.with_columns(half_correlation=pl.lit(0.5))
    found = result(measured)
    noisy = PairInteractions(halves, measured.excess, measured.sum_of_singles)
    again = PairEpistasis(**{**vars(found), "measured": noisy})
    assert again.ceiling() == pytest.approx(np.sqrt(2 * 0.5 / 1.5))


def test_too_few_pairs_have_no_strongest_third(measured: PairInteractions) -> None:
    few = PairInteractions(measured.table.head(3), measured.excess[:3], measured.sum_of_singles[:3])
    area, _ = finding_strongest(few, np.arange(3.0))
    assert isinstance(area, Interval) and np.isnan(area.value)
