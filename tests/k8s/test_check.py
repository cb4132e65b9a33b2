"""`pertcast job check`: every planted fault is found by its rule alone, and what is clean has no finding."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest
import yaml
from blameless import BLAMELESS
from pertcast_data.errors import ConfigError
from pertcast_jobs.cli import run
from pertcast_jobs.cluster.kube import render
from pertcast_jobs.cluster.kube.check import check_manifests
from pertcast_jobs.cluster.kube.rules import RULES, SHAPE_RULES
from planted_faults import FAULTS
from rendered import Document, named

TRAIN = ["train", "response_mlp", "data.store=/data/store", "data.split=/data/split.json", "--out", "/data/r"]


def copied(documents: list[Document]) -> list[Document]:
    """Return a copy that shares nothing, as YAML's anchors do and a deep copy keeps."""
    return [json.loads(json.dumps(document)) for document in documents]


def test_the_overlays_as_they_are_break_no_rule(documents: list[Document]) -> None:
    assert check_manifests(documents) == []


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found_by_its_rule_alone(fault: str, overlays: dict[str, list[Document]]) -> None:
    planted = FAULTS[fault]
    documents = copied(overlays[planted.overlay])
    planted.change(documents)
    assert documents != overlays[planted.overlay]
    findings = check_manifests(documents)
    assert {found.rule for found in findings} == {planted.rule}
    rows = [found.row() for found in findings]
    assert (planted.where, planted.path) in {(f"{row['kind']}/{row['name']}", row["path"]) for row in rows}
    assert all(row["what"] and row["remedy"] for row in rows)


@pytest.mark.parametrize("change", BLAMELESS)
def test_what_is_valid_breaks_no_rule(change: str, overlays: dict[str, list[Document]]) -> None:
    make, overlay = BLAMELESS[change]
    documents = copied(overlays[overlay])
    make(documents)
    assert documents != overlays[overlay]
    assert [found.row() for found in check_manifests(documents)] == []


def test_a_list_whose_only_entry_is_refused_is_not_called_empty_too(
    overlays: dict[str, list[Document]],
) -> None:
    documents = copied(overlays["serve"])
    FAULTS["an unknown field of the only port of a monitor"].change(documents)
    (found,) = check_manifests(documents)
    assert found.problem.path == "spec.endpoints[0].intervall"


def test_every_rule_has_a_planted_fault() -> None:
    assert {planted.rule for planted in FAULTS.values()} == {*RULES, *SHAPE_RULES}


def test_the_shape_is_told_first_and_alone(overlays: dict[str, list[Document]]) -> None:
    documents = copied(overlays["dev"])
    for fault in ("a misspelt field of a policy", "the newest image"):
        FAULTS[fault].change(documents)
    assert [found.rule for found in check_manifests(documents)] == ["schema"]


@pytest.mark.parametrize("overlay", ["dev", "gpu", "gpu-spot"])
def test_a_job_rendered_after_an_overlays_template_breaks_no_rule(
    overlay: str, overlays: dict[str, list[Document]]
) -> None:
    documents = overlays[overlay]
    template = render.template_of("train", documents)
    words = [*TRAIN, "--resume"]  # as `KubeJobs` does for a template that tries again
    job = render.own_cluster_job("pertcast-train-1f0c9a2b3c", words, render.shell_line(words, {}), template)
    assert check_manifests([job]) == []
    assert check_manifests([*documents, job]) == []


def test_a_job_rendered_for_a_standing_cluster_breaks_no_rule_and_one_for_no_cluster_does(
    overlays: dict[str, list[Document]],
) -> None:
    job = render.standing_job("mine", TRAIN, render.shell_line(TRAIN, {}), "pertcast")
    assert check_manifests([job]) == []
    job["metadata"]["namespace"] = "pertcast-dev"
    assert check_manifests([*overlays["dev"], job]) == []
    job["spec"]["clusterSelector"] = {"ray.io/cluster": "pertcats"}
    (found,) = check_manifests([*overlays["dev"], job])
    assert (found.rule, found.problem.path) == ("selector-matches-nothing", "spec.clusterSelector")


