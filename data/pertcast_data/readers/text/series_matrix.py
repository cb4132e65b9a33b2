"""The head of a GEO series matrix: what it tells of its samples, as columns.

`!Sample_characteristics_ch1` lines hold "key: value" for each sample; each key becomes a column.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import polars as pl

from pertcast_data.readers.text.fields import split_line, typed_column
from pertcast_data.text import decode

_CHARACTERISTICS: Final = "characteristics_ch"
_KEPT: Final = ("title", "geo_accession", "source_name_ch1", "organism_ch1", "platform_id", "description")


def sample_columns(comments: Iterable[bytes], n_samples: int) -> dict[str, pl.Series]:
    """Return what the head tells of the samples, one value each; lines of another length are left out."""
    columns: dict[str, list[str]] = {}
    for line in comments:
        name, *fields = (decode(field).strip() for field in split_line(line, b"\t"))
        word = name.lower().removeprefix("!sample_")
        if word == name.lower() or len(fields) != n_samples:
            continue
        if word.startswith(_CHARACTERISTICS):
            _add_characteristics(columns, fields)
        elif word in _KEPT and word not in columns:
            columns[word] = fields
    return {name: typed_column(values) for name, values in columns.items()}


def _add_characteristics(columns: dict[str, list[str]], fields: list[str]) -> None:
    for sample, field in enumerate(fields):
        key, colon, value = field.partition(":")
        if colon and key.strip():
            column = columns.setdefault(key.strip(), [""] * len(fields))
            column[sample] = column[sample] or value.strip()
