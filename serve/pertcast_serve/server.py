"""Starts Serve on this machine and takes it down again, leaving a Ray it did not start untouched.

Ray reads its environment when it is imported: `prepare_environment` comes before this module.
"""

from __future__ import annotations

import io
import logging
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout

import ray
from pertcast.errors import ConfigError, PertcastError
from pertcast_data.environment import answers_kept
from ray import serve
from ray.serve.config import HTTPOptions
from ray.serve.exceptions import RayServeException

from pertcast_serve.builder import build
from pertcast_serve.config import ServeConfig
from pertcast_serve.ports import LOOPBACK, free_port, reached_at, require_free_port

APPLICATION = "pertcast"
OBJECT_STORE_BYTES = 1 << 30
"""Ray's default is 30 % of the machine; only answers pass through the object store."""

READY_TIMEOUT_S = 120.0


class ServerFailed(PertcastError):
    """The server did not come up."""


@contextmanager
def _unheard() -> Iterator[None]:
    """Swallow what Ray prints while it ends: that the controller, which is being ended, has died."""
    with redirect_stdout(io.StringIO()):
        yield


@contextmanager
def local_ray() -> Iterator[None]:
    """Use the Ray that this process is connected to, or run one for the length of the block."""
    if ray.is_initialized():
        yield
        return
    with tempfile.TemporaryDirectory(prefix="pertcast-serve-", ignore_cleanup_errors=True) as folder:
        with answers_kept(ray._private):
            ray.init(
                address="local",
                include_dashboard=False,
                log_to_driver=False,
                logging_level="WARNING",
                object_store_memory=OBJECT_STORE_BYTES,
                _temp_dir=folder,
            )
        try:
            yield
        finally:
            with _unheard():
                ray.shutdown()


@contextmanager
def serving(config: ServeConfig, port: int = 0, host: str = LOOPBACK) -> Iterator[str]:
    """Serve on the running Ray while the block runs.

    Parameters
    ----------
    config
        What to serve.
    port, host
        Where to listen; port 0 picks a free one.

    Yields
    ------
    str
        The base URL as this machine reaches it; the server is ready when it is yielded.

    Raises
    ------
    ConfigError
        There is no bundle, the port is in use, or this Ray serves something already.
    ServerFailed
        The replicas did not come up.
    """
    application = build(config)
    port = port or free_port()
    require_free_port(port, host)
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    if serve.status().proxies:
        raise ConfigError("Ray Serve runs here already: add the application to its configuration instead.")
    url = f"http://{reached_at(host)}:{port}"
    try:
        serve.start(http_options=HTTPOptions(host=host, port=port))
        try:
            serve.run(application, name=APPLICATION, route_prefix="/")
        except (RuntimeError, RayServeException) as error:
            raise ServerFailed(f"The server did not come up: {error}") from error
        _require_ready(url)
        yield url
    finally:
        with _unheard():
            serve.shutdown()


def _require_ready(url: str) -> None:
    """Wait until the default model answers; raises ServerFailed with the server's own words."""
    # Straight to it, whatever proxy the environment names for other sites.
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(f"{url}/v1/health/ready", timeout=READY_TIMEOUT_S):
            return
    except urllib.error.HTTPError as error:
        reason = error.read().decode(errors="replace")
    except OSError as error:
        reason = str(error)
    raise ServerFailed(f"The server is not ready: {reason}")
