"""Two-stage toy model, in-memory rows and the work of two-rank tests; imported by the training tests."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from pertcast.models.batch import Batch, ConditionBatch, ModelSpace, Prediction
from pertcast.models.contract import (
    GradientStage,
    ModelConfig,
    ModelEntry,
    OptimiserConfig,
    ResponseModel,
    Stage,
    StatisticsStage,
)
from pertcast.models.noise import KeyedNoise
from pertcast.training.config import EngineConfig, TrainConfig
from pertcast.training.data import TrainingData
from pertcast.training.fit import fit
from torch import Tensor, nn

N_GENES = 6
N_ROWS = 96


class ToyConfig(ModelConfig):
    epochs: int = 4
    lr: float = 0.02
    dropout: float = 0.2
    noise: float = 0.1
    hidden: int = 8


def toy_space() -> ModelSpace:
    return ModelSpace(
        genes=tuple(f"g{i}" for i in range(N_GENES)),
        measure="expression",
        contexts=("A",),
        perturbations=("p",),
        pert_types=("trt_cp",),
        feature_width=2,
        n_conditions=1,
    )


def toy_conditions(n_rows: int = 1) -> ConditionBatch:
    ones, slots = torch.zeros(n_rows, dtype=torch.int64), torch.zeros(n_rows, 1, dtype=torch.int64)
    return ConditionBatch(
        context=ones,
        group=ones - 1,
        perturbation=slots,
        slot=slots,
        pert_type=slots,
        own_gene=slots - 1,
        log_dose=torch.ones(n_rows, 1),
        log_time=torch.ones(n_rows),
        key=torch.arange(n_rows),
        features=torch.ones(1, 2),
    )


class MeanStage(StatisticsStage):
    name = "mean"

    def __init__(self, model: ToyModel) -> None:
        self.model = model

    def start(self) -> dict[str, Tensor]:
        return {
            "sum": torch.zeros(N_GENES, dtype=torch.float64),
            "count": torch.zeros(1, dtype=torch.float64),
        }

    def update(self, sums: dict[str, Tensor], batch: Batch) -> None:
        sums["sum"] += batch.target.double().sum(dim=0)
        sums["count"] += len(batch)

    def finish(self, sums: Mapping[str, Tensor]) -> None:
        self.model.mean.copy_(sums["sum"] / sums["count"])


class ToyLoss(nn.Module):
    def __init__(self, config: ToyConfig) -> None:
        super().__init__()
        self.noise = config.noise
        self.net = nn.Sequential(
            nn.Linear(N_GENES, config.hidden),
            nn.SiLU(),
            nn.Dropout(config.dropout),
            nn.Linear(config.hidden, N_GENES),
        )

    def forward(self, batch: Batch, noise: KeyedNoise) -> dict[str, Tensor]:
        jitter = noise.normal(batch.sample_id, N_GENES)
        squared = (self.net(batch.basal + self.noise * jitter) - batch.target).square().mean()
        return {"loss": squared, "squared": squared.detach()}


class ToyModel(ResponseModel):
    mean: Tensor

    def __init__(self, config: ToyConfig, space: ModelSpace, conditions: ConditionBatch) -> None:
        super().__init__(config, space, conditions)
        self.toy_config = config
        self.register_buffer("mean", torch.zeros(N_GENES))
        self.trained = ToyLoss(config)

    def stages(self) -> tuple[Stage, ...]:
        optimiser = OptimiserConfig(lr=self.toy_config.lr, warmup_steps=3)
        return MeanStage(self), GradientStage("linear", self.trained, optimiser, self.toy_config.epochs)

    def predict(
        self, conditions: ConditionBatch, basal: Tensor, n_samples: int = 0, noise: KeyedNoise | None = None
    ) -> Prediction:
        return Prediction(self.trained.net(basal))


TOY_MODELS = {"toy": ModelEntry("toy", "A toy", ToyConfig, ToyModel)}


def toy_model(**settings: Any) -> ToyModel:
    with torch.random.fork_rng():
        torch.manual_seed(7)
        return ToyModel(ToyConfig(**settings), toy_space(), toy_conditions())


def toy_rows(n_rows: int = N_ROWS, seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    basal = torch.randn(n_rows, N_GENES, generator=generator)
    mixing = torch.randn(N_GENES, N_GENES, generator=torch.Generator().manual_seed(99))
    target = basal @ mixing + 0.1 * torch.randn(n_rows, N_GENES, generator=generator)
    ids = torch.arange(n_rows) + 1000 * seed
    return Batch(toy_conditions(n_rows), target, basal, torch.zeros(n_rows, dtype=torch.int64), ids)


def take(rows: Batch, index: Tensor) -> Batch:
    return Batch(
        rows.conditions.take(index),
        rows.target[index],
        rows.basal[index],
        rows.condition_index[index],
        rows.sample_id[index],
    )


@dataclass
class ArraySource:
    """Rows in memory, dealt to ranks; `stop_at` raises once at a step of all batches ever asked for."""

    rows: Batch
    batch_size: int
    shuffle: bool = True
    rank: int = 0
    world_size: int = 1
    seed: int = 0
    asked: list[tuple[int, int]] = field(default_factory=list)

    @property
    def n_rows(self) -> int:
        return len(self.rows)

    def _mine(self, epoch: int) -> Tensor:
        if not self.shuffle:
            return torch.arange(self.rank, self.n_rows, self.world_size)
        order = torch.randperm(self.n_rows, generator=torch.Generator().manual_seed(self.seed * 1000 + epoch))
        # A global batch is cut into the ranks' shares, so that any number of ranks sees the same batches.
        whole = self.batch_size * self.world_size
        order = order[: len(order) // whole * whole].view(-1, self.world_size, self.batch_size)
        return order[:, self.rank].flatten()

    def steps(self, epoch: int) -> int:
        return -(-len(self._mine(epoch)) // self.batch_size)

    def batches(self, epoch: int, start_step: int = 0) -> Iterator[Batch]:
        index = self._mine(epoch)
        for step in range(start_step, self.steps(epoch)):
            self.asked.append((epoch, step))
            yield take(self.rows, index[step * self.batch_size : (step + 1) * self.batch_size])


def toy_data(
    batch_size: int = 16,
    *,
    validation: bool = True,
    rank: int = 0,
    world_size: int = 1,
    rows: Batch | None = None,
) -> TrainingData:
    rows = toy_rows() if rows is None else rows
    ranks = {"rank": rank, "world_size": world_size}
    return TrainingData(
        train=ArraySource(rows, batch_size, **ranks),
        statistics=ArraySource(rows, 7, shuffle=False, **ranks),
        validation=ArraySource(toy_rows(21, seed=1), 8, shuffle=False, **ranks) if validation else None,
    )


def toy_train_config(**settings: Any) -> TrainConfig:
    defaults: dict[str, Any] = {
        "batch_size": 16,
        "ema_decay": 0.9,
        "checkpoint_every_steps": 5,
        "log_every_steps": 4,
        "seed": 3,
    }
    return TrainConfig(**(defaults | settings))


# What two ranks do, in processes of their own: one start for all the tests that read the outcome.


def two_rank_work(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    os.environ["LOCAL_RANK"] = str(rank)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2
    )
    out = Path(folder)
    _two_rank_fit(rank, out, "torch", {})
    _two_rank_fit(rank, out, "resumed", {}, stop_after=9)
    _two_rank_fit(rank, out, "zero2", {"engine": EngineConfig(name="deepspeed", zero_stage=2)})
    _two_rank_fit(rank, out, "zero3", {"engine": EngineConfig(name="deepspeed", zero_stage=3)})
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


class Halt(RuntimeError):
    """Stands for a training that dies."""


def _two_rank_fit(
    rank: int, out: Path, name: str, settings: dict[str, Any], stop_after: int | None = None
) -> None:
    losses: list[float] = []

    def watch(report: Any) -> None:
        if report.kind == "steps":
            losses.append(report.losses["loss"])
        if stop_after is not None and report.global_step > stop_after:
            raise Halt

    config = toy_train_config(log_every_steps=1, **settings)
    data = toy_data(8, rank=rank, world_size=2)
    model = toy_model(dropout=0.0)
    if rank == 1:
        with torch.no_grad():
            model.trained.net[0].weight.zero_()  # must be replaced by rank 0's
    if stop_after is not None:
        try:
            fit(model, data, config, out / name, report=watch)
        except Halt:
            stop_after = None
        model = toy_model(dropout=0.0)
        losses.clear()
    result = fit(model, data, config, out / name, report=watch)
    if rank == 0:
        torch.save(model.state_dict(), out / f"{name}.pt")
        facts = {"losses": losses, "validation": result.validation["loss"]}
        facts["resumed_at"] = result.resumed_from.global_step if result.resumed_from else 0
        (out / f"{name}.json").write_text(json.dumps(facts))


if __name__ == "__main__":
    two_rank_work(int(sys.argv[1]), sys.argv[2])
