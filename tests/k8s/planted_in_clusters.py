"""Faults in Ray clusters and around them: name -> the change, the rule that finds it, where."""

from __future__ import annotations

from planting import (
    CLUSTER,
    CPU,
    HEAD,
    NAMESPACE,
    SERVE,
    Planted,
    cluster,
    cluster_itself,
    container,
    drop,
    head,
    heads,
    names,
    object_,
    set_,
    within,
    without,
)

FAULTS: dict[str, Planted] = {
    "nothing is denied": Planted(
        "no-default-deny", "Namespace/pertcast-dev", "metadata.name", without("NetworkPolicy", "default-deny")
    ),
    "a cluster's nodes apart": Planted(
        "nodes-cut-off",
        CLUSTER,
        "spec.headGroupSpec.template.metadata.labels",
        without("NetworkPolicy", "within-pertcast"),
    ),
    "a head without its operator": Planted(
        "operator-cut-off",
        SERVE,
        "spec.rayClusterConfig.headGroupSpec.template.metadata.labels",
        drop(heads, "ingress"),
        "serve",
    ),
    "a head that a drain takes": Planted(
        "no-disruption-budget",
        CLUSTER,
        "spec.headGroupSpec.template",
        without("PodDisruptionBudget", "head-of-pertcast"),
    ),
    "a cluster without a token": Planted(
        "no-token-auth", CLUSTER, "spec.authOptions.mode", drop(cluster_itself, "spec", "authOptions")
    ),
    "another Ray": Planted(
        "ray-version-differs",
        CLUSTER,
        "spec.rayVersion",
        set_(cluster_itself, "spec", "rayVersion", "2.52.0"),
    ),
    "work on the head": Planted(
        "work-on-the-head",
        CLUSTER,
        "spec.headGroupSpec.rayStartParams.num-cpus",
        drop(cluster, "headGroupSpec", "rayStartParams", "num-cpus"),
    ),
    "an object store beyond /dev/shm": Planted(
        "shared-memory-too-small",
        CLUSTER,
        "spec.workerGroupSpecs[0].rayStartParams.object-store-memory",
        set_(cluster, "workerGroupSpecs", 0, "rayStartParams", "object-store-memory", "8589934592"),
    ),
    "a cluster beyond the quota": Planted(
        "cluster-exceeds-quota",
        "ResourceQuota/pertcast",
        "spec.hard.requests.cpu",
        set_(object_("ResourceQuota", "pertcast"), "spec", "hard", "requests.cpu", "9"),
    ),
    "nodes that reach each other over UDP alone": Planted(
        "nodes-cut-off",
        CLUSTER,
        "spec.headGroupSpec.template.metadata.labels",
        set_(within, "ingress", 0, "ports", [{"protocol": "UDP"}]),
    ),
    "nodes that reach each other on half of the ports": Planted(
        "nodes-cut-off",
        CLUSTER,
        "spec.headGroupSpec.template.metadata.labels",
        set_(
            within,
            "ingress",
            0,
            "ports",
            [{"protocol": "TCP", "port": 1, "endPort": 32767}],
        ),
    ),
    "an operator that may only send UDP": Planted(
        "operator-cut-off",
        CLUSTER,
        "spec.headGroupSpec.template.metadata.labels",
        set_(heads, "ingress", 0, "ports", [{"protocol": "UDP", "port": 8265}]),
    ),
    "an operator awaited from elsewhere": Planted(
        "operator-cut-off",
        CLUSTER,
        "spec.headGroupSpec.template.metadata.labels",
        set_(heads, "ingress", 0, "from", 0, "namespaceSelector", {"matchLabels": {NAMESPACE: "elsewhere"}}),
    ),
    "no names": Planted(
        "names-cut-off",
        CLUSTER,
        "spec.workerGroupSpecs[0].template.metadata.labels",
        without("NetworkPolicy", "names"),
    ),
    "names over TCP alone": Planted(
        "names-cut-off",
        CLUSTER,
        "spec.headGroupSpec.template.metadata.labels",
        set_(names, "egress", 0, "ports", [{"protocol": "TCP", "port": 53}]),
    ),
    "an autoscaler that does not reach the API server": Planted(
        "api-server-cut-off",
        CLUSTER,
        "spec.headGroupSpec.template.metadata.labels",
        drop(heads, "egress"),
    ),
    "an autoscaler without its token": Planted(
        "autoscaler-without-token",
        CLUSTER,
        "spec.autoscalerOptions.volumeMounts",
        drop(cluster, "autoscalerOptions", "volumeMounts", 3),
    ),
    "a read-only worker without /tmp": Planted(
        "nothing-writable",
        CLUSTER,
        f"spec.{CPU}.containers[0].volumeMounts",
        drop(container, "volumeMounts", 0),
    ),
    "a read-only head without its home": Planted(
        "nothing-writable",
        CLUSTER,
        f"spec.{HEAD}.containers[0].volumeMounts",
        drop(head, "containers", 0, "volumeMounts", 2),
    ),
    "a home that cannot be written": Planted(
        "nothing-writable",
        CLUSTER,
        f"spec.{CPU}.containers[0].volumeMounts",
        set_(container, "volumeMounts", 1, "readOnly", True),
    ),
    "a share of heads that stays": Planted(
        "no-disruption-budget",
        CLUSTER,
        "spec.headGroupSpec.template",
        set_(object_("PodDisruptionBudget", "head-of-pertcast"), "spec", "minAvailable", "50%"),
    ),
    "more pods than the quota": Planted(
        "cluster-exceeds-quota",
        "ResourceQuota/pertcast",
        "spec.hard.pods",
        set_(object_("ResourceQuota", "pertcast"), "spec", "hard", "pods", "4"),
        "serve",
    ),
    "a quota without the autoscaler's half CPU": Planted(
        "cluster-exceeds-quota",
        "ResourceQuota/pertcast",
        "spec.hard.requests.cpu",
        set_(object_("ResourceQuota", "pertcast"), "spec", "hard", "requests.cpu", "18"),
        "serve",
    ),
    "a quota for one of two clusters that stand": Planted(
        "cluster-exceeds-quota",
        "ResourceQuota/pertcast",
        "spec.hard.limits.cpu",
        set_(object_("ResourceQuota", "pertcast"), "spec", "hard", "limits.cpu", "30"),
    ),
}
