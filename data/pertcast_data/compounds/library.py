"""Libraries of compounds with ids of their own: SDF, SMI, or a table with a column of SMILES.

Records are read one after another; one that is no structure is listed with its number, id and reason, and
every other one has its canonical SMILES and InChIKey, salts stripped.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

import polars as pl
from rdkit import Chem, rdBase

from pertcast_data.compounds import (
    Compound,
    canonical_molecule,
    canonicalise,
    why_no_molecule,
    why_no_structure,
)
from pertcast_data.compounds.structure_files import StructureRecord, is_structure_file, structure_records
from pertcast_data.errors import SchemaError
from pertcast_data.tables.content import sha256_of

__all__ = ["CompoundLibrary", "is_structure_file", "library_blocks", "read_compound_library"]

ID: Final = "id"
STRUCTURE_COLUMNS: Final = ("canonical_smiles", "inchi_key")
_OWN_SCHEMA: Final = {
    ID: pl.String,
    "canonical_smiles": pl.String,
    "inchi_key": pl.String,
    "is_salt": pl.Boolean,
    "record": pl.Int64,
}
_RECORDS_AT_ONCE: Final = 4096


@dataclass(frozen=True, slots=True)
class InvalidRecord:
    """A record that is no structure, or has no id.

    Attributes
    ----------
    number
        Of the record in its file, from 1.
    id
        Its id; empty where it has none.
    reason
        What is wrong with it.
    """

    number: int
    id: str
    reason: str

    def __str__(self) -> str:
        return f"record {self.number} ({self.id or 'no id'}): {self.reason}"


@dataclass(frozen=True)
class LibraryBlock:
    """Some records of a library, in order.

    Attributes
    ----------
    compounds
        id, canonical_smiles, inchi_key, is_salt (a salt or solvent was stripped), record (number from 1),
        then the records' properties as text.
    invalid
        Records that are not among them.
    """

    compounds: pl.DataFrame
    invalid: tuple[InvalidRecord, ...]


@dataclass(frozen=True)
class CompoundLibrary:
    """A library of compounds, each id once.

    Attributes
    ----------
    file, sha256
        Name (without folder) and content of the file.
    compounds
        One row an id, as in `LibraryBlock`.
    invalid
        Records without a structure or an id, in order.
    same_structure
        Structures that several ids have: inchi_key, ids (a list, in order of the file).
    n_repeats
        Records left out because an earlier one has the same id and structure.
    """

    file: str
    sha256: str
    compounds: pl.DataFrame
    invalid: tuple[InvalidRecord, ...]
    same_structure: pl.DataFrame
    n_repeats: int

    def lines(self) -> list[str]:
        """Return the library's counts, and all that is wrong with it, as lines of text."""
        n_salts = int(self.compounds["is_salt"].sum())
        counts = f"{self.file}: {self.compounds.height:,} compounds, {n_salts:,} salts stripped"
        repeats = f", {self.n_repeats:,} repeated records left out" if self.n_repeats else ""
        same = [
            f"  one structure under several ids: {', '.join(ids)} ({key})"
            for key, ids in self.same_structure.iter_rows()
        ]
        return [counts + repeats, *(f"  no structure: {record}" for record in self.invalid), *same]


def read_compound_library(path: Path | str, id_property: str | None = None) -> CompoundLibrary:
    """Read a library whole; a million records take some hundred bytes each.

    Parameters
    ----------
    path
        SDF (V2000, V3000), SMI (SMILES, blank, id) or a table with a column of SMILES; packed with gzip or
        not.
    id_property
        The property (SDF) or column (table) that holds the ids; else the title line, or a column named
        pert_id, broad_id, compound_id, ..., id.

    Raises
    ------
    FormatError
        The file is absent, broken, or none of these.
    SchemaError
        There is no column of SMILES, no record has an id, no valid structure is left, or one id has two
        structures.
    """
    path = Path(path)
    blocks = list(library_blocks(path, id_property))
    empty = pl.DataFrame(schema=_OWN_SCHEMA)
    records = pl.concat([empty, *(block.compounds for block in blocks)], how="diagonal")
    invalid = tuple(record for block in blocks for record in block.invalid)
    if records.is_empty():
        told = f" ({'; '.join(map(str, invalid[:3]))})" if invalid else ""
        raise SchemaError(f"{path}: holds no valid structure with an id{told}. Correct the file.")
    _require_one_structure(path, records)
    compounds = records.unique(ID, keep="first", maintain_order=True)
    return CompoundLibrary(
        file=path.name,
        sha256=sha256_of(path),
        compounds=compounds,
        invalid=invalid,
        same_structure=_shared_structures(compounds),
        n_repeats=records.height - compounds.height,
    )


