"""Edge lists of genes as users have them: tsv, csv, txt or Parquet, with or without a header.

Content decides: the separator, whether the first line names the columns, and which column holds the scores.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

import polars as pl

from pertcast_data.errors import FormatError, SchemaError
from pertcast_data.ingest.words import fold

END_WORDS: Final = (
    ("node1", "node2"),
    ("gene1", "gene2"),
    ("protein1", "protein2"),
    ("symbol1", "symbol2"),
    ("gene_1", "gene_2"),
    ("node_1", "node_2"),
    ("gene_a", "gene_b"),
    ("protein_a", "protein_b"),
    ("interactor_a", "interactor_b"),
    ("official_symbol_interactor_a", "official_symbol_interactor_b"),
    ("source_genesymbol", "target_genesymbol"),
    ("source", "target"),
    ("from", "to"),
)
"""Folded names of the two columns of genes, the most telling first; else the first two columns are taken."""

SCORE_WORDS: Final = (
    *("combined_score", "score", "weight", "confidence", "confidence_score", "edge_weight"),
    *("interaction_score", "correlation", "mor"),
)
"""Folded names of the column of scores; else the third of three columns is taken."""

_SEPARATORS: Final = ("\t", ",", ";")
_LAST_HEAD_LINE: Final = 1000


@dataclass(frozen=True)
class EdgeList:
    """R rows of an edge list as the file has them.

    Attributes
    ----------
    path
        The file.
    sha256
        Of its bytes.
    pairs
        R rows: first, second (text, stripped, never empty), and score (text or numbers; null where the file
        has no scores).
    score_column
        Name or place of the scores; None for a list without.
    """

    path: Path
    sha256: str
    pairs: pl.DataFrame
    score_column: str | None

    def where(self, row: int) -> str:
        """Return how a row is called in messages: file, and row from 1 without header and comments."""
        first, second = self.pairs.row(row)[:2]
        return f"{self.path}, row {row + 1} ({first}, {second})"


@dataclass(frozen=True, slots=True)
class _Layout:
    """How a text file is laid out: names of its columns (None: it names none), and where the rows begin."""

    names: list[str] | None
    separator: str | None
    width: int
    n_skipped: int


def read_edge_list(path: Path | str) -> EdgeList:
    """Read the rows of an edge list; see `END_WORDS` and `SCORE_WORDS` for the columns.

    Parameters
    ----------
    path
        Two columns of genes, and scores where there are any; separated by tabs, commas, semicolons or
        blanks, or Parquet. Lines that begin with "#" are comments, but for a header ("#node1").

    Raises
    ------
    FormatError
        The file is absent, packed or no table.
    SchemaError
        There is one column only, no row, or a row without its second gene.
    """
    path = Path(path)
    if not path.is_file():
        raise FormatError(f"{path}: no such edge list. Check the path.")
    with path.open("rb") as file:
        start = file.read(65536)
    if start.startswith((b"\x1f\x8b", b"PK\x03\x04")):
        raise FormatError(f"{path}: is packed. Unpack it first: gunzip -k FILE.")
    if start.startswith(b"PAR1"):
        frame, named = _read_parquet(path), True
    elif b"\0" in start:
        raise FormatError(f"{path}: is neither text nor Parquet. Bring an edge list: gene, gene, score.")
    else:
        frame, named = _read_text(path)
    if frame.width < 2:
        raise SchemaError(f"{path}: has one column. Bring an edge list: two columns of genes, then scores.")
    return _edge_list(path, frame, named)


def _read_parquet(path: Path) -> pl.DataFrame:
    try:
        return pl.read_parquet(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise FormatError(f"{path}: cannot be read as Parquet ({error}). Write it anew.") from error


def _read_text(path: Path) -> tuple[pl.DataFrame, bool]:
    """Return the rows as text, and whether the file names its columns."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            head = [line.rstrip("\r\n") for line in islice(file, _LAST_HEAD_LINE)]
        layout = _layout(path, head)
        frame = _text_rows(path, layout)
    except UnicodeDecodeError as error:
        raise FormatError(f"{path}: is not UTF-8 text ({error.reason}). Convert it.") from error
    except pl.exceptions.PolarsError as error:
        raise _unreadable(path, layout, error) from error
    frame = frame.filter(~pl.all_horizontal(pl.all().is_null()))
    if layout.names is not None and len(layout.names) == frame.width:
        frame.columns = layout.names
    return frame, layout.names is not None


def _unreadable(path: Path, layout: _Layout, error: Exception) -> FormatError:
    """Return the error that names the first line with more values than the first row."""
    remedy = "Write the same number of columns in every line."
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        for number, line in enumerate(file, 1):
            count = len(_fields(line, layout.separator))
            if count > layout.width and not line.startswith("#"):
                return FormatError(
                    f"{path}, line {number}: {count} values, the first row has {layout.width}. {remedy}"
                )
    return FormatError(f"{path}: cannot be read as a table ({error}). {remedy}")


