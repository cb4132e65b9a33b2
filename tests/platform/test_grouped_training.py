"""A stage that asks for cells of one condition side by side sees whole groups: always, and the same ones."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import training_toys as toys
from pertcast.encoding import ConditionEncoder, EncoderSpec, make_training_data
from pertcast.models.batch import Batch
from pertcast.models.contract import GradientStage, OptimiserConfig, Stage
from pertcast.models.noise import KeyedNoise
from pertcast.torch_threads import torch_threads
from pertcast.training.config import EngineConfig
from pertcast.training.data import TrainingData
from pertcast.training.fit import fit
from pertcast_data.errors import ConfigError
from pertcast_data.loading import GroupPlan
from pertcast_data.splits import make_split
from torch import Tensor, nn

CELLS = 4
CONDITION_SIZES = (30, 8, 3, 17, 1, 12, 16, 9)
HELD_OUT = set(range(0, sum(CONDITION_SIZES), 3))


class Recorder:
    """Rows of each batch that a module was called with: (is in training, sample ids, conditions)."""

    def __init__(self) -> None:
        self.training: list[tuple[list[int], list[int]]] = []
        self.validation: list[tuple[list[int], list[int]]] = []

    def __deepcopy__(self, _: dict[int, Any]) -> Recorder:
        return self

    def note(self, is_training: bool, batch: Batch) -> None:
        rows = (batch.sample_id.tolist(), batch.condition_index.tolist())
        if is_training:
            self.training.append(rows)
        elif set(rows[0]) <= HELD_OUT:  # A training batch is evaluated once too: its operations are counted.
            self.validation.append(rows)


class PopulationLoss(nn.Module):
    """Squared distance between the mean and the spread of each group and of its prediction."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(toys.N_GENES, 8), nn.Tanh(), nn.Linear(8, toys.N_GENES))
        self.recorder = Recorder()

    def forward(self, batch: Batch, noise: KeyedNoise) -> dict[str, Tensor]:
        self.recorder.note(self.training, batch)
        jitter = 0.1 * noise.normal(batch.sample_id, toys.N_GENES)
        found, wanted = (
            each.unflatten(0, (-1, CELLS)) for each in (self.net(batch.basal + jitter), batch.target)
        )
        mean = (found.mean(dim=1) - wanted.mean(dim=1)).square().mean()
        spread = (found.std(dim=1) - wanted.std(dim=1)).square().mean()
        return {"loss": mean + spread, "mean": mean.detach()}


class GroupedModel(toys.ToyModel):  # type: ignore[misc]
    """The toy with its stage in any order, and one over populations after it."""

    def __init__(self, cells: int = CELLS) -> None:
        super().__init__(toys.ToyConfig(epochs=1, dropout=0.0), toys.toy_space(), toys.toy_conditions())
        self.population = PopulationLoss()
        self.cells = cells

    def stages(self) -> tuple[Stage, ...]:
        mean, single = super().stages()
        optimiser = OptimiserConfig(lr=0.02, warmup_steps=3)
        return mean, single, GradientStage("population", self.population, optimiser, 3, self.cells)


def grouped_model(cells: int = CELLS) -> GroupedModel:
    with torch.random.fork_rng():
        torch.manual_seed(11)
        return GroupedModel(cells)


@dataclass
class GroupedSource:
    """Rows in memory as whole groups."""

    rows: Batch
    plan: GroupPlan
    asked: list[tuple[int, int]] = field(default_factory=list)

    @property
    def n_rows(self) -> int:
        return self.plan.n_rows

    def steps(self, epoch: int) -> int:
        return self.plan.steps(epoch)

    def batches(self, epoch: int, start_step: int = 0) -> Iterator[Batch]:
        for step, rows in enumerate(self.plan.batches(epoch, start_step), start=start_step):
            self.asked.append((epoch, step))
            yield toys.take(self.rows, torch.from_numpy(rows))


def rows_of_conditions() -> Batch:
    condition = torch.repeat_interleave(torch.arange(len(CONDITION_SIZES)), torch.tensor(CONDITION_SIZES))
    condition = condition[torch.randperm(len(condition), generator=torch.Generator().manual_seed(5))]
    return replace(toys.toy_rows(len(condition)), condition_index=condition)


def grouped_data(batch_size: int = 16, rank: int = 0, world_size: int = 1) -> TrainingData:
    rows = rows_of_conditions()
    held_out = toys.take(rows, torch.tensor(sorted(HELD_OUT)))
    share = (3, rank, world_size)

    def grouped(cells: int) -> TrainingData:
        plans = [
            GroupPlan(
                np.arange(len(part)), part.condition_index.numpy(), cells, size, *share, shuffle=shuffle
            )
            for part, size, shuffle in ((rows, batch_size, True), (held_out, 8, False))
        ]
        sources = [GroupedSource(part, plan) for part, plan in zip((rows, held_out), plans, strict=True)]
        return replace(plain, train=sources[0], validation=sources[1])

    plain = replace(toys.toy_data(batch_size, rank=rank, world_size=world_size, rows=rows), grouped=grouped)
    return plain


