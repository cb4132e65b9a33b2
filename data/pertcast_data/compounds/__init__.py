"""Compounds: their canonical structures and fingerprints, and libraries of them with ids of their own."""

from pertcast_data.compounds.structures import (
    Compound,
    FingerprintKind,
    canonical_molecule,
    canonicalise,
    inchi_key_14,
    morgan_fingerprints,
    why_no_molecule,
    why_no_structure,
)

__all__ = [
    "Compound",
    "FingerprintKind",
    "canonical_molecule",
    "canonicalise",
    "inchi_key_14",
    "morgan_fingerprints",
    "why_no_molecule",
    "why_no_structure",
]
