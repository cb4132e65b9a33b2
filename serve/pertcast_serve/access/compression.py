"""Compresses answers where that helps and harms no one."""

from __future__ import annotations

from typing import Final

from starlette.middleware.gzip import DEFAULT_EXCLUDED_CONTENT_TYPES, GZipMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from pertcast_serve.access.paths import path_of
from pertcast_serve.negotiation import ARROW, PARQUET

SMALLEST_BYTES: Final = 1024
_LEVEL: Final = 1
"""Digits of predictions hardly compress better: 9 % larger than at level 9, in a twelfth of the time."""
_THREAD_BYTES: Final = 64 * 1024


class Compression:
    """ASGI middleware: gzip for those who accept it, but for event streams and tables that are compressed.

    Parameters
    ----------
    app
        What is compressed.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._plain = app
        self._compressed = GZipMiddleware(
            app,
            minimum_size=SMALLEST_BYTES,
            compresslevel=_LEVEL,
            thread_minimum_size=_THREAD_BYTES,
            exclude_content_types=(*DEFAULT_EXCLUDED_CONTENT_TYPES, ARROW, PARQUET),
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        # A download that is resumed by Range counts the bytes of the file, so they must be what was sent.
        is_file = scope["type"] == "http" and "/artifacts/" in path_of(scope)
        await (self._plain if is_file else self._compressed)(scope, receive, send)
