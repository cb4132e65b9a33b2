"""Planted modules recovered from what a user has: adjusted Rand index of the grouping and of its rivals.

Embedding of genes from treated training profiles, the listed networks of co-expression and of protein
interactions, control cells; against the module of largest |weight| of each gene (genes in none left out).

    python benchmarks/atlas_modules.py --seeds 0-4 --genes 300,1000 --leiden-python /path/to/venv/bin/python

Leiden runs in another Python (pip install leidenalg igraph), over files; without it its rows are missing. Its
rows at a resolution other than 1, and the lines of planted K, know more than a user does. About half
a minute a seed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pertcast.analysis.gene_modules import GeneModules, module_connections
from pertcast.encoding.gene_loadings import fit_gene_loadings
from pertcast.encoding.spec import EncoderSpec
from pertcast.models.module_flow.grouping.config import GroupingConfig
from pertcast.models.module_flow.grouping.grouping import group_genes
from pertcast.models.priors import TrainingPriors
from pertcast_data.environment import prepare_environment
from pertcast_data.ingest import ingest
from pertcast_data.simulate import Atlas, AtlasConfig, simulate_atlas, write_atlas
from pertcast_data.splits import make_split
from pertcast_data.store import ExpressionStore
from scipy.cluster.vq import kmeans2

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]
TERMS = ("semantic", "network", "coexpression")
NETWORKS = ("coexpression", "protein_interactions")
RESOLUTIONS = (1.0, 1.5, 2.0)
NEIGHBOURS = 10
STARTS = 10

LEIDEN = """
import sys, igraph, leidenalg, numpy
given = numpy.load(sys.argv[1])
graph = igraph.Graph(n=int(given["n"]), edges=given["edges"].tolist())
numpy.save(sys.argv[2], numpy.array([leidenalg.find_partition(
    graph, leidenalg.RBConfigurationVertexPartition, resolution_parameter=float(resolution), seed=0,
    n_iterations=-1).membership for resolution in given["resolutions"]]))
"""


def adjusted_rand_index(first: Integers, second: Integers) -> float:
    """Return agreement of two partitions beyond chance (Hubert & Arabie 1985): 1 for the same."""
    rows, columns = (np.unique(labels, return_inverse=True)[1] for labels in (first, second))
    table = np.zeros((rows.max() + 1, columns.max() + 1))
    np.add.at(table, (rows, columns), 1)
    both, left, right = (
        float((counts * (counts - 1) / 2).sum()) for counts in (table, table.sum(axis=1), table.sum(axis=0))
    )
    chance = left * right / (len(first) * (len(first) - 1) / 2)
    most = (left + right) / 2
    return (both - chance) / (most - chance) if most != chance else 1.0


@dataclass(frozen=True)
class Question:
    """The inputs, and the planted module of each gene (-1: in none)."""

    priors: TrainingPriors
    planted: Integers
    n_planted: int

    def score(self, labels: Any) -> float:
        """Return the index of (G,) labels over the genes of a module."""
        counted = self.planted >= 0
        return adjusted_rand_index(self.planted[counted], np.asarray(labels)[counted])


def ask(seed: int, n_genes: int) -> Question:
    """Simulate, ingest, split, and make what a user would have."""
    sizes = {"n_knockouts": 40, "n_pairs": 60, "n_cells": 6_000, "n_genes": n_genes}
    atlas = simulate_atlas(AtlasConfig(regime="epistatic", seed=seed, **sizes))
    with tempfile.TemporaryDirectory(prefix="pertcast-modules-") as folder:
        files = write_atlas(atlas, Path(folder) / "atlas")
        ingest([files.cells], Path(folder) / "store")
        store = ExpressionStore.open(Path(folder) / "store")
        rows = make_split(store, "unseen_pair", seed=seed).rows(store, 0, "train")
        reader = store.reader()
        embedding = fit_gene_loadings(store, reader, rows, EncoderSpec())
        place = {name: number for number, name in enumerate(atlas.world.network.gene_symbols)}
        genes = np.array([place[name] for name in store.genes])
        controls, context = control_profiles(store, reader)
    return question(atlas, genes, embedding, controls, context)


def control_profiles(store: ExpressionStore, reader: Any) -> tuple[NDArray[np.float32], Integers]:
    """Return control cells, each minus the mean of its batch, and their contexts."""
    rows = np.flatnonzero(store.is_control)
    profiles = reader.dense(rows).astype(np.float64)
    batch = store.obs["batch"].fill_null("").to_numpy()[rows]
    for each in np.unique(batch):
        profiles[batch == each] -= profiles[batch == each].mean(axis=0)
    _, context = np.unique(store.obs["cell_iname"].to_numpy()[rows], return_inverse=True)
    order = np.argsort(context, kind="stable")
    return profiles[order].astype(np.float32), context[order]


def question(
    atlas: Atlas, genes: Integers, embedding: NDArray[np.float32], controls: NDArray[np.float32], context: Any
) -> Question:
    """Put the listed networks beside the rest, all in the store's order of genes."""
    number = np.argsort(genes)
    listed = [number[net.edges] for net in atlas.networks if net.name in NETWORKS]
    edges = np.unique(np.sort(np.concatenate(listed), axis=1), axis=0)
    edges = edges[edges[:, 0] != edges[:, 1]]
    weight = np.abs(np.asarray(atlas.world.network.membership.todense()))[:, genes]
    planted = np.where(weight.max(axis=0) > 0, weight.argmax(axis=0), -1)
    priors = TrainingPriors(
        controls=torch.from_numpy(controls),
        control_context=torch.from_numpy(context),
        gene_embedding=torch.from_numpy(embedding),
        edges=torch.from_numpy(edges),
        edge_weight=torch.ones(len(edges)),
        pathways=torch.zeros(0, len(genes)),
    )
    return Question(priors, planted, len(weight))


