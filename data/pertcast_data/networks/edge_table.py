"""Networks as one Parquet table: an edge a row, with the file it came from; read back, they are the same.

Equal networks are equal bytes, so the file's hash says which networks a model was made of.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as parquet
from numpy.typing import NDArray

from pertcast_data.errors import FormatError, SchemaError
from pertcast_data.networks.edge_list import EdgeList, edges_of_frame
from pertcast_data.networks.multiplex import ListedNetwork, MultiplexNetwork
from pertcast_data.storage.new_file import new_file
from pertcast_data.tables.content import PARQUET, content_start, open_content, read_parquet, sha256_of

OWN_COLUMNS: Final = ("network", "gene_a", "gene_b", "weight", "n_rows")
"""Columns of every table; channels of evidence (float32) follow them in alphabetical order."""

_NEEDED: Final = OWN_COLUMNS[:4]
_METADATA: Final = b"pertcast.networks"


@dataclass(frozen=True)
class NetworkFacts:
    """What a table tells of one of its networks, as in `ListedNetwork`."""

    name: str
    file: str
    sha256: str
    n_rows: int = 0
    n_self_loops: int = 0
    n_unmapped_ids: int = 0
    examples_unmapped: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    has_scores: bool = True


def write_edge_table(network: MultiplexNetwork, path: Path | str) -> None:
    """Write networks as one Parquet table.

    Columns: network; gene_a, gene_b (text, gene_a < gene_b); weight (float32, on the scale of the network's
    file); n_rows (int32, rows of the file merged into the edge; null where they were not counted); channels
    of evidence. Rows are sorted by network (in the order given), gene_a and gene_b. The file's metadata
    (`pertcast.networks`, JSON) names each network's source file, its SHA-256, and what was left out of it.

    Parameters
    ----------
    network
        The networks; read them `with_evidence` to have the channels.
    path
        Where; must not exist.

    Raises
    ------
    ConfigError
        `path` exists.
    """
    channels = sorted({name for each in network.networks for name in each.evidence})
    schema = _schema(channels).with_metadata({_METADATA: _facts_text(network)})
    with (
        new_file(Path(path)) as temporary,
        parquet.ParquetWriter(temporary, schema, compression="zstd") as writer,
    ):
        for each in network.networks:
            writer.write_table(_rows(network.genes, each, channels, schema))


def is_edge_table(path: Path) -> bool:
    """Return whether a file is such a table: Parquet with columns network, gene_a, gene_b and weight."""
    if not path.is_file() or not content_start(path).startswith(PARQUET):
        return False
    try:
        return set(_NEEDED) <= set(_schema_of(path).names)
    except (pa.ArrowException, OSError):
        return False  # broken: the reader of edge lists says what is wrong with it


def read_edge_table(path: Path, with_evidence: bool = False) -> list[tuple[NetworkFacts, EdgeList]]:
    """Return what a table tells of each network, and its edges, in the order of the table.

    Raises
    ------
    FormatError
        The file or its metadata cannot be read.
    SchemaError
        A row names no network or only one gene, or there is no row.
    """
    frame = read_parquet(path)
    if frame.is_empty() or frame["network"].null_count():
        what = "holds no edge" if frame.is_empty() else "has rows that name no network"
        raise SchemaError(f"{path}: {what}. Write it anew: pertcast data networks FILE... --out {path.name}.")
    told = _told(path)
    channels = tuple(name for name in frame.columns if name not in OWN_COLUMNS) if with_evidence else ()
    return list(_networks(path, frame, told, channels))


def _networks(
    path: Path, frame: pl.DataFrame, told: dict[str, NetworkFacts], channels: tuple[str, ...]
) -> Iterator[tuple[NetworkFacts, EdgeList]]:
    own = sha256_of(path)
    for (name,), rows in frame.group_by("network", maintain_order=True):
        facts = told.get(str(name), NetworkFacts(str(name), path.name, own))
        # A channel that no row of a network has belongs to another network.
        held = tuple(channel for channel in channels if rows[channel].null_count() < rows.height)
        listed = edges_of_frame(path, rows, ("gene_a", "gene_b"), "weight", held)
        is_counted = "n_rows" in rows.columns and not rows["n_rows"].null_count()
        yield (
            facts,
            replace(
                listed,
                score_column=listed.score_column if facts.has_scores else None,
                merged_rows=rows["n_rows"].cast(pl.Int32).to_numpy() if is_counted else None,
            ),
        )


def _schema_of(path: Path) -> pa.Schema:
    with open_content(path) as file:
        return parquet.read_schema(io.BytesIO(file.read()))


def _told(path: Path) -> dict[str, NetworkFacts]:
    """Return name -> facts; nothing for a table that others wrote."""
    text = (_schema_of(path).metadata or {}).get(_METADATA)
    if text is None:
        return {}
    try:
        listed = [NetworkFacts(**_as_tuples(facts)) for facts in json.loads(text)]
    except (ValueError, TypeError) as error:
        raise FormatError(
            f"{path}: its metadata {_METADATA.decode()} cannot be read ({error}). Write the table anew."
        ) from error
    return {facts.name: facts for facts in listed}


def _as_tuples(facts: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in facts.items()}


def _facts_text(network: MultiplexNetwork) -> str:
    facts = [
        NetworkFacts(
            name=each.name,
            file=each.file,
            sha256=each.sha256,
            n_rows=each.n_rows,
            n_self_loops=each.n_self_loops,
            n_unmapped_ids=each.n_unmapped_ids,
            examples_unmapped=each.examples_unmapped,
            notes=each.notes,
            has_scores=each.has_scores,
        )
        for each in network.networks
    ]
    return json.dumps([asdict(each) for each in facts], sort_keys=True)


def _schema(channels: list[str]) -> pa.Schema:
    text = pa.dictionary(pa.int32(), pa.string())
    types = (text, text, text, pa.float32(), pa.int32())
    own = [pa.field(name, kind) for name, kind in zip(OWN_COLUMNS, types, strict=True)]
    return pa.schema([*own, *(pa.field(name, pa.float32()) for name in channels)])


def _rows(genes: tuple[str, ...], each: ListedNetwork, channels: list[str], schema: pa.Schema) -> pa.Table:
    spelled = np.array(genes, dtype=object)
    by_spelling = np.argsort(spelled, kind="stable")
    rank = np.empty(len(genes), np.int32)
    rank[by_spelling] = np.arange(len(genes), dtype=np.int32)
    ends = np.sort(rank[each.edges].reshape(-1, 2), axis=1)
    order = np.lexsort((ends[:, 1], ends[:, 0]))
    names = pa.array(spelled[by_spelling].tolist(), pa.string())
    label = pa.DictionaryArray.from_arrays(np.zeros(len(order), np.int32), pa.array([each.name]))
    sides = [pa.DictionaryArray.from_arrays(ends[order, side], names) for side in (0, 1)]
    counts = _sorted(each.merged_rows, order, pa.int32())
    evidence = [_sorted(each.evidence.get(name), order, pa.float32()) for name in channels]
    weights = pa.array(each.weights[order], pa.float32())
    return pa.Table.from_arrays([label, *sides, weights, counts, *evidence], schema=schema)


def _sorted(values: NDArray[Any] | None, order: NDArray[np.int64], kind: pa.DataType) -> pa.Array:
    if values is None:
        return pa.nulls(len(order), kind)
    chosen = values[order]
    return pa.array(chosen, kind, mask=np.isnan(chosen) if chosen.dtype.kind == "f" else None)
