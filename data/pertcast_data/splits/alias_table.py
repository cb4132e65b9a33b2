"""A user's table of names that mean the same: genes, compounds or cell lines.

Two columns (alias, name), or the HGNC's own download (symbol, alias_symbol, prev_symbol).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import polars as pl

from pertcast_data.errors import ConfigError
from pertcast_data.splits.tables import read_table

Aliases = tuple[tuple[str, str], ...]
"""(alias, name) pairs."""

_HGNC: Final = ("alias_symbol", "prev_symbol")
_LISTED: Final = re.compile(r"\s*[|,;]\s*")


def read_aliases(path: Path | str) -> Aliases:
    """Read a table of aliases.

    Parameters
    ----------
    path
        csv or tsv with a header: `alias` and `name`, or `symbol` and `alias_symbol`/`prev_symbol` (several
        names in a cell are separated by "|").

    Raises
    ------
    ConfigError
        The file is absent, or has neither pair of columns.
    """
    table = read_table(Path(path))
    if {"alias", "name"} <= set(table.columns):
        pairs = [(alias, name) for alias, name in table.select("alias", "name").iter_rows() if alias and name]
    elif "symbol" in table.columns and set(_HGNC) & set(table.columns):
        pairs = _hgnc_pairs(table)
    else:
        raise ConfigError(
            f"{path}: a table of aliases needs the columns alias and name (or symbol and "
            f"{' / '.join(_HGNC)}); it has {', '.join(table.columns)}. Name its columns so."
        )
    return tuple(sorted(set(pairs)))


def _hgnc_pairs(table: pl.DataFrame) -> list[tuple[str, str]]:
    """Return every older or other symbol that is nobody's own symbol and means one gene only."""
    own = set(table["symbol"])
    meant: dict[str, set[str]] = {}
    for column in _HGNC:
        if column in table.columns:
            for symbol, cell in table.select("symbol", column).iter_rows():
                for alias in _LISTED.split((cell or "").strip('"')):
                    if alias and alias not in own:
                        meant.setdefault(alias, set()).add(symbol)
    return [(alias, next(iter(genes))) for alias, genes in meant.items() if len(genes) == 1]
