"""The leakage auditor: every planted leak is found under its own name, and clean splits raise no alarm."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import leak_stores as stores
import numpy as np
import polars as pl
import pytest
from pertcast_data.errors import ConfigError, LeakageError
from pertcast_data.ingest import IngestMapping, ingest
from pertcast_data.preprocessing import PreprocessingStep
from pertcast_data.simulate import AtlasConfig, simulate_atlas, write_atlas
from pertcast_data.splits import (
    SPLIT_KINDS,
    FittedOn,
    Fold,
    Provenance,
    Split,
    audit,
    audit_folds,
    make_split,
)
from pertcast_data.splits.audit import CHECKS, PROFILE_CHECKS, find_twins
from pertcast_data.store import ExpressionStore

knockout, compound, control = stores.knockout, stores.compound, stores.control
make_store, conditions_of, move_to_train = stores.make_store, stores.conditions_of, stores.move_to_train
SCREEN, LIBRARY, VAR, N_GENES = stores.SCREEN, stores.LIBRARY, stores.VAR, stores.N_GENES


def errors_of(split: Split, store: ExpressionStore, fold: int = 0, **more: Any) -> set[str]:
    return {finding.check for finding in audit(split, store, fold, **more).errors}


@pytest.mark.parametrize("leak", stores.TWINS)
def test_one_thing_under_two_names_is_held_out_together_and_found_where_it_is_not(leak: str) -> None:
    check, kind, rest, twins, options = stores.TWINS[leak]
    store = stores.table_store([*rest, *twins, control()])
    kept, moved = stores.conditions_of_all(store, twins)
    honest = make_split(store, kind, 3, **options)
    assert all((kept in fold.test) == (moved in fold.test) for fold in honest.folds)
    fold = stores.fold_that_tests(honest, kept)
    assert audit(honest, store, fold).findings == ()
    leaking = move_to_train(honest, fold, [moved])
    report = audit(leaking, store, fold)
    assert [finding.check for finding in report.errors] == [check]
    assert kept in report.errors[0].message and moved in report.errors[0].message
    with pytest.raises(LeakageError, match=r"fold \d of the .* split leaks .*Make the split anew"):
        leaking.check(store, fold)


def test_names_that_only_look_alike_stay_apart() -> None:
    names = [
        "NKX2-1",
        "NKX2-5",
        "KRTAP1-11",
        "KRTAP11-1",
        "HLA-A",
        "HLA-B",
        "CDK1",
        "CDK2",
        "IL21",
        "H2AC1",
        "H2AC11",
    ]
    names += ["AC012345.1", "AC012345.2", "MIR1-1", "MIR1-2", "AC01234.51", "CDKO"]
    store = stores.table_store([knockout(name) for name in names])
    split = make_split(store, "unseen_perturbation", len(names))
    assert all(len(fold.test) == 1 for fold in split.folds)


def test_compounds_that_only_look_alike_stay_apart() -> None:
    pairs = [
        ("isomer-1", "CCCCl"),
        ("isomer-2", "CC(C)Cl"),
        ("ortho", "Cc1ccccc1Cl"),
        ("para", "Cc1ccc(Cl)cc1"),
    ]
    named = [
        compound("y1", "CCCCCN", cmap_name="mixture"),
        compound("y2", "CCCCCS", cmap_name="mixture"),
    ]
    nameless = [compound("z1", cmap_name="unknown"), compound("z2", cmap_name="unknown")]
    conditions = [compound(*pair) for pair in pairs] + named + nameless
    store = stores.table_store(conditions)
    assert all(len(fold.test) == 1 for fold in make_split(store, "unseen_compound", len(conditions)).folds)


@pytest.fixture(scope="module")
def plates(tmp_path_factory: pytest.TempPathFactory) -> ExpressionStore:
    """Eight knock-outs on four plates, controls on each."""
    rows = [row | {"batch_id": f"P{n % 4}"} for n, row in enumerate(SCREEN)]
    rows += [control(batch_id=f"P{n}", pert_time=96.0 + n) for n in range(4)]
    return make_store(tmp_path_factory.mktemp("plates") / "store", rows)


def test_a_plate_on_both_sides_of_a_split_by_plate_is_found(plates: ExpressionStore) -> None:
    split = make_split(plates, "group", 4, group_column="batch_id")
    assert errors_of(split, plates) == set()
    leaking = move_to_train(split, 0, [split.folds[0].test[0]])
    assert errors_of(leaking, plates) == {"shared_group"}
    with pytest.raises(LeakageError, match=r"values of column batch_id\): 'P\d'"):
        leaking.check(plates, 0)


def test_replicates_on_several_plates_are_found_in_a_manifest_of_another_tool(tmp_path: Path) -> None:
    rows = [row | {"batch_id": f"P{n % 4}"} for n, row in enumerate(SCREEN)]
    store = make_store(tmp_path / "store", [*rows, SCREEN[0] | {"batch_id": "P1"}])
    dealt = make_split(store, "unseen_perturbation", 4)
    foreign = dealt.model_copy(update={"kind": "group", "group_column": "batch_id"})
    assert "shared_group" in errors_of(foreign, store)
    missing = dealt.model_copy(update={"kind": "group", "group_column": "plate_name"})
    assert errors_of(missing, store) == {"shared_group"}


def test_controls_of_a_tested_plate_are_found_where_they_are_declared_separate(
    plates: ExpressionStore,
) -> None:
    split = make_split(plates, "group", 4, group_column="batch_id", controls="separate")
    allowed = split.training_controls(plates, 0)
    assert allowed is not None and 0 < len(allowed) < plates.is_control.sum()
    tested = set(plates.obs["batch_id"].gather(split.rows(plates, 0, "test")))
    assert tested.isdisjoint(plates.obs["batch_id"].gather(allowed))
    everyone = np.flatnonzero(plates.is_control)
    for rows, expected in ((allowed, set()), (everyone, {"separate_controls"})):
        basal = FittedOn.of("basal profiles", "basal", "controls", rows)
        assert errors_of(split, plates, provenance=Provenance("runs/a", (basal,))) == expected
    shared = make_split(plates, "group", 4, group_column="batch_id")
    basal = FittedOn.of("basal profiles", "basal", "controls", everyone)
    assert errors_of(shared, plates, provenance=Provenance("runs/a", (basal,))) == set()


def test_separate_controls_need_a_group_each(tmp_path: Path) -> None:
    rows = [row | {"batch_id": f"P{n % 4}"} for n, row in enumerate(SCREEN)] + [control(batch_id=None)]
    store = make_store(tmp_path / "store", rows)
    with pytest.raises(LeakageError, match="3 control profiles have no batch_id"):
        make_split(store, "group", 4, group_column="batch_id", controls="separate")
    with pytest.raises(ConfigError, match="--controls"):
        make_split(store, "random", 4, controls="separate")


@pytest.fixture(scope="module")
def screen(tmp_path_factory: pytest.TempPathFactory) -> ExpressionStore:
    return make_store(tmp_path_factory.mktemp("screen") / "store", [*SCREEN, *LIBRARY, control()])


@pytest.fixture(scope="module")
def split(screen: ExpressionStore) -> Split:
    return make_split(screen, "unseen_perturbation", 4)


def test_empty_overlapping_and_foreign_lists_are_all_told_at_once(
    screen: ExpressionStore, split: Split
) -> None:
    fold = split.folds[0]
    broken = Fold(train=(*fold.train, fold.validation[0], "ghost"), validation=fold.validation, test=())
    report = audit(split.model_copy(update={"folds": (broken,)}), screen, 0)
    messages = " ".join(finding.message for finding in report.errors)
    assert {finding.check for finding in report.errors} == {"empty_part", "condition_lists", "held_out_group"}
    for said in ("test part", "is empty", "'ghost'", "is in train and in validation", "are in no part"):
        assert said in messages


def test_an_overlapping_test_set_is_found(screen: ExpressionStore, split: Split) -> None:
    fold = split.folds[0]
    overlapping = fold.model_copy(update={"test": (*fold.test, fold.train[0])})
    assert "condition_lists" in errors_of(split.model_copy(update={"folds": (overlapping,)}), screen)


def test_a_manifest_of_other_data_is_found_and_nothing_else_is_looked_at(
    screen: ExpressionStore, split: Split
) -> None:
    report = audit(split.model_copy(update={"data_hash": "other"}), screen, 0)
    assert [finding.check for finding in report.findings] == ["store_hash"]
    assert str(screen.path) in report.errors[0].message
    assert {name for name, _ in report.not_checked} == {*CHECKS, *PROFILE_CHECKS} - {"store_hash"}


@pytest.mark.parametrize(
    ("step", "check"),
    [("hvg", "gene_selection"), ("scale", "scaler"), ("pca", "features"), ("combat", "features")],
)
def test_what_was_fitted_on_all_rows_before_the_ingest_is_found(step: str, check: str) -> None:
    honest = stores.table_store([*SCREEN, control()])
    split = make_split(honest, "random", 4)

    def declared(**facts: Any) -> Any:
        log = PreprocessingStep(step="log1p", fitted_on="nothing")
        return replace(honest, preprocessing=(log, PreprocessingStep(step=step, **facts)))

    assert errors_of(split, declared(fitted_on="all")) == {check}
    with pytest.raises(LeakageError, match=f"'{step}' was fitted on all profiles"):
        make_split(declared(fitted_on="all"), "random", 4)
    make_split(declared(fitted_on="all"), "all")
    report = audit(split, declared(fitted_on="train"), 0)
    assert not report.errors and "does not say which" in report.warnings[0]
    of_fold_1 = declared(fitted_on="train", split=split.hash, fold=1)
    assert errors_of(split, of_fold_1, 0) == {check} and errors_of(split, of_fold_1, 1) == set()


def test_preprocessing_is_declared_in_a_mapping_file_or_beside_the_store(tmp_path: Path) -> None:
    step = PreprocessingStep(step="hvg", fitted_on="all")
    store = make_store(tmp_path / "store", [*SCREEN, control()])
    split = make_split(store, "random", 4)
    side = tmp_path / "store.preprocessing.yaml"
    side.write_text("preprocessing:\n- {step: hvg, fitted_on: all}\n", encoding="utf-8")
    assert ExpressionStore.open(store.path).preprocessing == (step,)
    assert errors_of(split, ExpressionStore.open(store.path)) == {"gene_selection"}
    side.write_text("preprocessing: [{step: hvg, fitted_on: everything}]", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"store\.preprocessing\.yaml"):
        audit(split, ExpressionStore.open(store.path), 0)
    said = IngestMapping.model_validate({"preprocessing": [{"step": "hvg", "fitted_on": "all"}]})
    assert said.preprocessing == (step,)
    kept = make_store(tmp_path / "kept", [*SCREEN, control()], preprocessing=said.preprocessing)
    assert ExpressionStore.open(kept.path).preprocessing == (step,)


@pytest.mark.parametrize(
    ("role", "check"),
    [
        ("scaler", "scaler"),
        ("gene_selection", "gene_selection"),
        ("features", "features"),
        ("weights", "features"),
    ],
)
@pytest.mark.parametrize("rows", ["test", "train+test", "everything", "another fold"])
def test_a_model_that_was_fitted_on_test_rows_is_found(
    role: Any, check: str, rows: str, screen: ExpressionStore, split: Split
) -> None:
    test, train = split.rows(screen, 0, "test"), split.rows(screen, 0, "train")
    wrong = {
        "test": test,
        "train+test": np.concatenate([train, test]),
        "everything": np.arange(screen.n_rows),
        "another fold": split.rows(screen, 1, "train"),
    }[rows]
    honest = Provenance("runs/a", (FittedOn.of("it", role, "train", train),), split.folds[0].train)
    assert audit(split, screen, 0, honest).findings == ()
    claimed = Provenance("runs/a", (FittedOn.of("it", role, "train", wrong),))
    assert errors_of(split, screen, provenance=claimed) == {check}
    admitted = Provenance("runs/a", (FittedOn.of("it", role, "all", wrong),))
    assert errors_of(split, screen, provenance=admitted) == {check}


def test_basal_profiles_of_treated_rows_and_foreign_training_conditions_are_found(
    screen: ExpressionStore, split: Split
) -> None:
    basal = FittedOn.of("basal profiles", "basal", "controls", np.arange(screen.n_rows))
    report = audit(split, screen, 0, Provenance("runs/a", (basal,)))
    assert [finding.check for finding in report.errors] == ["features"]
    assert "all rows of the store" in report.errors[0].message
    test = split.folds[0].test
    told = Provenance("runs/a", (), test[:1])
    report = audit(split, screen, 0, told)
    assert [finding.check for finding in report.errors] == ["trained_conditions"]
    assert [finding.check for finding in report.findings if finding.severity == "warning"] == ["stated_rows"]


def test_genes_that_bear_the_mark_of_a_selection_are_a_warning_until_it_is_declared() -> None:
    store = stores.table_store([*SCREEN, control()], VAR.with_columns(highly_variable=pl.lit(True)))
    split = make_split(store, "random", 4)
    report = split.check(store, 0)
    assert len(report.warnings) == 1 and "All 40 genes are marked highly_variable" in report.warnings[0]
    declared = replace(store, preprocessing=(PreprocessingStep(step="hvg", fitted_on="controls"),))
    assert split.check(declared, 0).findings == ()


def copies(plant: Callable[[np.ndarray[Any, Any]], None]) -> np.ndarray[Any, Any]:
    random = np.random.default_rng(3)
    own = np.repeat(random.normal(0, 1, (24, N_GENES * 5)), 3, axis=0)
    values = (8 + own + random.normal(0, 0.7, own.shape)).astype(np.float32)
    plant(values)
    return values


def wide_var() -> pl.DataFrame:
    return pl.DataFrame({"gene_symbol": [f"GENE{n}" for n in range(N_GENES * 5)]})


def planted_store(path: Path, plant: Callable[[np.ndarray[Any, Any]], None]) -> ExpressionStore:
    return make_store(path, [knockout(f"GENE{n}") for n in range(24)], wide_var(), copies(plant))


def test_an_exact_copy_across_the_border_is_found_and_one_on_one_side_is_no_leak(tmp_path: Path) -> None:
    def plant(values: np.ndarray[Any, Any]) -> None:
        values[3 * 5] = values[3 * 17 + 1]

    store = planted_store(tmp_path / "store", plant)
    split = make_split(store, "unseen_perturbation", 4)
    reports = audit_folds(split, store)
    held_apart = [
        len(
            {
                part
                for part in ("train", "validation", "test")
                for n in (5, 17)
                if conditions_of(store, f"GENE{n}")[0] in getattr(fold, part)
            }
        )
        == 2
        for fold in split.folds
    ]
    assert any(held_apart)
    for report, apart in zip(reports, held_apart, strict=True):
        assert [finding.check for finding in report.errors] == (["exact_copies"] if apart else [])
    assert "GENE5" in reports[held_apart.index(True)].errors[0].message


def test_a_near_copy_across_the_border_is_found(tmp_path: Path) -> None:
    def plant(values: np.ndarray[Any, Any]) -> None:
        values[0] = values[3 * 9] + np.random.default_rng(0).normal(0, 0.05, values.shape[1])

    store = planted_store(tmp_path / "store", plant)
    split = make_split(store, "unseen_perturbation", 24)
    report = audit_folds(split, store)[stores.fold_that_tests(split, conditions_of(store, "GENE0")[0])]
    assert [finding.check for finding in report.errors] == ["near_copies"]
    assert "GENE9" in report.errors[0].message


def test_near_copies_are_found_where_every_profile_has_one(tmp_path: Path) -> None:
    once = copies(lambda values: None)
    again = once + np.random.default_rng(1).normal(0, 0.02, once.shape).astype(np.float32)
    conditions = [knockout(f"GENE{n}") for n in range(48)]
    store = make_store(tmp_path / "store", conditions, wide_var(), np.concatenate([once, again]))
    found = find_twins(store).near
    assert len(found) == len(once)
    names = store.obs["pert_id"].to_list()
    pairs = {frozenset((names[one], names[two])) for one, two in found.tolist()}
    assert pairs == {frozenset((f"GENE{n}", f"GENE{n + 24}")) for n in range(24)}


def test_near_copies_are_found_by_sketches_as_in_full(tmp_path: Path) -> None:
    def plant(values: np.ndarray[Any, Any]) -> None:
        values[0] = values[3 * 9] + np.random.default_rng(0).normal(0, 0.05, values.shape[1])

    store = planted_store(tmp_path / "store", plant)
    whole, sketched = find_twins(store), find_twins(store, most_products=1_000_000)
    assert len(whole.near) == 1 and np.array_equal(whole.near, sketched.near)
    assert sketched.n_compared == whole.n_compared == 72
    few = find_twins(store, most_products=100_000)
    assert few.n_compared == 100_000 // (72 * 128) and "(a sample)" in few.note


def test_replicates_as_alike_as_copies_raise_no_alarm(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    shared = np.repeat(random.normal(0, 1, (12, N_GENES)), 6, axis=0)
    values = (8 + shared + random.normal(0, 0.02, shared.shape)).astype(np.float32)
    store = make_store(tmp_path / "store", [knockout(f"GENE{n}") for n in range(24)], VAR, values)
    assert not len(find_twins(store).near)
    noiseless = np.repeat(random.normal(8, 1, (24, N_GENES)), 3, axis=0).astype(np.float32)
    equal = make_store(tmp_path / "equal", [knockout(f"GENE{n}") for n in range(24)], VAR, noiseless)
    report = audit_folds(make_split(equal, "random", 4), equal)[0]
    assert not report.errors and "no noise" in dict(report.not_checked)["exact_copies"]


ATLAS = AtlasConfig(
    n_genes=80, n_contexts=4, n_compounds=12, n_unprofiled=4, doses=(0.1, 1.0, 10.0), times=(6.0, 24.0, 48.0),
    n_plates=3, n_knockouts=12, n_pairs=8, n_cell_contexts=4, n_cells=800,
)  # fmt: skip


@pytest.fixture(scope="module")
def atlas(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ExpressionStore]:
    folder = tmp_path_factory.mktemp("atlas")
    files = write_atlas(simulate_atlas(ATLAS), folder / "atlas")
    opened = {}
    for name, source in (("wells", files.wells), ("cells", files.cells)):
        ingest([source], folder / name)
        opened[name] = ExpressionStore.open(folder / name)
    return opened


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("wells", sorted(set(SPLIT_KINDS) - {"unseen_pair", "blocked"})),
        ("cells", ["unseen_perturbation", "unseen_pair", "unseen_context", "random", "blocked", "all"]),
    ],
)
def test_clean_splits_of_the_atlas_raise_no_alarm(
    name: str, kinds: list[str], atlas: dict[str, ExpressionStore], tmp_path: Path
) -> None:
    store = atlas[name]
    twins = find_twins(store)
    genes = sorted({gene for text in store.conditions["targets"].drop_nulls() for gene in text.split("+")})
    table = "gene,block\n" + "".join(f"{gene},{n // 2}\n" for n, gene in enumerate(genes))
    (tmp_path / "blocks.csv").write_text(table, encoding="utf-8")
    for kind in kinds:
        column = "cell_iname" if kind == "group" else None
        blocks = tmp_path / "blocks.csv" if kind == "blocked" else None
        split = make_split(store, kind, 3, group_column=column, blocks=blocks)
        for fold in range(len(split.folds)):
            assert audit(split, store, fold, twins=twins).findings == (), kind


@pytest.mark.parametrize(
    ("name", "kinds", "n_warnings"),
    [
        (
            "l1000/ht115_level3_compounds.h5ad",
            ["unseen_compound", "unseen_scaffold", "unseen_dose", "random"],
            0,
        ),
        ("perturb_seq/norman_mcfaline_devel.h5ad", ["unseen_perturbation", "unseen_pair", "random"], 1),
    ],
)
def test_clean_splits_of_real_data_raise_no_alarm(
    name: str, kinds: list[str], n_warnings: int, shared_data: Callable[[str], Path], tmp_path: Path
) -> None:
    ingest([shared_data(name)], tmp_path / "store")
    store = ExpressionStore.open(tmp_path / "store")
    twins = find_twins(store)
    assert twins.likeness is not None
    for kind in kinds:
        split = make_split(store, kind, 3)
        for fold in range(3):
            report = audit(split, store, fold, twins=twins)
            assert report.errors == () and len(report.warnings) == n_warnings


def test_a_report_reads_well_and_is_json(screen: ExpressionStore, split: Split) -> None:
    report = audit(split, screen, 0)
    assert (
        report.lines()[0]
        == f"fold 0 of the unseen_perturbation split  clean: {len(CHECKS)} checks, 0 errors, 0 warnings"
    )
    leaking = move_to_train(split, 0, list(split.folds[0].test[:1]))
    assert '"severity": "error"' in audit(leaking, screen, 0).to_json() or not errors_of(leaking, screen)
