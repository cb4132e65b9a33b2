"""Sweeps over a model's configuration with Ray Tune; each trial is an ordinary run."""

from pertcast_jobs.tune.outcome import SweepOutcome, TrialOutcome
from pertcast_jobs.tune.sweep import run_sweep

__all__ = ["SweepOutcome", "TrialOutcome", "run_sweep"]
