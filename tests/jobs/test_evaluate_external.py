"""A model on another lab's store: shared genes, what can be predicted, scales, what stands beside it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from pertcast.evaluation.external.cross_store import ExternalPart, external_part
from pertcast.evaluation.external.gene_match import match_genes
from pertcast.evaluation.external.reference_means import leave_one_out_means, model_means
from pertcast.evaluation.external.scales import SCALE_BOUND
from pertcast.evaluation.from_store.contenders import forecast
from pertcast.evaluation.metrics.ranks import discrimination_spearman, spearman_delta
from pertcast.models.registry import baselines_for
from pertcast.predictor import Predictor
from pertcast.training.bundle import find_bundle
from pertcast_data.errors import SchemaError
from pertcast_data.loading import pair_controls
from pertcast_data.store import ExpressionStore, create_store
from pertcast_jobs.evaluate import Evaluation, external
from pertcast_jobs.evaluate.external import MODEL_MEAN, STORE_MEAN, evaluate_external
from pertcast_jobs.run_config import load_config
from pertcast_jobs.train import run_training

QUICK = ["model.config.width=16", "model.config.depth=1", "model.config.basal_width=8", "train.epochs=3"]
COLUMNS = [
    *("cell_iname", "pert_type", "pert_id", "cmap_name", "pert_dose", "pert_dose_unit", "pert_time"),
    *("pert_time_unit", "canonical_smiles", "batch_id"),
]
Change = Callable[[pl.DataFrame], pl.DataFrame]


@pytest.fixture(scope="module")
def run(small_screen: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose training store and split can be taken away without harming other tests."""
    folder = tmp_path_factory.mktemp("external")
    shutil.copytree(small_screen.store, folder / "store")
    shutil.copy(small_screen.split, folder / "split.json")
    data = [f"data.store={folder / 'store'}", f"data.split={folder / 'split.json'}"]
    run_training(load_config("response_mlp", [*data, *QUICK]), folder / "run")
    return folder / "run"


def as_it_is(obs: pl.DataFrame) -> pl.DataFrame:
    return obs


def _one_line(obs: pl.DataFrame) -> pl.DataFrame:
    return obs.filter(pl.col("cell_iname") == "SIMLINE01")


def another_lab(
    source: Path,
    path: Path,
    *,
    genes: int = 60,
    response: float | None = None,
    change: Change = as_it_is,
) -> ExpressionStore:
    """Write what another lab might have: fewer genes and ten others, noise, responses on another scale."""
    store = ExpressionStore.open(source)
    rows = np.arange(store.n_rows)
    values = store.reader().dense(rows) + np.random.default_rng(1).normal(0, 0.1, (len(rows), store.n_genes))
    if response is not None:
        pairing = pair_controls(store)
        values = response * (values - pairing.means(store.reader())[pairing.group_of_row])
        rows = np.flatnonzero(~store.is_control)
    obs = change(store.obs[rows].select(COLUMNS).with_columns(row=pl.Series(rows)))
    kept = values[obs["row"].to_numpy()]
    others = np.random.default_rng(0).normal(8.0, 1.0, (len(kept), 10))
    symbols = [*store.genes[:genes], *(f"OTHER{i}" for i in range(10))]
    return create_store(
        path,
        obs=obs.drop("row"),
        var=pl.DataFrame({"gene_symbol": symbols, "gene_id": [f"ID:{i}" for i in range(len(symbols))]}),
        batches=[np.concatenate([kept[:, :genes], others], axis=1).astype(np.float32)],
        measure="expression" if response is None else "response",
        normalisation="log2_intensity" if response is None else "z_score",
    )


@pytest.fixture(scope="module")
def whole(run: Path, small_screen: Any, tmp_path_factory: pytest.TempPathFactory) -> ExpressionStore:
    return another_lab(small_screen.store, tmp_path_factory.mktemp("lab") / "whole", change=_one_line)


@pytest.fixture(scope="module")
def judged(run: Path, whole: ExpressionStore) -> Evaluation:
    return evaluate_external(run, whole.path, n_draws=200)


