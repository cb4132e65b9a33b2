"""What an export writes: which rows in which order, under which names, with which columns.

A store keeps a source's own columns, and as `source_NAME` those that were rewritten: they can be put back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pertcast_data.errors import ConfigError
from pertcast_data.readers.source import SOURCE_ID
from pertcast_data.store import ExpressionStore
from pertcast_data.vocabulary import OBS_COLUMNS

_PREFIX: Final = "source_"
_COMPUTED: Final = ("condition_id", "is_control", SOURCE_ID, "source_row", "source_file")
"""Columns that no source had."""


@dataclass(frozen=True)
class ExportRows:
    """Rows, genes and columns of an export.

    Attributes
    ----------
    order
        (n_rows,) int64, store rows in the order in which they are written.
    row_names, gene_names
        Names of rows and genes.
    obs_columns, var_columns
        Column of the store -> its name in the file.
    obs, var
        These columns under these names, rows in order.
    """

    order: NDArray[np.int64]
    row_names: list[str]
    gene_names: list[str]
    obs_columns: dict[str, str]
    var_columns: dict[str, str]
    obs: pl.DataFrame
    var: pl.DataFrame


def export_rows(store: ExpressionStore, source_order: bool, as_source: bool) -> ExportRows:
    """Settle what is written.

    Parameters
    ----------
    store
        What is exported.
    source_order
        Rows as the source files had them, file after file, instead of as they are stored.
    as_source
        Rows and genes under the source's own names, rewritten columns as they were, and without columns that
        the store added.

    Raises
    ------
    ConfigError
        The store does not know its source rows: it was not made by an ingest of files.
    """
    needed = (("source_file", "source_row") if source_order else ()) + ((SOURCE_ID,) if as_source else ())
    lacking = [name for name in needed if name not in store.obs.columns]
    if lacking:
        raise ConfigError(
            f"{store.path} has no column {lacking[0]}: it was not ingested from files, so there is no source "
            "to go back to. Leave out --source-order and --as-source."
        )
    order = _source_order(store) if source_order else np.arange(store.n_rows, dtype=np.int64)
    obs_columns, var_columns = _columns(store.obs, as_source), {name: name for name in store.var.columns}
    if as_source:
        var_columns = {name: name for name in var_columns if _says_something(store.var, name)}
        var_columns.pop("gene_id", None)
    obs = store.obs[order.tolist()]
    return ExportRows(
        order=order,
        row_names=_row_names(obs, as_source),
        gene_names=_gene_names(store, as_source),
        obs_columns=obs_columns,
        var_columns=var_columns,
        obs=obs.select(pl.col(name).alias(shown) for name, shown in obs_columns.items()),
        var=store.var.select(pl.col(name).alias(shown) for name, shown in var_columns.items()),
    )


def _source_order(store: ExpressionStore) -> NDArray[np.int64]:
    place = {name: number for number, name in enumerate(store.info.sources)}
    keys = store.obs.select(
        pl.col("source_file").replace_strict(place, default=len(place), return_dtype=pl.Int64).alias("place"),
        "source_file",
        "source_row",
    )
    ordered = keys.with_row_index("row").sort("place", "source_file", "source_row", "row")
    return ordered["row"].to_numpy().astype(np.int64)


def _columns(obs: pl.DataFrame, as_source: bool) -> dict[str, str]:
    if not as_source:
        return {name: name for name in obs.columns}
    rewritten = {f"{_PREFIX}{name}": name for name in OBS_COLUMNS if f"{_PREFIX}{name}" in obs.columns}
    replaced = {*rewritten.values(), *_COMPUTED}
    if "source_sig_id" not in rewritten and SOURCE_ID in obs.columns:
        replaced.add("sig_id")
    return {
        name: rewritten.get(name, name)
        for name in obs.columns
        if name not in replaced and (name not in OBS_COLUMNS or _says_something(obs, name))
    }


def _says_something(table: pl.DataFrame, name: str) -> bool:
    return table[name].null_count() < table.height


def _row_names(obs: pl.DataFrame, as_source: bool) -> list[str]:
    names = obs[SOURCE_ID if as_source else "sig_id"].cast(pl.String)
    if names.null_count() or (not as_source and names.n_unique() < len(names)):
        return [str(row) for row in range(obs.height)]
    return names.to_list()


def _gene_names(store: ExpressionStore, as_source: bool) -> list[str]:
    ids = store.var["gene_id"]
    complete = not ids.null_count() and ids.n_unique() == len(ids)
    return ids.to_list() if as_source and complete else list(store.genes)
