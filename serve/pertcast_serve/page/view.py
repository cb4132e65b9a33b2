"""What a view of the page is: a function from a context and the address's parameters to HTML."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from pertcast_serve.access.caller import ANONYMOUS, Caller
from pertcast_serve.config import ServeConfig
from pertcast_serve.screens.service import ScreenService
from pertcast_serve.services import AnalysisClient, PredictorClient


@dataclass(frozen=True)
class PageContext:
    """What views may ask.

    Attributes
    ----------
    predictor, analysis, screens
        The services behind the endpoints; screens is None where the server keeps none.
    config
        Settings of the server.
    caller
        Whom the page is shown to, and what that one may do.
    """

    predictor: PredictorClient
    analysis: AnalysisClient
    screens: ScreenService | None
    config: ServeConfig
    caller: Caller = ANONYMOUS


@dataclass(frozen=True)
class Html:
    """HTML of a view, or of a part of one.

    Attributes
    ----------
    body
        The HTML.
    title
        What stands in the browser's title; empty for parts.
    status
        HTTP status.
    """

    body: str
    title: str = ""
    status: int = 200


View = Callable[[PageContext, Mapping[str, str]], Awaitable[Html]]
"""A view or a part of one; the parameters are those of the address, so that it is a permalink."""
