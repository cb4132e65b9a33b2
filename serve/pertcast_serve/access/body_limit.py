"""Refuses bodies above a size before they are read into memory."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pertcast_serve.problems import problem_response
from pertcast_serve.schemas.base import Problem


class BodyLimit:
    """ASGI middleware: 413 for a body above `max_bytes`, announced or not.

    Parameters
    ----------
    app
        What is protected.
    max_bytes
        Largest body.
    """

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._detail = (
            f"The body has more than {max_bytes} bytes. Send fewer conditions a request; "
            "/v1/metadata lists the limits"
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer 413."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = dict(scope["headers"]).get(b"content-length", b"0")
        if announced.isdigit() and int(announced) > self._max_bytes:
            problem = Problem(title="Request refused", status=413, detail=f"{self._detail}.")
            await problem_response(problem)(scope, receive, send)
            return
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._max_bytes:
                raise HTTPException(413, self._detail)
            return message

        await self._app(scope, counted, send)
