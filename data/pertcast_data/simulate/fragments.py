"""Scaffolds and substituents that simulated compounds are assembled from: ordinary medicinal chemistry.

A scaffold is a SMILES template with three attachment places; a substituent is a SMILES branch. Ring
closures 8 and 9 belong to substituents, 1 to 5 to scaffolds, so any combination is a valid SMILES.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

SITES_PER_SCAFFOLD: Final = 3

SCAFFOLDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "benzanilide": "O=C(Nc1ccc({0})c({1})c1)c1ccc({2})cc1",
        "anilinoquinazoline": "c1({0})ccc2ncnc(Nc3ccc({1})cc3({2}))c2c1",
        "arylindole": "c1({0})ccc2[nH]c(-c3ccc({1})cc3)c({2})c2c1",
        "arylbenzimidazole": "c1({0})ccc2nc(-c3ccc({1})cc3)n(C)c2c1({2})",
        "pyrazolopyrimidine": "c1({0})nc2n(C)ncc2c(Nc2ccc({1})c({2})c2)n1",
        "diarylthiazole": "c1({0})sc(-c2ccc({1})cc2)nc1-c1ccc({2})cc1",
        "flavone": "O=c1cc(-c2ccc({0})cc2)oc2c({1})cc({2})cc12",
        "arylsulfonamide": "O=S(=O)(Nc1ccc({0})cc1)c1ccc({1})c({2})c1",
        "diarylurea": "O=C(Nc1ccc({0})cc1)Nc1ccc({1})c({2})c1",
        "imidazopyridine": "c1({0})ccn2c(-c3ccc({1})cc3)c({2})nc2c1",
        "aryloxyquinoline": "c1({0})ccc2nccc(Oc3ccc({1})c({2})c3)c2c1",
        "arylpyridine": "n1cc({0})cc(-c2ccc({1})cc2)c1({2})",
        "phenothiazine": "CN1c2ccc({0})cc2Sc2ccc({1})c({2})c12",
        "carbazole": "Cn1c2ccc({0})cc2c2cc({1})cc({2})c12",
        "arylbenzofuran": "c1({0})cc({1})c2oc(-c3ccc({2})cc3)cc2c1",
        "diarylisoxazole": "c1({0})c(-c2ccc({1})cc2)noc1-c1ccc({2})cc1",
        "benzylidene_oxindole": "O=C1Nc2ccc({0})cc2C1=Cc1ccc({1})c({2})c1",
        "arylcoumarin": "O=c1oc2c({0})cc({1})cc2cc1-c1ccc({2})cc1",
        "diaryltriazole": "c1(-c2ccc({0})cc2)nnn(-c2ccc({1})cc2)c1({2})",
        "aroylpiperazine": "O=C(c1ccc({0})cc1)N1CCN(c2ccc({1})c({2})c2)CC1",
        "naphthamide": "c1({0})ccc2cc(C(=O)Nc3ccc({1})cc3)c({2})cc2c1",
        "dianilinopyrimidine": "c1({0})cnc(Nc2ccc({1})cc2)nc1Nc1ccc({2})cc1",
        "stilbene": "C(=Cc1ccc({0})cc1)c1cc({1})c({2})cc1",
        "benzothiazole": "c1({0})ccc2nc(NC(=O)c3ccc({1})cc3)sc2c1({2})",
    }
)
"""Name -> SMILES template with places {0}, {1}, {2}, all on aromatic carbon."""

SUBSTITUENTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "hydrogen": "[H]",
        "fluoro": "F",
        "methoxy": "OC",
        "morpholino": "N8CCOCC8",
        "cyano": "C#N",
        "trifluoromethyl": "C(F)(F)F",
        "dimethylamino": "N(C)C",
        "methylsulfonyl": "S(C)(=O)=O",
        "chloro": "Cl",
        "carboxamide": "C(N)=O",
        "hydroxy": "O",
        "cyclopropyl": "C8CC8",
        "acetamido": "NC(C)=O",
        "methylpiperazino": "N8CCN(C)CC8",
        "isopropyl": "C(C)C",
        "bromo": "Br",
        "nitro": "[N+](=O)[O-]",
        "trifluoromethoxy": "OC(F)(F)F",
        "ethynyl": "C#C",
        "tert_butyl": "C(C)(C)C",
    }
)
"""Name -> SMILES branch; the first, hydrogen, means an unsubstituted place and has no effect of its own."""
