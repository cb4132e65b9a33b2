"""Starts Serve on this machine and takes it down again, leaving a Ray it did not start untouched."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import ray
from ray import serve
from ray.serve.config import HTTPOptions

from pertcast_serve.builder import ServeConfig, build

LOOPBACK = "127.0.0.1"
APPLICATION = "pertcast"


def free_port(host: str = LOOPBACK) -> int:
    """Return a port that is free now."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def _start_ray() -> bool:
    """Start a local Ray unless one runs in this process; return whether it was started."""
    if ray.is_initialized():
        return False
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    ray.init(address="local", include_dashboard=False, log_to_driver=False)
    return True


@contextmanager
def running_server(config: ServeConfig, port: int = 0, host: str = LOOPBACK) -> Iterator[str]:
    """Serve a bundle while the block runs.

    Parameters
    ----------
    config
        What to serve.
    port
        Port to listen on; 0 picks a free one.
    host
        Address to listen on.

    Yields
    ------
    str
        The base URL; the server is ready when it is yielded.
    """
    application = build(config)
    started = _start_ray()
    port = port or free_port(host)
    try:
        serve.start(http_options=HTTPOptions(host=host, port=port))
        serve.run(application, name=APPLICATION, route_prefix="/")
        yield f"http://{host}:{port}"
    finally:
        serve.shutdown()
        if started:
            ray.shutdown()
