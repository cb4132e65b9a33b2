"""Bundles and lists that benchmarks of screens work with: simulated data, trained for an epoch.

Speed and memory do not depend on how well a model was trained.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
from pertcast_data.gene_sets.gmt import write_gmt
from pertcast_data.ingest import ingest
from pertcast_data.simulate import AtlasConfig, simulate_atlas, write_atlas
from pertcast_data.splits import make_split
from pertcast_data.store import ExpressionStore
from pertcast_jobs.run_config import load_config
from pertcast_jobs.train import run_training

EDGES_A_GENE: Final = 8
HALLMARK_SIZES: Final = (5, 53)
"""Fewest and most of 978 landmark genes that a hallmark set holds."""
ATLAS: Final = AtlasConfig(
    regime="network",
    n_genes=1_100,
    n_contexts=1,
    n_compounds=8,
    n_unprofiled=0,
    doses=(1.0,),
    times=(24.0,),
    n_plates=1,
    n_knockouts=2,
    n_pairs=0,
    n_cells=100,
    n_signature_genes=1_000,
)
DOSES: Final = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
QUICK_DIFFUSION: Final = ("train.epochs=2", "model.config.epochs=2", "model.config.denoiser.epochs=2")


@dataclass(frozen=True)
class Training:
    """What is trained where no run is given.

    Attributes
    ----------
    name
        The model.
    n_genes
        Genes of the drawn network.
    n_perturbed
        Genes that training and held-out signatures perturb; each under about two of three types.
    settings
        Further `a.b=c` of the run.
    n_contexts
        Cell lines.
    """

    name: str
    n_genes: int
    n_perturbed: int
    settings: tuple[str, ...]
    n_contexts: int = 1


def make_run(folder: Path, training: Training) -> None:
    """Train a model for one epoch on simulated signatures, over a drawn network of genes."""
    n_genes, perturbed = training.n_genes, training.n_perturbed
    sizes = {
        "n_genes": max(ATLAS.n_genes, perturbed + perturbed // 10),
        "n_signature_genes": perturbed,
        "n_contexts": training.n_contexts,
        "n_signature_contexts": training.n_contexts,
    }
    files = write_atlas(simulate_atlas(ATLAS.model_copy(update=sizes)), folder / "atlas")
    ingest([files.signatures], folder / "store")
    store = ExpressionStore.open(folder / "store")
    make_split(store, "unseen_perturbation").save(folder / "split.json")
    measured = sorted({*store.genes, *store.conditions["pert_id"].to_list()})
    names = np.array([*measured, *(f"NET{number:05d}" for number in range(n_genes - len(measured)))])
    first = np.repeat(np.arange(n_genes), EDGES_A_GENE)
    second = np.random.default_rng(0).integers(0, n_genes, len(first))
    edges = pl.DataFrame({"one": names[first], "other": names[second]}).filter(
        pl.col("one") != pl.col("other")
    )
    edges.write_csv(folder / "network.tsv", separator="\t")
    words = [f"data.store={folder / 'store'}", f"data.split={folder / 'split.json'}"]
    words += [f"encoder.gene_network={folder / 'network.tsv'}", f"model.name={training.name}"]
    words += ["train.epochs=1", *training.settings]
    run_training(load_config(training.name, words), folder / "run")


@dataclass(frozen=True)
class CompoundTraining:
    """Compounds that are profiled, those that are only listed, and the space they are profiled in."""

    n_profiled: int
    n_listed: int
    n_genes: int
    n_contexts: int = 4


def make_compound_run(folder: Path, training: CompoundTraining) -> None:
    """Train latent_diffusion for two epochs on simulated wells; `folder`/list.csv lists new compounds."""
    config = AtlasConfig(
        n_genes=training.n_genes,
        n_contexts=training.n_contexts,
        n_compounds=training.n_profiled,
        n_unprofiled=training.n_listed,
        doses=DOSES,
        times=(24.0,),
        n_plates=2,
        n_cells=100,
        n_signature_genes=1,
    )
    files = write_atlas(simulate_atlas(config), folder / "atlas")
    ingest([files.wells], folder / "store")
    store = ExpressionStore.open(folder / "store")
    make_split(store, "unseen_perturbation").save(folder / "split.json")
    listed = pl.read_csv(folder / "atlas" / "library.csv").tail(training.n_listed)
    listed.write_csv(folder / "list.csv")
    words = [f"data.store={folder / 'store'}", f"data.split={folder / 'split.json'}", *QUICK_DIFFUSION]
    run_training(load_config("latent_diffusion", words), folder / "run")


def write_hallmark_like(path: Path, genes: tuple[str, ...], n_sets: int = 50) -> None:
    """Draw gene sets of the sizes that hallmark sets have among the landmark genes, and write them."""
    rng = np.random.default_rng(0)
    sizes = np.clip(rng.lognormal(3.2, 0.6, n_sets), *HALLMARK_SIZES).astype(int)
    names = np.array(genes)
    members = {
        f"SET{number:02d}": tuple(names[rng.choice(len(genes), size, replace=False)].tolist())
        for number, size in enumerate(sizes)
    }
    write_gmt(path, members)


def train_apart(folder: Path, training: Any, make: Callable[[Path, Any], None]) -> None:
    """Make a run in a process of its own: its memory is not that of what is measured."""
    process = multiprocessing.get_context("spawn").Process(target=make, args=(folder, training))
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit(process.exitcode)