def test_the_verdict_is_about_ranks_beside_every_baseline_of_the_training_rows(
    judged: Evaluation, run: Path
) -> None:
    trust = judged.trust
    space = Predictor.from_bundle(find_bundle(run)).space
    assert trust.primary == "spearman_delta"
    assert "spearman_delta" in trust.verdict.text
    assert {c.name for c in trust.board.of_role("baseline")} == {entry.name for entry in baselines_for(space)}
    controls = {c.name for c in trust.board.of_role("control")}
    assert controls == {"features_shuffled", "features_zeroed", "labels_permuted"}
    assert STORE_MEAN in trust.board.of_role("ceiling")
    assert (trust.facts.origin, trust.facts.store) == ("external", "whole")
    assert trust.facts.trained_on.startswith("store ")
    assert "mse" in trust.summary["response_mlp"], "the scales agree, so magnitudes may be compared"


def test_the_report_and_its_files_lie_beside_the_bundle(judged: Evaluation, run: Path) -> None:
    assert judged.folder == run / "evaluation" / "external_whole"
    content = json.loads((judged.folder / "trust.json").read_text())
    assert content["verdict"]["text"] == judged.trust.verdict.text
    assert judged.report_path.is_file()
    saved = np.load(judged.folder / "predictions.npz")
    assert saved["model"].shape == saved["truth"].shape == (judged.trust.board.conditions.height, 60)


def test_what_training_held_is_counted_and_told_apart(judged: Evaluation, whole: ExpressionStore) -> None:
    table = judged.trust.board.conditions
    known = int(table["seen_condition"].sum())
    assert 0 < known < table.height == (whole.conditions["pert_type"] == "trt_cp").sum()
    assert any(f"{known} were trained on as such" in note for note in judged.trust.notes)
    names = {stratum.name for stratum in judged.trust.strata}
    assert {"trained on as such", "not trained on", "new perturbation"} <= names


@pytest.fixture(scope="module")
def predictor(run: Path) -> Predictor:
    return Predictor.from_bundle(find_bundle(run))


def part_of(store: ExpressionStore, predictor: Predictor) -> ExternalPart:
    return external_part(store, store.reader(), predictor, model_means(predictor))


