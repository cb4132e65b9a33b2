"""What the trust report says of a trained model where the truth is known: verdicts by regime and seed.

A model must not be called better where nothing happens (`null`) or where ridge is all one needs (`linear`);
where there is structure to find, the oracle (the noise-free truth) must stand far above every baseline.

    python benchmarks/atlas_verdicts.py --regimes null --seeds 100-119 --out verdicts.json
    python benchmarks/atlas_verdicts.py --config latent_diffusion --regimes saturating --folds 4

Wells with held-out compounds; for `epistatic` single cells with held-out pairs. Folds are pooled. About half
a minute a seed and fold on one core. Finished seeds are kept in --out and not run again.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pertcast.evaluation.bootstrap import cluster_draws
from pertcast.evaluation.ceilings.ceiling import CEILING_OF_SKILL
from pertcast.evaluation.held_out import HeldOut
from pertcast.evaluation.rowwise import pearson
from pertcast.evaluation.trust.evidence import Evidence
from pertcast.evaluation.trust.table import TrustTable
from pertcast_data.environment import prepare_environment
from pertcast_data.ingest import ingest
from pertcast_data.simulate import AtlasConfig, generator_hash, gives_same_data, simulate_atlas, write_atlas
from pertcast_data.splits import make_split
from pertcast_data.store import ExpressionStore
from pertcast_jobs.evaluate import evaluate_run, pool_folds
from pertcast_jobs.run_config import load_config
from pertcast_jobs.train import run_training


@dataclass(frozen=True)
class Question:
    """Which file of the atlas is learned from, and what is held out."""

    file: str
    split: str
    sizes: dict[str, Any]


WELLS = Question("wells", "unseen_compound", {})
PAIRS = Question("cells", "unseen_pair", {"n_knockouts": 40, "n_pairs": 60, "n_cells": 6_000})


def question_of(regime: str) -> Question:
    """Return what is asked of a regime: pairs where pairs are its point, compounds elsewhere."""
    return PAIRS if regime == "epistatic" else WELLS


def oracle_responses(held: HeldOut, truth: Path, file: str) -> np.ndarray[Any, Any]:
    """Return the noise-free responses of the held-out conditions, (N, G)."""
    known = np.load(truth)
    place = {name: row for row, name in enumerate(known[f"{file}_condition_id"])}
    rows = [place[name] for name in held.conditions["condition_id"]]
    columns = {name: column for column, name in enumerate(known["genes"])}
    genes = [columns[name] for name in held.genes]
    found: np.ndarray[Any, Any] = known[f"{file}_response"][np.ix_(rows, genes)]
    return found


def explained(evidence: Evidence, oracle: np.ndarray[Any, Any]) -> dict[str, Any]:
    """Return R2 of the model, of the kept baselines and of the oracle, and intervals of the differences.

    1 - squared error over squared deviations of the truth from its mean over conditions; intervals by
    resampling perturbations, model and baseline together.
    """
    truth, cluster = evidence.held.truth, evidence.held.cluster
    total = np.square(truth - truth.mean(axis=0)).sum(axis=1)
    sides = {**evidence.predictions, "oracle": oracle}
    errors = {name: np.square(side - truth).sum(axis=1) for name, side in sides.items()}
    model, *others = evidence.predictions
    gains = {}
    draws = list(cluster_draws(evidence.held.n_clusters, 1000, 0))
    for name in others:
        drawn = [
            float((errors[name] - errors[model]) @ (weight := counts[cluster]) / (total @ weight))
            for counts in draws
        ]
        value = float((errors[name] - errors[model]).sum() / total.sum())
        gains[name] = [value, *np.quantile(drawn, [0.025, 0.975]).tolist()]
    return {"r2": {name: float(1 - e.sum() / total.sum()) for name, e in errors.items()}, "r2_gain": gains}


def line_of(regime: str, seed: int, trust: TrustTable, oracle: np.ndarray[Any, Any]) -> dict[str, Any]:
    """Return one seed's outcome: verdict, and the primary metric of everybody who could have produced it."""
    means = {name: asdict(found[trust.primary]) for name, found in trust.summary.items()}
    gains = {name: asdict(gain) for name, gain in trust.gains[trust.primary].items()}
    return {
        "regime": regime,
        "seed": seed,
        "outcome": trust.verdict.outcome,
        "verdict": trust.verdict.text,
        "against": trust.verdict.against,
        "conditions": len(oracle),
        "oracle": float(np.nan_to_num(oracle).mean()),
        "model": trust.board.model.name,
        "scores": {name: found["mean"] for name, found in means.items()},
        "gain": {name: [gain["mean"], gain["low"], gain["high"]] for name, gain in gains.items()},
        "coverage": coverage_of(trust),
        "ceiling": means.get(CEILING_OF_SKILL, {}).get("mean"),
    }


