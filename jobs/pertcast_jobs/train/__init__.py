"""Training as a job: in this process or on Ray, by configuration alone."""

from pertcast_jobs.train.outcome import TrainingOutcome
from pertcast_jobs.train.plan import plan_training
from pertcast_jobs.train.run import run_training

__all__ = ["TrainingOutcome", "plan_training", "run_training"]
