"""Every overlay renders, fits its schemas, and runs command lines that the real one parses."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from pertcast_jobs.cluster.command import parse_command
from pertcast_jobs.run_config import load_config
from pertcast_serve.config import ServeConfig
from ray.runtime_env import RuntimeEnv
from ray.serve.schema import ServeDeploySchema

OVERLAYS = ("dev", "gpu", "gpu-spot", "serve")
FOREIGN = ("ray.io/", "monitoring.coreos.com/")
CLUSTER_OF = {
    "RayCluster": ("spec",),
    "RayJob": ("spec", "rayClusterSpec"),
    "RayService": ("spec", "rayClusterConfig"),
}
Document = dict[str, Any]


@pytest.fixture(scope="module")
def overlays(repository: Path) -> dict[str, list[Document]]:
    """Documents of each overlay, as `kubectl apply -k` would send them."""
    if shutil.which("kubectl") is None:
        if os.environ.get("CI") == "true":
            pytest.fail("kubectl is not installed: nothing of k8s/ would be tested")
        pytest.skip("kubectl is not installed")

    def render(name: str) -> list[Document]:
        command = ["kubectl", "kustomize", str(repository / "k8s/overlays" / name)]
        text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        return list(yaml.safe_load_all(text))

    return {name: render(name) for name in OVERLAYS}


@pytest.fixture(params=OVERLAYS)
def documents(request: pytest.FixtureRequest, overlays: dict[str, list[Document]]) -> list[Document]:
    return overlays[request.param]


def of_kind(documents: list[Document], kind: str) -> list[Document]:
    return [document for document in documents if document["kind"] == kind]


def named(documents: list[Document], kind: str, name: str) -> Document:
    (found,) = [found for found in of_kind(documents, kind) if found["metadata"]["name"] == name]
    return found


def clusters(documents: list[Document]) -> dict[str, Document]:
    """Return the description of each Ray cluster, by the name of the object that holds it."""
    found = {}
    for document in documents:
        if document["kind"] in CLUSTER_OF:
            cluster: Any = document
            for key in CLUSTER_OF[document["kind"]]:
                cluster = cluster[key]
            found[document["metadata"]["name"]] = cluster
    return found


def groups(cluster: Document) -> list[Document]:
    return [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]


def templates(documents: list[Document]) -> Iterator[Document]:
    for cluster in clusters(documents).values():
        for group in groups(cluster):
            yield group["template"]


def entrypoints(documents: list[Document]) -> dict[str, list[str]]:
    jobs = of_kind(documents, "RayJob")
    return {job["metadata"]["name"]: shlex.split(job["spec"]["entrypoint"])[1:] for job in jobs}


def service_settings(documents: list[Document]) -> ServeConfig:
    written = yaml.safe_load(named(documents, "RayService", "pertcast-serve")["spec"]["serveConfigV2"])
    (application,) = ServeDeploySchema.model_validate(written).applications
    module, _, attribute = application.import_path.partition(":")
    assert callable(getattr(import_module(module), attribute))
    return ServeConfig.model_validate(application.args)


def cpus(group: Document) -> float:
    return float(group["template"]["spec"]["containers"][0]["resources"]["limits"]["cpu"])


def test_the_core_kinds_fit_the_kubernetes_schemas(documents: list[Document]) -> None:
    core = [document for document in documents if not document["apiVersion"].startswith(FOREIGN)]
    kinds = {document["kind"] for document in core}
    assert kinds >= {"Namespace", "NetworkPolicy", "PersistentVolumeClaim", "PodDisruptionBudget"}
    for document in core:
        kubernetes_validate.validate(document, "1.31", strict=True)


def test_the_pods_of_ray_clusters_fit_the_kubernetes_schema_too(documents: list[Document]) -> None:
    found = list(templates(documents))
    assert len(found) >= 2
    for template in found:
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, "spec": template["spec"]}
        kubernetes_validate.validate(pod, "1.31", strict=True)


def test_every_entrypoint_is_parsed_by_the_real_command_line(overlays: dict[str, list[Document]]) -> None:
    for name in ("dev", "gpu", "gpu-spot"):
        jobs = entrypoints(overlays[name])
        assert sorted(jobs) == [
            f"pertcast-{command}" for command in ("evaluate", "ingest", "screen", "train", "tune")
        ]
        for words in jobs.values():
            assert parse_command(words)


def test_an_unknown_option_in_an_entrypoint_would_be_caught() -> None:
    with pytest.raises(Exception, match="No such option"):
        parse_command(["train", "response_mlp", "--outt", "/data/run"])


@pytest.mark.parametrize(
    ("overlay", "workers", "min_workers", "use_gpu"),
    [("dev", 2, None, False), ("gpu", 8, None, True), ("gpu-spot", 64, 8, True)],
)
def test_a_training_fits_the_workers_that_its_cluster_may_start(
    overlays: dict[str, list[Document]], overlay: str, workers: int, min_workers: int | None, use_gpu: bool
) -> None:
    values = parse_command(entrypoints(overlays[overlay])["pertcast-train"])
    config = load_config(values["config"], values["overrides"])
    assert config.cluster.num_workers == workers
    assert config.cluster.min_workers == min_workers
    assert config.cluster.use_gpu == use_gpu
    assert config.train.engine.name == "deepspeed"
    group = clusters(overlays[overlay])["pertcast-train"]["workerGroupSpecs"][1 if use_gpu else 0]
    most = group["maxReplicas"]
    assert most * cpus(group) >= workers * config.cluster.cpus_per_worker
    if use_gpu:
        limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
        assert most * int(limits["nvidia.com/gpu"]) >= workers


def test_jobs_are_suspended_templates_so_that_applying_an_overlay_starts_none(
    documents: list[Document],
) -> None:
    for job in of_kind(documents, "RayJob"):
        spec = job["spec"]
        # The operator refuses a suspended job that keeps its cluster.
        assert spec["suspend"] is True and spec["shutdownAfterJobFinishes"] is True
        assert spec["submissionMode"] == "HTTPMode"
        RuntimeEnv(**yaml.safe_load(spec["runtimeEnvYAML"]))


@pytest.mark.parametrize("overlay", ["dev", "serve"])
def test_the_serve_configuration_fits_rays_schema_and_ours(
    overlays: dict[str, list[Document]], overlay: str
) -> None:
    config = service_settings(overlays[overlay])
    assert config.models == {"default": Path("/data/models/default")}
    assert not config.access.is_open, "others than this machine reach it"


@pytest.mark.parametrize("overlay", ["dev", "serve"])
def test_the_replicas_that_may_be_served_fit_the_workers_that_may_be_started(
    overlays: dict[str, list[Document]], overlay: str
) -> None:
    config = service_settings(overlays[overlay])
    (group,) = clusters(overlays[overlay])["pertcast-serve"]["workerGroupSpecs"]
    asked = sum(
        scaling.max_replicas * scaling.cpus_per_replica for scaling in (config.predictor, config.analysis)
    )
    ingress = 0.1 * config.ingress_replicas
    free_for_a_screen = 1.0
    most = cpus(group) * group["maxReplicas"]
    assert asked + ingress + free_for_a_screen <= most
    assert asked + ingress + free_for_a_screen > most - cpus(group), "workers that nothing could fill"


def test_an_upgrade_of_the_service_is_a_second_cluster_and_a_node_more_than_one(
    overlays: dict[str, list[Document]],
) -> None:
    spec = named(overlays["serve"], "RayService", "pertcast-serve")["spec"]
    assert spec["upgradeStrategy"] == {"type": "NewCluster"}
    assert spec["excludeHeadPodFromServeSvc"] is True
    config = service_settings(overlays["serve"])
    assert spec["rayClusterDeletionDelaySeconds"] > config.limits.request_s, "requests of the old one may end"
    (group,) = spec["rayClusterConfig"]["workerGroupSpecs"]
    assert group["minReplicas"] >= 2 and config.ingress_replicas >= 2 and config.predictor.min_replicas >= 2
    (spread,) = group["template"]["spec"]["topologySpreadConstraints"]
    assert (spread["topologyKey"], spread["whenUnsatisfiable"]) == ("kubernetes.io/hostname", "DoNotSchedule")


def test_rays_version_in_the_manifests_is_the_pinned_one(documents: list[Document], repository: Path) -> None:
    pins = (repository / "constraints.txt").read_text().splitlines()
    for cluster in clusters(documents).values():
        assert f"ray=={cluster['rayVersion']}" in pins


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


def test_the_head_of_every_cluster_has_a_disruption_budget(documents: list[Document]) -> None:
    for name in clusters(documents):
        spec = named(documents, "PodDisruptionBudget", f"head-of-{name}")["spec"]
        # Of pods that an operator makes, Kubernetes knows no total: only a whole number works.
        assert spec["minAvailable"] == 1
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


def test_a_worker_has_more_time_to_end_than_its_notice_to_ray_says(documents: list[Document]) -> None:
    for cluster in clusters(documents).values():
        for group in cluster["workerGroupSpecs"]:
            spec = group["template"]["spec"]
            (*_, script) = spec["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
            assert '--deadline-remaining-seconds "$NOTICE_SECONDS"' in script
            environment = {entry["name"]: entry.get("value") for entry in spec["containers"][0]["env"]}
            assert int(environment["NOTICE_SECONDS"]) + 10 <= spec["terminationGracePeriodSeconds"]
            subprocess.run(["bash", "-n", "-c", script], check=True)


def test_spot_machines_take_only_what_tolerates_to_lose_them(overlays: dict[str, list[Document]]) -> None:
    for cluster in clusters(overlays["gpu-spot"]).values():
        cpu, gpu = (group["template"]["spec"] for group in cluster["workerGroupSpecs"])
        assert "tolerations" not in cpu and "nodeSelector" not in cpu
        assert gpu["nodeSelector"] == {"pertcast.io/spot": "true"}
        assert {"nvidia.com/gpu", "pertcast.io/spot"} == {wish["key"] for wish in gpu["tolerations"]}
        assert gpu["terminationGracePeriodSeconds"] == 120


@pytest.mark.parametrize("overlay", ["gpu", "gpu-spot", "serve"])
def test_every_board_of_the_repository_is_handed_to_grafana(
    overlays: dict[str, list[Document]], overlay: str, repository: Path
) -> None:
    boards = {path.name for path in (repository / "k8s/monitoring/grafana").glob("*.json")}
    assert set(named(overlays[overlay], "ConfigMap", "pertcast-boards")["data"]) == boards
    assert of_kind(overlays[overlay], "PrometheusRule")