def _layout(path: Path, head: list[str]) -> _Layout:
    places = [place for place, line in enumerate(head) if line.strip() and not line.startswith("#")]
    lines = [head[place] for place in places[:2]]
    nothing = f"{path}: holds no edge. Bring an edge list: two columns of genes, then scores."
    if not lines:
        raise SchemaError(nothing)
    separator = next((mark for mark in _SEPARATORS if mark in lines[0]), None)
    width = len(_fields(lines[0], separator))
    for line in (line for line in head if line.startswith("#")):
        names = _fields(line.lstrip("#"), separator)
        if len(names) == width and _ends(names) is not None:
            return _Layout(_unique(names), separator, width, places[0])
    first = _fields(lines[0], separator)
    second = _fields(lines[1], separator) if len(lines) > 1 else []
    has_numbers = any(_is_number(first, place) for place in range(width))
    if not has_numbers and (_ends(first) is not None or _is_number(second, 2)):
        if len(places) < 2:
            raise SchemaError(nothing)
        return _Layout(_unique(first), separator, width, places[1])
    return _Layout(None, separator, width, places[0])


def _fields(line: str, separator: str | None) -> list[str]:
    return [field.strip().strip('"') for field in line.split(separator)]


def _unique(names: list[str]) -> list[str]:
    """Return names of columns of which none is empty or stands there twice."""
    return [
        name if name and name not in names[:place] else f"{name}_{place + 1}"
        for place, name in enumerate(names)
    ]


def _is_number(fields: list[str], place: int) -> bool:
    try:
        float(fields[place])
    except (IndexError, ValueError):
        return False
    return True


def _text_rows(path: Path, layout: _Layout) -> pl.DataFrame:
    # "\x01" stands in no text: a line with blanks is then one value, split below.
    names = [f"column_{place + 1}" for place in range(layout.width)]
    columns = names if layout.separator is not None else names[:1]
    frame = pl.read_csv(
        path,
        separator=layout.separator or "\x01",
        has_header=False,
        skip_lines=layout.n_skipped,
        schema=dict.fromkeys(columns, pl.String),
        comment_prefix="#",
        quote_char=None if layout.separator in (None, "\t") else '"',
    )
    if layout.separator is not None:
        return frame
    parts = frame.to_series().str.strip_chars().str.replace_all(r"\s+", "\t").str.split("\t")
    if (parts.list.len() > layout.width).any():
        row = int((parts.list.len() > layout.width).arg_true()[0])
        raise FormatError(
            f"{path}, row {row + 1}: {len(parts[row])} values, the first row has {layout.width}. Write the "
            "same number of columns in every line."
        )
    return parts.list.to_struct(fields=names).struct.unnest()


def _ends(names: list[str]) -> tuple[str, str] | None:
    """Return the names of the two columns of genes, None where none is known for it."""
    folded = {fold(name): name for name in reversed(names)}
    return next(((folded[a], folded[b]) for a, b in END_WORDS if a in folded and b in folded), None)


def _score_column(path: Path, frame: pl.DataFrame, others: list[str], named: bool) -> str | None:
    """Return the column of scores: by its name, else the third of three or of columns without names."""
    if named:
        folded = {fold(name): name for name in reversed(others)}
        by_name = next((folded[word] for word in SCORE_WORDS if word in folded), None)
        if by_name is not None or len(others) > 1:
            return by_name
    return others[0] if others else None


def _edge_list(path: Path, frame: pl.DataFrame, named: bool) -> EdgeList:
    ends = (_ends(frame.columns) if named else None) or (frame.columns[0], frame.columns[1])
    others = [name for name in frame.columns if name not in ends]
    score = _score_column(path, frame, others, named)
    names = [_bare(frame[name].cast(pl.String)).replace({"": None}) for name in ends]
    scores = pl.Series([None] * frame.height, dtype=pl.Float64) if score is None else _bare(frame[score])
    pairs = pl.DataFrame([names[0].alias("first"), names[1].alias("second"), scores.alias("score")])
    empty = (pairs["first"].is_null() | pairs["second"].is_null()).arg_true()
    if len(empty):
        found = pairs["first"][empty[0]] or pairs["second"][empty[0]]
        raise SchemaError(
            f"{path}, row {empty[0] + 1}: names one gene only ({found!r}; {len(empty):,} such rows). An edge "
            "has two; fill it in or leave the row out."
        )
    return EdgeList(path, _sha256(path), pairs, score)


def _bare(column: pl.Series) -> pl.Series:
    """Return text without blanks and quotes around it, as R writes names also between tabs; numbers as is."""
    return column.str.strip_chars().str.strip_chars('"') if column.dtype == pl.String else column


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def distinct_names(edges: EdgeList) -> Iterator[str]:
    """Return the names of the genes, each once, in the order of their first row."""
    both = edges.pairs.select(pl.concat_list("first", "second").explode()).to_series()
    return iter(both.unique(maintain_order=True).to_list())
