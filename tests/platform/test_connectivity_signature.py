"""Signatures mapped to a library's genes: what is used, what is not, what is refused."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from pertcast.analysis.connectivity import Signature, TooFewGenes, profile_query
from pertcast_data.errors import ConfigError, SchemaError
from pertcast_data.gene_tables.gene_names import read_gene_names

GENES = (*(f"GENE{number}" for number in range(30)), "NKX2-1", "TP53", "C1orf112")
UP, DOWN = GENES[:6], GENES[6:12]


def test_names_are_told_apart_as_used_not_measured_and_no_gene() -> None:
    up = [*UP, "gene0", "nkx2.1", "c1ORF112", "EGFR", "1-Mar", "Mar-01", "7157", "H2AC11"]
    prepared, report = Signature.of_sets(up, DOWN, "up.txt").prepare(GENES)
    found = report.lists[0]
    assert [GENES[column] for column in found.column] == [*UP, "NKX2-1", "C1orf112"]
    assert found.not_measured == ("EGFR", "H2AC11")
    assert found.invalid == ("1-Mar", "Mar-01", "7157")
    assert len(found.repeated) == 1 and dict(found.translated)["nkx2.1"] == "NKX2-1"
    assert prepared.up.tolist() == [0, 1, 2, 3, 4, 5, 30, 32]
    assert "how a symbol looks" in report.judged_by
    told = "\n".join(report.lines())
    assert "up: 8 of 14 genes used" in told and "2 not measured by the library (EGFR, H2AC11)" in told


def test_a_table_of_genes_translates_ids_and_judges_what_is_a_gene(tmp_path: Path) -> None:
    (tmp_path / "hgnc.tsv").write_text(
        "symbol\tentrez_id\talias\nTP53\t7157\tLFS1\nEGFR\t1956\tERBB\n", encoding="utf-8"
    )
    names = read_gene_names(tmp_path / "hgnc.tsv")
    signature = Signature.of_sets([*UP, "7157", "ERBB", "NOSUCH"], DOWN)
    _, report = signature.prepare(GENES, names=names)
    found = report.lists[0]
    assert ("7157", "TP53") in found.translated
    assert found.not_measured == ("ERBB",) and found.invalid == ("NOSUCH",)
    assert "hgnc.tsv" in report.judged_by


def test_a_gene_in_both_sets_is_refused_however_it_is_spelled() -> None:
    with pytest.raises(SchemaError, match=r"1 genes stand in both sets, up and down \(GENE3\)"):
        Signature.of_sets(UP, [*DOWN, "gene3"]).prepare(GENES)


def test_too_few_genes_are_refused_with_the_nearest_names_and_the_report() -> None:
    with pytest.raises(TooFewGenes, match=r"GENEE1 \(nearest: GENE1") as caught:
        Signature.of_sets([*UP[:4], "GENEE1"], DOWN, "mine.txt").prepare(GENES)
    assert "mine.txt, up: 4 of its 5 genes" in str(caught.value)
    again = pickle.loads(pickle.dumps(caught.value))
    assert again.report == caught.value.report and str(again) == str(caught.value)


def test_values_are_spread_over_the_library_and_repeats_averaged() -> None:
    signature = Signature.of_values([*UP, "gene0", "EGFR"], [1, 2, 3, -4, -5, -6, 3, 9])
    prepared, report = signature.prepare(GENES)
    assert prepared.score == "cosine" and prepared.columns is not None
    assert prepared.profile[:6].tolist() == [2, 2, 3, -4, -5, -6]
    assert prepared.columns.tolist() == [0, 1, 2, 3, 4, 5]
    assert report.lists[0].not_measured == ("EGFR",)


def test_the_sets_of_values_rise_and_fall_by_their_signs() -> None:
    values = np.linspace(-1, 2, len(GENES))
    prepared, _ = Signature.of_values(GENES, values.tolist()).prepare(GENES, "wtcs")
    assert (prepared.profile[prepared.up] > 0).all() and (prepared.profile[prepared.down] < 0).all()
    with pytest.raises(TooFewGenes, match="0 fall"):
        Signature.of_values(GENES, [1.0] * len(GENES)).prepare(GENES, "wtcs")


def test_queries_score_a_block_of_profiles_in_one_row() -> None:
    block = np.random.default_rng(0).standard_normal((7, len(GENES))).astype(np.float32)
    block[5, :6] += 5
    block[5, 6:12] -= 5
    for signature in (
        Signature.of_sets(UP, DOWN),
        Signature.of_values(GENES[:12], [1.0] * 6 + [-1.0] * 6),
    ):
        scores = pickle.loads(pickle.dumps(signature)).queries(GENES).against(block)
        assert scores.shape == (1, 7) and scores.dtype == np.float32 and scores[0].argmax() == 5


def test_a_score_that_is_not_known_names_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="cosine"):
        Signature.of_sets(UP, DOWN).queries(GENES, "cosin")


def test_the_hash_of_a_signature_is_of_its_genes_not_of_its_file() -> None:
    first = Signature.of_sets(UP, DOWN, "a.txt")
    assert first.sha256 == Signature.of_sets(UP, DOWN, "b.txt").sha256
    assert first.sha256 != Signature.of_sets(DOWN, UP).sha256


def test_a_profile_of_zeros_is_no_query() -> None:
    with pytest.raises(SchemaError, match="zeros"):
        profile_query(np.zeros(10, dtype=np.float32))


def test_values_that_are_not_finite_are_refused() -> None:
    with pytest.raises(SchemaError, match="1 are finite"):
        Signature.of_values(["A", "B"], [1.0, float("nan")])
