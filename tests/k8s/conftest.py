"""The overlays, rendered once as `kubectl apply -k` would send them."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from rendered import OVERLAYS, Document


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
