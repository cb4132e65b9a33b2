"""What an ensemble is worth where the truth is known: score, coverage of stated intervals, time it takes.

An ensemble of K members stands against its first member, atlas by atlas; intervals are over atlases.

    python benchmarks/atlas_ensembles.py --seeds 100-109 --out ensembles.json
    python benchmarks/atlas_ensembles.py --configs latent_diffusion --set train.epochs=8 --out short.json
    python benchmarks/atlas_ensembles.py --speed RUN

Wells of the regime `saturating` with held-out compounds. Nothing is chosen: every setting is the shipped one
but for the size of the atlas and --set. Finished lines of --out are kept and not run again.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pertcast.evaluation.trust.table import TrustTable
from pertcast.predictor import Predictor
from pertcast.training.bundle import find_bundle
from pertcast_data.environment import prepare_environment
from pertcast_data.ingest import ingest
from pertcast_data.simulate import AtlasConfig, simulate_atlas, write_atlas
from pertcast_data.splits import make_split
from pertcast_data.store import ExpressionStore
from pertcast_jobs.evaluate import evaluate_run
from pertcast_jobs.run_config import load_config
from pertcast_jobs.train.ensemble import train_ensembles

ATLAS: Final[dict[str, Any]] = {"n_genes": 100, "n_compounds": 40, "n_cells": 200, "n_pairs": 0}
METRICS: Final = ("pearson_delta_pert", "pearson_delta", "mse")
DRAWS: Final = 10_000
ASKED: Final = 2_000
REPEATS: Final = 7


def facts_of(trust: TrustTable) -> dict[str, float]:
    """Return the scores of a model, and the share of measured responses inside the intervals it states."""
    found = trust.summary[trust.board.model.name]
    facts = {name: float(found[name].mean) for name in METRICS if name in found}
    calibration = trust.parts.calibration
    if calibration is not None:
        for level in calibration.coverage:
            facts[f"coverage_{level.nominal:g}"] = float(level.gaussian.mean)
    return facts


def judge(config: str, seed: int, members: int, overrides: list[str]) -> dict[str, Any]:
    """Train and evaluate one ensemble and its first member on one atlas."""
    with tempfile.TemporaryDirectory(prefix="pertcast-ensembles-") as name:
        folder = Path(name)
        atlas = simulate_atlas(AtlasConfig(regime="saturating", seed=seed, **ATLAS))
        ingest([write_atlas(atlas, folder / "atlas").wells], folder / "store")
        make_split(ExpressionStore.open(folder / "store"), "unseen_compound").save(folder / "split.json")
        words = [f"data.store={folder / 'store'}", f"data.split={folder / 'split.json'}", *overrides]
        outcome = train_ensembles(load_config(config, words), folder / "run", [0], members)
        if outcome.members.failed:
            raise RuntimeError(f"members failed: {outcome.members.failed}")
        options = {"n_draws": 200, "most_cell_conditions": 0}
        together = evaluate_run(folder / "run", **options).trust
        single = evaluate_run(folder / "run" / "members" / "fold0-seed0", **options).trust
        gain = together.parts.ensemble
        return {
            "config": config,
            "seed": seed,
            "members": members,
            "ensemble": facts_of(together),
            "single": facts_of(single),
            "gain": None if gain is None else [gain.metric, gain.gain.mean, gain.gain.low, gain.gain.high],
        }


def with_interval(values: NDArray[np.float64]) -> str:
    """Return the mean over atlases with its bootstrap interval."""
    random = np.random.default_rng(0)
    drawn = random.choice(values, (DRAWS, len(values))).mean(axis=1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return f"{values.mean():+.4f} [{low:+.4f}, {high:+.4f}]"


def table(lines: list[dict[str, Any]]) -> list[str]:
    """Return one line a configuration and quantity: single, ensemble, paired difference over atlases."""
    shown = []
    for config in dict.fromkeys(line["config"] for line in lines):
        own = [line for line in lines if line["config"] == config]
        for name in own[0]["ensemble"]:
            one, many = (np.array([line[side][name] for line in own]) for side in ("single", "ensemble"))
            text = (
                f"{config:<18} {name:<20} {one.mean():.4f} -> {many.mean():.4f}  {with_interval(many - one)}"
            )
            if name.startswith("coverage_"):
                nominal = float(name.removeprefix("coverage_"))
                error = np.abs(many - nominal) - np.abs(one - nominal)
                text += f"  |error| {with_interval(error)}"
            shown.append(f"{text}  ({len(own)} atlases)")
    return shown


def speed(run: Path) -> list[str]:
    """Return CPU time of one member and of the ensemble for the same table, the least of several turns."""
    members = sorted((run / "members").glob("fold*"))
    paths = {"one member": members[0], f"ensemble of {len(members)}": run}
    predictors = {name: Predictor.from_bundle(find_bundle(path)) for name, path in paths.items()}
    first = predictors["one member"]
    names = [name for name in first.space.perturbations if "+" not in name]
    random = np.random.default_rng(0)
    asked = pl.DataFrame(
        {
            "cell_iname": random.choice(list(first.space.contexts), ASKED),
            "pert_type": "trt_cp",
            "pert_id": random.choice(names, ASKED),
            "pert_dose": random.uniform(0.1, 10.0, ASKED),
            "pert_time": 24.0,
        }
    )
    taken: dict[str, list[float]] = {name: [] for name in predictors}
    for _ in range(REPEATS):
        for name, predictor in predictors.items():
            began = time.process_time()
            predictor.predict(asked)
            taken[name].append(time.process_time() - began)
    encoding = []
    for _ in range(REPEATS):
        began = time.process_time()
        first.encoder.encode_table(asked)
        encoding.append(time.process_time() - began)
    least = {name: min(values) for name, values in taken.items()}
    one, many = least.values()
    lines = [f"{name:<16} {value * 1e3:8.1f} ms for {ASKED} conditions" for name, value in least.items()]
    lines.append(f"{'encoding':<16} {min(encoding) * 1e3:8.1f} ms of it")
    return [*lines, f"{'ratio':<16} {many / one:8.2f}"]


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--configs", default="response_mlp,latent_diffusion")
    parser.add_argument("--seeds", default="100-109")
    parser.add_argument("--members", type=int, default=5)
    parser.add_argument("--set", nargs="*", default=[], help="overrides of the configuration")
    parser.add_argument("--out", type=Path, default=Path("ensembles.json"))
    parser.add_argument("--speed", type=Path, help="an ensemble's run: time its predictions and end")
    asked = parser.parse_args()
    prepare_environment()
    if asked.speed is not None:
        print("\n".join(speed(asked.speed)))
        return
    first, _, last = asked.seeds.partition("-")
    lines = json.loads(asked.out.read_text()) if asked.out.exists() else []
    done = {(line["config"], line["seed"]) for line in lines}
    for seed in range(int(first), int(last or first) + 1):
        for config in asked.configs.split(","):
            if (config, seed) not in done:
                lines.append(judge(config, seed, asked.members, asked.set))
                asked.out.write_text(json.dumps(lines, indent=1))
    print("\n".join(table(lines)))


if __name__ == "__main__":
    main()