def assert_whole_groups(batches: list[tuple[list[int], list[int]]], n_rows: int | None = None) -> None:
    condition_of = rows_of_conditions().condition_index.tolist()
    assert batches
    for rows, conditions in batches:
        assert conditions == [condition_of[row] for row in rows]
        assert n_rows is None or len(rows) == n_rows
        assert all(len(set(conditions[i : i + CELLS])) == 1 for i in range(0, len(rows), CELLS))
        assert len(rows) % CELLS == 0


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    with torch_threads(1):
        yield


@pytest.mark.parametrize(
    "settings",
    [{}, {"accumulate": 2}, {"prefetch": 0}, {"engine": EngineConfig(name="deepspeed", zero_stage=1)}],
    ids=["plain", "accumulate", "no prefetch", "deepspeed"],
)
def test_training_and_validation_see_only_whole_groups_of_one_condition(settings: dict[str, Any]) -> None:
    model = grouped_model()
    config = toys.toy_train_config(**settings)
    size = config.micro_batch_size()
    result = fit(model, grouped_data(size), config)
    recorder = model.population.recorder
    assert_whole_groups(recorder.training, size)
    assert len(recorder.training) == result.stages[-1].steps * config.accumulate
    assert_whole_groups(recorder.validation)
    assert any(len(set(conditions)) > 1 for _, conditions in recorder.training)


def test_each_validation_sees_the_same_groups_and_every_held_out_row() -> None:
    model = grouped_model()
    fit(model, grouped_data(), toys.toy_train_config())
    seen = model.population.recorder.validation
    once = len(seen) // 3
    assert seen[:once] == seen[once : 2 * once] == seen[2 * once :]
    assert {row for rows, _ in seen for row in rows} == HELD_OUT


def test_a_stage_that_asks_for_no_groups_sees_rows_in_any_order() -> None:
    data = grouped_data()
    stages = grouped_model().stages()
    assert data.of_stage(stages[1]) is data
    assert data.of_stage(stages[2]).statistics is data.statistics


@pytest.mark.parametrize("step", [8, 11, 15, 19])
def test_a_training_in_groups_that_dies_resumes_to_bit_equal_weights(tmp_path: Path, step: int) -> None:
    config = toys.toy_train_config(log_every_steps=1, accumulate=2)
    undisturbed, resumed = grouped_model(), grouped_model()
    expected = fit(undisturbed, grouped_data(8), config)

    def halt(report: Any) -> None:
        if report.global_step >= step:
            raise toys.Halt

    with pytest.raises(toys.Halt):
        fit(grouped_model(), grouped_data(8), config, tmp_path, report=halt)
    result = fit(resumed, grouped_data(8), config, tmp_path)
    assert result.resumed_from.global_step < expected.global_step
    assert result.stages == expected.stages
    theirs = resumed.state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in undisturbed.state_dict().items())
    done = (result.resumed_from.global_step - 6) * 2 if result.resumed_from.stage == 2 else 0
    seen = resumed.population.recorder.training
    assert seen == undisturbed.population.recorder.training[done:]


def test_groups_of_another_size_are_another_training(tmp_path: Path) -> None:
    fit(grouped_model(), grouped_data(), toys.toy_train_config(), tmp_path)
    with pytest.raises(ConfigError, match="cells per condition of population was 4, is 8"):
        fit(grouped_model(8), grouped_data(), toys.toy_train_config(), tmp_path)


def test_data_that_cannot_group_rows_are_refused_before_the_first_step() -> None:
    seen: list[Any] = []
    with pytest.raises(ConfigError, match=r"'population' wants 4 cells of one condition.*make_training_data"):
        fit(grouped_model(), toys.toy_data(), toys.toy_train_config(), report=seen.append)
    assert not seen


def test_too_few_groups_for_a_step_are_an_error_with_a_remedy() -> None:
    config = toys.toy_train_config(accumulate=16)
    message = r"96 training rows do not fill one batch of 16 with whole groups of 32 rows of one condition"
    with pytest.raises(ConfigError, match=message):
        fit(grouped_model(32), grouped_data(1), config)


# Two ranks in processes of their own.


def two_rank_work(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2
    )
    model = grouped_model()
    fit(model, grouped_data(8, rank, 2), toys.toy_train_config())
    recorder = model.population.recorder
    torch.save(
        {"weights": model.state_dict(), "training": recorder.training, "validation": recorder.validation},
        folder / f"{rank}.pt",
    )
    torch.distributed.destroy_process_group()


