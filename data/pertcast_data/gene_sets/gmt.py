"""Gene sets from a GMT file: every line is checked, and a broken one is named.

The one parser of GMT: enrichment, priors and networks read through it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pertcast_data.errors import FormatError, SchemaError
from pertcast_data.tables.content import open_content, sha256_of

Repeated = Literal["refuse", "number"]


@dataclass(frozen=True, slots=True)
class GmtLine:
    """A line of a GMT file.

    Attributes
    ----------
    number
        Of the line in the file, from 1.
    name, description
        Of the set; the description may be empty.
    genes
        As listed: repeats count, empty fields do not; without weights.
    """

    number: int
    name: str
    description: str
    genes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class GeneSets:
    """Named sets of gene symbols, in the file's order.

    Attributes
    ----------
    members
        Set name -> its distinct genes, in the file's order.
    source
        Name of the file they come from (without folder).
    sha256
        Hash of the file's bytes; empty for sets that come from no file.
    """

    members: Mapping[str, tuple[str, ...]]
    source: str = ""
    sha256: str = ""

    def __len__(self) -> int:
        return len(self.members)


def read_gmt(path: Path | str, repeated: Repeated = "refuse") -> GeneSets:
    """Read a GMT file: a line a set, separated by tabs: name, description (may be empty), genes.

    Blank lines, comments ("#") and empty fields are skipped, repeated genes count once, and a weight after a
    comma ("TP53,1.0", as Enrichr writes it) is ignored.

    Parameters
    ----------
    path
        The file, packed with gzip or not.
    repeated
        What becomes of a name that stands there twice: an error, or a number after the later one ("A_2").

    Raises
    ------
    FormatError
        The file is absent or not text, holds no set, or a line is not tab-separated (the line is named).
    SchemaError
        Two sets have one name.
    """
    path = Path(path)
    members: dict[str, tuple[str, ...]] = {}
    for line in gmt_lines(path):
        if line.name in members and repeated == "refuse":
            raise SchemaError(
                f"{path}, line {line.number}: the set {line.name!r} stands there twice. Rename one of them."
            )
        members[numbered(line.name, members)] = tuple(dict.fromkeys(line.genes))
    if not members:
        raise nothing_in(path)
    return GeneSets(members, source=path.name, sha256=sha256_of(path))


def write_gmt(path: Path, members: Mapping[str, Sequence[str]]) -> None:
    """Write gene sets, a line each: name, an empty description, genes."""
    lines = ("\t".join((name, "", *genes)) + "\n" for name, genes in members.items())
    with path.open("w", encoding="utf-8") as file:
        file.writelines(lines)


def gmt_lines(path: Path) -> Iterator[GmtLine]:
    """Yield the sets of a GMT file, line by line; raises FormatError as `read_gmt`."""
    with open_content(path) as file:
        for number, raw in enumerate(file, 1):
            try:
                text = raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
            except UnicodeDecodeError as error:
                raise FormatError(
                    f"{path} is not a GMT file: line {number} is not text in UTF-8 ({error.reason}). Convert "
                    "it: iconv -t UTF-8 FILE."
                ) from error
            if text.strip() and not text.startswith("#"):
                yield _parse_line(text, number, path)


def numbered(name: str, taken: Mapping[str, object]) -> str:
    """Return the name, or the first of name_2, name_3, ... that is not taken."""
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name}_{number}"
    return free


def nothing_in(path: Path) -> FormatError:
    """Return the error of a file without a set."""
    return FormatError(f"{path} holds no gene set. A line of a GMT file is: name, description, genes (tabs).")


def _parse_line(line: str, number: int, path: Path) -> GmtLine:
    where = f"{path}, line {number}"
    fields = line.split("\t")
    if len(fields) < 3:
        raise FormatError(
            f"{where} has {len(fields)} tab-separated fields, a GMT line has a name, a description "
            f"(may be empty) and at least one gene. It begins {line[:40]!r}."
        )
    name = fields[0].strip()
    if not name:
        raise FormatError(f"{where}: the set has no name.")
    genes = (field.split(",", 1)[0].strip() for field in fields[2:])
    return GmtLine(number, name, fields[1].strip(), tuple(gene for gene in genes if gene))
