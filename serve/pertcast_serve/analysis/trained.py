"""A library made of the model itself, for a server without any: what training perturbed, in every cell line.

Predicted once, on first need, and kept until another version of the model is served.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final, TypeVar

import numpy as np
import polars as pl
from pertcast.screens.library import SearchedLibrary
from pertcast_data.vocabulary import PERTURBATION_KINDS

from pertcast_serve.analysis.held import from_values
from pertcast_serve.analysis.refusals import condition_refused, refused
from pertcast_serve.analysis.shelf import OpenLibrary, kept_columns
from pertcast_serve.problems import Refused, Unavailable
from pertcast_serve.schemas.analysis import LibrarySummary
from pertcast_serve.schemas.base import Problem
from pertcast_serve.schemas.models import ModelSummary, Vocabulary
from pertcast_serve.schemas.predict import Condition, ItemError, PredictRequest
from pertcast_serve.services import PredictedProfiles, PredictorClient

NAME: Final = "trained"
MOST_PROFILES: Final = 4_000
_FEWEST_PERTURBATIONS: Final = 50
"""Perturbations that are kept in every cell line where not everything fits: neighbours need some."""
_USUAL_DOSE_UM, _USUAL_TIME_H = 10.0, 24.0
_COMPOUND: Final = "trt_cp"

Item = TypeVar("Item")


class TrainedLibrary:
    """The library of the default model.

    Parameters
    ----------
    predictor
        Predicts it.
    batch
        Conditions that are asked for at once.
    """

    def __init__(self, predictor: PredictorClient, batch: int) -> None:
        self._predictor, self._batch = predictor, batch
        self._made: tuple[str, OpenLibrary] | None = None
        self._making: asyncio.Task[OpenLibrary] | None = None

    async def get(self) -> OpenLibrary:
        """Return the library, made where it is not yet; raises Refused, Unavailable."""
        model = await self._model()
        version = f"{model.id}@{model.version}"
        if self._made is not None and self._made[0] == version:
            return self._made[1]
        loop = asyncio.get_running_loop()
        if self._making is None or self._making.done() or self._making.get_loop() is not loop:
            self._making = loop.create_task(self._make(model, version))
        # Who asked first may go away; the others, and the next question, still need it.
        return await asyncio.shield(self._making)

    async def summary(self) -> LibrarySummary:
        """Return what the library is, or will be, without making it; raises Refused."""
        model = await self._model()
        if self._made is not None and self._made[0] == f"{model.id}@{model.version}":
            return self._made[1].summary()
        conditions = training_conditions(await self._vocabulary(model))
        return LibrarySummary(
            name=NAME,
            kind="predicted",
            n_profiles=len(conditions),
            n_genes=model.n_genes,
            cell_lines=sorted({condition.cell_iname for condition in conditions}),
            pert_types=sorted({condition.pert_type for condition in conditions}),
            model=f"{model.id}@{model.version}",
        )

    async def _model(self) -> ModelSummary:
        models = await self._predictor.models()
        if not models:
            raise Unavailable("No model is served now.")
        return models[0]

    async def _vocabulary(self, model: ModelSummary) -> Vocabulary:
        found = await self._predictor.vocabulary(model.id)
        if isinstance(found, Problem):
            raise Refused(found)
        return found

    async def _make(self, model: ModelSummary, version: str) -> OpenLibrary:
        vocabulary = await self._vocabulary(model)
        conditions = training_conditions(vocabulary)
        parts: list[tuple[list[Condition], PredictedProfiles]] = []
        for start in range(0, len(conditions), self._batch):
            part = conditions[start : start + self._batch]
            predicted = await self._predictor.profiles(PredictRequest(model=model.id, conditions=part))
            if isinstance(predicted, Problem):
                raise Refused(predicted)
            parts.append((part, predicted))
        library = await asyncio.to_thread(_library, version, parts, _remark(vocabulary, len(conditions)))
        self._made = (version, library)
        return library


def _library(
    version: str, parts: Sequence[tuple[list[Condition], PredictedProfiles]], remark: str
) -> OpenLibrary:
    rows: list[dict[str, Any]] = []
    failed: list[ItemError] = []
    for conditions, predicted in parts:
        failed += predicted.head.errors
        for item in predicted.head.items:
            asked = conditions[item.index].model_dump(exclude={"canonical_smiles"})
            rows.append({**asked, "sig_id": item.sig_id, "seen_pert": item.seen_pert})
    if not rows:
        raise (
            condition_refused(failed[0])
            if failed
            else refused(
                "There is no library, and the model knows no perturbation to make one of. Configure a "
                "finished screen or a store of responses: libraries: {name: folder}."
            )
        )
    remarks = [remark]
    if failed:
        remarks.append(f"{len(failed):,} conditions could not be predicted: {failed[0].message}")
    index = from_values(np.concatenate([predicted.mean for _, predicted in parts]))
    table = kept_columns(pl.DataFrame(rows, infer_schema_length=None))
    everything = np.ones(table.height, dtype=np.bool_)
    genes = tuple(parts[0][1].genes)
    stored = SearchedLibrary(f"predicted ({NAME})", table, genes, index, everything, tuple(remarks))
    return OpenLibrary.of_memory(NAME, version, stored)


def _remark(vocabulary: Vocabulary, n_chosen: int) -> str:
    lines, types, n_all = _combinations(vocabulary)
    share = "all" if n_chosen == n_all else f"{n_chosen:,} evenly chosen of {n_all:,}"
    dose, time = _usual(vocabulary.doses, _USUAL_DOSE_UM), _usual(vocabulary.times, _USUAL_TIME_H)
    at = " ".join(text for text in (_amount(dose, "uM (compounds)"), _amount(time, "h")) if text)
    amounts = f" at {at}" if at else ""
    return (
        "The server has no library: this one was predicted by its model from the perturbations of the "
        f"training, {share} combinations with {lines:,} cell lines and {types:,} types{amounts}."
    )


def _amount(value: float | None, unit: str) -> str:
    return "" if value is None else f"{value:g} {unit}"


def training_conditions(vocabulary: Vocabulary, most: int = MOST_PROFILES) -> list[Condition]:
    """Return the training's perturbations in its cell lines, at a usual dose and time.

    Parameters
    ----------
    vocabulary
        What the model knows.
    most
        Most conditions. Where there are more, perturbations are evenly chosen and kept in every cell line;
        where these are too many, cell lines are evenly chosen too.
    """
    named = _perturbations(vocabulary)
    if not named:
        return []
    lines = _evenly(vocabulary.cell_lines, max(most // min(len(named), _FEWEST_PERTURBATIONS), 1))
    chosen = _evenly(named, max(most // max(len(lines), 1), 1))
    dose, time = _usual(vocabulary.doses, _USUAL_DOSE_UM), _usual(vocabulary.times, _USUAL_TIME_H)
    return [
        Condition(
            cell_iname=line,
            pert_id=name,
            pert_type=kind,
            pert_dose=dose if kind == _COMPOUND else None,
            pert_time=time,
        )
        for line in lines
        for kind, name in chosen
    ]


def _perturbations(vocabulary: Vocabulary) -> list[tuple[str, str]]:
    """Return (type, perturbation): compounds, then every perturbed gene in every genetic type."""
    kinds = [kind for kind in vocabulary.pert_types if kind in PERTURBATION_KINDS]
    compounds = [(_COMPOUND, name) for name in vocabulary.compounds if _COMPOUND in kinds]
    return compounds + [(kind, name) for kind in kinds if kind != _COMPOUND for name in vocabulary.targets]


def _combinations(vocabulary: Vocabulary) -> tuple[int, int, int]:
    """Return numbers of cell lines, of types, and of all combinations."""
    named = _perturbations(vocabulary)
    lines = len(vocabulary.cell_lines)
    return lines, len({kind for kind, _ in named}), lines * len(named)


def _evenly(items: Sequence[Item], most: int) -> list[Item]:
    if len(items) <= most:
        return list(items)
    return [items[place] for place in np.linspace(0, len(items) - 1, most).astype(np.int64)]


def _usual(known: Sequence[float], usual: float) -> float | None:
    """Return the usual amount where training knows it, else the middle of those it knows."""
    if not known:
        return None
    return usual if usual in known else sorted(known)[len(known) // 2]
