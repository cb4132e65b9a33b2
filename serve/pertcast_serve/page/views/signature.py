"""The second view: what mimics and what reverses a signature, and how its genes were understood.

The form comes at once; the answer comes after it, or with it where there is no script or no permalink.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from markupsafe import Markup
from pertcast.report.tables import csv_link

from pertcast_serve.endpoints.analysis import rows_table
from pertcast_serve.page.figures import figure
from pertcast_serve.page.html import render
from pertcast_serve.page.view import Html, PageContext, View
from pertcast_serve.page.views.copies import connectivity_curl, connectivity_python
from pertcast_serve.page.views.signature_asked import (
    SCORES,
    TEXTS,
    VIEW,
    AskedSignature,
    examples,
    search_of,
    signature_of,
)
from pertcast_serve.page.views.signature_tables import (
    DRAWN_ROWS,
    by_chance,
    directions,
    heatmap_of,
    mapping_rows,
    of_word,
    tail_table,
    verdict,
)
from pertcast_serve.problems import Refused, or_refused
from pertcast_serve.schemas.analysis import (
    MAX_ROWS,
    ConnectivityRequest,
    ConnectivityResponse,
    ConnectivityRow,
    LibrarySummary,
    Profile,
)
from pertcast_serve.schemas.base import Problem
from pertcast_serve.schemas.models import Vocabulary
from pertcast_serve.services import StoredProfiles

PER_TAIL: Final = 12
EXPORTED: Final = MAX_ROWS // 2
"""Rows of each tail that a download brings."""
_ROW_HEIGHT, _NAMES_HEIGHT = 22, 110
_SCORE_WORDS: Final = {
    "": "that of the signature",
    "wtcs": "WTCS (sets)",
    "xsum": "XSum",
    "cosine": "cosine (values)",
    "pearson": "Pearson",
}


async def signature(context: PageContext, parameters: Mapping[str, str]) -> Html:
    """Show the form, filled with what the address says, and the answer; an example without a signature."""
    vocabulary, libraries = await _known(context, parameters)
    asked, refusal = None, None
    try:
        asked = await asyncio.to_thread(signature_of, parameters, vocabulary)
    except Refused as refused:
        refusal = refused.problem
    found = Html("")
    late = None if asked is None else asked.part("answer")
    if asked is not None and (late is None or parameters.get("inline")):
        found, late = await _answer_or_notice(context, asked, vocabulary), None
    body = render(
        "signature.html",
        asked=asked,
        refusal=refusal,
        answer=found.body,
        late=late,
        form=_form(parameters, asked, libraries),
        libraries=libraries,
        scores=[(name, _SCORE_WORDS[name]) for name in ("", *SCORES)],
        examples=examples(vocabulary, search_of(parameters), parameters.get("model") or None),
    )
    status = refusal.status if refusal is not None else found.status
    return Html(body, "Signature" if asked is None else f"Signature: {asked.words}", status)


async def answer(context: PageContext, parameters: Mapping[str, str]) -> Html:
    """Show what was found with the signature of an address."""
    vocabulary = or_refused(await context.predictor.vocabulary(parameters.get("model") or None))
    asked = await asyncio.to_thread(signature_of, parameters, vocabulary)
    return await _answer_or_notice(context, asked, vocabulary)


async def _known(
    context: PageContext, parameters: Mapping[str, str]
) -> tuple[Vocabulary, list[LibrarySummary]]:
    vocabulary = await context.predictor.vocabulary(parameters.get("model") or None)
    return or_refused(vocabulary), await context.analysis.libraries(context.caller)


def _form(
    parameters: Mapping[str, str], asked: AskedSignature | None, libraries: Sequence[LibrarySummary]
) -> dict[str, Any]:
    """Return what stands in the form: what was typed, also where it could not be read."""
    texts = {name: parameters.get(name, "") for name in TEXTS}
    kept: dict[str, Any] = {}
    if asked is not None and asked.given is not None:
        given = asked.given
        texts = {"up": "\n".join(given.up), "down": "\n".join(given.down), "values": given.values_text}
    elif asked is not None and not asked.is_example:
        kept = asked.signature_parameters or {}
    search = search_of(parameters)
    return {
        **texts,
        "kept": {name: value for name, value in kept.items() if value not in (None, "")},
        "model": parameters.get("model", "") if not kept else "",
        "search": search,
        "library": search.library or (libraries[0].name if libraries else ""),
        "cells": _choices(line for library in libraries for line in library.cell_lines),
        "types": _choices(each for library in libraries for each in library.pert_types),
    }


def _choices(names: Iterable[str]) -> list[tuple[str, str]]:
    return [("", "all"), *((name, name) for name in sorted(set(names)))]


async def _answer_or_notice(context: PageContext, asked: AskedSignature, vocabulary: Vocabulary) -> Html:
    try:
        request = await _request(context, asked)
    except Refused as refused:
        return _notice(refused.problem)
    found = await context.analysis.connectivity(request, context.caller)
    if isinstance(found, Problem):
        return _notice(found)
    drawn, profiles = await _drawn_profiles(context, found)
    values = await _signature_values(context, asked, request)
    is_open = context.config.access.is_open
    return Html(
        await asyncio.to_thread(_answer, asked, request, found, vocabulary, drawn, profiles, values, is_open)
    )


def _notice(problem: Problem) -> Html:
    lists = [each for each in problem.errors if "n_named" in each]
    return Html(render("signature_refused.html", problem=problem, lists=lists), status=problem.status)


async def _request(context: PageContext, asked: AskedSignature) -> ConnectivityRequest:
    """Return the question of an address; a condition is predicted for it. Raises Refused."""
    search = asked.search
    fields: dict[str, Any] = {
        "library": search.library or None,
        "score": search.score or None,
        "cell_iname": [search.cell] if search.cell else None,
        "pert_type": [search.pert_type] if search.pert_type else None,
        "per_tail": PER_TAIL,
        "by_perturbation": search.by_perturbation,
    }
    if asked.condition is not None:
        predicted = or_refused(await context.predictor.profiles(asked.condition.request))
        if predicted.head.errors:
            error = predicted.head.errors[0]
            raise Refused(Problem(title="The condition is not predicted", status=422, detail=error.message))
        # The shortest text of a float32 is the same float32 again, and half as long to copy.
        values = [float(str(value)) for value in predicted.mean[0]]
        return ConnectivityRequest(**fields, signature=Profile(genes=predicted.genes, values=values))
    if asked.stored is not None:
        return ConnectivityRequest(**fields, stored=asked.stored)
    given = asked.given
    assert given is not None
    if given.is_valued:
        return ConnectivityRequest(
            **fields, signature=Profile(genes=list(given.genes), values=list(given.values))
        )
    return ConnectivityRequest(**fields, up=list(given.up), down=list(given.down))


async def _drawn_profiles(
    context: PageContext, found: ConnectivityResponse
) -> tuple[list[ConnectivityRow], StoredProfiles | None]:
    """Return the rows that are drawn, mimickers first, with their profiles; None where there are none."""
    drawn = [
        row
        for word in ("mimics", "reverses")
        for row in of_word(found.rows, word)[:DRAWN_ROWS]
        if row.sig_id is not None
    ]
    if not drawn:
        return [], None
    names = [str(row.sig_id) for row in drawn]
    profiles = await context.analysis.stored_profiles(found.library, names, context.caller)
    return drawn, None if isinstance(profiles, Problem) else profiles


async def _signature_values(
    context: PageContext, asked: AskedSignature, request: ConnectivityRequest
) -> dict[str, float]:
    """Return gene -> value of a signature of values; empty for sets."""
    if request.signature is not None:
        return dict(zip(request.signature.genes, request.signature.values, strict=True))
    if asked.stored is None:
        return {}
    library, name = asked.stored.library, asked.stored.sig_id
    stored = await context.analysis.stored_profiles(library, [name], context.caller)
    if isinstance(stored, Problem):
        return {}
    return dict(zip(stored.genes, stored.values[0].tolist(), strict=True))


def _answer(
    asked: AskedSignature,
    request: ConnectivityRequest,
    found: ConnectivityResponse,
    vocabulary: Vocabulary,
    drawn: list[ConnectivityRow],
    profiles: StoredProfiles | None,
    values: dict[str, float],
    is_open: bool,
) -> Markup:
    own = "" if asked.condition is None else asked.condition.link()
    tails = [
        (
            title,
            tail_table(of_word(found.rows, word), word, vocabulary, asked.model, own),
        )
        for title, word in (("Mimickers", "mimics"), ("Reversers", "reverses"))
    ]
    sent = json.loads(request.model_dump_json(exclude_defaults=True))
    about_genes, others = _remarks(found)
    return render(
        "signature_answer.html",
        asked=asked,
        found=found,
        verdict=verdict(found),
        by_chance=by_chance(found),
        tails=tails,
        mapping=[(each.label, mapping_rows(each)) for each in found.mapping],
        about_genes=[*asked.remarks, *about_genes],
        remarks=others,
        heatmap=_heatmap(found, drawn, profiles, values),
        curl=connectivity_curl(sent, is_open),
        python=connectivity_python(sent, is_open),
        body=json.dumps(sent),
        long_body=json.dumps(sent | {"per_tail": EXPORTED}),
        exported=EXPORTED,
        permalink=asked.link(),
        csv=Markup(csv_link(rows_table(found.rows, ConnectivityRow), "connectivity.csv")),
    )


def _remarks(found: ConnectivityResponse) -> tuple[list[str], list[str]]:
    """Return remarks about names of genes, and the others."""
    labels = tuple(f"{each.label}{mark}" for each in found.mapping for mark in (",", ":"))
    starts = (*labels, "What is a gene")
    about = [remark for remark in found.remarks if remark.startswith(starts)]
    return about, [remark for remark in found.remarks if remark not in about]


def _heatmap(
    found: ConnectivityResponse,
    drawn: list[ConnectivityRow],
    profiles: StoredProfiles | None,
    values: dict[str, float],
) -> dict[str, Any] | None:
    """Return the figure and what it shows; None where there are no single profiles to draw."""
    if profiles is None:
        return None
    used = {each.label: each.used for each in found.mapping}
    rising, falling = used.get("up", []), used.get("down", [])
    if values:
        rising, falling = directions(values, profiles.genes)
    if not rising and not falling:
        return None
    made, n_up, n_down = heatmap_of(drawn, profiles, rising, falling)
    n_mimics = sum(row.word == "mimics" for row in drawn)
    label = (
        f"Heatmap of {n_up} rising and {n_down} falling genes of the signature over {n_mimics} mimickers and "
        f"{len(drawn) - n_mimics} reversers"
    )
    return {
        "figure": figure(made, label, _NAMES_HEIGHT + _ROW_HEIGHT * len(drawn)),
        "n_up": n_up,
        "n_down": n_down,
        "of_values": bool(values),
    }


VIEWS: Mapping[str, View] = {VIEW: signature, f"{VIEW}/answer": answer}
