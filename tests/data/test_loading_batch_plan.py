"""Properties of batch plans, over any sizes, ranks, micro-batches and steps."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pertcast_data.errors import ConfigError
from pertcast_data.loading import BatchPlan

SHAPES = st.fixed_dictionaries(
    {
        "batch_size": st.integers(1, 40),
        "seed": st.integers(0, 3),
        "world_size": st.integers(1, 4),
        "accumulate": st.integers(1, 3),
        "block_rows": st.integers(1, 70),
        "buffer_rows": st.integers(1, 300),
    }
)
EPOCHS = st.integers(0, 2)
N_ROWS = st.integers(12, 900)


def store_rows(n_rows: int) -> np.ndarray:
    """Return rows of a store with gaps, ascending."""
    return np.cumsum(np.random.default_rng(n_rows).integers(1, 5, n_rows))


def plans(n_rows: int, shape: dict[str, int], *, shuffle: bool) -> list[BatchPlan]:
    ranks = range(shape["world_size"])
    return [BatchPlan(store_rows(n_rows), **shape, rank=rank, shuffle=shuffle) for rank in ranks]


def joined(batches: list[np.ndarray]) -> list[int]:
    return [int(row) for batch in batches for row in batch]


def steps_of(n_rows: int, shape: dict[str, int], epoch: int = 0, start_step: int = 0) -> list[list[int]]:
    """Return the rows of every step: of all micro-batches of all ranks."""
    accumulate = shape["accumulate"]
    ranks = [
        list(plan.batches(epoch, start_step * accumulate)) for plan in plans(n_rows, shape, shuffle=True)
    ]
    return [
        [row for batches in ranks for row in joined(batches[step : step + accumulate])]
        for step in range(0, len(ranks[0]), accumulate)
    ]


@given(n_rows=st.integers(0, 500), shape=SHAPES, epoch=EPOCHS)
def test_evaluation_sees_every_row_exactly_once_over_all_ranks(
    n_rows: int, shape: dict[str, int], epoch: int
) -> None:
    seen = []
    for plan in plans(n_rows, shape, shuffle=False):
        batches = list(plan.batches(epoch))
        assert len(batches) == plan.steps(epoch)
        assert all(len(batch) == shape["batch_size"] for batch in batches[:-1])
        assert all(0 < len(batch) <= shape["batch_size"] for batch in batches)
        seen += joined(batches)
    assert seen == store_rows(n_rows).tolist()


@settings(deadline=None)
@given(n_rows=N_ROWS, shape=SHAPES, epoch=EPOCHS)
def test_shuffled_batches_are_disjoint_equal_in_number_and_size_and_leave_out_less_than_a_step(
    n_rows: int, shape: dict[str, int], epoch: int
) -> None:
    made = plans(n_rows, shape, shuffle=True)
    ranks = [list(plan.batches(epoch)) for plan in made]
    assert {len(batch) for batches in ranks for batch in batches} == {made[0].batch_size}
    assert {len(batches) for batches in ranks} == {plan.steps(epoch) for plan in made} != {0}
    assert made[0].steps(epoch) % shape["accumulate"] == 0
    seen = [row for batches in ranks for row in joined(batches)]
    assert len(set(seen)) == len(seen) and set(seen) <= set(store_rows(n_rows).tolist())
    assert n_rows - len(seen) < made[0].batch_size * shape["world_size"] * shape["accumulate"]


@settings(deadline=None, max_examples=60)
@given(
    n_rows=N_ROWS,
    parts=st.lists(
        st.sampled_from([(1, 1), (2, 1), (1, 2), (3, 1), (2, 2), (4, 1), (2, 6)]), min_size=2, max_size=3
    ),
    step_rows=st.sampled_from([12, 24, 60, 132]),
    shape=SHAPES,
    epoch=EPOCHS,
)
def test_a_step_takes_the_same_rows_for_any_number_of_ranks_and_micro_batches(
    n_rows: int, parts: list[tuple[int, int]], step_rows: int, shape: dict[str, int], epoch: int
) -> None:
    assume(n_rows >= step_rows)
    found = []
    for world_size, accumulate in parts:
        share = {
            "batch_size": step_rows // (world_size * accumulate),
            "world_size": world_size,
            "accumulate": accumulate,
        }
        found.append(steps_of(n_rows, shape | share, epoch))
    # Equal in order too: a step's rows are cut into the ranks' and micro-batches' shares.
    assert all(each == found[0] for each in found)


@settings(deadline=None)
@given(n_rows=N_ROWS, shape=SHAPES, epoch=EPOCHS, share=st.floats(0, 1), shuffle=st.booleans())
def test_a_resumed_epoch_is_the_tail_of_an_undisturbed_one(
    n_rows: int, shape: dict[str, int], epoch: int, share: float, shuffle: bool
) -> None:
    for plan in plans(n_rows, shape, shuffle=shuffle):
        whole = [batch.tolist() for batch in plan.batches(epoch)]
        start = int(share * len(whole))
        assert [batch.tolist() for batch in plan.batches(epoch, start)] == whole[start:]


@settings(deadline=None)
@given(step_rows=st.sampled_from([12, 24, 36]), n_rows=st.integers(40, 900), share=st.floats(0, 1))
def test_an_epoch_begun_on_two_ranks_ends_on_three_as_on_one(
    step_rows: int, n_rows: int, share: float
) -> None:
    def shape(world_size: int) -> dict[str, int]:
        return {
            "batch_size": step_rows // world_size,
            "world_size": world_size,
            "accumulate": 1,
            "buffer_rows": 100,
            "block_rows": 8,
        }

    alone, two = (steps_of(n_rows, shape(world_size)) for world_size in (1, 2))
    step = int(share * len(alone))
    assert two[:step] + steps_of(n_rows, shape(3), start_step=step) == alone


@settings(deadline=None)
@given(n_rows=N_ROWS, shape=SHAPES, start=st.integers(0, 5), shuffle=st.booleans())
def test_every_row_is_announced_before_it_comes_and_announcing_changes_nothing(
    n_rows: int, shape: dict[str, int], start: int, shuffle: bool
) -> None:
    for plan in plans(n_rows, shape, shuffle=shuffle):
        announced: list[int] = []
        batches = []
        for batch in plan.batches(
            1, start, announce=lambda rows, known=announced: known.extend(rows.tolist())
        ):
            assert set(announced).issuperset(batch.tolist())
            batches.append(batch.tolist())
        assert batches == [batch.tolist() for batch in plan.batches(1, start)]
        assert sorted(announced) == sorted(row for batch in batches for row in batch)


def test_epochs_and_seeds_differ_and_each_is_repeated_exactly() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        return joined(list(BatchPlan(np.arange(5_000), 64, seed=seed, buffer_rows=1_000).batches(epoch)))

    assert order(0, 0) == order(0, 0)
    assert len({tuple(order(*key)) for key in ((0, 0), (0, 1), (1, 0), (1, 1))}) == 4


@pytest.mark.parametrize("buffer_rows", [16_384, 64])
def test_every_row_is_left_out_equally_often(buffer_rows: int) -> None:
    # 207 rows in blocks of 16, 16, ..., 15 rows; 14 steps of 14 rows leave 11 to another epoch.
    plan = BatchPlan(np.arange(207), 14, block_rows=16, buffer_rows=buffer_rows)
    epochs = 1_000
    counts = Counter(dict.fromkeys(range(207), 0))
    for epoch in range(epochs):
        counts.update(set(range(207)) - set(joined(list(plan.batches(epoch)))))
    expected = epochs * 11 / 207
    found = np.array([counts[row] for row in range(207)])
    assert found.sum() == epochs * 11
    # Rows of a block are left out together: compare each row's count with its own binomial spread.
    assert np.abs(found - expected).max() < 4.5 * np.sqrt(expected)


def test_a_batch_is_drawn_from_a_whole_buffer_while_reads_stay_within_its_blocks() -> None:
    plan = BatchPlan(np.arange(80 * 256 + 100), 256, block_rows=64, buffer_rows=2_048)
    batches = list(plan.batches(0))
    assert min(len(np.unique(batch // 64)) for batch in batches) > 20
    blocks = [set((np.concatenate(batches[step : step + 8]) // 64).tolist()) for step in range(0, 80, 8)]
    # Every column's window meets 4 blocks and cuts another, which its next window takes up.
    assert max(map(len, blocks)) <= 2_048 // 64 + 8
    assert max(len(now - before) for before, now in pairwise(blocks)) <= 2_048 // 64 + 1
    assert not any(np.array_equal(first, second) for first, second in pairwise(batches))


@pytest.mark.parametrize("world_size", [2, 3, 4, 8])
def test_ranks_read_blocks_of_their_own_but_for_those_at_the_borders(world_size: int) -> None:
    shape = {
        "batch_size": 240 // world_size,
        "world_size": world_size,
        "block_rows": 16,
        "buffer_rows": 24 * 64,
    }
    blocks = [
        {row // 16 for row in joined(list(BatchPlan(np.arange(9_600), rank=rank, **shape).batches(0)))}
        for rank in range(world_size)
    ]
    shared = sum(map(len, blocks)) - len(set().union(*blocks))
    assert shared <= world_size


def test_blocks_lie_where_those_of_the_store_lie() -> None:
    rows = np.flatnonzero(np.arange(6_000) % 7)
    plan = BatchPlan(rows, 100, block_rows=32, buffer_rows=800)
    read = [set((batch // 32).tolist()) for batch in plan.batches(0)]
    last_use = {block: step for step, blocks in enumerate(read) for block in blocks}
    first_use = {block: step for step, blocks in reversed(list(enumerate(read))) for block in blocks}
    long = [block for block in last_use if last_use[block] - first_use[block] > 2 * 8]
    # 5 columns cut as many blocks in two, and so does the place where the epoch begins.
    assert len(long) <= 6


@pytest.mark.parametrize("n_rows", [2, 3, 7, 50])
def test_fewer_rows_than_a_step_takes_make_one_step_of_smaller_batches(n_rows: int) -> None:
    ranks = [list(BatchPlan(np.arange(n_rows), 512, rank=rank, world_size=2).batches(0)) for rank in (0, 1)]
    assert [[len(batch) for batch in batches] for batches in ranks] == [[n_rows // 2], [n_rows // 2]]
    assert not set(joined(ranks[0])) & set(joined(ranks[1]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "must be positive"),
        ({"batch_size": 4, "rank": 2, "world_size": 2}, "rank 2 must be in 0..1"),
        ({"batch_size": 4, "world_size": 11}, "11 ranks x 1 micro-batches; use fewer workers"),
        ({"batch_size": 4, "world_size": 4, "accumulate": 3}, "4 ranks x 3 micro-batches"),
        ({"batch_size": 4, "accumulate": 0}, "must be positive"),
        ({"batch_size": 4, "block_rows": 0}, "must be positive"),
    ],
)
def test_impossible_plans_are_refused(options: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        BatchPlan(np.arange(10), **options)  # type: ignore[arg-type]
