"""Where the views of screens get what they show, and what they say where there is none."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from pertcast.screens.files import MANIFEST

from pertcast_serve.access.caller import Scope
from pertcast_serve.page.view import PageContext
from pertcast_serve.problems import Refused, not_permitted, or_refused
from pertcast_serve.schemas.base import Problem
from pertcast_serve.schemas.screens import Screen
from pertcast_serve.screens.service import ScreenService

STOP_POLLING: Final = 286
"""The status that ends htmx's asking."""
_LARGEST: Final = 1_000_000


def screens_of(context: PageContext, scope: Scope = "predict") -> ScreenService:
    """Return the screens of the server.

    Parameters
    ----------
    context
        What the view may ask.
    scope
        What the caller's key must allow: "predict" to look, "screen" to start.

    Raises
    ------
    Refused
        The server keeps none, or the caller's key has not the scope.
    """
    if context.screens is None or not context.screens.is_on:
        raise Refused(NO_SCREENS)
    if scope not in context.caller.scopes:
        raise Refused(not_permitted(scope))
    return context.screens


NO_SCREENS: Final = Problem(
    title="This server keeps no screens",
    status=404,
    detail="Name a folder in the server's settings (screens: folder), or use pertcast screen.",
)


async def screen_of(context: PageContext, parameters: Mapping[str, str]) -> Screen:
    """Return the screen that the address names; raises Refused."""
    return or_refused(await screens_of(context).get(parameters.get("id", ""), context.caller))


async def folder_of(context: PageContext, screen: Screen) -> Path:
    """Return the folder of a finished screen; raises Refused."""
    manifest = await screens_of(context).artifact_path(screen.id, context.caller, MANIFEST)
    return or_refused(manifest).parent


def number_of(parameters: Mapping[str, str], name: str, least: int) -> int:
    """Return a whole number of the address; `least` where it is none, or smaller."""
    text = parameters.get(name, "")
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        return least
    return min(max(int(text), least), _LARGEST)
