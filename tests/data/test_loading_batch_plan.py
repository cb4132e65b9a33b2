"""Properties of batch plans, over any sizes, ranks and steps."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pertcast_data.errors import ConfigError
from pertcast_data.loading import BatchPlan

SHAPES = st.fixed_dictionaries(
    {
        "batch_size": st.integers(1, 40),
        "seed": st.integers(0, 3),
        "world_size": st.integers(1, 4),
        "block_rows": st.integers(1, 70),
        "buffer_rows": st.integers(1, 300),
    }
)
EPOCHS = st.integers(0, 2)


def plans(n_rows: int, shape: dict[str, int], *, shuffle: bool) -> list[BatchPlan]:
    rows = np.arange(n_rows) * 3 + 1
    return [BatchPlan(rows, **shape, rank=rank, shuffle=shuffle) for rank in range(shape["world_size"])]


def joined(batches: list[np.ndarray]) -> list[int]:
    return [int(row) for batch in batches for row in batch]


@given(n_rows=st.integers(0, 500), shape=SHAPES, epoch=EPOCHS)
def test_evaluation_sees_every_row_exactly_once_over_all_ranks(
    n_rows: int, shape: dict[str, int], epoch: int
) -> None:
    seen = []
    for plan in plans(n_rows, shape, shuffle=False):
        batches = list(plan.batches(epoch))
        assert len(batches) == plan.steps(epoch)
        assert all(0 < len(batch) <= shape["batch_size"] for batch in batches)
        seen += joined(batches)
    assert seen == (np.arange(n_rows) * 3 + 1).tolist()


@settings(deadline=None)
@given(n_rows=st.integers(4, 900), shape=SHAPES, epoch=EPOCHS)
def test_shuffled_ranks_are_disjoint_and_their_batches_equal_in_number_and_size(
    n_rows: int, shape: dict[str, int], epoch: int
) -> None:
    ranks = [list(plan.batches(epoch)) for plan in plans(n_rows, shape, shuffle=True)]
    sizes = {len(batch) for batches in ranks for batch in batches}
    counts = {len(batches) for batches in ranks}
    assert len(sizes) == len(counts) == 1 and counts.pop() > 0 and sizes.pop() <= shape["batch_size"]
    assert {plan.steps(epoch) for plan in plans(n_rows, shape, shuffle=True)} == {len(ranks[0])}
    seen = [row for batches in ranks for row in joined(batches)]
    assert len(set(seen)) == len(seen)
    assert set(seen) <= set((np.arange(n_rows) * 3 + 1).tolist())


@settings(deadline=None)
@given(n_rows=st.integers(4, 900), shape=SHAPES, epoch=EPOCHS, share=st.floats(0, 1), shuffle=st.booleans())
def test_a_resumed_epoch_is_the_tail_of_an_undisturbed_one(
    n_rows: int, shape: dict[str, int], epoch: int, share: float, shuffle: bool
) -> None:
    for plan in plans(n_rows, shape, shuffle=shuffle):
        whole = [batch.tolist() for batch in plan.batches(epoch)]
        start = int(share * len(whole))
        assert [batch.tolist() for batch in plan.batches(epoch, start)] == whole[start:]


@settings(deadline=None)
@given(n_rows=st.integers(4, 900), shape=SHAPES)
def test_an_epoch_leaves_out_less_than_a_batch_and_a_block_a_rank(n_rows: int, shape: dict[str, int]) -> None:
    ranks = plans(n_rows, shape, shuffle=True)
    seen = sum(len(batch) for plan in ranks for batch in plan.batches(0))
    allowed = shape["world_size"] * (ranks[0].batch_size - 1 + shape["block_rows"]) + shape["block_rows"]
    assert n_rows - seen <= allowed


@settings(deadline=None)
@given(n_rows=st.integers(4, 900), shape=SHAPES, start=st.integers(0, 5), shuffle=st.booleans())
def test_every_row_is_announced_before_it_comes_and_announcing_changes_nothing(
    n_rows: int, shape: dict[str, int], start: int, shuffle: bool
) -> None:
    for plan in plans(n_rows, shape, shuffle=shuffle):
        announced: set[int] = set()
        batches = []
        for batch in plan.batches(
            1, start, announce=lambda rows, known=announced: known.update(rows.tolist())
        ):
            assert announced.issuperset(batch.tolist())
            batches.append(batch.tolist())
        assert batches == [batch.tolist() for batch in plan.batches(1, start)]


def test_epochs_and_seeds_differ_and_each_is_repeated_exactly() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        return joined(list(BatchPlan(np.arange(5_000), 64, seed=seed).batches(epoch)))

    assert order(0, 0) == order(0, 0)
    assert len({tuple(order(*key)) for key in ((0, 0), (0, 1), (1, 0), (1, 1))}) == 4


def test_every_row_has_its_turn_within_a_few_epochs() -> None:
    seen = set()
    for epoch in range(6):
        for rank in range(2):
            seen |= set(joined(list(BatchPlan(np.arange(1_000), 96, rank=rank, world_size=2).batches(epoch))))
    assert seen == set(range(1_000))


def test_a_batch_is_drawn_from_a_whole_buffer_while_reads_stay_within_its_blocks() -> None:
    plan = BatchPlan(np.arange(20_000), 256, block_rows=64, buffer_rows=2_048)
    batches = list(plan.batches(0))
    assert min(len(np.unique(batch // 64)) for batch in batches) > 20
    buffer = np.concatenate(batches[:8])
    assert len(np.unique(buffer // 64)) == 2_048 // 64
    assert not any(np.array_equal(first, second) for first, second in pairwise(batches))


def test_a_few_rows_still_make_equal_batches_for_every_rank() -> None:
    for n_rows in (2, 3, 7, 50):
        ranks = [
            list(BatchPlan(np.arange(n_rows), 512, rank=rank, world_size=2).batches(0)) for rank in (0, 1)
        ]
        assert [len(batches) for batches in ranks] == [1, 1]
        assert len(ranks[0][0]) == len(ranks[1][0]) >= n_rows // 2 - 1


@pytest.mark.parametrize(
    "options",
    [
        {"batch_size": 0},
        {"batch_size": 4, "rank": 2, "world_size": 2},
        {"batch_size": 4, "world_size": 11},
        {"batch_size": 4, "block_rows": 0},
    ],
)
def test_impossible_plans_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(ConfigError):
        BatchPlan(np.arange(10), **options)  # type: ignore[arg-type]
