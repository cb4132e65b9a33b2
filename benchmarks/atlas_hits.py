"""Whether the false-discovery rate of hits is true where the truth is known: the atlas, seed by seed.

A model is trained on part of the compounds; its validation compounds calibrate; a screen of the test
compounds at all doses is called at 5 and 10 %. A call is false where the condition was measured inactive, by
the same definition; beside it ("truth"), where the noise-free response of the atlas is too small to exceed
controls when their noise is added. The naive alternative takes the effects of controls, drawn as if they were
the conditions, for the null distribution of predicted effects; "any share" is the conformal rate that holds
whatever share of a library is inactive.

    python benchmarks/atlas_hits.py --regimes saturating,null,adversarial --seeds 100-149 --out hits.json

2,000 compounds, one cell line, one dose at which about a third of them do nothing measurable, three replicate
plates, 100 genes. About 16 CPU seconds a seed.
Finished seeds are kept in --out and not run again.
"""

from __future__ import annotations

import argparse
import json
import logging
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from paired import keep_lines, read_lines, seeds_of
from pertcast.evaluation.hit_calibration import FDR_LEVELS, HitCalibration, screen_fdr
from pertcast.evaluation.hit_calibration.control_effects import (
    draws_for,
    effects_of_controls,
    layouts_of,
)
from pertcast.evaluation.hit_calibration.from_store import predicted_effects
from pertcast.evaluation.hit_calibration.labels import activity_labels
from pertcast.evaluation.units import Units, lay_out_units
from pertcast.predictor import Predictor
from pertcast_data.environment import prepare_environment
from pertcast_data.ingest import ingest
from pertcast_data.loading import ControlPairing, pair_controls
from pertcast_data.simulate import AtlasConfig, generator_hash, load_truth, simulate_atlas, write_atlas
from pertcast_data.splits import make_split
from pertcast_data.store import ExpressionStore
from pertcast_jobs.run_config import load_config
from pertcast_jobs.train import run_training

SIZES: Final[dict[str, Any]] = {
    "n_genes": 100,
    "n_contexts": 1,
    "n_compounds": 2_000,
    "n_unprofiled": 4,
    "doses": (0.1,),
    "times": (24.0,),
    "n_plates": 3,
    "n_knockouts": 2,
    "n_pairs": 0,
    "n_cells": 100,
    "n_signature_genes": 2,
}
Flags = NDArray[np.bool_]
Floats = NDArray[np.float64]


def control_effects(units: Units, store: ExpressionStore, pairing: ControlPairing, seed: int) -> Floats:
    """Return (N, draws) effects of controls in the conditions' place, ascending."""
    layouts = layouts_of(units)
    draws = draws_for(layouts, store.reader(), pairing, seed)
    known = {layout: np.sort(effects_of_controls(layout, draws)) for layout in set(layouts)}
    return np.stack([known[layout] for layout in layouts])


def called(fdr: Floats, false: Flags, level: float) -> dict[str, float]:
    """Return the calls at a level, the share of them that is false, and the share of the others called."""
    hit = np.nan_to_num(fdr, nan=1.0) <= level
    active = ~false & ~np.isnan(fdr)
    return {
        "calls": int(hit.sum()),
        "fdp": float((hit & false).sum() / max(1, hit.sum())),
        "power": float((hit & active).sum() / max(1, active.sum())),
    }


def screen(root: Path, truth: Path, fold: int, seed: int) -> dict[str, Any]:
    """Screen the test part of a trained run's fold, and hold its calls against what is known."""
    store, predictor = ExpressionStore.open(root / "store"), Predictor.from_bundle(root / "run" / "bundle")
    calibration = predictor.hit_calibration or HitCalibration.none("not calibrated")
    split = make_split(store, "unseen_compound", seed=seed)
    pairing = pair_controls(store)
    units = lay_out_units(store, split.rows(store, fold, "test"), pairing)
    table = predicted_effects(predictor, units.conditions).sort("row")
    place = table["row"].to_numpy()
    labels = activity_labels(units, store, store.reader(), pairing, seed=1)
    assert labels is not None
    oracle = load_truth(truth)["wells"].for_genes(store.genes)
    names = units.conditions["condition_id"].gather(place).to_list()
    effect = np.array([np.sqrt(np.square(oracle[name].astype(np.float64)).mean()) for name in names])
    scores = table["effect_size"].to_numpy()
    p_values, shares = calibration.significance(table)
    controls = control_effects(units, store, pairing, seed=1)[place]
    naive = (1 + (controls >= scores[:, None]).sum(axis=1)) / (1 + controls.shape[1])
    naive[~table["is_in_domain"].to_numpy()] = np.nan
    measured = ~labels.is_inactive[place]
    true = np.square(effect) + np.square(controls).mean(axis=1) > np.square(labels.threshold[place])
    line: dict[str, Any] = {
        "conditions": len(place),
        "in_domain": int(table["is_in_domain"].sum()),
        "tested": int((~np.isnan(p_values)).sum()),
        "inactive": float(1 - measured.mean()),
        "truly_inactive": float(1 - true.mean()),
        "inactive_called": float(np.mean(p_values[~measured] <= 0.1)) if calibration.n_strata else None,
        "calibration": dict(calibration.facts),
        "reason": calibration.reason,
    }
    found = {
        "conformal": screen_fdr(p_values, shares),
        "any share": screen_fdr(p_values),
        "naive": screen_fdr(naive),
    }
    for name, fdr in found.items():
        for level in FDR_LEVELS:
            line[f"{name}_{level:g}"] = called(fdr, ~measured, level)
            line[f"{name}_truth_{level:g}"] = called(fdr, ~true, level)
    return line


