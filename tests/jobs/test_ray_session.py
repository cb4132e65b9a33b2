"""Ray is started quietly and privately; a running one is used and left running."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import ray
from pertcast_data.errors import ConfigError
from pertcast_jobs.ray_session import ray_session

pytestmark = pytest.mark.ray


def test_a_running_ray_is_used_and_left_running(ray_cluster: Any) -> None:
    with ray_session(num_cpus=1) as session:
        assert not session.is_own
        assert session.address == ray_cluster.address
        assert session.num_cpus == ray_cluster.num_cpus
    assert ray.is_initialized()


def test_a_long_folder_is_refused_before_ray_starts(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    started: list[object] = []
    monkeypatch.setattr(ray, "init", lambda **given: started.append(given))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    long = tmp_path / ("long" * 20)
    with pytest.raises(ConfigError, match="shorter one"), ray_session(temp_dir=long):
        pass
    assert not started
    assert not long.exists()


@pytest.mark.parametrize("after_s", [0.05, 0.6, 6.0])
def test_a_program_that_is_asked_to_end_while_ray_starts_or_runs_ends_as_it_says(after_s: float) -> None:
    program = (
        "import os, signal, sys, threading, ray\n"
        "from pertcast_jobs.ray_session import ray_session\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(77))\n"
        f"threading.Timer({after_s}, os.kill, (os.getpid(), signal.SIGTERM)).start()\n"
        "with ray_session(num_cpus=1, dashboard=False):\n"
        "    signal.pause()\n"
    )
    assert subprocess.run([sys.executable, "-c", program], timeout=60, check=False).returncode == 77


@pytest.mark.acceptance
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_program_that_is_asked_to_end_while_rays_core_is_made_ends_as_it_says(number: int) -> None:
    program = (
        "import os, signal, sys, threading, ray\n"
        "from pertcast_jobs.ray_session import ray_session\n"
        "connect = ray._private.worker.connect\n"
        "def asked(*given, **named):\n"
        f"    threading.Timer(0.05, os.kill, (os.getpid(), {number})).start()\n"
        "    return connect(*given, **named)\n"
        "ray._private.worker.connect = asked\n"
        f"signal.signal({number}, lambda *_: sys.exit(77))\n"
        "with ray_session(num_cpus=1, dashboard=False):\n"
        "    signal.pause()\n"
    )
    assert subprocess.run([sys.executable, "-c", program], timeout=60, check=False).returncode == 77
