"""Changes of the rendered overlays that are no faults: what is valid must not be refused."""

from __future__ import annotations

from typing import Any

from planting import CONFIG_MAP, NAMESPACE, Change, container, heads, in_job, job, object_, set_, within
from rendered import Document, named

SECRET_KEY = {"name": "prometheus", "key": "password"}
CILIUM = {
    "apiVersion": "cilium.io/v2",
    "kind": "CiliumNetworkPolicy",
    "metadata": {"name": "api-server", "namespace": "pertcast-dev"},
    "spec": {"endpointSelector": {}, "egress": [{"toEntities": ["kube-apiserver"]}]},
}
WHOLE_CLUSTERS: tuple[Document, ...] = (
    {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "spec": {
            "capacity": {"storage": "200Gi"},
            "accessModes": ["ReadWriteMany"],
            "nfs": {"server": "nfs.example", "path": "/pertcast"},
        },
    },
    {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "IngressClass",
        "spec": {"controller": "ingress.example/controller"},
    },
    {"apiVersion": "storage.k8s.io/v1", "kind": "CSIDriver", "spec": {}},
    {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "spec": {}},
    {"apiVersion": "external-secrets.io/v1", "kind": "ClusterSecretStore", "spec": {}},
)


def open_within(*ports: dict[str, Any]) -> Change:
    """Return a change of the ports at which the nodes of a cluster reach each other."""
    return set_(within, "ingress", 0, "ports", list(ports))


def own_namespace(labels: dict[str, str]) -> Change:
    """Return a change of how the nodes of a cluster name their own namespace."""
    return set_(within, "ingress", 0, "from", 0, "namespaceSelector", {"matchLabels": labels})


def cilium_alone(documents: list[Document]) -> None:
    del heads(documents)["egress"]
    documents.append(CILIUM)


def operator_in(namespace: str) -> Change:
    """Return a change of where the operator is awaited from."""
    return set_(heads, "ingress", 0, "from", 0, "namespaceSelector", {"matchLabels": {NAMESPACE: namespace}})


def operator_elsewhere(documents: list[Document]) -> None:
    operator_in("operators")(documents)
    metadata = named(documents, "NetworkPolicy", "heads")["metadata"]
    metadata["annotations"] = {"pertcast.io/external": "Namespace/operators"}


def objects_of_the_whole_cluster(documents: list[Document]) -> None:
    documents.extend({**body, "metadata": {"name": "a"}} for body in WHOLE_CLUSTERS)


def monitor_with_a_password(documents: list[Document]) -> None:
    (endpoint,) = named(documents, "ServiceMonitor", "pertcast-ray")["spec"]["endpoints"]
    endpoint["basicAuth"] = {"username": SECRET_KEY, "password": SECRET_KEY}
    endpoint |= {"followRedirects": False, "enableHttp2": False, "filterRunning": True}
    named(documents, "PrometheusRule", "pertcast")["spec"]["groups"][0]["limit"] = 10


def words_that_sound_like_secrets(documents: list[Document]) -> None:
    for name in ("TOKENIZERS_PARALLELISM", "MAX_TOKENS"):
        container(documents)["env"].append({"name": name, "value": "1"})
    documents.append({**CONFIG_MAP, "data": {"maxTokens": "1", "token-file": "/run/token"}})


def quota(documents: list[Document]) -> Any:
    return named(documents, "ResourceQuota", "pertcast")["spec"]["hard"]


def first_container_as_large(documents: list[Document]) -> None:
    """Give the workers a container that has gone when the others come, and no CPU more in the quota."""
    service = named(documents, "RayService", "pertcast-serve")["spec"]["rayClusterConfig"]
    pod = service["workerGroupSpecs"][0]["template"]["spec"]
    pod["initContainers"] = [{**pod["containers"][0], "name": "first"}]
    quota(documents)["requests.cpu"] = "18500m"


def one_of_two_clusters_sleeps(documents: list[Document]) -> None:
    named(documents, "RayCluster", "pertcast")["spec"]["suspend"] = True
    quota(documents)["limits.cpu"] = "30"


BLAMELESS: dict[str, tuple[Change, str]] = {
    "all ports of TCP": (open_within({"protocol": "TCP"}), "dev"),
    "all ports as a range": (open_within({"protocol": "TCP", "port": 1, "endPort": 65535}), "dev"),
    "a port by its name": (
        set_(heads, "ingress", 0, "ports", [{"protocol": "TCP", "port": "dashboard"}]),
        "dev",
    ),
    "a range with the port in it": (
        set_(heads, "ingress", 0, "ports", [{"protocol": "TCP", "port": 8000, "endPort": 9000}]),
        "dev",
    ),
    "the own namespace by its name": (own_namespace({NAMESPACE: "pertcast-dev"}), "dev"),
    "the own namespace by its label": (own_namespace({"app.kubernetes.io/part-of": "pertcast"}), "dev"),
    "the operator in the namespace of the page": (operator_in("kuberay"), "dev"),
    "the operator in a namespace that is named": (operator_elsewhere, "dev"),
    "an API server that Cilium opens": (cilium_alone, "dev"),
    "objects of the whole cluster": (objects_of_the_whole_cluster, "dev"),
    "a monitor with a password": (monitor_with_a_password, "serve"),
    "words that sound like secrets": (words_that_sound_like_secrets, "dev"),
    "pertcast by its path": (in_job("train", "pertcast train", "/opt/pertcast/bin/pertcast train"), "dev"),
    "a job of another program": (set_(job, "entrypoint", "python /data/mine.py --out runs"), "dev"),
    "two commands in a line": (
        in_job("ingest", "pertcast data ingest", "pertcast evaluate /data/runs/a && pertcast data ingest"),
        "dev",
    ),
    "a first container as large as the others": (first_container_as_large, "serve"),
    "a quota for one of two clusters, one of which sleeps": (one_of_two_clusters_sleeps, "dev"),
    "a claim that all may mount": (
        set_(
            object_("PersistentVolumeClaim", "pertcast-data"),
            *("spec", "accessModes"),
            ["ReadWriteOnce", "ReadWriteMany"],
        ),
        "dev",
    ),
}
