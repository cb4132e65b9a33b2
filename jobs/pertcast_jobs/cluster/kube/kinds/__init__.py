"""The kinds of KubeRay (1.5) and of the Prometheus operator that Pertcast's manifests use, field by field.

A field that the operator does not know would be dropped silently by it; here it is an error. Pod templates
stay plain mappings: the schemas of Kubernetes itself check them (`pertcast_jobs.cluster.kube.rules.shape`).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from pydantic import BaseModel

from pertcast_jobs.cluster.kube.kinds.prometheus import PodMonitorSpec, PrometheusRuleSpec, ServiceMonitorSpec
from pertcast_jobs.cluster.kube.kinds.ray import RayClusterSpec, RayJobSpec, RayServiceSpec

SPECS: Final[Mapping[tuple[str, str], type[BaseModel]]] = MappingProxyType(
    {
        ("ray.io/v1", "RayCluster"): RayClusterSpec,
        ("ray.io/v1", "RayJob"): RayJobSpec,
        ("ray.io/v1", "RayService"): RayServiceSpec,
        ("monitoring.coreos.com/v1", "ServiceMonitor"): ServiceMonitorSpec,
        ("monitoring.coreos.com/v1", "PodMonitor"): PodMonitorSpec,
        ("monitoring.coreos.com/v1", "PrometheusRule"): PrometheusRuleSpec,
    }
)
"""(apiVersion, kind) -> the model of its `spec`."""
