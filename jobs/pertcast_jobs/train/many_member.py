"""One of many trainings: its configuration, its folder, and how it is trained wherever it runs."""

from __future__ import annotations

from pathlib import Path

from pertcast.torch_threads import torch_threads

from pertcast_jobs.run_config import RunConfig
from pertcast_jobs.train.many_record import Member
from pertcast_jobs.train.outcome import TrainingOutcome
from pertcast_jobs.train.run import run_training

Job = tuple[Member, RunConfig, Path]
"""A member, its configuration and its folder."""

Ended = tuple[Member, TrainingOutcome | BaseException]
"""A member, and its outcome or what ended it."""


def train_member(job: Job) -> TrainingOutcome:
    """Train one member in this process, with the threads of its configuration; continue what was begun."""
    _, config, folder = job
    with torch_threads(config.cluster.threads_per_worker):
        return run_training(config, folder, resume=True)
