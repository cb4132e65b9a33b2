"""What each part of latent_diffusion adds, on a saturating atlas with held-out compounds.

Autoencoder (components, variational, none), learnt variance, min-SNR weighting, guidance, basal profile: one
training each, judged by its mean (pearson_delta, R2) and by its wells (variance, E-distance and gene-gene
correlation scores; see docs/well_populations.md). Then the samplers of one trained model: the average of 16
samples of 60 conditions must be as good after 15 steps as after 1,000.

    python benchmarks/atlas_ablations.py --seed 0

About a minute an ablation on one core.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from atlas_distribution import JUDGED, simulate
from pertcast.evaluation.held_out import FloatArray
from pertcast.evaluation.rowwise import pearson
from pertcast.models.latent_diffusion.config import SamplerConfig
from pertcast.models.latent_diffusion.generation import LatentSampler
from pertcast.models.latent_diffusion.model import LatentDiffusion
from pertcast.models.noise import KeyedNoise
from pertcast.predictor import Predictor
from pertcast_data.environment import prepare_environment
from pertcast_jobs.evaluate import evaluate_run
from pertcast_jobs.evaluate.runs import open_run
from pertcast_jobs.evaluate.wells import well_populations_of_run
from pertcast_jobs.run_config import load_config
from pertcast_jobs.train import run_training

ABLATIONS = {
    "as shipped": [],
    "variational autoencoder": ["autoencoder.kind=vae"],
    "no autoencoder": ["autoencoder.kind=none"],
    "variance not learnt, ancestral": ["denoiser.learned_variance=false", "sampler.kind=ancestral"],
    "variance learnt, ancestral": ["sampler.kind=ancestral"],
    "no min-SNR": ["denoiser.min_snr=null"],
    "guidance 1.5": ["sampler.guidance=1.5"],
    "no basal profile": ["condition.use_basal=false"],
}

SAMPLERS = (
    SamplerConfig(),
    SamplerConfig(steps=8),
    SamplerConfig(kind="ddim", steps=15),
    SamplerConfig(kind="ancestral", steps=15),
    SamplerConfig(kind="ancestral", steps=1000),
)
N_SAMPLES = 16
MOST_CONDITIONS = 60


def ablate(name: str, data: list[str], run: Path) -> None:
    """Train one variant and print how it is judged."""
    overrides = [f"model.config.{setting}" for setting in ABLATIONS[name]]
    run_training(load_config("latent_diffusion", [*data, *overrides]), run)
    evaluation = evaluate_run(run)
    found = well_populations_of_run(run)
    assert evaluation.evidence is not None and found is not None
    truth, model = evaluation.evidence.held.truth, evaluation.trust.board.model.name
    error = np.square(evaluation.evidence.predictions[model] - truth).sum()
    r2 = 1 - error / np.square(truth - truth.mean(axis=0)).sum()
    wells = "  ".join(f"{measure} {found.model.scores[measure].mean:.3f}" for measure in JUDGED)
    delta = evaluation.trust.summary[model]["pearson_delta"].mean
    print(f"{name:<32} pearson_delta {delta:.3f}  R2 {r2:.3f}  {wells}", flush=True)


@torch.no_grad()
def compare_samplers(run: Path) -> None:
    """Print how good the average of samples is, and how fast, for every sampler of one trained model."""
    predictor, held = Predictor.from_bundle(run / "bundle"), np.load(run / "evaluation/predictions.npz")
    model = predictor.model
    assert isinstance(model, LatentDiffusion)
    known = open_run(run).store.conditions
    place = {name: row for row, name in enumerate(known["condition_id"].to_list())}
    chosen = np.linspace(0, len(held["truth"]) - 1, MOST_CONDITIONS).astype(int)
    conditions = predictor.encoder.encode(known[[place[name] for name in held["condition_id"][chosen]]])
    basal = torch.from_numpy(held["control"][chosen].astype(np.float32))
    found = model.heads(conditions, model.scaling.standardise_basal(basal))
    reference: float | None = None
    for config in reversed(SAMPLERS):
        sampler = LatentSampler(model.denoiser, config, model.config.denoiser.schedule)
        began = time.perf_counter()
        latents = sampler.draw(found, conditions.key, N_SAMPLES, KeyedNoise(0))
        mean = (
            model.autoencoder.decode(latents.flatten(0, 1)).view(len(conditions), N_SAMPLES, -1).mean(dim=1)
        )
        taken = time.perf_counter() - began
        response = (model.scaling.centre(conditions) + mean * model.scaling.target_sd).numpy()
        score = score_of(response, held["truth"][chosen])
        reference = score if reference is None else reference
        speed = f"{len(conditions) * N_SAMPLES / taken:,.0f} profiles/s"
        gap = f"pearson_delta {score:.4f} ({score - reference:+.4f})"
        print(f"{config.kind:<12} {config.steps:>5} steps  {gap}  {speed}", flush=True)


def score_of(response: FloatArray, truth: FloatArray) -> float:
    """Return the mean pearson_delta over conditions."""
    return float(np.nan_to_num(pearson(response, truth)).mean())


def main() -> None:
    """Train and judge every ablation, then compare the samplers of the shipped one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="part of the names of ablations")
    asked = parser.parse_args()
    prepare_environment()
    with tempfile.TemporaryDirectory(prefix="pertcast-ablations-") as folder:
        root = Path(folder)
        data = simulate(root, asked.seed)
        for number, name in enumerate(name for name in ABLATIONS if (asked.only or "") in name):
            ablate(name, data, root / f"run{number}")
            if name == "as shipped":
                compare_samplers(root / "run0")


if __name__ == "__main__":
    main()
