"""Static files of the page, read once: style sheet, scripts, and Plotly out of its Python package.

The address of a file carries a hash of its content, so that browsers keep it for good.
"""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final

from pertcast.report.page import LABEL_SCRIPT
from pertcast.report.theme import STYLE_SHEET
from plotly.offline import get_plotlyjs

STATIC: Final = files("pertcast_serve.page") / "static"
PLOTLY: Final = "plotly.min.js"
MEDIA_TYPES: Final = {
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
    "txt": "text/plain; charset=utf-8",
}


@dataclass(frozen=True)
class Asset:
    """One static file.

    Attributes
    ----------
    content, compressed
        Its bytes, and the same with gzip.
    media_type
        Content-Type.
    version
        First letters of the content's sha256.
    """

    content: bytes
    compressed: bytes
    media_type: str
    version: str


@cache
def asset_names() -> frozenset[str]:
    """Return the names of all static files."""
    return frozenset({PLOTLY, *(file.name for file in STATIC.iterdir() if file.is_file())})


@cache
def _content(name: str) -> bytes:
    if name == PLOTLY:
        plotly: str = get_plotlyjs()
        return plotly.encode()
    # Reports and the page have one look: the page's own rules come after those of the reports.
    shared = {"style.css": STYLE_SHEET, "page.js": LABEL_SCRIPT}.get(name, "")
    return shared.encode() + (STATIC / name).read_bytes()


@cache
def _version(name: str) -> str:
    return hashlib.sha256(_content(name)).hexdigest()[:16]


@cache
def asset(name: str) -> Asset:
    """Return a file of `asset_names`; KeyError for another."""
    if name not in asset_names():
        raise KeyError(name)
    content = _content(name)
    return Asset(
        content, gzip.compress(content, 6, mtime=0), MEDIA_TYPES[name.rsplit(".", 1)[1]], _version(name)
    )


def asset_address(name: str) -> str:
    """Return the address of a static file of its content of now."""
    if name not in asset_names():
        raise KeyError(name)
    return f"/ui/static/{name}?v={_version(name)}"
