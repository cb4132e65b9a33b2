"""Genetic signatures of the simulated atlas: a model beside every baseline, type by type, seeds combined.

For each regime, coupling of types and seed an atlas with genetic signatures is simulated and ingested; a
model is trained with all six listed networks and judged on what its folds hold out. `genes`: genes in all
their types (unseen_perturbation). `types`: a gene in one type, while its other types may be trained on
(random). Intervals are over genes within seeds, and seeds.

    python benchmarks/atlas_genetics.py --regimes network --seeds 100-104
    python benchmarks/atlas_genetics.py --coupling declared,0 --questions types --ablations
    python benchmarks/atlas_genetics.py --config response_mlp --seeds 0-2 --folds 2 --out mlp.json

Rows named ref_ are plain numpy and no part of the product (typed_references.py). Finished folds are kept in
--out, one a configuration, and not run again.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from paired import Line, keep_lines, read_lines, seeds_of, show, show_ablations
from pertcast_data.environment import prepare_environment
from pertcast_data.ingest import ingest
from pertcast_data.simulate import AtlasConfig, generator_hash, gives_same_data, simulate_atlas, write_atlas
from pertcast_data.splits import make_split
from pertcast_data.store import ExpressionStore
from pertcast_jobs.run_config import load_config
from pertcast_jobs.train import run_training
from typed_scores import judge

QUESTIONS: Final = {"genes": "unseen_perturbation", "types": "random"}
DECLARED: Final = "declared"
WHOLE: Final = "whole"
CONFIG: Final = "model.config."
NOTHING_ELSE: Final = {
    "n_contexts": 1, "n_compounds": 8, "n_unprofiled": 0, "n_plates": 1, "n_knockouts": 4, "n_pairs": 1,
    "n_cells": 200,
}  # fmt: skip
"""Wells and cells are not asked about here: as few as can be."""

SIZES: Final = {
    "small": {"n_genes": 200, "n_signature_genes": 150},
    "usual": {"n_genes": 400, "n_signature_genes": 300},
    "large": {"n_genes": 1200, "n_signature_genes": 900},
}
"""Name -> genes in all (all are landmarks up to 978), and those perturbed."""

ABLATIONS: Final[dict[str, list[str]]] = {
    "no cross-type term": ["cross_type=false"],
    "no attention": ["attention.epochs=0"],
    "no own-gene term": ["own_gene=false"],
}
"""Name -> overrides below model.config."""


def simulated(
    regime: str, seed: int, coupling: str, size: str, noise: str, folder: Path
) -> tuple[ExpressionStore, list[str], Path]:
    """Simulate and ingest; return the store, the listed networks and the file of the truth."""
    config = AtlasConfig.model_validate(
        {
            "regime": regime,
            "seed": seed,
            "noise": noise,
            "type_coupling": None if coupling == DECLARED else float(coupling),
            **NOTHING_ELSE,
            **SIZES[size],
        }
    )
    files = write_atlas(simulate_atlas(config), folder / "atlas")
    ingest([files.signatures], folder / "store")
    networks = sorted(str(path) for path in (folder / "atlas" / "networks").glob("*.tsv"))
    return ExpressionStore.open(folder / "store"), networks, files.truth


def folds_of(asked: argparse.Namespace, missing: Sequence[Line]) -> Iterator[Line]:
    """Simulate one atlas, and yield each missing fold of it as it is done."""
    first = missing[0]
    with tempfile.TemporaryDirectory(prefix="pertcast-genetics-") as name:
        root = Path(name)
        where = (first["regime"], first["seed"], first["coupling"])
        store, networks, truth = simulated(*where, asked.size, asked.noise, root)
        for question in dict.fromkeys(line["question"] for line in missing):
            split = make_split(store, QUESTIONS[question], n_folds=asked.split_folds, seed=first["seed"])
            split.save(root / f"{question}.json")
        for number, line in enumerate(missing):
            run = root / f"run{number}"
            settings = [
                f"data.store={root / 'store'}",
                f"data.split={root / line['question']}.json",
                f"data.fold={line['fold']}",
                f"train.seed={first['seed']}",
                f"encoder.gene_network=[{','.join(networks)}]",
                *(CONFIG + each for each in ABLATIONS.get(line["ablation"], [])),
                *asked.overrides,
            ]
            run_training(load_config(asked.config, settings), run)
            yield {**line, **judge(run, truth)}


def identity_of(line: Line) -> tuple[Any, ...]:
    """Return what tells a fold from all others of a file."""
    return tuple(line[key] for key in ("regime", "coupling", "seed", "question", "fold", "ablation"))


def wanted(asked: argparse.Namespace) -> list[list[Line]]:
    """Return the folds that are asked for, those of one atlas together."""
    parts = [WHOLE, *(ABLATIONS if asked.ablations else ())]
    return [
        [
            {"regime": regime, "coupling": coupling, "seed": seed, "question": question, "fold": fold,
             "ablation": part}
            for question in asked.questions.split(",")
            for part in parts
            for fold in range(asked.folds)
        ]
        for regime in asked.regimes.split(",")
        for coupling in asked.coupling.split(",")
        for seed in seeds_of(asked.seeds)
    ]  # fmt: skip


def show_all(asked: argparse.Namespace, lines: Sequence[Line]) -> None:
    """Print the tables of every regime, coupling and question."""
    for regime in asked.regimes.split(","):
        for coupling in asked.coupling.split(","):
            for question in asked.questions.split(","):
                where = {"regime": regime, "coupling": coupling, "question": question}
                chosen = [line for line in lines if all(line[key] == each for key, each in where.items())]
                chosen.sort(key=lambda line: (line["seed"], line["fold"]))
                whole = [line for line in chosen if line["ablation"] == WHOLE]
                show(whole, f"{regime}, types coupled: {coupling}, {question}", seeds_are_data=True)
                if asked.ablations:
                    without = {
                        part: [line for line in chosen if line["ablation"] == part] for part in ABLATIONS
                    }
                    show_ablations(whole, without, seeds_are_data=True)


def main() -> None:
    """Run every fold that --out does not hold yet, then print all tables; one --out a configuration."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", default="multiplex_network", help="a shipped configuration")
    parser.add_argument("--regimes", default="network,linear,null")
    parser.add_argument("--coupling", default=DECLARED, help="declared, or numbers 0 to 1, with commas")
    parser.add_argument("--questions", default="genes,types")
    parser.add_argument("--seeds", default="100-104")
    parser.add_argument("--folds", type=int, default=4, help="how many of the folds are run")
    parser.add_argument("--split-folds", type=int, default=4, help="folds that a split has")
    parser.add_argument("--size", default="usual", choices=list(SIZES))
    parser.add_argument("--noise", default="usual")
    parser.add_argument("--ablations", action="store_true", help="take parts of the model away as well")
    parser.add_argument("--out", type=Path, default=Path("atlas_genetics.json"))
    parser.add_argument("overrides", nargs="*", help="a.b=c for the training")
    asked = parser.parse_args()
    prepare_environment()
    setting = {key: getattr(asked, key) for key in ("config", "size", "noise", "split_folds", "overrides")}
    known = read_lines(asked.out, setting)
    if not gives_same_data(known.get("generator_hash", generator_hash())):
        known = {**setting, "lines": []}
    known["generator_hash"] = generator_hash()
    for folds in wanted(asked):
        done = {identity_of(line) for line in known["lines"]}
        missing = [line for line in folds if identity_of(line) not in done]
        for line in folds_of(asked, missing) if missing else ():
            known["lines"].append(line)
            keep_lines(asked.out, known)
    every = {identity_of(line) for folds in wanted(asked) for line in folds}
    show_all(asked, [line for line in known["lines"] if identity_of(line) in every])


if __name__ == "__main__":
    main()
