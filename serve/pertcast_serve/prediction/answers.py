"""Answers as bytes, written where they were computed, so that they cross processes once, as bytes.

Numbers are float32; as text they are written with the fewest digits that give the same float32 again.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pertcast_serve.negotiation import ARROW, CSV, JSON
from pertcast_serve.schemas.predict import PredictHead
from pertcast_serve.services import PredictedBody, PredictedProfiles

_ITEM_SCHEMA = pa.schema(
    [
        ("index", pa.int64()),
        ("sig_id", pa.string()),
        ("seen_pert", pa.bool_()),
        ("seen_cell", pa.bool_()),
        ("nn_train_dist", pa.float64()),
        ("is_in_domain", pa.bool_()),
    ]
)


@dataclass(frozen=True)
class Answer:
    """One answer of /v1/predict.

    Attributes
    ----------
    head
        All of it but the numbers.
    genes
        Names of the genes, in the order of the columns.
    mean
        (items, genes) float32, finite.
    sd
        (items, genes) float32, finite, or None.
    """

    head: PredictHead
    genes: Sequence[str]
    mean: NDArray[np.float32]
    sd: NDArray[np.float32] | None

    def body(self, media_type: str) -> PredictedBody:
        """Return the answer in a media type of `negotiation`."""
        if media_type == JSON:
            content = self.to_json()
        elif media_type == CSV:
            content = _csv(self)
        else:
            content = _columnar(self, media_type)
        return PredictedBody.of(content, len(self.head.errors))

    def to_json(self) -> bytes:
        """Return the body that `schemas.PredictResponse` describes."""
        head = self.head.model_dump_json().encode().removesuffix(b"}")
        sd = b"null" if self.sd is None else json_numbers(self.sd)
        return b"".join((head, b',"mean":', json_numbers(self.mean), b',"sd":', sd, b"}"))

    def profiles(self) -> PredictedProfiles:
        """Return the answer as arrays."""
        return PredictedProfiles(self.head, list(self.genes), self.mean, self.sd)


def json_numbers(values: NDArray[np.float32]) -> bytes:
    """Return finite float32 values, row by row, as one flat JSON array."""
    texts = pc.cast(pa.array(values.ravel()), pa.string())
    whole = pa.ListArray.from_arrays([0, len(texts)], texts)
    joined: str = pc.binary_join(whole, ",")[0].as_py()
    return f"[{joined}]".encode()


def _items(answer: Answer) -> pa.Table:
    return pa.Table.from_pylist([item.model_dump() for item in answer.head.items], schema=_ITEM_SCHEMA)


def _columnar(answer: Answer, media_type: str) -> bytes:
    """Return one row an item, with `mean` and `sd` as lists.

    The schema's metadata hold what the lists are of (`genes`, line by line), and the answer's `head` as JSON.
    """
    table = _items(answer)
    for name, values in (("mean", answer.mean), ("sd", answer.sd)):
        if values is not None:
            table = table.append_column(name, _lists(values))
    head = answer.head.model_copy(update={"items": []}).model_dump_json()
    table = table.replace_schema_metadata({"genes": "\n".join(answer.genes), "head": head})
    buffer = io.BytesIO()
    if media_type == ARROW:
        with pa.ipc.new_stream(buffer, table.schema) as stream:
            stream.write_table(table)
    else:
        pq.write_table(table, buffer)
    return buffer.getvalue()


def _lists(values: NDArray[np.float32]) -> pa.Array:
    offsets = np.arange(len(values) + 1, dtype=np.int32) * values.shape[1]
    return pa.ListArray.from_arrays(offsets, pa.array(values.ravel()))


def _csv(answer: Answer) -> bytes:
    """Return one row an item and one column a gene; its spread is the column `GENE.sd`."""
    table = pl.from_arrow(_items(answer))
    assert isinstance(table, pl.DataFrame)
    columns = [pl.Series(gene, answer.mean[:, column]) for column, gene in enumerate(answer.genes)]
    if answer.sd is not None:
        columns += [pl.Series(f"{gene}.sd", answer.sd[:, column]) for column, gene in enumerate(answer.genes)]
    # A gene may be called like a column of an item: the items' columns keep their names.
    known = set(table.columns)
    named = [each.rename(f"{each.name}.mean") if each.name in known else each for each in columns]
    return table.hstack(named).write_csv().encode()