def library_blocks(
    path: Path, id_property: str | None = None, wanted: frozenset[str] | None = None
) -> Iterator[LibraryBlock]:
    """Yield a library some thousand records at a time, in the memory of these.

    Parameters
    ----------
    path, id_property
        As in `read_compound_library`; an id may stand in several records here.
    wanted
        Ids that are looked at; all others are passed over unread, which is some twenty times as fast.

    Raises
    ------
    FormatError, SchemaError
        As `read_compound_library`, but for what needs the whole file.
    """
    has_id = False
    unread = structure_records(path, id_property)
    while records := list(islice(unread, _RECORDS_AT_ONCE)):
        has_id = has_id or any(record.id for record in records)
        if not has_id:
            raise _without_ids(path, id_property, records)
        block = _block(record for record in records if wanted is None or record.id in wanted)
        if block.compounds.height or block.invalid:
            yield block


def _block(records: Iterable[StructureRecord]) -> LibraryBlock:
    rows, invalid = [], []
    with rdBase.BlockLogs():
        for record in records:
            found = _structure(record) if record.id else "has no id"
            if isinstance(found, str):
                invalid.append(InvalidRecord(record.number, record.id, record.damage or found))
                continue
            compound, is_salt = found
            own = (record.id, compound.canonical_smiles, compound.inchi_key, is_salt, record.number)
            properties = {_property_name(name): value for name, value in record.properties.items()}
            rows.append({**dict(zip(_OWN_SCHEMA, own, strict=True)), **properties})
    names = dict.fromkeys(name for row in rows for name in row)
    columns = {name: [row.get(name) for row in rows] for name in names}
    schema = {name: _OWN_SCHEMA.get(name, pl.String) for name in (names or _OWN_SCHEMA)}
    return LibraryBlock(pl.DataFrame(columns, schema=schema), tuple(invalid))


def _property_name(name: str) -> str:
    # A property must not hide what was computed here.
    return f"file_{name}" if name in _OWN_SCHEMA else name


def _structure(record: StructureRecord) -> tuple[Compound, bool] | str:
    """Return the structure of a record and whether it is a salt, or why it has none."""
    if record.damage:
        return record.damage
    try:
        if record.smiles is not None:
            compound = canonicalise(record.smiles)
            return (compound, "." in record.smiles) if compound else why_no_structure(record.smiles)
        molecule = Chem.MolFromMolBlock(record.mol_block)
        compound = None if molecule is None else canonical_molecule(molecule)
        if compound is None:
            unchecked = Chem.MolFromMolBlock(record.mol_block, sanitize=False)
            return why_no_molecule(unchecked, "mol block")
        return compound, len(Chem.GetMolFrags(molecule)) > 1
    except (ValueError, RuntimeError) as error:  # what RDKit raises where a file contradicts itself
        return " ".join(str(error).split())[:200] or "RDKit cannot read it"


def _without_ids(path: Path, id_property: str | None, records: Iterable[StructureRecord]) -> SchemaError:
    names = dict.fromkeys(name for record in records for name in record.properties)
    held = f"they have {', '.join([*names][:12])}" if names else "they have no properties"
    where = "the title lines are empty" if id_property is None else f"no record has {id_property!r}"
    return SchemaError(f"{path}: records have no id: {where}; {held}. Name the property that holds the ids.")


def _require_one_structure(path: Path, records: pl.DataFrame) -> None:
    found = (
        records.group_by(ID, maintain_order=True)
        .agg(pl.col("inchi_key").n_unique().alias("n"), pl.col("record"), pl.col("canonical_smiles"))
        .filter(pl.col("n") > 1)
    )
    if found.is_empty():
        return
    shown = [
        f"{row['id']} in records {', '.join(map(str, row['record'][:3]))}: "
        f"{' and '.join(dict.fromkeys(row['canonical_smiles']))}"
        for row in found.head(3).iter_rows(named=True)
    ]
    raise SchemaError(
        f"{path}: {found.height:,} ids stand for different structures ({'; '.join(shown)}). Give each "
        "structure an id of its own, or leave one out."
    )


def _shared_structures(compounds: pl.DataFrame) -> pl.DataFrame:
    grouped = compounds.group_by("inchi_key", maintain_order=True).agg(pl.col(ID).alias("ids"))
    return grouped.filter(pl.col("ids").list.len() > 1)
