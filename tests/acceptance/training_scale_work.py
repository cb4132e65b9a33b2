"""Trainings of three families on every engine and number of workers, in one start a rank; run by its test.

`python training_scale_work.py FOLDER RANK WORLD_SIZE` writes what each training did below FOLDER/found.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from pertcast.training.data import TrainingData
from pertcast.training.fit import fit
from pertcast_data.ingest import ingest
from pertcast_data.simulate import AtlasConfig, simulate_atlas, write_atlas
from pertcast_data.splits import make_split
from pertcast_data.store import ExpressionStore
from pertcast_jobs.run_config import RunConfig, load_config
from pertcast_jobs.train.prepare import build_seeded_model, open_training_data, prepare, take_up_priors

FAMILIES = ("latent_diffusion", "module_flow", "multiplex_network")
ENGINES = ("torch", "zero0", "zero1", "zero2", "zero3")
WORLD_SIZES = (1, 2)
RESUMED = {1: {"torch": "torch", "zero1": "zero2"}, 2: {"torch": "torch", "zero3": "zero1"}}
"""By the number of workers that begin a training: their engine, and that of those who take it up."""
_NETWORKS = ("complexes", "pathways", "protein_interactions")
_WAIT_S = 1500.0

_ATLASES: dict[str, dict[str, Any]] = {
    "latent_diffusion": {
        "n_genes": 60, "n_contexts": 2, "n_compounds": 16, "n_unprofiled": 4, "doses": (1.0, 10.0),
        "times": (24.0,), "n_plates": 4, "n_knockouts": 8, "n_pairs": 0, "n_cells": 200,
    },
    "module_flow": {
        "regime": "epistatic", "seed": 1, "n_genes": 100, "n_compounds": 8, "n_unprofiled": 0,
        "n_knockouts": 16, "n_pairs": 24, "n_cells": 1200,
    },
    "multiplex_network": {
        "regime": "network", "seed": 1, "n_genes": 120, "n_signature_genes": 60, "n_landmarks": 80,
        "n_contexts": 1, "n_compounds": 8, "n_unprofiled": 0, "n_plates": 1, "n_knockouts": 2, "n_pairs": 1,
        "n_cells": 100,
    },
}  # fmt: skip
_SOURCES = {"latent_diffusion": "wells", "module_flow": "cells", "multiplex_network": "signatures"}
_SPLITS = {
    "latent_diffusion": "unseen_compound",
    "module_flow": "unseen_pair",
    "multiplex_network": "unseen_perturbation",
}
SMALL: dict[str, list[str]] = {
    "latent_diffusion": [
        "train.batch_size=32", "train.epochs=3", "model.config.autoencoder.kind=vae",
        "model.config.autoencoder.latent_dim=8", "model.config.autoencoder.hidden=[64]",
        "model.config.denoiser.width=64", "model.config.condition.width=64",
    ],
    "module_flow": [
        "train.batch_size=128", "train.epochs=2", "model.config.autoencoder.latent_dim=12",
        "model.config.grouping.n_modules=8", "model.config.flow.width=32", "model.config.flow.depth=1",
        "model.config.flow.cells_per_condition=16",
    ],
    "multiplex_network": [
        "train.batch_size=32", "train.epochs=10", "encoder.gene_network_components=16",
        "model.config.process.tuning_steps=8",
    ],
}  # fmt: skip
CROSSING: dict[str, list[str]] = {
    "latent_diffusion": [],
    "module_flow": ["model.config.autoencoder.kind=modules", "model.config.alignment.every=2"],
    "multiplex_network": [],
}
"""With what crosses the rows of a rank: all that the family has."""
APART: dict[str, list[str]] = {
    "latent_diffusion": [],
    # The two losses of alignment follow a few conditions of a rank's batch: two ranks follow twice as many;
    # the autoencoder of modules compares means over a rank's rows of one condition.
    "module_flow": [
        "model.config.autoencoder.kind=pca", "model.config.alignment.correlation_weight=0",
        "model.config.alignment.pathway_weight=0",
    ],
    # Torch's own dropout is drawn by rank.
    "multiplex_network": ["model.config.attention.dropout=0"],
}  # fmt: skip
"""Without: every loss is a mean over rows, or over groups that no rank splits."""


class Halt(RuntimeError):
    """Stands for a training that dies."""


def make_data(folder: Path) -> None:
    """Simulate a small store and split for each family."""
    for family in FAMILIES:
        own = folder / family
        files = write_atlas(simulate_atlas(AtlasConfig(**_ATLASES[family])), own / "atlas")
        ingest([getattr(files, _SOURCES[family])], own / "store")
        make_split(ExpressionStore.open(own / "store"), _SPLITS[family], seed=1).save(own / "split.json")


def config_of(folder: Path, family: str, engine: str, *overrides: str) -> RunConfig:
    """Return a family's small configuration on an engine, float32."""
    own = folder / family
    words = [f"data.store={own / 'store'}", f"data.split={own / 'split.json'}", "train.log_every_steps=1"]
    networks = own / "atlas" / "networks"
    if family == "multiplex_network":
        paths = ",".join(str(networks / f"{name}.tsv") for name in _NETWORKS)
        words.append(f"encoder.gene_network=[{paths}]")
    if family == "module_flow":
        words.append(f"encoder.gene_network={networks / 'coexpression.tsv'}")
        words.append(f"encoder.gene_sets={own / 'atlas' / 'gene_sets.gmt'}")
    if engine != "torch":
        words += ["train.engine.name=deepspeed", f"train.engine.zero_stage={engine[-1]}"]
    return load_config(family, [*words, *SMALL[family], *overrides])


