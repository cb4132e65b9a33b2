"""Faults for the rendered overlays, planted one by one: name -> the change, the rule that finds it, where."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import yaml
from rendered import Document, named

Change = Callable[[list[Document]], Any]
CPU = "workerGroupSpecs[0].template.spec"
HEAD = "headGroupSpec.template.spec"


@dataclass(frozen=True)
class Planted:
    """One fault: the rule alone that finds it, the object and the path that it names."""

    rule: str
    where: str
    path: str
    change: Change
    overlay: str = "dev"


def cluster(documents: list[Document]) -> Any:
    return named(documents, "RayCluster", "pertcast")["spec"]


def head(documents: list[Document]) -> Any:
    return cluster(documents)["headGroupSpec"]["template"]["spec"]


def worker(documents: list[Document]) -> Any:
    return cluster(documents)["workerGroupSpecs"][0]["template"]["spec"]


def container(documents: list[Document]) -> Any:
    return worker(documents)["containers"][0]


def job(documents: list[Document]) -> Any:
    return named(documents, "RayJob", "pertcast-train")["spec"]


def set_(at: Callable[[list[Document]], Document], *steps: Any) -> Change:
    """Return a change that sets the value (the last step) at the keys before it."""
    *keys, last, value = steps

    def change(documents: list[Document]) -> None:
        found: Any = at(documents)
        for key in keys:
            found = found[key]
        found[last] = value

    return change


def drop(at: Callable[[list[Document]], Document], *keys: Any) -> Change:
    """Return a change that removes what stands at the keys."""

    def change(documents: list[Document]) -> None:
        found: Any = at(documents)
        for key in keys[:-1]:
            found = found[key]
        del found[keys[-1]]

    return change


def object_(kind: str, name: str) -> Callable[[list[Document]], Document]:
    return lambda documents: named(documents, kind, name)


def without(kind: str, name: str) -> Change:
    return lambda documents: documents.remove(named(documents, kind, name))


def in_job(name: str, old: str, new: str) -> Change:
    """Return a change of a job's command."""

    def change(documents: list[Document]) -> None:
        spec = named(documents, "RayJob", f"pertcast-{name}")["spec"]
        assert old in spec["entrypoint"]
        spec["entrypoint"] = spec["entrypoint"].replace(old, new)

    return change


def in_serve(edit: Callable[[Document], Any]) -> Change:
    """Return a change of the serve configuration."""

    def change(documents: list[Document]) -> None:
        spec = named(documents, "RayService", "pertcast-serve")["spec"]
        written = yaml.safe_load(spec["serveConfigV2"])
        edit(written["applications"][0])
        spec["serveConfigV2"] = yaml.safe_dump(written)

    return change


def rename(kind: str, name: str, new: str) -> Change:
    """Return a change of an object's name alone."""
    return set_(object_(kind, name), "metadata", "name", new)


def append(at: Callable[[list[Document]], Document], key: str, value: Any) -> Change:
    return lambda documents: at(documents).setdefault(key, []).append(value)


def twice(documents: list[Document]) -> None:
    documents.append(named(documents, "PersistentVolumeClaim", "pertcast-data"))


cluster_itself = object_("RayCluster", "pertcast")

