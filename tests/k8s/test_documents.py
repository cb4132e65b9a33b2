"""Manifests are read from files, folders, kustomizations and lists in one way, and refused with a remedy."""

from __future__ import annotations

import io
import os
import shutil
import sys
from pathlib import Path

import pytest
from pertcast_data.errors import ConfigError
from pertcast_jobs.cli import run
from pertcast_jobs.cluster.kube.documents import read_documents


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: [", r"a\.yaml is not valid YAML"),
        ("", r"no object in .*a\.yaml"),
        ("- a\n", r"a\.yaml: document 1 is no object of Kubernetes but \['a'\]"),
        ("kind: A\n---\nkind: List\nitems: [{kind: B}, text]\n", r"a\.yaml: document 2, item 2 is no object"),
        ("kind: List\nitems: text\n", r"a\.yaml: document 1: the items of a List are no list"),
    ],
)
def test_what_is_no_manifest_is_refused_with_a_remedy(text: str, told: str, tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=rf"(?s){told}.*kubectl kustomize k8s/overlays/gpu"):
        read_documents(str(path))


def test_a_file_that_is_not_there_is_told_with_a_remedy(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["job", "check", "/nowhere/a.yaml"]) == 1
    told = capsys.readouterr().err
    assert "/nowhere/a.yaml cannot be read" in told
    assert "Give a file of manifests" in told


def test_objects_inside_lists_are_read_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside = '{"kind": "List", "items": [{"kind": "B"}, {"kind": "List", "items": []}]}'
    (tmp_path / "b.json").write_text(inside)
    (tmp_path / "a.yml").write_text("kind: A\n")
    monkeypatch.setattr(sys, "stdin", io.StringIO("kind: C\n---\n---\nkind: D\n"))
    found = read_documents(str(tmp_path), "-")
    assert [one["kind"] for one in found] == ["A", "B", "C", "D"]


@pytest.mark.parametrize("name", ["kustomization.yaml", "kustomization.yml", "Kustomization"])
def test_a_folder_is_rendered_whatever_its_kustomization_is_called(name: str, tmp_path: Path) -> None:
    if shutil.which("kubectl") is None and os.environ.get("CI") != "true":
        pytest.skip("kubectl is not installed")
    (tmp_path / "map.yaml").write_text("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n")
    (tmp_path / name).write_text("namePrefix: of-\nresources: [map.yaml]\n")
    (found,) = read_documents(str(tmp_path))
    assert found["metadata"]["name"] == "of-a"


def test_a_folder_of_kustomizations_is_not_read_as_if_their_parts_were_objects(repository: Path) -> None:
    with pytest.raises(ConfigError, match=r"Give one that is a whole: .*k8s/overlays/dev") as error:
        read_documents(str(repository / "k8s"))
    assert "k8s/components/object-store" not in str(error.value), "a component is not rendered alone"


def test_a_folder_without_manifests_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no YAML"):
        read_documents(str(tmp_path))
