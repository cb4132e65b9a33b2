"""Files that list groups of genes: pathways (GMT), complexes (CORUM) and annotations (GAF), told by content.

A network is made of them by co-membership; read as an edge list they would be nonsense.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pertcast_data.errors import FormatError, SchemaError
from pertcast_data.gene_sets.gmt import gmt_lines
from pertcast_data.gene_tables.identifiers import HUMAN
from pertcast_data.networks.edge_columns import known_ends
from pertcast_data.tables.content import PARQUET, content_start, head_lines, sha256_of
from pertcast_data.tables.text_blocks import TextLayout, fields_of, require_text, table_blocks, unique_names
from pertcast_data.text import fold

GroupKind = Literal["gmt", "complexes", "annotations"]

SUBUNIT_WORDS: Final = (
    *("subunits_gene_name", "subunits_gene_names", "subunits_entrez_ids", "subunits_entrez_id"),
    *("subunits_uniprot_ids", "subunits_uniprot_id"),
)
"""Folded names of CORUM's columns of subunits, the first of them that is there counts."""

_GAF_WIDTH: Final = 17
_GAF_LEAST_WIDTH: Final = 15
_GAF_SYMBOL, _GAF_QUALIFIER, _GAF_TERM, _GAF_TAXON = 2, 3, 4, 12
_NO_DESCRIPTION: Final = frozenset({"", "na", "n/a", "-"})


@dataclass(frozen=True)
class GeneGroups:
    """Groups of genes as a file lists them.

    Attributes
    ----------
    path, sha256
        The file, and its bytes.
    names
        Distinct names of genes, in the order of the file.
    members
        (M, 2) int64: number of the group, row of `names`.
    n_rows
        Rows of the file.
    notes
        What was left out, in words.
    """

    path: Path
    sha256: str
    names: tuple[str, ...]
    members: NDArray[np.int64]
    n_rows: int
    notes: tuple[str, ...] = ()


def group_kind(path: Path) -> GroupKind | None:
    """Return what kind of groups a file lists, None where it lists none (it is then an edge list).

    GAF begins with "!"; CORUM names a column of subunits; a line of GMT is a name, a description and genes,
    so its lines differ in length or their second fields describe. Where that leaves it open, a name that
    ends in .gmt tells.
    """
    if content_start(path).startswith(PARQUET):
        return None
    lines = [line for line in head_lines(path) if line.strip()]
    if lines and lines[0].startswith("!"):
        return "annotations"
    rows = [line.rstrip("\t").split("\t") for line in lines if not line.startswith("#")]
    header = fields_of(lines[0].lstrip("#"), "\t") if lines else []
    if any(fold(name) in SUBUNIT_WORDS for name in header):
        return "complexes"
    is_gmt = _is_gmt(rows, header) or ".gmt" in [suffix.lower() for suffix in path.suffixes[-2:]]
    return "gmt" if rows and is_gmt else None


def _is_gmt(rows: list[list[str]], header: list[str]) -> bool:
    if known_ends(header) is not None or any(len(row) < 3 for row in rows):
        return False
    if all(_is_number(row[2]) for row in rows):
        return False
    described = sum(_describes(row[0], row[1]) for row in rows)
    is_ragged = len({len(row) for row in rows}) > 1
    return 2 * described > len(rows) or (is_ragged and not _is_number(rows[0][2]))


def _describes(name: str, second: str) -> bool:
    text = second.strip()
    return (
        text.lower() in _NO_DESCRIPTION
        or text == name.strip()
        or " " in text
        or text.lower().startswith(("http://", "https://"))
    )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def read_gene_groups(path: Path, kind: GroupKind) -> GeneGroups:
    """Read the groups of a file; `group_kind` tells the kind.

    Complexes count where their organism is human, annotations where their taxon is and their qualifier does
    not say NOT; every evidence counts. A term has the genes annotated with it, not those of narrower terms.

    Raises
    ------
    FormatError
        A line of a GMT has too few fields, a table is ragged, or names of genes are no UTF-8.
    SchemaError
        No group is left.
    """
    readers = {"gmt": _read_gmt, "complexes": _read_complexes, "annotations": _read_annotations}
    groups = readers[kind](path)
    if not len(groups.members):
        left_out = f" ({'; '.join(groups.notes)})" if groups.notes else ""
        raise SchemaError(f"{path}: lists no group of human genes{left_out}. Bring groups of human genes.")
    require_text(path, groups.names)
    return groups


