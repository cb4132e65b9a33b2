"""The trust report tells singles and combinations apart by how much of them training has shown."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from pertcast.evaluation.held_out import HeldOut
from pertcast.evaluation.scores.pooled_boards import pool_boards
from pertcast.evaluation.scores.score_board import Contender, ScoreBoard
from pertcast.evaluation.trust.members import by_members, stratum_name
from pertcast.evaluation.trust.table import TrustFacts, TrustTable, make_board, trust_table
from pertcast.report.trust_report import trust_report

Array = NDArray[Any]
N_GENES = 60
KINDS = [(1, 1)] * 6 + [(2, 0)] * 8 + [(2, 1)] * 7 + [(2, 2)] * 5


def board(kinds: Sequence[tuple[int, int | None]] = KINDS, seed: int = 0, first: int = 0) -> ScoreBoard:
    """The model knows what both members of a combination have shown, and less the more are unseen."""
    random = np.random.default_rng(seed)
    n = len(kinds)
    truth = random.normal(0, 1, (n, N_GENES))
    unseen = np.array([kind[1] or 0 for kind in kinds], dtype=float)
    forecast = truth + random.normal(0, 1, truth.shape) * (0.2 + unseen)[:, None]
    conditions = pl.DataFrame(
        {
            "condition_id": [f"condition {first + number}" for number in range(n)],
            "cluster": [f"P{first + number:03d}" for number in range(n)],
            "n_members": [kind[0] for kind in kinds],
            "n_unseen_members": [kind[1] for kind in kinds],
        }
    )
    held = HeldOut(
        conditions=conditions,
        genes=tuple(f"g{number}" for number in range(N_GENES)),
        truth=truth.astype(np.float32),
        control=np.zeros((n, N_GENES), np.float32),
        train_perturbed_mean=np.ones((1, N_GENES), np.float32),
        train_mean_index=np.zeros(n, np.int64),
        pool=np.zeros(n, np.int64),
        cluster=np.arange(n),
        own_gene=np.full((n, 1), -1),
    )
    weak = random.normal(0, 1, truth.shape)
    contenders = [
        Contender("model", "Model", "model"),
        Contender("weak", "Weak", "baseline"),
        Contender("additive", "Additive", "baseline"),
    ]
    return make_board(held, {"model": forecast, "weak": weak, "additive": 0.5 * truth + weak}, contenders)


def judged(made: ScoreBoard) -> TrustTable:
    return trust_table(made, TrustFacts(model="model", title="Model"), n_draws=100)


def test_every_stratum_has_the_means_of_its_own_conditions() -> None:
    made = board()
    found = {stratum.name: stratum for stratum in by_members(made, 100, 0)}
    assert list(found) == ["single, unseen", "double, 0 unseen", "double, 1 unseen", "double, 2 unseen"]
    assert [stratum.n_conditions for stratum in found.values()] == [6, 8, 7, 5]
    for stratum in found.values():
        kind = (stratum.n_members, stratum.n_unseen)
        chosen = [number for number, each in enumerate(KINDS) if each == kind]
        for who in ("model", "additive"):
            expected = made.scores[who]["pearson_delta"][chosen].mean()
            assert stratum.scores[who]["pearson_delta"].mean == pytest.approx(expected)
    means = [stratum.scores["model"]["pearson_delta"].mean for stratum in found.values()]
    assert means[1] > means[2] > means[3]


def test_conditions_of_one_kind_are_not_repeated_in_a_table_of_strata() -> None:
    assert by_members(board([(2, 0)] * 12), 10, 0) == ()
    assert by_members(board([(1, 1)] * 6 + [(1, 0)] * 6), 10, 0) == ()
    untold = replace(board(), conditions=board().conditions.drop("n_unseen_members"))
    assert by_members(untold, 10, 0) == ()


def test_a_combination_that_the_manifest_does_not_tell_of_is_in_no_stratum() -> None:
    found = by_members(board([(1, 1)] * 5 + [(2, 1)] * 5 + [(2, None)] * 4), 10, 0)
    assert [stratum.n_conditions for stratum in found] == [5, 5]


def test_the_terminal_the_page_and_the_json_show_the_strata() -> None:
    trust = judged(board())
    lines = "\n".join(trust.lines())
    table = lines[lines.index("by members seen in training") :]
    assert table.index("single, unseen") < table.index("double, 1 unseen") < table.index("double, 2 unseen")
    assert table.count("> Model") == 4 and "  Additive" in table
    assert max(len(line) for line in table.splitlines()[:14]) <= 110
    strata = json.loads(trust.to_json())["by_members"]
    assert strata[2]["name"] == "double, 1 unseen" and strata[2]["n_conditions"] == 7
    mean = trust.by_members[2].scores["model"]["pearson_delta"].mean
    assert strata[2]["scores"]["model"]["pearson_delta"]["mean"] == pytest.approx(mean, abs=1e-5)
    assert "By members seen in training" in trust_report(trust)
    assert "double, 2 unseen" in {stratum.name for stratum in trust.strata}
    alike = judged(board([(2, 0)] * 12))
    assert "by members" not in "\n".join(alike.lines()) and alike.by_members == ()


def test_strata_are_named_by_members_and_unseen_members() -> None:
    assert stratum_name(1, 1) == "single, unseen" and stratum_name(1, 0) == "single, seen"
    assert stratum_name(2, 2) == "double, 2 unseen" and stratum_name(3, 1) == "triple, 1 unseen"
    assert stratum_name(4, 0) == "4 members, 0 unseen"


def test_a_condition_that_several_draws_test_counts_once_a_draw_and_is_resampled_as_one() -> None:
    boards = [board(seed=0), board(seed=1), board(seed=2, first=100)]
    pooled = pool_boards(boards, ["0", "1", "2"])
    names = pooled.conditions["condition_id"].to_list()
    assert len(set(names)) == len(names) == 3 * len(KINDS)
    assert {"condition 3 (fold 0)", "condition 3 (fold 1)", "condition 103"} <= set(names)
    assert len(np.unique(pooled.cluster)) == 2 * len(KINDS)
    means = [made.scores["model"]["pearson_delta"].mean() for made in boards]
    assert judged(pooled).summary["model"]["pearson_delta"].mean == pytest.approx(np.mean(means))
