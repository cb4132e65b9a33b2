"""Engines on toy modules, step by step, alone and as one of two gloo ranks; imported by engine tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
import training_toys as toys
from pertcast.models.noise import KeyedNoise
from pertcast.training.config import EngineConfig
from pertcast.training.distributed import rank, world_size
from pertcast.training.engines import Engine, build_engine
from safetensors import safe_open
from torch import Tensor

TOTAL_STEPS = 12
CPU = torch.device("cpu")
ENGINES: dict[str, EngineConfig] = {
    "torch": EngineConfig(),
    **{f"zero{stage}": EngineConfig(name="deepspeed", zero_stage=stage) for stage in range(4)},
    "zero1-offload": EngineConfig(name="deepspeed", zero_stage=1, offload="optimiser"),
    "zero2-offload": EngineConfig(name="deepspeed", zero_stage=2, offload="optimiser"),
    "zero3-offload": EngineConfig(name="deepspeed", zero_stage=3, offload="optimiser_and_parameters"),
}
SETTINGS: dict[str, dict[str, Any]] = {
    "bf16": {"precision": "bf16"},
    "accumulate": {"accumulate": 4},
    "clip hard": {"grad_clip": 0.1},
    "no clipping": {"grad_clip": None},
    "bf16 and accumulate": {"precision": "bf16", "accumulate": 2, "grad_clip": 0.5},
}
TWO_RANK_ENGINES = ("torch", "zero1", "zero2-offload", "zero3")


def start_engine(name: str, **settings: Any) -> tuple[Any, Engine]:
    """Return a toy model, of parameters that do not divide by two, and an engine for its gradient stage."""
    model = toys.toy_model(dropout=0.0, hidden=7)
    config = toys.toy_train_config(engine=ENGINES[name], **settings)
    return model, build_engine(model.stages()[1], config, TOTAL_STEPS, CPU)


def take_steps(engine: Engine, first: int, last: int, accumulate: int = 1) -> list[dict[str, float]]:
    """Take steps on batches of 16 rows over all ranks; returns the terms averaged over ranks."""
    found = []
    for step in range(first, last):
        mine = torch.arange(16).view(world_size(), accumulate, -1)[rank()] + 8 * step
        batches = [toys.take(toys.toy_rows(), index % toys.N_ROWS) for index in mine]
        terms = engine.step(batches, KeyedNoise(0, step))
        whole = torch.stack([terms["loss"].double(), terms["grad_norm"].double()])
        if world_size() > 1:
            torch.distributed.all_reduce(whole)
        loss, norm = (whole / world_size()).tolist()
        found.append({"loss": loss, "grad_norm": norm, "rate": engine.learning_rate})
    return found


def first_steps(name: str, settings: str) -> tuple[list[dict[str, float]], list[Tensor]]:
    """Return the terms of four steps with an engine under `SETTINGS`, and the averaged weights after them."""
    chosen = SETTINGS[settings]
    model, engine = start_engine(name, **chosen)
    found = take_steps(engine, 0, 4, chosen.get("accumulate", 1))
    engine.export()
    engine.close()
    return found, [parameter.detach() for parameter in model.parameters()]


def save_engine(model: Any, engine: Engine, folder: Path) -> None:
    """Save as a checkpoint does: the averaged model by rank 0, the engine's state by all."""
    engine.export()
    folder.mkdir(parents=True, exist_ok=True)
    if world_size() > 1:
        torch.distributed.barrier()
    engine.save(folder)
    if rank() == 0:
        torch.save(model.state_dict(), folder / "model.pt")
    if world_size() > 1:
        torch.distributed.barrier()


def resume_engine(name: str, folder: Path, **settings: Any) -> tuple[Any, Engine]:
    """Continue what `save_engine` saved with another engine."""
    model = toys.toy_model(dropout=0.0, hidden=7)
    model.load_state_dict(torch.load(folder / "model.pt", weights_only=True))
    config = toys.toy_train_config(engine=ENGINES[name], **settings)
    engine = build_engine(model.stages()[1], config, TOTAL_STEPS, CPU)
    engine.load(folder)
    return model, engine


def whole_state(folder: Path) -> dict[str, Tensor]:
    """Put the stretches of all files together, without the code under test."""
    shapes = json.loads((folder / "engine.json").read_text())["parameters"]
    found: dict[str, list[tuple[int, Tensor]]] = {}
    for path in folder.glob("engine-*.safetensors"):
        with safe_open(path, framework="pt") as file:
            starts = json.loads(file.metadata()["starts"])
            for key in file.keys():  # noqa: SIM118
                start = starts[key.split("/", 1)[1]]
                found.setdefault(key, []).append((start, file.get_tensor(key)))
    return {
        key: torch.cat([values for _, values in sorted(parts, key=lambda part: part[0])]).view(
            shapes[key.split("/", 1)[1]]
        )
        for key, parts in found.items()
    }


def start_two_ranks(folder: Path, work: str) -> None:
    """Run a function of this module on two gloo ranks; it is given the folder."""
    words = [sys.executable, __file__, str(folder), work]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "WORLD_SIZE": "2"}
    ranks = [
        subprocess.Popen(words, env={**environment, "RANK": str(number), "LOCAL_RANK": str(number)})
        for number in range(2)
    ]
    deadline = time.monotonic() + 200
    try:
        assert [process.wait(max(1.0, deadline - time.monotonic())) for process in ranks] == [0, 0]
    finally:
        for process in ranks:
            process.kill()
            process.wait()


def two_rank_states(folder: Path) -> None:
    """Save, resume what one rank and what two ranks saved, and write down what followed."""
    facts: dict[str, Any] = {}
    for name in TWO_RANK_ENGINES:
        model, engine = start_engine(name)
        facts[f"{name}: begun"] = take_steps(engine, 0, 3)
        save_engine(model, engine, folder / f"two-{name}")
        facts[f"{name}: undisturbed"] = take_steps(engine, 3, 6)
        engine.close()
        for settings in SETTINGS:
            facts[f"{name}: {settings}"] = first_steps(name, settings)[0]
    for source in TWO_RANK_ENGINES:
        for ranks in ("one", "two"):
            for target in TWO_RANK_ENGINES:
                model, engine = resume_engine(target, folder / f"{ranks}-{source}")
                save_engine(model, engine, folder / f"again-{ranks}-{source}-{target}")
                facts[f"{ranks} {source} to {target}"] = take_steps(engine, 3, 5)
                engine.close()
    if rank() == 0:
        (folder / "facts.json").write_text(json.dumps(facts))


if __name__ == "__main__":
    torch.set_num_threads(1)
    where, what = Path(sys.argv[1]), sys.argv[2]
    number = int(os.environ["RANK"])
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{where}/rendezvous", rank=number, world_size=2
    )
    globals()[what](where)
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()
