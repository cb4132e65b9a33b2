"""Names of a store's genes: unique, readable, in the order of every profile."""

from __future__ import annotations

from collections import Counter

import polars as pl

from pertcast_data.errors import SchemaError


def gene_table(var: pl.DataFrame) -> pl.DataFrame:
    """Return `var` with text columns `gene_id` and `gene_symbol` first (null where missing)."""
    if not {"gene_id", "gene_symbol"} & set(var.columns):
        raise SchemaError(
            f"var has neither gene_id nor gene_symbol (it has {', '.join(var.columns) or 'no columns'}). "
            "Map one of its columns to gene_symbol."
        )
    names = [
        var[name].cast(pl.String)
        if name in var.columns
        else pl.Series(name, [None] * var.height, dtype=pl.String)
        for name in ("gene_id", "gene_symbol")
    ]
    return pl.DataFrame(
        [*names, *(series for series in var if series.name not in ("gene_id", "gene_symbol"))]
    )


def gene_names(var: pl.DataFrame) -> tuple[str, ...]:
    """Return the unique name of each gene: its symbol, or its id where the symbol is missing or repeated.

    Raises
    ------
    SchemaError
        A gene has neither, or two genes would bear one name.
    """
    table = gene_table(var)
    symbols, ids = table["gene_symbol"].to_list(), table["gene_id"].to_list()
    repeated = {symbol for symbol, count in Counter(symbols).items() if count > 1}
    names = [
        symbol if symbol and symbol not in repeated else identifier
        for symbol, identifier in zip(symbols, ids, strict=True)
    ]
    nameless = [row for row, name in enumerate(names) if not name]
    if nameless:
        raise SchemaError(
            f"{len(nameless)} genes have no unique symbol and no gene_id (first: row {nameless[0]} of var, "
            f"symbol {symbols[nameless[0]]!r}). Give them a gene_id."
        )
    clashes = sorted(name for name, count in Counter(names).items() if count > 1)
    if clashes:
        raise SchemaError(
            f"Genes are named twice: {', '.join(map(str, clashes[:5]))}. Remove the repeats from var."
        )
    return tuple(str(name) for name in names)
