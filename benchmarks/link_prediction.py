"""Which integration of networks tells edges that it was not made from, on real networks.

`python benchmarks/link_prediction.py --data DIR` reads two multiplexes of DIR (complexes, diseases and drug
targets of transcriptionnet/; two interactomes of networks/), holds out a tenth of the edges of each network
in turn, and prints AUC and average precision of every method beside what neighbours alone tell. Negatives are
random pairs, and pairs of the same degrees; edges are removed from all networks, or with --scope from one.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import get_args

import torch
from pertcast.evaluation.links.held_out_edges import Scope
from pertcast.evaluation.links.link_prediction import LinkScore, link_prediction
from pertcast.models.multiplex_network.integration.config import IntegrationConfig, IntegrationMethod
from pertcast.models.multiplex_network.integration.multiplex import Multiplex, NetworkLayer
from pertcast_data.networks.reading import read_multiplex

MULTIPLEXES: tuple[tuple[tuple[str, ...], str | None], ...] = (
    (
        tuple(f"transcriptionnet/network_{name}.parquet" for name in ("corum", "disease", "drug")),
        "transcriptionnet/gene_meta.parquet",
    ),
    (("networks/iref_interactome.txt", "networks/string_export.tsv"), None),
)
"""Files of a multiplex, and the table of what their ids stand for."""

ATTENTION = "pertcast.models.multiplex_network.integration.attention"


def present_methods() -> list[IntegrationMethod]:
    return [
        method
        for method in get_args(IntegrationMethod)
        if method != "attention" or importlib.util.find_spec(ATTENTION) is not None
    ]


def read(paths: list[Path], gene_names: Path | None) -> Multiplex:
    listed = read_multiplex(paths, gene_names=gene_names)
    layers = tuple(
        NetworkLayer(each.name, torch.from_numpy(each.edges), torch.from_numpy(each.weights))
        for each in listed.networks
    )
    return Multiplex(len(listed.genes), layers)


def scored(args: argparse.Namespace) -> Iterator[tuple[LinkScore, ...]]:
    """Yield the scores of each network and seed."""
    for files, gene_names in MULTIPLEXES:
        if args.layers and not {Path(name).stem for name in files} & set(args.layers):
            continue
        table = None if gene_names is None else args.data / gene_names
        multiplex = read([args.data / name for name in files], table)
        for place, layer in enumerate(multiplex.layers):
            if args.layers and layer.name not in args.layers:
                continue
            for seed in args.seeds:
                started = time.perf_counter()
                yield link_prediction(
                    multiplex,
                    place,
                    args.methods,
                    args.components,
                    IntegrationConfig(seed=seed),
                    scope=args.scope,
                    seed=seed,
                    device=args.device,
                )
                took = time.perf_counter() - started
                print(f"{layer.name}, seed {seed}: {took:.0f} s", file=sys.stderr, flush=True)


def print_table(scores: list[LinkScore]) -> None:
    """Print one line a network and predictor: the mean over seeds, of random and of matched negatives."""
    groups: dict[tuple[str, str, str], dict[str, list[LinkScore]]] = {}
    for score in scores:
        kinds = groups.setdefault((score.layer, score.predictor, score.by), {})
        kinds.setdefault(score.negatives, []).append(score)
    heads = ("network", "edges", "predictor", "by", "AUC", "AP", "AUC matched", "AP matched", "s")
    print("| " + " | ".join(heads) + " |\n" + "|---" * len(heads) + "|")
    for (layer, predictor, by), kinds in groups.items():
        random, matched = kinds["random"], kinds["degree-matched"]
        means = [
            statistics.fmean(getattr(each, figure) for each in kind)
            for kind in (random, matched)
            for figure in ("auc", "average_precision")
        ]
        seconds = statistics.fmean(each.seconds for each in random)
        figures = " | ".join(f"{mean:.3f}" for mean in means)
        print(f"| {layer} | {random[0].n_edges:,} | {predictor} | {by} | {figures} | {seconds:.1f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the networks")
    parser.add_argument(
        "--methods", nargs="*", choices=get_args(IntegrationMethod), default=present_methods()
    )
    parser.add_argument("--layers", nargs="*", help="names of networks; all by default")
    parser.add_argument("--components", type=int, default=64)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="of the draws and of the methods")
    parser.add_argument("--scope", choices=get_args(Scope), default="all layers")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", type=Path, help="write every score to this file, too")
    args = parser.parse_args()
    scores = [score for part in scored(args) for score in part]
    print_table(scores)
    if args.json:
        args.json.write_text(json.dumps([asdict(score) for score in scores], indent=1) + "\n")


if __name__ == "__main__":
    main()
