"""Records of files of structures, as text: SDF, SMI and tables with a column of SMILES.

A file is split into its records without looking at their chemistry, so a broken record spoils no other.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pertcast_data.errors import FormatError, SchemaError
from pertcast_data.tables.content import content_start, open_content
from pertcast_data.tables.table import open_table
from pertcast_data.text import decode, fold

ID_WORDS: Final = (
    *("pert_id", "broad_id", "compound_id", "drug_id"),
    *("catalog_id", "catalogue_id", "catalog_number", "catalog", "cat_no", "molecule_id", "chembl_id"),
    *("zinc_id", "idnumber", "id", "name", "drug_name", "compound_name", "cmap_name", "pert_iname"),
)
"""Folded names of the column of ids in a table of structures, the most telling first."""

SMILES_WORDS: Final = ("canonical_smiles", "smiles", "isomeric_smiles", "x_smiles", "structure")
"""Folded names of the column of structures, the most telling first."""

_SMI_ENDINGS: Final = (".smi", ".smiles", ".ism", ".can")
_READ_BYTES: Final = 1 << 22
_LARGEST_RECORD: Final = 1 << 26
_RECORD_END: Final = re.compile(rb"^\$\$\$\$[^\n]*(?:\n|\Z)", re.MULTILINE)
_MOL_END: Final = re.compile(r"^M  END[^\n]*\n?", re.MULTILINE)
_PROPERTY: Final = re.compile(r"^>[^\n<]*<([^\n]*)>[^\n]*\n((?:[^\n]*\S[^\n]*(?:\n|\Z))*)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class StructureRecord:
    """One record.

    Attributes
    ----------
    number
        In its file, from 1 (headers and blank lines do not count).
    id
        Empty where it has none.
    smiles, mol_block
        Its structure: one of both.
    properties
        Name -> text; missing ones are absent.
    damage
        What is wrong with the record itself; empty where nothing is.
    """

    number: int
    id: str
    smiles: str | None = None
    mol_block: str = ""
    properties: Mapping[str, str] = field(default_factory=dict)
    damage: str = ""


def is_structure_file(path: Path) -> bool:
    """Return whether a file is SDF (by its content) or SMI (by its name: its content is any text)."""
    if not path.is_file():
        return False
    return _is_smi(path) or _is_sdf(content_start(path))


def structure_records(path: Path, id_property: str | None = None) -> Iterator[StructureRecord]:
    """Yield the records of a file of structures; see `pertcast_data.compounds.library`.

    Raises
    ------
    FormatError
        The file is absent, broken, or of no known kind.
    SchemaError
        A table has no column of SMILES or of ids.
    """
    if not path.is_file():
        raise FormatError(f"{path}: no such library of compounds. Check the path.")
    if _is_smi(path):
        return _smi_records(path)
    if _is_sdf(content_start(path)):
        return _sdf_records(path, id_property)
    return _table_records(path, id_property)


def _is_smi(path: Path) -> bool:
    return path.name.lower().removesuffix(".gz").endswith(_SMI_ENDINGS)


def _is_sdf(start: bytes) -> bool:
    # The fourth line of a record counts its atoms and bonds and ends in the version.
    lines = start.split(b"\n", 4)[:4]
    return len(lines) == 4 and lines[3].rstrip().endswith((b"V2000", b"V3000"))


def _sdf_records(path: Path, id_property: str | None) -> Iterator[StructureRecord]:
    number = 0
    with open_content(path) as file:
        for raw, is_closed in _split(path, file):
            number += 1
            record = _sdf_record(number, decode(raw).replace("\r\n", "\n"), id_property)
            if not is_closed and number > 1 and not record.damage:
                record = StructureRecord(
                    number, record.id, damage="the file breaks off in it (no $$$$ line at its end)"
                )
            yield record


def _split(path: Path, file: io.BufferedIOBase) -> Iterator[tuple[bytes, bool]]:
    """Yield the bytes of each record, and whether its end is marked."""
    waiting = b""
    while read := file.read(_READ_BYTES):
        waiting += read + file.readline()
        ends = list(_RECORD_END.finditer(waiting))
        start = 0
        for end in ends:
            yield waiting[start : end.start()], True
            start = end.end()
        waiting = waiting[start:]
        if len(waiting) > _LARGEST_RECORD:
            raise FormatError(
                f"{path}: a record has more than {_LARGEST_RECORD >> 20} MiB: no $$$$ line ends it. Write "
                "the file again."
            )
    if waiting.strip():
        yield waiting, False


def _sdf_record(number: int, text: str, id_property: str | None) -> StructureRecord:
    end = _MOL_END.search(text)
    title = text.split("\n", 1)[0].strip()
    if end is None:
        return StructureRecord(number, title, damage="has no M  END line: its structure is not whole")
    properties = {
        name.strip(): value.strip() for name, value in _PROPERTY.findall(text, end.end()) if value.strip()
    }
    own_id = title if id_property is None else properties.get(id_property, "")
    return StructureRecord(number, own_id, mol_block=text[: end.end()], properties=properties)


def _smi_records(path: Path) -> Iterator[StructureRecord]:
    number = 0
    with open_content(path) as file:
        for place, raw in enumerate(file):
            line = decode(raw).removeprefix("\ufeff").strip()
            if not line or line.startswith("#"):
                continue
            smiles, _, rest = line.partition("\t") if "\t" in line else line.partition(" ")
            smiles, rest = smiles.strip(), rest.strip()
            if place == 0 and fold(smiles) in SMILES_WORDS:
                continue
            number += 1
            if rest.startswith("|") and "|" in rest[1:]:  # ChemAxon's extension stands before the id
                rest = rest[1:].partition("|")[2].strip()
            yield StructureRecord(number, rest.split("\t", 1)[0].strip(), smiles=smiles)


def _table_records(path: Path, id_property: str | None) -> Iterator[StructureRecord]:
    table = open_table(path)
    folded = {fold(name): name for name in reversed(table.columns)}
    smiles = next((folded[word] for word in SMILES_WORDS if word in folded), None)
    ids = next((folded[word] for word in ID_WORDS if word in folded), None)
    ids = ids if id_property is None else id_property
    if smiles is None or ids is None or ids not in table.columns:
        what = "SMILES" if smiles is None else "ids" if id_property is None else repr(id_property)
        headless = " Its first line looks like a row: write a line of names above it."
        raise SchemaError(
            f"{path}: has no column of {what}: {', '.join(table.columns[:12])}. Name its columns id and "
            f"smiles, or bring SDF or SMI.{headless if table.looks_headless else ''}"
        )
    number = 0
    for block in table.blocks():
        for row in block.iter_rows(named=True):
            number += 1
            structure = row[smiles]
            others = {
                name: str(value)
                for name, value in row.items()
                if value is not None and name not in (smiles, ids)
            }
            yield StructureRecord(
                number,
                "" if row[ids] is None else str(row[ids]).strip(),
                smiles=str(structure or ""),
                properties=others,
                damage="" if structure else "its structure is empty",
            )
