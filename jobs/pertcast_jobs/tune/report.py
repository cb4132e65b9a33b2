"""The report of a sweep: gathers what its folder holds and writes sweep.html."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from pertcast.evaluation.scores.score_board import CLUSTER
from pertcast.models.registry import MODELS
from pertcast.report.sweep import SweepContent, SweepTrial, sweep_report
from pertcast.training.log import METRICS_FILE

from pertcast_jobs.evaluate.part_scores import BaselineScores
from pertcast_jobs.run_config import SearchConfig, SweepConfig
from pertcast_jobs.run_folder import write_text
from pertcast_jobs.tune.outcome import SweepOutcome, TrialOutcome
from pertcast_jobs.tune.space import startup_trials

REPORT_FILE: Final = "sweep.html"


def write_sweep_report(sweep: SweepConfig, outcome: SweepOutcome, baselines: BaselineScores) -> None:
    """Write the report of a finished sweep into its folder."""
    write_text(outcome.report, sweep_report(_content(sweep, outcome, baselines)))


def _content(sweep: SweepConfig, outcome: SweepOutcome, baselines: BaselineScores) -> SweepContent:
    means = baselines.means
    store_path, split_path = sweep.data.require()
    conditions = baselines.conditions
    return SweepContent(
        model=MODELS[sweep.model.name].title,
        provenance=(
            f"store {Path(str(store_path)).name}, split {split_path.name}, fold {sweep.data.fold}; "
            f"{conditions.height:,} validation conditions; {len(outcome.trials)} trials"
        ),
        scored_by=outcome.scored_by,
        objectives=tuple((each.metric, each.mode) for each in outcome.objectives),
        trials=tuple(_trial(trial, outcome.path) for trial in outcome.trials),
        baselines={baselines.titles[name]: means[name] for name in baselines.scores},
        best_baseline=outcome.baseline,
        n_perturbations=len(np.unique(conditions[CLUSTER].to_numpy())),
        search=_search_words(sweep.search),
        evaluate=f"pertcast evaluate {outcome.path / 'trials' / outcome.best}",
        footer=f"pertcast tune {outcome.path / 'sweep.yaml'} --out {outcome.path} --resume",
    )


def _search_words(search: SearchConfig) -> str:
    drawn = "drawn at random, independently of each other"
    if search.algorithm == "optuna":
        drawn = (
            f"drawn by a tree-structured Parzen estimator after {startup_trials(search)} at random, so "
            "values that looked good were tried more often"
        )
    ended = "none was stopped early"
    if search.scheduler == "asha":
        ended = (
            f"ASHA left every trial {search.grace_epochs} epochs and kept one in {search.reduction} at each "
            "rung by held-out loss"
        )
    return f"Trials were {drawn} (seed {search.seed}); {ended}."


def _trial(trial: TrialOutcome, out: Path) -> SweepTrial:
    reason = trial.error or ""
    if trial.status == "stopped":
        reason = f"ASHA, at epoch {trial.epochs}"
    return SweepTrial(
        name=trial.trial,
        status=trial.status,
        reason=reason,
        values=trial.values,
        metrics=trial.metrics,
        is_on_front=trial.is_on_front,
        curve=tuple(_curve(out / "trials" / trial.trial / METRICS_FILE)),
    )


def _curve(path: Path) -> Iterator[tuple[int, float]]:
    """Yield (epoch, held-out loss) of the last stage that was validated."""
    lines = [line for line in _lines(path) if (line.get("validation") or {}).get("loss") is not None]
    for line in lines:
        if line["stage"] == lines[-1]["stage"] and math.isfinite(line["validation"]["loss"]):
            yield int(line["epoch"]) + 1, float(line["validation"]["loss"])


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the lines of a run's curves; one that a kill cut short is left out."""
    if not path.is_file():
        return
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            yield json.loads(line)
        except ValueError:
            continue
