"""The rules of `pertcast job check` by their names; each looks at manifests and knows no file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Final

from pertcast_jobs.cluster.kube.objects import Document
from pertcast_jobs.cluster.kube.rules import (
    containers,
    isolation,
    jobs,
    objects,
    pod_security,
    ports,
    ray_clusters,
    references,
    serve,
    shape,
)
from pertcast_jobs.cluster.kube.rules.problem import Problem, Rule

SHAPE_RULES: Final[Mapping[str, Callable[[Document], Iterator[Problem]]]] = MappingProxyType(
    {"schema": shape.fits_kubernetes, "operator-fields": shape.fits_its_operator}
)
"""Rules about single objects that come first: the others count on what they hold."""

RULES: Final[Mapping[str, Rule]] = MappingProxyType(
    {
        "duplicate-object": objects.duplicate_object,
        "name-too-long": objects.name_too_long,
        "name-not-a-label": objects.name_not_a_label,
        "namespace-missing": objects.namespace_missing,
        "namespace-not-restricted": objects.namespace_not_restricted,
        "pod-runs-as-root": pod_security.pod_runs_as_root,
        "writable-root": pod_security.writable_root,
        "privilege-escalation": pod_security.privilege_escalation,
        "capabilities-kept": pod_security.capabilities_kept,
        "seccomp-missing": pod_security.seccomp_missing,
        "host-access": pod_security.host_access,
        "service-account-token-mounted": pod_security.service_account_token_mounted,
        "no-limits": containers.no_limits,
        "memory-overcommitted": containers.memory_overcommitted,
        "floating-tag": containers.floating_tag,
        "plain-secret": containers.plain_secret,
        "volume-missing": references.volume_missing,
        "claim-of-one-node": references.claim_of_one_node,
        "config-map-or-secret-missing": references.config_map_or_secret_missing,
        "selector-matches-nothing": references.selector_matches_nothing,
        "ports-differ": ports.ports_differ,
        "no-default-deny": isolation.no_default_deny,
        "nodes-cut-off": isolation.nodes_cut_off,
        "operator-cut-off": isolation.operator_cut_off,
        "names-cut-off": isolation.names_cut_off,
        "api-server-cut-off": isolation.api_server_cut_off,
        "no-disruption-budget": isolation.no_disruption_budget,
        "no-token-auth": ray_clusters.no_token_auth,
        "ray-version-differs": ray_clusters.ray_version_differs,
        "work-on-the-head": ray_clusters.work_on_the_head,
        "autoscaler-without-token": ray_clusters.autoscaler_without_token,
        "nothing-writable": ray_clusters.nothing_writable,
        "shared-memory-too-small": ray_clusters.shared_memory_too_small,
        "cluster-exceeds-quota": ray_clusters.cluster_exceeds_quota,
        "command-line": jobs.command_line,
        "runtime-env": jobs.runtime_env,
        "gpu-without-gpu-workers": jobs.gpu_without_gpu_workers,
        "workers-exceed-cluster": jobs.workers_exceed_cluster,
        "results-not-kept": jobs.results_not_kept,
        "retry-starts-anew": jobs.retry_starts_anew,
        "serve-config": serve.serve_config,
        "replicas-exceed-workers": serve.replicas_exceed_workers,
        "endpoint-open-to-all": serve.endpoint_open_to_all,
    }
)
"""Name -> rule, in the order in which findings are told."""
