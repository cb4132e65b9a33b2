"""The first view: what a perturbation does to every gene, how far that is from training, and what is like it.

The prediction comes with the page, in words; figures, gene sets, neighbours, lines and doses come after it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Final

from markupsafe import Markup
from pertcast.naming import response_unit

from pertcast_serve.page.html import render
from pertcast_serve.page.view import Html, PageContext, View
from pertcast_serve.page.views.across import doses, lines
from pertcast_serve.page.views.asked import COMPOUND, VIEW, Asked, candidates
from pertcast_serve.page.views.choices import chip_groups
from pertcast_serve.page.views.copies import predict_curl, predict_python, request_body
from pertcast_serve.page.views.likeness import neighbors
from pertcast_serve.page.views.pathways import SUMS, TABLE, enrichment, running_sum, set_table
from pertcast_serve.page.views.response import HEIGHT, response, strongest_genes, what_is_drawn
from pertcast_serve.page.views.trust import SEEN, trust_badge, trust_sentence, trust_words
from pertcast_serve.problems import or_refused
from pertcast_serve.schemas.models import ModelCard, Vocabulary
from pertcast_serve.schemas.predict import ItemError, PredictRequest
from pertcast_serve.services import PredictedProfiles

_PARAMETER_OF: Final = {
    "pert_id": "pert",
    "cell_iname": "cell",
    "pert_type": "type",
    "pert_dose": "dose",
    "pert_time": "time",
}


async def perturbation(context: PageContext, parameters: Mapping[str, str]) -> Html:
    """Show the response to one condition; without parameters an example that the model knows."""
    model = parameters.get("model") or None
    vocabulary = or_refused(await context.predictor.vocabulary(model))
    card = or_refused(await context.predictor.card(model))
    asked, found = await _chosen(context, candidates(parameters, vocabulary))
    if found.head.errors:
        return _refusal(asked, vocabulary, found.head.errors[0])
    is_open = context.config.access.is_open
    # Thousands of genes are ranked and written.
    body = await asyncio.to_thread(_view, asked, vocabulary, card, found, is_open)
    return Html(body, asked.title)


async def _chosen(context: PageContext, each: Sequence[Asked]) -> tuple[Asked, PredictedProfiles]:
    """Return the condition that is shown, with its prediction: one that training has seen, if any."""
    if len(each) > 1:
        request = PredictRequest(model=each[0].model, conditions=[one.condition for one in each])
        items = or_refused(await context.predictor.profiles(request)).head.items
        ranked = sorted(items, key=lambda item: (trust_words(item) != SEEN, item.index))
        each = [each[item.index] for item in ranked[:1]] or each
    return each[0], or_refused(await context.predictor.profiles(each[0].request))


def _view(
    asked: Asked, vocabulary: Vocabulary, card: ModelCard, found: PredictedProfiles, is_open: bool
) -> Markup:
    """Return the whole view of a condition that was predicted."""
    item = found.head.items[0]
    unit = response_unit(card.normalisation)
    return render(
        "perturbation.html",
        asked=asked,
        provenance=_provenance(asked, card, found),
        groups=chip_groups(asked, vocabulary),
        trust=trust_badge(item),
        trust_said=trust_sentence(item),
        figure_said=what_is_drawn(found),
        figure_height=HEIGHT,
        strongest=strongest_genes(found, unit, asked, frozenset(vocabulary.targets)),
        has_doses=asked.pert_type == COMPOUND and len(vocabulary.doses) > 1,
        n_lines=len(vocabulary.cell_lines),
        curl=predict_curl(asked, is_open),
        python=predict_python(asked, is_open),
        pinned=asked.link(model=found.head.model),
        body=json.dumps(request_body(asked)),
        file_name=item.sig_id.replace("/", "_"),
    )


def _provenance(asked: Asked, card: ModelCard, found: PredictedProfiles) -> str:
    words = [f"{card.title}, bundle {found.head.bundle[:7]}", f"{len(found.genes):,} genes"]
    if asked.time is not None:
        words.append(f"{asked.time:.4g} h")
    return " · ".join(words)


def _refusal(asked: Asked, vocabulary: Vocabulary, refused: ItemError) -> Html:
    """Show why a condition is not predicted, with the nearest that would be."""
    parameter = _PARAMETER_OF.get(refused.field)
    suggestions = []
    if parameter is not None:
        suggestions = [(name, asked.link(**{parameter: name})) for name in refused.suggestions]
    body = render(
        "perturbation_refused.html",
        asked=asked,
        message=refused.message,
        suggestions=suggestions,
        groups=chip_groups(asked, vocabulary),
        needs_structure=asked.pert_type == COMPOUND and asked.pert not in vocabulary.compounds,
    )
    return Html(body, asked.title, 422)


VIEWS: Mapping[str, View] = {
    VIEW: perturbation,
    f"{VIEW}/response": response,
    f"{VIEW}/enrichment": enrichment,
    f"{VIEW}/{TABLE}": set_table,
    f"{VIEW}/{SUMS}": running_sum,
    f"{VIEW}/neighbors": neighbors,
    f"{VIEW}/lines": lines,
    f"{VIEW}/doses": doses,
}
