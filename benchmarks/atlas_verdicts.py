"""What the trust report says of the neural network where the truth is known: verdicts by regime and seed.

A network must not be called better where nothing happens (`null`) or where ridge is all one needs (`linear`);
where there is structure to find, the oracle (the noise-free truth) must stand far above every baseline.

    python benchmarks/atlas_verdicts.py --regimes null --seeds 100-119 --out verdicts.json

Wells with held-out compounds; for `epistatic` single cells with held-out pairs. About half a minute a seed on
one core. Finished seeds are kept in --out and not run again.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pertcast.evaluation.ceilings.ceiling import CEILING_OF_SKILL
from pertcast.evaluation.rowwise import pearson
from pertcast.evaluation.trust.table import TrustTable
from pertcast_data.environment import prepare_environment
from pertcast_data.ingest import ingest
from pertcast_data.simulate import AtlasConfig, generator_hash, simulate_atlas, write_atlas
from pertcast_data.splits import make_split
from pertcast_data.store import ExpressionStore
from pertcast_jobs.evaluate import evaluate_run
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


def oracle_scores(predictions: Path, truth: Path, file: str) -> np.ndarray[Any, Any]:
    """Return pearson_delta of the noise-free responses on the held-out conditions."""
    held, known = np.load(predictions), np.load(truth)
    place = {name: row for row, name in enumerate(known[f"{file}_condition_id"])}
    rows = [place[name] for name in held["condition_id"]]
    columns = {name: column for column, name in enumerate(known["genes"])}
    genes = [columns[name] for name in held["gene"]]
    return pearson(known[f"{file}_response"][np.ix_(rows, genes)], held["truth"])


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


def judge(regime: str, seed: int, overrides: list[str]) -> dict[str, Any]:
    """Simulate, ingest, split, train the network and evaluate it."""
    asked = question_of(regime)
    with tempfile.TemporaryDirectory(prefix="pertcast-verdicts-") as folder:
        root = Path(folder)
        config = AtlasConfig(regime=regime, seed=seed, **asked.sizes)
        files = write_atlas(simulate_atlas(config), root / "atlas")
        ingest([getattr(files, asked.file)], root / "store")
        store = ExpressionStore.open(root / "store")
        make_split(store, asked.split, seed=seed).save(root / "split.json")
        data = [f"data.store={root / 'store'}", f"data.split={root / 'split.json'}", f"train.seed={seed}"]
        run_training(load_config("response_mlp", [*data, *overrides]), root / "run")
        trust = evaluate_run(root / "run").trust
        oracle = oracle_scores(root / "run/evaluation/predictions.npz", files.truth, asked.file)
        return line_of(regime, seed, trust, oracle)


def seeds_of(text: str) -> list[int]:
    """Read "0-3,7" as 0, 1, 2, 3, 7."""
    parts = [[int(end) for end in part.split("-")] for part in text.split(",")]
    return [seed for part in parts for seed in range(part[0], part[-1] + 1)]


def show(line: dict[str, Any]) -> None:
    """Print one seed as a line."""
    against = line["scores"].get(line["against"], float("nan"))
    print(
        f"{line['regime']:<12} seed {line['seed']:<4} {line['outcome']:<20} network "
        f"{line['scores']['response_mlp']:.3f}  {line['against']} {against:.3f}  oracle {line['oracle']:.3f}",
        flush=True,
    )


def main() -> None:
    """Judge every regime and seed that --out does not hold yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--regimes", default="null,linear,saturating,epistatic")
    parser.add_argument("--seeds", default="100-104")
    parser.add_argument("--out", type=Path, default=Path("atlas_verdicts.json"))
    parser.add_argument("overrides", nargs="*", help="a.b=c for the training")
    asked = parser.parse_args()
    prepare_environment()
    known = json.loads(asked.out.read_text()) if asked.out.exists() else {}
    if known.get("generator_hash") != generator_hash():
        known = {"generator_hash": generator_hash(), "lines": []}
    done = {(line["regime"], line["seed"]): line for line in known["lines"]}
    for regime in asked.regimes.split(","):
        for seed in seeds_of(asked.seeds):
            if (regime, seed) not in done:
                done[regime, seed] = judge(regime, seed, asked.overrides)
                known["lines"] = list(done.values())
                asked.out.write_text(json.dumps(known, indent=1) + "\n")
            show(done[regime, seed])


if __name__ == "__main__":
    main()
