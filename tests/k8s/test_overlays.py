"""Every overlay renders, fits its schemas, and runs command lines that the real one parses."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from pertcast_jobs.cluster.command import parse_command
from pertcast_jobs.cluster.ray_jobs import STOP_WAIT_S
from pertcast_jobs.train.gauges import TRAIN_GAUGES
from pertcast_serve.config import ServeConfig
from pertcast_serve.metrics import METRICS
from ray.runtime_env import RuntimeEnv
from ray.serve.schema import ServeDeploySchema
from rendered import Document, clusters, cpus, entrypoints, named, of_kind, templates

FOREIGN = ("ray.io/", "monitoring.coreos.com/")


def service_settings(documents: list[Document]) -> ServeConfig:
    written = yaml.safe_load(named(documents, "RayService", "pertcast-serve")["spec"]["serveConfigV2"])
    (application,) = ServeDeploySchema.model_validate(written).applications
    module, _, attribute = application.import_path.partition(":")
    assert callable(getattr(import_module(module), attribute))
    return ServeConfig.model_validate(application.args)


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
            assert parse_command(words).values


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
    config = parse_command(entrypoints(overlays[overlay])["pertcast-train"]).config
    assert config is not None
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


def test_a_command_that_computes_by_itself_fits_a_worker(documents: list[Document]) -> None:
    for job in of_kind(documents, "RayJob"):
        workers = job["spec"]["rayClusterSpec"]["workerGroupSpecs"]
        asked = job["spec"].get("entrypointNumCpus", 0)
        assert asked <= max(map(cpus, workers))
        assert asked or not job["metadata"]["name"].endswith("-evaluate")


def test_jobs_are_suspended_templates_so_that_applying_an_overlay_starts_none(
    documents: list[Document],
) -> None:
    for job in of_kind(documents, "RayJob"):
        spec = job["spec"]
        # The operator refuses a suspended job that keeps its cluster.
        assert spec["suspend"] is True and spec["shutdownAfterJobFinishes"] is True
        assert spec["submissionMode"] == "HTTPMode"
        environment = RuntimeEnv(**yaml.safe_load(spec["runtimeEnvYAML"]))
        assert environment["env_vars"]["RAY_JOB_STOP_WAIT_TIME_S"] == str(STOP_WAIT_S)


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
    assert spread["nodeTaintsPolicy"] == "Honor", (
        "nodes with GPUs, which take none, would hold the others to one"
    )


def test_ray_tells_how_full_the_disks_of_pods_are(overlays: dict[str, list[Document]]) -> None:
    program = (
        "from ray.dashboard.modules.reporter.reporter_agent import ReporterAgent\n"
        "print(min(disk.total for disk in ReporterAgent._get_disk_usage('/tmp').values()))"
    )
    environments = [
        {entry["name"]: entry["value"] for entry in template["spec"]["containers"][0]["env"]}
        for documents in overlays.values()
        for template in templates(documents)
    ]
    switch = "RAY_DASHBOARD_ENABLE_K8S_DISK_USAGE"
    (told,) = {environment.get(switch, "") for environment in environments}
    in_a_pod = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", switch: told}
    total = subprocess.run(
        [sys.executable, "-c", program], env=in_a_pod, check=True, capture_output=True, text=True
    )
    assert int(total.stdout) > 1, "Ray calls a disk of one byte, which is empty"


def test_rays_version_in_the_manifests_is_the_pinned_one(documents: list[Document], repository: Path) -> None:
    pins = (repository / "constraints.txt").read_text().splitlines()
    for cluster in clusters(documents).values():
        assert f"ray=={cluster['rayVersion']}" in pins


def test_what_rays_agents_export_gets_the_names_that_the_boards_ask_for(
    overlays: dict[str, list[Document]],
) -> None:
    (endpoint,) = named(overlays["serve"], "ServiceMonitor", "pertcast-ray")["spec"]["endpoints"]

    def relabelled(name: str) -> str:
        for step in endpoint["metricRelabelings"]:
            found = re.fullmatch(step["regex"], name)
            name = step["replacement"].replace("$1", found[1]) if found else name
        return name

    for metric in METRICS:
        assert relabelled(f"ray_{metric.name}") == metric.name
    for gauge in TRAIN_GAUGES:
        assert relabelled(f"ray_{gauge.name}") == f"ray_{gauge.name}"
    assert relabelled("ray_node_cpu_count") == "ray_node_cpu_count"


@pytest.mark.parametrize("overlay", ["gpu", "gpu-spot", "serve"])
def test_every_board_of_the_repository_is_handed_to_grafana(
    overlays: dict[str, list[Document]], overlay: str, repository: Path
) -> None:
    boards = {path.name for path in (repository / "k8s/monitoring/grafana").glob("*.json")}
    assert set(named(overlays[overlay], "ConfigMap", "pertcast-boards")["data"]) == boards
    assert of_kind(overlays[overlay], "PrometheusRule")
