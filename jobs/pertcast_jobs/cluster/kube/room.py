"""Whether a cluster can ever have a node that is large enough for a command's own process."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pertcast_data.errors import ConfigError
from pydantic import ValidationError

from pertcast_jobs.cluster.kube.manifests import Manifests


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
    try:
        clusters = Manifests.parse([{"spec": {}, **body}]).clusters
    except ValidationError:
        return
    for cluster in clusters:
        if cpus > cluster.most_cpus:
            raise ConfigError(
                f"{cpus:g} CPUs for the command itself are more than any node of {body['kind']} "
                f"{body['metadata']['name']} may have: {cluster.most_cpus:g}. Lower --cpus "
                "(entrypointNumCpus), or give a group of workers more."
            )
