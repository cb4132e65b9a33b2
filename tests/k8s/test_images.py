"""The Dockerfile keeps what docs/security.md says of images; SBOM, licences and audit say what is so."""

from __future__ import annotations

import fnmatch
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml


@pytest.fixture(scope="module")
def instructions(repository: Path) -> list[tuple[str, str]]:
    """Instructions of the Dockerfile with their words, lines joined and comments gone."""
    text = (repository / "k8s/images/Dockerfile").read_text(encoding="utf-8")
    text = re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ")
    found = [line.partition(" ") for line in text.splitlines() if line.strip()]
    return [(name, words.strip()) for name, _, words in found]


@pytest.fixture(scope="module")
def sbom(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    out = tmp_path_factory.mktemp("sbom") / "sbom.json"
    tools = Path(sys.prefix) / "tools" / "bin" / "python"
    if not tools.exists():
        if os.environ.get("CI") == "true":
            pytest.fail("there is nothing that writes an SBOM: `make test` installs it")
        pytest.skip("nothing here writes an SBOM: `make test` installs what does")
    command = [str(tools), str(repository / "k8s/images/sbom.py"), sys.executable, "--out", str(out)]
    subprocess.run(command, check=True, capture_output=True)
    return json.loads(out.read_text(encoding="utf-8"))


def words_of(instructions: list[tuple[str, str]], name: str) -> list[str]:
    return [words for found, words in instructions if found == name]


def pins(repository: Path) -> dict[str, str]:
    lines = (repository / "constraints.txt").read_text(encoding="utf-8").split()
    return {key(name): version for name, _, version in (line.partition("==") for line in lines)}


def key(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def installs(instructions: list[tuple[str, str]]) -> list[str]:
    return [words for words in words_of(instructions, "RUN") if "pip install" in words]


def test_the_base_has_a_version_and_is_never_latest(instructions: list[tuple[str, str]]) -> None:
    (base,) = (words for words in words_of(instructions, "ARG") if words.startswith("BASE="))
    assert re.fullmatch(r"BASE=python:3\.11-slim-[a-z]+", base)
    stages = {words.split(" AS ")[1] for words in words_of(instructions, "FROM")}
    for words in words_of(instructions, "FROM"):
        start = words.split()[0].replace("${DEVICE}", "cpu")
        assert start == "${BASE}" or start in stages
        assert start.replace("cpu", "cuda") == "${BASE}" or start.replace("cpu", "cuda") in stages | {
            "base-cpu"
        }


def test_the_image_ends_as_a_user_that_is_not_root(instructions: list[tuple[str, str]]) -> None:
    assert words_of(instructions, "USER") == ["1000:1000"]
    last = [name for name, _ in instructions]
    assert "RUN" not in last[last.index("USER") :] and "COPY" not in last[last.index("USER") :]


def test_every_copied_path_exists_and_is_sent_to_the_builder(
    instructions: list[tuple[str, str]], repository: Path
) -> None:
    kept = [
        line[1:] for line in (repository / ".dockerignore").read_text().splitlines() if line.startswith("!")
    ]
    for words in words_of(instructions, "COPY"):
        if words.startswith("--from="):
            continue
        for path in words.split()[:-1]:
            assert (repository / path).exists(), path
            assert any(fnmatch.fnmatch(path, entry) for entry in kept), f".dockerignore leaves out {path}"


def test_what_is_installed_is_pinned_and_no_index_or_password_is_kept(
    instructions: list[tuple[str, str]],
) -> None:
    assert any("PIP_CONSTRAINT=/source/constraints.txt" in words for words in words_of(instructions, "ENV"))
    assert len(installs(instructions)) == 4
    for words in installs(instructions):
        assert "--no-index" in words or "--mount=type=secret,id=pip,target=/etc/pip.conf" in words
    for _, words in instructions:
        assert not re.search(r"https?://|index-url|INDEX_URL|TOKEN|PASSWORD", words)


def test_nothing_is_fetched_into_a_shell(instructions: list[tuple[str, str]]) -> None:
    for words in words_of(instructions, "RUN"):
        assert not re.search(r"\b(curl|wget)\b[^&]*\|", words)
        assert "apt-get install" not in words or "--no-install-recommends" in words
    assert not words_of(instructions, "ADD")


def test_only_the_cuda_image_has_a_compiler_and_neither_shows_gpus_to_those_who_asked_for_none(
    instructions: list[tuple[str, str]],
) -> None:
    stage, compilers = "", []
    for name, words in instructions:
        stage = words.split(" AS ")[1] if name == "FROM" else stage
        if name == "RUN" and "apt-get install" in words and {"gcc", "g++"} & set(shlex.split(words)):
            compilers.append(stage)
        assert "NVIDIA_VISIBLE_DEVICES" not in words
    assert compilers == ["base-cuda"]


@pytest.mark.parametrize(
    "page", ["docs/kubernetes.md", "docs/security.md", "docs/path_to_a_million.md", "k8s/images/Dockerfile"]
)
def test_who_builds_as_a_page_says_has_every_image_that_the_overlays_pull(
    page: str, repository: Path
) -> None:
    pulled = {}
    for overlay in (repository / "k8s/overlays").glob("*/kustomization.yaml"):
        for image in yaml.safe_load(overlay.read_text(encoding="utf-8"))["images"]:
            device = image["name"].removeprefix("pertcast").removeprefix("-") or "cpu"
            pulled[f"{image['newName'].rpartition('/')[2]}:{image['newTag']}"] = device
    assert set(pulled.values()) == {"cpu", "cuda"}
    lines = re.findall(r"docker build [^&\n]*", (repository / page).read_text(encoding="utf-8"))
    built = {}
    for words in map(shlex.split, lines):
        device = [word.removeprefix("DEVICE=") for word in words if word.startswith("DEVICE=")]
        built[words[words.index("-t") + 1].rpartition("/")[2]] = device[0] if device else "cpu"
    assert built == pulled


def test_the_operators_chart_is_installed_from_a_repository_that_was_added(repository: Path) -> None:
    text = (repository / "docs/kubernetes.md").read_text(encoding="utf-8")
    (install,) = re.finditer(r"^helm install \S+ (\w+)/", text, flags=re.MULTILINE)
    assert re.search(rf"^helm repo add {install[1]} https://", text[: install.start()], flags=re.MULTILINE)


def test_the_label_says_the_packages_version(instructions: list[tuple[str, str]], repository: Path) -> None:
    project = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (labels,) = words_of(instructions, "LABEL")
    said = dict(word.split("=", 1) for word in shlex.split(labels))
    assert said["org.opencontainers.image.version"] == project["version"]
    assert said["org.opencontainers.image.licenses"] == project["license"]
    (run,) = (words for words in words_of(instructions, "RUN") if "--debian" in words)
    assert said["io.pertcast.sbom"] in run


def test_the_sbom_fits_the_schema_of_cyclonedx(sbom: dict[str, Any]) -> None:
    folder = files("cyclonedx.schema") / "_res"
    schemas = {
        name: json.loads((folder / f"{name}.schema.json").read_text(encoding="utf-8"))
        for name in ("bom-1.6.SNAPSHOT", "spdx.SNAPSHOT", "jsf-0.82.SNAPSHOT")
    }
    beside = [(f"http://cyclonedx.org/schema/{name}.schema.json", schema) for name, schema in schemas.items()]
    validator = jsonschema_rs.validator_for(
        schemas["bom-1.6.SNAPSHOT"], registry=jsonschema_rs.Registry(beside)
    )
    validator.validate(sbom)
    assert not validator.is_valid({**sbom, "components": [{"type": "library"}]})


def test_the_sbom_names_what_is_installed_and_everything_in_it_is_pinned(
    sbom: dict[str, Any], repository: Path
) -> None:
    pinned = pins(repository)
    versions = {key(component["name"]): component["version"] for component in sbom["components"]}
    assert {"ray", "torch", "deepspeed", "pytest"} <= set(versions)
    scopes = {key(component["name"]): component["scope"] for component in sbom["components"]}
    assert (scopes["ray"], scopes["uvicorn"], scopes["pytest"]) == ("required", "required", "excluded")
    for name, version in versions.items():
        if name not in {"pertcast", "pip"}:
            assert pinned.get(name) == version.partition("+")[0], f"{name} {version} is not as pinned"


def test_what_is_shipped_may_be_shipped_under_apache(
    sbom: dict[str, Any], repository: Path, tmp_path: Path
) -> None:
    def judged(document: dict[str, Any]) -> subprocess.CompletedProcess[str]:
        file = tmp_path / "sbom.json"
        file.write_text(json.dumps(document))
        command = [sys.executable, str(repository / "k8s/images/licences.py"), str(file)]
        return subprocess.run(command, capture_output=True, text=True)

    as_it_is = judged(sbom)
    assert as_it_is.returncode == 0, as_it_is.stdout
    strange = {"name": "strange", "version": "1", "scope": "required"}
    for said, why in (
        ([{"expression": "MIT AND AGPL-3.0-only"}], "AGPL-3.0-only"),
        ([{"license": {"name": "License :: Other/Proprietary License"}}], "Proprietary"),
        ([], "undeclared"),
    ):
        planted = judged({"components": [*sbom["components"], {**strange, "licenses": said}]})
        assert (planted.returncode, planted.stdout.startswith("strange 1: ")) == (1, True)
        assert why in planted.stdout


@pytest.mark.parametrize(
    ("printed", "code", "said"),
    [
        ([{"name": "a", "version": "1", "vulns": []}], 0, "1 of 1 packages looked up, 0 with"),
        (
            [{"name": "a", "version": "1", "vulns": [{"id": "PYSEC-1", "fix_versions": ["2"]}]}],
            1,
            "a 1: PYSEC-1, fixed in 2",
        ),
        ([{"name": "a", "skip_reason": "not found"}], 3, "NOT AUDITED"),
        (None, 3, "NOT AUDITED: advisories could not be had"),
    ],
)
def test_an_audit_that_looked_nothing_up_is_not_called_clean(
    printed: list[dict[str, Any]] | None, code: int, said: str, repository: Path, tmp_path: Path
) -> None:
    package = tmp_path / "pip_audit"
    package.mkdir()
    answer = "no network" if printed is None else json.dumps({"dependencies": printed, "fixes": []})
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(f"print({answer!r})")
    script = repository / "k8s/images/audit.py"
    command = [sys.executable, str(script), str(repository / "constraints.txt")]
    ended = subprocess.run(command, capture_output=True, text=True, env={"PYTHONPATH": str(tmp_path)})
    assert (ended.returncode, said in ended.stdout) == (code, True), ended.stdout + ended.stderr
