"""The stored profile of one condition of a finished screen."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

import numpy as np
from markupsafe import Markup
from pertcast.naming import condition_name
from pertcast.report.profile_figures import response_plot, response_waterfall

from pertcast_serve.page.figures import figure
from pertcast_serve.page.html import link, render
from pertcast_serve.page.view import Html, PageContext
from pertcast_serve.page.views.screen_finished import finished_results
from pertcast_serve.page.views.screen_hits import condition_of, trust
from pertcast_serve.page.views.screen_source import folder_of, screen_of, screens_of
from pertcast_serve.problems import or_refused
from pertcast_serve.schemas.screens import StoredResponse
from pertcast_serve.screens.service import HitFilter

MOST_DRAWN: Final = 3_000
"""Genes of one figure; more would take a browser seconds."""
_ROWS: Final = 25


async def profile_view(context: PageContext, parameters: Mapping[str, str]) -> Html:
    """Show the stored profile of one condition of a finished screen."""
    screen = await screen_of(context, parameters)
    sig_id = parameters.get("sig", "")
    found = or_refused(await screens_of(context).profile(screen.id, context.caller, sig_id))
    folder = await folder_of(context, screen)
    results = await asyncio.to_thread(finished_results, folder)
    filters = HitFilter(text=found.sig_id)
    page = or_refused(await screens_of(context).hits(screen.id, context.caller, 0, _ROWS, filters=filters))
    hit = next((row for row in page.rows if row.sig_id == found.sig_id), None)
    name = found.sig_id if hit is None else condition_name(hit.model_dump())
    drawn, said = await asyncio.to_thread(_response, found, results.unit)
    body = render(
        "screen_profile.html",
        screen=screen,
        name=name,
        found=found,
        hit=hit,
        trust=trust(hit.flag) if hit else "",
        unit=results.unit,
        n_all=results.n_conditions,
        perturbation=link("perturbation", **condition_of(screen, hit)) if hit else "",
        back=link("screens/one", id=screen.id),
        drawn=drawn,
        said=said,
    )
    return Html(body, name)


def _response(found: StoredResponse, unit: str) -> tuple[Markup, str]:
    """Return the figure of a stored response, and what it shows."""
    mean = np.asarray(found.mean, dtype=np.float32)
    kept = np.sort(np.argsort(-np.abs(mean), kind="stable")[:MOST_DRAWN])
    names = [found.genes[index] for index in kept.tolist()]
    said = f"{len(kept):,} of {len(mean):,} genes"
    if found.sd is None:
        drawn = response_waterfall(mean[kept], names, unit)
        said += "; ranked, for this model predicts no spread"
    else:
        sd = np.asarray(found.sd, dtype=np.float32)
        drawn = response_plot(mean[kept], sd[kept], names, unit)
        said += "; coloured beyond 2 predicted sd of single profiles"
    return figure(drawn, f"Stored response of every gene: {found.sig_id}", 440), said
