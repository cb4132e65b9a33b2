"""Ray is started quietly and privately; a running one is used and left running."""

from __future__ import annotations

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
