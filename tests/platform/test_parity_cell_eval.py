"""Every metric shared with cell-eval 0.8.2 has its value to 1e-6; where they differ, they differ as told.

Golden values: `golden/make_golden.py`; the differences: docs/evaluation_parity.md.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import parity_files as parity
import pytest
from numpy.typing import NDArray
from pertcast.evaluation.cells.cell_scores import CellScores, compare_cells
from pertcast.evaluation.gene_tests.differential import cell_tests
from pertcast.evaluation.metrics import METRICS
from pertcast.evaluation.metrics.across import ACROSS
from pertcast.evaluation.other_tools.pair import AnndataPair, open_pair
from pertcast.evaluation.scores.score_board import score_conditions
from pertcast_data.vocabulary import split_perturbation
from scipy.spatial.distance import cdist

GOLDEN = Path(__file__).with_name("golden")
TOLERANCE = 1e-6
ONE_TIE = {"roc_auc": 5e-4, "pr_auc": 5e-4}
"""Genes of equal p-values change places where a processor rounds sums otherwise: one pair of some 2,900."""
ONE_TIE = {"roc_auc": 5e-4, "pr_auc": 5e-4}
"""Genes of equal p-values change places where a processor rounds sums otherwise: one pair of some 2,900."""
CASES = ("generated", "counts", "real")
"""Pairs of files on which both have the same controls and names, so that every definition can agree."""

OF_MEANS = {
    "pearson_delta": "pearson_delta",
    "mse": "mse",
    "mse_delta": "mse",
    "mae": "mae",
    "mae_delta": "mae",
    "discrimination_score_l1": "discrimination_l1",
    "discrimination_score_l2": "discrimination_l2",
    "discrimination_score_cosine": "discrimination_cosine",
}
LISTS = tuple(f"{kind}_at_{k}" for kind in ("overlap", "precision") for k in ("N", 50, 100, 200))
OF_CELLS = (
    "de_direction_match",
    "de_spearman_lfc_sig",
    "de_sig_genes_recall",
    "roc_auc",
    "pr_auc",
)
COUNTS = {
    "de_nsig_counts_real": "true_significant_genes",
    "de_nsig_counts_pred": "predicted_significant_genes",
}
OVER_CONDITIONS = ("pearson_edistance", "de_spearman_sig")
NOT_OURS = ("overlap_at_500", "precision_at_500")


@dataclass(frozen=True)
class Compared:
    """One pair of files: cell-eval's values, and ours in its order of perturbations."""

    golden: dict[str, Any]
    pair: AnndataPair
    means: dict[str, NDArray[Any]]
    cells: CellScores
    order: list[int]

    def theirs(self, name: str) -> NDArray[np.float64]:
        return np.array([np.nan if v is None else v for v in self.golden["metrics"][name]])

    def ours(self, name: str) -> NDArray[np.float64]:
        values: NDArray[np.float64] = {**self.means, **self.cells.scores, **self.cells.facts}[name][
            self.order
        ]
        return values


def compare(name: str, files: tuple[Path, Path]) -> Compared:
    golden = json.loads((GOLDEN / f"{name}.json").read_text())
    pair = open_pair(*files)
    assert pair.predicted is not None
    names = pair.held.conditions["pert_id"].to_list()
    order = [names.index("+".join(split_perturbation(theirs))) for theirs in golden["perturbations"]]
    means = score_conditions(pair.prediction, pair.held)
    cells = compare_cells(pair.measured, pair.predicted, cell_tests(pair.measured))
    return Compared(golden, pair, means, cells, order)


