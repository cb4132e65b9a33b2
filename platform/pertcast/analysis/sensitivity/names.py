"""Which drug of a table is which compound of a store, and which cell line is which.

A drug is found by its id, then its structure, then its names; a name that two structures bear finds neither.
Names of cell lines are compared exactly first, because TT and T.T are two lines.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import polars as pl
from pertcast_data.compounds import Compound, canonicalise, inchi_key_14
from pertcast_data.splits.compound_names import fold_compound, without_salt

AMBIGUOUS = -2
"""Stands for a name that several compounds bear."""
UNKNOWN = -1

_TISSUE = re.compile(r"^([A-Z0-9]+)_[A-Z]{4,}(?:_[A-Z0-9]+)*$")


@lru_cache(maxsize=1 << 16)
def structure_of(smiles: str) -> Compound | None:
    """Return the canonical form of a SMILES, None where it is none; remembered."""
    return canonicalise(smiles)


@dataclass(frozen=True)
class FoundDrug:
    """What was found for one drug of a table.

    Attributes
    ----------
    place
        Row of the catalogue; -1 where there is none, -2 where its names mean several compounds.
    how
        "id", "structure", "name", or "" where nothing was found.
    """

    place: int
    how: str


class Catalogue:
    """Compounds that drugs are looked up in: ids, names and structures of a store, then of a library.

    Parameters
    ----------
    compounds
        pert_id, cmap_name, canonical_smiles (null where unknown); of rows that mean the same compound the
        first one is found.
    """

    def __init__(self, compounds: pl.DataFrame) -> None:
        self.compounds = compounds
        self.pert_ids: list[str] = compounds["pert_id"].to_list()
        self.smiles: list[str | None] = compounds["canonical_smiles"].to_list()
        found = [structure_of(text) if text else None for text in self.smiles]
        self.skeletons = [inchi_key_14(each.inchi_key) if each else None for each in found]
        rows = range(len(self.pert_ids))
        self._by_id = {self.pert_ids[row]: row for row in reversed(rows)}
        self._by_folded_id = {fold_compound(self.pert_ids[row]): row for row in reversed(rows)}
        self._by_skeleton = {key: row for row in reversed(rows) if (key := self.skeletons[row])}
        self._by_name = self._names(compounds["cmap_name"].to_list())

    def _names(self, names: Sequence[str | None]) -> dict[str, int]:
        """Return folded name -> row, `AMBIGUOUS` where compounds of several structures bear it."""
        bearers: dict[str, dict[str, int]] = {}
        for row, name in enumerate(names):
            if name:
                identity = self.skeletons[row] or f"id {self.pert_ids[row]}"
                bearers.setdefault(folded_name(name), {}).setdefault(identity, row)
        return {
            name: next(iter(rows.values())) if len(rows) == 1 else AMBIGUOUS for name, rows in bearers.items()
        }

    def find(self, pert_id: str | None, names: Iterable[str], skeleton: str | None) -> FoundDrug:
        """Return the compound that an id, a structure (InChIKey-14) or names mean.

        Names count one after another: a drug's own name before its synonyms.
        """
        if pert_id is not None:
            row = self._by_id.get(pert_id, self._by_folded_id.get(fold_compound(pert_id), UNKNOWN))
            if row >= 0:
                return FoundDrug(row, "id")
        if skeleton is not None and skeleton in self._by_skeleton:
            return FoundDrug(self._by_skeleton[skeleton], "structure")
        places = [self._by_name.get(folded_name(name), UNKNOWN) for name in names]
        row = next((place for place in places if place >= 0), UNKNOWN)
        if row >= 0:
            return FoundDrug(row, "name")
        return FoundDrug(AMBIGUOUS if AMBIGUOUS in places else UNKNOWN, "")


def folded_name(name: str) -> str:
    """Return a compound's name as it is compared: small letters, no salt, no loose hyphens or blanks."""
    return fold_compound(without_salt(name))


def folded_line(name: str) -> str:
    """Return a cell line's name as it is compared: capitals and digits, without the tissue of a CCLE id."""
    capital = name.strip().upper()
    ccle = _TISSUE.match(capital)
    return re.sub(r"[^A-Z0-9]+", "", ccle[1] if ccle else capital)


def match_lines(lines: Mapping[str, Sequence[str]], known: Sequence[str]) -> dict[str, str]:
    """Return, for the cell lines of a table that a store knows, the store's name.

    Parameters
    ----------
    lines
        A line's key in the table -> its names.
    known
        Names of the store's lines.

    Returns
    -------
    dict
        Exact names come first; of what is left, a folded name counts where one line alone bears it on
        either side and no other line has taken it.
    """
    found: dict[str, str] = {}
    for key, names in lines.items():
        exact = next((name for name in names if name in set(known)), None)
        if exact is not None and exact not in found.values():
            found[key] = exact
    free = [name for name in known if name not in set(found.values())]
    theirs = _borne_once({name: [name] for name in free})
    ours = _borne_once({key: names for key, names in lines.items() if key not in found})
    for name, key in ours.items():
        if name in theirs and key not in found and theirs[name] not in found.values():
            found[key] = theirs[name]
    return found


def _borne_once(lines: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Return folded name -> the one line that bears it."""
    bearers = {key: {folded_line(name) for name in names} - {""} for key, names in lines.items()}
    count = Counter(name for names in bearers.values() for name in names)
    return {name: key for key, names in bearers.items() for name in sorted(names) if count[name] == 1}
