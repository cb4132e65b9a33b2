"""Compounds: one canonical SMILES and InChIKey for each structure, and its circular fingerprint.

Salts and solvents are stripped and charges neutralised: a drug and its hydrochloride are one compound.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from rdkit import Chem, rdBase
from rdkit.Chem import rdFingerprintGenerator
from rdkit.Chem.MolStandardize import rdMolStandardize

from pertcast_data.errors import UnknownCompound

FingerprintKind = Literal["morgan", "fcfp", "count"]
"""What a fingerprint's columns say: atoms' environments (Morgan, ECFP), environments of pharmacophore roles
(FCFP: donor, acceptor, aromatic, halogen, acid, base), or how often each atoms' environment occurs."""


@dataclass(frozen=True, slots=True)
class Compound:
    """A structure in its canonical form.

    Attributes
    ----------
    canonical_smiles
        RDKit canonical SMILES of the parent, stereochemistry kept.
    inchi_key
        Standard InChIKey of the parent (27 characters).
    """

    canonical_smiles: str
    inchi_key: str


def canonicalise(smiles: str) -> Compound | None:
    """Return the canonical form of a structure, or None where it is no valid structure.

    The largest fragment is kept (an organic one where there is one) and neutralised where that is possible.
    """
    with rdBase.BlockLogs():
        molecule = _parent(smiles)
        return None if molecule is None else _compound(molecule)


def canonical_molecule(molecule: Chem.Mol) -> Compound | None:
    """Return the canonical form of an RDKit molecule, as `canonicalise` does; None where it has none."""
    with rdBase.BlockLogs():
        parent = _parent_of(molecule)
        return None if parent is None else _compound(parent)


def why_no_structure(smiles: str) -> str:
    """Return in a few words why a SMILES is no valid structure: "Explicit valence for atom # 1 C, 5, ..."."""
    with rdBase.BlockLogs():
        return why_no_molecule(Chem.MolFromSmiles(smiles.strip(), sanitize=False), "SMILES")


def why_no_molecule(molecule: Chem.Mol | None, notation: str) -> str:
    """Return why a molecule that was read without any check is no valid structure; None: not even that."""
    if molecule is None:
        return f"is no {notation}"
    if molecule.GetNumAtoms() == 0:
        return "has no atoms"
    problems = [problem.Message() for problem in Chem.DetectChemistryProblems(molecule)]
    return str(problems[0]) if problems else "has no InChIKey (atoms that are no elements, or too many)"


def _compound(parent: Chem.Mol) -> Compound | None:
    key = str(Chem.MolToInchiKey(parent))  # type: ignore[no-untyped-call]
    return Compound(Chem.MolToSmiles(parent), key) if key else None


def inchi_key_14(inchi_key: str) -> str:
    """Return the first 14 characters of an InChIKey: the skeleton, without stereochemistry and isotopes."""
    return inchi_key[:14]


def morgan_fingerprints(
    smiles: Sequence[str], n_bits: int = 1024, radius: int = 2, kind: FingerprintKind = "morgan"
) -> npt.NDArray[np.float32]:
    """Return circular fingerprints: zeros and ones, or counts.

    Parameters
    ----------
    smiles
        Structures; salts are stripped first, so a salt has its parent's fingerprint.
    n_bits
        Length of a fingerprint.
    radius
        Bonds around each atom that are looked at.
    kind
        See `FingerprintKind`; "count" is of the environments that "morgan" tells apart.

    Returns
    -------
    ndarray
        (len(smiles), n_bits) float32.

    Raises
    ------
    UnknownCompound
        A structure is not valid; the message names its position.
    """
    generator = _generator(n_bits, radius, kind)
    make = generator.GetCountFingerprintAsNumPy if kind == "count" else generator.GetFingerprintAsNumPy
    fingerprints = np.zeros((len(smiles), n_bits), np.float32)
    with rdBase.BlockLogs():
        for position, text in enumerate(smiles):
            molecule = _parent(text)
            if molecule is None:
                raise UnknownCompound(
                    text, where=f"row {position}", remedy="The SMILES is not valid: correct or drop it."
                )
            fingerprints[position] = make(molecule)
    return fingerprints


def _generator(n_bits: int, radius: int, kind: FingerprintKind) -> Any:
    roles = rdFingerprintGenerator.GetMorganFeatureAtomInvGen() if kind == "fcfp" else None
    return rdFingerprintGenerator.GetMorganGenerator(
        radius=radius, fpSize=n_bits, atomInvariantsGenerator=roles
    )


def _parent(smiles: str) -> Chem.Mol | None:
    molecule = Chem.MolFromSmiles(smiles.strip())
    return None if molecule is None else _parent_of(molecule, "." in smiles)


def _parent_of(molecule: Chem.Mol, may_be_salt: bool = True) -> Chem.Mol | None:
    if molecule.GetNumAtoms() == 0:
        return None
    fragments, charges = _standardisers()
    return charges.uncharge(fragments.choose(molecule) if may_be_salt else molecule)


@cache
def _standardisers() -> tuple[rdMolStandardize.LargestFragmentChooser, rdMolStandardize.Uncharger]:
    # Making them costs more than using them: they read RDKit's patterns of acids and bases.
    return rdMolStandardize.LargestFragmentChooser(preferOrganic=True), rdMolStandardize.Uncharger()
