"""The fourth view: what a served model is, what it was trained on, and what it is worth beside baselines."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import polars as pl
from markupsafe import Markup
from pertcast.naming import kind_word, response_unit
from pertcast.report.tables import MISSING, format_number
from pertcast.report.theme import Tone

from pertcast_serve.config import ServeConfig
from pertcast_serve.page.html import anchor, link, render, table
from pertcast_serve.page.view import Html, PageContext, View
from pertcast_serve.page.views.copies import model_curl
from pertcast_serve.page.views.model_evaluation import Beside, evaluation_beside
from pertcast_serve.page.views.model_scores import gain_by_stratum, scores
from pertcast_serve.problems import Unavailable, or_refused
from pertcast_serve.schemas.models import Metadata, ModelCard, ModelSummary, Vocabulary

VIEW: Final = "model"
_OUTCOMES: Final[Mapping[str, Tone]] = {"better": "good", "worse": "bad"}
_LIMIT_WORDS: Final = {
    "conditions": "conditions a request",
    "genes": "chosen genes a request",
    "body_bytes": "bytes a request",
    "request_s": "seconds a request",
    "concurrent_requests": "requests of a key at once",
    "running_screens": "screens of a key at once",
    "screen_profiles": "profiles a screen",
}
_CHECK_S: Final = 2.0
_MOST_NAMES: Final = 60


async def model(context: PageContext, parameters: Mapping[str, str]) -> Html:
    """Show the card of a model; the first where the address names none."""
    asked = parameters.get("model") or None
    card = or_refused(await context.predictor.card(asked))
    named = f"{card.id}@{card.version}"
    metadata = or_refused(await context.predictor.metadata(named))
    vocabulary = or_refused(await context.predictor.vocabulary(named))
    models = await context.predictor.models()
    folder = context.config.models.get(card.id)
    beside = Beside(None, "The folder of this model is not at hand here.", card.id)
    if folder is not None:
        beside = await asyncio.to_thread(evaluation_beside, folder, card.version)
    body = await asyncio.to_thread(_view, context.config, card, metadata, vocabulary, models, beside)
    return Html(body, f"Model {card.title}")


async def health(context: PageContext, parameters: Mapping[str, str]) -> Html:
    """Tell whether a predictor with loaded weights answers now."""
    try:
        async with asyncio.timeout(_CHECK_S):
            await context.predictor.check()
    except TimeoutError:
        return Html(
            _state("not ready", "care", f"No predictor answered in {_CHECK_S:g} s; it may be starting.")
        )
    except Unavailable as error:
        return Html(_state("not ready", "care", str(error)))
    return Html(_state("ready", "good", "Weights are loaded and a warm-up ran."))


def _state(text: str, tone: Tone, detail: str) -> Markup:
    return render("model_health.html", text=text, tone=tone, detail=detail)


def _view(
    config: ServeConfig,
    card: ModelCard,
    metadata: Metadata,
    vocabulary: Vocabulary,
    models: list[ModelSummary],
    beside: Beside,
) -> Markup:
    evaluation = beside.evaluation
    is_current = any(each.id == card.id and each.version == card.version for each in models)
    return render(
        "model.html",
        card=card,
        is_current=is_current,
        provenance=_provenance(card, metadata),
        beside=beside,
        tone=_OUTCOMES.get(evaluation.verdict.outcome, "care") if evaluation else "care",
        evaluation=evaluation,
        scores=None if evaluation is None else scores(evaluation),
        strata=None if evaluation is None else gain_by_stratum(evaluation),
        noted=_noted(card),
        training=_training(card),
        accepts=_accepts(metadata, vocabulary),
        example=link("perturbation", model=None if card.is_default else card.id),
        models=_models(models, card),
        n_models=len(models),
        limits=[(_LIMIT_WORDS.get(name, name), value) for name, value in metadata.limits.items()],
        replicas=_replicas(config),
        passes=", ".join(str(size) for size in metadata.rows_per_pass),
        config=list(_flat(card.config)),
        curl=model_curl(f"{card.id}@{card.version}", config.access.is_open),
    )


def _provenance(card: ModelCard, metadata: Metadata) -> str:
    return (
        f"{card.id}@{card.version} · {card.family}, bundle {card.bundle[:7]} · {card.n_genes:,} genes "
        f"· trained by Pertcast {card.pertcast}, served by {metadata.version}"
    )


def _noted(card: ModelCard) -> Markup | None:
    """Return the metrics that the bundle itself holds; None where it holds none."""
    if not card.held_out_metrics:
        return None
    named = sorted(card.held_out_metrics.items())
    frame = pl.DataFrame(
        {"metric": [name for name, _ in named], "value": [value for _, value in named]},
        schema={"metric": pl.String, "value": pl.Float64},
    )
    return table(frame, formats={"value": format_number})


def _training(card: ModelCard) -> list[tuple[str, str]]:
    """Return what the model was trained on, as (fact, value)."""
    split = "the whole store" if card.split_kind is None else card.split_kind.replace("_", " ")
    fold = "" if card.fold is None else f", fold {card.fold}"
    return [
        ("licence of the data", card.licence),
        ("measure", f"{card.measure}, {card.normalisation}"),
        ("predicts", f"responses ({response_unit(card.normalisation)})"),
        ("held out", f"{split}{fold}"),
        ("seed", str(card.seed)),
        ("data hash", card.data_hash),
        ("split hash", card.split_hash or MISSING),
        ("bundle hash", card.bundle),
    ]


def _accepts(metadata: Metadata, vocabulary: Vocabulary) -> list[tuple[str, str, str]]:
    """Return what can be asked of the model, as (what, how many, which)."""
    types = [f"{kind_word(code)} ({code})" for code in vocabulary.pert_types]
    doses = [f"{dose:.4g}" for dose in vocabulary.doses]
    times = [f"{time:.4g}" for time in vocabulary.times]
    return [
        ("perturbations of the training", f"{metadata.n_perturbations:,}", ""),
        ("of these compounds", f"{len(vocabulary.compounds):,}", ""),
        ("of these genes", f"{len(vocabulary.targets):,}", ""),
        ("types", f"{len(types):,}", ", ".join(types)),
        ("cell lines", f"{len(vocabulary.cell_lines):,}", _names(vocabulary.cell_lines)),
        ("doses in uM", f"{len(doses):,}", _names(doses)),
        ("times in h", f"{len(times):,}", _names(times)),
        ("genes of a profile", f"{len(metadata.genes):,}", f"gene space {metadata.gene_space}"),
    ]


def _names(names: list[str]) -> str:
    more = len(names) - _MOST_NAMES
    return ", ".join(names[:_MOST_NAMES]) + (f" and {more:,} more" if more > 0 else "")


def _models(models: list[ModelSummary], card: ModelCard) -> Markup:
    """Return all served models, each leading to its card."""
    frame = pl.DataFrame(
        {
            "name": [str(anchor(each.id, link(VIEW, model=each.id))) for each in models],
            "version": [each.version for each in models],
            "family": [each.title for each in models],
            "genes": [each.n_genes for each in models],
            "perturbations": [each.n_perturbations for each in models],
            "note": [
                "; ".join(
                    part
                    for part in (
                        "the default" if each.is_default else "",
                        "shown here" if (each.id, each.version) == (card.id, card.version) else "",
                        f"a newer bundle is refused: {each.newer_refused}" if each.newer_refused else "",
                    )
                    if part
                )
                for each in models
            ],
        }
    )
    classes = ["strong" if each.id == card.id else "" for each in models]
    return table(frame, headers={"note": ""}, row_classes=classes, raw_columns=["name"])


def _replicas(config: ServeConfig) -> str:
    scaling = config.predictor
    bounds = f"{scaling.min_replicas} to {scaling.max_replicas}"
    return f"{bounds} by load, on {scaling.device}"


def _flat(config: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for name, value in config.items():
        if isinstance(value, Mapping):
            found += _flat(value, f"{prefix}{name}.")
        else:
            found.append((f"{prefix}{name}", str(value)))
    return found


VIEWS: Mapping[str, View] = {VIEW: model, f"{VIEW}/health": health}
