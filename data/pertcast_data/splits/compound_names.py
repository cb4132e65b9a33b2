"""One name for a compound: its structure before its id, its id before what it is called.

Salts, stereoisomers and tautomers of one parent are one compound: a model that saw one has seen the others.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from pertcast_data.compounds import inchi_key_14
from pertcast_data.splits.clusters import Clusters
from pertcast_data.splits.structures import structure_of, tautomer_hash

_BROAD_ID: Final = re.compile(r"^(BRD-[A-Z]\d{8})(?:-.*)?$", re.IGNORECASE)
_LOOSE_MARK: Final = re.compile(r"(?<!\d)[-_\s]|[-_\s](?!\d)")
_NO_NAMES: Final = frozenset({"", "unknown", "restricted", "compound", "drug", "none", "na", "nan", "-666"})
_SALT: Final = re.compile(
    r"[-_ ](?:(?:mono|di|tri|hemi)?(?:hydrochloride|hydrobromide|hydrate|sodium|potassium|calcium|magnesium)"
    r"|hcl|hbr|(?:di)?mesylate|methanesulfonate|tosylate|besylate|sulfate|sulphate|phosphate|acetate|citrate"
    r"|maleate|fumarate|succinate|tartrate|lactate|malate|nitrate|oxalate|trifluoroacetate|tfa|salt)$"
)


@dataclass(frozen=True, slots=True)
class NamedCompound:
    """What a table says of a compound; null where it says nothing."""

    pert_id: str
    name: str | None
    smiles: str | None
    inchi_key: str | None


def fold_compound(text: str) -> str:
    """Return an id or name as it is compared: small letters, no loose hyphens, no batch of a Broad id."""
    broad = _BROAD_ID.match(text.strip())
    return _LOOSE_MARK.sub("", (broad[1] if broad else text.strip()).lower())


def without_salt(name: str) -> str:
    """Return a name without the words of its salt: "imatinib mesylate" -> "imatinib"."""
    bare = name.strip().lower()
    while match := _SALT.search(bare):
        bare = bare[: match.start()]
    return bare


def compound_clusters(rows: Sequence[NamedCompound], declared: Iterable[tuple[str, str]] = ()) -> list[str]:
    """Return one name a row; rows of one compound get the same.

    Joined are rows with a common pert_id (in any spelling), InChIKey-14, SMILES or tautomer, with names that
    the user declared equal, and, for a compound without a structure, with the name of one other structure.

    Returns
    -------
    list of str
        The smallest InChIKey-14 of each cluster; the smallest pert_id where no structure is known.
    """
    clusters = Clusters()
    for row in dict.fromkeys(rows):
        for key in _keys(row):
            clusters.join(f"1{row.pert_id}", key)
    for alias, name in declared:
        clusters.join(f"5{fold_compound(alias)}", f"5{fold_compound(name)}")
    _join_by_name(rows, clusters)
    return [clusters.root(f"1{row.pert_id}")[1:] for row in rows]


def _keys(row: NamedCompound) -> list[str]:
    keys = [f"5{fold_compound(row.pert_id)}"]
    key, tautomer = structure_keys(row)
    if key:
        keys.append(f"0{inchi_key_14(key)}")
    if row.smiles:
        keys.append(f"2{row.smiles}")
    if tautomer:
        keys.append(f"3{tautomer}")
    return keys


def structure_keys(row: NamedCompound) -> tuple[str, str]:
    """Return InChIKey and tautomer hash, "" where unknown; a table's own InChIKey is believed."""
    if row.smiles and row.inchi_key and "." not in row.smiles:
        return row.inchi_key, tautomer_hash(row.smiles)
    found = structure_of(row.smiles) if row.smiles else None
    return (row.inchi_key or "", "") if found is None else (found.inchi_key, found.tautomer)


def _join_by_name(rows: Sequence[NamedCompound], clusters: Clusters) -> None:
    """Join rows without a structure with what bears their name, if that is one compound only."""
    holders: dict[str, set[str]] = {}
    bare: dict[str, set[str]] = {}
    for row in dict.fromkeys(rows):
        name = row.name or row.pert_id
        folded = fold_compound(without_salt(name))
        if folded in _NO_NAMES:
            continue
        (holders if row.smiles or row.inchi_key else bare).setdefault(folded, set()).add(f"1{row.pert_id}")
    for folded, nameless in bare.items():
        first, *others = sorted(nameless)
        for other in others:
            clusters.join(first, other)
        structures = {clusters.root(node) for node in holders.get(folded, ())}
        if len(structures) == 1:
            clusters.join(first, structures.pop())
