"""Requests over HTTP: the key, retries of what is overloaded, and errors with the server's words.

Every request may be sent twice without harm: predictions change nothing, and a screen that is submitted
carries an idempotency key.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import quote, urlsplit

import httpx
from pertcast.errors import ConfigError, SchemaError

from pertcast_serve.client.errors import ServerError, error_of, unreachable
from pertcast_serve.ports import is_loopback

JSON: Final = "application/json"
ARROW: Final = "application/vnd.apache.arrow.stream"
PATIENCE_S: Final = 60.0
_RETRIED: Final = frozenset({429, 503})
_FIRST_WAIT_S: Final = 0.25
_LONGEST_WAIT_S: Final = 20.0
_BROKEN: Final = (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError)
"""A connection that broke: the server was replaced, or closed it as idle while we wrote."""

Query = Mapping[str, str | int | float | bool | None]


class Transport:
    """Sends requests to one server; threads may share it.

    Parameters
    ----------
    url
        Address of the server, with the path that a proxy serves it under.
    key
        Sent as a bearer token; none where None.
    timeout
        Seconds to wait for an answer.
    patience_s
        Longest time in seconds that a request which is refused as overloaded is sent again.
    """

    def __init__(self, url: str, key: str | None, timeout: float, patience_s: float = PATIENCE_S) -> None:
        self.url = _plain_url(url)
        self.patience_s = patience_s
        self.timeout = timeout
        headers = {} if key is None else {"Authorization": f"Bearer {_plain_key(key)}"}
        # A proxy that the environment names for other sites cannot reach this machine's own servers.
        is_here = is_loopback(urlsplit(self.url).hostname or "")
        self._http = httpx.Client(headers=headers, timeout=timeout, trust_env=not is_here)

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def get(self, path: str, query: Query | None = None, accept: str = JSON) -> httpx.Response:
        """Return the answer to a GET; raises ServerError."""
        return self.request("GET", path, query=query, accept=accept)

    def post(
        self, path: str, body: Any, accept: str = JSON, headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        """Return the answer to a POST of JSON; raises ServerError, SchemaError for what is no JSON."""
        return self.request("POST", path, content=encoded(body), accept=accept, headers=headers)

    def is_ready(self, path: str) -> bool:
        """Return whether a probe answers that all is well; raises ServerUnreachable."""
        try:
            return self._http.get(self.url + path).is_success
        except httpx.TransportError as error:
            raise unreachable(self.url, error) from error

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        content: bytes | None = None,
        accept: str = JSON,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """Return an answer of status 2xx.

        Raises
        ------
        ServerError
            Any other answer, or none. 429 and 503 only once `patience_s` is used up.
        """
        sent = {"Accept": accept, **({} if content is None else {"Content-Type": JSON}), **(headers or {})}
        named = {name: value for name, value in (query or {}).items() if value is not None}
        ends = time.monotonic() + self.patience_s
        for attempt in itertools.count():
            wait = min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2.0**attempt)
            try:
                answer = self._http.request(
                    method, self.url + path, params=named or None, content=content, headers=sent
                )
            except httpx.TransportError as error:
                failure: ServerError = unreachable(self.url, error)
                if not isinstance(error, _BROKEN):
                    raise failure from error
            else:
                if answer.is_success:
                    return answer
                failure = error_of(answer)
                if answer.status_code not in _RETRIED:
                    raise failure
                wait = max(wait, _retry_after(answer.headers.get("retry-after", "")))
            if time.monotonic() + wait > ends:
                raise failure
            time.sleep(wait)
        raise AssertionError("unreachable")

    @contextmanager
    def stream(
        self, path: str, headers: Mapping[str, str], silence_s: float | None = None
    ) -> Iterator[httpx.Response]:
        """Open an answer that is read as it comes; raises ServerError, httpx.TransportError while it is read.

        Parameters
        ----------
        path, headers
            What is asked for.
        silence_s
            Longest silence in seconds before httpx.ReadTimeout.
        """
        timeout = httpx.Timeout(self.timeout, read=silence_s or self.timeout)
        with self._http.stream("GET", self.url + path, headers=dict(headers), timeout=timeout) as answer:
            if not answer.is_success:
                answer.read()
                raise error_of(answer)
            yield answer


def encoded(body: Any) -> bytes:
    """Return a body as JSON; SchemaError where a number is not finite or something is no JSON."""
    try:
        return json.dumps(body, allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode()
    except (ValueError, TypeError, UnicodeEncodeError) as error:
        raise SchemaError(
            f"The request cannot be written as JSON: {error}. Numbers must be finite (leave out what is "
            "missing), names must be text."
        ) from error


def segment(text: str) -> str:
    """Return a name as one segment of a path: no slash or dots of it lead elsewhere."""
    quoted = quote(text, safe="")
    return quoted.replace(".", "%2E") if set(quoted) <= {"."} else quoted


def _retry_after(header: str) -> float:
    """Return seconds of a Retry-After header, given as seconds or as a date; 0 where it says nothing."""
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(header) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return 0.0


def _plain_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(
            f"{url!r} is no address of a server. Give scheme, host and port: http://127.0.0.1:8000"
        )
    return url.split("?", 1)[0].split("#", 1)[0].rstrip("/")


def _plain_key(key: str) -> str:
    plain = key.strip()
    if not plain or not plain.isascii() or not plain.isprintable():
        raise ConfigError("The key is no key: give it as `pertcast key create` printed it.")
    return plain


class Asking:
    """What asks a server: the base of the client's subjects.

    Parameters
    ----------
    transport
        Sends the requests.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
