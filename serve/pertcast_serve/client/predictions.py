"""Predicted profiles as arrays beside a table of their conditions."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray
from pertcast.errors import PertcastError
from pertcast_data.errors import nearest_sentence

from pertcast_serve.client.tables import row_table
from pertcast_serve.schemas.predict import Condition, ItemError, PredictedItem

if TYPE_CHECKING:
    from anndata import AnnData

Values = NDArray[np.float32]


class NotPredicted(PertcastError):
    """Conditions that the server refused, one by one."""


@dataclass(frozen=True)
class Predictions:
    """Predicted responses.

    Attributes
    ----------
    table
        One row a predicted condition: `index` (its place in what was asked), its own fields, and `sig_id`,
        `seen_pert`, `seen_cell`, `nn_train_dist`, `is_in_domain`.
    genes
        Names of the G genes.
    mean
        (N, G) float32 responses, in the table's order.
    sd
        (N, G) float32 spread of single profiles, or None where the model has none.
    errors
        Conditions that were not predicted: `index`, `field`, `value`, `message`, `suggestions`.
    model, bundle
        name@version that answered, and the hash of its bundle.
    """

    table: pl.DataFrame
    genes: list[str]
    mean: Values
    sd: Values | None
    errors: pl.DataFrame
    model: str
    bundle: str

    def __len__(self) -> int:
        return self.table.height

    def raise_for_errors(self) -> Predictions:
        """Return these predictions; raises NotPredicted where a condition was refused."""
        if self.errors.is_empty():
            return self
        first = self.errors.row(0, named=True)
        near = nearest_sentence(first["suggestions"])
        raise NotPredicted(
            f"{self.errors.height} of {self.errors.height + len(self)} conditions were not predicted. "
            f"Condition {first['index']}, {first['field']} {first['value']!r}: {first['message']}{near}"
        )

    def to_anndata(self) -> AnnData:
        """Return an AnnData: X the mean, layer `sd`, obs the table (named by sig_id), var the genes."""
        import pandas as pd
        from anndata import AnnData

        columns = {name: self.table[name].to_numpy() for name in self.table.columns if name != "sig_id"}
        obs = pd.DataFrame(
            columns, index=pd.Index(self.table["sig_id"].to_list(), name="sig_id", dtype=object)
        )
        found = AnnData(
            X=self.mean,
            obs=obs,
            var=pd.DataFrame(index=pd.Index(self.genes, name="gene_symbol", dtype=object)),
            uns={"model": self.model, "bundle": self.bundle},
        )
        if self.sd is not None:
            found.layers["sd"] = self.sd
        return found


@dataclass(frozen=True)
class Part:
    """One answer of /v1/predict, to conditions from `first` on."""

    first: int
    head: Mapping[str, Any]
    items: pl.DataFrame
    genes: list[str]
    mean: Values
    sd: Values | None


def parsed_part(first: int, content: bytes) -> Part:
    """Return the Arrow answer to the conditions from `first` on."""
    table = pa.ipc.open_stream(content).read_all()
    facts = table.schema.metadata
    genes = facts[b"genes"].decode().split("\n")
    sd = _values(table, "sd", len(genes)) if "sd" in table.column_names else None
    rows = table.select([name for name in table.column_names if name not in ("mean", "sd")]).to_pylist()
    items = row_table(rows, PredictedItem).with_columns(pl.col("index") + first)
    return Part(first, json.loads(facts[b"head"]), items, genes, _values(table, "mean", len(genes)), sd)


def _values(table: pa.Table, name: str, width: int) -> Values:
    flat = table[name].combine_chunks().flatten() if table.num_rows else pa.array([], pa.float32())
    found: Values = flat.to_numpy(zero_copy_only=False).reshape(table.num_rows, width)
    return found


def merged(rows: Sequence[Mapping[str, Any]], parts: Sequence[Part]) -> Predictions:
    """Return the answers to all parts of `rows` as one, in the order of the rows."""
    items = pl.concat([part.items for part in parts])
    asked = row_table([rows[index] for index in items["index"]], Condition)
    asked = asked.select([name for name in asked.columns if any(name in row for row in rows)])
    head = parts[0].head
    answered = [part for part in parts if len(part.mean)] or parts[:1]
    # A part in which nothing could be predicted has no spread either.
    spreads = [part.sd for part in answered if part.sd is not None]
    return Predictions(
        table=pl.concat([items.select("index"), asked, items.drop("index")], how="horizontal"),
        genes=parts[0].genes,
        mean=_joined([part.mean for part in answered]),
        sd=_joined(spreads) if len(spreads) == len(answered) else None,
        errors=row_table(list(_errors(parts)), ItemError),
        model=str(head["model"]),
        bundle=str(head["bundle"]),
    )


def _joined(arrays: Sequence[Values]) -> Values:
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def _errors(parts: Sequence[Part]) -> Iterator[dict[str, Any]]:
    for part in parts:
        for error in part.head["errors"]:
            yield {**error, "index": error["index"] + part.first}
