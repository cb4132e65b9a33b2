"""What each column of a text matrix is: the name of its line, an annotation, or numbers; and what lines are.

Names decide (`column_roles`), together with whether the sampled fields are numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final, Literal

from pertcast_data.errors import FormatError
from pertcast_data.readers.column_roles import (
    ROW_NUMBER_WORDS,
    Orientation,
    gene_likeness,
    is_gene_name_column,
    is_gene_note,
    is_profile_id,
    is_profile_note,
    looks_like_gene,
)
from pertcast_data.readers.text.fields import is_missing, is_number
from pertcast_data.tables.text_blocks import unique_names
from pertcast_data.text import fold

Kind = Literal["numbers", "text"]
_ROW_NAME_WORDS: Final = (*ROW_NUMBER_WORDS, "id", "name")
_ENOUGH: Final = 0.3
_SURELY_GENES: Final = 0.75


class AnnotationTableError(FormatError):
    """A table of annotations stands where profiles are wanted."""


@dataclass(frozen=True, slots=True)
class Columns:
    """What each column is, by its place from 0.

    Attributes
    ----------
    names
        Of all columns; annotations have names of their own.
    row_name
        The column that names its line; None where lines are numbered.
    notes_at
        Annotation columns, among them `row_name` where its name is one of an annotation.
    values
        The matrix's columns.
    orientation
        What the lines are.
    told
        What was decided, in words.
    """

    names: tuple[str, ...]
    row_name: int | None
    notes_at: tuple[int, ...]
    values: tuple[int, ...]
    orientation: Orientation
    told: tuple[str, ...]


def settle_columns(
    path: Path,
    names: Sequence[str],
    rows: Sequence[Sequence[str]],
    orientation: Orientation | None,
    annotations: Sequence[str] | None = None,
    *,
    is_series: bool = False,
) -> Columns:
    """Settle what each column is.

    Parameters
    ----------
    path
        The file, for messages.
    names
        The header, as wide as the lines ("" for row names that have none).
    rows
        Fields of some lines.
    orientation
        What the lines are, where the caller knows.
    annotations
        Columns that annotate the lines, beside those whose names tell it, where the caller knows.
    is_series
        Whether it is a GEO series matrix: its lines are genes.

    Raises
    ------
    FormatError
        There are no numbers, it cannot be told what the lines are, or an annotation is no column.
    """
    absent = [name for name in annotations or () if name not in names]
    if absent:
        raise no_such_annotation(path, absent[0])
    kinds = [_kind([row[place] for row in rows]) for place in range(len(names))]
    numbers = [place for place in _candidates(names, kinds) if names[place] not in (annotations or ())]
    if not numbers:
        raise _annotations_error(path)
    told = orientation or ("genes" if is_series else _orientation(path, names, rows, kinds, numbers))
    row_name = _row_name(path, names, rows, kinds, told)
    notes_at = _annotations(names, kinds, row_name, told, annotations)
    values = tuple(place for place in range(len(names)) if place != row_name and place not in notes_at)
    value_names = [names[place] for place in values]
    n_texts = kinds.count("text")
    is_told = orientation is not None or annotations is not None
    looks_empty = told == "profiles" and not is_told and gene_likeness(value_names) <= 0
    if not values or (looks_empty and len(values) <= n_texts):
        raise _annotations_error(path)
    own = unique_names([name or f"column_{place + 1}" for place, name in enumerate(names)])
    kept = tuple(own[place] if place in notes_at else name for place, name in enumerate(names))
    return Columns(
        kept, row_name, notes_at, values, told, _told(names, kept, notes_at, value_names, told, row_name)
    )


def _kind(fields: Sequence[str]) -> Kind:
    filled = [field for field in fields if not is_missing(field)]
    # One broken value makes no column of words: it is named where it is read.
    return "numbers" if 2 * sum(map(is_number, filled)) >= len(filled) else "text"


def _candidates(names: Sequence[str], kinds: Sequence[Kind]) -> list[int]:
    return [
        place
        for place, (name, kind) in enumerate(zip(names, kinds, strict=True))
        if kind == "numbers"
        and not (is_profile_note(name) or is_gene_note(name))
        and not (place == 0 and fold(name) in _ROW_NAME_WORDS)
    ]


def _annotations_error(path: Path) -> AnnotationTableError:
    return AnnotationTableError(
        f"{path}: this is a table of annotations, without a matrix of numbers: pass it by --obs-table "
        "(with --key), and name the file of profiles. (A list of profile, gene, value is read as Parquet.)"
    )


def no_such_annotation(path: Path, name: str) -> FormatError:
    """Return the error for a named annotation that a table does not have."""
    return FormatError(f"{path}: has no column {name!r}. Correct `annotation_columns` in the mapping file.")


def _orientation(
    path: Path, names: Sequence[str], rows: Sequence[Sequence[str]], kinds: Sequence[Kind], numbers: list[int]
) -> Orientation:
    columns = gene_likeness([names[place] for place in numbers])
    has_names = 0 not in numbers
    lines = gene_likeness([row[0] for row in rows]) if has_names else 0.0
    lean = columns - lines + _lean_of_headings(names)
    is_torn = min(columns, lines) >= _SURELY_GENES
    if not is_torn and lean >= _ENOUGH:
        return "profiles"
    if not is_torn and lean <= -_ENOUGH:
        return "genes"
    if len(numbers) <= kinds.count("text"):
        raise _annotations_error(path)
    why = "both sides look like genes" if is_torn else "neither side's names tell which are the genes"
    raise FormatError(
        f"{path}: cannot tell whether a line is a profile or a gene: {why} (columns "
        f"{_some([names[place] for place in numbers])}; lines {_some([row[0] for row in rows])}). Say "
        "`orientation: profiles` or `orientation: genes` (what a line is) in the mapping file."
    )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3])


def _lean_of_headings(names: Sequence[str]) -> float:
    """Return what the headings tell: above 0 that lines are profiles, below 0 that they are genes."""
    lean = 0.0
    if is_gene_name_column(names[0]):
        lean -= 0.6
    elif is_profile_note(names[0]):
        lean += 0.6
    others = names[1:]
    lean += 0.5 * any(is_profile_note(name) and not is_gene_note(name) for name in others)
    lean -= 0.5 * any(is_gene_note(name) and fold(name) != "gene" for name in others)
    return lean


def _row_name(
    path: Path,
    names: Sequence[str],
    rows: Sequence[Sequence[str]],
    kinds: Sequence[Kind],
    orientation: Orientation,
) -> int | None:
    is_named = fold(names[0]) in _ROW_NAME_WORDS
    if orientation == "genes":
        if is_named or kinds[0] == "text" or is_gene_name_column(names[0]):
            return 0
        found = next((place for place, name in enumerate(names) if is_gene_name_column(name)), None)
        if found is None:
            raise FormatError(
                f"{path}: lines are genes, but no column names them (the first is {names[0]!r}, of numbers). "
                "Write the genes' names into the first column."
            )
        return found
    if is_named or is_profile_id(names[0]):
        return 0
    first = [row[0] for row in rows]
    is_distinct = len(set(first)) == len(first) > 1
    return 0 if kinds[0] == "text" and (is_distinct or not is_profile_note(names[0])) else None


def _annotations(
    names: Sequence[str],
    kinds: Sequence[Kind],
    row_name: int | None,
    orientation: Orientation,
    chosen: Sequence[str] | None,
) -> tuple[int, ...]:
    is_note = is_profile_note if orientation == "profiles" else is_gene_note
    known = [is_note(name) or name in (chosen or ()) for name in names]
    places = [place for place in range(len(names)) if place != row_name]
    values = [place for place in places if kinds[place] == "numbers" and not known[place]]
    found = {
        place
        for place in places
        if known[place] or (kinds[place] == "text" and (not values or place < values[0]))
    }
    if orientation == "profiles":
        if row_name is not None and known[row_name] and not is_profile_id(names[row_name]):
            found.add(row_name)
        if chosen is None:
            found.update(_leading_strangers(names, values))
    return tuple(sorted(found))


def _leading_strangers(names: Sequence[str], values: Sequence[int]) -> list[int]:
    """Return the numbers before the first gene where nearly all others look like genes ("age", "weight")."""
    strange = [not looks_like_gene(names[place]) for place in values]
    n_leading = strange.index(False) if False in strange else 0
    is_clear = n_leading > 0 and sum(strange[n_leading:]) <= 0.05 * (len(values) - n_leading)
    return list(values[:n_leading]) if is_clear and n_leading <= len(values) / 4 else []


def _told(
    names: Sequence[str],
    kept: Sequence[str],
    notes_at: Sequence[int],
    value_names: Sequence[str],
    orientation: Orientation,
    row_name: int | None,
) -> tuple[str, ...]:
    lines, columns = ("profiles", "genes") if orientation == "profiles" else ("genes", "profiles")
    told = [f"lines are {lines}, {len(value_names):,} columns are {columns}"]
    if notes_at:
        told.append(f"annotation columns: {', '.join(kept[place] for place in notes_at[:20])}")
    if row_name is None:
        told.append("lines have no names: they are numbered from 0")
    twice = _repeated(value_names)
    if twice:
        told.append(
            f"names of {columns} that stand there several times: {len(twice):,} ({', '.join(twice[:5])})"
        )
    renamed = [f"{names[place]} -> {kept[place]}" for place in notes_at if names[place] != kept[place]]
    if renamed:
        told.append(f"columns renamed, as their names repeat or are empty: {', '.join(renamed[:5])}")
    return tuple(told)


def _repeated(names: Sequence[str]) -> list[str]:
    return sorted({one for one, other in pairwise(sorted(names)) if one == other})
