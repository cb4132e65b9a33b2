"""What a row means by its compound: one of training, a new one with features, or a fault that says why not.

A compound is its structure before it is an id; an embedding table knows it by either.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pertcast_data.compounds import inchi_key_14
from pertcast_data.errors import UnknownCompound
from pertcast_data.vocabulary import split_perturbation

from pertcast.encoding.descriptions import Description, Single, canonical_form
from pertcast.encoding.problems import Fault, missing_value

if TYPE_CHECKING:
    from pertcast.encoding.perturbations import Perturbations


def resolve_compounds(known: Perturbations, row: Description) -> tuple[Single, ...] | Fault:
    """Return the compounds that a row of type trt_cp names, or what is wrong with it."""
    name = row.pert_id or row.cmap_name
    if row.canonical_smiles:
        return _by_structure(known, row, row.canonical_smiles)
    if name is None:
        return missing_value("pert_id")
    found = _named(known, (name, row.cmap_name), row.inchi_key)
    if found is not None:
        return (found,)
    parts = [_named(known, (part,), None) for part in split_perturbation(name)]
    if len(parts) > 1 and all(parts):
        return tuple(part for part in parts if part)
    return _unknown(known, name, has_structure=False)


def _named(known: Perturbations, names: tuple[str | None, ...], inchi_key: str | None) -> Single | None:
    """Return a compound of training, else of the embedding table, by names or InChIKey."""
    for position, name in enumerate(names):
        found = known.compound(name, None if position else inchi_key) if name else None
        if found is not None:
            return found
    return _in_table(known, names, inchi_key)


def _in_table(known: Perturbations, names: tuple[str | None, ...], inchi_key: str | None) -> Single | None:
    if known.embedding is None:
        return None
    table = known.embedding.table
    row = table.find(names, inchi_key)
    if row < 0:
        return None
    own_key = table.inchi_keys[row]
    if own_key and (index := known.skeleton_index.get(inchi_key_14(own_key), -1)) >= 0:
        return Single(True, known.names[index], index)
    structure = canonical_form(smiles) if (smiles := table.smiles[row]) else None
    name = next((name for name in names if name), None) or str(own_key)
    return Single(True, name, -1, structure[0] if structure else None, row)


def _by_structure(known: Perturbations, row: Description, smiles: str) -> tuple[Single, ...] | Fault:
    named = known.compound(row.pert_id, None) if row.pert_id else None
    if named is not None and known.smiles[named.index] == smiles:
        return (named,)
    structure = canonical_form(smiles)
    if structure is None and named is not None and known.smiles[named.index] is None:
        return (named,)
    if structure is None:
        remedy = f"canonical_smiles {smiles!r} is no valid structure: correct it."
        return Fault(UnknownCompound, "canonical_smiles", row.pert_id or smiles, remedy)
    canonical, inchi_key = structure
    index = known.skeleton_index.get(inchi_key_14(inchi_key), -1)
    if index >= 0:
        same = named if named and _same_skeleton(known, named.index, index) else None
        return (same or Single(True, known.names[index], index),)
    name = row.pert_id or row.cmap_name or canonical
    in_table = (
        -1 if known.embedding is None else known.embedding.table.find((row.pert_id, row.cmap_name), inchi_key)
    )
    if in_table < 0 and not known.has_fingerprints:
        return _unknown(known, row.pert_id or smiles, has_structure=True)
    return (Single(True, name, -1, canonical, in_table),)


def _same_skeleton(known: Perturbations, first: int, second: int) -> bool:
    keys = known.inchi_keys[first], known.inchi_keys[second]
    return keys[0] is not None and keys[1] is not None and keys[0][:14] == keys[1][:14]


def _unknown(known: Perturbations, name: str, *, has_structure: bool) -> Fault:
    names: tuple[str, ...] = (*known.compound_index, *known.aliases)
    remedy = "Give its structure in canonical_smiles."
    if known.embedding is not None:
        table = known.embedding.table
        names = (*names, *table.known)
        remedy = (
            f"Ask for a compound of the embedding table ({table.file}, {len(table.values):,} rows), or "
            + (
                "give its structure in canonical_smiles."
                if known.has_fingerprints
                else "train anew with a table that holds it: structures say nothing to this model."
            )
        )
    elif has_structure:
        remedy = "No compound of the training had a structure, so structures say nothing to this model."
    return Fault(UnknownCompound, "pert_id", name, remedy, names)
