"""The one configuration of a training run, and of a sweep over such runs."""

from pertcast_jobs.run_config.load import (
    dump_config,
    is_sweep,
    load_config,
    load_sweep,
    shipped_configs,
    shipped_places,
)
from pertcast_jobs.run_config.schema import ClusterConfig, DataConfig, ModelSection, RunConfig
from pertcast_jobs.run_config.sweep import Objective, SearchConfig, SpaceEntry, SweepConfig

__all__ = [
    "ClusterConfig",
    "DataConfig",
    "ModelSection",
    "Objective",
    "RunConfig",
    "SearchConfig",
    "SpaceEntry",
    "SweepConfig",
    "dump_config",
    "is_sweep",
    "load_config",
    "load_sweep",
    "shipped_configs",
    "shipped_places",
]
