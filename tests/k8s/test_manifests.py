"""The manifests render, fit their schemas, and run command lines that the real command line parses."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml
from pertcast_jobs.cli import app
from pertcast_jobs.run_config import load_config
from pertcast_serve.config import ServeConfig
from ray.serve.schema import ServeDeploySchema
from typer.main import get_command


@pytest.fixture(scope="module")
def rendered(repository: Path) -> dict[str, dict[str, Any]]:
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed")
    command = ["kubectl", "kustomize", str(repository / "k8s/overlays/dev")]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return {document["kind"]: document for document in yaml.safe_load_all(text)}


def parse(words: list[str]) -> Any:
    """Parse a command line as the real program does, without running it."""
    assert words[0] == "pertcast"
    root = get_command(app)
    with root.make_context("pertcast", []) if not words[1:] else root.context_class(root) as context:
        name, command, rest = root.resolve_command(context, words[1:])
    return command.make_context(name, rest)


def clusters(rendered: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        rendered["RayJob"]["spec"]["rayClusterSpec"],
        rendered["RayService"]["spec"]["rayClusterConfig"],
    ]


def pod_specs(rendered: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        group["template"]["spec"]
        for cluster in clusters(rendered)
        for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"])
    ]


def test_the_core_kinds_fit_the_kubernetes_schemas(rendered: dict[str, dict[str, Any]]) -> None:
    import kubernetes_validate

    core = [kind for kind in rendered if not rendered[kind]["apiVersion"].startswith("ray.io/")]
    assert sorted(core) == ["NetworkPolicy", "PersistentVolumeClaim"]
    for kind in core:
        kubernetes_validate.validate(rendered[kind], "1.31", strict=True)


def test_the_pods_of_ray_clusters_fit_the_kubernetes_schema_too(rendered: dict[str, dict[str, Any]]) -> None:
    import kubernetes_validate

    for number, spec in enumerate(pod_specs(rendered)):
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": f"pod-{number}"}, "spec": spec}
        kubernetes_validate.validate(pod, "1.31", strict=True)


def test_the_jobs_entrypoint_is_parsed_by_the_real_command_line(rendered: dict[str, dict[str, Any]]) -> None:
    words = shlex.split(rendered["RayJob"]["spec"]["entrypoint"])
    assert words[1] == "train"
    context = parse(words)
    config = load_config(context.params["config"], context.params["overrides"])
    assert config.cluster.num_workers == 2
    assert config.train.engine.name == "deepspeed"


def test_an_unknown_option_in_an_entrypoint_would_be_caught() -> None:
    with pytest.raises(Exception, match="No such option"):
        parse(["pertcast", "train", "response_mlp", "--outt", "/data/run"])


def test_the_serve_configuration_fits_rays_schema_and_ours(rendered: dict[str, dict[str, Any]]) -> None:
    written = yaml.safe_load(rendered["RayService"]["spec"]["serveConfigV2"])
    schema = ServeDeploySchema.model_validate(written)
    (application,) = schema.applications
    module, _, attribute = application.import_path.partition(":")
    assert callable(getattr(import_module(module), attribute))
    config = ServeConfig.model_validate(application.args)
    assert config.models == {"default": Path("/data/models/default")}
    assert not config.access.is_open, "others than this machine reach it"


def test_rays_version_in_the_manifests_is_the_pinned_one(
    rendered: dict[str, dict[str, Any]], repository: Path
) -> None:
    pins = (repository / "constraints.txt").read_text().splitlines()
    for cluster in clusters(rendered):
        assert f"ray=={cluster['rayVersion']}" in pins


def test_no_container_runs_as_root_or_without_limits_or_with_a_floating_tag(
    rendered: dict[str, dict[str, Any]],
) -> None:
    for spec in pod_specs(rendered):
        assert spec["securityContext"]["runAsNonRoot"] is True
        for container in spec["containers"]:
            assert {"cpu", "memory"} <= set(container["resources"]["limits"])
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert ":" in container["image"] and not container["image"].endswith(":latest")


def test_every_cluster_asks_its_operator_for_a_token_and_none_is_written_down(
    rendered: dict[str, dict[str, Any]],
) -> None:
    assert [cluster["authOptions"] for cluster in clusters(rendered)] == [{"mode": "token"}] * 2
    assert "RAY_AUTH_TOKEN" not in str(rendered)


def test_the_replicas_that_may_be_served_fit_the_workers_that_may_be_started(
    rendered: dict[str, dict[str, Any]],
) -> None:
    service = rendered["RayService"]["spec"]
    (application,) = yaml.safe_load(service["serveConfigV2"])["applications"]
    config = ServeConfig.model_validate(application["args"])
    (group,) = service["rayClusterConfig"]["workerGroupSpecs"]
    cores = float(group["template"]["spec"]["containers"][0]["resources"]["limits"]["cpu"])
    asked = sum(
        scaling.max_replicas * scaling.cpus_per_replica for scaling in (config.predictor, config.analysis)
    )
    ingress = 0.1 * config.ingress_replicas
    free_for_a_screen = 1.0
    assert (
        cores * group["maxReplicas"] - 2 < asked + ingress + free_for_a_screen <= cores * group["maxReplicas"]
    )
