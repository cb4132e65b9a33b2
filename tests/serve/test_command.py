"""`pertcast serve` refuses what cannot work before it starts Ray, in words; settings are checked."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest
from pertcast_serve.config import ServeConfig
from pertcast_serve.ports import free_port
from pydantic import ValidationError


def refused(*words: str) -> str:
    """Run `pertcast serve` where importing Ray is an error, and return what it says as it fails."""
    program = (
        "import sys; sys.modules['ray'] = None\n"
        "from pertcast_jobs.cli import run\n"
        "sys.exit(run(['serve', *sys.argv[1:]]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *words], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 1, done.stderr
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
    return done.stderr


def test_a_port_in_use_is_refused_before_ray_is_started(tiny_bundle: Path) -> None:
    port = free_port()
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", port))
        listener.listen()
        said = refused("--model", str(tiny_bundle), "--port", str(port))
    assert f"Port {port}" in said
    assert "--port" in said


def test_a_damaged_bundle_is_refused_before_ray_is_started(tiny_bundle: Path, tmp_path: Path) -> None:
    copy = tmp_path / "bundle"
    copy.mkdir()
    for file in tiny_bundle.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    weights = copy / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    assert "weights.safetensors is damaged" in refused("--model", str(copy))


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    assert "neither a run nor a bundle" in refused("--model", str(tmp_path))


def test_a_device_that_is_not_there_is_refused(tiny_bundle: Path) -> None:
    said = refused("--model", str(tiny_bundle), "--port", str(free_port()), "--device", "tpu")
    assert "--device tpu" in said


@pytest.mark.parametrize(
    ("settings", "remedy"),
    [
        ({"replicas": 3}, "replicas"),
        ({"predictor": {"min_replicas": 3, "max_replicas": 2}}, "above max_replicas"),
        ({"predictor": {"device": "cuda"}}, "gpus_per_replica"),
        ({"predictor": {"max_batch_conditions": 8}}, "256"),
        ({"predictor": {"rows_per_pass": [8, 1]}}, "rising"),
        ({"models": {"a/b": "/data/bundle"}}, "no name"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings: dict[str, object], remedy: str) -> None:
    with pytest.raises(ValidationError, match=remedy):
        ServeConfig.model_validate({"models": {"default": "/data/bundle"}, **settings})