CLUSTER = "RayCluster/pertcast"
TRAIN = "RayJob/pertcast-train"
SERVE = "RayService/pertcast-serve"
SECURITY = f"spec.{CPU}.containers[0].securityContext"
SERVE_ARGS = "spec.serveConfigV2.applications[0].args"
SECRET = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "keys", "namespace": "pertcast-dev"}}

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
    "a container of root": Planted(
        "pod-runs-as-root",
        CLUSTER,
        f"{SECURITY}.runAsUser",
        set_(container, "securityContext", "runAsUser", 0),
    ),
    "a container of nobody in particular": Planted(
        "pod-runs-as-root",
        CLUSTER,
        f"{SECURITY}.runAsNonRoot",
        set_(container, "securityContext", "runAsNonRoot", False),
    ),
    "a root that can be written": Planted(
        "writable-root",
        CLUSTER,
        f"{SECURITY}.readOnlyRootFilesystem",
        drop(container, "securityContext", "readOnlyRootFilesystem"),
    ),
    "a writable autoscaler": Planted(
        "writable-root",
        CLUSTER,
        "spec.autoscalerOptions.securityContext.readOnlyRootFilesystem",
        drop(cluster, "autoscalerOptions", "securityContext", "readOnlyRootFilesystem"),
    ),
    "rights that may grow": Planted(
        "privilege-escalation",
        CLUSTER,
        f"{SECURITY}.allowPrivilegeEscalation",
        set_(container, "securityContext", "allowPrivilegeEscalation", True),
    ),
    "a privileged container": Planted(
        "privilege-escalation",
        CLUSTER,
        f"{SECURITY}.privileged",
        set_(container, "securityContext", "privileged", True),
    ),
    "capabilities that are not dropped": Planted(
        "capabilities-kept",
        CLUSTER,
        f"{SECURITY}.capabilities.drop",
        set_(container, "securityContext", "capabilities", {"drop": ["NET_RAW"]}),
    ),
    "a capability that is added": Planted(
        "capabilities-kept",
        CLUSTER,
        f"{SECURITY}.capabilities.add",
        set_(container, "securityContext", "capabilities", {"drop": ["ALL"], "add": ["SYS_PTRACE"]}),
    ),
    "any system call": Planted(
        "seccomp-missing",
        CLUSTER,
        f"{SECURITY}.seccompProfile.type",
        set_(container, "securityContext", "seccompProfile", "type", "Unconfined"),
    ),
    "the node's network": Planted(
        "host-access", CLUSTER, f"spec.{CPU}.hostNetwork", set_(worker, "hostNetwork", True)
    ),
    "a folder of the node": Planted(
        "host-access",
        CLUSTER,
        f"spec.{CPU}.volumes[0].hostPath",
        set_(worker, "volumes", 0, {"name": "tmp", "hostPath": {"path": "/tmp"}}),
    ),
    "a key to the API server for all": Planted(
        "service-account-token-mounted",
        CLUSTER,
        f"spec.{CPU}.automountServiceAccountToken",
        drop(worker, "automountServiceAccountToken"),
    ),
    "the autoscaler's key in the head": Planted(
        "service-account-token-mounted",
        CLUSTER,
        f"spec.{HEAD}.containers[0].volumeMounts[5]",
        lambda documents: head(documents)["containers"][0]["volumeMounts"].append(
            {"name": "api-server", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}
        ),
    ),
    "no limit of memory": Planted(
        "no-limits",
        CLUSTER,
        f"spec.{CPU}.containers[0].resources.limits.memory",
        drop(container, "resources", "limits", "memory"),
    ),
    "less memory set aside than allowed": Planted(
        "memory-overcommitted",
        CLUSTER,
        f"spec.{CPU}.containers[0].resources.requests.memory",
        set_(container, "resources", "requests", "memory", "1Gi"),
    ),
    "the newest image": Planted(
        "floating-tag",
        CLUSTER,
        f"spec.{CPU}.containers[0].image",
        set_(container, "image", "registry.example:5000/pertcast:latest"),
    ),
    "an image without a tag": Planted(
        "floating-tag",
        CLUSTER,
        f"spec.{CPU}.containers[0].image",
        set_(container, "image", "registry.example:5000/pertcast"),
    ),
    "a token in the environment": Planted(
        "plain-secret",
        CLUSTER,
        f"spec.{CPU}.containers[0].env[0].value",
        lambda documents: container(documents)["env"].insert(0, {"name": "RAY_AUTH_TOKEN", "value": "abc"}),
    ),
    "a key in a runtime environment": Planted(
        "plain-secret",
        TRAIN,
        "spec.runtimeEnvYAML.env_vars.AWS_SECRET_ACCESS_KEY",
        set_(job, "runtimeEnvYAML", "env_vars: {AWS_SECRET_ACCESS_KEY: abc}"),
    ),
    "a secret in full": Planted(
        "plain-secret",
        "Secret/keys",
        "stringData",
        lambda documents: documents.append({**SECRET, "stringData": {"auth_token": "abc"}}),
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
        without("NetworkPolicy", "heads"),
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
    "a misspelt option": Planted(
        "command-line", TRAIN, "spec.entrypoint", in_job("train", "--resume", "--resumee")
    ),
    "a place that does not exist": Planted(
        "command-line", TRAIN, "spec.entrypoint", in_job("train", "@cpus", "@cpuss")
    ),
    "a key that the configuration does not have": Planted(
        "command-line", TRAIN, "spec.entrypoint", in_job("train", "train.engine.name", "train.engin.name")
    ),
    "no pertcast": Planted(
        "command-line", TRAIN, "spec.entrypoint", in_job("train", "pertcast train", "pertcats train")
    ),
    "a runtime environment that Ray does not know": Planted(
        "runtime-env", TRAIN, "spec.runtimeEnvYAML", set_(job, "runtimeEnvYAML", "env_var: {A: b}")
    ),
    "GPUs that no worker has": Planted(
        "gpu-without-gpu-workers", TRAIN, "spec.entrypoint", in_job("train", "@cpus", "@node_8gpu")
    ),
    "GPUs for a screen that no worker has": Planted(
        "gpu-without-gpu-workers",
        "RayJob/pertcast-screen",
        "spec.entrypoint",
        in_job("screen", "--executor ray-data", "--executor ray-data --gpus-per-worker 1"),
    ),
    "more workers than may be started": Planted(
        "workers-exceed-cluster",
        TRAIN,
        "spec.entrypoint",
        in_job(
            "train", "@cpus", "@cpus cluster.num_workers=32 cluster.cpus_per_worker=2 train.batch_size=1024"
        ),
    ),
    "a command's process beyond every node": Planted(
        "workers-exceed-cluster",
        "RayJob/pertcast-evaluate",
        "spec.entrypointNumCpus",
        set_(object_("RayJob", "pertcast-evaluate"), "spec", "entrypointNumCpus", 16),
    ),
    "results in a folder that goes": Planted(
        "results-not-kept", TRAIN, "spec.entrypoint", in_job("train", "/data/runs", "/tmp/runs")
    ),
    "a retry into a folder that is taken": Planted(
        "retry-starts-anew", TRAIN, "spec.entrypoint", in_job("train", "--resume", "")
    ),
    "a setting that the server does not know": Planted(
        "serve-config",
        SERVE,
        f"{SERVE_ARGS}.predictor.max_replica",
        in_serve(lambda application: application["args"]["predictor"].update(max_replica=3)),
    ),
    "a builder that does not exist": Planted(
        "serve-config",
        SERVE,
        "spec.serveConfigV2.applications[0].import_path",
        in_serve(lambda application: application.update(import_path="pertcast_serve.builder:built")),
    ),
    "an import path that Serve does not take": Planted(
        "serve-config",
        SERVE,
        "spec.serveConfigV2.applications.0.import_path",
        in_serve(lambda application: application.update(import_path="pertcast_serve")),
    ),
    "more replicas than workers": Planted(
        "replicas-exceed-workers",
        SERVE,
        SERVE_ARGS,
        in_serve(lambda application: application["args"]["predictor"].update(max_replicas=60)),
    ),
    "an endpoint for everyone": Planted(
        "endpoint-open-to-all",
        SERVE,
        f"{SERVE_ARGS}.access",
        in_serve(lambda application: application["args"].pop("access")),
    ),
}
