"""Signatures as people type and paste them: lists of genes in any separators, or a value a gene.

The text has the words of `pertcast_data.signatures`, which reads the same from files.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pertcast_data.ingest.rows.missing import MISSING_WORDS
from pertcast_data.signatures import GENE_WORDS, VALUE_WORDS
from pertcast_data.text import counted, fold, listed

from pertcast_serve.problems import Refused
from pertcast_serve.schemas.analysis import MAX_SET_GENES, MAX_SIGNATURE_GENES
from pertcast_serve.schemas.base import Problem

LONGEST_NAME: Final = 200
_SEPARATORS: Final = re.compile(r"[\s,;|]+")
_QUOTES: Final = "\"'`\u201c\u201d\u2018\u2019"
_TITLE: Final = "The signature cannot be read"


@dataclass(frozen=True)
class ValuedGenes:
    """A value a gene.

    Attributes
    ----------
    genes, values
        Names and finite numbers, in the text's order.
    remarks
        What was taken and what was left out, in words.
    """

    genes: tuple[str, ...]
    values: tuple[float, ...]
    remarks: tuple[str, ...] = ()


def unreadable(detail: str) -> Refused:
    """Return the refusal of a text, to be raised."""
    return Refused(Problem(title=_TITLE, status=422, detail=detail))


def read_set(text: str, label: str) -> tuple[str, ...]:
    """Read names of genes in any separators; lines that begin with "#" are comments.

    Parameters
    ----------
    text
        What was pasted; a heading ("gene", "symbol") is left out.
    label
        What the list is called in messages.

    Raises
    ------
    Refused
        There are more names than a set may hold, or one is too long to be a name.
    """
    lines = [line for line in _lines(text) if not line.lstrip().startswith("#")]
    names = [name for word in _SEPARATORS.split("\n".join(lines)) if (name := word.strip(_QUOTES))]
    if names and fold(names[0]) in GENE_WORDS:
        names = names[1:]
    if len(names) > MAX_SET_GENES:
        raise unreadable(
            f"{label}: {len(names):,} names, of which {MAX_SET_GENES:,} may be searched for. Take the "
            f"strongest, or paste a value a gene (up to {MAX_SIGNATURE_GENES:,})."
        )
    _check_names(names, label)
    return tuple(names)


def read_values(text: str) -> ValuedGenes:
    """Read a value a gene: two columns, or a table with a heading; rows without a value are left out.

    Parameters
    ----------
    text
        Lines of columns, separated by tabs, commas, semicolons or blanks. With more than two columns a
        heading names those of genes and values, as in tables of differential expression.

    Raises
    ------
    Refused
        There are no such columns, a value is no number, or there are too many rows.
    """
    rows = _rows(text)
    if not rows:
        return ValuedGenes((), ())
    gene, value, first = _columns(rows)
    kept: list[tuple[str, float]] = []
    for number, row in enumerate(rows[first:], first + 1):
        name, written = (row[place] if place < len(row) else "" for place in (gene, value))
        if name and written.lower() not in MISSING_WORDS:
            kept.append((name, _number(written, name, number)))
    if not kept:
        raise unreadable("No line of the values holds a gene and its value. Write one a line: TP53 -1.7.")
    if len(kept) > MAX_SIGNATURE_GENES:
        raise unreadable(
            f"There are values of {len(kept):,} genes; at most {MAX_SIGNATURE_GENES:,} are compared. Leave "
            "out those near 0."
        )
    _check_names([name for name, _ in kept], "The list of values")
    remarks = [f"Values are column {rows[0][value]!r}."] if first else []
    left_out = len(rows) - first - len(kept)
    if left_out:
        remarks.append(f"{counted(left_out, 'line')} without a gene or value left out.")
    return ValuedGenes(tuple(name for name, _ in kept), tuple(found for _, found in kept), tuple(remarks))


def _lines(text: str) -> list[str]:
    return text.lstrip("\ufeff").splitlines()


def _rows(text: str) -> list[list[str]]:
    """Return the cells of the lines that hold something and are no comment."""
    lines = [line for line in _lines(text) if line.strip() and not line.lstrip().startswith("#")]
    if not lines:
        return []
    separator = next((mark for mark in "\t;," if mark in lines[0]), "")
    if not separator:
        return [[cell.strip(_QUOTES) for cell in line.split()] for line in lines]
    return [[cell.strip().strip(_QUOTES) for cell in _cells(line, separator)] for line in lines]


def _cells(line: str, separator: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=separator))
    except csv.Error as error:
        raise unreadable(f"The line {line[:60]!r} is no row of a table: {error}.") from error


def _columns(rows: Sequence[Sequence[str]]) -> tuple[int, int, int]:
    """Return the columns of genes and of values, and how many rows are a heading."""
    head = rows[0]
    if len(head) == 2 and _is_number(head[1]):
        return 0, 1, 0
    folded = [fold(cell) for cell in head]
    # R writes row names under an empty heading, or under none.
    gene = next((folded.index(word) for word in GENE_WORDS if word in folded), None)
    if gene is None and folded and not folded[0]:
        gene = 0
    if gene is None:
        raise unreadable(
            f"No column of the values names genes; the first line has {listed(map(repr, head), 8)}. Paste "
            "two columns (gene, value), or name one 'gene' and one 'value'."
        )
    value = next((folded.index(word) for word in VALUE_WORDS if word in folded), None)
    if value is None or value == gene:
        others = [place for place in range(len(head)) if place != gene]
        numbers = [place for place in others if _holds_numbers(rows[1:], place)]
        if len(numbers) != 1:
            raise unreadable(
                f"No column holds the values of the signature; beside {head[gene]!r} there are "
                f"{listed((repr(head[place]) for place in others), 8) or 'none'}. Name one of them 'value'."
            )
        value = numbers[0]
    return gene, value, 1


def _holds_numbers(rows: Sequence[Sequence[str]], place: int) -> bool:
    return bool(rows) and all(place < len(row) and _is_number(row[place]) for row in rows)


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _number(text: str, name: str, line: int) -> float:
    if not _is_number(text):
        raise unreadable(
            f"Line {line:,} of the values ({name[:40]}): {text[:40]!r} is no finite number. Correct it, or "
            "leave the line out."
        )
    return float(text)


def _check_names(names: Sequence[str], label: str) -> None:
    for number, name in enumerate(names, 1):
        if len(name) > LONGEST_NAME:
            raise unreadable(
                f"{label}: name {number:,} ({name[:30]!r}...) has {len(name):,} letters, which no gene has. "
                "Part names by blanks, commas or lines."
            )
