"""Predictions: any number of conditions as requests of the server's size, a few in flight, in order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import numpy as np
from pertcast.errors import SchemaError, UnknownGene

from pertcast_serve.client.errors import RequestRefused
from pertcast_serve.client.predictions import Part, Predictions, merged, parsed_part
from pertcast_serve.client.tables import Rows, parsed, sent_rows
from pertcast_serve.client.transport import ARROW, Asking, encoded
from pertcast_serve.schemas.models import Metadata
from pertcast_serve.schemas.predict import MAX_CONDITIONS, MAX_GENES, Condition

IN_FLIGHT: Final = 4
_SPARE_BYTES: Final = 512
"""Of a body, for all but conditions and genes."""


class Predicting(Asking):
    """Asks for predictions."""

    def predict(
        self, conditions: Rows, genes: Sequence[str] | None = None, model: str | None = None
    ) -> Predictions:
        """Predict conditions, however many.

        Parameters
        ----------
        conditions
            Dicts, or a Polars or pandas table, in CMap words: `cell_iname` and `pert_id`, and where they
            apply `pert_type`, `pert_dose` (uM), `pert_time` (h), their units and `canonical_smiles`.
        genes
            Only these, in this order; all where None.
        model
            Name of a served model or name@version; the server's first where None.

        Returns
        -------
        Predictions
            What the server could not predict stands in `errors`, with the nearest known names.

        Raises
        ------
        SchemaError
            There is no condition, or a field that conditions do not have.
        UnknownGene
            A gene is none of the model's (of more genes than one request may name).
        ServerError
            The server refused, or could not be reached.

        Examples
        --------
        >>> with Client("http://127.0.0.1:8000") as client:
        ...     found = client.predict([{"cell_iname": "A375", "pert_id": "TP53", "pert_type": "trt_xpr"}])
        """
        rows = sent_rows(conditions, Condition)
        if not rows:
            raise SchemaError("There is no condition to predict; give at least one.")
        # One condition fits every server; for more, its limits are asked, and one version answers all parts.
        metadata = self.metadata(model) if len(rows) > 1 or genes is not None else None
        body: dict[str, Any] = {} if model is None else {"model": model}
        chosen = None if genes is None else list(genes)
        if (
            metadata is not None
            and chosen is not None
            and len(chosen) > metadata.limits.get("genes", MAX_GENES)
        ):
            return _selected(self._predict(rows, body, metadata), chosen)
        return self._predict(rows, body if chosen is None else body | {"genes": chosen}, metadata)

    def metadata(self, model: str | None = None) -> Metadata:
        """Return what a model is and accepts, with its genes, and the server's limits."""
        return parsed(Metadata, self._transport.get("/v1/metadata", {"model": model}).json())

    def _predict(
        self, rows: list[dict[str, Any]], body: dict[str, Any], metadata: Metadata | None
    ) -> Predictions:
        limits = {} if metadata is None else metadata.limits
        spare = len(encoded(body)) + _SPARE_BYTES
        parts = list(
            _parts(
                rows, int(limits.get("conditions", MAX_CONDITIONS)), limits.get("body_bytes", np.inf) - spare
            )
        )
        if len(parts) == 1:
            return merged(rows, [self._ask(parts[0], rows, body, is_whole=True)])
        if metadata is not None:
            body = body | {"model": metadata.model}
        with ThreadPoolExecutor(IN_FLIGHT, "pertcast-predict") as threads:
            asked = [threads.submit(self._ask, part, rows, body) for part in parts]
            try:
                return merged(rows, [each.result() for each in asked])
            finally:
                for each in asked:
                    each.cancel()

    def _ask(
        self, part: range, rows: Sequence[dict[str, Any]], body: dict[str, Any], is_whole: bool = False
    ) -> Part:
        sent = body | {"conditions": [rows[row] for row in part]}
        try:
            answer = self._transport.post("/v1/predict", sent, accept=ARROW)
        except RequestRefused as refusal:
            if is_whole:
                raise
            detail = (
                f"{refusal.detail} (Of conditions {part.start} to {part.stop - 1}, counted from 0 there.)"
            )
            raise type(refusal)(
                refusal.title, detail, refusal.status, refusal.errors, refusal.request_id
            ) from refusal
        return parsed_part(part.start, answer.content)


def _parts(rows: Sequence[dict[str, Any]], most_rows: int, most_bytes: float) -> Iterator[range]:
    """Yield ranges of rows that fit into one request each."""
    start, size = 0, 0
    for row, condition in enumerate(rows):
        length = len(encoded(condition)) + 1
        if row > start and (row - start == most_rows or size + length > most_bytes):
            yield range(start, row)
            start, size = row, 0
        size += length
    yield range(start, len(rows))


def _selected(found: Predictions, genes: list[str]) -> Predictions:
    """Return predictions of chosen genes out of those of all."""
    column = {gene: number for number, gene in enumerate(found.genes)}
    for gene in genes:
        if gene not in column:
            raise UnknownGene(gene, found.genes, where="genes", remedy="metadata().genes lists all.")
    columns = np.array([column[gene] for gene in genes])
    sd = None if found.sd is None else found.sd[:, columns]
    return Predictions(
        found.table, genes, found.mean[:, columns], sd, found.errors, found.model, found.bundle
    )