def one(regime: str, seed: int, config: str, overrides: list[str], sizes: dict[str, Any]) -> dict[str, Any]:
    """Simulate, ingest, train and screen one seed."""
    start = time.process_time()
    with tempfile.TemporaryDirectory(prefix="pertcast-hits-") as folder:
        root = Path(folder)
        files = write_atlas(simulate_atlas(AtlasConfig(regime=regime, seed=seed, **sizes)), root / "atlas")
        ingest([files.wells], root / "store")
        make_split(ExpressionStore.open(root / "store"), "unseen_compound", seed=seed).save(
            root / "split.json"
        )
        data = [f"data.store={root / 'store'}", f"data.split={root / 'split.json'}", f"train.seed={seed}"]
        run_training(load_config(config, [*data, *overrides]), root / "run")
        found = screen(root, files.truth, 0, seed)
    return {"regime": regime, "seed": seed, **found, "cpu_seconds": time.process_time() - start}


def summary(lines: list[dict[str, Any]]) -> str:
    """Return a table of what a regime's seeds came to: means, and their standard errors."""
    rows = [
        f"{lines[0]['regime']}, {len(lines)} seeds, {np.mean([e['inactive'] for e in lines]):.2f} inactive"
    ]
    for method in ("conformal", "conformal_truth", "any share", "any share_truth", "naive", "naive_truth"):
        for level in FDR_LEVELS:
            found = [each[f"{method}_{level:g}"] for each in lines]
            fdp = np.array([each["fdp"] for each in found])
            error = fdp.std(ddof=1) / np.sqrt(len(fdp)) if len(fdp) > 1 else float("nan")
            rows.append(
                f"  {method:<16} {level:>4.0%}  FDP {fdp.mean():.3f} +- {error:.3f}  "
                f"power {np.mean([each['power'] for each in found]):.3f}  "
                f"no call in {np.mean([each['calls'] == 0 for each in found]):.2f} of screens"
            )
    return "\n".join(rows)


def main() -> None:
    """Screen every regime and seed that --out does not hold yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", default="response_mlp", help="a shipped configuration")
    parser.add_argument("--model", default="fingerprint_ridge", help="the model of the registry")
    parser.add_argument("--regimes", default="saturating,null,adversarial")
    parser.add_argument("--seeds", default="100-149")
    parser.add_argument("--sizes", default="{}", help="JSON of AtlasConfig fields that differ from the usual")
    parser.add_argument("--out", type=Path, default=Path("atlas_hits.json"))
    parser.add_argument("overrides", nargs="*", help="a.b=c for the training")
    asked = parser.parse_args()
    prepare_environment()
    logging.disable(logging.INFO)
    overrides = [f"model.name={asked.model}", *asked.overrides]
    sizes = {**SIZES, **json.loads(asked.sizes)}
    identity = {
        "generator_hash": generator_hash(),
        "config": [asked.config, *overrides],
        "sizes": json.loads(json.dumps(sizes)),
    }
    known = read_lines(asked.out, identity)
    done = {(line["regime"], line["seed"]): line for line in known["lines"]}
    for regime in asked.regimes.split(","):
        for seed in seeds_of(asked.seeds):
            if (regime, seed) not in done:
                done[regime, seed] = one(regime, seed, asked.config, overrides, sizes)
                keep_lines(asked.out, {**identity, "lines": list(done.values())})
        print(summary([line for line in done.values() if line["regime"] == regime]), flush=True)


if __name__ == "__main__":
    main()