def test_a_configuration_that_travels_in_the_entrypoint_is_read_too(tmp_path: Path) -> None:
    config = tmp_path / "mine.yaml"
    words = ["train", "sent/mine.yaml", *TRAIN[2:]]

    def findings(text: str) -> list[str]:
        config.write_text(text)
        line = render.shell_line(words, {"sent/mine.yaml": config})
        job = render.standing_job("mine", words, line, "pertcast")
        return [found.problem.what for found in check_manifests([job])]

    assert findings("model: {name: response_mlp}\n") == []
    (what,) = findings("model: {name: response_mlp}\ntrian: {}\n")
    assert "trian" in what


def test_what_a_part_refers_to_is_not_missed_and_what_a_whole_refers_to_is(
    overlays: dict[str, list[Document]],
) -> None:
    job = named(overlays["gpu"], "RayJob", "pertcast-train")
    assert check_manifests([job]) == []
    whole = check_manifests([job, named(overlays["gpu"], "Namespace", "pertcast")])
    assert {found.rule for found in whole} == {
        "volume-missing",
        "config-map-or-secret-missing",
        "no-default-deny",
        "no-disruption-budget",
    }


def test_pods_of_kubernetes_own_kinds_are_judged_too() -> None:
    pod = {"containers": [{"name": "a", "image": "a"}]}
    bare = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": pod}
    labels = {"app": "a"}
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "b"},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }
    paths = {
        (found.problem.document.name, found.problem.path)
        for found in check_manifests([bare, deployment])
        if found.rule == "floating-tag"
    }
    assert paths == {("a", "spec.containers[0].image"), ("b", "spec.template.spec.containers[0].image")}


def test_foreign_kinds_are_let_pass_and_unknown_kinds_of_known_groups_are_not() -> None:
    foreign = {"apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret", "metadata": {"name": "a"}}
    assert check_manifests([foreign]) == []
    (found,) = check_manifests([{"apiVersion": "ray.io/v1", "kind": "RayCulster", "metadata": {"name": "a"}}])
    assert (found.rule, found.problem.path) == ("operator-fields", "kind")


def test_without_the_schemas_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kubernetes_validate", None)
    with pytest.raises(ConfigError, match=r"pip install 'pertcast\[kube\]'"):
        check_manifests([{"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "never-seen-before"}}])


def test_the_command_prints_findings_and_ends_with_1(
    overlays: dict[str, list[Document]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    documents = copied(overlays["dev"])
    FAULTS["the newest image"].change(documents)
    path = tmp_path / "all.yaml"
    path.write_text(yaml.safe_dump_all(documents))
    assert run(["job", "check", str(tmp_path)]) == 1
    assert capsys.readouterr().out == (
        "floating-tag  RayCluster/pertcast  spec.workerGroupSpecs[0].template.spec.containers[0].image: "
        "registry.example:5000/pertcast:latest is another image tomorrow; name a version, such as :0.1.0, "
        "or a digest\n"
    )
    assert run(["job", "check", str(path), "--json"]) == 1
    (found,) = json.loads(capsys.readouterr().out)
    assert (found["rule"], found["name"]) == ("floating-tag", "pertcast")


def test_a_folder_with_a_kustomization_is_rendered(
    repository: Path, overlays: dict[str, list[Document]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["job", "check", str(repository / "k8s/overlays/serve")]) == 0
    assert f"{len(overlays['serve'])} objects, 0 findings" in capsys.readouterr().err


def test_a_dry_run_is_checked_from_standard_input(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["job", "submit", "--kube", "--dry-run", *TRAIN]) == 0
    monkeypatch.setattr(sys, "stdin", io.StringIO(capsys.readouterr().out))
    assert run(["job", "check", "-"]) == 0
    assert "1 objects, 0 findings" in capsys.readouterr().err
