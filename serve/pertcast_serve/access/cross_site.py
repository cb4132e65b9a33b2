"""Refuses what another site makes a browser send here: with our cookie, or from a name that points at us."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers

_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_OURS: Final = frozenset({"same-origin", "none"})
_LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})


def is_from_another_site(method: str, headers: Headers) -> bool:
    """Return whether a browser sends a change on behalf of a page that is not ours.

    Browsers say so in Sec-Fetch-Site, which pages cannot set; older ones, and all of them over plain http,
    only name the page's origin. What is no browser sends neither and is no one's victim.
    """
    if method in _SAFE:
        return False
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site not in _OURS
    origin = headers.get("origin")
    return origin is not None and _host(origin) != headers.get("host", "").lower()


def _host(origin: str) -> str:
    """Return host and port of an origin; a proxy may speak https where we hear http, so not the scheme."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def names_loopback(headers: Headers) -> bool:
    """Return whether the Host header is a name of this machine's loopback interface.

    A page can make its own name point at 127.0.0.1 and read what answers (DNS rebinding); the Host header
    then still has that name.
    """
    try:
        return urlsplit(f"//{headers.get('host', '')}").hostname in _LOOPBACK
    except ValueError:
        return False
