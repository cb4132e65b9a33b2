"""Properties of plans of whole groups, over any conditions, sizes, ranks, micro-batches and steps."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pertcast_data.errors import ConfigError
from pertcast_data.loading import GroupPlan

SHAPES = st.fixed_dictionaries(
    {
        "group_size": st.integers(1, 9),
        "batch_size": st.integers(1, 40),
        "seed": st.integers(0, 3),
        "world_size": st.integers(1, 4),
        "accumulate": st.integers(1, 3),
        "buffer_rows": st.integers(1, 100),
    }
)
CONDITION_SIZES = st.lists(st.integers(1, 40), min_size=1, max_size=12)
EPOCHS = st.integers(0, 2)


def mixed_rows(sizes: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Return rows of a store in which conditions lie mixed, and their conditions (3, 10, 17, ...)."""
    condition = np.repeat(np.arange(len(sizes)) * 7 + 3, sizes)
    np.random.default_rng(len(condition)).shuffle(condition)
    return np.arange(len(condition)) * 2 + 1, condition


def plans(sizes: list[int], shape: dict[str, int], *, shuffle: bool) -> list[GroupPlan]:
    rows, condition = mixed_rows(sizes)
    ranks = range(shape["world_size"])
    return [GroupPlan(rows, condition, **shape, rank=rank, shuffle=shuffle) for rank in ranks]


