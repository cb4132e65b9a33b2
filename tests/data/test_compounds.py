"""Compounds: one structure has one name, however it is written."""

from __future__ import annotations

import numpy as np
import pytest
from pertcast_data.compounds import canonicalise, inchi_key_14, morgan_fingerprints
from pertcast_data.errors import UnknownCompound

ASPIRIN = "CC(=O)Oc1ccccc1C(=O)O"


@pytest.mark.parametrize(
    "written",
    [
        "O=C(C)Oc1ccccc1C(=O)O",
        "  OC(=O)c1ccccc1OC(C)=O ",
        "CC(=O)Oc1ccccc1C(=O)[O-].[Na+]",
        "CC(=O)Oc1ccccc1C(=O)O.O",
    ],
)
def test_spellings_salts_and_hydrates_are_one_compound(written: str) -> None:
    compound, reference = canonicalise(written), canonicalise(ASPIRIN)
    assert compound == reference
    assert compound is not None
    assert compound.canonical_smiles == ASPIRIN
    assert compound.inchi_key == "BSYNRYMUTXBXSQ-UHFFFAOYSA-N"


def test_enantiomers_differ_but_share_their_skeleton() -> None:
    left, right = canonicalise("C[C@H](N)C(=O)O"), canonicalise("C[C@@H](N)C(=O)O")
    assert left is not None
    assert right is not None
    assert left.inchi_key != right.inchi_key
    assert inchi_key_14(left.inchi_key) == inchi_key_14(right.inchi_key)
    assert len(inchi_key_14(left.inchi_key)) == 14


@pytest.mark.parametrize("text", ["", "restricted", "c1ccccc", "C(C)(C)(C)(C)C"])
def test_what_is_no_structure_has_no_compound(text: str) -> None:
    assert canonicalise(text) is None


def test_fingerprints_are_bits_equal_for_a_salt_and_its_parent() -> None:
    bits = morgan_fingerprints([ASPIRIN, "CC(=O)Oc1ccccc1C(=O)[O-].[Na+]", "CCO"])
    assert bits.shape == (3, 1024)
    assert bits.dtype == np.float32
    assert set(np.unique(bits)) == {0.0, 1.0}
    assert np.array_equal(bits[0], bits[1])
    assert not np.array_equal(bits[0], bits[2])
    assert morgan_fingerprints([ASPIRIN], n_bits=256).shape == (1, 256)
    assert morgan_fingerprints([]).shape == (0, 1024)


def test_the_fingerprint_of_an_invalid_structure_names_its_row() -> None:
    with pytest.raises(UnknownCompound, match="row 1"):
        morgan_fingerprints(["CCO", "not a structure"])
