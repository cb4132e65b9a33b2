"""Whether generated wells are distributed as measured ones, and latent spaces keep dose: saturating atlas.

A model must reach what one half of the replicates tells of the other, minus 0.05, in variance, E-distance and
gene-gene correlation within a cell line, and be better than independent noise a gene around the residual MLP,
which is what that model's own samples are. In the latent space (principal components of training profiles for
models without one) the distance from the control must follow the dose with a mean Spearman of at least 0.9.

    python benchmarks/atlas_distribution.py response_mlp latent_diffusion --seeds 100-104 --out wells.json

Wells with held-out compounds; about a minute a seed on one core for the residual MLP. Finished lines are kept
in --out and not made again.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from pertcast.analysis.latent_space import LatentSpace
from pertcast.analysis.latent_space.profiles import MEASURED
from pertcast.analysis.latent_space.result import DRIFT_BAR
from pertcast.evaluation.wells.comparison import HALVES
from pertcast.evaluation.wells.populations import WellPopulations
from pertcast.evaluation.wells.result import TOLERANCE
from pertcast.evaluation.wells.scores import MEASURES
from pertcast_data.environment import prepare_environment
from pertcast_data.errors import ConfigError
from pertcast_data.ingest import ingest
from pertcast_data.simulate import AtlasConfig, generator_hash, gives_same_data, simulate_atlas, write_atlas
from pertcast_data.splits import make_split
from pertcast_data.store import ExpressionStore
from pertcast_jobs.evaluate.latent import latent_space_of_run
from pertcast_jobs.evaluate.wells import well_populations_of_run
from pertcast_jobs.run_config import load_config
from pertcast_jobs.train import run_training

GAUSSIAN = "response_mlp"
"""Its samples are its mean with independent normal noise a gene: the best of that kind here."""

JUDGED = ("variance", "e_distance", "gene_correlation")
"""Scores that have a bar."""


def simulate(root: Path, seed: int) -> list[str]:
    """Simulate, ingest and split an atlas; return where a training finds it."""
    files = write_atlas(simulate_atlas(AtlasConfig(regime="saturating", seed=seed)), root / "atlas")
    ingest([files.wells], root / "store")
    make_split(ExpressionStore.open(root / "store"), "unseen_compound", seed=seed).save(root / "split.json")
    return [f"data.store={root / 'store'}", f"data.split={root / 'split.json'}", f"train.seed={seed}"]


def judge(
    config: str, data: list[str], run: Path, overrides: list[str]
) -> tuple[WellPopulations, LatentSpace]:
    """Train a configuration, compare its wells with the measured ones, and look at its latent space."""
    run_training(load_config(config, [*data, *overrides]), run)
    found = well_populations_of_run(run)
    if found is None:
        raise ConfigError(f"{config} gives no samples: there are no populations to compare. Leave it out.")
    return found, latent_space_of_run(run)


def latent_of(space: LatentSpace) -> dict[str, Any]:
    """Return the figures of a latent space, generated and measured."""
    sides = {"generated": space.model, "measured": MEASURED}
    return {
        "space": space.space,
        "silhouette": {side: space.silhouette[title].value for side, title in sides.items()},
        "dose": {side: space.drift_of(title).dose_strong.value for side, title in sides.items()},
        "dose_all": {side: space.drift_of(title).dose.value for side, title in sides.items()},
        "time": {side: space.drift_of(title).time_strong.value for side, title in sides.items()},
        "paths": None if space.path_shape is None else space.path_shape.to_json(),
    }


def line_of(config: str, seed: int, found: WellPopulations, space: LatentSpace) -> dict[str, Any]:
    """Return one line: each score of the model, of the measured halves, and whether the bar is met."""
    halves = found.of(HALVES.name)
    return {
        "config": config,
        "seed": seed,
        "score": {name: found.model.scores[name].mean for name in MEASURES},
        "halves": {name: halves.scores[name].mean for name in MEASURES},
        "ratio": found.model.ratio_quartiles("context"),
        "reaches": {name: found.reaches_halves(name) for name in MEASURES},
        "latent": latent_of(space),
    }


def show(line: dict[str, Any], gaussian: dict[str, Any] | None) -> None:
    """Print a line: score, bar, and the residual MLP's own samples on the same atlas."""
    parts = []
    for name in JUDGED:
        score, bar = line["score"][name], line["halves"][name] - TOLERANCE
        mark = "reached" if line["reaches"][name] else "missed"
        beside = "" if gaussian is None else f", {GAUSSIAN} {gaussian['score'][name]:.3f}"
        parts.append(f"{name} {score:.3f} (bar {bar:.3f} {mark}{beside})")
    print(f"{line['config']:<18} seed {line['seed']:<4} {'  '.join(parts)}")
    latent = line["latent"]
    mark = "reached" if latent["dose"]["generated"] >= DRIFT_BAR else "missed"
    print(
        f"{'':<28} latent dose drift {latent['dose']['generated']:.3f} (bar {DRIFT_BAR:g} {mark}, measured "
        f"{latent['dose']['measured']:.3f})  silhouette {latent['silhouette']['generated']:.3f} (measured "
        f"{latent['silhouette']['measured']:.3f})  {latent['space']}",
        flush=True,
    )


def seeds_of(text: str) -> list[int]:
    """Read "0-3,7" as 0, 1, 2, 3, 7."""
    parts = [[int(end) for end in part.split("-")] for part in text.split(",")]
    return [seed for part in parts for seed in range(part[0], part[-1] + 1)]


def run_seed(seed: int, configs: list[str], overrides: list[str], known: dict[str, Any], out: Path) -> None:
    """Make the lines of one seed that are not there yet, and print all of them."""
    done = {(line["config"], line["seed"]): line for line in known["lines"]}
    missing = [config for config in configs if (config, seed) not in done]
    if missing:
        with tempfile.TemporaryDirectory(prefix="pertcast-distribution-") as folder:
            data = simulate(Path(folder), seed)
            for config in missing:
                found = judge(config, data, Path(folder) / Path(config).stem, overrides)
                done[config, seed] = line_of(config, seed, *found)
                known["lines"] = list(done.values())
                out.write_text(json.dumps(known, indent=1) + "\n")
    for config in configs:
        show(done[config, seed], None if config == GAUSSIAN else done.get((GAUSSIAN, seed)))


def main() -> None:
    """Judge every configuration on every seed that --out does not hold yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("configs", nargs="*", default=[GAUSSIAN], help="shipped configurations or files")
    parser.add_argument("--seeds", default="0-2")
    parser.add_argument("--out", type=Path, default=Path("atlas_distribution.json"))
    parser.add_argument("--set", action="append", default=[], help="a.b=c for every training")
    asked = parser.parse_args()
    prepare_environment()
    known = json.loads(asked.out.read_text()) if asked.out.exists() else {}
    if not gives_same_data(known.get("generator_hash")):
        known = {"generator_hash": generator_hash(), "lines": []}
    for seed in seeds_of(asked.seeds):
        run_seed(seed, asked.configs or [GAUSSIAN], asked.set, known, asked.out)


if __name__ == "__main__":
    main()
