"""Kinds of splits one by one: what each holds out, blocks and aliases from files, combinations half seen."""

from __future__ import annotations

import hashlib
import itertools
import json
from pathlib import Path

import leak_stores as stores
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pertcast_data.errors import ConfigError, LeakageError
from pertcast_data.splits import Split, make_split, read_aliases
from pertcast_data.splits.blocks import read_blocks
from pertcast_data.splits.identity import perturbation_members

knockout, compound, table_store = stores.knockout, stores.compound, stores.table_store
GENES = [f"GENE{n}" for n in range(12)]
SCREEN = [knockout(name) for name in GENES]


def held_out_values(split: Split, column: int) -> list[set[str]]:
    return [{name.split("|")[column] for name in fold.test} for fold in split.folds]


def test_a_scaffold_is_held_out_with_all_its_decorations() -> None:
    phenyl = [
        compound(f"phenyl-{n}", smiles) for n, smiles in enumerate(["Cc1ccccc1", "Oc1ccccc1", "CCc1ccccc1N"])
    ]
    pyridine = [compound(f"pyridine-{n}", smiles) for n, smiles in enumerate(["Cc1ccncc1", "Oc1ccncc1"])]
    chains = [compound("ethanol", "CCO"), compound("butane", "CCCC"), compound("nameless")]
    store = table_store([*phenyl, *pyridine, *chains])
    for seed in range(4):
        split = make_split(store, "unseen_scaffold", 4, seed)
        for tested in held_out_values(split, 2):
            for family in ("phenyl", "pyridine"):
                assert (
                    len({name in tested for name in store.conditions["pert_id"] if name.startswith(family)})
                    == 1
                )
    alone = [tested & {"ethanol", "butane", "nameless"} for tested in held_out_values(split, 2)]
    assert sum(map(len, alone)) == 3


def test_doses_and_times_are_held_out_whole_and_conditions_without_one_are_trained_on() -> None:
    rows = [
        compound(f"cpd-{n}", pert_dose=dose, pert_time=time)
        for n in range(3)
        for dose in (0.1, 1.0, 10.0, 100.0)
        for time in (3.0, 6.0, 24.0)
    ]
    store = table_store([*rows, knockout("KRAS", pert_time=None)])
    by_dose, by_time = make_split(store, "unseen_dose", 4), make_split(store, "unseen_time", 3)
    assert sorted(map(sorted, held_out_values(by_dose, 3))) == [["0.1"], ["1"], ["10"], ["100"]]
    assert sorted(map(sorted, held_out_values(by_time, 4))) == [["24"], ["3"], ["6"]]
    for split in (by_dose, by_time):
        assert all(any("KRAS" in name for name in fold.train) for fold in split.folds)


def test_combinations_say_how_many_of_their_members_training_shows_alone() -> None:
    singles = [knockout(name) for name in GENES[:6]]
    names = ("GENE0+GENE1", "GENE2+GENE8", "GENE8+GENE9", "GENE3+GENE4")
    pairs = [knockout(name) for name in names]
    split = make_split(table_store([*singles, *pairs]), "unseen_pair", 4)
    seen = {name.split("|")[2]: count for number in range(4) for name, count in split.seen(number).items()}
    assert seen == {"GENE0+GENE1": 2, "GENE2+GENE8": 1, "GENE8+GENE9": 0, "GENE3+GENE4": 2}
    by_gene = make_split(table_store([*singles, *pairs]), "unseen_perturbation", 2, seed=1)
    for fold in by_gene.folds:
        trained = {name.split("|")[2] for name in fold.train}
        for name, count in fold.seen:
            assert count == len(trained & set(name.split("|")[2].split("+")))
    other_way = table_store([*(knockout(name, pert_type="trt_oe") for name in GENES[:6]), *pairs])
    assert {count for fold in make_split(other_way, "unseen_pair", 4).folds for _, count in fold.seen} == {0}


EDGES = st.sets(st.tuples(st.integers(0, 15), st.integers(0, 15)), min_size=1, max_size=14)


@settings(max_examples=40, deadline=None)
@given(edges=EDGES, distance=st.integers(1, 3), seed=st.integers(0, 99))
def test_no_tested_gene_is_within_the_distance_of_a_trained_one(
    tmp_path_factory: pytest.TempPathFactory, edges: set[tuple[int, int]], distance: int, seed: int
) -> None:
    path = tmp_path_factory.mktemp("edges") / "network.tsv"
    path.write_text("".join(f"GENE{a}\tgene{b}\t0.9\n" for a, b in sorted(edges)), encoding="utf-8")
    try:
        split = make_split(table_store(SCREEN), "blocked", 3, seed, blocks=path, block_distance=distance)
    except ConfigError as error:
        assert any(said in str(error) for said in ("connects no two", "into one block", "Use another"))
        return
    steps = np.full((16, 16), np.inf)
    for a, b in edges:
        steps[a, b] = steps[b, a] = 1
    for k, a, b in itertools.product(range(16), repeat=3):
        steps[a, b] = min(steps[a, b], steps[a, k] + steps[k, b])
    for fold in split.folds:
        held, easier = (
            [int(name.split("|")[2][4:]) for name in part]
            for part in (fold.test, fold.train + fold.validation)
        )
        assert min(steps[a, b] for a in held for b in easier) > distance


