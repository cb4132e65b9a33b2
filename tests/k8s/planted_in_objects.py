"""Faults in shapes, names and references: name -> the change, the rule that finds it, where."""

from __future__ import annotations

from planting import (
    CLUSTER,
    CPU,
    TRAIN,
    Planted,
    append,
    cluster,
    container,
    drop,
    job,
    object_,
    rename,
    set_,
    twice,
    worker,
)
from rendered import named

FAULTS: dict[str, Planted] = {
    "a misspelt field of a policy": Planted(
        "schema",
        "NetworkPolicy/names",
        "spec",
        set_(object_("NetworkPolicy", "names"), "spec", "egresss", []),
    ),
    "a misspelt field of a pod in a RayCluster": Planted(
        "schema", CLUSTER, f"spec.{CPU}.containers[0]", set_(container, "imagePullPolice", "Always")
    ),
    "a misspelt kind": Planted(
        "schema",
        "NetworkPolcy/names",
        "kind",
        set_(object_("NetworkPolicy", "names"), "kind", "NetworkPolcy"),
    ),
    "an object without a name": Planted(
        "schema",
        "NetworkPolicy/",
        "metadata.name",
        drop(object_("NetworkPolicy", "names"), "metadata", "name"),
    ),
    "an amount that is none": Planted(
        "schema",
        CLUSTER,
        f"spec.{CPU}.containers[0].resources.limits.memory",
        set_(container, "resources", "limits", "memory", "16GB"),
    ),
    "a pod of no container": Planted(
        "schema", CLUSTER, f"spec.{CPU}.containers", set_(worker, "containers", [])
    ),
    "a list with a hole": Planted(
        "schema",
        CLUSTER,
        f"spec.{CPU}.volumes[0]",
        lambda documents: worker(documents)["volumes"].insert(0, None),
    ),
    "a number that is none among the parameters of ray start": Planted(
        "operator-fields",
        CLUSTER,
        "spec.workerGroupSpecs[0].rayStartParams",
        set_(cluster, "workerGroupSpecs", 0, "rayStartParams", "object-store-memory", "1Gi"),
    ),
    "a number among the parameters of ray start": Planted(
        "operator-fields",
        CLUSTER,
        "spec.headGroupSpec.rayStartParams.num-cpus",
        set_(cluster, "headGroupSpec", "rayStartParams", "num-cpus", 0),
    ),
    "a field that KubeRay does not know": Planted(
        "operator-fields", TRAIN, "spec.ttlSecondsAfterFinish", set_(job, "ttlSecondsAfterFinish", 60)
    ),
    "more replicas than the maximum": Planted(
        "operator-fields",
        CLUSTER,
        "spec.workerGroupSpecs[0]",
        set_(cluster, "workerGroupSpecs", 0, "replicas", 99),
    ),
    "a suspended job that keeps its cluster": Planted(
        "operator-fields",
        TRAIN,
        "spec",
        lambda documents: job(documents).update(shutdownAfterJobFinishes=False, ttlSecondsAfterFinished=0),
    ),
    "an alert without a name": Planted(
        "operator-fields",
        "PrometheusRule/pertcast",
        "spec.groups[0].rules[0]",
        drop(object_("PrometheusRule", "pertcast"), "spec", "groups", 0, "rules", 0, "alert"),
        "serve",
    ),
    "an object twice": Planted(
        "duplicate-object", "PersistentVolumeClaim/pertcast-data", "metadata.name", twice
    ),
    "a name that leaves KubeRay no room": Planted(
        "name-too-long",
        f"RayJob/pertcast-{'x' * 40}",
        "metadata.name",
        rename("RayJob", "pertcast-train", f"pertcast-{'x' * 40}"),
    ),
    "a name with a capital": Planted(
        "name-not-a-label", "RayJob/Train", "metadata.name", rename("RayJob", "pertcast-train", "Train")
    ),
    "an object outside the namespace": Planted(
        "namespace-missing",
        "LimitRange/pertcast",
        "metadata.namespace",
        drop(object_("LimitRange", "pertcast"), "metadata", "namespace"),
    ),
    "a namespace that takes any pod": Planted(
        "namespace-not-restricted",
        "Namespace/pertcast-dev",
        "metadata.labels.pod-security.kubernetes.io/enforce",
        set_(
            object_("Namespace", "pertcast-dev"),
            "metadata",
            "labels",
            "pod-security.kubernetes.io/enforce",
            "baseline",
        ),
    ),
    "a mount without a volume": Planted(
        "volume-missing",
        CLUSTER,
        f"spec.{CPU}.containers[0].volumeMounts[0].name",
        set_(container, "volumeMounts", 0, "name", "temp"),
    ),
    "a claim that nobody makes": Planted(
        "volume-missing",
        CLUSTER,
        f"spec.{CPU}.volumes[3].persistentVolumeClaim.claimName",
        set_(worker, "volumes", 3, "persistentVolumeClaim", "claimName", "pertcast-dta"),
    ),
    "a secret that nobody makes": Planted(
        "config-map-or-secret-missing",
        CLUSTER,
        f"spec.{CPU}.containers[0].envFrom[0].secretRef",
        append(container, "envFrom", {"secretRef": {"name": "buckets"}}),
    ),
    "a budget of no pod": Planted(
        "selector-matches-nothing",
        "PodDisruptionBudget/workers-of-pertcast-serve",
        "spec.selector",
        set_(
            object_("PodDisruptionBudget", "workers-of-pertcast-serve"),
            "spec",
            "selector",
            {"matchLabels": {"app.kubernetes.io/component": "cpu-wroker"}},
        ),
    ),
    "a monitor of no service": Planted(
        "selector-matches-nothing",
        "ServiceMonitor/pertcast-ray",
        "spec.selector",
        set_(object_("ServiceMonitor", "pertcast-ray"), "spec", "selector", {"matchLabels": {"app": "ray"}}),
        "serve",
    ),
    "a port that nothing listens at": Planted(
        "ports-differ",
        "NetworkPolicy/clients-of-pertcast-serve",
        "spec.ingress[0].ports[0].port",
        set_(
            object_("NetworkPolicy", "clients-of-pertcast-serve"),
            "spec",
            "ingress",
            0,
            "ports",
            0,
            "port",
            80,
        ),
    ),
    "a monitor of another port": Planted(
        "ports-differ",
        "PodMonitor/pertcast-heads",
        "spec.podMetricsEndpoints[0].port",
        set_(object_("PodMonitor", "pertcast-heads"), "spec", "podMetricsEndpoints", 0, "port", "as-metric"),
        "serve",
    ),
    "a claim that one node alone may mount": Planted(
        "claim-of-one-node",
        "PersistentVolumeClaim/pertcast-data",
        "spec.accessModes",
        set_(object_("PersistentVolumeClaim", "pertcast-data"), "spec", "accessModes", ["ReadWriteOnce"]),
    ),
    "an unknown field of the only port of a monitor": Planted(
        "operator-fields",
        "ServiceMonitor/pertcast-ray",
        "spec.endpoints[0].intervall",
        set_(object_("ServiceMonitor", "pertcast-ray"), "spec", "endpoints", 0, "intervall", "1m"),
        "serve",
    ),
    "a range of ports that nothing listens at": Planted(
        "ports-differ",
        "NetworkPolicy/clients-of-pertcast-serve",
        "spec.ingress[0].ports[1].port",
        lambda documents: named(documents, "NetworkPolicy", "clients-of-pertcast-serve")["spec"]["ingress"][
            0
        ]["ports"].append({"protocol": "TCP", "port": 9000, "endPort": 9100}),
    ),
}
