"""Held-out pairs and single genes of simulated single cells: a model beside every baseline, seeds combined.

For each seed an atlas of single cells is simulated (40 knock-outs, 60 pairs, 6,000 cells), ingested, split
(`pairs`: unseen_pair, `singles`: unseen_perturbation), trained and evaluated fold by fold through the same
functions as the command line. Gains over each baseline are means over all held-out conditions; intervals
resample perturbations within seeds, and seeds.

    python benchmarks/atlas_perturbations.py --regimes epistatic --seeds 100-104

`--ablations` takes parts of module_flow away one by one and prints its scores beside the whole model's.
Finished folds are kept in --out and not run again.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from pertcast_data.environment import prepare_environment
from pertcast_data.ingest import ingest
from pertcast_data.simulate import AtlasConfig, generator_hash, gives_same_data, simulate_atlas, write_atlas
from pertcast_data.splits import make_split
from pertcast_data.store import ExpressionStore
from pertcast_jobs.evaluate import Evaluation, evaluate_run
from pertcast_jobs.run_config import load_config
from pertcast_jobs.train import run_training

SIZES: Final = {"n_knockouts": 40, "n_pairs": 60, "n_cells": 6_000}
SPLITS: Final = {"pairs": "unseen_pair", "singles": "unseen_perturbation"}
METRICS: Final = {"pearson_delta": 1.0, "e_distance": -1.0}
DRAWS: Final = 2000
CONFIG: Final = "model.config."
IN_ORDER: Final = [f"grouping.{term}_weight=0" for term in ("semantic", "network", "coexpression")]
"""Without any knowledge genes are grouped as they stand in the file."""

ABLATIONS: Final = {
    "whole": [],
    "no interactions": ["displacement.interactions=false"],
    "no own-gene term": ["displacement.own_gene=false"],
    "flow alone": ["displacement.kind=none", "displacement.own_gene=false"],
    "flow moves means": ["flow.moves_mean=true"],
    "independent pairing": ["flow.pairing=independent"],
    "no correlation loss": ["alignment.correlation_weight=0"],
    "no pathway loss": ["alignment.pathway_weight=0"],
    "attention among modules": ["autoencoder.kind=modules"],
    "attention, genes in order": ["autoencoder.kind=modules", *IN_ORDER],
    "losses over genes in order": IN_ORDER,
    "neither loss": ["alignment.correlation_weight=0", "alignment.pathway_weight=0"],
}
"""Name -> overrides below model.config."""


def scores_of(found: Evaluation, question: str) -> dict[str, Any]:
    """Return the scores of every contender on the conditions that the question is about."""
    board, pairs = found.trust.board, []
    for name in board.conditions["condition_id"]:
        pairs.append("+" in name)
    asked = np.array(pairs) == (question == "pairs")
    chosen = {
        contender.name: {
            metric: np.asarray(board.scores[contender.name][metric])[asked].tolist()
            for metric in METRICS
            if metric in board.scores.get(contender.name, {})
        }
        for contender in board.contenders
    }
    cluster = [name for name, keep in zip(board.conditions["cluster"], asked, strict=True) if keep]
    baselines = [contender.name for contender in board.of_role("baseline")]
    return {"model": board.model.name, "baselines": baselines, "cluster": cluster, "scores": chosen}


def folds_of(
    config: str, regime: str, seed: int, question: str, folds: list[int], overrides: list[str]
) -> Iterator[dict[str, Any]]:
    """Simulate once, and yield the outcome of each fold as it is done."""
    with tempfile.TemporaryDirectory(prefix="pertcast-perturbations-") as folder:
        root = Path(folder)
        files = write_atlas(simulate_atlas(AtlasConfig(regime=regime, seed=seed, **SIZES)), root / "atlas")
        ingest([files.cells], root / "store")
        store = ExpressionStore.open(root / "store")
        make_split(store, SPLITS[question], seed=seed).save(root / "split.json")
        data = [f"data.store={root / 'store'}", f"data.split={root / 'split.json'}", f"train.seed={seed}"]
        for fold in folds:
            run = root / f"fold{fold}"
            run_training(load_config(config, [*data, f"data.fold={fold}", *overrides]), run)
            found = evaluate_run(run)
            line = {"regime": regime, "seed": seed, "question": question, "fold": fold}
            yield {**line, "outcome": found.trust.verdict.outcome, **scores_of(found, question)}


def gains(
    lines: list[dict[str, Any]], metric: str, baseline: str
) -> tuple[list[np.ndarray[Any, Any]], float]:
    """Return each seed's gains by perturbation (averaged over its conditions), and the baseline's mean."""
    sign, seeds, others = METRICS[metric], [], []
    for seed in sorted({line["seed"] for line in lines}):
        by_cluster: dict[str, list[float]] = {}
        for line in (line for line in lines if line["seed"] == seed):
            model, other = (
                np.nan_to_num(np.array(line["scores"][name].get(metric, np.nan), dtype=float))
                for name in (line["model"], baseline)
            )
            others.append(other)
            for name, gain in zip(line["cluster"], sign * (model - other), strict=True):
                by_cluster.setdefault(name, []).append(float(gain))
        seeds.append(np.array([np.mean(each) for each in by_cluster.values()]))
    return seeds, float(np.concatenate(others).mean())


def interval(seeds: list[np.ndarray[Any, Any]]) -> tuple[float, float, float]:
    """Return the mean gain and its 95 % interval over perturbations and seeds."""
    random = np.random.default_rng(0)
    draws = []
    for _ in range(DRAWS):
        chosen = [seeds[i] for i in random.integers(len(seeds), size=len(seeds))]
        draws.append(
            np.concatenate([each[random.integers(len(each), size=len(each))] for each in chosen]).mean()
        )
    low, high = np.quantile(draws, [0.025, 0.975])
    return float(np.concatenate(seeds).mean()), float(low), float(high)


def show(lines: list[dict[str, Any]]) -> None:
    """Print the table of one regime and question."""
    first, outcomes = lines[0], [line["outcome"] for line in lines]
    counted = ", ".join(f"{outcomes.count(each)} {each}" for each in sorted(set(outcomes)))
    number = len({line["seed"] for line in lines})
    print(
        f"\n{first['regime']}, {first['question']}: {number} seeds, {len(lines)} folds; verdicts: {counted}"
    )
    for metric in METRICS:
        own = np.concatenate([line["scores"][line["model"]][metric] for line in lines])
        print(f"  {metric}: {first['model']} {np.nan_to_num(own.astype(float)).mean():.4f}")
        for baseline in first["baselines"]:
            found, other = gains(lines, metric, baseline)
            mean, low, high = interval(found)
            print(f"    {baseline:<18} {other:8.4f}   gain {mean:+.4f} [{low:+.4f}, {high:+.4f}]", flush=True)


def ablate(asked: argparse.Namespace, known: dict[str, Any]) -> None:
    """Run module_flow with each part taken away, and print mean scores over folds and seeds."""
    for regime in asked.regimes.split(","):
        for question in asked.questions.split(","):
            print(f"\n{regime}, {question}: mean pearson_delta and e_distance")
            for name, overrides in ABLATIONS.items():
                lines = []
                for seed in seeds_of(asked.seeds):
                    key = f"{name} {regime} {question} {seed}"
                    if key not in known["ablations"]:
                        settings = [*(CONFIG + each for each in overrides), *asked.overrides]
                        folds = list(range(asked.folds))
                        found = folds_of("module_flow", regime, seed, question, folds, settings)
                        known["ablations"][key] = list(found)
                        asked.out.write_text(json.dumps(known) + "\n")
                    lines += known["ablations"][key]
                figures = [
                    np.mean(
                        np.nan_to_num(np.concatenate([each["scores"]["module_flow"][m] for each in lines]))
                    )
                    for m in METRICS
                ]
                print(f"  {name:<28} {figures[0]:.4f}  {figures[1]:.4f}", flush=True)


def seeds_of(text: str) -> list[int]:
    """Read "0-3,7" as 0, 1, 2, 3, 7."""
    parts = [[int(end) for end in part.split("-")] for part in text.split(",")]
    return [seed for part in parts for seed in range(part[0], part[-1] + 1)]


def main() -> None:
    """Run every fold that --out does not hold yet, then print all tables; one --out a configuration."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", default="module_flow", help="a shipped configuration")
    parser.add_argument("--questions", default="pairs,singles")
    parser.add_argument("--regimes", default="epistatic,linear,null")
    parser.add_argument("--seeds", default="100-104")
    parser.add_argument("--folds", type=int, default=4)
    parser.add_argument("--out", type=Path, default=Path("atlas_perturbations.json"))
    parser.add_argument("--ablations", action="store_true", help="take parts of module_flow away")
    parser.add_argument("overrides", nargs="*", help="a.b=c for the training")
    asked = parser.parse_args()
    prepare_environment()
    known = json.loads(asked.out.read_text()) if asked.out.exists() else {}
    if not gives_same_data(known.get("generator_hash")):
        known = {"generator_hash": generator_hash(), "lines": [], "ablations": {}}
    if asked.ablations:
        ablate(asked, known)
        return
    lines = known["lines"]
    for regime in asked.regimes.split(","):
        for question in asked.questions.split(","):
            for seed in seeds_of(asked.seeds):
                key = (regime, seed, question)
                done = {
                    line["fold"] for line in lines if (line["regime"], line["seed"], line["question"]) == key
                }
                missing = [fold for fold in range(asked.folds) if fold not in done]
                for line in folds_of(asked.config, *key, missing, asked.overrides) if missing else ():
                    lines.append(line)
                    asked.out.write_text(json.dumps(known) + "\n")
            show([line for line in lines if (line["regime"], line["question"]) == (regime, question)])


if __name__ == "__main__":
    main()
