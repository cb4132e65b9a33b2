"""What a table's row says of its perturbation, before anybody knows whether it is known."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache

import polars as pl
from pertcast_data.compounds import canonicalise
from pertcast_data.vocabulary import CONTROL_TYPES, split_perturbation

from pertcast.encoding.condition_frame import COMPOUND_TYPE, PERTURBATION_COLUMNS


@dataclass(frozen=True, slots=True)
class Description:
    """What a row says of its perturbation."""

    pert_type: str
    pert_id: str | None
    cmap_name: str | None
    targets: str | None
    canonical_smiles: str | None
    inchi_key: str | None

    @property
    def is_control(self) -> bool:
        """Whether nothing is done to the cell."""
        return self.pert_type in CONTROL_TYPES

    @property
    def is_compound(self) -> bool:
        """Whether it is a compound; everything else is named by genes."""
        return self.pert_type == COMPOUND_TYPE


def descriptions_of(frame: pl.DataFrame) -> list[Description]:
    """Return what each row of a condition frame says of its perturbation."""
    columns = [frame[name].to_list() for name in PERTURBATION_COLUMNS]
    return [
        Description(pert_type or "", pert_id, name, targets, smiles, key)
        for pert_type, pert_id, name, targets, smiles, key in zip(*columns, strict=True)
    ]


@dataclass(frozen=True, slots=True)
class Single:
    """One single perturbation.

    Attributes
    ----------
    is_compound, name
        What it is.
    index
        Row of the training perturbations, -1 for a new one.
    smiles
        Canonical SMILES of a new compound, None where its structure is not known.
    embedding_row
        Row of the embedding table that a new compound has, -1 for none.
    """

    is_compound: bool
    name: str
    index: int = -1
    smiles: str | None = None
    embedding_row: int = -1


@lru_cache(maxsize=1 << 16)
def canonical_form(smiles: str) -> tuple[str, str] | None:
    """Return the canonical SMILES and InChIKey of a structure, None for an invalid one."""
    found = canonicalise(smiles)
    return None if found is None else (found.canonical_smiles, found.inchi_key)


def training_members(row: Description, known: Collection[str]) -> tuple[str, ...]:
    """Return the names of a training row's single perturbations.

    The name of a compound with a structure may hold a "+"; otherwise "+" combines known compounds.
    """
    if not row.is_compound:
        return split_perturbation(row.targets or row.pert_id or row.cmap_name or "")
    name = row.pert_id or row.cmap_name or ""
    parts = split_perturbation(name)
    if len(parts) > 1 and not row.canonical_smiles and all(part in known for part in parts):
        return parts
    return (name,)
