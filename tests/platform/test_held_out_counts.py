"""What was held out is counted: by part, and by what training never saw."""

from __future__ import annotations

from pathlib import Path

import pytest
from pertcast.evaluation.from_store.held_out_counts import count_held_out, pool_counts
from pertcast_data.splits import Split, make_split
from pertcast_data.store import ExpressionStore


@pytest.fixture(scope="module")
def store(tiny_bundle: Path) -> ExpressionStore:
    return ExpressionStore.open(tiny_bundle.parent / "store")


def plain(store: ExpressionStore, split: Split, part: str, column: str) -> list[str]:
    names = set(getattr(split.folds[0], part))
    return [row[column] for row in store.conditions.to_dicts() if row["condition_id"] in names]


def test_every_part_is_counted(store: ExpressionStore) -> None:
    split = make_split(store, "unseen_compound", seed=1)
    counts = count_held_out(split, store, 0)
    for part in ("train", "validation", "test"):
        found = counts.parts[part]
        assert found["conditions"] == len(getattr(split.folds[0], part))
        assert found["profiles"] == len(split.rows(store, 0, part))
        assert found["perturbations"] == len(set(plain(store, split, part, "pert_id")))
        assert found["contexts"] == 2
    assert set(counts.examples) <= set(plain(store, split, "test", "pert_id"))


def test_unseen_compounds_are_new_in_every_condition_and_nothing_else_is(store: ExpressionStore) -> None:
    split = make_split(store, "unseen_compound", seed=1)
    new = count_held_out(split, store, 0).new_in_test
    assert new == {
        "perturbations": len(split.folds[0].test), "contexts": 0, "pairs": 0, "doses": 0, "times": 0
    }  # fmt: skip


def test_an_unseen_context_is_new_and_its_perturbations_are_not(store: ExpressionStore) -> None:
    split = make_split(store, "random", seed=1)
    line = split.model_copy(
        update={
            "folds": (
                split.folds[0].model_copy(
                    update={
                        "train": tuple(
                            n for n in store.conditions["condition_id"] if "A375" in n and "DMSO" not in n
                        ),
                        "validation": (),
                        "test": tuple(
                            n for n in store.conditions["condition_id"] if "HT29" in n and "DMSO" not in n
                        ),
                    }
                ),
            )
        }
    )
    counts = count_held_out(line, store, 0)
    assert counts.new_in_test["contexts"] == counts.parts["test"]["conditions"] > 0
    assert counts.new_in_test["perturbations"] == 0


def test_test_parts_of_folds_add_up(store: ExpressionStore) -> None:
    split = make_split(store, "unseen_compound", n_folds=3, seed=0)
    folds = {fold: count_held_out(split, store, fold) for fold in range(3)}
    pooled = pool_counts(folds, 12, 2)
    tested = sum(len(split.folds[fold].test) for fold in range(3))
    assert set(pooled.parts) == {"test"} and pooled.parts["test"]["conditions"] == tested
    assert pooled.parts["test"]["perturbations"] == 12
    assert pooled.new_in_test["perturbations"] == tested
