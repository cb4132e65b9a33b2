"""Drug sensitivity: a predictor with the planted signal wins, a shuffled one does not, nothing leaks."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pertcast.evaluation.sensitivity.boards import Asked, hold_out
from pertcast.evaluation.sensitivity.designs import OF_EXPRESSION, Design, columns, part
from pertcast.evaluation.sensitivity.drug_sensitivity import DrugSensitivity, drug_sensitivity
from pertcast.evaluation.sensitivity.pairs import SensitivityPairs
from pertcast.evaluation.sensitivity.regression import cross_fit, deal_folds, training_means
from pertcast.evaluation.sensitivity.result import SensitivityFacts
from pertcast.evaluation.sensitivity.scores import Judge
from pertcast.report.page import render_page
from pertcast.report.sensitivity_sections import sensitivity_sections
from pertcast_data.errors import SchemaError
from scipy.stats import pearsonr, spearmanr

N_GENES, N_BITS = 30, 64
FACTS = SensitivityFacts(
    "Planted", "planted.csv", "ln_ic50", "Shuffled", dose=10.0, time=24.0, n_genes=N_GENES
)
DRAWS = 200
SMALL = 20


def planted(n_compounds: int = 60, n_lines: int = 3, noise: float = 0.3, seed: int = 0) -> SensitivityPairs:
    """Sensitivity is one direction of the response plus a line's own; fingerprints know nothing."""
    random = np.random.default_rng(seed)
    compound = np.repeat(np.arange(n_compounds), n_lines)
    line = np.tile(np.arange(n_lines), n_compounds)
    response = random.normal(size=(n_compounds, N_GENES))[compound]
    response += 0.3 * random.normal(size=response.shape)
    basal = random.normal(size=(n_lines, N_GENES))
    value = 2.0 * response[:, 0] + response[:, 1] + 0.5 * basal[line, 0]
    value += noise * random.normal(size=len(value))
    kept = random.permutation(len(value))[: round(0.8 * len(value))]
    measured = np.where((compound < n_compounds // 2)[:, None], response, np.nan)
    whole = SensitivityPairs(
        compounds=tuple(f"C{i}" for i in range(n_compounds)),
        lines=tuple(f"L{i}" for i in range(n_lines)),
        compound=compound,
        line=line,
        value=value,
        fingerprint=(random.random((n_compounds, N_BITS)) < 0.1).astype(np.float32),
        basal=basal,
        generated={"Planted": response, "Shuffled": response[random.permutation(len(value))]},
        measured=measured,
        is_seen=np.arange(n_compounds) < n_compounds // 3,
        is_near=np.arange(n_compounds) < 2 * n_compounds // 3,
    )
    return whole.take(np.sort(kept))


@pytest.fixture(scope="module")
def found() -> DrugSensitivity:
    return drug_sensitivity(planted(), FACTS, n_draws=DRAWS, n_folds=3)


def test_a_predictor_that_carries_the_signal_is_better_than_everything_without_it(
    found: DrugSensitivity,
) -> None:
    board = found.by_compound.boards[0]
    own = board.rows[0].metrics
    assert own["pearson"].mean > 0.9 and own["r2"].mean > 0.8 and own["pearson_within"].mean > 0.9
    for other in ("generated_baseline", "structure", "structure_and_cell", "cell", "known_mean", "mean"):
        assert board.gains[other]["pearson"].low > 0.3, other
        assert board.gains[other]["rmse"].high < 0, other
    assert (
        found.verdict.count("better than") == 4
        and "Within a line: better than the fingerprint" in found.verdict
    )


def test_shuffled_responses_predict_nothing_beyond_the_line(found: DrugSensitivity) -> None:
    shuffled = found.by_compound.boards[0].row("generated_baseline")
    assert shuffled is not None and shuffled.metrics["pearson_within"].low < 0.1


def test_the_model_as_baseline_of_itself_gains_exactly_nothing() -> None:
    pairs = planted(SMALL)
    same = replace(pairs, generated={"A": pairs.generated["Planted"], "B": pairs.generated["Planted"]})
    board = drug_sensitivity(same, FACTS, n_draws=DRAWS, n_folds=3).by_compound.boards[0]
    gain = board.gains["generated_baseline"]["pearson"]
    assert (gain.mean, gain.low, gain.high) == (0.0, 0.0, 0.0)


def test_measured_expression_is_compared_on_measured_pairs_with_generated_beside_it(
    found: DrugSensitivity,
) -> None:
    board = found.by_compound.board("measured")
    assert board is not None and board.n_compounds == 30
    generated, measured = board.row("generated"), board.row("measured")
    assert generated is not None and measured is not None
    assert generated.metrics == measured.metrics
    assert found.by_compound.boards[0].row("measured") is None


def test_strata_are_the_compounds_that_the_generator_saw_and_did_not_see(found: DrugSensitivity) -> None:
    boards = {board.name: board for board in found.by_compound.boards}
    assert boards["unseen"].n_compounds == 40 and boards["seen"].n_compounds == 20
    assert boards["near"].n_compounds == boards["far"].n_compounds == 20
    assert boards["near"].n_pairs + boards["far"].n_pairs == boards["unseen"].n_pairs
    assert boards["unseen"].n_pairs + boards["seen"].n_pairs == boards["all"].n_pairs
    assert found.by_compound.headline == boards["unseen"]
    assert "40 held-out compounds" in found.verdict


def test_no_pair_of_a_held_out_compound_reaches_its_own_prediction() -> None:
    pairs = planted()
    fold = deal_folds(60)[pairs.compound]
    blocks = pairs.blocks(pairs.generated["Planted"])
    before = cross_fit(OF_EXPRESSION, blocks, pairs.value, pairs.compound, fold)
    spoiled = np.where(fold == 2, pairs.value + 100.0 * np.arange(len(fold)), pairs.value)
    after = cross_fit(OF_EXPRESSION, blocks, spoiled, pairs.compound, fold)
    np.testing.assert_array_equal(before.predicted[fold == 2], after.predicted[fold == 2])
    assert not np.allclose(before.predicted[fold == 1], after.predicted[fold == 1])
    assert sum(count for _, count in before.chosen) == 5


def test_test_pairs_leave_no_trace_in_the_columns_of_training_pairs() -> None:
    pairs = planted()
    train, test = np.arange(100), np.arange(100, pairs.n_pairs)
    blocks = pairs.blocks(pairs.generated["Planted"])
    moved = {name: values.copy() for name, values in blocks.items()}
    for values in moved.values():
        values[test] += 5.0
    for design in OF_EXPRESSION:
        np.testing.assert_array_equal(
            columns(design, blocks, train, test)[0], columns(design, moved, train, test)[0]
        )


def test_all_predictors_share_folds_that_never_split_a_group() -> None:
    folds = deal_folds(23, 5, seed=3)
    assert sorted(np.bincount(folds).tolist()) == [4, 4, 5, 5, 5]
    np.testing.assert_array_equal(folds, deal_folds(23, 5, seed=3))


def test_kernel_columns_reproduce_the_kernel_where_every_pair_is_a_landmark() -> None:
    bits = (np.random.default_rng(0).random((40, N_BITS)) < 0.2).astype(np.float64)
    rows = np.arange(40)
    fitted, _ = columns(Design("t", (part(("structure", "tanimoto")),)), {"structure": bits}, rows, rows)
    shared = bits @ bits.T
    sizes = bits.sum(axis=1)
    kernel = shared / (sizes[:, None] + sizes - shared)
    centring = np.eye(40) - 1 / 40
    centred = centring @ kernel @ centring
    np.testing.assert_allclose(fitted @ fitted.T, centred / (np.trace(centred) / 40), atol=1e-6)


def test_a_part_that_does_not_vary_has_no_columns() -> None:
    found, asked = columns(OF_EXPRESSION[0], {"response": np.ones((5, 3))}, np.arange(3), np.arange(3, 5))
    assert found.shape == (3, 0) and asked.shape == (2, 0)


def scored(predicted: NDArray[np.float64], value: NDArray[np.float64]) -> dict[str, float]:
    nothing = np.zeros_like(value)
    judge = Judge(value, nothing, nothing, np.arange(len(value)), np.zeros(len(value), int), DRAWS)
    return dict(judge.score(predicted).value)


def test_metrics_equal_those_of_scipy_and_plain_formulas() -> None:
    random = np.random.default_rng(4)
    value = random.normal(size=50).round(1)
    predicted = (value + random.normal(size=50)).round(1)
    found = scored(predicted, value)
    assert found["pearson"] == pytest.approx(pearsonr(predicted, value)[0])
    assert found["spearman"] == pytest.approx(spearmanr(predicted, value)[0])
    error = np.square(predicted - value)
    assert found["rmse"] == pytest.approx(np.sqrt(error.mean()))
    assert found["r2"] == pytest.approx(1 - error.sum() / np.square(value - value.mean()).sum())


def test_the_mean_of_the_training_pairs_correlates_with_nothing_and_a_shift_of_folds_does_not_help() -> None:
    pairs = planted()
    fold = deal_folds(60)[pairs.compound]
    overall, by_line = training_means(pairs.value, fold), training_means(pairs.value, fold, pairs.line)
    judge = Judge(pairs.value, overall, by_line, pairs.compound, pairs.line, DRAWS)
    assert np.isnan(judge.score(overall).value["pearson"])
    assert np.isnan(judge.score(by_line).value["pearson_within"])
    assert np.corrcoef(overall, pairs.value)[0, 1] < -0.05


def test_pearson_within_takes_away_what_lines_differ_in() -> None:
    random = np.random.default_rng(5)
    line = np.tile(np.arange(3), 100)
    value = 10.0 * line + random.normal(size=300)
    nothing = np.zeros(300)
    judge = Judge(value, nothing, nothing, np.repeat(np.arange(100), 3), line, DRAWS)
    found = judge.score(10.0 * line + random.normal(size=300)).value
    assert found["pearson"] > 0.95 and abs(found["pearson_within"]) < 0.2


def test_lines_are_held_out_where_there_are_enough_and_withheld_in_words_where_not(
    found: DrugSensitivity,
) -> None:
    assert "3 cell lines joined, and 8 are needed" in found.by_line.withheld and not found.by_line.boards
    many = hold_out(planted(n_compounds=20, n_lines=12), "lines", Asked(4, DRAWS, 0))
    assert many.withheld == "" and many.n_groups == 12 and many.n_folds == 4
    known = many.boards[0].row("known_mean")
    assert known is not None and known.metrics["pearson"].mean > 0.7
    structure = many.boards[0].row("structure")
    assert structure is not None and np.isnan(structure.metrics["pearson_within"].mean)


def test_a_handful_of_compounds_is_a_plumbing_check_and_seven_get_no_figure() -> None:
    few = drug_sensitivity(planted(n_compounds=20, n_lines=1), FACTS, n_draws=DRAWS, n_folds=3)
    assert few.verdict.startswith("A plumbing check, no judgement: ")
    assert "1 cell line joined" in few.by_line.withheld
    pairs = planted(n_compounds=7, n_lines=3)
    fewer = drug_sensitivity(pairs, FACTS, n_draws=DRAWS, n_folds=3)
    assert fewer.verdict.startswith("No judgement: 7 compounds joined") and not fewer.by_compound.boards
    assert fewer.lines()[0].startswith("Drug sensitivity: No judgement")


def test_text_begins_with_the_verdict_fits_a_terminal_and_ends_with_what_is_not_shown(
    found: DrugSensitivity,
) -> None:
    lines = found.lines()
    assert lines[0].startswith("Drug sensitivity: Expression generated by Planted predicts ln IC50 of 40")
    assert max(map(len, lines)) <= 115
    assert "What this does not show" in lines and lines[-1].lstrip().endswith("potency.")


def test_json_is_deterministic_and_holds_null_for_what_is_undefined(found: DrugSensitivity) -> None:
    first, again = (
        json.dumps(
            drug_sensitivity(planted(SMALL), FACTS, n_draws=DRAWS, n_folds=2).to_json(), allow_nan=False
        )
        for _ in range(2)
    )
    assert first == again
    content: dict[str, Any] = json.loads(json.dumps(found.to_json(), allow_nan=False))
    rows = {row["name"]: row for row in content["drug_blind"]["boards"][0]["rows"]}
    assert rows["mean"]["metrics"]["pearson"]["mean"] is None
    assert rows["generated"]["chosen"] and content["cell_blind"]["withheld"]


def test_the_report_draws_predictors_and_pairs_and_says_what_is_missing(found: DrugSensitivity) -> None:
    sections = sensitivity_sections(found)
    titles = [section.title for section in sections]
    assert titles[0] == "Is ln IC50 predictable from generated expression?"
    assert "New compounds: what predicts sensitivity" in titles and titles[-1] == "What this does not show"
    page = render_page(title="t", provenance="p", sections=sections)
    assert "3 cell lines joined, and 8 are needed" in page and "Fingerprint only" in page
    assert page.count('class="figure"') == 2


def test_pairs_that_do_not_fit_together_are_refused() -> None:
    pairs = planted()
    with pytest.raises(SchemaError, match="'Planted' has shape"):
        replace(pairs, generated={"Planted": np.zeros((3, N_GENES))})
    with pytest.raises(SchemaError, match="not finite"):
        replace(pairs, value=np.full_like(pairs.value, np.nan))
    with pytest.raises(SchemaError, match="at least one model"):
        replace(pairs, generated={})


def test_too_many_pairs_are_thinned_evenly_and_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pertcast.evaluation.sensitivity.drug_sensitivity.MOST_PAIRS", 90)
    found = drug_sensitivity(planted(), FACTS, n_draws=20, n_folds=2)
    assert found.by_compound.boards[0].n_pairs == 90 and found.by_compound.boards[0].n_compounds >= 55
    assert found.facts.remarks == ("90 of 144 pairs compared, evenly over compounds.",)
