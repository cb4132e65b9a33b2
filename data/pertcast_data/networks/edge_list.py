"""Edge lists of genes as users have them: tsv, csv, txt, gzip or Parquet, with or without a header.

Content decides: the separator, whether the first line names the columns, and (`edge_columns`) which is which.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pertcast_data.errors import FormatError, SchemaError
from pertcast_data.gene_tables.identifiers import HUMAN
from pertcast_data.networks.edge_columns import EdgeColumns, edge_columns, known_ends
from pertcast_data.networks.name_numbers import NameNumbers
from pertcast_data.tables.content import PARQUET, content_start, head_lines, read_parquet, sha256_of
from pertcast_data.tables.text_blocks import TextLayout, fields_of, require_text, table_blocks, unique_names
from pertcast_data.text import fold

_SEPARATORS: Final = ("\t", ",", ";")
_NOTHING: Final = "holds no edge. Bring an edge list: two columns of genes, then scores."


@dataclass(frozen=True)
class EdgeList:
    """R rows of an edge list as the file has them.

    Attributes
    ----------
    path
        The file.
    sha256
        Of its bytes.
    names
        Distinct names of genes, stripped, in the order of their first row.
    ends
        (R, 2) int32 rows of `names`.
    scores
        (R,) float64; 1 where the file has no scores, NaN where one is no finite number.
    score_column
        Name of the column of scores; None for a list without.
    bad_score
        The first score that is no finite number: its row and what stands there; None where all are.
    n_foreign
        Rows of other organisms than human, and rows without a name of both genes there; left out.
    evidence
        Channel -> (R,) float32, NaN where one is no number; empty unless it was asked for.
    merged_rows
        (R,) int32, rows of a file that were merged into each row; None: one.
    """

    path: Path
    sha256: str
    names: tuple[str, ...]
    ends: NDArray[np.int32]
    scores: NDArray[np.float64]
    score_column: str | None
    bad_score: tuple[int, str | None] | None = None
    n_foreign: int = 0
    evidence: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    merged_rows: NDArray[np.int32] | None = None

    @property
    def pairs(self) -> pl.DataFrame:
        """R rows: first, second (text, never empty)."""
        names = pl.Series(self.names, dtype=pl.String)
        return pl.DataFrame(
            {word: names.gather(self.ends[:, side]) for side, word in enumerate(("first", "second"))}
        )

    def where(self, row: int) -> str:
        """Return how a row is called in messages: file, and row from 1 without header and comments."""
        first, second = (self.names[end] for end in self.ends[row])
        return f"{self.path}, row {row + 1} ({first}, {second})"


def read_edge_list(path: Path | str, with_evidence: bool = False) -> EdgeList:
    """Read the rows of an edge list; see `edge_columns` for which columns count.

    Parameters
    ----------
    path
        Two columns of genes, and scores where there are any; separated by tabs, commas, semicolons or
        blanks, packed with gzip or not, or Parquet. Lines that begin with "#" are comments, but for a header
        ("#node1").
    with_evidence
        Also read STRING's channels (`EVIDENCE_WORDS`) where the file has them.

    Raises
    ------
    FormatError
        The file is absent, packed otherwise, no table, or a line has too many values.
    SchemaError
        There is one column only, no row, or a row without its second gene.
    """
    path = Path(path)
    if not path.is_file():
        raise FormatError(f"{path}: no such edge list. Check the path.")
    if content_start(path).startswith(PARQUET):
        frame = read_parquet(path)
        return _collected(path, iter([frame]), edge_columns(path, frame.columns, True, with_evidence))
    layout = _layout(path, head_lines(path))
    names = layout.names or [f"column_{place + 1}" for place in range(layout.width)]
    columns = edge_columns(path, names, layout.names is not None, with_evidence)
    return _collected(path, table_blocks(path, layout), columns)


def edges_of_frame(
    path: Path, frame: pl.DataFrame, ends: tuple[str, str], score: str, evidence: tuple[str, ...] = ()
) -> EdgeList:
    """Return the rows of a frame whose columns are known; raises as `read_edge_list`."""
    return _collected(path, iter([frame]), EdgeColumns(ends, score, None, evidence))


def _layout(path: Path, head: list[str]) -> TextLayout:
    places = [place for place, line in enumerate(head) if line.strip() and not line.startswith("#")]
    lines = [head[place] for place in places[:2]]
    if not lines:
        raise SchemaError(f"{path}: {_NOTHING}")
    separator = next((mark for mark in _SEPARATORS if mark in lines[0]), None)
    first = fields_of(lines[0], separator)
    width = len(first)
    for line in (line for line in head if line.startswith("#")):
        names = fields_of(line.lstrip("#"), separator)
        if len(names) == width and known_ends(names) is not None:
            return TextLayout(unique_names(names), separator, width, places[0])
    second = fields_of(lines[1], separator) if len(lines) > 1 else []
    has_numbers = any(_is_number(first, place) for place in range(width))
    if not has_numbers and (known_ends(first) is not None or _is_number(second, 2)):
        if len(places) < 2:
            raise SchemaError(f"{path}: {_NOTHING}")
        return TextLayout(unique_names(first), separator, width, places[1])
    return TextLayout(None, separator, width, places[0])


def _is_number(fields: list[str], place: int) -> bool:
    try:
        float(fields[place])
    except (IndexError, ValueError):
        return False
    return True


def _collected(path: Path, blocks: Iterator[pl.DataFrame], columns: EdgeColumns) -> EdgeList:
    """Return the rows of all blocks as numbers: a block's text is let go before the next is read."""
    numbers = NameNumbers()
    ends, scores = [np.empty((0, 2), np.int32)], [np.empty(0)]
    evidence = {name: [np.empty(0, np.float32)] for name in columns.evidence}
    bad_score: tuple[int, str | None] | None = None
    n_rows = n_foreign = 0
    for block in blocks:
        frame = _human_rows(block, columns)
        n_foreign += block.height - frame.height
        ends.append(numbers.of([frame[name] for name in columns.ends]))
        _require_both(path, frame, columns.ends, ends[-1], n_rows)
        scores.append(_scores(frame, columns.score))
        for name, found_evidence in evidence.items():
            found_evidence.append(_scores(frame, name).astype(np.float32))
        wrong = np.flatnonzero(np.isnan(scores[-1]))
        if len(wrong) and bad_score is None and columns.score is not None:
            found = frame[columns.score][int(wrong[0])]
            bad_score = (n_rows + int(wrong[0]), None if found is None else str(found))
        n_rows += frame.height
    if n_foreign and not n_rows:
        raise SchemaError(
            f"{path}: none of its {n_foreign:,} rows is human on both sides ({HUMAN}). Fetch the human file."
        )
    require_text(path, numbers.names)
    return EdgeList(
        path=path,
        sha256=sha256_of(path),
        names=numbers.names,
        ends=np.concatenate(ends),
        scores=np.concatenate(scores),
        score_column=columns.score,
        bad_score=bad_score,
        n_foreign=n_foreign,
        evidence={fold(name): np.concatenate(values) for name, values in evidence.items()},
    )


