"""Which paths need no key, which are the page's, and which may be redirected to."""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

from starlette.types import Scope

SESSION: Final = "/v1/session"
METRICS: Final = "/metrics"
LOGIN: Final = "/ui/login"
PAGE: Final = "/ui"
DOCS: Final = "/docs"

_OPEN: Final = frozenset({"/v1/version", "/openapi.json", LOGIN, SESSION})
_OPEN_BELOW: Final = ("/v1/health/", "/v2/health/", "/ui/static/")
_HEALTH: Final = ("/v1/health/", "/v2/health/")


def path_of(scope: Scope) -> str:
    """Return the path that routes are matched with: without the path that a proxy serves the server under."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    return path.removeprefix(root) if path == root or path.startswith(f"{root}/") else path


def needs_key(path: str) -> bool:
    """Return whether a path is only for callers with a key; /metrics decides itself."""
    return path not in _OPEN and path != METRICS and not path.startswith(_OPEN_BELOW)


def is_probe(path: str) -> bool:
    """Return whether a path is a probe's, which calls the server by any name that it finds."""
    return path.startswith(_HEALTH)


def is_page(path: str) -> bool:
    """Return whether a path is one of the page; the root leads to it, and the reference is read there too."""
    return path in ("/", PAGE, DOCS) or path.startswith(f"{PAGE}/")


def local_path(wanted: str, otherwise: str = PAGE) -> str:
    """Return `wanted` where it is a path of this server, else `otherwise`: no one is sent elsewhere by us.

    Browsers read two slashes, either way round, as another server, and leave out tabs and line ends.
    """
    is_local = wanted.startswith("/") and wanted[1:2] not in ("/", "\\")
    return wanted if is_local and wanted.isascii() and wanted.isprintable() else otherwise


def login_path(scope: Scope, root: str) -> str:
    """Return where to log in, to come back to what was asked for."""
    query = scope.get("query_string", b"").decode("latin-1")
    asked = f"{root}{quote(path_of(scope))}" + (f"?{query}" if query else "")
    return f"{root}{LOGIN}?next={quote(local_path(asked, root + PAGE), safe='/')}"
