"""Columns as a store can hold them: plain types, and names that are folders of their own on every disk.

A store keeps a column as a folder, and looks folders up without regard to case.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any, Final

import polars as pl

from pertcast_data.ingest.findings import Findings
from pertcast_data.text import listed

_LONGEST_NAME: Final = 100
_UNWANTED: Final = re.compile(r"[/\x00-\x1f\x7f]")
_NO_FOLDERS: Final = ("", ".", "..", "zarr.json", "_index")


def plain_text(value: Any) -> str | None:
    """Return bytes, lists and records as text: UTF-8 (else Latin-1), or JSON; None stays."""
    if value is None:
        return None
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError:
            return value.decode("latin-1")
    if isinstance(value, pl.Series):
        value = value.to_list()
    return json.dumps(value, ensure_ascii=False, default=str)


def is_plain(dtype: pl.DataType) -> bool:
    """Return whether a column holds one number, truth value, time or text a row."""
    return not (dtype.is_nested() or dtype in (pl.Binary, pl.Object))


def plain_columns(frame: pl.DataFrame, findings: Findings) -> pl.DataFrame:
    """Return a table whose columns hold one value a row: bytes become text, lists and records are left out.

    Parameters
    ----------
    frame
        A row or gene table as its file has it.
    findings
        Told what was changed and left out.
    """
    as_bytes = [name for name, dtype in frame.schema.items() if dtype == pl.Binary]
    nested = [name for name, dtype in frame.schema.items() if not is_plain(dtype) and name not in as_bytes]
    if as_bytes:
        findings.converted.append(f"bytes read as text: {listed(map(short_name, as_bytes))}")
        texts = [pl.Series(name, map(plain_text, frame[name]), dtype=pl.String) for name in as_bytes]
        frame = frame.with_columns(texts)
    if nested:
        findings.dropped.append(f"columns that hold lists or records: {listed(map(short_name, nested))}")
    return frame.drop(nested)


def storable_names(names: Iterable[str], taken: Iterable[str], findings: Findings) -> dict[str, str]:
    """Return under which name each column is stored.

    Parameters
    ----------
    names
        Columns of a file, in order, each once.
    taken
        Columns that the store has anyway; a column of exactly such a name is none of ours to rename.
    findings
        Told which columns are renamed.

    Returns
    -------
    dict
        Name in the file -> name in the store: unlike every other also without regard to case, without "/"
        and control characters, at most a hundred characters long.
    """
    ours = [*taken]
    known = {name.casefold() for name in ours}
    stored: dict[str, str] = {}
    for name in names:
        if name in ours:
            stored[name] = name
            continue
        wanted = _UNWANTED.sub("_", name)[:_LONGEST_NAME]
        wanted = "index" if wanted == "_index" else "column" if wanted in _NO_FOLDERS else wanted
        stored[name] = _unlike(wanted, known)
        known.add(stored[name].casefold())
    changed = [f"{short_name(name)!r} -> {new!r}" for name, new in stored.items() if name != new]
    if changed:
        findings.converted.append(f"columns renamed, as a store cannot tell them apart: {listed(changed)}")
    return stored


def _unlike(name: str, known: set[str]) -> str:
    number, found = 2, name
    while found.casefold() in known:
        found, number = f"{name}_{number}", number + 1
    return found


def short_name(name: str) -> str:
    """Return a name as a message shows it: at most a hundred characters."""
    return name if len(name) <= _LONGEST_NAME else f"{name[:40]}..."
