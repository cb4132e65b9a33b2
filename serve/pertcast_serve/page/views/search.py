"""The search: names that fit what is typed, as options of the search box and as a view of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from pertcast_serve.page.html import link, render
from pertcast_serve.page.view import Html, PageContext, View
from pertcast_serve.page.views.asked import COMPOUND, VIEW
from pertcast_serve.prediction.names import NameSearch, compounds_of, genes_of
from pertcast_serve.problems import or_refused
from pertcast_serve.schemas.models import NameMatch, NameMatches, Vocabulary

MOST_SHOWN: Final = 12
_LONGEST: Final = 200
_STRUCTURE_SIGNS: Final = frozenset("=#()[]")
"""Letters that stand in structures and hardly in names."""


class _Known:
    """A vocabulary as a key: the same object is the same vocabulary."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary

    def __hash__(self) -> int:
        return id(self.vocabulary)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Known) and other.vocabulary is self.vocabulary


@lru_cache(maxsize=4)
def _names(known: _Known) -> NameSearch:
    """Return the names of a vocabulary, those that training has seen perturbed first."""
    every = (*genes_of(known.vocabulary), *compounds_of(known.vocabulary))
    return NameSearch(sorted(every, key=lambda name: not name.is_perturbed))


def _found(vocabulary: Vocabulary, typed: str) -> NameMatches:
    return _names(_Known(vocabulary)).search(typed, MOST_SHOWN)


async def search(context: PageContext, parameters: Mapping[str, str]) -> Html:
    """Show the genes and compounds that fit `q`; each leads to its perturbation."""
    model = parameters.get("model") or None
    typed = parameters.get("q", "").strip()[:_LONGEST]
    vocabulary = or_refused(await context.predictor.vocabulary(model))
    # Tens of thousands of names are compared.
    found = await asyncio.to_thread(_found, vocabulary, typed)
    shown = found.matches if typed else []
    body = render(
        "search.html",
        typed=typed,
        are_close=bool(shown) and typed.casefold() not in shown[0].name.casefold(),
        options=[(name.name, _detail(name), _address(model, name)) for name in shown],
        structure=_structure(model, typed, vocabulary),
        n_more=found.n_matches - len(shown) if typed else 0,
        n_genes=len({*vocabulary.genes, *vocabulary.targets}),
        n_compounds=len(vocabulary.compounds),
    )
    return Html(body, f"Search: {typed}" if typed else "Search")


def _detail(name: NameMatch) -> str:
    return name.kind if name.is_perturbed else f"{name.kind}, not perturbed in training"


def _address(model: str | None, name: NameMatch) -> str:
    kind = COMPOUND if name.kind == "compound" else None
    return link(VIEW, model=model, pert=name.name, type=kind)


def _structure(model: str | None, typed: str, vocabulary: Vocabulary) -> str:
    """Return where a typed structure is predicted; "" where it looks like none."""
    is_structure = COMPOUND in vocabulary.pert_types and not _STRUCTURE_SIGNS.isdisjoint(typed)
    return link(VIEW, model=model, pert="structure", type=COMPOUND, smiles=typed) if is_structure else ""


VIEWS: Mapping[str, View] = {"search": search}
