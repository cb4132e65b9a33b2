"""The page as a whole: finds a view by its name, puts it into the frame, shows errors as calm boxes.

Names are those of `views`: "perturbation"; "part/perturbation/enrichment" is the same without the frame.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Final

from markupsafe import Markup
from pertcast.errors import PertcastError
from pydantic import ValidationError

from pertcast_serve.access.caller import ANONYMOUS, Caller
from pertcast_serve.config import ServeConfig
from pertcast_serve.page.html import environment, render
from pertcast_serve.page.view import Html, PageContext, View
from pertcast_serve.page.views import model, perturbation, screens, search, signature
from pertcast_serve.places import in_names, names_of
from pertcast_serve.problems import RETRY_AFTER_S, Refused, Unavailable
from pertcast_serve.screens.service import ScreenService
from pertcast_serve.services import AnalysisClient, PredictorClient

log = logging.getLogger(__name__)

PART: Final = "part/"
NAVIGATION: Final = (
    ("perturbation", "Perturbation"),
    ("signature", "Signature"),
    ("screens", "Screens"),
    ("model", "Model"),
)
_OWN_ADDRESS: Final = re.compile(r'(?<==")/(?=(?:ui|v1|v2|docs|openapi\.json|metrics)\b)')
"""Addresses of this server at the start of an attribute."""

_NO_VIEW: Final = "The views are named above; the search finds genes and compounds."


def _views() -> dict[str, View]:
    found: dict[str, View] = {}
    for subject in (perturbation, search, signature, screens, model):
        found |= subject.VIEWS
    return found


class Pages:
    """The page over the services of a server.

    Parameters
    ----------
    predictor, analysis, screens
        What the views ask; screens is None where the server keeps none.
    config
        Settings of the server.
    """

    def __init__(
        self,
        predictor: PredictorClient,
        analysis: AnalysisClient,
        screens: ScreenService | None,
        config: ServeConfig,
    ) -> None:
        self._context = (predictor, analysis, screens, config)
        self._root = config.root_path
        self._names = names_of(config)
        self._views = _views()

    async def render(
        self, view: str, parameters: Mapping[str, str], caller: Caller = ANONYMOUS
    ) -> tuple[int, str]:
        """Return (HTTP status, HTML) of a view; what goes wrong is shown in it, with the remedy.

        Parameters
        ----------
        view
            Its name; after "part/" it comes without the frame.
        parameters
            Those of the address.
        caller
            Whom it is shown to, and what that one may do.
        """
        name = view.removeprefix(PART)
        context = PageContext(*self._context, caller)
        html = await self._answer(name, parameters, context)
        body = html.body if view.startswith(PART) else _framed(name, html, parameters, caller.name)
        return html.status, _OWN_ADDRESS.sub(f"{self._root}/", body) if self._root else body

    async def _answer(self, name: str, parameters: Mapping[str, str], context: PageContext) -> Html:
        if name == "login":
            return Html(render("login.html", next=parameters.get("next", "")), "Sign in")
        if name not in self._views:
            return _notice(
                404,
                "There is no such view",
                _NO_VIEW,
            )
        try:
            return await self._views[name](context, parameters)
        except Refused as refused:
            return _notice(refused.problem.status, refused.problem.title, refused.problem.detail)
        except Unavailable as error:
            return _notice(503, "Not available now", f"{error} Try again in {RETRY_AFTER_S} s.")
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(part) for part in first["loc"])
            return _notice(
                422, "The address does not fit", f"{field}: {first['msg']}. Change it and try again."
            )
        except PertcastError as error:
            log.error("a view cannot be shown", extra={"view": name}, exc_info=error)
            return _notice(422, "This cannot be answered", in_names(str(error), self._names))


def _notice(status: int, title: str, detail: str) -> Html:
    return Html(render("problem.html", title=title, detail=detail), title, status)


def framed_page(body: str, title: str, view: str, caller_name: str, root_path: str = "") -> str:
    """Return HTML that is no view, such as the reference of the interface, in the frame of the page."""
    html = _framed(view, Html(body, title), {}, caller_name)
    return _OWN_ADDRESS.sub(f"{root_path}/", html) if root_path else html


def _framed(name: str, html: Html, parameters: Mapping[str, str], caller_name: str) -> str:
    """Put a view's body into the frame that all views share."""
    frame = environment().get_template("base.html")
    return frame.render(
        title=f"{html.title} · Pertcast" if html.title else "Pertcast",
        body=Markup(html.body),
        views=NAVIGATION if name != "login" else (),
        view=name.split("/", 1)[0],
        model=parameters.get("model", ""),
        caller_name=caller_name,
        is_signing_in=name == "login",
    )
