"""What was held out, counted: profiles, conditions, perturbations and contexts of each part of a fold."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import numpy as np
import polars as pl
from pertcast_data.splits import PARTS, Split
from pertcast_data.splits.identity import perturbation_members
from pertcast_data.store import ExpressionStore
from pertcast_data.vocabulary import PAIR_SEPARATOR

from pertcast.evaluation.parts import HeldOutCounts

_MOST_EXAMPLES: Final = 5
_PART: Final = "_part"
_MEMBERS: Final = "_members"
_SET: Final = "_set"
_ROWS: Final = "_n_rows"
_COLUMNS: Final = MappingProxyType({"contexts": "cell_iname", "doses": "pert_dose", "times": "pert_time"})
_NEW: Final = ("perturbations", "contexts", "pairs", "doses", "times")


def _parts_table(split: Split, store: ExpressionStore, fold: int) -> pl.DataFrame:
    """Return the store's conditions that belong to a part, with the part and who their perturbations are."""
    chosen = split.fold(fold)
    part_of = {name: str(part) for part in PARTS for name in getattr(chosen, part)}
    table = store.conditions
    members = perturbation_members(table)
    counts = np.bincount(store.condition_of_row[store.condition_of_row >= 0])
    n_rows = [
        int(counts[index]) if index < len(counts) else 0 for index in table["condition_index"].to_list()
    ]
    return table.with_columns(
        pl.Series(_PART, [part_of.get(name) for name in table["condition_id"]], dtype=pl.String),
        pl.Series(_MEMBERS, [list(each) for each in members], dtype=pl.List(pl.String)),
        pl.Series(_SET, [PAIR_SEPARATOR.join(each) for each in members]),
        pl.Series(_ROWS, n_rows),
    ).filter(pl.col(_PART).is_not_null())


def _counts(table: pl.DataFrame) -> dict[str, int]:
    return {
        "profiles": int(table[_ROWS].sum()),
        "conditions": table.height,
        "perturbations": table[_SET].n_unique(),
        "contexts": table["cell_iname"].n_unique(),
    }


def _new_in_test(trained: pl.DataFrame, tested: pl.DataFrame) -> dict[str, int]:
    members = set(trained[_MEMBERS].explode().drop_nulls().to_list())
    sets = set(trained[_SET].to_list())
    combined = tested.filter(pl.col(_MEMBERS).list.len() > 1)[_SET].to_list()
    found = {
        "perturbations": sum(not members.issuperset(each) for each in tested[_MEMBERS].to_list()),
        "pairs": sum(name not in sets for name in combined),
    }
    for word, column in _COLUMNS.items():
        seen = trained[column].drop_nulls().unique().to_list()
        found[word] = int((~tested[column].drop_nulls().is_in(seen)).sum())
    return {word: found[word] for word in _NEW}


def count_held_out(split: Split, store: ExpressionStore, fold: int) -> HeldOutCounts:
    """Count the parts of a fold and how much of its test part training never saw.

    Parameters
    ----------
    split
        Made for `store`.
    store
        Its condition table is counted; no profile is read.
    fold
        Which fold.
    """
    table = _parts_table(split, store, fold)
    by_part = {str(part): table.filter(pl.col(_PART) == str(part)) for part in PARTS}
    tested = by_part["test"]
    named = tested["cmap_name"].fill_null(tested["pert_id"])
    return HeldOutCounts(
        parts={part: _counts(rows) for part, rows in by_part.items()},
        examples=tuple(named.drop_nulls().unique().sort().to_list()[:_MOST_EXAMPLES]),
        new_in_test=_new_in_test(by_part["train"], tested),
    )


def pool_counts(folds: Mapping[int, HeldOutCounts], n_perturbations: int, n_contexts: int) -> HeldOutCounts:
    """Add up the test parts of several folds; what each trained on differs and is left out.

    Parameters
    ----------
    folds
        Fold -> its counts.
    n_perturbations, n_contexts
        Distinct ones in the pooled test conditions.
    """
    tests = [counts.parts["test"] for counts in folds.values()]
    total = {word: sum(test[word] for test in tests) for word in ("profiles", "conditions")}
    examples = dict.fromkeys(name for counts in folds.values() for name in counts.examples)
    return HeldOutCounts(
        parts={"test": {**total, "perturbations": n_perturbations, "contexts": n_contexts}},
        examples=tuple(sorted(examples))[:_MOST_EXAMPLES],
        new_in_test={word: sum(counts.new_in_test[word] for counts in folds.values()) for word in _NEW},
    )
