"""Genome-wide inference beside the bare matrix products of the model: every gene x three types x 978 genes.

Prints profiles a CPU-second through the predictor and the shard engine, the share of each step, the ratio to
the products alone (bar .5), and the peak memory at two sizes, which must not grow with the number of genes.
Usage: `python benchmarks/bench_genome.py [--model RUN] [--genes 26945] [--name multiplex_network]
[--perturbed 1000] [--set encoder.gene_network_components=512] [--keep FOLDER]`
"""

from __future__ import annotations

import argparse
import logging
import os
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import polars as pl
import torch
from matrix_products import BATCH_SIZE, bare_rate
from pertcast.predictor import Predictor
from pertcast.training.bundle import find_bundle
from pertcast_jobs.screen.knowledge import knowledge_of
from pertcast_jobs.screen.plan import ScreenSettings
from pertcast_jobs.screen.prepare import ScreenRequest, prepare_screen
from pertcast_jobs.screen.profiles import create_profiles
from pertcast_jobs.screen.shards import ShardEngine
from pertcast_jobs.screen.workspace import Workspace
from screen_bundles import Training, make_run, train_apart
from timing import cpu_seconds

TYPES: Final = ("trt_sh", "trt_xpr", "trt_oe")
BLOCK_ROWS: Final = 3072
BAR: Final = 0.5
GROWTH_MB: Final = 64.0
"""Memory that may come and go with the allocator; a stored genome would add 316 MB."""


def peak_megabytes() -> float:
    """Largest resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def blocks(predictor: Predictor, genes: tuple[str, ...]) -> Iterator[pl.DataFrame]:
    """Yield the conditions of genes x types in one cell line, a block at a time."""
    wanted = [kind for kind in TYPES if kind in predictor.space.pert_types] or list(TYPES)
    context = predictor.space.contexts[0]
    for kind in wanted:
        for start in range(0, len(genes), BLOCK_ROWS):
            names = list(genes[start : start + BLOCK_ROWS])
            yield pl.DataFrame({"cell_iname": context, "pert_type": kind, "pert_id": names})


def predict_all(predictor: Predictor, genes: tuple[str, ...]) -> int:
    """Predict genes x types block by block, keeping none; return how many."""
    return sum(
        len(predictor.predict(block, batch_size=BATCH_SIZE).rows) for block in blocks(predictor, genes)
    )


def screen_all(run: Path, genes: tuple[str, ...], folder: Path) -> tuple[int, float, float]:
    """Compute every shard of a screen of genes x types; return profiles, seconds to check and to compute."""
    (folder / "list.csv").write_text("\n".join(("gene", *genes)) + "\n", encoding="utf-8")
    settings = ScreenSettings(kind="genes", batch_size=BATCH_SIZE)
    predictor = Predictor.from_bundle(find_bundle(run))
    request = ScreenRequest(
        kind="genes",
        model=run,
        library=folder / "list.csv",
        types=TYPES,
        cells=predictor.space.contexts[:1],
        settings=settings,
    )
    started = time.process_time()
    prepared = prepare_screen(request)
    checked = time.process_time() - started
    workspace = Workspace(folder / "screen")
    workspace.begin(prepared.plan, prepared.predictor.genes)
    create_profiles(workspace, prepared.plan, prepared.predictor.genes, prepared.layers)
    engine = ShardEngine(prepared.task(workspace.path), prepared.predictor)
    started = time.process_time()
    done = sum(engine.run(shard).rows for shard in range(prepared.plan.n_shards))
    return done, checked, time.process_time() - started


def show(what: str, rate: float, bare: float | None = None) -> None:
    """Print a rate in profiles a CPU-second, and its ratio to the bare products."""
    beside = "" if bare is None else f"   {rate / bare:5.2f} of the bare products"
    print(f"  {what:<44}{rate:>10,.0f} profiles/s{beside}")


def show_shares(predictor: Predictor, block: pl.DataFrame) -> None:
    """Print where the CPU time of a predicted table goes."""
    encoded = predictor.encoder.encode_table(block)
    basal = predictor.basal.lookup(block)
    steps = {
        "encoding": cpu_seconds(lambda: predictor.encoder.encode_table(block)),
        "flags": cpu_seconds(lambda: predictor.encoder.flags(encoded)),
        "model": cpu_seconds(
            lambda: predictor.predict_encoded(encoded.conditions, basal, batch_size=BATCH_SIZE)
        ),
    }
    whole = cpu_seconds(lambda: predictor.predict(block, batch_size=BATCH_SIZE))
    shares = ", ".join(f"{name} {seconds / whole:.0%}" for name, seconds in steps.items())
    print(f"  of a predicted table: {shares}, rest {max(0.0, 1 - sum(steps.values()) / whole):.0%}")


def measure(run: Path, folder: Path, n_genes: int) -> None:
    """Print the rates and the memory of one bundle at two sizes."""
    predictor = Predictor.from_bundle(find_bundle(run))
    genes = knowledge_of(predictor).genes[:n_genes]
    first = next(blocks(predictor, genes))
    predictor.predict(first, batch_size=BATCH_SIZE)
    bare, products, work = bare_rate(predictor, first)
    name, width = predictor.bundle.model_name, predictor.space.n_genes
    print(
        f"{name}: {len(genes):,} genes x {len(TYPES)} types x {width:,}, one thread; "
        f"{products} products a batch, {work / 1e6:.2f} M multiply-adds a profile"
    )
    show("bare matrix products", bare)
    show_shares(predictor, first)
    seconds = cpu_seconds(lambda: predictor.predict(first, batch_size=BATCH_SIZE))
    show(f"predictor, a block of {len(first):,} again", len(first) / seconds, bare)
    peaks: dict[str, list[float]] = {"predictor": [], "shard engine": []}
    sizes = (len(genes) // 4, len(genes))
    for size in sizes:
        started = time.process_time()
        done = predict_all(predictor, genes[:size])
        show(f"predictor, {size:,} genes", done / (time.process_time() - started), bare)
        peaks["predictor"].append(peak_megabytes())
    for number, size in enumerate(sizes):
        (folder / f"screen{number}").mkdir()
        done, checked, seconds = screen_all(run, genes[:size], folder / f"screen{number}")
        show(f"shard engine, {size:,} genes", done / seconds, bare)
        print(f"  {'check of the library and plan':<44}{checked:>10.2f} s for {done:,} conditions")
        peaks["shard engine"].append(peak_megabytes())
    for name, (small, large) in peaks.items():
        word = "constant" if large - small <= GROWTH_MB else "GROWS"
        print(f"  peak memory, {name}: {small:,.0f} MB at a quarter, {large:,.0f} MB at all genes: {word}")
    print(f"  bar: prediction at {BAR} of the bare products")


def main() -> None:
    """Print everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, help="run or bundle; a small one is trained where absent")
    parser.add_argument("--name", default="response_mlp", help="model that is trained")
    parser.add_argument("--genes", type=int, default=26_945)
    parser.add_argument("--perturbed", type=int, default=1_000, help="genes that training perturbs, about")
    parser.add_argument("--set", nargs="*", default=[], metavar="A.B=C", help="settings of the training")
    parser.add_argument("--keep", type=Path, help="folder that keeps what is trained, for --model FOLDER/run")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.ERROR)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        kept = arguments.keep or folder
        run = arguments.model or kept / "run"
        if arguments.model is None:
            settings = tuple(arguments.set)
            train_apart(
                kept, Training(arguments.name, arguments.genes, arguments.perturbed, settings), make_run
            )
        measure(run, folder, arguments.genes)


if __name__ == "__main__":
    main()
