"""What a trained trial is worth on the validation conditions, and what it cost; the test part is not read."""

from __future__ import annotations

import json
import math
from pathlib import Path

from pertcast.predictor import Predictor
from pertcast.training.files import write_json

from pertcast_jobs.evaluate.part_scores import open_part, score_beside
from pertcast_jobs.run_folder import RunFolder
from pertcast_jobs.train.outcome import TrainingOutcome
from pertcast_jobs.tune.baselines import BASELINES_FILE, read_baselines
from pertcast_jobs.tune.cost import training_cost
from pertcast_jobs.tune.records import SCORE_FILE


def scored(outcome: TrainingOutcome, sweep_folder: Path) -> dict[str, float]:
    """Return the metrics of a finished trial, and leave them in its folder.

    Parameters
    ----------
    outcome
        Of the trial's training.
    sweep_folder
        Holds the baselines' scores.

    Returns
    -------
    dict
        advantage (with advantage_low and advantage_high: the 95 % interval over resampled perturbations),
        score, baseline_score, n_conditions, cost, cost_is_counted, parameters, seconds, epoch, global_step
        and the held-out losses as validation_<name>.
    """
    path = outcome.run / SCORE_FILE
    if path.is_file():
        found: dict[str, float] = json.loads(path.read_text(encoding="utf-8"))["metrics"]
        return found
    config = RunFolder.open(outcome.run).config()
    predictor = Predictor.from_bundle(outcome.bundle)
    baselines = read_baselines(sweep_folder / BASELINES_FILE)
    opened = open_part(
        *config.data.require(), config.data.fold, "validation", predictor.encoder, baselines.metric
    )
    margin = score_beside(predictor.model, opened, baselines)
    cost = training_cost(predictor.model, predictor.encoder, config, outcome.result)
    metrics = {
        "advantage": margin.advantage.mean,
        "advantage_low": margin.advantage.low,
        "advantage_high": margin.advantage.high,
        "score": margin.score,
        "baseline_score": margin.baseline_score,
        "n_conditions": margin.advantage.n_defined,
        "cost": cost.flops,
        "cost_is_counted": float(cost.is_counted),
        "parameters": sum(each.numel() for each in predictor.model.parameters()),
        "seconds": outcome.result["seconds"],
        "epoch": sum(stage["epochs"] for stage in outcome.result["stages"]),
        "global_step": outcome.result["global_step"],
        **held_out_metrics(outcome),
    }
    known = {name: float(value) for name, value in metrics.items() if math.isfinite(value)}
    write_json(path, {"metric": baselines.metric, "baseline": baselines.best, "metrics": known})
    return known


def held_out_metrics(outcome: TrainingOutcome) -> dict[str, float]:
    """Return the held-out losses of a run's kept weights under the names that sweeps know them by."""
    return {f"validation_{name}": value for name, value in outcome.validation.items()}
