"""Small tables that users bring: text, comma or tab separated."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from pertcast_data.errors import ConfigError


def read_table(path: Path, *, has_header: bool = True) -> pl.DataFrame:
    """Read a csv or tsv as text columns; raises ConfigError naming the file where that fails."""
    separator = _separator(path)
    try:
        return pl.read_csv(
            path, separator=separator, has_header=has_header, infer_schema=False, comment_prefix="#"
        )
    except (pl.exceptions.PolarsError, OSError) as error:
        raise ConfigError(f"{path}: cannot be read as a table ({error}). Bring a csv or tsv.") from error


def first_lines(path: Path, count: int = 1) -> list[str]:
    """Return the first lines that are no comment; raises ConfigError where there is no such file."""
    try:
        with path.open(encoding="utf-8") as file:
            lines = (line.rstrip("\n") for line in file)
            return [
                line for line, _ in zip((one for one in lines if one[:1] != "#"), range(count), strict=False)
            ]
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({error}). Check the path.") from error


def _separator(path: Path) -> str:
    head = "".join(first_lines(path))
    return "\t" if "\t" in head else ","
