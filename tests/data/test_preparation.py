"""Preparations: what is fitted, on which rows, and what a prepared store is."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from pertcast_data.errors import ConfigError, FormatError, LeakageError, SchemaError, UnknownGene
from pertcast_data.preparation import (
    GeneSubset,
    LogNormalise,
    Preparation,
    RobustZ,
    VariableGenes,
    applying,
    fit_preparation,
    load_preparation,
    preparation_config,
    preparation_path,
    prepare_store,
    read_gene_list,
    save_preparation,
)
from pertcast_data.preprocessing import PreprocessingStep
from pertcast_data.splits import Split, audit_folds, make_split
from pertcast_data.store import ExpressionStore, create_store, validate_store
from scipy import sparse

N_GENES = 60
LINES = ("A375", "HT29")
EVERYTHING = preparation_config(
    [
        LogNormalise(target_sum="median", exclude_highly_expressed=True, max_fraction=0.2),
        VariableGenes(n_top=20),
        RobustZ(),
    ]
)


def make_obs() -> pl.DataFrame:
    rows: list[dict[str, Any]] = []
    for line in LINES:
        for plate in (1, 2):
            common = {"cell_iname": line, "batch_id": f"{line}-{plate}", "pert_time": 24.0}
            rows += [{**common, "pert_type": "ctl_vehicle", "pert_id": "DMSO"} for _ in range(7)]
            rows += [
                {**common, "pert_type": "trt_cp", "pert_id": f"drug-{n}", "pert_dose": 10.0}
                for n in range(12)
                for _ in range(2)
            ]
    return pl.DataFrame(rows, infer_schema_length=None).with_row_index("row").with_columns(
        sig_id=pl.format("well{}", "row")
    )  # fmt: skip


def make_counts(obs: pl.DataFrame) -> np.ndarray[Any, np.dtype[np.float32]]:
    random = np.random.default_rng(3)
    means = np.exp(random.normal(0.5, 1.3, N_GENES))
    shape = random.gamma(2.0, 0.5, (obs.height, N_GENES))
    counts = random.poisson(means * shape).astype(np.float32)
    counts[:, 0] = 0
    counts[:, 1] = 4
    counts[5, 2] = counts[5].sum() * 3
    return counts


def make_store(path: Path, counts: Any, obs: pl.DataFrame | None = None, **options: Any) -> ExpressionStore:
    facts = {"measure": "expression", "normalisation": "counts"} | options
    names = [f"GENE{n}" for n in range(N_GENES)]
    var = pl.DataFrame({"gene_symbol": names, "gene_id": [f"ENSG{n:011d}" for n in range(N_GENES)]})
    var = var.with_columns(pr_is_lm=pl.int_range(N_GENES) % 3 == 0, highly_variable=pl.lit(True))
    return create_store(path, obs=make_obs() if obs is None else obs, var=var, batches=[counts], **facts)


@dataclass(frozen=True)
class Screen:
    """A small screen of counts and its split by compounds."""

    store: ExpressionStore
    split: Split
    counts: np.ndarray[Any, np.dtype[np.float32]]

    @property
    def stored(self) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Counts in the store's order."""
        return self.counts[self.store.obs["row"].to_numpy()]

    @property
    def training(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        controls = np.flatnonzero(self.store.is_control)
        return np.union1d(self.split.rows(self.store, 0, "train"), controls)


@pytest.fixture(scope="module", params=["csr", "dense"])
def screen(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Screen:
    counts = make_counts(make_obs())
    matrix = sparse.csr_matrix(counts) if request.param == "csr" else counts
    store = make_store(tmp_path_factory.mktemp("screen") / "store", matrix)
    return Screen(store, make_split(store, "unseen_compound"), counts)


def fit(screen: Screen, *steps: Any) -> Preparation:
    return fit_preparation(screen.store, screen.split, 0, preparation_config(steps))


def prepared_values(made: ExpressionStore, store: ExpressionStore) -> np.ndarray[Any, Any]:
    """Return a prepared store's values in the order of its source."""
    place = {name: row for row, name in enumerate(made.obs["sig_id"].to_list())}
    rows = np.array([place[name] for name in store.obs["sig_id"]], dtype=np.int64)
    return made.reader().dense(rows)


@pytest.mark.parametrize("part", ["test", "validation"])
def test_changing_every_held_out_value_leaves_the_fitted_preparation_equal_to_the_bit(
    screen: Screen, tmp_path: Path, part: Any
) -> None:
    before = fit_preparation(screen.store, screen.split, 0, EVERYTHING)
    held_out = screen.store.obs["row"].to_numpy()[screen.split.rows(screen.store, 0, part)]
    changed = screen.counts.copy()
    changed[held_out] = 3 * changed[held_out][:, ::-1] + 1000 * np.arange(N_GENES) + 1
    matrix = sparse.csr_matrix(changed) if screen.store.info.layout == "csr" else changed
    store = make_store(tmp_path / "changed", matrix)
    split = screen.split.model_copy(update={"data_hash": store.data_hash})
    after = fit_preparation(store, split, 0, EVERYTHING)
    assert store.data_hash != screen.store.data_hash and len(held_out)
    assert after.fitted_hash == before.fitted_hash and after.rows_hash == before.rows_hash
    assert before.arrays().keys() == after.arrays().keys()
    assert all(array.tobytes() == after.arrays()[name].tobytes() for name, array in before.arrays().items())


def test_changing_one_training_value_changes_the_fitted_preparation(screen: Screen, tmp_path: Path) -> None:
    before = fit_preparation(screen.store, screen.split, 0, EVERYTHING)
    changed = screen.counts.copy()
    changed[screen.store.obs["row"].to_numpy()[screen.split.rows(screen.store, 0, "train")]] += 1
    store = make_store(tmp_path / "changed", changed)
    split = screen.split.model_copy(update={"data_hash": store.data_hash})
    assert fit_preparation(store, split, 0, EVERYTHING).fitted_hash != before.fitted_hash


def test_log_normalise_to_ten_thousand_equals_the_stores_own_normalisation(
    screen: Screen, tmp_path: Path
) -> None:
    made = prepare_store(screen.store, fit(screen, LogNormalise()), tmp_path / "out", screen.split).store
    own = screen.store.reader().dense(np.arange(screen.store.n_rows))
    assert np.array_equal(prepared_values(made, screen.store), own)
    assert (made.measure, made.normalisation) == ("expression", "log1p_cpm")
    assert made.info.layout == screen.store.info.layout


def test_median_target_leaves_dominating_genes_out_as_computed_directly(screen: Screen) -> None:
    step = LogNormalise(target_sum="median", exclude_highly_expressed=True, max_fraction=0.2)
    (fitted,) = fit(screen, step).fitted
    training = screen.stored[screen.training].astype(np.float64)
    counted = ~(training > 0.2 * training.sum(axis=1, keepdims=True)).any(axis=0)
    sizes = training[:, counted].sum(axis=1)
    assert not counted[2] and counted.sum() > N_GENES / 2
    assert np.array_equal(fitted.counted, counted)
    assert fitted.target_sum == np.median(sizes[sizes > 0])
    values = fitted.transform(screen.stored)
    expected = np.log1p(
        screen.stored / screen.stored[:, counted].sum(axis=1, keepdims=True) * fitted.target_sum
    )
    np.testing.assert_allclose(values, expected, rtol=2e-6)


def test_an_empty_profile_stays_empty() -> None:
    counts = np.zeros((2, 3), np.float32)
    counts[1] = [1, 2, 3]
    from pertcast_data.preparation.fitted import FittedLogNormalise

    step = FittedLogNormalise(100.0, np.ones(3, bool))
    for values in (step.transform(counts), step.transform(sparse.csr_matrix(counts)).toarray()):
        np.testing.assert_allclose(values, np.log1p(counts / np.array([[1], [6]]) * 100), rtol=2e-6)


def test_a_gene_list_and_a_column_keep_those_genes_in_the_stores_order(
    screen: Screen, tmp_path: Path
) -> None:
    path = tmp_path / "landmarks.txt"
    path.write_text("# landmarks\nENSG00000000009\n\nGENE4\nGENE4\n", encoding="utf-8")
    assert fit(screen, GeneSubset(genes=read_gene_list(path))).genes == ("GENE4", "GENE9")
    by_column = fit(screen, GeneSubset(column="pr_is_lm"))
    assert by_column.genes == tuple(f"GENE{n}" for n in range(0, N_GENES, 3))


def test_genes_that_are_missing_are_named_unless_they_are_left_out_knowingly(screen: Screen) -> None:
    with pytest.raises(UnknownGene, match=r"GEN4.*1 of 2 are not in.*Nearest known: GENE4"):
        fit(screen, GeneSubset(genes=("GENE1", "GEN4")))
    assert fit(screen, GeneSubset(genes=("GENE1", "GEN4"), missing="omit")).genes == ("GENE1",)
    with pytest.raises(SchemaError, match="no column 'landmark'"):
        fit(screen, GeneSubset(column="landmark"))


def test_a_selection_that_was_made_before_on_unknown_rows_is_a_leak(screen: Screen) -> None:
    with pytest.raises(LeakageError, match=r"highly_variable.*--hvg"):
        fit(screen, GeneSubset(column="highly_variable"))


@pytest.mark.parametrize("text", ["", "# only\n", "GENE1\tGENE2\n"])
def test_a_broken_gene_list_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "genes.txt"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(FormatError, match="one gene a line"):
        read_gene_list(path)


@pytest.mark.parametrize(
    ("steps", "told"),
    [
        ([], "steps"),
        ([RobustZ(), VariableGenes(n_top=3)], "last step"),
        ([VariableGenes(n_top=3), VariableGenes(n_top=3)], "twice"),
        ([{"step": "variable_genes", "n_top": 0}], "n_top"),
        ([{"step": "pca"}], "pca"),
        ([{"step": "log_normalise", "target_sum": "mean"}], "median"),
        ([{"step": "gene_subset"}], "either"),
    ],
)
def test_a_configuration_that_makes_no_sense_is_refused(steps: list[Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        preparation_config(steps)


def test_steps_that_do_not_fit_the_values_are_refused_with_the_way_out(
    screen: Screen, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="put log_normalise"):
        fit(screen, RobustZ())
    with pytest.raises(ConfigError, match="put log_normalise"):
        fit(screen, VariableGenes(n_top=3, flavour="dispersion"))
    with pytest.raises(ConfigError, match="61 variable genes are asked of 60"):
        fit(screen, VariableGenes(n_top=61))
    levels = make_store(tmp_path / "levels", screen.counts + 0.5, normalisation="log2_intensity")
    split = screen.split.model_copy(update={"data_hash": levels.data_hash})
    for step in (LogNormalise(), VariableGenes(n_top=3)):
        with pytest.raises(ConfigError, match="needs counts"):
            fit_preparation(levels, split, 0, preparation_config([step]))
    scores = make_store(tmp_path / "scores", screen.counts - 1, measure="response", normalisation="z_score")
    split = screen.split.model_copy(update={"data_hash": scores.data_hash})
    with pytest.raises(ConfigError, match="relative already"):
        fit_preparation(scores, split, 0, preparation_config([RobustZ()]))


def test_a_missing_value_in_a_training_row_is_refused_where_genes_are_ranked(tmp_path: Path) -> None:
    values = make_counts(make_obs()) / 8
    values[:, 7] = np.nan
    store = make_store(tmp_path / "store", values, normalisation="log1p_cpm")
    split = make_split(store, "unseen_compound")
    config = preparation_config([VariableGenes(n_top=5, flavour="dispersion")])
    with pytest.raises(SchemaError, match="1 genes have missing values"):
        fit_preparation(store, split, 0, config)


def test_a_prepared_store_keeps_rows_conditions_and_folds(screen: Screen, tmp_path: Path) -> None:
    preparation = fit_preparation(screen.store, screen.split, 0, EVERYTHING)
    prepared = prepare_store(screen.store, preparation, tmp_path / "out", screen.split)
    made = prepared.store
    assert validate_store(made.path) == []
    assert made.genes == preparation.genes and len(made.genes) == 20
    assert made.conditions["condition_id"].to_list() == screen.store.conditions["condition_id"].to_list()
    order = ["sig_id"]
    assert made.obs.sort(order).equals(screen.store.obs.sort(order))
    saved = Split.load(prepared.split_path)
    assert saved == prepared.split and saved.data_hash == made.data_hash
    for number in range(len(saved.folds)):
        for part in ("train", "validation", "test"):
            own = made.obs["sig_id"].gather(saved.rows(made, number, part))
            source = screen.store.obs["sig_id"].gather(screen.split.rows(screen.store, number, part))
            assert set(own) == set(source)


def test_the_auditor_accepts_the_fold_it_was_fitted_for_and_refuses_every_other(
    screen: Screen, tmp_path: Path
) -> None:
    preparation = fit_preparation(screen.store, screen.split, 0, EVERYTHING)
    prepared = prepare_store(screen.store, preparation, tmp_path / "out", screen.split)
    made = ExpressionStore.open(tmp_path / "out")
    reports = audit_folds(prepared.split, made)
    assert not reports[0].errors and not reports[0].warnings
    assert all(report.errors for report in reports[1:])
    with pytest.raises(LeakageError, match=r"variable_genes.* was fitted on the training profiles of fold 0"):
        make_split(made, "unseen_compound", seed=5)
    assert [step.fitted_on for step in made.preprocessing] == ["train", "train", "controls"]


def test_robust_z_against_shared_controls_alone_binds_to_no_split(screen: Screen, tmp_path: Path) -> None:
    preparation = fit(screen, LogNormalise(), RobustZ())
    made = prepare_store(screen.store, preparation, tmp_path / "out", screen.split).store
    assert [step.fitted_on for step in made.preprocessing] == ["nothing", "controls"]
    assert make_split(made, "unseen_compound", seed=5).data_hash == made.data_hash


def test_what_was_declared_before_is_carried_over(tmp_path: Path) -> None:
    plain = make_store(tmp_path / "plain", make_counts(make_obs()))
    split = make_split(plain, "unseen_compound")
    earlier = (
        PreprocessingStep(step="scale", fitted_on="train", split=split.hash, fold=0),
        PreprocessingStep(step="doublets removed", fitted_on="nothing"),
    )
    store = make_store(tmp_path / "store", make_counts(make_obs()), preprocessing=earlier)
    assert store.data_hash == plain.data_hash
    preparation = fit_preparation(store, split, 0, preparation_config([LogNormalise()]))
    prepared = prepare_store(store, preparation, tmp_path / "out", split)
    names = [step.step for step in prepared.store.preprocessing]
    assert names == ["scale", "doublets removed", "log_normalise"]
    assert prepared.store.preprocessing[0].split == prepared.split.hash
    assert not prepared.split.audit(prepared.store, 0).errors


def test_names_of_genes_that_are_left_out_are_still_understood(tmp_path: Path) -> None:
    names = ["KRAS", "KRAS2", "TP53", "GENE1", "GENE2", "GENE3", "ENSG00000000004", "GENE4"]
    common = {"cell_iname": "A375", "pert_time": 96.0, "batch_id": "P1"}
    rows = [{**common, "pert_type": "ctl_vector", "pert_id": "NTC"}] * 4
    rows += [{**common, "pert_type": "trt_xpr", "pert_id": name} for name in names for _ in range(2)]
    symbols = ["KRAS", *(f"GENE{n}" for n in range(1, N_GENES))]
    var = pl.DataFrame({"gene_symbol": symbols, "gene_id": [f"ENSG{n:011d}" for n in range(N_GENES)]})
    var = var.with_columns(prev_symbol=pl.Series(["KRAS2", *[None] * (N_GENES - 1)]))
    values = np.random.default_rng(0).normal(8, 1, (len(rows), N_GENES)).astype(np.float32)
    facts: dict[str, Any] = {"measure": "expression", "normalisation": "log2_intensity"}
    store = create_store(tmp_path / "store", obs=pl.DataFrame(rows), var=var, batches=[values], **facts)
    split = make_split(store, "unseen_perturbation", n_folds=3, test_groups=2)
    config = preparation_config([GeneSubset(genes=tuple(f"GENE{n}" for n in range(20, 30)))])
    for fold in range(3):
        preparation = fit_preparation(store, split, fold, config)
        prepared = prepare_store(store, preparation, tmp_path / f"out{fold}", split)
        assert not any(report.errors for report in audit_folds(prepared.split, prepared.store))
        assert {("KRAS2", "KRAS"), ("ENSG00000000004", "GENE4")} <= {*prepared.split.aliases}
    moved = prepared.split.folds[0]
    parts = {name: [*getattr(moved, name)] for name in ("train", "validation", "test")}
    for each in parts.values():
        each[:] = [name for name in each if "|KRAS" not in name]
    parts["test"].append("A375|trt_xpr|KRAS||96")
    parts["train"].append("A375|trt_xpr|KRAS2||96")
    leaking = moved.model_copy(update={name: tuple(each) for name, each in parts.items()})
    wrong = prepared.split.model_copy(update={"folds": (leaking,)})
    assert any("KRAS2" in error.message for error in wrong.audit(prepared.store, 0).errors)


def test_a_preparation_comes_back_from_its_files(screen: Screen, tmp_path: Path) -> None:
    preparation = fit_preparation(screen.store, screen.split, 0, EVERYTHING)
    path = save_preparation(tmp_path / "split.json", preparation)
    assert path == preparation_path(tmp_path / "split.json", 0) == tmp_path / "split.fold0.preparation.json"
    again = load_preparation(path, screen.store, screen.split)
    assert again.hash == preparation.hash and again.config == preparation.config
    assert save_preparation(tmp_path / "split.json", preparation) == path
    values = prepare_store(screen.store, again, tmp_path / "one", screen.split).store
    other = prepare_store(screen.store, preparation, tmp_path / "two", screen.split).store
    assert values.data_hash == other.data_hash
    with pytest.raises(ConfigError, match="another preparation"):
        save_preparation(tmp_path / "split.json", fit(screen, LogNormalise()))


def test_a_preparation_is_refused_with_another_store_or_split(screen: Screen, tmp_path: Path) -> None:
    path = save_preparation(tmp_path / "split.json", fit(screen, LogNormalise()))
    other = make_store(tmp_path / "other", screen.counts + 1)
    with pytest.raises(LeakageError, match="fitted for store"):
        load_preparation(path, other, make_split(other, "unseen_compound"))
    another = make_split(screen.store, "unseen_compound", seed=4)
    with pytest.raises(LeakageError, match="fitted for split"):
        load_preparation(path, screen.store, another)
    with pytest.raises(LeakageError, match="fitted for split"):
        prepare_store(screen.store, load_preparation(path), tmp_path / "out", another)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("damage", ["json", "number", "arrays", "missing"])
def test_a_preparation_that_was_changed_or_damaged_is_refused(
    screen: Screen, tmp_path: Path, damage: str
) -> None:
    path = save_preparation(tmp_path / "split.json", fit(screen, LogNormalise(), VariableGenes(n_top=9)))
    arrays = path.with_suffix(".safetensors")
    if damage == "json":
        path.write_text(path.read_text()[:-40])
    elif damage == "number":
        content = json.loads(path.read_text())
        content["numbers"][0]["target_sum"] = 5.0
        path.write_text(json.dumps(content))
    elif damage == "arrays":
        content = bytearray(arrays.read_bytes())
        content[-1] ^= 1
        arrays.write_bytes(content)
    else:
        arrays.unlink()
    with pytest.raises(FormatError, match=r"split\.fold0\.preparation\.json.*data prepare"):
        load_preparation(path)


def test_an_existing_store_or_split_is_left_as_it_is(screen: Screen, tmp_path: Path) -> None:
    preparation = fit(screen, LogNormalise())
    (tmp_path / "out.split.json").write_text("mine")
    with pytest.raises(ConfigError, match=r"out\.split\.json already exists"):
        prepare_store(screen.store, preparation, tmp_path / "out", screen.split)
    assert [path.name for path in tmp_path.iterdir()] == ["out.split.json"]


def test_the_preparation_of_a_removed_store_is_not_mixed_up_with_a_new_one(
    screen: Screen, tmp_path: Path
) -> None:
    save_preparation(tmp_path / "out.split.json", fit(screen, VariableGenes(n_top=5)))
    with pytest.raises(ConfigError, match=r"out\.split\.fold0\.preparation\.json is another preparation"):
        prepare_store(screen.store, fit(screen, LogNormalise()), tmp_path / "out", screen.split)
    assert not (tmp_path / "out").exists()


def test_nothing_is_left_where_the_last_step_fails(
    screen: Screen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(*_: Any) -> Path:
        raise OSError("no space left")

    monkeypatch.setattr(applying, "save_preparation", full_disk)
    with pytest.raises(OSError, match="no space"):
        prepare_store(screen.store, fit(screen, LogNormalise()), tmp_path / "out", screen.split)
    assert list(tmp_path.iterdir()) == []


def test_a_store_whose_split_was_not_written_is_accepted_with_no_split(
    screen: Screen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(applying, "_declare", lambda store, _: store)
    with pytest.raises(LeakageError):
        prepare_store(screen.store, fit(screen, VariableGenes(n_top=9)), tmp_path / "out", screen.split)
    assert list(tmp_path.iterdir()) == []


def test_a_split_that_leaks_is_refused_before_anything_is_fitted(screen: Screen) -> None:
    fold = screen.split.folds[0]
    moved = fold.model_copy(update={"train": (*fold.train, fold.test[0]), "test": fold.test[1:]})
    leaking = screen.split.model_copy(update={"folds": (moved, *screen.split.folds[1:])})
    with pytest.raises(LeakageError):
        fit_preparation(screen.store, leaking, 0, EVERYTHING)