@pytest.fixture(scope="module")
def compared(
    tmp_path_factory: pytest.TempPathFactory, shared_data: Callable[[str], Path]
) -> Callable[[str], Compared]:
    """Return a case, compared once."""
    folder = tmp_path_factory.mktemp("parity")
    found: dict[str, Compared] = {}

    def get(name: str) -> Compared:
        if name not in found:
            if name == "real":
                files = parity.real(folder, shared_data(parity.REAL_FILE))
            else:
                files = getattr(parity, name)(folder)
            found[name] = compare(name, files)
        return found[name]

    return get


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", OF_MEANS)
def test_metrics_of_means_agree(compared: Callable[[str], Compared], case: str, name: str) -> None:
    both = compared(case)
    np.testing.assert_allclose(both.ours(OF_MEANS[name]), both.theirs(name), rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", OF_CELLS)
def test_metrics_of_responding_genes_agree_and_are_undefined_together(
    compared: Callable[[str], Compared], case: str, name: str
) -> None:
    both = compared(case)
    tolerance = ONE_TIE.get(name, TOLERANCE)
    np.testing.assert_allclose(both.ours(name), both.theirs(name), rtol=0, atol=tolerance)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", LISTS)
def test_overlaps_agree_wherever_the_truth_has_a_responding_gene(
    compared: Callable[[str], Compared], case: str, name: str
) -> None:
    both = compared(case)
    responds = both.theirs("de_nsig_counts_real") > 0
    assert responds.sum() >= 10
    np.testing.assert_allclose(both.ours(name)[responds], both.theirs(name)[responds], rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", COUNTS)
def test_numbers_of_responding_genes_agree(compared: Callable[[str], Compared], case: str, name: str) -> None:
    both = compared(case)
    assert both.ours(COUNTS[name]).tolist() == both.theirs(name).tolist()


@pytest.mark.parametrize("case", CASES)
def test_counts_of_responding_genes_are_correlated_alike(
    compared: Callable[[str], Compared], case: str
) -> None:
    both = compared(case)
    ours = ACROSS["de_spearman_sig"].score(both.cells.facts)
    assert ours == pytest.approx(both.theirs("de_spearman_sig")[0], abs=TOLERANCE)


def energy_distances(cells: Any, controls: Any, n_conditions: int) -> list[float]:
    among_controls = cdist(controls, controls).mean()
    found = []
    for row in range(n_conditions):
        own = cells(row).astype(np.float64)
        found.append(2 * cdist(own, controls).mean() - cdist(own, own).mean() - among_controls)
    return found


@pytest.mark.parametrize("case", CASES)
def test_effect_sizes_are_correlated_alike_and_exactly_in_double_precision(
    compared: Callable[[str], Compared], case: str
) -> None:
    both = compared(case)
    pair, n = both.pair, both.pair.held.n_conditions
    controls = pair.measured.controls(0).astype(np.float64)
    assert pair.predicted is not None
    true, said = (energy_distances(part.cells, controls, n) for part in (pair.measured, pair.predicted))
    exact = float(np.corrcoef(true, said)[0, 1])
    ours, theirs = ACROSS["pearson_edistance"].score(both.cells.facts), both.theirs("pearson_edistance")[0]
    assert ours == pytest.approx(exact, abs=1e-7)
    assert ours == pytest.approx(theirs, abs=1e-5), "cell-eval averages distances in single precision"


def test_q_values_of_every_gene_agree(compared: Callable[[str], Compared]) -> None:
    both = compared("generated")
    theirs = both.golden["tests_of_truth"]
    assert theirs["feature"] == list(both.pair.held.genes)
    expected = np.array([theirs["fdr"][name] for name in both.golden["perturbations"]])
    found = cell_tests(both.pair.measured).q_value[both.order]
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE)


def test_no_metric_of_cell_eval_is_forgotten(compared: Callable[[str], Compared]) -> None:
    ours = {*OF_MEANS, *OF_CELLS, *LISTS, *COUNTS, *OVER_CONDITIONS, *NOT_OURS}
    assert ours == set(compared("generated").golden["metrics"])
    assert {*OF_MEANS.values(), *OF_CELLS, *LISTS} <= set(METRICS)


def test_the_golden_values_are_those_of_the_pinned_version() -> None:
    for path in sorted(GOLDEN.glob("*.json")):
        assert json.loads(path.read_text())["cell_eval"] == "0.8.2", path


def test_overlaps_are_undefined_and_not_zero_where_nothing_responds(
    compared: Callable[[str], Compared],
) -> None:
    both = compared("real")
    silent = both.theirs("de_nsig_counts_real") == 0
    assert silent.any()
    for name in LISTS:
        assert (both.theirs(name)[silent] == 0).all()
        assert np.isnan(both.ours(name)[silent]).all()


def test_controls_of_the_prediction_move_cell_evals_scores_and_not_ours(
    compared: Callable[[str], Compared],
) -> None:
    same, other = compared("generated"), compared("other_controls")
    for name in ("pearson_delta", "discrimination_score_l2", "de_sig_genes_recall", "overlap_at_N"):
        assert np.abs(other.theirs(name) - same.theirs(name)).max() > 0.1
        np.testing.assert_array_equal(
            other.ours(OF_MEANS.get(name, name)), same.ours(OF_MEANS.get(name, name))
        )
    np.testing.assert_array_equal(other.theirs("mse"), same.theirs("mse"))


def discrimination(pair: AnndataPair, distance: str, left_out: list[list[int]]) -> NDArray[np.float64]:
    """Return 1 - rank / N of each own truth, some genes left out, straight from the definition."""
    kind = {"l1": "cityblock", "l2": "euclidean", "cosine": "cosine"}[distance]
    n, scores = pair.held.n_conditions, []
    for row in range(n):
        kept = np.setdiff1d(np.arange(pair.held.n_genes), left_out[row])
        to_truths = cdist(pair.prediction[[row]][:, kept], pair.held.truth[:, kept], kind)[0]
        scores.append(1 - (to_truths < to_truths[row]).sum() / n)
    return np.array(scores)


@pytest.mark.parametrize("distance", ["l1", "l2", "cosine"])
def test_both_targets_of_a_pair_are_left_out_of_discrimination(
    compared: Callable[[str], Compared], distance: str
) -> None:
    both = compared("pairs")
    n = both.pair.held.n_conditions
    own = discrimination(both.pair, distance, both.pair.held.own_gene.tolist())[both.order]
    none = discrimination(both.pair, distance, [[]] * n)[both.order]
    np.testing.assert_allclose(both.ours(f"discrimination_{distance}"), own, atol=TOLERANCE)
    np.testing.assert_allclose(both.theirs(f"discrimination_score_{distance}"), none, atol=TOLERANCE)
    assert own.mean() < none.mean() - 0.05, "only the targets' own fall was foretold"


def test_leaving_own_targets_out_favours_the_own_truth_even_where_nothing_is_predicted(
    compared: Callable[[str], Compared],
) -> None:
    pair = compared("pairs").pair
    nothing = score_conditions(np.zeros_like(pair.prediction), pair.held)
    assert nothing["discrimination_l1"].mean() > 0.6
    assert nothing["centroid_accuracy"].mean() == pytest.approx(0.5, abs=0.01)
