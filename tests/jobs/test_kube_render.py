"""RayJobs on clusters of their own take all but their words from the manifests; a dry run touches nothing."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kube_api as kube
import pytest
import yaml
from pertcast_data.errors import ConfigError
from pertcast_jobs.cli import run
from pertcast_jobs.cluster.kube import render
from pertcast_jobs.cluster.kube.kube_jobs import KubeJobs

pytestmark = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")

WORDS = ["response_mlp", "data.store=/data/store", "--out", "/data/run"]


@pytest.fixture(scope="module")
def overlay(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("overlay") / "dev.yaml"
    rendered = subprocess.run(
        ["kubectl", "kustomize", str(repository / "k8s" / "overlays" / "dev")],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    file.write_text(rendered.stdout)
    return file


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("KUBECACHEDIR", str(tmp_path / "cache"))
    with kube.kube_api(tmp_path) as (state, config):
        monkeypatch.setenv("KUBECONFIG", str(config))
        yield state


def template(overlay: Path, name: str) -> dict[str, Any]:
    found = [
        document
        for document in yaml.safe_load_all(overlay.read_text())
        if document["kind"] == "RayJob" and document["metadata"]["name"] == name
    ]
    return dict(found[0])


def test_a_job_takes_its_cluster_from_the_rayjob_of_the_same_command_and_goes_with_it(
    api: Any, overlay: Path
) -> None:
    given = template(overlay, "pertcast-train")
    namespace = given["metadata"]["namespace"]
    api.add("namespaces", "", {"metadata": {"name": namespace}})
    jobs = KubeJobs(manifests=str(overlay))
    name = jobs.submit(WORDS)
    made = api.jobs()[name]
    assert made["metadata"]["namespace"] == namespace == jobs.namespace
    assert made["spec"]["rayClusterSpec"] == given["spec"]["rayClusterSpec"]
    assert made["spec"]["shutdownAfterJobFinishes"] is True
    assert not {"clusterSelector", "suspend"} & set(made["spec"])
    assert render.own_cluster_job(name, ["train"], "x", given)["spec"]["entrypoint"] == "x"
    # The operator runs the same words again: they must go on where the first try came to.
    assert given["spec"]["backoffLimit"] > 0
    assert made["spec"]["entrypoint"].endswith("--out /data/run --resume")
    assert jobs.submit(WORDS) == name
    # The overlay's own RayJobs wait as templates: they are no jobs yet.
    api.add("rayjobs", namespace, {**given, "spec": {**given["spec"], "suspend": True}})
    assert [row.submission_id for row in jobs.list()] == [name]


def test_a_dry_run_prints_what_would_be_created_and_asks_no_server(
    api: Any, overlay: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(["job", "submit", "--kube", "--dry-run", "--namespace", "lab", "--cpus", "4", *WORDS]) == 0
    printed = yaml.safe_load(capfd.readouterr().out)
    assert printed["metadata"]["namespace"] == "lab"
    assert printed["spec"]["entrypointNumCpus"] == 4
    assert api.asked == []
    api.add("rayclusters", "lab", {"metadata": {"name": "pertcast"}, "status": {"state": "ready"}})
    name = KubeJobs("lab", cpus=4).submit(WORDS)
    assert name == printed["metadata"]["name"]
    assert api.jobs()[name]["spec"] == printed["spec"]


def test_a_command_that_no_node_has_room_for_is_refused_with_what_there_is(api: Any, overlay: Path) -> None:
    told = r"64 CPUs .* more than any node of {}.* may have: \d+\. Lower --cpus"
    with pytest.raises(ConfigError, match=told.format("RayJob pertcast-train-")):
        KubeJobs(manifests=str(overlay), cpus=64).render(WORDS)
    documents = yaml.safe_load_all(overlay.read_text())
    standing = next(document for document in documents if document["kind"] == "RayCluster")
    api.add("rayclusters", "lab", {**standing, "status": {"state": "ready"}})
    with pytest.raises(ConfigError, match=told.format("RayCluster pertcast")):
        KubeJobs("lab", cpus=64).submit(WORDS)
    assert api.jobs() == {}
    assert KubeJobs("lab", cpus=1).submit(WORDS) in api.jobs()
    standing["spec"]["workerGroupSpecs"][0]["template"]["spec"]["containers"][0].pop("resources")
    assert KubeJobs("lab", cpus=64).submit(WORDS) in api.jobs()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("kind: RayJob\nmetadata: {name: a}\nspec: {entrypoint: pertcast tune x}\n", "none"),
        ("kind: Service\n", "RayJobs: none"),
        ("{", "not valid YAML"),
    ],
)
def test_manifests_without_a_fitting_rayjob_are_refused_with_how_to_make_them(
    tmp_path: Path, text: str, told: str
) -> None:
    file = tmp_path / "some.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=rf"{told}.*k8s/overlays/gpu"):
        KubeJobs(manifests=str(file)).render(WORDS)


def test_templates_are_found_in_a_list_too_and_beside_other_commands_of_their_line(
    overlay: Path, tmp_path: Path
) -> None:
    given = template(overlay, "pertcast-train")
    given["spec"]["entrypoint"] = "pertcast data validate /data/store && /opt/bin/pertcast train x --out /r"
    file = tmp_path / "list.yaml"
    file.write_text(yaml.safe_dump({"apiVersion": "v1", "kind": "List", "items": [given]}))
    made = yaml.safe_load(KubeJobs(manifests=str(file)).render(WORDS))
    assert made["spec"]["rayClusterSpec"] == given["spec"]["rayClusterSpec"]


def test_a_template_whose_line_has_an_open_quote_is_named(overlay: Path, tmp_path: Path) -> None:
    given = template(overlay, "pertcast-train")
    given["spec"]["entrypoint"] = "pertcast train 'x"
    file = tmp_path / "open.yaml"
    file.write_text(yaml.safe_dump(given))
    with pytest.raises(ConfigError, match=r"RayJob pertcast-train: .* quote .* is not closed"):
        KubeJobs(manifests=str(file)).render(WORDS)


def test_a_template_that_kuberay_would_not_take_is_refused_before_anything_is_created(
    api: Any, overlay: Path, tmp_path: Path
) -> None:
    wrong = template(overlay, "pertcast-train")
    wrong["spec"]["rayClusterSpec"]["workerGroupSpec"] = []
    file = tmp_path / "wrong.yaml"
    file.write_text(yaml.safe_dump(wrong))
    with pytest.raises(ConfigError, match=r"spec\.rayClusterSpec\.workerGroupSpec.*job check"):
        KubeJobs(manifests=str(file)).submit(WORDS)
    assert api.asked == []


def test_files_that_do_not_fit_into_a_rayjob_are_refused(tmp_path: Path) -> None:
    large = tmp_path / "large.yaml"
    large.write_bytes(b"#" * 70_000)
    with pytest.raises(ConfigError, match="64 KiB"):
        render.shell_line(["train", "sent/large.yaml"], {"sent/large.yaml": large})


@pytest.mark.parametrize("name", ["a" * 48, "1abc", "Abc", "a-", "a_b", ""])
def test_a_name_that_kuberay_would_refuse_is_refused_here(name: str) -> None:
    with pytest.raises(ConfigError, match="submission-id"):
        render.require_name(name)
