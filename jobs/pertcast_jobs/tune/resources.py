"""What a trial needs of the cluster, and how many trials that leaves room for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pertcast_data.errors import ConfigError

from pertcast_jobs.run_config import SweepConfig

_DRIVER_CPUS: Final = 0.01
"""CPUs of a trial that only waits for its Ray Train workers."""


def trial_resources(sweep: SweepConfig, available: Mapping[str, float]) -> dict[str, float]:
    """Return what Tune sets aside for a trial itself.

    Parameters
    ----------
    sweep
        Its cluster.
    available
        What Ray has, by name: "CPU", "GPU".

    Raises
    ------
    ConfigError
        One trial does not fit.
    """
    for name, needed in _of_whole_trial(sweep).items():
        if needed > available.get(name, 0.0):
            raise ConfigError(
                f"A trial needs {needed:g} {name}s, Ray has {available.get(name, 0.0):g}. Lower "
                "cluster.num_workers or cluster.cpus_per_worker (fractions such as 0.9 are possible), or "
                "add nodes."
            )
    cluster = sweep.cluster
    if cluster.launcher == "ray":
        return {"CPU": _DRIVER_CPUS}
    return {"CPU": cluster.cpus_per_worker, **({"GPU": 1.0} if cluster.use_gpu else {})}


def concurrent_trials(sweep: SweepConfig, available: Mapping[str, float]) -> int:
    """Return how many trials run at a time: a trial whose workers find no place would time out."""
    needs = _of_whole_trial(sweep).items()
    fitting = max(1, min(int(available.get(name, 0.0) / needed) for name, needed in needs))
    return min(fitting, sweep.search.max_concurrent or fitting)


def _of_whole_trial(sweep: SweepConfig) -> dict[str, float]:
    cluster = sweep.cluster
    own = _DRIVER_CPUS if cluster.launcher == "ray" else 0.0
    cpus = {"CPU": own + cluster.num_workers * cluster.cpus_per_worker}
    return {**cpus, **({"GPU": float(cluster.num_workers)} if cluster.use_gpu else {})}
