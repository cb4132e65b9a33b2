"""Splits: what is held out is unseen, lists agree with the store, and a manifest cannot be tampered with."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pertcast_data.errors import ConfigError, FormatError, LeakageError, SchemaError
from pertcast_data.preprocessing import PreprocessingStep
from pertcast_data.splits import PARTS, SPLIT_KINDS, Fold, Split, get_split_kind, make_split
from pertcast_data.splits.identity import Identity
from pertcast_data.splits.kinds import Grouping
from pertcast_data.vocabulary import condition_id, split_perturbation


@dataclass(frozen=True)
class FakeStore:
    """The seam of a store: three replicates of every condition, in an order that mixes conditions."""

    conditions: pl.DataFrame
    obs: pl.DataFrame
    condition_of_row: np.ndarray[Any, np.dtype[np.int32]]
    data_hash: str = "data-1"
    var: pl.DataFrame = field(default_factory=lambda: pl.DataFrame({"gene_symbol": ["G0"]}))
    preprocessing: tuple[PreprocessingStep, ...] = ()


def store_of(conditions: list[dict[str, Any]], replicates: int = 3) -> FakeStore:
    defaults: dict[str, Any] = {
        "cell_iname": "A375",
        "pert_type": "trt_cp",
        "pert_dose": 10.0,
        "pert_time": 24.0,
        "canonical_smiles": None,
        "inchi_key": None,
        "targets": None,
        "is_control": False,
        "plate": "P1",
    }
    rows = [defaults | condition for condition in conditions]
    for row in rows:
        identity = (row[name] for name in ("cell_iname", "pert_type", "pert_id", "pert_dose", "pert_time"))
        row.setdefault("condition_id", condition_id(*identity))
    table = pl.DataFrame(
        rows, schema_overrides={"inchi_key": pl.String, "targets": pl.String, "canonical_smiles": pl.String}
    )
    table = table.unique("condition_id", keep="first", maintain_order=True)
    table = table.with_columns(pl.int_range(pl.len(), dtype=pl.Int32).alias("condition_index"))
    of_row = (
        np.random.default_rng(5).permutation(np.tile(np.arange(table.height), replicates)).astype(np.int32)
    )
    return FakeStore(table, table[of_row].select("condition_id", "cell_iname", "plate"), of_row)


def compounds(n: int, contexts: tuple[str, ...] = ("A375", "HT29")) -> list[dict[str, Any]]:
    made = [
        {
            "pert_id": f"CP{number:03d}",
            "cell_iname": cell,
            "pert_dose": dose,
            "inchi_key": f"{number:014d}-X-N",
        }
        for number in range(n)
        for cell in contexts
        for dose in (1.0, 10.0)
    ]
    controls = [
        {
            "pert_id": "DMSO",
            "pert_type": "ctl_vehicle",
            "is_control": True,
            "pert_dose": None,
            "cell_iname": cell,
        }
        for cell in contexts
    ]
    return made + controls


def knockouts(
    singles: list[str], pairs: list[str], contexts: tuple[str, ...] = ("A375",)
) -> list[dict[str, Any]]:
    made = [
        {"pert_id": name, "pert_type": "trt_xpr", "pert_dose": None, "targets": name, "cell_iname": cell}
        for cell in contexts
        for name in singles + pairs
    ]
    return [*made, {"pert_id": "NTC", "pert_type": "ctl_vector", "pert_dose": None, "is_control": True}]


GENES = [f"G{number}" for number in range(12)]
PAIRS = [f"G{number}+G{number + 1}" for number in range(0, 12, 2)]
MIXED = [
    row
    if row.get("is_control")
    else row | {"pert_dose": (1.0, 3.0, 10.0, 30.0)[n % 4], "pert_time": (3.0, 6.0, 24.0, 48.0)[n // 8 % 4]}
    for n, row in enumerate(compounds(16, ("A375", "HT29", "MCF7", "PC3")))
] + knockouts(GENES, PAIRS, ("A375", "HT29"))
BLOCKS = Path(__file__).with_name("gene_blocks.csv")
PARTITIONING = sorted(set(SPLIT_KINDS) - {"all", "gears"})


def mixed_split(kind: str, seed: int = 0, n_folds: int = 3) -> tuple[FakeStore, Split]:
    store = store_of([row | {"plate": row["pert_id"]} for row in MIXED])
    column = "plate" if kind == "group" else None
    blocks = BLOCKS if kind == "blocked" else None
    return store, make_split(store, kind, n_folds, seed, column, blocks=blocks)


def members_of(split: Split, store: FakeStore) -> list[tuple[str, ...]]:
    grouping = Grouping(store, Identity.of(store), split.group_column, split.blocks)
    return SPLIT_KINDS[split.kind].members(grouping)


def treated_ids(store: FakeStore) -> list[str]:
    return store.conditions.filter(~pl.col("is_control"))["condition_id"].to_list()


@settings(max_examples=60, deadline=None)
@given(kind=st.sampled_from(sorted(SPLIT_KINDS)), seed=st.integers(0, 10_000), n_folds=st.integers(2, 3))
def test_every_treated_condition_is_in_exactly_one_part_of_each_fold(
    kind: str, seed: int, n_folds: int
) -> None:
    store, split = mixed_split(kind, seed, n_folds)
    for number in range(len(split.folds)):
        listed = [name for part in PARTS for name in getattr(split.folds[number], part)]
        assert sorted(listed) == sorted(treated_ids(store))
        split.check(store, number)


@settings(max_examples=60, deadline=None)
@given(kind=st.sampled_from(PARTITIONING), seed=st.integers(0, 10_000), n_folds=st.integers(2, 3))
def test_the_tests_of_the_folds_partition_the_groups(kind: str, seed: int, n_folds: int) -> None:
    store, split = mixed_split(kind, seed, n_folds)
    treated = store.conditions.filter(~pl.col("is_control"))
    members = members_of(split, store)
    groups_of = dict(zip(treated["condition_id"], members, strict=True))
    times_tested = {name: sum(name in fold.test for fold in split.folds) for name in groups_of}
    alone = {groups[0]: times_tested[name] for name, groups in groups_of.items() if len(groups) == 1}
    assert set(alone.values()) == {1}
    assert all(times_tested[name] == 0 for name, groups in groups_of.items() if not groups)
    assert all(times_tested[name] >= 1 for name, groups in groups_of.items() if groups)


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(["unseen_compound", "unseen_context", "unseen_pair", "random", "group"]),
    seed=st.integers(0, 10_000),
)
def test_parts_are_disjoint_by_group(kind: str, seed: int) -> None:
    store, split = mixed_split(kind, seed)
    treated = store.conditions.filter(~pl.col("is_control"))
    members = members_of(split, store)
    groups_of = dict(zip(treated["condition_id"], members, strict=True))
    for fold in split.folds:
        sets = [{group for name in getattr(fold, part) for group in groups_of[name]} for part in PARTS]
        assert all(first.isdisjoint(second) for first, second in itertools.combinations(sets, 2))


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10_000), links=st.sets(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=12)
)
def test_a_held_out_gene_reaches_training_in_no_pair(seed: int, links: set[tuple[int, int]]) -> None:
    pairs = [f"G{first}+G{second}" for first, second in sorted(links) if first != second]
    store = store_of(knockouts([f"G{number}" for number in range(10)], pairs))
    try:
        split = make_split(store, "unseen_perturbation", 2, seed)
    except ConfigError as error:
        assert "tie its groups together" in str(error) and len(pairs) > 3
        return
    for fold in split.folds:
        tested = {name.split("|")[2] for name in fold.test if "+" not in name}
        validated = {name.split("|")[2] for name in fold.validation if "+" not in name}
        assert tested
        for name in fold.train:
            assert not (tested | validated) & set(split_perturbation(name.split("|")[2]))
        for name in fold.validation:
            assert not tested & set(split_perturbation(name.split("|")[2]))


@pytest.mark.parametrize("kind", sorted(SPLIT_KINDS))
def test_the_same_seed_gives_the_same_split_and_another_seed_another(kind: str) -> None:
    _, split = mixed_split(kind, seed=3)
    assert split.hash == mixed_split(kind, seed=3)[1].hash
    others = {mixed_split(kind, seed=seed)[1].folds for seed in range(4, 10)}
    assert len(others) > 1


def test_the_split_does_not_depend_on_the_order_of_the_store() -> None:
    split = make_split(store_of(MIXED), "unseen_perturbation", 3, 0)
    turned = make_split(store_of(MIXED[::-1]), "unseen_perturbation", 3, 0)
    for fold, other in zip(split.folds, turned.folds, strict=True):
        assert set(fold.test) == set(other.test) and set(fold.validation) == set(other.validation)


@pytest.mark.parametrize("kind", sorted(SPLIT_KINDS))
def test_replicates_never_straddle_and_controls_are_in_no_part(kind: str) -> None:
    store, split = mixed_split(kind)
    rows = {part: split.rows(store, 0, part) for part in PARTS}
    everything = np.concatenate(list(rows.values()))
    is_control = store.conditions["is_control"].to_numpy()[store.condition_of_row]
    assert np.array_equal(np.sort(everything), np.flatnonzero(~is_control))
    of_part = [set(store.condition_of_row[part_rows].tolist()) for part_rows in rows.values()]
    assert all(first.isdisjoint(second) for first, second in itertools.combinations(of_part, 2))
    assert all(part_rows.dtype == np.int64 and (np.diff(part_rows) > 0).all() for part_rows in rows.values())


def test_one_compound_under_two_ids_is_one_group() -> None:
    twin = [row | {"pert_id": "TWIN"} for row in compounds(8) if row["pert_id"] == "CP003"]
    stereo = [row | {"pert_id": "STEREO", "inchi_key": f"{5:014d}-Y-N"} for row in twin]
    store = store_of(compounds(8) + twin + stereo)
    for seed in range(6):
        for fold in make_split(store, "unseen_compound", 4, seed).folds:
            tested = {name.split("|")[2] for name in fold.test}
            assert ("TWIN" in tested) == ("CP003" in tested)
            assert ("STEREO" in tested) == ("CP005" in tested)


def test_compounds_without_a_structure_are_grouped_by_id_and_by_smiles() -> None:
    rows = [{"pert_id": f"X{n}", "pert_dose": dose} for n in range(6) for dose in (1.0, 2.0)]
    rows += [{"pert_id": name, "canonical_smiles": "CCO"} for name in ("ethanol", "alcohol")]
    for fold in make_split(store_of(rows), "unseen_compound", 2).folds:
        tested = {name.split("|")[2] for name in fold.test}
        assert ("ethanol" in tested) == ("alcohol" in tested)
        assert {name.split("|")[2] for name in (*fold.train, *fold.validation)}.isdisjoint(tested)


def test_one_eighth_of_the_groups_left_validates_and_at_least_one() -> None:
    fold = make_split(store_of(compounds(64)), "unseen_compound", 4).folds[0]
    assert len({name.split("|")[2] for name in fold.test}) == 16
    assert len({name.split("|")[2] for name in fold.validation}) == 6
    small = make_split(store_of(compounds(4)), "unseen_compound", 4).folds[0]
    assert len({name.split("|")[2] for name in small.validation}) == 1


def test_singles_are_always_trained_on_when_pairs_are_held_out() -> None:
    store = store_of(knockouts(["A", "B", "C", "D"], ["A+B", "C+D", "A+C", "B+D"]))
    for fold in make_split(store, "unseen_pair", 2).folds:
        assert sum("+" not in name for name in fold.train) == 4
        assert all("+" in name for name in (*fold.test, *fold.validation))


def test_all_has_one_fold_without_a_test() -> None:
    split = make_split(store_of(compounds(20)), "all")
    assert len(split.folds) == 1 and not split.folds[0].test
    assert len(split.folds[0].validation) == 10 and len(split.folds[0].train) == 70


def test_too_few_groups_are_refused_with_their_number() -> None:
    store = store_of(compounds(8))
    with pytest.raises(ConfigError, match=r"cell lines.*in the store: 2; 4 folds"):
        make_split(store, "unseen_context", 4)
    with pytest.raises(ConfigError, match="in the store: 0"):
        make_split(store, "unseen_pair", 2)
    with pytest.raises(ConfigError, match="at least 2 folds"):
        make_split(store, "random", 1)


@pytest.mark.parametrize(
    ("option", "said"), [({"seed": -3}, "seed of -3"), ({"block_distance": 3}, "--block-distance 3")]
)
def test_numbers_that_a_split_cannot_use_are_refused(option: dict[str, int], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        make_split(store_of(compounds(12)), "unseen_compound", **option)


def test_a_split_is_not_written_over_a_folder(tmp_path: Path) -> None:
    split = make_split(store_of(compounds(12)), "unseen_compound")
    with pytest.raises(ConfigError, match="is a folder; name a file"):
        split.save(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_kind_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(ConfigError, match="unseen_compound"):
        get_split_kind("unseen_compounds")


def test_a_group_column_must_exist_be_filled_and_agree_among_replicates() -> None:
    store = store_of(compounds(8))
    with pytest.raises(SchemaError, match="plate"):
        make_split(store, "group", 2, group_column="plates")
    with pytest.raises(ConfigError, match="--group-column"):
        make_split(store, "group", 2)
    with pytest.raises(ConfigError, match="leave it out"):
        make_split(store, "random", 2, group_column="plate")
    straddling = pl.Series("plate", [f"P{row % 2}" for row in range(store.obs.height)])
    mixed = FakeStore(store.conditions, store.obs.with_columns(straddling), store.condition_of_row)
    with pytest.raises(SchemaError, match="replicates"):
        make_split(mixed, "group", 2, group_column="plate")
    empty = store.obs.with_columns(pl.lit(None, dtype=pl.String).alias("plate"))
    with pytest.raises(SchemaError, match="no value"):
        make_split(
            FakeStore(store.conditions, empty, store.condition_of_row), "group", 2, group_column="plate"
        )


def test_the_check_refuses_another_store_and_names_both_hashes() -> None:
    store, split = mixed_split("random")
    other = FakeStore(store.conditions, store.obs, store.condition_of_row, data_hash="data-2")
    with pytest.raises(LeakageError, match=r"data-1.*data-2"):
        split.check(other, 0)
    with pytest.raises(LeakageError, match=r"data-1.*data-2"):
        split.rows(other, 0, "test")
    with pytest.raises(ConfigError, match="folds 0 to 2"):
        split.check(store, 3)


def with_fold(split: Split, **parts: tuple[str, ...]) -> Split:
    fold = Fold.model_validate(split.folds[0].model_dump() | parts)
    return split.model_copy(update={"folds": (fold, *split.folds[1:])})


def test_the_check_refuses_empty_overlapping_missing_foreign_and_control_conditions() -> None:
    store, split = mixed_split("unseen_compound")
    fold = split.folds[0]
    control = store.conditions.filter(pl.col("is_control"))["condition_id"][0]
    faults = {
        "test part .* is empty": {"test": ()},
        "validation part .* is empty": {"validation": ()},
        "is in train and in test": {"test": (*fold.test, fold.train[0])},
        "are in no part": {"train": fold.train[1:]},
        "is not in the store": {"train": (*fold.train, "A375|trt_cp|GHOST|1|6")},
        "controls are in no list": {"train": (*fold.train, control)},
    }
    for message, parts in faults.items():
        with pytest.raises(LeakageError, match=message):
            with_fold(split, **parts).check(store, 0)


@pytest.mark.parametrize(
    "kind", ["unseen_compound", "unseen_perturbation", "unseen_context", "unseen_pair", "group"]
)
def test_the_check_refuses_a_held_out_group_in_training(kind: str) -> None:
    store, split = mixed_split(kind)
    fold = split.folds[0]
    treated = store.conditions.filter(~pl.col("is_control"))
    members = members_of(split, store)
    groups_of = dict(zip(treated["condition_id"], members, strict=True))
    counts = [group for name in fold.test for group in groups_of[name]]
    moved = next(name for name in fold.test if counts.count(groups_of[name][0]) > 1)
    leaking = with_fold(
        split, train=(*fold.train, moved), test=tuple(name for name in fold.test if name != moved)
    )
    with pytest.raises(LeakageError, match="leaks a held-out group"):
        leaking.check(store, 0)


def test_the_check_refuses_a_compound_under_a_second_id() -> None:
    rows = [{"pert_id": f"C{n}", "inchi_key": f"{n:014d}-A-N"} for n in range(3)]
    rows.append({"pert_id": "ALIAS", "inchi_key": f"{0:014d}-B-N"})
    store = store_of(rows)
    ids = dict(zip([row["pert_id"] for row in rows], treated_ids(store), strict=True))
    for kind in ("unseen_compound", "unseen_perturbation", "random"):
        leaking = Fold(train=(ids["C0"], ids["C1"]), validation=(ids["C2"],), test=(ids["ALIAS"],))
        split = Split(kind=kind, seed=0, data_hash=store.data_hash, folds=(leaking,))
        with pytest.raises(LeakageError, match=r"ALIAS.*C0"):
            split.check(store, 0)
        honest = Fold(train=(ids["C0"], ids["ALIAS"]), validation=(ids["C2"],), test=(ids["C1"],))
        Split(kind=kind, seed=0, data_hash=store.data_hash, folds=(honest,)).check(store, 0)


def test_the_check_refuses_a_pair_in_swapped_order() -> None:
    rows = knockouts(["A", "B", "C", "D"], ["A+B", "C+D"])
    rows.append(
        {
            "pert_id": "B+A",
            "targets": "B+A",
            "pert_type": "trt_xpr",
            "pert_dose": None,
            "condition_id": "swapped",
        }
    )
    store = store_of(rows)
    ids = treated_ids(store)
    pair, other = (next(name for name in ids if text in name) for text in ("A+B", "C+D"))
    singles = tuple(name for name in ids if "+" not in name and name != "swapped")
    for kind in ("unseen_pair", "random"):
        parts = Fold(train=(*singles, pair), validation=(other,), test=("swapped",))
        with pytest.raises(LeakageError, match=r"swapped.*A\+B"):
            Split(kind=kind, seed=0, data_hash=store.data_hash, folds=(parts,)).check(store, 0)


def test_a_saved_split_is_read_back_equal_and_a_changed_one_is_refused(tmp_path: Path) -> None:
    _, split = mixed_split("unseen_compound")
    path = tmp_path / "deep" / "split.json"
    split.save(path)
    assert Split.load(path) == split and Split.load(path).hash == split.hash
    assert [file.name for file in path.parent.iterdir()] == ["split.json"]
    text = path.read_text()
    path.write_text(text.replace('"seed": 0', '"seed": 1'))
    with pytest.raises(FormatError, match="was changed"):
        Split.load(path)
    for broken in (text[:100], "[]", '{"kind": "random"}'):
        path.write_text(broken)
        with pytest.raises(FormatError, match="not a split manifest"):
            Split.load(path)
    with pytest.raises(FormatError, match="Cannot read"):
        Split.load(tmp_path / "absent.json")
