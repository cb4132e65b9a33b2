"""Pods, networks and budgets of every overlay: what keeps a mistake from reaching beyond its own pod."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from pertcast_jobs.cluster.kube.check import check_manifests
from ray._private import ray_constants
from rendered import Document, clusters, groups, named, of_kind, templates


def without_instance(cluster: Document) -> Document:
    """Return the description without what tells one cluster from another."""
    copy = yaml.safe_load(yaml.safe_dump(cluster))
    for group in groups(copy):
        del group["template"]["metadata"]["labels"]["app.kubernetes.io/instance"]
    return dict(copy)


@pytest.mark.parametrize("overlay", ["dev", "gpu", "gpu-spot"])
def test_jobs_and_service_have_the_pods_of_the_one_description(
    overlays: dict[str, list[Document]], overlay: str
) -> None:
    described = clusters(overlays[overlay])
    one = without_instance(described.pop("pertcast"))
    assert len(described) >= 5
    for cluster in described.values():
        assert without_instance(cluster) == one


def test_no_container_runs_as_root_or_writes_its_root_or_lacks_limits_or_has_a_floating_tag(
    documents: list[Document],
) -> None:
    for template in templates(documents):
        spec = template["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in spec["containers"]:
            resources = container["resources"]
            assert {"cpu", "memory", "ephemeral-storage"} <= set(resources["limits"])
            assert resources["requests"] == resources["limits"]
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert ":" in container["image"] and not container["image"].endswith(":latest")


def test_only_the_autoscaler_holds_a_token_of_the_api_server(documents: list[Document]) -> None:
    for cluster in clusters(documents).values():
        options = cluster["autoscalerOptions"]
        assert options["securityContext"]["readOnlyRootFilesystem"] is True
        assert options["resources"]["requests"] == options["resources"]["limits"]
        assert "api-server" in {mount["name"] for mount in options["volumeMounts"]}
        for group in groups(cluster):
            spec = group["template"]["spec"]
            assert spec["automountServiceAccountToken"] is False
            mounts = [
                mount["name"] for container in spec["containers"] for mount in container["volumeMounts"]
            ]
            assert "api-server" not in mounts


def test_every_cluster_asks_its_operator_for_a_token_and_none_is_written_down(
    documents: list[Document],
) -> None:
    found = [cluster["authOptions"] for cluster in clusters(documents).values()]
    assert found and found == [{"mode": "token"}] * len(found)
    assert "RAY_AUTH_TOKEN" not in str(documents)
    assert not of_kind(documents, "Secret")


def test_what_is_not_allowed_is_denied_and_each_cluster_reaches_only_itself(
    documents: list[Document],
) -> None:
    deny = named(documents, "NetworkPolicy", "default-deny")["spec"]
    assert deny == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    for name, cluster in clusters(documents).items():
        for group in groups(cluster):
            assert group["template"]["metadata"]["labels"]["app.kubernetes.io/instance"] == name
        policy = named(documents, "NetworkPolicy", f"within-{name}")["spec"]
        own = {"podSelector": {"matchLabels": {"app.kubernetes.io/instance": name}}}
        assert policy["podSelector"] == own["podSelector"]
        assert policy["ingress"] == [{"from": [own]}] and policy["egress"] == [{"to": [own]}]


def test_names_are_asked_of_the_clusters_servers_and_of_the_cache_on_each_node_alone(
    documents: list[Document],
) -> None:
    (rule,) = named(documents, "NetworkPolicy", "names")["spec"]["egress"]
    asked = [peer["podSelector"]["matchLabels"]["k8s-app"] for peer in rule["to"] if "podSelector" in peer]
    blocks = [peer["ipBlock"]["cidr"] for peer in rule["to"] if "ipBlock" in peer]
    assert (asked, blocks) == (["kube-dns", "node-local-dns"], ["169.254.20.10/32"])
    assert {port["port"] for port in rule["ports"]} == {53}


def test_on_cilium_every_head_reaches_the_api_server_at_the_ports_of_the_base(
    repository: Path, render: Callable[[Path], list[Document]], tmp_path: Path
) -> None:
    shutil.copytree(repository / "k8s", tmp_path / "k8s")
    file = tmp_path / "k8s/overlays/dev/kustomization.yaml"
    written = yaml.safe_load(file.read_text())
    written["components"].append("../../components/cilium")
    file.write_text(yaml.safe_dump(written))
    documents = render(file.parent)
    base = named(documents, "NetworkPolicy", "heads")
    policy = named(documents, "CiliumNetworkPolicy", "heads-to-api-server")
    assert policy["metadata"]["namespace"] == base["metadata"]["namespace"]
    assert policy["spec"]["endpointSelector"] == base["spec"]["podSelector"]
    (own,), (opened,) = base["spec"]["egress"], policy["spec"]["egress"]
    assert opened["toEntities"] == ["kube-apiserver"]
    (ports,) = opened["toPorts"]
    assert ports["ports"] == [{**port, "port": str(port["port"])} for port in own["ports"]]
    assert not check_manifests(documents)


def test_no_head_is_evicted_however_many_start_from_one_template(documents: list[Document]) -> None:
    (quota,) = of_kind(documents, "ResourceQuota")
    most_pods = int(quota["spec"]["hard"]["pods"])
    for name in clusters(documents):
        spec = named(documents, "PodDisruptionBudget", f"head-of-{name}")["spec"]
        # Of pods that an operator makes, Kubernetes knows no total: only a whole number works.
        assert isinstance(spec["minAvailable"], int) and spec["minAvailable"] >= most_pods
        assert spec["selector"]["matchLabels"] == {
            "app.kubernetes.io/instance": name,
            "app.kubernetes.io/component": "head",
        }


def test_no_pod_carries_the_label_that_the_operators_services_select_by(documents: list[Document]) -> None:
    for template in templates(documents):
        assert "app.kubernetes.io/name" not in template["metadata"]["labels"]


def test_the_namespace_refuses_pods_that_are_not_restricted(documents: list[Document]) -> None:
    (namespace,) = of_kind(documents, "Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    held = {document["metadata"].get("namespace") for document in documents if document is not namespace}
    assert held == {namespace["metadata"]["name"]}


def test_a_pod_has_more_time_to_end_than_ray_takes_to_drain_its_node(documents: list[Document]) -> None:
    assert hasattr(ray_constants, "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"), "Ray reads it at SIGTERM"
    for template in templates(documents):
        spec = template["spec"]
        environment = {entry["name"]: entry["value"] for entry in spec["containers"][0]["env"]}
        drain = int(environment["RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"])
        assert drain > 0 and drain + 10 <= spec["terminationGracePeriodSeconds"]


def test_the_operators_shell_becomes_ray_itself_so_that_sigterm_reaches_it() -> None:
    # KubeRay runs `bash -c -- "ulimit -n 65536; ray start ... --block"`. A bash that stayed would be
    # process 1 of the container, which the kernel shields from SIGTERM.
    line = f"ulimit -c 0; {sys.executable} -c 'import os; print(os.getpid())'"
    with subprocess.Popen(["bash", "-c", "--", line], stdout=subprocess.PIPE, text=True) as shell:
        printed, _ = shell.communicate(timeout=30)
    assert int(printed) == shell.pid


def test_spot_machines_take_only_what_tolerates_to_lose_them(overlays: dict[str, list[Document]]) -> None:
    for cluster in clusters(overlays["gpu-spot"]).values():
        cpu, gpu = (group["template"]["spec"] for group in cluster["workerGroupSpecs"])
        assert "tolerations" not in cpu and "nodeSelector" not in cpu
        assert gpu["nodeSelector"] == {"pertcast.io/spot": "true"}
        assert {"nvidia.com/gpu", "pertcast.io/spot"} == {wish["key"] for wish in gpu["tolerations"]}
        assert gpu["terminationGracePeriodSeconds"] == 120
