"""Type-ahead: exact names, then beginnings, then parts, then close spellings; fast for a whole library."""

from __future__ import annotations

import time
from collections.abc import Sequence

import pytest
from pertcast_serve.prediction.names import NameSearch, cell_lines_of, compounds_of, genes_of
from pertcast_serve.schemas.models import NameMatch, Vocabulary

VOCABULARY = Vocabulary(
    genes=["TP53", "TP53BP1", "MTP53X", "EGFR", "BRCA1"],
    cell_lines=["A375", "HT29"],
    pert_types=["trt_cp", "trt_xpr"],
    compounds=["vorinostat", "BRD-K1"],
    smiles=["CCO", None],
    targets=["EGFR", "KRAS"],
    doses=[1.0],
    times=[24.0],
)


def found(names: Sequence[str], text: str, limit: int = 10) -> list[str]:
    matches = [NameMatch(name=name, kind="gene", is_measured=True, is_perturbed=False) for name in names]
    return [match.name for match in NameSearch(matches).search(text, limit).matches]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("tp53", ["TP53", "TP53BP1", "MTP53X"]),
        (" TP53BP1 ", ["TP53BP1"]),
        ("rca", ["BRCA1"]),
        ("EGRF", ["EGFR"]),
        ("brca11", ["BRCA1"]),
        ("", ["TP53", "TP53BP1", "MTP53X", "EGFR", "BRCA1"]),
        ("zzzzzz", []),
        ("%", []),
    ],
)
def test_names_come_exact_first_then_beginnings_then_parts_then_close_spellings(
    text: str, expected: list[str]
) -> None:
    assert found(VOCABULARY.genes, text) == expected


def test_the_count_tells_of_names_that_are_not_listed() -> None:
    search = NameSearch(list(genes_of(VOCABULARY)))
    answer = search.search("TP53", 1)
    assert (len(answer.matches), answer.n_matches) == (1, 3)


def test_matches_tell_what_training_knew_of_a_name() -> None:
    genes = {match.name: (match.is_measured, match.is_perturbed) for match in genes_of(VOCABULARY)}
    assert genes["TP53"] == (True, False)
    assert genes["EGFR"] == (True, True)
    assert genes["KRAS"] == (False, True)
    assert [match.canonical_smiles for match in compounds_of(VOCABULARY)] == ["CCO", None]
    assert [match.kind for match in cell_lines_of(VOCABULARY)] == ["cell_line", "cell_line"]


def test_thirty_thousand_names_are_searched_within_a_blink() -> None:
    names = [f"BRD-K{i * 7919 % 10**8:08d}" for i in range(30_000)]
    search = NameSearch(
        [NameMatch(name=name, kind="compound", is_measured=False, is_perturbed=True) for name in names]
    )
    misspelt = names[12_345].replace("BRD-K", "BDR-K")
    search.search(misspelt, 10)
    began = time.process_time()
    for _ in range(5):
        assert names[12_345] in [match.name for match in search.search(misspelt, 10).matches]
        assert search.search(names[12_345], 10).matches[0].name == names[12_345]
    assert (time.process_time() - began) / 10 < 0.2
