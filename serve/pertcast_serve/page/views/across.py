"""One perturbation across cell lines and across doses: how large its predicted effect is in each."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

import numpy as np
import polars as pl
from markupsafe import Markup
from numpy.typing import NDArray
from pertcast.effect_size import effect_sizes
from pertcast.naming import response_unit
from pertcast.report.across_figures import dose_effects, line_effects
from pertcast.report.tables import fixed

from pertcast_serve.page.figures import figure
from pertcast_serve.page.html import anchor, render, table
from pertcast_serve.page.view import Html, PageContext
from pertcast_serve.page.views.asked import Asked, asked_for
from pertcast_serve.problems import or_refused
from pertcast_serve.schemas.predict import PredictRequest
from pertcast_serve.services import PredictedProfiles

MOST_BARS: Final = 24
_BAR_HEIGHT: Final = 22
_AXIS_HEIGHT: Final = 62
_LEAST_HEIGHT: Final = 260


async def lines(context: PageContext, parameters: Mapping[str, str]) -> Html:
    """Show the effect in every cell line that the model knows: one request."""
    asked, unit, known, _ = await _asked(context, parameters)
    each = [replace(asked, cell=cell) for cell in known[: context.config.limits.conditions]]
    found = await _predicted(context, asked, each)
    if not found.head.items:
        return Html(render("across_none.html", message=found.head.errors[0].message))
    return Html(await asyncio.to_thread(_lines, asked, unit, each, found))


async def doses(context: PageContext, parameters: Mapping[str, str]) -> Html:
    """Show the effect at every dose of the training: one request."""
    asked, unit, _, known = await _asked(context, parameters)
    each = [replace(asked, dose=dose) for dose in known[: context.config.limits.conditions]]
    if not each:
        return Html(render("across_none.html", message="The model's training has no doses."))
    found = await _predicted(context, asked, each)
    if not found.head.items:
        return Html(render("across_none.html", message=found.head.errors[0].message))
    return Html(await asyncio.to_thread(_doses, asked, unit, each, found))


async def _asked(
    context: PageContext, parameters: Mapping[str, str]
) -> tuple[Asked, str, list[str], list[float]]:
    """Return the condition, the unit of a response, the known cell lines and doses."""
    model = parameters.get("model") or None
    vocabulary = or_refused(await context.predictor.vocabulary(model))
    card = or_refused(await context.predictor.card(model))
    unit = response_unit(card.normalisation)
    return asked_for(parameters, vocabulary), unit, vocabulary.cell_lines, vocabulary.doses


async def _predicted(context: PageContext, asked: Asked, each: Sequence[Asked]) -> PredictedProfiles:
    request = PredictRequest(model=asked.model, conditions=[one.condition for one in each])
    return or_refused(await context.predictor.profiles(request))


def _lines(asked: Asked, unit: str, each: Sequence[Asked], found: PredictedProfiles) -> Markup:
    """Return the figure of the largest effects, the chosen line among them, and the table of all."""
    predicted = [each[item.index] for item in found.head.items]
    effects = effect_sizes(found.mean)
    cosines = _cosines(found.mean, [one.cell for one in predicted], asked.cell)
    order = np.argsort(-effects, kind="stable").tolist()
    shown = order[:MOST_BARS]
    own = [index for index in order[MOST_BARS:] if predicted[index].cell == asked.cell]
    shown = [*shown[:-1], *own] if own else shown
    drawn = line_effects(
        effects[shown],
        [predicted[index].cell for index in shown],
        unit,
        chosen=asked.cell,
        cosines=None if cosines is None else cosines[shown],
        addresses=[predicted[index].link() for index in shown],
    )
    height = max(_LEAST_HEIGHT, _AXIS_HEIGHT + _BAR_HEIGHT * len(shown))
    return render(
        "lines.html",
        asked=asked,
        figure=figure(drawn, f"Effect of {asked.name} by cell line", height),
        table=_line_table(asked, unit, found, predicted, effects, cosines),
        n_shown=len(shown),
        n_lines=len(predicted),
        n_refused=len(found.head.errors),
    )


def _line_table(
    asked: Asked,
    unit: str,
    found: PredictedProfiles,
    predicted: Sequence[Asked],
    effects: NDArray[np.float64],
    cosines: NDArray[np.float64] | None,
) -> Markup:
    """Return all lines, the largest effect first."""
    frame = pl.DataFrame(
        {
            "line": [str(anchor(one.cell, one.link())) for one in predicted],
            "effect": effects,
            "cosine": pl.Series(cosines if cosines is not None else [None] * len(effects), dtype=pl.Float64),
            "in_domain": [item.is_in_domain for item in found.head.items],
        }
    ).sort("effect", descending=True)
    headers = {
        "effect": f"effect ({unit})",
        "cosine": f"cosine with {asked.cell}",
        "in_domain": "usual distance from training",
    }
    return table(frame, headers=headers, formats={"cosine": fixed(2)}, raw_columns=["line"])


def _cosines(mean: NDArray[np.float32], cells: Sequence[str], chosen: str) -> NDArray[np.float64] | None:
    """Return the cosine of each profile with that of the chosen line; None where that was not predicted."""
    if chosen not in cells:
        return None
    values = mean.astype(np.float64)
    lengths = np.linalg.norm(values, axis=1)
    lengths[lengths == 0] = np.nan
    unit = values / lengths[:, None]
    found: NDArray[np.float64] = unit @ unit[cells.index(chosen)]
    return found


def _doses(asked: Asked, unit: str, each: Sequence[Asked], found: PredictedProfiles) -> Markup:
    predicted = [each[item.index] for item in found.head.items]
    amounts = np.array([one.dose for one in predicted], dtype=np.float64)
    effects = effect_sizes(found.mean)
    addresses = [one.link() for one in predicted]
    drawn = dose_effects(amounts, effects, unit, chosen=asked.dose, addresses=addresses)
    listed = pl.DataFrame(
        {
            "dose": [str(anchor(f"{one.dose:.4g} uM", one.link())) for one in predicted],
            "effect": effects,
        }
    )
    return render(
        "doses.html",
        asked=asked,
        figure=figure(drawn, f"Effect of {asked.pert} by dose", _LEAST_HEIGHT),
        table=table(listed, headers={"effect": f"effect ({unit})"}, raw_columns=["dose"]),
        n_doses=len(predicted),
    )
