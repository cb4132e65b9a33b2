"""`pertcast job check`: manifests judged by named rules before they are applied."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import typer
import yaml
from pertcast_data.errors import ConfigError

_KUSTOMIZATION: Final = "kustomization.yaml"
_FAST_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The same language; overlays have thousands of lines."""


def _rendered(folder: Path) -> str:
    """Return what a folder with a kustomization renders to."""
    if shutil.which("kubectl") is None:
        raise ConfigError(
            f"{folder} is rendered by kubectl, which is not installed. Install it, or give YAML."
        )
    done = subprocess.run(["kubectl", "kustomize", str(folder)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise ConfigError(f"{folder} cannot be rendered: {done.stderr.strip()}")
    return done.stdout


def _texts(sources: list[str]) -> Iterator[tuple[str, str]]:
    """Yield (where it is from, YAML) of files, folders and standard input."""
    for source in sources:
        path = Path(source)
        if source == "-":
            yield "standard input", sys.stdin.read()
        elif path.is_dir() and (path / _KUSTOMIZATION).is_file():
            yield source, _rendered(path)
        elif path.is_dir():
            files = sorted(file for file in path.rglob("*") if file.suffix in (".yaml", ".yml", ".json"))
            if not files:
                raise ConfigError(f"{path} holds no YAML. Give manifests, or a folder with {_KUSTOMIZATION}.")
            yield from _texts([str(file) for file in files])
        else:
            try:
                yield source, path.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise ConfigError(f"{source} cannot be read: {error}") from error


def _documents(sources: list[str]) -> list[Mapping[str, Any]]:
    """Return the objects of all sources; those inside a List one by one."""
    objects: list[Mapping[str, Any]] = []
    for where, text in _texts(sources):
        try:
            documents = [found for found in yaml.load_all(text, _FAST_LOADER) if found is not None]
        except yaml.YAMLError as error:
            raise ConfigError(f"{where} is not valid YAML: {error}") from error
        for number, document in enumerate(documents, start=1):
            if not isinstance(document, dict):
                raise ConfigError(
                    f"{where}: document {number} is no object of Kubernetes but {document!r:.60}."
                )
            is_list = document.get("kind") == "List"
            objects.extend(document.get("items") or () if is_list else [document])
    if not objects:
        raise ConfigError("There is no object to check. Give manifests, a folder with a kustomization, or -.")
    return objects


def check(
    manifests: Annotated[
        list[str], typer.Argument(help="YAML files, folders (a kustomization is rendered), or - for input.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Check manifests by named rules before they are applied; exit code 1 where a rule is broken.

    Objects together with their Namespace are judged as a whole: what they refer to must be among them.

    Example: pertcast job check k8s/overlays/gpu
    """
    # The rules import Serve; the other commands about jobs shall not wait for it.
    from pertcast_jobs.cluster.kube.check import check_manifests

    documents = _documents(manifests)
    rows = [finding.row() for finding in check_manifests(documents)]
    if as_json:
        print(json.dumps(rows, indent=2))
    else:
        for row in rows:
            print("{rule}  {kind}/{name}  {path}: {what}; {remedy}".format_map(row))
        print(f"{len(documents)} objects, {len(rows)} findings", file=sys.stderr)
    if rows:
        raise typer.Exit(1)
