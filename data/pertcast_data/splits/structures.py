"""What of a structure makes two compounds the same, or near: skeleton, tautomer, scaffold.

Each is worked out once a process for each SMILES.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from rdkit import Chem, rdBase
from rdkit.Chem import rdMolHash
from rdkit.Chem.Scaffolds import MurckoScaffold

from pertcast_data.compounds import canonicalise, inchi_key_14

_REMEMBERED = 1 << 17


@dataclass(frozen=True, slots=True)
class Structure:
    """Keys of the parent compound, salts stripped.

    Attributes
    ----------
    inchi_key
        Standard InChIKey, 27 characters.
    tautomer
        Hash of the molecule without stereochemistry, equal for tautomers (RDKit's HetAtomTautomerv2, which
        also joins the keto and enol forms that an InChIKey keeps apart).
    """

    inchi_key: str
    tautomer: str

    @property
    def skeleton(self) -> str:
        """InChIKey-14: connectivity, without stereochemistry."""
        return inchi_key_14(self.inchi_key)


@lru_cache(maxsize=_REMEMBERED)
def structure_of(smiles: str) -> Structure | None:
    """Return the keys of a SMILES, None where it is no valid structure."""
    compound = canonicalise(smiles)
    if compound is None:
        return None
    return Structure(compound.inchi_key, tautomer_hash(compound.canonical_smiles))


@lru_cache(maxsize=_REMEMBERED)
def tautomer_hash(smiles: str) -> str:
    """Return a hash that tautomers and stereoisomers of one parent share; "" for no valid SMILES."""
    with rdBase.BlockLogs():
        molecule = Chem.MolFromSmiles(smiles)
        if molecule is None:
            return ""
        Chem.RemoveStereochemistry(molecule)  # type: ignore[no-untyped-call]
        return str(rdMolHash.MolHash(molecule, rdMolHash.HashFunction.HetAtomTautomerv2))


@lru_cache(maxsize=_REMEMBERED)
def scaffold_of(smiles: str) -> str:
    """Return the Bemis-Murcko scaffold (rings and linkers, stereochemistry dropped) as SMILES.

    "" for an acyclic compound and for no valid SMILES. Bemis and Murcko, J. Med. Chem. 39 (1996) 2887.
    """
    compound = canonicalise(smiles)
    if compound is None:
        return ""
    with rdBase.BlockLogs():
        molecule = Chem.MolFromSmiles(compound.canonical_smiles)
        Chem.RemoveStereochemistry(molecule)  # type: ignore[no-untyped-call]
        return Chem.MolToSmiles(MurckoScaffold.GetScaffoldForMol(molecule))  # type: ignore[no-untyped-call]
