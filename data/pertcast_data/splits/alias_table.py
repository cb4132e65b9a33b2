"""A user's table of names that mean the same: genes, compounds or cell lines.

Two columns (alias, name), or a table of genes as HGNC has it (symbol, alias_symbol, prev_symbol).
"""

from __future__ import annotations

from pathlib import Path

from pertcast_data.errors import ConfigError, SchemaError
from pertcast_data.gene_tables.gene_names import read_alias_pairs
from pertcast_data.splits.tables import read_table

Aliases = tuple[tuple[str, str], ...]
"""(alias, name) pairs."""


def read_aliases(path: Path | str) -> Aliases:
    """Read a table of aliases.

    Parameters
    ----------
    path
        csv or tsv with a header: `alias` and `name`; or a table of genes with other and older symbols (see
        `pertcast_data.gene_tables.gene_names`), of which each that is nobody's own symbol and means one gene
        only counts.

    Raises
    ------
    ConfigError
        The file is absent, or has neither pair of columns.
    """
    table = read_table(Path(path))
    if {"alias", "name"} <= set(table.columns):
        pairs = [(alias, name) for alias, name in table.select("alias", "name").iter_rows() if alias and name]
    else:
        pairs = _of_genes(Path(path), table.columns)
    return tuple(sorted(set(pairs)))


def _of_genes(path: Path, columns: list[str]) -> list[tuple[str, str]]:
    """Return every older or other symbol that is nobody's own symbol and means one gene only."""
    try:
        pairs = read_alias_pairs(path)
    except SchemaError:
        pairs = []
    if not pairs:
        raise ConfigError(
            f"{path}: a table of aliases needs the columns alias and name (or symbol and alias_symbol / "
            f"prev_symbol); it has {', '.join(columns)}. Name its columns so."
        )
    meant: dict[str, set[str]] = {}
    for alias, symbol in pairs:
        meant.setdefault(alias, set()).add(symbol)
    return [(alias, next(iter(genes))) for alias, genes in meant.items() if len(genes) == 1]
