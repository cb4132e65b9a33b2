"""Gene sets from a GMT file: every line is checked, and a broken one is named."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pertcast_data.errors import FormatError, SchemaError


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


def read_gmt(path: Path | str) -> GeneSets:
    """Read a GMT file: a line a set, separated by tabs: name, description (may be empty), genes.

    Blank lines and empty fields are skipped, repeated genes count once, and a weight after a comma
    ("TP53,1.0", as Enrichr writes it) is ignored.

    Raises
    ------
    FormatError
        The file is not text, holds no set, or a line is not tab-separated (the line is named).
    SchemaError
        Two sets have one name.
    """
    path = Path(path)
    content = path.read_bytes()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FormatError(f"{path} is not a GMT file: it is not text ({error.reason}).") from error
    members: dict[str, tuple[str, ...]] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        name, genes = _parse_line(line, f"{path}, line {number}")
        if name in members:
            raise SchemaError(
                f"{path}, line {number}: the set {name!r} stands there twice. Rename one of them."
            )
        members[name] = genes
    if not members:
        raise FormatError(
            f"{path} holds no gene set. A line of a GMT file is: name, description, genes (tabs)."
        )
    return GeneSets(members, source=path.name, sha256=hashlib.sha256(content).hexdigest())


def _parse_line(line: str, where: str) -> tuple[str, tuple[str, ...]]:
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
    return name, tuple(dict.fromkeys(gene for gene in genes if gene))
