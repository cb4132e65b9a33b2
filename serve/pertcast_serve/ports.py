"""Ports of the loopback interface: free ones, and a clear refusal of those in use."""

from __future__ import annotations

import socket

from pertcast.errors import ConfigError

LOOPBACK = "127.0.0.1"


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