def _human_rows(frame: pl.DataFrame, columns: EdgeColumns) -> pl.DataFrame:
    """Return rows whose two genes are human and named; all rows where the table tells no organism."""
    if columns.organisms is None:
        return frame
    is_human = [
        pl.col(name).cast(pl.String).str.strip_chars().str.strip_suffix(".0") == HUMAN
        for name in columns.organisms
    ]
    has_name = [pl.col(name).cast(pl.String).str.strip_chars() != "-" for name in columns.ends]
    return frame.filter(pl.all_horizontal(*is_human, *has_name))


def _require_both(
    path: Path, frame: pl.DataFrame, columns: tuple[str, str], ends: NDArray[np.int32], n_before: int
) -> None:
    empty = np.flatnonzero((ends < 0).any(axis=1))
    if len(empty):
        row = int(empty[0])
        found = next((frame[name][row] for side, name in enumerate(columns) if ends[row, side] >= 0), None)
        raise SchemaError(
            f"{path}, row {n_before + row + 1}: names one gene only ({found!r}; {len(empty):,} such rows). "
            "An edge has two; fill it in or leave the row out."
        )


def _scores(frame: pl.DataFrame, column: str | None) -> NDArray[np.float64]:
    if column is None:
        return np.ones(frame.height)
    values = frame[column]
    numbers = values.cast(pl.Float64, strict=False)
    if values.dtype == pl.String and numbers.null_count():
        numbers = values.str.strip_chars().str.strip_chars('"').cast(pl.Float64, strict=False)
    found = numbers.fill_null(np.nan).to_numpy()
    scores: NDArray[np.float64] = np.where(np.isfinite(found), found, np.nan)
    return scores
