"""Splits whose folds are draws (shares, numbers of genes, the rule of GEARS): nothing drawn is trained on."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import leak_stores as stores
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pertcast_data.errors import ConfigError, LeakageError
from pertcast_data.splits import PARTS, SPLIT_KINDS, Fold, Split, make_split
from pertcast_data.vocabulary import split_perturbation

knockout, table_store = stores.knockout, stores.table_store

GENES = [f"GENE{number:02d}" for number in range(24)]
PAIRS = [
    f"GENE{a:02d}+GENE{b:02d}" for a, b in itertools.combinations(range(16), 2) if (a * 7 + b * 3) % 4 == 0
]
"""GENE00-15 occur in pairs, GENE16-23 alone; every gene is measured alone."""
STORE = table_store([knockout(name) for name in [*GENES, *PAIRS]])

SEEDS = st.integers(0, 10_000)
DRAWN: tuple[tuple[str, dict[str, Any]], ...] = (
    ("unseen_pair", {"test_share": 0.3}),
    ("unseen_perturbation", {"test_share": 0.2}),
    ("unseen_perturbation", {"test_groups": 4}),
    ("unseen_perturbation", {"test_groups": 4, "test_among": "combined"}),
    ("random", {"test_share": 0.5}),
    ("gears", {}),
    ("gears", {"test_share": 0.1}),
)


def names_in(part: tuple[str, ...]) -> set[str]:
    return {name.split("|")[2] for name in part}


def members_in(part: tuple[str, ...]) -> set[str]:
    return {gene for name in names_in(part) for gene in split_perturbation(name)}


@settings(max_examples=40, deadline=None)
@given(asked=st.sampled_from(DRAWN), seed=SEEDS, n_folds=st.integers(1, 5))
def test_every_draw_is_complete_clean_and_new(
    asked: tuple[str, dict[str, Any]], seed: int, n_folds: int
) -> None:
    split = make_split(STORE, asked[0], n_folds, seed, **asked[1])
    everything = sorted(STORE.conditions["condition_id"])
    assert len({fold.held_out for fold in split.folds}) == n_folds == len(split.folds)
    for number, fold in enumerate(split.folds):
        assert sorted(name for part in PARTS for name in getattr(fold, part)) == everything
        assert fold.train and fold.validation and fold.test
        assert split.check(STORE, number).findings == ()


@settings(max_examples=25, deadline=None)
@given(asked=st.sampled_from(DRAWN), seed=SEEDS)
def test_draws_are_reproducible_and_do_not_depend_on_how_many_follow(
    asked: tuple[str, dict[str, Any]], seed: int
) -> None:
    first = make_split(STORE, asked[0], 2, seed, **asked[1])
    assert make_split(STORE, asked[0], 2, seed, **asked[1]).hash == first.hash
    assert make_split(STORE, asked[0], 4, seed, **asked[1]).folds[:2] == first.folds
    assert make_split(STORE, asked[0], 2, seed + 1, **asked[1]).folds != first.folds


@settings(max_examples=20, deadline=None)
@given(share=st.floats(0.05, 0.8), seed=SEEDS)
def test_the_additive_split_tests_its_share_of_pairs_and_trains_on_every_single(
    share: float, seed: int
) -> None:
    split = make_split(STORE, "unseen_pair", 3, seed, test_share=share)
    for fold in split.folds:
        assert len(fold.test) == max(1, round(share * len(PAIRS)))
        assert set(GENES) <= names_in(fold.train)
        assert {count for _, count in fold.seen} == {2}
        left = len(PAIRS) - len(fold.test)
        assert len(fold.validation) == max(1, round(left / 8))


@settings(max_examples=25, deadline=None)
@given(number=st.integers(1, 6), seed=SEEDS)
def test_held_out_genes_are_as_many_as_asked_and_reach_neither_training_nor_validation(
    number: int, seed: int
) -> None:
    split = make_split(STORE, "unseen_perturbation", 3, seed, test_groups=number)
    for fold in split.folds:
        held = set(fold.held_out)
        assert len(held) == number
        assert held.isdisjoint(members_in(fold.train) | members_in(fold.validation))
        assert {name for name in names_in(fold.test) if "+" not in name} == held
        trained = names_in(fold.train)
        for name, seen in fold.seen:
            members = set(split_perturbation(name.split("|")[2]))
            assert members & held and seen == len(members & trained) < 2


def test_genes_drawn_among_the_combined_give_every_draw_singles_and_pairs() -> None:
    lonely = table_store([knockout(name) for name in [*GENES, *PAIRS, "GENE00+GENE30", "GENE31+GENE32"]])
    for seed in range(10):
        split = make_split(lonely, "unseen_perturbation", 3, seed, test_groups=5, test_among="combined")
        for fold in split.folds:
            assert set(fold.held_out) <= {f"GENE{number:02d}" for number in range(16)}
            assert any("+" in name for name in names_in(fold.test))
            validated = {name for name in names_in(fold.validation) if "+" not in name}
            assert validated and validated <= {f"GENE{number:02d}" for number in range(16)}


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS)
def test_the_gears_rule_holds_out_a_quarter_of_genes_and_of_pairs_of_the_other_genes(seed: int) -> None:
    for fold in make_split(STORE, "gears", 2, seed).folds:
        genes = {name for name in fold.held_out if "+" not in name}
        pairs = {name for name in fold.held_out if "+" in name}
        assert len(genes) == round(0.25 * len(GENES))
        of_known = {name for name in PAIRS if genes.isdisjoint(name.split("+"))}
        assert pairs <= of_known and len(pairs) == max(1, round(0.25 * len(of_known)))
        tested = names_in(fold.test)
        assert tested == genes | pairs | (set(PAIRS) - of_known)


def test_the_strata_of_gears_are_told_by_the_members_that_training_shows() -> None:
    found: set[int] = set()
    for seed in range(5):
        (fold,) = make_split(STORE, "gears", 1, seed).folds
        trained = names_in(fold.train)
        for name, seen in fold.seen:
            assert seen == sum(gene in trained for gene in name.split("|")[2].split("+"))
            found.add(seen)
    assert found == {0, 1, 2}


def test_a_store_without_pairs_is_split_by_gears_as_by_genes() -> None:
    store = table_store([knockout(name) for name in GENES])
    (fold,) = make_split(store, "gears", 1).folds
    assert len(fold.test) == 6 and fold.seen == ()


@pytest.mark.parametrize(("kind", "options"), DRAWN)
def test_a_drawn_split_is_saved_with_what_was_drawn(
    kind: str, options: dict[str, Any], tmp_path: Path
) -> None:
    split = make_split(STORE, kind, 2, 7, **options)
    split.save(tmp_path / "split.json")
    read = Split.load(tmp_path / "split.json")
    assert read == split and read.hash == split.hash and read.is_drawn
    assert read.test_share == options.get("test_share", 0.25 if kind == "gears" else None)
    assert all(fold.held_out == tuple(sorted(fold.held_out)) and fold.held_out for fold in read.folds)


def test_a_dealt_split_says_nothing_of_draws(tmp_path: Path) -> None:
    split = make_split(STORE, "unseen_pair", 3)
    split.save(tmp_path / "split.json")
    written = (tmp_path / "split.json").read_text()
    assert not split.is_drawn and "test_share" not in written and "held_out" not in written


@pytest.mark.parametrize(("kind", "options"), DRAWN)
def test_a_drawn_gene_in_training_is_found(kind: str, options: dict[str, Any]) -> None:
    split = make_split(STORE, kind, 1, 3, **options)
    fold = split.folds[0]
    moved = Fold(
        train=(*fold.train, fold.test[0]),
        validation=fold.validation,
        test=fold.test[1:],
        held_out=fold.held_out,
    )
    with pytest.raises(LeakageError, match="was drawn for testing"):
        split.model_copy(update={"folds": (moved,)}).check(STORE, 0)


def test_a_pair_with_a_held_out_gene_that_is_not_measured_alone_is_found_in_training() -> None:
    store = table_store([knockout(name) for name in [*GENES[:12], "GENE00+GENE30", "GENE01+GENE30"]])
    seed = next(
        seed for seed in range(50) if "GENE30" in make_split(store, "gears", 1, seed).folds[0].held_out
    )
    split = make_split(store, "gears", 1, seed)
    leaked = stores.conditions_of(store, "GENE01+GENE30")
    fold = split.folds[0]
    moved = fold.model_copy(
        update={
            "train": (*fold.train, *leaked),
            "test": tuple(name for name in fold.test if name not in leaked),
        }
    )
    report = split.model_copy(update={"folds": (moved,)}).audit(store, 0)
    assert [finding.check for finding in report.errors] == ["drawn_groups"]
    assert "GENE30 was drawn for testing" in report.errors[0].message


def test_a_tested_condition_of_which_nothing_was_drawn_is_found() -> None:
    split = make_split(STORE, "unseen_pair", 1, 0, test_share=0.3)
    fold = split.folds[0]
    single = stores.conditions_of(STORE, "GENE20")
    moved = fold.model_copy(
        update={
            "test": (*fold.test, *single),
            "train": tuple(name for name in fold.train if name not in single),
        }
    )
    report = split.model_copy(update={"folds": (moved,)}).audit(STORE, 0)
    assert "drawn_groups" in {finding.check for finding in report.errors}


@pytest.mark.parametrize(
    ("kind", "n_folds", "options", "said"),
    [
        ("unseen_pair", 3, {"test_share": 1.5}, r"--test-share 1\.5 is no share; give a number between 0"),
        ("unseen_pair", 3, {"test_share": 0.0}, "--test-share 0 is no share"),
        ("unseen_perturbation", 3, {"test_groups": 0}, "--test-groups 0 cannot be drawn.*give 1 or more"),
        ("unseen_perturbation", 3, {"test_groups": 99}, "in the store: 24; 99 would be.*Test at most 22"),
        (
            "unseen_perturbation",
            3,
            {"test_groups": 17, "test_among": "combined"},
            "alone and in a combination: 16; 17 would be tested.*Test at most 14",
        ),
        ("unseen_pair", 3, {"test_share": 0.3, "test_groups": 2}, "say two things; give one"),
        ("unseen_pair", 3, {"test_groups": 2, "test_among": "combined"}, "for kind 'unseen_perturbation'"),
        ("unseen_perturbation", 3, {"test_among": "combined"}, "give --test-groups N or --test-share S"),
        ("all", 1, {"test_share": 0.3}, "'all' tests nothing"),
        ("gears", 3, {"test_groups": 12}, r"give a share of genes \(--test-share\)"),
        ("unseen_pair", 0, {"test_share": 0.3}, "at least 1 fold, not 0"),
        ("unseen_context", 1, {"test_share": 0.5}, "Use another kind"),
        (
            "unseen_perturbation", 30, {"test_groups": 1},
            "no more different draws of these groups than 24, and 30 folds.*Use --folds 24,",
        ),
    ],
)  # fmt: skip
def test_draws_that_cannot_be_made_are_refused_with_the_value_and_the_remedy(
    kind: str, n_folds: int, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        make_split(STORE, kind, n_folds, **options)


def test_every_kind_that_tests_something_can_be_drawn_by_share(tmp_path: Path) -> None:
    (tmp_path / "blocks.csv").write_text("gene,block\nGENE00,a\nGENE01,a\nGENE02,b\nGENE03,b\n")
    contexts = [
        knockout(name, cell_iname=cell, pert_time=hours, pert_dose=dose, pert_dose_unit="uM", batch_id=cell)
        for name in GENES[:8]
        for cell in ("A375", "HT29", "MCF7", "PC3")
        for hours, dose in ((24.0, 1.0), (48.0, 3.0), (96.0, 10.0))
    ]
    drugs = [stores.compound(f"cpd-{n}", smiles) for n, smiles in enumerate(stores.STRUCTURES)]
    store = table_store([*contexts, *drugs, *(knockout(f"GENE{n:02d}+GENE{n + 1:02d}") for n in range(6))])
    for kind in sorted(set(SPLIT_KINDS) - {"all", "group"}):
        options: dict[str, Any] = {"blocks": tmp_path / "blocks.csv"} if kind == "blocked" else {}
        split = make_split(store, kind, 2, test_share=0.3, **options)
        assert all(fold.held_out and fold.test for fold in split.folds), kind
    by_group = make_split(store, "group", 2, 0, "batch_id", test_share=0.3)
    assert all(len(fold.held_out) == 2 for fold in by_group.folds)