def shuffled_plans(sizes: list[int], shape: dict[str, int]) -> list[GroupPlan]:
    """Return a plan a rank; a step's rows are rounded to what divides over ranks and micro-batches."""
    batches = shape["world_size"] * shape["accumulate"]
    assume(sum(n_groups(size, shape["group_size"]) for size in sizes) >= batches)
    if batches > 1:
        size = shape["group_size"]
        shape = shape | {"batch_size": max(1, shape["batch_size"] // size) * size}
    return plans(sizes, shape, shuffle=True)


def n_groups(n_rows: int, group_size: int) -> int:
    """Return n_rows / group_size, halves rounded up, at least 1."""
    return max(1, int(n_rows / group_size + 0.5))


def groups_of(batches: list[np.ndarray], group_size: int) -> list[tuple[int, ...]]:
    joined = np.concatenate(batches) if batches else np.empty(0, np.int64)
    return [tuple(group.tolist()) for group in joined.reshape(-1, group_size)]


@settings(deadline=None)
@given(sizes=CONDITION_SIZES, shape=SHAPES, epoch=EPOCHS, shuffle=st.booleans())
def test_every_batch_is_whole_groups_each_of_one_condition(
    sizes: list[int], shape: dict[str, int], epoch: int, shuffle: bool
) -> None:
    rows, condition = mixed_rows(sizes)
    condition_of = dict(zip(rows.tolist(), condition.tolist(), strict=True))
    for plan in shuffled_plans(sizes, shape) if shuffle else plans(sizes, shape, shuffle=False):
        batches = list(plan.batches(epoch))
        assert len(batches) == plan.steps(epoch)
        assert all(0 < len(batch) <= max(shape["batch_size"], shape["group_size"]) for batch in batches)
        assert all(len(batch) % shape["group_size"] == 0 for batch in batches)
        for group in groups_of(batches, shape["group_size"]):
            assert len({condition_of[row] for row in group}) == 1


@settings(deadline=None)
@given(sizes=CONDITION_SIZES, shape=SHAPES, epoch=EPOCHS, shuffle=st.booleans())
def test_a_group_repeats_a_row_only_where_its_condition_is_smaller_and_then_evenly(
    sizes: list[int], shape: dict[str, int], epoch: int, shuffle: bool
) -> None:
    rows, condition = mixed_rows(sizes)
    of_condition = {c: set(rows[condition == c].tolist()) for c in np.unique(condition)}
    condition_of = dict(zip(rows.tolist(), condition.tolist(), strict=True))
    for plan in shuffled_plans(sizes, shape) if shuffle else plans(sizes, shape, shuffle=False):
        for group in groups_of(list(plan.batches(epoch)), shape["group_size"]):
            own = of_condition[condition_of[group[0]]]
            counts = Counter(group)
            assert len(counts) == min(len(own), len(group))
            assert max(counts.values()) - min(counts.values()) <= 1


@settings(deadline=None)
@given(sizes=CONDITION_SIZES, shape=SHAPES, epoch=EPOCHS)
def test_shuffled_ranks_get_equally_many_batches_of_equal_size_and_leave_out_less_than_a_step(
    sizes: list[int], shape: dict[str, int], epoch: int
) -> None:
    made = shuffled_plans(sizes, shape)
    ranks = [list(plan.batches(epoch)) for plan in made]
    assert {len(batch) for batches in ranks for batch in batches} == {made[0].batch_size}
    assert {len(batches) for batches in ranks} == {made[0].steps(epoch)} and made[0].steps(epoch) > 0
    assert made[0].steps(epoch) % shape["accumulate"] == 0
    dealt = sum(len(groups_of(batches, shape["group_size"])) for batches in ranks)
    there = sum(n_groups(size, shape["group_size"]) for size in sizes)
    a_step = shape["world_size"] * shape["accumulate"] * made[0].batch_size // shape["group_size"]
    assert 0 <= there - dealt < a_step


@settings(deadline=None)
@given(sizes=CONDITION_SIZES, shape=SHAPES, epoch=EPOCHS)
def test_no_group_is_dealt_to_two_ranks(sizes: list[int], shape: dict[str, int], epoch: int) -> None:
    # Every condition's rows fill whole groups: then two groups of an epoch share no row.
    sizes = [max(1, size // shape["group_size"]) * shape["group_size"] for size in sizes]
    seen = [set(np.concatenate(list(plan.batches(epoch))).tolist()) for plan in shuffled_plans(sizes, shape)]
    assert len(set().union(*seen)) == sum(map(len, seen))


@settings(deadline=None)
@given(sizes=CONDITION_SIZES, group_size=st.integers(1, 9), epoch=EPOCHS, seed=st.integers(0, 3))
def test_an_epoch_that_leaves_out_no_group_draws_from_each_condition_in_proportion_to_its_rows(
    sizes: list[int], group_size: int, epoch: int, seed: int
) -> None:
    rows, condition = mixed_rows(sizes)
    plan = GroupPlan(rows, condition, group_size, group_size, seed)
    seen = np.concatenate(list(plan.batches(epoch)))
    condition_of = dict(zip(rows.tolist(), condition.tolist(), strict=True))
    drawn = Counter(condition_of[row] for row in seen.tolist())
    distinct = Counter(condition_of[row] for row in set(seen.tolist()))
    for number, size in zip(np.arange(len(sizes)) * 7 + 3, sizes, strict=True):
        assert drawn[number] == group_size * n_groups(size, group_size)
        assert size - distinct[number] < group_size / 2
        if size <= group_size or size % group_size == 0:
            assert distinct[number] == size


@settings(deadline=None)
@given(sizes=CONDITION_SIZES, shape=SHAPES, epoch=EPOCHS)
def test_validation_holds_every_row_and_each_group_exactly_once_over_all_ranks(
    sizes: list[int], shape: dict[str, int], epoch: int
) -> None:
    seen = []
    for plan in plans(sizes, shape, shuffle=False):
        seen += groups_of(list(plan.batches(epoch)), shape["group_size"])
    rows, condition = mixed_rows(sizes)
    expected = []
    for own in (rows[condition == c] for c in np.unique(condition)):
        count = -(-len(own) // shape["group_size"])
        expected += groups_of([np.resize(own, count * shape["group_size"])], shape["group_size"])
    assert seen == expected
    assert {row for group in seen for row in group} == set(rows.tolist())


@settings(deadline=None)
@given(sizes=CONDITION_SIZES, shape=SHAPES, epoch=EPOCHS, share=st.floats(0, 1), shuffle=st.booleans())
def test_a_resumed_epoch_is_the_tail_of_an_undisturbed_one(
    sizes: list[int], shape: dict[str, int], epoch: int, share: float, shuffle: bool
) -> None:
    for plan in shuffled_plans(sizes, shape) if shuffle else plans(sizes, shape, shuffle=False):
        whole = [batch.tolist() for batch in plan.batches(epoch)]
        start = int(share * len(whole))
        assert [batch.tolist() for batch in plan.batches(epoch, start)] == whole[start:]


@settings(deadline=None)
@given(sizes=CONDITION_SIZES, shape=SHAPES, start=st.integers(0, 5), shuffle=st.booleans())
def test_every_row_is_announced_before_it_comes_and_announcing_changes_nothing(
    sizes: list[int], shape: dict[str, int], start: int, shuffle: bool
) -> None:
    for plan in shuffled_plans(sizes, shape) if shuffle else plans(sizes, shape, shuffle=False):
        known: set[int] = set()
        batches = []
        for batch in plan.batches(1, start, announce=lambda rows, known=known: known.update(rows.tolist())):
            assert known.issuperset(batch.tolist())
            batches.append(batch.tolist())
        assert batches == [batch.tolist() for batch in plan.batches(1, start)]


def test_epochs_and_seeds_differ_and_each_is_repeated_exactly() -> None:
    rows, condition = mixed_rows([50] * 20)

    def order(seed: int, epoch: int) -> tuple[int, ...]:
        return tuple(np.concatenate(list(GroupPlan(rows, condition, 8, 32, seed).batches(epoch))).tolist())

    assert order(0, 0) == order(0, 0)
    assert len({order(*key) for key in ((0, 0), (0, 1), (1, 0), (1, 1))}) == 4


def test_the_groups_of_a_condition_are_others_in_each_epoch_and_a_batch_mixes_conditions() -> None:
    rows, condition = mixed_rows([40] * 30)
    plan = GroupPlan(rows, condition, 8, 64)
    first, second = (set(map(frozenset, groups_of(list(plan.batches(epoch)), 8))) for epoch in (0, 1))
    assert not first & second
    condition_of = dict(zip(rows.tolist(), condition.tolist(), strict=True))
    mixed = [len({condition_of[row] for row in batch.tolist()}) for batch in plan.batches(0)]
    assert min(mixed) >= 4


def test_every_row_has_its_turn_within_a_few_epochs() -> None:
    # 11 of 8: one group an epoch and three rows out; 3 groups of 59 are left out as well.
    rows, condition = mixed_rows([11] * 40 + [3] * 19)
    seen: set[int] = set()
    for epoch in range(20):
        for rank in range(2):
            plan = GroupPlan(rows, condition, 8, 32, rank=rank, world_size=2)
            seen |= set(np.concatenate(list(plan.batches(epoch))).tolist())
    assert seen == set(rows.tolist())


@settings(deadline=None)
@given(
    sizes=CONDITION_SIZES,
    group_size=st.integers(1, 5),
    rows=st.integers(1, 150),
    parts=st.lists(st.sampled_from([(1, 1), (2, 1), (1, 2), (3, 1), (2, 2), (2, 3)]), min_size=2, max_size=3),
    epoch=EPOCHS,
)
def test_a_step_takes_the_same_groups_for_any_number_of_ranks_and_micro_batches_that_they_divide_over(
    sizes: list[int], group_size: int, rows: int, parts: list[tuple[int, int]], epoch: int
) -> None:
    step_rows = 12 * rows
    assume(all(max(1, step_rows // group_size) % (ranks * accumulate) == 0 for ranks, accumulate in parts))
    assume(sum(n_groups(size, group_size) for size in sizes) * group_size >= step_rows)
    found = []
    for world_size, accumulate in parts:
        share = {"world_size": world_size, "accumulate": accumulate}
        shape = {"group_size": group_size, "batch_size": step_rows // (world_size * accumulate)}
        ranks = [list(plan.batches(epoch)) for plan in plans(sizes, shape | share, shuffle=True)]
        found.append(
            [
                [row for batches in ranks for batch in batches[k : k + accumulate] for row in batch.tolist()]
                for k in range(0, len(ranks[0]), accumulate)
            ]
        )
    assert all(each == found[0] for each in found)


def test_few_groups_make_one_smaller_batch_a_rank() -> None:
    rows, condition = mixed_rows([5, 5, 5, 5, 5])
    ranks = [list(GroupPlan(rows, condition, 4, 64, rank=r, world_size=2).batches(0)) for r in (0, 1)]
    assert [[len(batch) for batch in batches] for batches in ranks] == [[8], [8]]


def test_a_batch_smaller_than_a_group_is_one_group() -> None:
    plan = GroupPlan(*mixed_rows([8, 8]), group_size=8, batch_size=3)
    assert [len(batch) for batch in plan.batches(0)] == [8, 8]


@pytest.mark.parametrize(("world_size", "accumulate"), [(2, 1), (1, 2), (4, 1)])
def test_groups_that_do_not_divide_over_ranks_and_micro_batches_are_refused_not_rounded(
    world_size: int, accumulate: int
) -> None:
    rows, condition = mixed_rows([32] * 20)
    share = {"world_size": world_size, "accumulate": accumulate}
    with pytest.raises(ConfigError, match=r"60 rows holds 7 groups of 8 rows.*train.batch_size=64"):
        GroupPlan(rows, condition, 8, 60 // (world_size * accumulate), **share)
    assert GroupPlan(rows, condition, 8, 60, shuffle=False, **share).steps(0) > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"group_size": 0}, "must be positive"),
        ({"batch_size": 0}, "must be positive"),
        ({"rank": 2, "world_size": 2}, "rank 2 must be in 0..1"),
        ({"world_size": 3}, "2 groups of 8 rows of one condition.*fewer workers"),
        ({"condition": np.zeros(3)}, "10 rows cannot be grouped by the conditions of 3"),
        ({"condition": np.array([0] * 9 + [-1])}, "1 rows have no condition.*row 9"),
    ],
)
def test_impossible_plans_are_refused(options: dict[str, object], message: str) -> None:
    defaults = {"condition": np.repeat([0, 1], 5), "group_size": 8, "batch_size": 16}
    with pytest.raises(ConfigError, match=message):
        GroupPlan(np.arange(10), **(defaults | options))  # type: ignore[arg-type]


def test_an_empty_validation_has_no_batches() -> None:
    plan = GroupPlan(np.empty(0, np.int64), np.empty(0, np.int64), 4, 8, shuffle=False)
    assert plan.steps(0) == 0 and list(plan.batches(0)) == []
