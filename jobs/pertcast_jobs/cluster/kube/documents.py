"""Objects of Kubernetes read from files, folders, kustomizations and standard input."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml
from pertcast_data.errors import ConfigError

_KUSTOMIZATIONS: Final = ("kustomization.yaml", "kustomization.yml", "Kustomization")
_FAST_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The same language; overlays have thousands of lines."""

_REMEDY: Final = (
    "Give a file of manifests (as `kubectl kustomize k8s/overlays/gpu` prints them), a folder with a "
    "kustomization, or - for standard input."
)


def _is_kustomization(folder: Path) -> bool:
    return any((folder / name).is_file() for name in _KUSTOMIZATIONS)


def _renders_alone(kustomization: Path) -> bool:
    """Return whether a kustomization is no Component, which is a part of others."""
    return (
        re.search(r"^kind: *Component\s*$", kustomization.read_text(encoding="utf-8"), re.MULTILINE) is None
    )


def _rendered(folder: Path) -> str:
    """Return what a folder with a kustomization renders to."""
    if shutil.which("kubectl") is None:
        raise ConfigError(
            f"{folder} is rendered by kubectl, which is not installed. Install it, or give YAML."
        )
    done = subprocess.run(["kubectl", "kustomize", str(folder)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise ConfigError(
            f"{folder} cannot be rendered: {done.stderr.strip()}. Correct what `kubectl kustomize {folder}` "
            "tells, or give the folder of an overlay."
        )
    return done.stdout


def _files(folder: Path) -> list[Path]:
    """Return the manifests in a folder; refuse one whose files are parts of kustomizations."""
    inside = [found for name in _KUSTOMIZATIONS for found in folder.rglob(name)]
    if inside:
        whole = sorted(str(found.parent) for found in inside if _renders_alone(found))
        raise ConfigError(
            f"{folder} has no kustomization itself but holds some, whose files are parts of a whole. Give "
            f"one that is a whole: {', '.join(whole) or 'none here'}."
        )
    files = sorted(file for file in folder.rglob("*") if file.suffix in (".yaml", ".yml", ".json"))
    if not files:
        raise ConfigError(f"{folder} holds no YAML. {_REMEDY}")
    return files


def _texts(source: str) -> Iterator[tuple[str, str]]:
    """Yield (where it is from, YAML) of a file, a folder or standard input."""
    path = Path(source)
    if source == "-":
        yield "standard input", sys.stdin.read()
    elif path.is_dir() and _is_kustomization(path):
        yield source, _rendered(path)
    else:
        for file in _files(path) if path.is_dir() else [path]:
            try:
                yield str(file), file.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise ConfigError(f"{file} cannot be read: {error}. {_REMEDY}") from error


def _objects(found: Any, where: str) -> Iterator[dict[str, Any]]:
    """Yield an object, or those inside a List."""
    if not isinstance(found, dict):
        raise ConfigError(f"{where} is no object of Kubernetes but {found!r:.60}. {_REMEDY}")
    if found.get("kind") != "List":
        yield found
        return
    items = found.get("items") or []
    if not isinstance(items, list):
        raise ConfigError(f"{where}: the items of a List are no list but {items!r:.60}. {_REMEDY}")
    for number, item in enumerate(items, start=1):
        yield from _objects(item, f"{where}, item {number}")


def read_documents(*sources: str) -> list[dict[str, Any]]:
    """Return the objects of files, folders (a kustomization is rendered) and standard input (``-``).

    Objects inside a List are returned one by one.

    Raises
    ------
    ConfigError
        A source cannot be read or rendered, or holds something else; there is no object at all.
    """
    objects: list[dict[str, Any]] = []
    for source in sources:
        for where, text in _texts(source):
            try:
                documents = [found for found in yaml.load_all(text, _FAST_LOADER) if found is not None]
            except yaml.YAMLError as error:
                told = " ".join(str(error).split())
                raise ConfigError(f"{where} is not valid YAML: {told}. {_REMEDY}") from error
            for number, document in enumerate(documents, start=1):
                objects.extend(_objects(document, f"{where}: document {number}"))
    if not objects:
        raise ConfigError(f"There is no object in {', '.join(sources)}. {_REMEDY}")
    return objects