def unit(table: Any) -> Floats:
    table = np.asarray(table, dtype=np.float64)
    return np.asarray(table / np.maximum(np.linalg.norm(table, axis=1, keepdims=True), 1e-12))


def kmeans(points: Floats, n_clusters: int) -> Integers:
    """Return the best of ten seeded starts (k-means++)."""
    random = np.random.default_rng(0)
    best, best_loss = np.zeros(len(points), np.int64), np.inf
    for _ in range(STARTS):
        centroids, labels = kmeans2(points, n_clusters, minit="++", seed=random, iter=50)
        loss = float(np.square(points - centroids[labels]).sum())
        if loss < best_loss:
            best, best_loss = labels.astype(np.int64), loss
    return best


def spectrum(edges: Integers, n_genes: int, width: int) -> Floats:
    """Return (G, width) leading eigenvectors of the normalised network, its degrees padded by their mean."""
    network = np.zeros((n_genes, n_genes))
    network[edges[:, 0], edges[:, 1]] = network[edges[:, 1], edges[:, 0]] = 1
    degree = network.sum(axis=1) + network.sum(axis=1).mean()
    vectors = np.linalg.eigh(network / np.sqrt(np.outer(degree, degree)))[1]
    return unit(vectors[:, -width:])


def nearest(embedding: Floats, ignore_sign: bool) -> Integers:
    """Return edges to the ten genes of largest cosine."""
    alike = embedding @ embedding.T
    alike = np.abs(alike) if ignore_sign else alike
    np.fill_diagonal(alike, -2)
    other = np.argsort(-alike, axis=1)[:, :NEIGHBOURS].ravel()
    pairs = np.stack([np.repeat(np.arange(len(alike)), NEIGHBOURS), other], axis=1)
    return np.unique(np.sort(pairs, axis=1), axis=0)


def leiden(python: Path, edges: Integers, n_genes: int) -> list[Integers]:
    """Return the labels at each of `RESOLUTIONS`."""
    with tempfile.TemporaryDirectory(prefix="pertcast-leiden-") as folder:
        given, found = Path(folder) / "in.npz", Path(folder) / "out.npy"
        np.savez(given, n=n_genes, edges=edges, resolutions=RESOLUTIONS)
        # The other Python must not read this one's packages.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        subprocess.run([str(python), "-c", LEIDEN, str(given), str(found)], check=True, env=environment)
        return list(np.load(found))