def test_blocks_come_from_sets_and_tables_and_folds_are_balanced(tmp_path: Path) -> None:
    (tmp_path / "complexes.gmt").write_text("c1\tx\tGENE0\tGENE1\nc2\tx\tGENE1\tGENE2\nc3\t\tGENE5\tABSENT\n")
    (tmp_path / "blocks.csv").write_text("gene,block\nGENE0,a\nGENE1,a\nGENE2,a\nGENE9,b\n")
    expected = {name: "GENE0" if name in ("GENE0", "GENE1", "GENE2") else name for name in GENES}
    for name in ("complexes.gmt", "blocks.csv"):
        assert dict(read_blocks(tmp_path / name, GENES, str.upper)) == expected
        split = make_split(table_store(SCREEN), "blocked", 4, blocks=tmp_path / name)
        assert [len(fold.test) for fold in split.folds] == [3, 3, 3, 3]


def test_a_block_on_both_sides_is_refused(tmp_path: Path) -> None:
    (tmp_path / "blocks.csv").write_text("gene,block\nGENE0,a\nGENE1,a\n")
    store = table_store(SCREEN)
    split = make_split(store, "blocked", 4, blocks=tmp_path / "blocks.csv")
    name = stores.conditions_of(store, "GENE0")[0]
    fold = stores.fold_that_tests(split, name)
    with pytest.raises(LeakageError, match="blocks of genes"):
        stores.move_to_train(split, fold, [name]).check(store, fold)


def test_files_of_blocks_that_help_nobody_are_refused_with_a_remedy(tmp_path: Path) -> None:
    store = table_store(SCREEN)
    cases = {
        "GENE0\tGENE1\n" + "".join(f"GENE0\tGENE{n}\n" for n in range(2, 9)): "ties 9 of 12 perturbed genes",
        "A\tB\nB\tC\n": "connects no two of the 12 perturbed genes",
        "gene\nGENE1\n": "one column says nothing",
    }
    for content, message in cases.items():
        (tmp_path / "file.tsv").write_text(content)
        with pytest.raises(ConfigError, match=message):
            make_split(store, "blocked", 3, blocks=tmp_path / "file.tsv")
    (tmp_path / "sets.gmt").write_text("c1\tx\tGENE0\tGENE1\n")
    with pytest.raises(ConfigError, match="edge lists"):
        make_split(store, "blocked", 3, blocks=tmp_path / "sets.gmt", block_distance=2)
    with pytest.raises(ConfigError, match="--blocks FILE"):
        make_split(store, "blocked", 3)
    with pytest.raises(ConfigError, match="leave it out"):
        make_split(store, "random", 3, blocks=tmp_path / "sets.gmt")
    with pytest.raises(ConfigError, match=r"absent\.csv"):
        make_split(store, "blocked", 3, blocks=tmp_path / "absent.csv")


def test_tables_of_aliases_are_read_in_two_forms_and_travel_with_the_manifest(tmp_path: Path) -> None:
    plain, hgnc, wrong = (tmp_path / name for name in ("plain.csv", "hgnc.tsv", "wrong.csv"))
    plain.write_text("alias,name\nOLD1,GENE1\n")
    hgnc.write_text('symbol\talias_symbol\tprev_symbol\nGENE1\t"SHARED|GENE2"\tOLD1\nGENE2\tSHARED\t\n')
    wrong.write_text("a,b\n1,2\n")
    assert read_aliases(plain) == read_aliases(hgnc) == (("OLD1", "GENE1"),)
    with pytest.raises(ConfigError, match="columns alias and name"):
        read_aliases(wrong)
    store = table_store([*SCREEN, knockout("OLD1")])
    split = make_split(store, "unseen_perturbation", 4, aliases=read_aliases(plain))
    split.save(tmp_path / "split.json")
    read = Split.load(tmp_path / "split.json")
    assert read == split and read.aliases == (("OLD1", "GENE1"),)
    fold = stores.fold_that_tests(read, stores.conditions_of(store, "OLD1")[0])
    assert stores.conditions_of(store, "GENE1")[0] in read.folds[fold].test


def test_a_manifest_of_an_older_version_is_still_read_under_its_hash(tmp_path: Path) -> None:
    old = {
        "kind": "random", "seed": 3, "data_hash": "data-1",
        "folds": [{"train": ["a"], "validation": ["b"], "test": ["c"]}], "group_column": None,
    }  # fmt: skip
    canonical = json.dumps(old, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    path = tmp_path / "old.json"
    path.write_text(json.dumps(old | {"hash": digest}))
    read = Split.load(path)
    assert read.hash == digest and read.folds[0].seen == () and read.controls == "shared"
    read.save(tmp_path / "again.json")
    assert json.loads((tmp_path / "again.json").read_text()) == old | {"hash": digest}


def test_members_of_a_plain_table_need_no_store() -> None:
    rows = [knockout("B+A", targets="B+A"), knockout("ctrl+A"), compound("x", "CCO", inchi_key=None)]
    members = perturbation_members(pl.DataFrame(rows, infer_schema_length=None))
    assert members == [("A", "B"), ("A",), ("LFQSCWFLJHTTHZ",)]
