"""The compound library: distinct valid molecules, described by their scaffold and substituents.

The description (never the fingerprint) decides what a compound does; fingerprints see it through the SMILES.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem

from pertcast_data.errors import ConfigError
from pertcast_data.simulate.fragments import SCAFFOLDS, SITES_PER_SCAFFOLD, SUBSTITUENTS

_NOVEL_SHARE = 0.15
_MOST_PROFILED_SCAFFOLDS = 18
_DRAWS = 2000


@dataclass(frozen=True, slots=True)
class Library:
    """N compounds; the first `n_profiled` are measured in wells, the others never.

    Attributes
    ----------
    pert_ids, names, smiles, inchi_keys
        N texts each; SMILES are canonical (RDKit), InChIKeys differ in their first 14 letters.
    scaffold
        (N,) int64, row in `SCAFFOLDS`.
    substituents
        (N, len(SUBSTITUENTS)) float64, how often each substituent is present.
    n_profiled
        Number of profiled compounds.
    """

    pert_ids: tuple[str, ...]
    names: tuple[str, ...]
    smiles: tuple[str, ...]
    inchi_keys: tuple[str, ...]
    scaffold: NDArray[np.int64]
    substituents: NDArray[np.float64]
    n_profiled: int

    def __len__(self) -> int:
        """Return N, the number of compounds."""
        return len(self.pert_ids)

    @property
    def has_profiled_scaffold(self) -> NDArray[np.bool_]:
        """(N,) bool: whether some profiled compound has the same scaffold."""
        return np.isin(self.scaffold, self.scaffold[: self.n_profiled])


def assemble(scaffold: int, sites: tuple[int, ...]) -> tuple[str, str]:
    """Return (canonical SMILES, InChIKey) of a scaffold with substituents at its three places."""
    branches = list(SUBSTITUENTS.values())
    template = list(SCAFFOLDS.values())[scaffold]
    molecule = Chem.MolFromSmiles(template.format(*(branches[site] for site in sites)))
    return Chem.MolToSmiles(molecule), str(Chem.MolToInchiKey(molecule))  # type: ignore[no-untyped-call]


def build_library(n_profiled: int, n_unprofiled: int, random: np.random.Generator) -> Library:
    """Draw a library of distinct compounds; scaffolds are dealt evenly, substituents drawn at random.

    About 15 % of the never-profiled compounds stand on scaffolds that no profiled compound has.

    Raises
    ------
    ConfigError
        If the fragments do not give so many distinct compounds.
    """
    order = random.permutation(len(SCAFFOLDS))
    n_known = int(np.clip(round(np.sqrt(n_profiled)), 4, _MOST_PROFILED_SCAFFOLDS))
    n_branches = int(np.clip(round(1.5 * np.sqrt(n_profiled)), 8, len(SUBSTITUENTS)))
    branches = np.concatenate([[0], 1 + random.permutation(len(SUBSTITUENTS) - 1)[: n_branches - 1]])
    n_novel = round(_NOVEL_SHARE * n_unprofiled)
    known = np.resize(order[:n_known], n_profiled + n_unprofiled - n_novel)
    novel = np.resize(order[n_known:], n_novel)
    scaffolds = np.concatenate([known, novel]).astype(np.int64)
    return _draw(scaffolds, branches, n_profiled, random)


def _draw(
    scaffolds: NDArray[np.int64], branches: NDArray[np.int64], n_profiled: int, random: np.random.Generator
) -> Library:
    drawing = _Drawing(branches, random)
    smiles, keys = [], []
    counts = np.zeros((len(scaffolds), len(SUBSTITUENTS)))
    for row, scaffold in enumerate(scaffolds):
        sites, text, key = drawing.new_compound(int(scaffold))
        smiles.append(text)
        keys.append(key)
        np.add.at(counts[row], np.asarray(sites), 1.0)
    names = list(SCAFFOLDS)
    return Library(
        pert_ids=tuple(f"SIM-CP{row:05d}" for row in range(1, len(scaffolds) + 1)),
        names=tuple(f"sim-{names[scaffold]}-{row:05d}" for row, scaffold in enumerate(scaffolds, start=1)),
        smiles=tuple(smiles),
        inchi_keys=tuple(keys),
        scaffold=scaffolds,
        substituents=counts,
        n_profiled=n_profiled,
    )


class _Drawing:
    """Draws compounds that it has not drawn before: other substituents, and another molecule."""

    def __init__(self, branches: NDArray[np.int64], random: np.random.Generator) -> None:
        self._branches = branches
        self._random = random
        self._tried: set[tuple[int, ...]] = set()
        self._taken: set[str] = set()

    def new_compound(self, scaffold: int) -> tuple[tuple[int, ...], str, str]:
        """Return (sites, SMILES, InChIKey) of a new compound; raises ConfigError if none is found."""
        for _ in range(_DRAWS):
            sites = tuple(int(site) for site in self._random.choice(self._branches, size=SITES_PER_SCAFFOLD))
            if (scaffold, *sites) in self._tried:
                continue
            self._tried.add((scaffold, *sites))
            smiles, key = assemble(scaffold, sites)
            if key[:14] not in self._taken:
                self._taken.add(key[:14])
                return sites, smiles, key
        raise ConfigError(
            f"No new compound found on scaffold {list(SCAFFOLDS)[scaffold]!r} after {_DRAWS} draws; "
            "ask for fewer compounds (n_compounds, n_unprofiled)."
        )