def grouped(asked: Question, n_modules: int) -> Iterator[tuple[str, float]]:
    """Score the grouping: both kinds of sizes, whole and with each term switched off."""
    for sizes in ("balanced", "adaptive"):
        for off in (None, *TERMS):
            weights = {f"{off}_weight": 0.0} if off else {}
            config = GroupingConfig(n_modules=n_modules, sizes=sizes, **weights)
            found = group_genes(asked.priors, config)
            yield f"GRC {sizes}{f', no {off}' if off else ''}", asked.score(found.labels)
            if off is None:
                z = z_of_edges(found.labels, asked.priors.edges)
                yield f"GRC {sizes}: z of edges within (no index)", z


def z_of_edges(labels: torch.Tensor, edges: torch.Tensor) -> float:
    """Return how many sd the edges within modules lie above permuted labels."""
    modules = GeneModules.from_labels([str(row) for row in range(len(labels))], labels.numpy())
    return module_connections(modules, edges.numpy()).z


def rivals(asked: Question, n_modules: int) -> Iterator[tuple[str, float]]:
    """Score k-means and spectral clustering with the same number of modules."""
    embedding, edges = unit(asked.priors.gene_embedding), asked.priors.edges.numpy()
    axes = spectrum(edges, len(embedding), n_modules)
    yield (
        "k-means, embedding as given",
        asked.score(kmeans(asked.priors.gene_embedding.double().numpy(), n_modules)),
    )
    yield "k-means, embedding of length 1", asked.score(kmeans(embedding, n_modules))
    yield "spectral, network", asked.score(kmeans(axes, n_modules))
    yield "k-means, embedding + network's axes", asked.score(kmeans(np.hstack([embedding, axes]), n_modules))
    near = np.concatenate([nearest(embedding, True), edges])
    joint = spectrum(np.unique(near, axis=0), len(embedding), n_modules)
    yield "spectral, |cosine| neighbours + network", asked.score(kmeans(joint, n_modules))


def leiden_rivals(asked: Question, python: Path) -> Iterator[tuple[str, float]]:
    """Score Leiden, which chooses the number of modules itself, on every graph of the same inputs."""
    embedding, edges = unit(asked.priors.gene_embedding), asked.priors.edges.numpy()
    near, near_unsigned = nearest(embedding, False), nearest(embedding, True)
    graphs = {
        "network": edges,
        "neighbours": near,
        "neighbours + network": np.concatenate([near, edges]),
        "|cosine| neighbours": near_unsigned,
        "|cosine| neighbours + network": np.concatenate([near_unsigned, edges]),
    }
    for name, graph in graphs.items():
        for resolution, labels in zip(RESOLUTIONS, leiden(python, graph, len(embedding)), strict=True):
            yield f"Leiden, {name}, resolution {resolution:g}", asked.score(labels)


def seeds_of(text: str) -> list[int]:
    """Read "0-3,7" as 0, 1, 2, 3, 7."""
    parts = [[int(end) for end in part.split("-")] for part in text.split(",")]
    return [seed for part in parts for seed in range(part[0], part[-1] + 1)]


def main() -> None:
    """Print the mean index over seeds, and each seed's, of every method."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", default="0-4")
    parser.add_argument("--genes", default="300,1000", help="sizes of the genome")
    parser.add_argument("--leiden-python", type=Path, help="a Python with leidenalg and igraph")
    asked = parser.parse_args()
    prepare_environment()
    torch.set_num_threads(1)
    if asked.leiden_python is None:
        print("Leiden is left out: --leiden-python is not given.")
    for n_genes in (int(text) for text in asked.genes.split(",")):
        scores: dict[str, list[float]] = {}
        for seed in seeds_of(asked.seeds):
            known = ask(seed, n_genes)
            for title, n_modules in (("K=32", 32), ("K as planted", known.n_planted)):
                for name, score in (*grouped(known, n_modules), *rivals(known, n_modules)):
                    scores.setdefault(f"{title:<13} {name}", []).append(score)
            if asked.leiden_python is not None:
                for name, score in leiden_rivals(known, asked.leiden_python):
                    scores.setdefault(f"{'own K':<13} {name}", []).append(score)
        print(f"\n{n_genes} genes, seeds {asked.seeds}: mean, then each seed")
        for name, values in sorted(scores.items()):
            print(f"{name:<66} {np.mean(values):6.3f}  {' '.join(f'{value:.3f}' for value in values)}")


if __name__ == "__main__":
    main()
