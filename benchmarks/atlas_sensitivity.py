"""Is ln IC50 predictable from generated expression where the truth is known? A seed of the atlas a line.

Wells of a simulated atlas, compounds held out in four folds, the model of a shipped configuration trained on
each, then the drug sensitivity of the whole library (sensitivity.csv), drug-blind: no compound's expression
comes from a run that saw it.

    python benchmarks/atlas_sensitivity.py --config response_mlp --seeds 0-2 --out sensitivity.json

Seeds 0-9 are for tuning, 100-109 for reporting. About three minutes a seed on one core with response_mlp.
Finished seeds are kept in --out and not run again. What follows -- are overrides a.b=c of the training.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from pertcast.evaluation.sensitivity.drug_sensitivity import DrugSensitivity
from pertcast.evaluation.text import text_table
from pertcast_data.environment import prepare_environment
from pertcast_data.ingest import ingest
from pertcast_data.simulate import AtlasConfig, generator_hash, gives_same_data, simulate_atlas, write_atlas
from pertcast_data.splits import make_split
from pertcast_data.store import ExpressionStore
from pertcast_jobs.evaluate.sensitivity import SensitivityOptions, drug_sensitivity_of_runs
from pertcast_jobs.run_config import load_config
from pertcast_jobs.train import run_training

METRICS = ("pearson", "pearson_within", "r2", "rmse")


def judge(
    config: str, regime: str, seed: int, folds: int, overrides: list[str], show: bool
) -> dict[str, Any]:
    """Simulate, ingest, split, train every fold and compare the predictors of ln IC50."""
    with tempfile.TemporaryDirectory(prefix="pertcast-sensitivity-") as folder:
        root = Path(folder)
        files = write_atlas(simulate_atlas(AtlasConfig(regime=regime, seed=seed)), root / "atlas")
        ingest([files.wells], root / "store")
        make_split(ExpressionStore.open(root / "store"), "unseen_compound", seed=seed).save(
            root / "split.json"
        )
        data = [f"data.store={root / 'store'}", f"data.split={root / 'split.json'}", f"train.seed={seed}"]
        runs = [root / f"fold{fold}" for fold in range(folds)]
        for fold, run in enumerate(runs):
            run_training(load_config(config, [*data, f"data.fold={fold}", *overrides]), run)
        found = drug_sensitivity_of_runs(
            runs,
            root / "atlas/sensitivity.csv",
            SensitivityOptions(library=root / "atlas/library.csv", seed=seed),
        )
        share = float(np.load(files.truth)["sensitivity_explainable_share"])
    if show:
        print("\n".join(found.lines()), flush=True)
    return line_of(config, regime, seed, folds, found, share)


def line_of(
    config: str, regime: str, seed: int, folds: int, found: DrugSensitivity, share: float
) -> dict[str, Any]:
    """Return one seed's figures: every predictor on every board, and what generated expression gains."""
    content = found.to_json()
    boards = {board["name"]: board for board in content["drug_blind"]["boards"]}
    return {
        "config": config,
        "regime": regime,
        "seed": seed,
        "folds": folds,
        "explainable_share": share,
        "verdict": content["verdict"],
        "boards": {
            name: {
                "n_pairs": board["n_pairs"],
                "n_compounds": board["n_compounds"],
                "scores": {
                    row["name"]: {metric: row["metrics"][metric]["mean"] for metric in METRICS}
                    | {"title": row["title"]}
                    for row in board["rows"]
                },
                "generated_minus": {
                    other: {metric: gains[metric] for metric in METRICS}
                    for other, gains in board["generated_minus"].items()
                },
            }
            for name, board in boards.items()
        },
    }


def seeds_of(text: str) -> list[int]:
    """Read "0-3,7" as 0, 1, 2, 3, 7."""
    parts = [[int(end) for end in part.split("-")] for part in text.split(",")]
    return [seed for part in parts for seed in range(part[0], part[-1] + 1)]


def show_line(line: dict[str, Any]) -> None:
    """Print one seed: generated expression, and its gain over the fingerprint with and without the line."""
    board = line["boards"]["all"]
    gains = board["generated_minus"]
    said = [
        f"over {name} {gain['mean']:+.3f} [{gain['low']:+.3f}, {gain['high']:+.3f}]"
        for name in ("structure", "structure_and_cell", "generated_baseline")
        if name in gains and (gain := gains[name]["pearson"])
    ]
    print(
        f"{line['regime']} seed {line['seed']}: {board['n_compounds']} compounds, r generated "
        f"{board['scores']['generated']['pearson']:.3f}  {'  '.join(said)}",
        flush=True,
    )


def pooled(lines: list[dict[str, Any]], board: str) -> list[str]:
    """Return the table of a board: means over seeds, and in how many seeds generated expression is better."""
    held = [line["boards"][board] for line in lines if board in line["boards"]]
    rows = []
    for name in dict.fromkeys(name for each in held for name in each["scores"]):
        scores = [each["scores"][name] for each in held if name in each["scores"]]
        gains = [each["generated_minus"][name]["pearson"] for each in held if name in each["generated_minus"]]
        better = sum(gain["low"] > 0 for gain in gains)
        worse = sum(gain["high"] < 0 for gain in gains)
        mean = {metric: np.array([s[metric] for s in scores if s[metric] is not None]) for metric in METRICS}
        title = "Generated by the strongest baseline" if name == "generated_baseline" else scores[0]["title"]
        rows.append(
            [
                title,
                *(f"{values.mean():.3f}" if len(values) else "–" for values in mean.values()),
                f"{np.mean([gain['mean'] for gain in gains]):+.3f}" if gains else "",
                f"{better} / {len(gains) - better - worse} / {worse}" if gains else "",
            ]
        )
    header = ["", "r", "r in line", "R2", "RMSE", "generated minus it", "better / equal / worse"]
    return text_table(header, rows)


def main() -> None:
    """Judge every seed that --out does not hold yet, then print the pooled tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", default="response_mlp", help="name of a shipped configuration, or a file")
    parser.add_argument("--regime", default="saturating")
    parser.add_argument("--seeds", default="0-2")
    parser.add_argument(
        "--folds", type=int, default=4, help="trained folds; 4 see no compound that is judged"
    )
    parser.add_argument("--out", type=Path, default=Path("atlas_sensitivity.json"))
    parser.add_argument("--show", action="store_true", help="print every seed's tables")
    parser.add_argument("overrides", nargs="*", help="a.b=c for the training")
    asked = parser.parse_args()
    prepare_environment()
    known = json.loads(asked.out.read_text()) if asked.out.exists() else {}
    if not gives_same_data(known.get("generator_hash")):
        known = {"generator_hash": generator_hash(), "lines": []}
    done = {(line["config"], line["regime"], line["seed"], line["folds"]): line for line in known["lines"]}
    chosen = []
    for seed in seeds_of(asked.seeds):
        key = (asked.config, asked.regime, seed, asked.folds)
        if key not in done:
            done[key] = judge(*key[:3], asked.folds, asked.overrides, asked.show)
            known["lines"] = list(done.values())
            asked.out.write_text(json.dumps(known, indent=1) + "\n")
        show_line(done[key])
        chosen.append(done[key])
    for board in ("all", "measured"):
        print(f"\n{board} pairs, mean over {len(chosen)} seeds")
        print("\n".join(pooled(chosen, board)))


if __name__ == "__main__":
    main()
