"""Ray's job client that asks the address it is given, with bounds on silence, and tells errors in our words.

Requests time out, and a dead connection of a log is noticed. What goes wrong is sorted here and nowhere else:
ask again (`Unreachable`), a token that is refused, a job that is not known, an id that is taken.
"""

from __future__ import annotations

import re
import socket
from collections.abc import AsyncIterator
from typing import Any, Final, NoReturn

import aiohttp
import ray
import requests
from pertcast_data.errors import ConfigError
from ray.dashboard.modules.dashboard_sdk import SubmissionClient
from ray.exceptions import AuthenticationError
from ray.job_submission import JobSubmissionClient

from pertcast_jobs.cluster.job_client import AlreadyThere, JobFailed
from pertcast_jobs.cluster.retry import Unreachable

REQUEST_TIMEOUT_S: Final = 30.0
"""Longest silence of the dashboard during one request."""

_SERVER_ERROR, _TOO_MANY = 500, 429
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


def _last_line(said: str) -> str:
    """Return the last line with a word in it: a server's own traceback ends with what happened."""
    lines = [line.strip() for line in said.splitlines() if re.search(r"[a-zA-Z]", line)]
    return lines[-1] if lines else "it said nothing"


def _reason(error: Exception) -> str:
    """Return why a connection failed, without the layers of libraries around it."""
    found = re.search(r"\[Errno -?\d+\] [^'\")]+|[Rr]ead timed out|Name or service not known", str(error))
    return found[0] if found else _last_line(str(error))


class WatchedClient(JobSubmissionClient):
    """`JobSubmissionClient` that asks one address, and does not wait for ever.

    Nothing is asked before the first method is called.

    Parameters
    ----------
    address
        Address of the Jobs API, with its scheme.
    headers
        Headers of every request.
    who
        Who is asked, for errors; the Ray cluster at the address where None.

    Raises
    ------
    Unreachable
        Of all methods: nobody answers, or with an error of their own, at the moment.
    JobFailed
        Of all methods: the cluster does not take what is asked.
    ConfigError
        Of all methods: the token is refused, or another server answers.
    LookupError
        The job is not known.
    AlreadyThere
        The submission id is taken.
    """

    def __init__(self, address: str, headers: dict[str, str] | None = None, who: str | None = None) -> None:
        self._who = who
        # Not JobSubmissionClient's: RAY_API_SERVER_ADDRESS and RAY_ADDRESS would override the address, so
        # that the token went elsewhere.
        self._client_ray_version = ray.__version__
        try:
            SubmissionClient.__init__(self, address=address, headers=headers)
        except AuthenticationError as error:
            raise self._refused(address) from error

    def check(self) -> None:
        """Ask for the version only, to learn whether the cluster answers and takes the token."""
        response = self._do_request("GET", "/api/version")
        if not response.ok:
            self._raise_error(response)

    def _do_request(self, *arguments: Any, **options: Any) -> Any:
        try:
            response = super()._do_request(*arguments, timeout=REQUEST_TIMEOUT_S, **options)
            if response.ok and response.content:
                response.json()  # all that Ray's dashboard says here is JSON
        except AuthenticationError as error:
            raise self._refused(self._address) from error
        except requests.exceptions.JSONDecodeError as error:
            raise self._no_ray() from error
        except requests.exceptions.RequestException as error:
            raise self._silent(_reason(error)) from error
        return response

    def _raise_error(self, r: requests.Response) -> NoReturn:
        said = _last_line(r.text)
        if r.status_code == requests.codes.not_found:
            raise LookupError(said) if "does not exist" in said else self._no_ray()
        if "already exists" in r.text:
            raise AlreadyThere(said)
        # What is wrong with a request stays wrong; what a server has run into may pass.
        asks_again = r.status_code >= _SERVER_ERROR or r.status_code == _TOO_MANY
        kind = Unreachable if asks_again else JobFailed
        raise kind(f"{self._who or f'The cluster at {self._address}'} answers {r.status_code}: {said}")

    def _silent(self, reason: str) -> Unreachable:
        if self._who is not None:
            return Unreachable(f"{self._who} does not answer: {reason}.")
        return Unreachable(
            f"No Ray cluster answers at {self._address}: {reason}. Start one with `ray start --head`, or "
            "give --address."
        )

    def _refused(self, address: str) -> ConfigError:
        return ConfigError(
            f"{self._who or f'The cluster at {address}'} does not accept the token. Set RAY_AUTH_MODE=token "
            "and its RAY_AUTH_TOKEN (on Kubernetes: key auth_token of the secret named after the cluster)."
        )

    def _no_ray(self) -> ConfigError:
        return ConfigError(
            f"What answers at {self._address} is no Jobs API of Ray 2: give http://HOST:8265, where the "
            "dashboard of the cluster's head listens."
        )

    async def tail_job_logs(self, job_id: str) -> AsyncIterator[str]:
        """Yield the output from its beginning on, until the dashboard closes the connection.

        Raises
        ------
        aiohttp.ClientError, OSError
            The connection cannot be made, or was cut.
        ConfigError
            The token is refused.
        """
        try:
            async for text in self._tail(job_id):
                yield text
        except aiohttp.WSServerHandshakeError as error:
            if error.status in (requests.codes.unauthorized, requests.codes.forbidden):
                raise self._refused(self._address) from error
            raise

    async def _tail(self, job_id: str) -> AsyncIterator[str]:
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
