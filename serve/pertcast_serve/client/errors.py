"""What a client raises: the server's problems with their remedies, and servers that cannot be reached."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import httpx
from pertcast.errors import PertcastError

_SHOWN = 10


class ServerError(PertcastError):
    """An answer that is no result.

    Parameters
    ----------
    title, detail
        The problem in the server's words, with the remedy.
    status
        HTTP status; 0 where there was no answer.
    errors
        What is wrong with single fields.
    request_id
        Names the request in the server's log.
    """

    def __init__(
        self,
        title: str,
        detail: str,
        status: int = 0,
        errors: Sequence[dict[str, Any]] = (),
        request_id: str = "",
    ) -> None:
        self.title = title
        self.detail = detail
        self.status = status
        self.errors = list(errors)
        self.request_id = request_id
        super().__init__(self._text())

    def _text(self) -> str:
        named = f"{self.title} ({self.status})" if self.status else self.title
        lines = [f"{named}: {self.detail}"]
        lines += [f"  {_line(error)}" for error in self.errors[:_SHOWN]]
        if len(self.errors) > _SHOWN:
            lines.append(f"  and {len(self.errors) - _SHOWN} more; `errors` of this exception has all")
        if self.status >= 500 and self.request_id:
            lines.append(f"  request id {self.request_id}")
        return "\n".join(lines)


class NoValidKey(ServerError):
    """401: no key was sent, or it is unknown, expired or revoked."""


class NotPermitted(ServerError):
    """403: the key lacks the scope."""


class NotFound(ServerError):
    """404: there is no such model, screen, profile or file."""


class Conflict(ServerError):
    """409: the screen's state, or an earlier request with this idempotency key, does not allow it."""


class RequestRefused(ServerError):
    """Any other 4xx: the request cannot be answered as it is."""


class Overloaded(ServerError):
    """429 or 503 for as long as the client had patience."""


class ServerFailed(ServerError):
    """Any other 5xx."""


class ServerUnreachable(ServerError):
    """No answer: nothing listens there, the connection broke, or it took too long."""


class DownloadDamaged(PertcastError):
    """A downloaded file is not what the server has."""


class ScreenFailed(PertcastError):
    """A screen that was waited for failed or was cancelled."""


class StillRunning(PertcastError):
    """A screen did not end in the time that one wanted to wait."""


_BY_STATUS: dict[int, type[ServerError]] = {
    401: NoValidKey,
    403: NotPermitted,
    404: NotFound,
    409: Conflict,
    429: Overloaded,
    503: Overloaded,
}


def _line(error: dict[str, Any]) -> str:
    field, message = error.get("field"), error.get("message")
    return f"{field}: {message}" if field and message else json.dumps(error)


def error_of(answer: httpx.Response) -> ServerError:
    """Return the error of an answer that is no result; its body must have been read."""
    status = answer.status_code
    otherwise = RequestRefused if status < 500 else ServerFailed
    kind = _BY_STATUS.get(status, otherwise)
    request_id = answer.headers.get("x-request-id", "")
    try:
        problem = answer.json()
    except ValueError:
        problem = None
    if not isinstance(problem, dict) or "detail" not in problem:
        detail = (
            f"{answer.request.url} answered {answer.text[:200]!r}. Is this a Pertcast server, or does a "
            "proxy before it answer?"
        )
        return kind(answer.reason_phrase or "No result", detail, status, (), request_id)
    errors = [each for each in problem.get("errors") or () if isinstance(each, dict)]
    return kind(str(problem.get("title", "")), str(problem["detail"]), status, errors, request_id)


def unreachable(url: str, error: httpx.TransportError) -> ServerUnreachable:
    """Return the error of a request that got no answer, with what to check."""
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return ServerUnreachable(
            "No connection",
            f"Nothing answers at {url} ({error or 'no connection in time'}). Check that the server runs "
            "(pertcast serve --model RUN prints `ready:` with its address), that host and port are these, "
            f"and that no firewall or proxy stands between: curl {url}/v1/version",
        )
    if isinstance(error, httpx.TimeoutException):
        return ServerUnreachable(
            "No answer in time",
            f"{url} did not answer in time. Ask for less at once, give Client a longer timeout, or run it as "
            "a screen (submit).",
        )
    return ServerUnreachable(
        "The connection broke",
        f"{url} closed the connection ({error or type(error).__name__}). The server may be restarting: try "
        "again.",
    )