@dataclass
class Training:
    """One training of one rank, and what it reports.

    Attributes
    ----------
    family, engine, world_size, accumulate
        What is trained how.
    crosses
        Whether with what crosses the rows of a rank.
    validates
        Whether the best validation's weights are kept; else the last ones are.
    """

    family: str
    engine: str
    world_size: int
    accumulate: int = 1
    crosses: bool = False
    validates: bool = True

    @property
    def name(self) -> str:
        rows = "crossing" if self.crosses else "apart"
        kept = "best" if self.validates else "last"
        return f"{self.family}-{rows}-{kept}-{self.engine}-{self.world_size}-{self.accumulate}"

    def fit(
        self,
        folder: Path,
        rank: int,
        encoder: Any,
        out: Path,
        run: Path | None = None,
        halt_at: int | None = None,
    ) -> None:
        """Train; rank 0 writes losses and weights to `out`, unless it halted."""
        steps: list[dict[str, Any]] = []

        def watch(report: Any) -> None:
            at = {"stage": report.stage, "step": report.global_step}
            if report.kind == "steps":
                losses = {name: value for name, value in report.losses.items() if name != "grad_norm"}
                steps.append(at | losses)
            if report.kind == "validation":
                steps.append(at | {f"validation {name}": loss for name, loss in report.validation.items()})
            if halt_at is not None and report.global_step >= halt_at:
                raise Halt

        overrides = (CROSSING if self.crosses else APART)[self.family]
        settings = [
            f"train.accumulate={self.accumulate}",
            "train.checkpoint_every_steps=5",
            "train.ema_decay=0.9",
        ]
        config = config_of(folder, self.family, self.engine, *overrides, *settings)
        model = build_seeded_model(config, encoder)
        take_up_priors(model, config, encoder)
        data = open_training_data(config, encoder, rank, self.world_size)
        data = data if self.validates else without_validation(data)
        try:
            result = fit(model, data, config.train, run, report=watch, device="cpu")
        except Halt:
            return
        if rank == 0:
            trained = {name for name, value in model.named_parameters() if value.requires_grad}
            state = {name: value for name, value in model.state_dict().items() if name in trained}
            resumed_at = result.resumed_from.global_step if result.resumed_from else 0
            partial = out.with_suffix(".partial")
            torch.save({"steps": steps, "weights": state, "resumed_at": resumed_at}, partial)
            partial.rename(out)


def without_validation(data: TrainingData) -> TrainingData:
    """Return the training rows alone, grouped or not."""
    grouped = data.grouped
    assert grouped is not None
    return replace(data, validation=None, grouped=lambda cells: replace(grouped(cells), validation=None))


def plain_trainings(family: str, world_size: int) -> Iterator[Training]:
    """Yield the undisturbed trainings of a family on a number of workers."""
    for engine in ENGINES:
        yield Training(family, engine, world_size)
        if CROSSING[family] != APART[family]:
            yield Training(family, engine, world_size, crosses=True)
    for engine in ("torch", "zero2"):
        yield Training(family, engine, world_size, accumulate=2)
    for engine in RESUMED[world_size]:
        yield Training(family, engine, world_size, validates=False)
    if family == "module_flow":
        yield Training(family, "torch", world_size, accumulate=2, crosses=True)


def work(folder: Path, rank: int, world_size: int) -> None:
    """Do all trainings of one rank: undisturbed, halted, and those that the other workers halted."""
    found = folder / "found"
    encoders = {name: prepare(config_of(folder, name, "torch")).encoder for name in FAMILIES}
    for family, encoder in encoders.items():
        for training in plain_trainings(family, world_size):
            training.fit(folder, rank, encoder, found / f"{training.name}.pt")
        for engine in RESUMED[world_size]:
            training = Training(family, engine, world_size, validates=False)
            run = found / f"{family}-{engine}-from-{world_size}"
            training.fit(folder, rank, encoder, run / "never.pt", run, halt_at=_halt_at(found, family))
    (found / f"halted-{world_size}-{rank}").touch()
    _wait_for(found, [f"halted-{size}-{each}" for size in WORLD_SIZES for each in range(size)])
    for family, encoder in encoders.items():
        begun_with = 3 - world_size
        for begun, engine in RESUMED[begun_with].items():
            training = Training(family, engine, world_size, validates=False)
            run = found / f"{family}-{begun}-from-{begun_with}"
            training.fit(folder, rank, encoder, found / f"{run.name}-resumed.pt", run)


def _halt_at(found: Path, family: str) -> int:
    """Return a step half the way through the last stage of the undisturbed training."""
    name = f"{Training(family, 'torch', 1).name}.pt"
    _wait_for(found, [name])
    steps = torch.load(found / name)["steps"]
    last = [step["step"] for step in steps if step["stage"] == steps[-1]["stage"]]
    return int(last[0] + max(6, len(set(last)) // 2))


def _wait_for(folder: Path, names: list[str]) -> None:
    deadline = time.monotonic() + _WAIT_S
    while not all((folder / name).exists() for name in names):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{names} are not in {folder}")
        time.sleep(0.2)


def main() -> None:
    folder, rank, world_size = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(1)
    if world_size > 1:
        torch.distributed.init_process_group(
            "gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=world_size
        )
    work(folder, rank, world_size)
    if world_size > 1:
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
