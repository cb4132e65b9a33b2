"""One bundle that answers several requests a call, without HTTP and without Ray.

Requests that arrive together are predicted in one pass and split again; a prediction does not depend
on its neighbours (fixed padded shapes, noise keyed by condition).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pertcast.errors import PertcastError, UnknownGene
from pertcast.models.registry import get_model
from pertcast.predictor import PredictedConditions, Predictor

from pertcast_serve.prediction.answers import Answer
from pertcast_serve.schemas.base import Problem
from pertcast_serve.schemas.models import Metadata, Vocabulary
from pertcast_serve.schemas.predict import ItemError, PredictedItem, PredictHead, PredictRequest

TABLE_SCHEMA = pl.Schema(
    {
        "cell_iname": pl.String,
        "pert_id": pl.String,
        "pert_type": pl.String,
        "pert_dose": pl.Float64,
        "pert_dose_unit": pl.String,
        "pert_time": pl.Float64,
        "pert_time_unit": pl.String,
        "canonical_smiles": pl.String,
    }
)
_LONGEST_SHOWN = 200


def gene_space_id(genes: Sequence[str]) -> str:
    """Return a short stable id of an ordered list of genes."""
    return hashlib.sha256("\n".join(genes).encode()).hexdigest()[:16]


def refusal(error: PertcastError) -> Problem:
    """Return the problem of a whole request."""
    return Problem(title="Request cannot be answered", status=422, detail=str(error))


@dataclass(frozen=True)
class _Part:
    """A request within a batch: its rows of the batch's table, and the columns that it asked for."""

    request: PredictRequest
    rows: range
    columns: NDArray[np.int64] | None


class BundleService:
    """Predicts several requests at once from one bundle.

    Parameters
    ----------
    predictor
        Made from a bundle.
    rows_per_pass
        Conditions that every forward pass is padded to.
    name
        Name that it is served under.
    """

    def __init__(self, predictor: Predictor, rows_per_pass: int = 32, name: str = "default") -> None:
        self.predictor = predictor
        self.name = f"{name}@{predictor.bundle.content_hash[:12]}"
        self.rows_per_pass = rows_per_pass
        self.genes = list(predictor.genes)
        self.gene_space = gene_space_id(self.genes)
        self._column = {gene: column for column, gene in enumerate(self.genes)}

    def metadata(self, version: str, limits: Mapping[str, float]) -> Metadata:
        """Return what is served; `version` and `limits` are those of the server."""
        bundle, space = self.predictor.bundle, self.predictor.space
        return Metadata(
            model=self.name,
            family=bundle.model_name,
            title=get_model(bundle.model_name).title,
            bundle=bundle.content_hash,
            version=version,
            measure=space.measure,
            gene_space=self.gene_space,
            genes=self.genes,
            cell_lines=list(space.contexts),
            pert_types=list(space.pert_types),
            n_perturbations=len(space.perturbations),
            licence=bundle.facts.licence,
            held_out_metrics=dict(bundle.facts.metrics),
            limits=dict(limits),
            rows_per_pass=[self.rows_per_pass],
        )

    def warm_up(self) -> None:
        """Run one prediction of a training condition, so that the first request is not the slow one."""
        self.predictor.warm_up(self.rows_per_pass)

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
        """Predict all conditions of all requests in one pass.

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
                answers.append(refusal(error))
                continue
            answers.append(None)
            parts[number] = _Part(request, range(height, height + len(request.conditions)), columns)
            height += len(request.conditions)
        found = dict(zip(parts, self._answer_together(list(parts.values())), strict=True))
        return [found[number] if answer is None else answer for number, answer in enumerate(answers)]

    def _answer_together(self, parts: Sequence[_Part]) -> list[Answer]:
        rows = [condition.model_dump() for part in parts for condition in part.request.conditions]
        table = pl.DataFrame(rows, schema=TABLE_SCHEMA)
        predicted = self.predictor.predict(table, batch_size=self.rows_per_pass, on_error="collect")
        finite = _finite_rows(predicted)
        errors = _item_errors(predicted, finite)
        return [self._one_answer(part, predicted, finite, errors) for part in parts]

    def _one_answer(
        self,
        part: _Part,
        predicted: PredictedConditions,
        finite: NDArray[np.bool_],
        errors: dict[int, ItemError],
    ) -> Answer:
        first, last = np.searchsorted(predicted.rows, [part.rows.start, part.rows.stop])
        kept = np.arange(first, last)[finite[first:last]]
        mean = _selected(predicted.mean, kept, part.columns)
        sd = None if predicted.sd is None else _selected(predicted.sd, kept, part.columns)
        positions = predicted.rows[kept] - part.rows.start
        head = PredictHead(
            model=self.name,
            bundle=self.predictor.bundle.content_hash,
            rows_per_pass=self.rows_per_pass,
            gene_space=self.gene_space,
            genes=part.request.genes,
            n_genes=mean.shape[1],
            items=_items(predicted.table[kept], positions),
            errors=[
                errors[row].model_copy(update={"index": row - part.rows.start})
                for row in part.rows
                if row in errors
            ],
        )
        return Answer(head, mean, sd)


def _finite_rows(predicted: PredictedConditions) -> NDArray[np.bool_]:
    finite = np.isfinite(predicted.mean)
    if predicted.sd is not None:
        finite &= np.isfinite(predicted.sd)
    return np.asarray(finite.all(axis=1))


def _selected(
    values: NDArray[np.float32], rows: NDArray[np.int64], columns: NDArray[np.int64] | None
) -> NDArray[np.float32]:
    return values[rows] if columns is None else values[np.ix_(rows, columns)]


def _items(table: pl.DataFrame, positions: NDArray[np.int64]) -> list[PredictedItem]:
    return [
        PredictedItem(
            index=position,
            sig_id=row["sig_id"],
            seen_pert=row["seen_pert"],
            seen_cell=row["seen_cell"],
            nn_train_dist=row["nn_train_dist"],
            is_in_domain=row["is_in_domain"],
        )
        for position, row in zip(positions.tolist(), table.iter_rows(named=True), strict=True)
    ]


def _item_errors(predicted: PredictedConditions, finite: NDArray[np.bool_]) -> dict[int, ItemError]:
    """Return what is wrong by row of the batch's table."""
    errors = {
        problem.row: ItemError(
            index=problem.row,
            field=problem.field,
            value=problem.value[:_LONGEST_SHOWN],
            message=problem.message,
            suggestions=list(problem.suggestions),
        )
        for problem in predicted.problems
    }
    for place in np.flatnonzero(~finite).tolist():
        row = int(predicted.rows[place])
        name = str(predicted.table["sig_id"][place])
        errors[row] = ItemError(
            index=row,
            field="prediction",
            value=name[:_LONGEST_SHOWN],
            message="The model gives no finite number here; ask for a condition nearer to its training.",
        )
    return errors
