"""One way to start Ray: quiet, authenticated, without usage statistics, ended by who started it.

Ray reads its switches when it is imported, so they are set before; a Ray that is already there
(a job on a cluster, the tests' own) is used and left running.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil  # type: ignore[import-untyped]
from pertcast_data.environment import answers_kept, prepare_environment
from pertcast_data.errors import ConfigError

OBJECT_STORE_BYTES = 1 << 30
"""Ray's default is 30 % of the machine; what Pertcast passes through the object store is small."""

_LONGEST_TEMP_DIR = 45
"""Unix sockets below the folder have at most 107 characters; Ray adds about 60."""


@dataclass(frozen=True)
class RaySession:
    """The Ray in use.

    Attributes
    ----------
    address
        host:port of the head.
    is_own
        Whether this process started it (and ends it).
    num_cpus
        CPUs of the whole cluster.
    dashboard_url
        Where jobs are submitted to, or None without a dashboard.
    """

    address: str
    is_own: bool
    num_cpus: float
    dashboard_url: str | None


def _object_store_bytes() -> int:
    return min(OBJECT_STORE_BYTES, int(psutil.virtual_memory().available * 0.3))


@contextmanager
def _temp_dir(path: Path | None) -> Iterator[Path]:
    """Yield the folder for Ray's sockets and logs; a folder made here is removed at the end."""
    if path is None:
        made = Path(tempfile.mkdtemp(prefix="pertcast-ray-"))
        try:
            yield made
        finally:
            shutil.rmtree(made, ignore_errors=True)
        return
    if len(str(path.absolute())) > _LONGEST_TEMP_DIR:
        raise ConfigError(
            f"Ray's temporary folder {path.absolute()} has more than {_LONGEST_TEMP_DIR} characters, too "
            "many for the sockets below it. Give a shorter one, for example /tmp/ray-mine."
        )
    path.mkdir(parents=True, exist_ok=True)
    yield path.absolute()


def _describe(is_own: bool, dashboard: str | None) -> RaySession:
    import ray

    return RaySession(
        address=ray.get_runtime_context().gcs_address,
        is_own=is_own,
        num_cpus=float(ray.cluster_resources().get("CPU", 0.0)),
        dashboard_url=f"http://{dashboard}" if dashboard else None,
    )


@contextmanager
def ray_session(
    num_cpus: float | None = None,
    temp_dir: Path | None = None,
    *,
    dashboard: bool = True,
    object_store_bytes: int | None = None,
    log_to_driver: bool = False,
) -> Iterator[RaySession]:
    """Use the Ray that is there, or start one for the length of the block.

    Parameters
    ----------
    num_cpus
        CPUs that a Ray started here offers; all of the machine where None. May exceed the cores.
    temp_dir
        Folder for sockets and logs of a Ray started here (at most 45 characters long); a new one, removed at
        the end, where None.
    dashboard
        Whether a Ray started here has a dashboard. Tune with early stopping and submitted jobs need it;
        without it, Ray starts faster and takes less memory.
    object_store_bytes
        Shared memory of a Ray started here; 1 GiB or 30 % of the free memory where None.
    log_to_driver
        Whether what workers print appears here.

    Yields
    ------
    RaySession
        A running Ray. It is ended with the block only if the block started it.

    Raises
    ------
    ConfigError
        `temp_dir` is too long.
    """
    prepare_environment()
    import ray

    if ray.is_initialized():
        yield _describe(is_own=False, dashboard=None)
        return
    if "RAY_ADDRESS" in os.environ:
        with answers_kept(ray._private):
            context = ray.init(log_to_driver=log_to_driver)
        try:
            yield _describe(is_own=False, dashboard=context.dashboard_url)
        finally:
            ray.shutdown()
        return
    with _temp_dir(temp_dir) as folder:
        with answers_kept(ray._private):
            context = ray.init(
                address="local",
                num_cpus=num_cpus,
                include_dashboard=dashboard,
                object_store_memory=object_store_bytes or _object_store_bytes(),
                log_to_driver=log_to_driver,
                logging_level="WARNING",
                _temp_dir=str(folder),
            )
        try:
            yield _describe(is_own=True, dashboard=context.dashboard_url)
        finally:
            ray.shutdown()