def test_two_ranks_share_the_groups_without_splitting_one_and_train_as_one_does(tmp_path: Path) -> None:
    ranks = [subprocess.Popen([sys.executable, __file__, str(rank), str(tmp_path)]) for rank in range(2)]
    deadline = time.monotonic() + 120
    try:
        assert [process.wait(max(1.0, deadline - time.monotonic())) for process in ranks] == [0, 0]
    finally:
        for process in ranks:
            process.kill()
            process.wait()
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    alone = grouped_model()
    fit(alone, grouped_data(16), toys.toy_train_config())

    assert_whole_groups(first["training"], 8)
    assert_whole_groups(second["training"], 8)
    expected = alone.population.recorder
    assert [
        ([*ours[0], *theirs[0]], [*ours[1], *theirs[1]])
        for ours, theirs in zip(first["training"], second["training"], strict=True)
    ] == expected.training
    shares = [groups_in(each[: len(each) // 3]) for each in (first["validation"], second["validation"])]
    whole = expected.validation[: len(expected.validation) // 3]
    assert shares[0] + shares[1] == groups_in(whole), "each group once over both ranks"
    for name, value in alone.state_dict().items():
        torch.testing.assert_close(first["weights"][name], value, rtol=1e-3, atol=1e-5)
        assert torch.equal(first["weights"][name], second["weights"][name])


def groups_in(batches: list[tuple[list[int], list[int]]]) -> list[tuple[int, ...]]:
    return [tuple(rows[i : i + CELLS]) for rows, _ in batches for i in range(0, len(rows), CELLS)]


# Groups out of a store.


@pytest.fixture(scope="module")
def setting(stores: SimpleNamespace) -> SimpleNamespace:
    store = stores.compounds
    split = make_split(store, "unseen_compound", n_folds=4, seed=0)
    encoder = ConditionEncoder.fit(
        store, split.rows(store, 0, "train"), EncoderSpec(fingerprint_bits=64, gene_components=3)
    )
    return SimpleNamespace(store=store, split=split, encoder=encoder)


def store_data(setting: SimpleNamespace, **settings: Any) -> TrainingData:
    return make_training_data(setting.store, setting.split, 0, setting.encoder, **settings)


def test_a_store_gives_groups_of_one_condition_in_training_and_of_held_out_ones_in_validation(
    setting: SimpleNamespace,
) -> None:
    data = store_data(setting, batch_size=6, seed=2)
    assert data.grouped is not None
    grouped = data.grouped(2)
    ids = setting.store.obs["condition_id"].to_list()
    for source, part in ((grouped.train, "train"), (grouped.validation, "validation")):
        assert source is not None
        batches = list(source.batches(0))
        assert len(batches) == source.steps(0)
        names = [[ids[row] for row in batch.sample_id.tolist()] for batch in batches]
        assert all(each[i] == each[i + 1] for each in names for i in range(0, len(each), 2))
        rows = {row for batch in batches for row in batch.sample_id.tolist()}
        asked = set(setting.split.rows(setting.store, 0, part).tolist())
        assert rows <= asked and len(rows) > 0.9 * len(asked)
        assert source.n_rows == len(asked)


def test_grouped_rows_carry_the_values_that_single_rows_carry(setting: SimpleNamespace) -> None:
    data = store_data(setting, batch_size=6)
    assert data.grouped is not None
    single = {row: values for batch in data.statistics.batches(0) for row, values in values_of(batch)}
    for batch in data.grouped(3).train.batches(1):
        for row, values in values_of(batch):
            assert all(torch.equal(*pair) for pair in zip(values, single[row], strict=True))


def values_of(batch: Batch) -> Iterator[tuple[int, tuple[Tensor, ...]]]:
    features = batch.conditions.summed_features()
    for place, row in enumerate(batch.sample_id.tolist()):
        values = (batch.target, batch.basal, batch.condition_index, batch.conditions.group, features)
        yield row, tuple(each[place] for each in values)


def test_groups_of_several_sizes_share_one_copy_of_the_targets(
    setting: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = setting.store.reader("disk")
    data = store_data(setting, batch_size=6, reader=reader)
    assert data.grouped is not None

    def read_again(rows: Any) -> None:
        raise AssertionError(f"rows {rows} are read again")

    monkeypatch.setattr(reader, "dense", read_again)
    seen = [len(list(data.grouped(cells).train.batches(0))) for cells in (2, 3)]
    assert min(seen) > 0


def test_ranks_of_a_store_get_equally_many_batches_and_never_share_a_group(setting: SimpleNamespace) -> None:
    groups: list[set[tuple[int, ...]]] = []
    for rank in range(2):
        data = store_data(setting, batch_size=4, rank=rank, world_size=2)
        assert data.grouped is not None
        rows = torch.stack([batch.sample_id for batch in data.grouped(2).train.batches(0)])
        groups.append({tuple(group) for group in rows.reshape(-1, 2).tolist()})
    assert len(groups[0]) == len(groups[1]) > 0
    assert not groups[0] & groups[1]


if __name__ == "__main__":
    two_rank_work(int(sys.argv[1]), Path(sys.argv[2]))
