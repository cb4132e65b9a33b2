"""A pair of h5ad files is read as it is meant, in bounded memory, and refused with the remedy elsewhere."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import parity_files as parity
import pytest
from pertcast.evaluation.metrics import metrics_of_level
from pertcast.evaluation.other_tools.baselines import NEED_TRAINING, baseline_predictions, train_on
from pertcast.evaluation.other_tools.labels import ONE_CONTEXT, Columns
from pertcast.evaluation.other_tools.pair import AnndataPair, open_pair
from pertcast.evaluation.scores.score_board import score_conditions
from pertcast_data.errors import ControlsMissing, FormatError, LeakageError, SchemaError, UnitError
from scipy import sparse

GENES = [f"G{i}" for i in range(30)]
Change = Callable[[Any], Any]


def cells(
    seed: int = 0,
    names: tuple[str, ...] = ("G0", "G1", "G2+G3", "G4"),
    lines: tuple[str, ...] = ("A375",),
    n_cells: int = 12,
    n_controls: int = 20,
) -> Any:
    """Return an AnnData of log1p values; the effect of a perturbation is the same in every seed."""
    generator = np.random.default_rng(seed)
    base = np.random.default_rng(99).gamma(2.0, 2.0, len(GENES))
    rows, labels, contexts = [], [], []
    for number, line in enumerate(lines):
        for name in ("non-targeting", *names):
            size = n_controls if name == "non-targeting" else n_cells
            effect = np.random.default_rng(sum(name.encode())).normal(0, 0.5, len(GENES))
            rates = base * np.exp(effect * (name != "non-targeting") + 0.2 * number)
            rows.append(generator.poisson(rates, (size, len(GENES))))
            labels += [name] * size
            contexts += [line] * size
    obs = pd.DataFrame({"target_gene": pd.Categorical(labels), "line": contexts})
    obs.index = [f"cell{i}" for i in range(len(obs))]
    return ad.AnnData(np.log1p(np.vstack(rows)).astype(np.float32), obs, pd.DataFrame(index=GENES))


@pytest.fixture()
def pair(tmp_path: Path) -> Callable[..., AnndataPair]:
    """Write a prediction and a truth, each changed, and open them."""

    def opened(
        change_prediction: Change = lambda table: table,
        change_truth: Change = lambda table: table,
        columns: Columns | None = None,
        **shape: Any,
    ) -> AnndataPair:
        prediction, truth = tmp_path / "prediction.h5ad", tmp_path / "truth.h5ad"
        change_prediction(cells(1, **shape)).write_h5ad(prediction)
        change_truth(cells(0, **shape)).write_h5ad(truth)
        return open_pair(prediction, truth, columns)

    return opened


def test_means_cells_and_controls_are_those_of_the_files(pair: Callable[..., AnndataPair]) -> None:
    order = np.random.default_rng(3).permutation(len(cells()))
    found = pair(change_truth=lambda table: table[order].copy())
    truth, prediction = cells(0), cells(1)
    controls = truth[truth.obs["target_gene"] == "non-targeting"].X
    for row, name in enumerate(found.held.conditions["pert_id"]):
        own = truth[truth.obs["target_gene"] == name].X
        said = prediction[prediction.obs["target_gene"] == name].X
        np.testing.assert_allclose(found.held.truth[row], own.mean(0) - controls.mean(0), atol=1e-6)
        np.testing.assert_allclose(found.prediction[row], said.mean(0) - controls.mean(0), atol=1e-6)
        assert np.array_equal(np.sort(found.measured.cells(row), 0), np.sort(own, 0))
        assert found.predicted is not None
        assert np.array_equal(found.predicted.cells(row), said)
    assert np.array_equal(np.sort(found.measured.controls(0), 0), np.sort(controls, 0))


@pytest.mark.parametrize("layout", [sparse.csr_matrix, sparse.csc_matrix, np.asarray])
def test_every_layout_of_x_gives_the_same(pair: Callable[..., AnndataPair], layout: Any) -> None:
    def laid_out(table: Any) -> Any:
        return ad.AnnData(layout(table.X), table.obs, table.var)

    expected, found = pair(), pair(laid_out, laid_out)
    np.testing.assert_array_equal(found.prediction, expected.prediction)
    np.testing.assert_array_equal(found.held.truth, expected.held.truth)
    np.testing.assert_array_equal(found.measured.cells(2), expected.measured.cells(2))


def test_controls_of_the_submission_change_nothing(pair: Callable[..., AnndataPair]) -> None:
    def forged(table: Any) -> Any:
        table.X[(table.obs["target_gene"] == "non-targeting").to_numpy()] = 7.0
        return table

    def dropped(table: Any) -> Any:
        return table[table.obs["target_gene"] != "non-targeting"].copy()

    expected = pair()
    for change in (forged, dropped):
        found = pair(change)
        np.testing.assert_array_equal(found.prediction, expected.prediction)
        np.testing.assert_array_equal(found.held.control, expected.held.control)
        np.testing.assert_array_equal(found.measured.controls(0), expected.measured.controls(0))
    assert any("20 controls of the prediction are ignored" in remark for remark in expected.remarks)


def test_genes_in_another_order_are_aligned_by_name(pair: Callable[..., AnndataPair]) -> None:
    expected = pair()
    found = pair(lambda table: table[:, ::-1].copy())
    np.testing.assert_array_equal(found.prediction, expected.prediction)
    assert found.remarks[0] == "The prediction has its genes in another order: aligned by name."


def test_genes_that_only_one_file_has_are_left_out_and_counted(pair: Callable[..., AnndataPair]) -> None:
    expected = pair()
    found = pair(lambda table: table[:, :-5].copy(), lambda table: table[:, 3:].copy())
    assert found.held.genes == tuple(GENES[3:-5])
    np.testing.assert_allclose(found.prediction, expected.prediction[:, 3:-5], atol=1e-6)
    assert "22 are scored: 5 of the truth are not predicted" in found.remarks[0]
    assert "3 of the prediction are not in the truth" in found.remarks[0]


def test_own_genes_of_pairs_are_both_members(pair: Callable[..., AnndataPair]) -> None:
    found = pair()
    names = found.held.conditions["pert_id"].to_list()
    assert found.held.own_gene[names.index("G2+G3")].tolist() == [2, 3]
    assert found.held.own_gene[names.index("G4")].tolist() == [4, -1]


def test_pairs_are_one_condition_in_any_order_and_with_a_control_as_member(
    pair: Callable[..., AnndataPair],
) -> None:
    def renamed(table: Any) -> Any:
        spelling = {"G2+G3": "G3+G2", "G0": "G0+ctrl", "G1": "ctrl+G1", "non-targeting": "ctrl"}
        table.obs["target_gene"] = table.obs["target_gene"].astype(str).replace(spelling)
        return table

    def control_renamed(table: Any) -> Any:
        table.obs["target_gene"] = table.obs["target_gene"].astype(str).replace("non-targeting", "ctrl")
        return table

    found = pair(renamed, control_renamed, Columns(control="ctrl"))
    np.testing.assert_array_equal(found.prediction, pair().prediction)


def test_contexts_have_controls_and_pools_of_their_own(pair: Callable[..., AnndataPair]) -> None:
    found = pair(columns=Columns(context="line"), lines=("A375", "HT29"))
    truth = cells(0, lines=("A375", "HT29"))
    is_control = (truth.obs["target_gene"] == "non-targeting").to_numpy()
    for row in range(found.held.n_conditions):
        line = found.held.conditions["cell_iname"][row]
        own = truth[is_control & (truth.obs["line"] == line).to_numpy()].X
        np.testing.assert_allclose(found.held.control[row], own.mean(0), atol=1e-6)
    assert found.held.pool.tolist() == [0] * 4 + [1] * 4
    assert found.held.n_clusters == 4


def test_contexts_together_score_as_each_alone(pair: Callable[..., AnndataPair]) -> None:
    lines = ("A375", "HT29")
    together = pair(columns=Columns(context="line"), lines=lines)
    scores = score_conditions(together.prediction, together.held)
    for number, line in enumerate(lines):

        def only(table: Any, line: str = line) -> Any:
            return table[(table.obs["line"] == line).to_numpy()].copy()

        alone = pair(only, only, lines=lines)
        for name, values in score_conditions(alone.prediction, alone.held).items():
            np.testing.assert_allclose(scores[name][together.held.pool == number], values, atol=1e-6)


def test_own_columns_are_found_by_themselves(pair: Callable[..., AnndataPair]) -> None:
    def ours(table: Any) -> Any:
        is_control = table.obs["target_gene"] == "non-targeting"
        table.obs["pert_id"] = np.where(is_control, "DMSO", table.obs["target_gene"].astype(str))
        table.obs["pert_type"] = np.where(is_control, "ctl_vehicle", "trt_cp")
        table.obs["cell_iname"], table.obs["pert_dose"] = "A375", np.where(is_control, np.nan, 10.0)
        del table.obs["target_gene"]
        return table

    found = pair(ours, ours)
    assert found.held.conditions["condition_id"][0] == "A375|trt_cp|G0|10|"
    np.testing.assert_array_equal(found.held.truth, pair().held.truth)
    assert pair().held.conditions["cell_iname"][0] == ONE_CONTEXT


def test_counts_are_scaled_to_the_truths_median_and_that_is_said(pair: Callable[..., AnndataPair]) -> None:
    def counted(table: Any) -> Any:
        table.X = np.round(np.expm1(table.X))
        return table

    found = pair(counted, counted)
    raw = np.round(np.expm1(cells(0).X.astype(np.float64)))
    median = np.median(raw.sum(1))
    scaled = np.log1p(raw / raw.sum(1, keepdims=True) * median)
    is_own = (cells(0).obs["target_gene"] == "G0").to_numpy()
    np.testing.assert_allclose(found.measured.cells(0), scaled[is_own], rtol=1e-6)
    assert sum(f"scaled to {median:,.6g} a cell, the truth's median" in said for said in found.remarks) == 2


def test_counts_that_rounding_left_just_below_a_whole_number_are_counts(
    pair: Callable[..., AnndataPair],
) -> None:
    def counted(table: Any) -> Any:
        raw = np.round(np.expm1(table.X))
        table.X = np.where(raw > 0, raw - 2e-4, 0).astype(np.float32)
        return table

    said = " ".join(pair(counted, counted).remarks)
    assert "The truth holds counts" in said and "The prediction holds counts" in said


def test_another_scale_of_the_prediction_is_said(pair: Callable[..., AnndataPair]) -> None:
    def deeper(table: Any) -> Any:
        table.X = np.log1p(5 * np.expm1(table.X))
        return table

    said = " ".join(pair(deeper).remarks)
    assert 4 < float(said.split("Predicted profiles sum to ")[1].split()[0]) < 6


def test_one_profile_a_condition_is_accepted_without_cells(pair: Callable[..., AnndataPair]) -> None:
    def averaged(table: Any) -> Any:
        labels = table.obs["target_gene"].astype(str)
        names = sorted(set(labels) - {"non-targeting"})
        means = np.stack([table[(labels == name).to_numpy()].X.mean(0) for name in names])
        return ad.AnnData(means, pd.DataFrame({"target_gene": names}, index=names), table.var)

    found = pair(averaged)
    assert found.predicted is None
    np.testing.assert_allclose(found.prediction, pair().prediction, atol=1e-6)
    assert found.remarks[-1].startswith("The prediction has one profile a condition")


def without(name: str) -> Change:
    return lambda table: table[table.obs["target_gene"] != name].copy()


def with_value(value: float) -> Change:
    def changed(table: Any) -> Any:
        table.X[7, 5] = value
        return table

    return changed


def with_gap(table: Any) -> Any:
    table.obs["target_gene"] = table.obs["target_gene"].astype(str).where(np.arange(len(table)) != 4)
    return table


def with_twins(table: Any) -> Any:
    table.var_names = ["G1", *GENES[1:]]
    return table


def as_differences(table: Any) -> Any:
    table.X -= table.X.mean(0)
    return table


def other_genes(table: Any) -> Any:
    table.var_names = [f"ENSG{i:05d}" for i in range(len(GENES))]
    return table


def keep(table: Any) -> Any:
    return table


@pytest.mark.parametrize(
    ("said", "true", "columns", "error", "message"),
    [
        (
            keep,
            keep,
            Columns("target_gen"),
            SchemaError,
            "no column 'target_gen' .*Nearest there: target_gene",
        ),
        (
            keep,
            keep,
            Columns(context="lines"),
            SchemaError,
            r"'lines' \(--context-col\). Nearest there: line",
        ),
        (keep, keep, Columns(dose="line"), SchemaError, "'A375' in row 0, which is no number"),
        (without("G1"), keep, None, SchemaError, "1 of the 4 conditions .* not predicted: .*G1"),
        (
            keep,
            without("non-targeting"),
            None,
            ControlsMissing,
            "no cell has the control label 'non-targeting'",
        ),
        (keep, keep, Columns(control="ctrl"), ControlsMissing, "labels there: 'G0', 'G1'"),
        (with_value(np.nan), keep, None, SchemaError, "X is nan in row 7 .'cell7'., gene 'G5'"),
        (keep, with_value(np.inf), None, SchemaError, "X is inf in row 7"),
        (keep, with_value(-1.0), None, UnitError, "reaches down to -1"),
        (with_value(300.5), keep, None, UnitError, "X reaches 300.5, too much for log1p"),
        (as_differences, keep, None, UnitError, "look like differences from control"),
        (other_genes, keep, None, SchemaError, "0 of the 30 genes .*'ENSG00000'.*the truth's 'G0'"),
        (with_twins, keep, None, SchemaError, "gene 'G1' stands 2 times"),
        (with_gap, keep, None, SchemaError, "empty in 1 of 68 rows, first in row 4 .'cell4'."),
    ],
)
def test_what_cannot_be_judged_is_refused_with_the_remedy(
    pair: Callable[..., AnndataPair],
    said: Change,
    true: Change,
    columns: Columns | None,
    error: type[Exception],
    message: str,
) -> None:
    with pytest.raises(error, match=message):
        pair(said, true, columns)


def test_a_context_without_controls_is_named(pair: Callable[..., AnndataPair]) -> None:
    def lost(table: Any) -> Any:
        gone = (table.obs["target_gene"] == "non-targeting") & (table.obs["line"] == "HT29")
        return table[~gone].copy()

    with pytest.raises(ControlsMissing, match="in context 'HT29'"):
        pair(change_truth=lost, columns=Columns(context="line"), lines=("A375", "HT29"))


def test_a_file_that_is_no_h5ad_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "prediction.h5ad"
    path.write_text("gene,value\n")
    with pytest.raises(FormatError, match="cannot be opened"):
        open_pair(path, path)


def test_predicted_conditions_that_were_not_measured_are_ignored_and_said(
    pair: Callable[..., AnndataPair],
) -> None:
    found = pair(change_truth=without("G1"))
    assert found.held.n_conditions == 3
    assert any("Ignored: 1 predicted conditions" in remark for remark in found.remarks)


def test_without_training_cells_what_needs_their_mean_is_undefined_and_the_rest_is_not(
    pair: Callable[..., AnndataPair],
) -> None:
    found = pair()
    undefined = {
        name for name, v in score_conditions(found.prediction, found.held).items() if np.isnan(v).all()
    }
    assert undefined == set(NEED_TRAINING)
    assert len(metrics_of_level("condition")) > 10


def test_rules_are_solved_from_the_training_cells(pair: Callable[..., AnndataPair], tmp_path: Path) -> None:
    held = pair()
    training = tmp_path / "train.h5ad"
    table = cells(5, names=("G2", "G3", "G7"))
    table.write_h5ad(training)
    found = {c.name: v for c, v in baseline_predictions(held, train_on(training, held)).items()}

    def response(name: str) -> Any:
        labels = table.obs["target_gene"].to_numpy()
        return table.X[labels == name].mean(0) - table.X[labels == "non-targeting"].mean(0)

    each = [response(name) for name in ("G2", "G3", "G7")]
    pair_row = held.held.conditions["pert_id"].to_list().index("G2+G3")
    assert set(found) == {"no_change", "train_mean", "additive"}
    np.testing.assert_allclose(found["train_mean"], np.tile(np.mean(each, 0), (4, 1)), atol=1e-5)
    np.testing.assert_allclose(found["additive"][pair_row], each[0] + each[1], atol=1e-5)
    np.testing.assert_allclose(found["additive"][0], np.mean(each, 0), atol=1e-5)
    assert not found["no_change"].any()


def test_other_contexts_of_the_same_perturbation_are_a_rule(
    pair: Callable[..., AnndataPair], tmp_path: Path
) -> None:
    held = pair(columns=Columns(context="line"))
    training = tmp_path / "train.h5ad"
    table = cells(5, names=("G0", "G9"), lines=("HT29",))
    table.write_h5ad(training)
    found = {c.name: v for c, v in baseline_predictions(held, train_on(training, held)).items()}
    labels = table.obs["target_gene"].to_numpy()
    own = table.X[labels == "G0"].mean(0) - table.X[labels == "non-targeting"].mean(0)
    np.testing.assert_allclose(found["transferred_mean"][0], own, atol=1e-5)
    np.testing.assert_allclose(found["transferred_mean"][1], found["train_mean"][1], atol=1e-6)


def test_training_cells_that_hold_the_truth_are_a_leak(
    pair: Callable[..., AnndataPair], tmp_path: Path
) -> None:
    held = pair()
    path = tmp_path / "train.h5ad"
    cells(5, names=("G0", "G9")).write_h5ad(path)
    with pytest.raises(LeakageError, match="1 of the 4 conditions of the truth"):
        train_on(path, held)


def test_memory_stays_bounded_by_a_condition(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    n_cells, n_genes = 6_000, 2_000
    values = sparse.random(n_cells, n_genes, 0.25, "csr", np.float32, generator)
    names = ["non-targeting" if i % 20 == 0 else f"P{i % 20}" for i in range(n_cells)]
    for name in ("prediction", "truth"):
        parity.write(tmp_path / f"{name}.h5ad", values, names, [f"G{i}" for i in range(n_genes)])
    del values
    tracemalloc.start()
    found = open_pair(tmp_path / "prediction.h5ad", tmp_path / "truth.h5ad")
    for row in range(found.held.n_conditions):
        found.measured.cells(row)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    dense_bytes = 2 * n_cells * n_genes * 4
    assert peak < dense_bytes, f"{peak / 1e6:.0f} MB, both files dense are {dense_bytes / 1e6:.0f} MB"
