"""The form of a new screen, filled from its address: what is chosen there is a permalink too.

Starting, estimating and copying are the work of screens.js, which sends what /v1/screens takes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pertcast.naming import kind_word
from pertcast_data.text import counted
from pertcast_data.vocabulary import GENETIC_TYPES

from pertcast_serve.page.html import render
from pertcast_serve.page.view import Html, PageContext
from pertcast_serve.page.views.copies import submit_curl, submit_python
from pertcast_serve.page.views.screen_source import screens_of
from pertcast_serve.problems import or_refused
from pertcast_serve.schemas.models import ModelSummary, Vocabulary

COMPOUND: Final = "trt_cp"
KINDS: Final = (
    ("compounds", "Compounds", "x cell lines x doses x times"),
    ("genes", "Genes", "knocked down, out or raised"),
    ("pairs", "Pairs", "what two do beyond their sum"),
    ("table", "A table", "any mixture, a condition a row"),
)
_MOST_SHOWN: Final = 200
_SEPARATOR: Final = re.compile(r"\s*,\s*")
_LISTS: Final = ("cell_iname", "pert_type", "pert_dose", "pert_time")


@dataclass(frozen=True)
class Example:
    """A screen that one click starts.

    Attributes
    ----------
    fields
        Names and values of the form.
    text
        What it does.
    """

    fields: tuple[tuple[str, str], ...]
    text: str


def example_of(vocabulary: Vocabulary, model: str) -> Example | None:
    """Return a small screen that a model can answer, of what it knows; None where it knows too little.

    Parameters
    ----------
    vocabulary
        The names that the model knows.
    model
        Its id.
    """
    if not vocabulary.cell_lines:
        return None
    cell = vocabulary.cell_lines[0]
    if vocabulary.compounds:
        kind, what = "compounds", f"this model's own {counted(len(vocabulary.compounds), 'compound')}"
    elif vocabulary.targets:
        kind, what = "genes", "every gene that this model knows"
    else:
        return None
    fields = (
        ("kind", kind),
        ("model", model),
        ("cell_iname", cell),
        ("title", f"All {kind} in {cell}"),
    )
    return Example(fields, f"Screen {what} in {cell}.")


async def form_view(context: PageContext, parameters: Mapping[str, str]) -> Html:
    """Show the form."""
    screens_of(context, "screen")
    models = await context.predictor.models()
    asked = parameters.get("model") or None
    vocabulary: Vocabulary = or_refused(await context.predictor.vocabulary(asked))
    collections = await context.analysis.gene_sets()
    model = _model(models, asked)
    is_open = context.config.access.is_open
    body = render(
        "screen_form.html",
        provenance=f"{model} · {_known(vocabulary)}",
        models=[{"id": each.id, "is_on": each.id == model} for each in models],
        model=model,
        kinds=KINDS,
        kind=_kind(parameters, vocabulary),
        own=_known(vocabulary),
        listed=parameters.get("list", ""),
        most_bytes=context.config.limits.body_bytes // 2,
        cells=_named(vocabulary.cell_lines, parameters.get("cell_iname", "")),
        types=[(each, kind_word(each)) for each in vocabulary.pert_types if each in GENETIC_TYPES],
        doses=_numbers(vocabulary.doses),
        times=_numbers(vocabulary.times),
        chosen={name: _words(parameters.get(name, "")) for name in _LISTS},
        up=parameters.get("up", ""),
        down=parameters.get("down", ""),
        objective=parameters.get("objective", "reverse"),
        gene_sets=[(each.name, f"{each.name} ({each.n_sets:,} sets)") for each in collections],
        chosen_sets=parameters.get("gene_sets", ""),
        title=parameters.get("title", ""),
        skip_unknown=parameters.get("skip_unknown", "") == "yes",
        most_profiles=context.config.limits.screen_profiles,
        most_running=context.config.limits.running_screens,
        curl=submit_curl(is_open),
        python=submit_python(is_open),
    )
    return Html(body, "New screen")


def _model(models: Sequence[ModelSummary], asked: str | None) -> str:
    return asked or next((each.id for each in models if each.is_default), models[0].id if models else "")


def _kind(parameters: Mapping[str, str], vocabulary: Vocabulary) -> str:
    asked = parameters.get("kind", "")
    if asked in [kind for kind, _, _ in KINDS]:
        return asked
    return "compounds" if vocabulary.compounds or not vocabulary.targets else "genes"


def _known(vocabulary: Vocabulary) -> str:
    """Say what a model can screen without a list."""
    parts = []
    if vocabulary.compounds:
        parts.append(counted(len(vocabulary.compounds), "compound"))
    if vocabulary.targets:
        parts.append(counted(len(vocabulary.targets), "perturbed gene"))
    parts.append(counted(len(vocabulary.cell_lines), "cell line"))
    return ", ".join(parts)


def _words(text: str) -> list[str]:
    return [word for word in _SEPARATOR.split(text.strip()) if word]


def _named(names: Sequence[str], asked: str) -> list[tuple[str, str]]:
    """Return the first names as values and labels, those that the address chooses among them."""
    more = [name for name in _words(asked) if name in names and name not in names[:_MOST_SHOWN]]
    return [(name, name) for name in [*names[:_MOST_SHOWN], *more]]


def _numbers(values: Sequence[float]) -> list[tuple[str, str]]:
    return [(f"{value:.12g}", f"{value:.4g}") for value in values[:_MOST_SHOWN]]