def coverage_of(trust: TrustTable) -> dict[str, Any]:
    """Return the share of measured responses inside the intervals, and over how many conditions."""
    found = trust.parts.calibration
    if found is None:
        return {}
    shares = {f"{e.nominal:g}": [e.gaussian.mean, e.conformal.mean] for e in found.coverage}
    return {"conditions": found.n_test, "calibration": found.n_calibration, **shares}


def judge(config: str, regime: str, seed: int, folds: int, overrides: list[str]) -> dict[str, Any]:
    """Simulate, ingest, split, train on the first folds and evaluate them, pooled where several."""
    asked = question_of(regime)
    with tempfile.TemporaryDirectory(prefix="pertcast-verdicts-") as folder:
        root = Path(folder)
        atlas = AtlasConfig(regime=regime, seed=seed, **asked.sizes)
        files = write_atlas(simulate_atlas(atlas), root / "atlas")
        ingest([getattr(files, asked.file)], root / "store")
        store = ExpressionStore.open(root / "store")
        make_split(store, asked.split, seed=seed).save(root / "split.json")
        data = [f"data.store={root / 'store'}", f"data.split={root / 'split.json'}", f"train.seed={seed}"]
        evaluations = []
        for fold in range(folds):
            run = root / f"fold{fold}"
            run_training(load_config(config, [*data, f"data.fold={fold}", *overrides]), run)
            evaluations.append(evaluate_run(run))
        found = evaluations[0] if folds == 1 else pool_folds(evaluations, root / "pooled")
        assert found.evidence is not None
        oracle = oracle_responses(found.evidence.held, files.truth, asked.file)
        line = line_of(regime, seed, found.trust, pearson(oracle, found.evidence.held.truth))
        return {**line, "folds": folds, **explained(found.evidence, oracle)}


def seeds_of(text: str) -> list[int]:
    """Read "0-3,7" as 0, 1, 2, 3, 7."""
    parts = [[int(end) for end in part.split("-")] for part in text.split(",")]
    return [seed for part in parts for seed in range(part[0], part[-1] + 1)]


def show(line: dict[str, Any]) -> None:
    """Print one seed as a line."""
    against = line["scores"].get(line["against"], float("nan"))
    print(
        f"{line['regime']:<12} seed {line['seed']:<4} {line['outcome']:<20} model "
        f"{line['scores'][line['model']]:.3f}  {line['against']} {against:.3f}  oracle {line['oracle']:.3f}  "
        f"R2 {line['r2'][line['model']]:.3f} of {line['r2']['oracle']:.3f}",
        flush=True,
    )


def main() -> None:
    """Judge every regime and seed that --out does not hold yet; use one --out a configuration."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", default="response_mlp", help="a shipped configuration")
    parser.add_argument("--folds", type=int, default=1, help="how many folds, pooled")
    parser.add_argument("--regimes", default="null,linear,saturating,epistatic")
    parser.add_argument("--seeds", default="100-104")
    parser.add_argument("--out", type=Path, default=Path("atlas_verdicts.json"))
    parser.add_argument("overrides", nargs="*", help="a.b=c for the training")
    asked = parser.parse_args()
    prepare_environment()
    known = json.loads(asked.out.read_text()) if asked.out.exists() else {}
    if not gives_same_data(known.get("generator_hash")):
        known = {"generator_hash": generator_hash(), "lines": []}
    done = {(line["regime"], line["seed"]): line for line in known["lines"]}
    for regime in asked.regimes.split(","):
        for seed in seeds_of(asked.seeds):
            if (regime, seed) not in done:
                done[regime, seed] = judge(asked.config, regime, seed, asked.folds, asked.overrides)
                known["lines"] = list(done.values())
                asked.out.write_text(json.dumps(known, indent=1) + "\n")
            show(done[regime, seed])


if __name__ == "__main__":
    main()
