"""Starts Serve on this machine and takes it down again, leaving a Ray it did not start untouched."""

from __future__ import annotations

import logging
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

import ray
from pertcast.errors import ConfigError, PertcastError
from pertcast_data.environment import prepare_environment
from ray import serve
from ray.serve.config import HTTPOptions
from ray.serve.exceptions import RayServeException

from pertcast_serve.builder import ServeConfig, build

LOOPBACK = "127.0.0.1"
APPLICATION = "pertcast"
OBJECT_STORE_BYTES = 1 << 30
"""Ray's default is 30 % of the machine; only answers pass through the object store."""


class ServerFailed(PertcastError):
    """The server did not come up."""


def free_port() -> int:
    """Return a port of the loopback interface that is free now."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def require_free_port(port: int) -> None:
    """Raise ConfigError where the loopback interface's `port` cannot be listened on."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            raise ConfigError(
                f"Port {port} of {LOOPBACK} cannot be used: {error.strerror}. "
                "Choose another with --port, or 0 for a free one."
            ) from error


@contextmanager
def local_ray() -> Iterator[None]:
    """Use the Ray that this process is connected to, or run one for the length of the block."""
    if ray.is_initialized():
        yield
        return
    prepare_environment()
    with tempfile.TemporaryDirectory(prefix="pertcast-serve-", ignore_cleanup_errors=True) as folder:
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
            ray.shutdown()


@contextmanager
def serving(config: ServeConfig, port: int = 0) -> Iterator[str]:
    """Serve a bundle on the running Ray while the block runs.

    Parameters
    ----------
    config
        What to serve.
    port
        Port of the loopback interface to listen on; 0 picks a free one.

    Yields
    ------
    str
        The base URL; the server is ready when it is yielded.

    Raises
    ------
    ConfigError
        There is no bundle, or the port is in use.
    ServerFailed
        The replicas did not come up.
    """
    application = build(config)
    if port:
        require_free_port(port)
    port = port or free_port()
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    try:
        serve.start(http_options=HTTPOptions(host=LOOPBACK, port=port))
        try:
            serve.run(application, name=APPLICATION, route_prefix="/")
        except (RuntimeError, RayServeException) as error:
            raise ServerFailed(f"The server did not come up: {error}") from error
        yield f"http://{LOOPBACK}:{port}"
    finally:
        serve.shutdown()
