"""The overlays, rendered once as `kubectl apply -k` would send them."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from rendered import OVERLAYS, Document


@pytest.fixture(scope="session")
def render() -> Callable[[Path], list[Document]]:
    """Return what a kustomization renders to."""
    if shutil.which("kubectl") is None:
        if os.environ.get("CI") == "true":
            pytest.fail("kubectl is not installed: nothing of k8s/ would be tested")
        pytest.skip("kubectl is not installed")

    def documents_of(folder: Path) -> list[Document]:
        command = ["kubectl", "kustomize", str(folder)]
        text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        return list(yaml.safe_load_all(text))

    return documents_of


@pytest.fixture(scope="module")
def overlays(repository: Path, render: Callable[[Path], list[Document]]) -> dict[str, list[Document]]:
    """Documents of each overlay, as `kubectl apply -k` would send them."""
    return {name: render(repository / "k8s/overlays" / name) for name in OVERLAYS}


@pytest.fixture(params=OVERLAYS)
def documents(request: pytest.FixtureRequest, overlays: dict[str, list[Document]]) -> list[Document]:
    return overlays[request.param]
