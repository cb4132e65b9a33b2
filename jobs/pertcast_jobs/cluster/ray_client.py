"""Ray's job client with bounds on silence: requests time out, and a dead connection of a log is noticed."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from typing import Any, Final

import aiohttp
from ray.job_submission import JobSubmissionClient

REQUEST_TIMEOUT_S: Final = 30.0
"""Longest silence of the dashboard during one request."""

_KEEPALIVE: Final = {"TCP_KEEPIDLE": 20, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 50_000}


def _watched_socket(address: Any) -> socket.socket:
    """Return a socket that fails after 50 s without a sign of the other side.

    WebSocket pings would not do: the dashboard reads nothing from the connections of its log viewers, so
    that no ping is answered (`ray.dashboard.subprocesses.handle.proxy_websocket`, 2.60).
    """
    family, kind, protocol, _, _ = address
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE.items():
        if hasattr(socket, name):
            made.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return made


class WatchedClient(JobSubmissionClient):
    """`JobSubmissionClient` whose requests and log connections do not wait for ever."""

    def _do_request(self, *arguments: Any, **options: Any) -> Any:
        return super()._do_request(*arguments, timeout=REQUEST_TIMEOUT_S, **options)

    async def tail_job_logs(self, job_id: str) -> AsyncIterator[str]:
        """Yield the output from its beginning on, until the dashboard closes the connection.

        Raises
        ------
        aiohttp.ClientError, OSError
            The connection cannot be made, or was cut.
        """
        connector = aiohttp.TCPConnector(socket_factory=_watched_socket)
        async with (
            aiohttp.ClientSession(
                connector=connector, cookies=self._cookies, headers=self._headers
            ) as session,
            session.ws_connect(
                f"{self._address}/api/jobs/{job_id}/logs/tail",
                max_msg_size=0,
                # The dashboard does not read a farewell either: Ctrl-C shall not wait for its answer.
                timeout=aiohttp.ClientWSTimeout(ws_close=0.5),
                **({} if self._ssl_context is None else {"ssl": self._ssl_context}),
            ) as connection,
        ):
            async for message in connection:
                if message.type is aiohttp.WSMsgType.TEXT:
                    yield message.data
                elif message.type is aiohttp.WSMsgType.ERROR:
                    break
            if connection.close_code != aiohttp.WSCloseCode.OK:
                raise aiohttp.ClientConnectionError(f"log connection cut ({connection.close_code})")