def _grouped(
    path: Path, listed: Iterable[tuple[int, str]], n_rows: int, notes: tuple[str, ...] = ()
) -> GeneGroups:
    """Return groups of (group, name of a gene) pairs."""
    number: dict[str, int] = {}
    members = [(group, number.setdefault(name, len(number))) for group, name in listed]
    table = np.array(members, dtype=np.int64).reshape(-1, 2)
    return GeneGroups(path, sha256_of(path), tuple(number), table, n_rows, notes)


def _read_gmt(path: Path) -> GeneGroups:
    """Read a GMT; unlike `read_gmt`, two groups may have one name, for a network needs none."""
    sets = list(gmt_lines(path))
    return _grouped(path, ((row, gene) for row, each in enumerate(sets) for gene in each.genes), len(sets))


def _read_complexes(path: Path) -> GeneGroups:
    head = head_lines(path)
    place = next(place for place, line in enumerate(head) if line.strip())
    names = unique_names([fold(name) for name in fields_of(head[place].lstrip("#"), "\t")])
    frame = _whole(path, TextLayout(names, "\t", len(names), place + 1))
    column = next(word for word in SUBUNIT_WORDS if word in names)
    n_rows = frame.height
    if "organism" in names:
        is_human = pl.col("organism").str.strip_chars().str.to_lowercase().is_in(["human", "homo sapiens"])
        frame = frame.filter(is_human)
    notes = _note(n_rows - frame.height, "complexes of other organisms")
    return _grouped(path, _subunits(frame[column].to_list()), n_rows, notes)


def _subunits(cells: list[str | None]) -> Iterator[tuple[int, str]]:
    for group, cell in enumerate(cells):
        for part in (cell or "").strip('"').split(";"):
            name = part.strip()
            if name and name not in ("-", "None"):
                yield group, name


def _read_annotations(path: Path) -> GeneGroups:
    first = next((line for line in head_lines(path) if line.strip() and not line.startswith("!")), "")
    found = len(first.split("\t"))
    if first and found < _GAF_LEAST_WIDTH:
        raise FormatError(
            f"{path}: begins as GAF does, but a row has {found} columns, GAF has "
            f"{_GAF_LEAST_WIDTH} to {_GAF_WIDTH}. Fetch it anew."
        )
    width = max(found, _GAF_WIDTH)
    names = [f"column_{place}" for place in range(width)]
    symbol, qualifier, term, taxon = (
        pl.col(names[place]) for place in (_GAF_SYMBOL, _GAF_QUALIFIER, _GAF_TERM, _GAF_TAXON)
    )
    is_human = taxon.str.split("|").list.first().str.strip_chars() == f"taxon:{HUMAN}"
    denies = qualifier.fill_null("").str.split("|").list.contains("NOT")
    listed = [pl.DataFrame(schema={names[_GAF_TERM]: pl.String, names[_GAF_SYMBOL]: pl.String})]
    n_rows = n_human = n_denied = 0
    for block in table_blocks(path, TextLayout(names, "\t", width, 0, comment="!")):
        human = block.filter(is_human)
        kept = human.filter(~denies)
        listed.append(kept.select(term, symbol.str.strip_chars()).drop_nulls().unique(maintain_order=True))
        n_rows, n_human = n_rows + block.height, n_human + human.height
        n_denied += human.height - kept.height
    pairs = pl.concat(listed).unique(maintain_order=True)
    number = {name: place for place, name in enumerate(pairs[names[_GAF_TERM]].unique(maintain_order=True))}
    notes = _note(n_rows - n_human, "annotations of other organisms") + _note(
        n_denied, "annotations that say NOT"
    )
    return _grouped(path, ((number[group], gene) for group, gene in pairs.iter_rows()), n_rows, notes)


def _whole(path: Path, layout: TextLayout) -> pl.DataFrame:
    empty = pl.DataFrame(schema=dict.fromkeys(layout.names or [], pl.String))
    return pl.concat([empty, *table_blocks(path, layout)])


def _note(count: int, what: str) -> tuple[str, ...]:
    return (f"{count:,} {what} left out",) if count else ()
