"""One bundle that answers several requests a call, without HTTP and without Ray.

Requests that arrive together are predicted in one pass and split again; a prediction does not depend
on its neighbours (fixed padded shapes, noise keyed by condition).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from pertcast.encoding.problems import RowProblem
from pertcast.errors import UnknownGene
from pertcast.predictor import Predictor

from pertcast_serve import metrics
from pertcast_serve.config import PredictorSettings
from pertcast_serve.prediction.answers import Answer
from pertcast_serve.prediction.described import VERSION_LETTERS, gene_space_id
from pertcast_serve.prediction.encoded import ConditionCache, EncodedCondition, joined
from pertcast_serve.prediction.passes import rows_of_pass
from pertcast_serve.schemas.base import Problem
from pertcast_serve.schemas.predict import ItemError, PredictedItem, PredictHead, PredictRequest

_DEFAULTS = PredictorSettings()
_LONGEST_SHOWN = 200

Values = NDArray[np.float32]


@dataclass(frozen=True)
class _Part:
    """A request within a batch: its rows among all conditions, and the columns that it asked for."""

    request: PredictRequest
    rows: range
    columns: NDArray[np.int64] | None


@dataclass(frozen=True)
class _Predicted:
    """All conditions of a batch.

    `place[row]` is the row of `mean` and `sd` that condition `row` has, -1 where it has none.
    """

    encoded: Sequence[EncodedCondition | None]
    place: NDArray[np.int64]
    mean: Values
    sd: Values | None
    rows_per_pass: int
    errors: dict[int, ItemError]


class BundleService:
    """Predicts several requests at once from one bundle.

    Parameters
    ----------
    predictor
        Made from a bundle.
    rows_per_pass
        Sizes that a forward pass may be padded to, rising.
    name
        Name that it is served under.
    cached_conditions
        Encoded conditions that are remembered.
    """

    def __init__(
        self,
        predictor: Predictor,
        rows_per_pass: Sequence[int] = _DEFAULTS.rows_per_pass,
        name: str = "default",
        cached_conditions: int = _DEFAULTS.cached_conditions,
    ) -> None:
        self.predictor = predictor
        self.bundle = predictor.bundle.content_hash
        self.name = f"{name}@{self.bundle[:VERSION_LETTERS]}"
        self.rows_per_pass = tuple(rows_per_pass)
        self.genes = list(predictor.genes)
        self.gene_space = gene_space_id(self.genes)
        self._column = {gene: column for column, gene in enumerate(self.genes)}
        self._cache = ConditionCache(predictor, cached_conditions)

    def warm_up(self) -> None:
        """Run one prediction of each size, so that no request is the slow first one of its size."""
        for size in self.rows_per_pass:
            self.predictor.warm_up(size)

    def gene_columns(self, genes: Sequence[str] | None) -> NDArray[np.int64] | None:
        """Return the columns of the chosen genes; UnknownGene names the nearest known ones."""
        if genes is None:
            return None
        for gene in genes:
            if gene not in self._column:
                raise UnknownGene(
                    gene, self.genes, where="field 'genes'", remedy="/v1/metadata lists all genes."
                )
        return np.array([self._column[gene] for gene in genes], dtype=np.int64)

    def answer(self, requests: Sequence[PredictRequest]) -> list[Answer | Problem]:
        """Predict all conditions of all requests together.

        Returns one answer a request, in order: a response, or the problem of that request alone, so that a
        bad request does not fail those it was batched with.
        """
        answers: list[Answer | Problem | None] = []
        parts: dict[int, _Part] = {}
        height = 0
        for number, request in enumerate(requests):
            try:
                columns = self.gene_columns(request.genes)
            except UnknownGene as error:
                answers.append(Problem(title="Request cannot be answered", status=422, detail=str(error)))
                continue
            answers.append(None)
            parts[number] = _Part(request, range(height, height + len(request.conditions)), columns)
            height += len(request.conditions)
        if not parts:
            return [answer for answer in answers if answer is not None]
        predicted = self._predict(list(parts.values()))
        found = {number: self._one_answer(part, predicted) for number, part in parts.items()}
        return [found[number] if answer is None else answer for number, answer in enumerate(answers)]

    def _predict(self, parts: Sequence[_Part]) -> _Predicted:
        conditions = [condition for part in parts for condition in part.request.conditions]
        encoded, problems = self._cache.encode(conditions)
        good = [each for each in encoded if each is not None]
        size = rows_of_pass(len(good), self.rows_per_pass)
        mean, sd = self._pass(good, size)
        errors = {row: _item_error(row, problem) for row, problem in problems.items()}
        finite = _finite_rows(mean, sd)
        place = np.full(len(encoded), -1, np.int64)
        for count, row in enumerate(row for row, each in enumerate(encoded) if each is not None):
            if finite[count]:
                place[row] = count
            else:
                errors[row] = _not_finite(row, good[count].sig_id)
        metrics.observe_batch(len(conditions))
        metrics.count_predictions(self.name, len(good), sum(not each.is_in_domain for each in good))
        return _Predicted(encoded, place, mean, sd, size, errors)

    def _pass(self, conditions: Sequence[EncodedCondition], size: int) -> tuple[Values, Values | None]:
        """Return (N, G) mean and spread of encoded conditions, in passes of `size` rows."""
        space = self.predictor.space
        if not conditions:
            return np.zeros((0, space.n_genes), np.float32), None
        batch, basal = joined(conditions, space.max_slots, space.feature_width)
        found = self.predictor.predict_encoded(batch, basal, batch_size=size)
        return found.mean.numpy(), None if found.sd is None else found.sd.numpy()

    def _one_answer(self, part: _Part, predicted: _Predicted) -> Answer:
        first = part.rows.start
        kept = [row for row in part.rows if predicted.place[row] >= 0]
        places = predicted.place[kept]
        mean = _selected(predicted.mean, places, part.columns)
        sd = None if predicted.sd is None else _selected(predicted.sd, places, part.columns)
        head = PredictHead(
            model=self.name,
            bundle=self.bundle,
            rows_per_pass=predicted.rows_per_pass,
            gene_space=self.gene_space,
            genes=part.request.genes,
            n_genes=mean.shape[1],
            items=[_item(row - first, each) for row in kept if (each := predicted.encoded[row]) is not None],
            errors=[
                predicted.errors[row].model_copy(update={"index": row - first})
                for row in part.rows
                if row in predicted.errors
            ],
        )
        return Answer(head, self.genes if part.request.genes is None else part.request.genes, mean, sd)


def load_service(path: str, name: str, settings: PredictorSettings) -> BundleService:
    """Load a bundle and warm it up; raises CorruptBundle."""
    predictor = Predictor.from_bundle(path, torch.device(settings.device))
    service = BundleService(predictor, settings.rows_per_pass, name, settings.cached_conditions)
    service.warm_up()
    return service


def _finite_rows(mean: Values, sd: Values | None) -> NDArray[np.bool_]:
    finite = np.isfinite(mean)
    if sd is not None:
        finite &= np.isfinite(sd)
    return np.asarray(finite.all(axis=1))


def _selected(values: Values, rows: NDArray[np.int64], columns: NDArray[np.int64] | None) -> Values:
    return values[rows] if columns is None else values[np.ix_(rows, columns)]


def _item(index: int, encoded: EncodedCondition) -> PredictedItem:
    return PredictedItem(
        index=index,
        sig_id=encoded.sig_id,
        seen_pert=encoded.seen_pert,
        seen_cell=encoded.seen_cell,
        nn_train_dist=encoded.nn_train_dist,
        is_in_domain=encoded.is_in_domain,
    )


def _item_error(row: int, problem: RowProblem) -> ItemError:
    return ItemError(
        index=row,
        field=problem.field,
        value=problem.value[:_LONGEST_SHOWN],
        message=problem.message,
        suggestions=list(problem.suggestions),
    )


def _not_finite(row: int, sig_id: str) -> ItemError:
    return ItemError(
        index=row,
        field="prediction",
        value=sig_id[:_LONGEST_SHOWN],
        message="The model gives no finite number here; ask for a condition nearer to its training.",
    )
