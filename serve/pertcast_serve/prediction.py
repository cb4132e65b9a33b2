"""The batched predictor: one bundle, several requests a call, no HTTP.

Requests that arrive together are predicted in one pass and split again; a prediction does not depend
on its neighbours (fixed padded shapes, noise keyed by condition).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from pertcast.errors import PertcastError, UnitError, UnknownGene
from pertcast.models.registry import get_model
from pertcast.predictor import PredictedConditions, Predictor
from pertcast_data.vocabulary import dose_in_micromolar, time_in_hours

from pertcast_serve.problems import finite_or_none
from pertcast_serve.schemas import (
    MAX_CONDITIONS,
    Condition,
    ItemError,
    Metadata,
    PredictedItem,
    PredictRequest,
    PredictResponse,
)

TABLE_SCHEMA = {
    "cell_iname": pl.String,
    "pert_id": pl.String,
    "cmap_name": pl.String,
    "pert_type": pl.String,
    "pert_dose": pl.Float64,
    "pert_dose_unit": pl.String,
    "pert_time": pl.Float64,
    "pert_time_unit": pl.String,
    "canonical_smiles": pl.String,
}


def gene_space_id(genes: Sequence[str]) -> str:
    """Return a short stable id of an ordered list of genes."""
    return hashlib.sha256("\n".join(genes).encode()).hexdigest()[:16]


def _row(condition: Condition) -> dict[str, Any]:
    dose, time = condition.pert_dose, condition.pert_time
    return {
        "cell_iname": condition.cell_iname,
        "pert_id": condition.pert_id,
        "cmap_name": condition.pert_id,
        "pert_type": condition.pert_type,
        "pert_dose": None if dose is None else dose_in_micromolar(dose, condition.pert_dose_unit),
        "pert_dose_unit": None if dose is None else "uM",
        "pert_time": None if time is None else time_in_hours(time, condition.pert_time_unit),
        "pert_time_unit": None if time is None else "h",
        "canonical_smiles": condition.canonical_smiles,
    }


def condition_rows(request: PredictRequest) -> tuple[list[dict[str, Any]], list[int], list[ItemError]]:
    """Return the conditions as table rows (uM, h), their positions, and those with unknown units."""
    rows: list[dict[str, Any]] = []
    positions: list[int] = []
    errors: list[ItemError] = []
    for position, condition in enumerate(request.conditions):
        try:
            rows.append(_row(condition))
            positions.append(position)
        except UnitError as error:
            units = f"{condition.pert_dose_unit}, {condition.pert_time_unit}"
            errors.append(ItemError(index=position, field="unit", value=units, message=str(error)))
    return rows, positions, errors


class BundleService:
    """Predicts several requests at once from one bundle.

    Parameters
    ----------
    bundle_path
        Folder of a bundle.
    device
        Torch device of the weights.
    """

    def __init__(self, bundle_path: str, device: str = "cpu") -> None:
        self.predictor = Predictor.from_bundle(bundle_path, device=device)
        self.genes = list(self.predictor.genes)
        self.gene_space = gene_space_id(self.genes)
        self._gene_row = {gene: row for row, gene in enumerate(self.genes)}

    def metadata(self, version: str) -> Metadata:
        """Return what is served; `version` is that of the server."""
        bundle, space = self.predictor.bundle, self.predictor.space
        return Metadata(
            model=bundle.model_name,
            title=get_model(bundle.model_name).title,
            bundle=bundle.hash,
            version=version,
            measure=space.measure,
            gene_space=self.gene_space,
            genes=self.genes,
            cell_lines=list(space.contexts),
            pert_types=list(space.pert_types),
            n_perturbations=len(space.perturbations),
            licence=bundle.facts.licence,
            held_out_metrics=dict(bundle.facts.metrics),
            limits={"conditions": MAX_CONDITIONS},
        )

    def warm_up(self) -> None:
        """Run one prediction of a training condition, so that the first request is not the slow one."""
        self.predictor.warm_up()

    def gene_columns(self, genes: Sequence[str] | None) -> np.ndarray | None:
        """Return the columns of the chosen genes; UnknownGene names the nearest known ones."""
        if genes is None:
            return None
        for gene in genes:
            if gene not in self._gene_row:
                raise UnknownGene(
                    gene, self.genes, where="field 'genes'", remedy="/v1/metadata lists all genes."
                )
        return np.array([self._gene_row[gene] for gene in genes], dtype=np.int64)

    def predict(self, requests: Sequence[PredictRequest]) -> list[PredictResponse | PertcastError]:
        """Predict all conditions of all requests in one pass.

        Returns one answer a request, in order: a response, or the error of that request alone, so that a
        bad request does not fail those it was batched with.
        """
        rows: list[dict[str, Any]] = []
        owners: list[tuple[int, int]] = []
        errors: list[list[ItemError]] = [[] for _ in requests]
        for number, request in enumerate(requests):
            found, positions, refused = condition_rows(request)
            rows += found
            owners += [(number, position) for position in positions]
            errors[number] += refused
        predicted = self.predictor.predict(pl.DataFrame(rows, schema=TABLE_SCHEMA), on_error="collect")
        for problem in predicted.problems:
            number, position = owners[problem.row]
            errors[number].append(
                ItemError(
                    index=position,
                    field=problem.field,
                    value=str(problem.value)[:200],
                    message=problem.message,
                    suggestions=list(problem.suggestions),
                )
            )
        answers: list[PredictResponse | PertcastError] = []
        for number, request in enumerate(requests):
            try:
                answers.append(self._response(request, number, predicted, owners, errors[number]))
            except UnknownGene as error:
                answers.append(error)
        return answers

    def _response(
        self,
        request: PredictRequest,
        number: int,
        predicted: PredictedConditions,
        owners: Sequence[tuple[int, int]],
        errors: list[ItemError],
    ) -> PredictResponse:
        good = [k for k, row in enumerate(predicted.rows) if owners[row][0] == number]
        flags = predicted.table[good].to_dicts()
        columns = self.gene_columns(request.genes)
        mean = predicted.mean[good]
        sd = None if predicted.sd is None else predicted.sd[good]
        if columns is not None:
            mean = mean[:, columns]
            sd = None if sd is None else sd[:, columns]
        items = [
            PredictedItem(
                index=owners[predicted.rows[k]][1],
                sig_id=flag["sig_id"],
                seen_pert=flag["seen_pert"],
                seen_cell=flag["seen_cell"],
                nn_train_dist=finite_or_none(flag["nn_train_dist"]),
                is_in_domain=flag["is_in_domain"],
            )
            for k, flag in zip(good, flags, strict=True)
        ]
        return PredictResponse(
            model=self.predictor.bundle.model_name,
            bundle=self.predictor.bundle.hash,
            gene_space=self.gene_space,
            genes=request.genes,
            n_genes=mean.shape[1],
            items=items,
            mean=mean.ravel().tolist(),
            sd=None if sd is None else sd.ravel().tolist(),
            errors=sorted(errors, key=lambda error: error.index),
        )
