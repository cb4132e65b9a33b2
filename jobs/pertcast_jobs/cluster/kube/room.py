"""Whether a cluster can ever have a node that is large enough for a command's own process."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from pertcast_data.errors import ConfigError
from pydantic import BaseModel, ValidationError

from pertcast_jobs.cluster.kube.kinds.ray import RayClusterSpec, RayJobSpec
from pertcast_jobs.cluster.kube.objects import Document, without_nulls
from pertcast_jobs.cluster.kube.ray_view import Group, cluster_in

_MODELS: Final[Mapping[str, type[BaseModel]]] = {"RayCluster": RayClusterSpec, "RayJob": RayJobSpec}


def require_room(cpus: float, body: Mapping[str, Any]) -> None:
    """Raise ConfigError where no node of a cluster may ever have so many CPUs: the job would wait forever.

    Parameters
    ----------
    cpus
        What the command's own process takes.
    body
        The RayCluster, or the RayJob with a cluster of its own. One that is described in fields that Pertcast
        does not know is trusted.
    """
    kind, name = body["kind"], body["metadata"]["name"]
    try:
        spec = _MODELS[kind].model_validate(without_nulls(body.get("spec") or {}))
    except ValidationError:
        return
    cluster = cluster_in(Document(body, spec))
    if cluster is None:
        return
    most, group = max((_cpus(group), group.name) for group in cluster.groups if group.most)
    if cpus > most:
        raise ConfigError(
            f"{cpus:g} CPUs for the command itself are more than any node of {kind} {name} has: the largest, "
            f"of group {group}, has {most:g}. Lower --cpus (entrypointNumCpus), or give a group of workers "
            "more."
        )


def _cpus(group: Group) -> float:
    """Return the CPUs of a pod of a group; without a limit Ray finds all of the machine's."""
    is_told = "num-cpus" in group.start_params or group.container.amount("cpu")
    return group.cpus if is_told else math.inf