def test_genes_are_intersected_and_too_few_are_refused(
    run: Path, predictor: Predictor, small_screen: Any, tmp_path: Path
) -> None:
    part = part_of(another_lab(small_screen.store, tmp_path / "fewer", genes=52), predictor)
    assert part.held.genes == predictor.genes[:52]
    assert part.held.truth.shape[1] == 52
    said = "52 shared and judged, 8 of the model's 60 not measured there, 10 of the store's 62 unknown"
    assert said in part.remarks[0]
    assert "do not hold every gene of the model" in part.remarks[1]
    other = another_lab(small_screen.store, tmp_path / "few", genes=20)
    with pytest.raises(SchemaError, match=r"shares 20 genes with the model, 50 are needed.*SIM.*gene_symbol"):
        evaluate_external(run, other.path, out=tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_responses_of_another_scale_are_compared_without_magnitudes(
    run: Path, small_screen: Any, tmp_path: Path
) -> None:
    store = another_lab(small_screen.store, tmp_path / "relative", response=40.0, change=_one_line)
    trust = evaluate_external(run, store.path, n_draws=100).trust
    scored = trust.board.scores["response_mlp"]
    assert SCALE_BOUND.isdisjoint(scored)
    assert {"spearman_delta", "discrimination_spearman", "centroid_accuracy_ranks"} <= scored.keys()
    assert any("(log2_intensity), the store holds response (z_score)" in note for note in trust.notes)
    assert any("have another scale" in note for note in trust.notes)


def test_the_scale_of_the_other_lab_does_not_change_rank_metrics(
    predictor: Predictor, small_screen: Any, tmp_path: Path
) -> None:
    found = []
    for scale in (0.5, 40.0):
        part = part_of(another_lab(small_screen.store, tmp_path / f"s{scale}", response=scale), predictor)
        predicted = forecast(predictor.model, part.inputs.conditions, part.inputs).mean
        shared = predicted[:, part.genes.of_model]
        found.append((spearman_delta(shared, part.held), discrimination_spearman(shared, part.held)))
    for small, large in zip(*found, strict=True):
        assert small == pytest.approx(large, abs=1e-3)
    assert np.nanmean(found[0][0]) > 0.1


def _unknown_things(obs: pl.DataFrame) -> pl.DataFrame:
    """Rename one line, and rob one compound that training never saw of its structure."""
    compounds = obs.filter(pl.col("pert_type") == "trt_cp")["pert_id"].unique().sort().to_list()
    is_robbed = pl.col("pert_id") == compounds[0]
    return obs.with_columns(
        cell_iname=pl.col("cell_iname").replace("SIMLINE02", "THEIRS"),
        pert_id=pl.when(is_robbed).then(pl.lit("THEIR-DRUG")).otherwise(pl.col("pert_id")),
        cmap_name=pl.when(is_robbed).then(pl.lit("their drug")).otherwise(pl.col("cmap_name")),
        canonical_smiles=pl.when(is_robbed).then(None).otherwise(pl.col("canonical_smiles")),
    )


def test_a_new_cell_line_is_predicted_from_its_own_controls_or_counted_where_it_has_none_to_use(
    predictor: Predictor, small_screen: Any, tmp_path: Path
) -> None:
    own = part_of(another_lab(small_screen.store, tmp_path / "own", change=_unknown_things), predictor)
    lines = own.held.conditions["cell_iname"]
    assert set(lines) == {"SIMLINE01", "THEIRS"}
    assert own.held.conditions["seen_cell"].to_list() == [line == "SIMLINE01" for line in lines]
    assert len(own.left_out) == 4
    assert all(name.startswith("their drug") for name in own.left_out)

    store = another_lab(small_screen.store, tmp_path / "relative", response=1.0, change=_unknown_things)
    relative = part_of(store, predictor)
    assert set(relative.held.conditions["cell_iname"]) == {"SIMLINE01"}
    count = int((store.conditions["cell_iname"] == "THEIRS").sum()) - 2
    assert any(f"{count} conditions are of cell lines" in n and "(THEIRS)" in n for n in relative.remarks)


def test_where_nothing_can_be_predicted_the_reasons_are_counted(
    predictor: Predictor, small_screen: Any, tmp_path: Path
) -> None:
    def elsewhere(obs: pl.DataFrame) -> pl.DataFrame:
        return obs.with_columns(cell_iname=pl.lit("THEIRS"))

    store = another_lab(small_screen.store, tmp_path / "elsewhere", response=1.0, change=elsewhere)
    with pytest.raises(SchemaError, match=r"^0 of the \d+ conditions .* without basal profile.*SIMLINE01"):
        part_of(store, predictor)


def test_without_the_training_store_the_models_own_mean_stands_for_it(
    run: Path, whole: ExpressionStore, tmp_path: Path
) -> None:
    bundle = shutil.copytree(find_bundle(run), tmp_path / "bundle")
    training = run.parent / "store"
    training.rename(run.parent / "elsewhere")
    try:
        trust = evaluate_external(bundle, whole.path, out=tmp_path / "out", n_draws=100).trust
    finally:
        (run.parent / "elsewhere").rename(training)
    assert {c.name for c in trust.board.of_role("baseline")} == {"no_change", MODEL_MEAN.name}
    assert any("The training store is not at hand" in note for note in trust.notes)
    if trust.verdict.outcome == "better":
        assert "stronger rules need the training rows" in trust.verdict.text


@pytest.mark.parametrize("outcome", ["better", "worse"])
def test_a_win_on_what_training_held_is_called_a_fit_in_the_verdict(judged: Evaluation, outcome: Any) -> None:
    trust = replace(judged.trust, verdict=replace(judged.trust.verdict, outcome=outcome))
    n_known = int(trust.board.conditions["seen_condition"].sum())
    said = f"{n_known} of {trust.board.conditions.height} conditions were trained on: a fit, not a forecast"
    assert 2 * n_known > trust.board.conditions.height
    assert (said in external._hedged(trust, external._Training("store", None, "")).verdict.text) == (
        outcome == "better"
    )


def test_plates_of_another_lab_are_strangers_even_under_a_known_name(
    predictor: Predictor, whole: ExpressionStore, small_screen: Any
) -> None:
    assert (part_of(whole, predictor).inputs.conditions.group == -1).all()
    known = part_of(ExpressionStore.open(small_screen.store), predictor)
    assert (known.inputs.conditions.group >= 0).any()
    assert any("the store that the model was trained on" in remark for remark in known.remarks)


def test_the_models_own_mean_is_that_of_its_predictions_by_context(predictor: Predictor) -> None:
    encoder, space = predictor.encoder, predictor.space
    conditions = encoder.training_conditions
    context = conditions.context.numpy()
    table = pl.DataFrame({"cell_iname": [space.contexts[each] for each in context], "pert_time": 24.0})
    predicted = predictor.predict_encoded(conditions, predictor.basal.lookup(table)).mean.numpy()
    found = model_means(predictor)
    assert found[-1, -1] == pytest.approx(predicted.mean(axis=0), abs=1e-5)
    for each in range(len(space.contexts)):
        assert found[each, -1] == pytest.approx(predicted[context == each].mean(axis=0), abs=1e-5)
    assert found[:, 0] == pytest.approx(found[:, -1], abs=1e-5), "there is one type of perturbation"


def test_the_stores_own_mean_leaves_the_perturbation_out(
    predictor: Predictor, whole: ExpressionStore
) -> None:
    held = part_of(whole, predictor).held
    found = leave_one_out_means(held)
    condition = 5
    others = (held.pool == held.pool[condition]) & (held.cluster != held.cluster[condition])
    centroids = [
        held.truth[others & (held.cluster == cluster)].mean(axis=0)
        for cluster in np.unique(held.cluster[others])
    ]
    assert found[condition] == pytest.approx(np.mean(centroids, axis=0), abs=1e-5)
    changed = held.truth.copy()
    changed[held.cluster == held.cluster[condition]] += 100.0
    assert found[condition] == pytest.approx(
        leave_one_out_means(replace(held, truth=changed))[condition], abs=1e-5
    )


def _matched(var: dict[str, list[str]], wanted: list[str], path: Path) -> Any:
    count = len(next(iter(var.values())))
    values: NDArray[Any] = np.ones((2, count), np.float32)
    obs = pl.DataFrame({"cell_iname": "A", "pert_type": ["ctl_vehicle", "trt_cp"], "pert_id": ["DMSO", "x"]})
    store = create_store(
        path, obs=obs, var=pl.DataFrame(var), batches=[values], measure="expression",
        normalisation="log2_intensity",
    )  # fmt: skip
    return match_genes(store, wanted, fewest=2)


def test_genes_are_matched_by_symbol_or_id_whichever_fits_and_never_twice(tmp_path: Path) -> None:
    var = {"gene_symbol": ["TP53", "MYC", "DUP", "DUP"], "gene_id": ["E1", "E2", "E3", "E4"]}
    by_symbol = _matched(var, ["MYC", "DUP", "TP53"], tmp_path / "symbols")
    assert (by_symbol.genes, by_symbol.of_model.tolist(), by_symbol.of_store.tolist()) == (
        ("MYC", "TP53"), [0, 2], [1, 0],
    )  # fmt: skip
    by_id = _matched(var, ["E4", "E9", "E1"], tmp_path / "ids")
    assert (by_id.by, by_id.of_store.tolist(), by_id.is_complete) == ("gene_id", [3, 0], False)
    assert by_id.places(np.array([[0, 1], [2, -1]])).tolist() == [[0, -1], [1, -1]]
