"""Names of perturbations: guides of many libraries, combinations, and controls under many names."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pertcast_data.ingest.findings import Findings
from pertcast_data.ingest.rows.guide_names import are_guides, members
from pertcast_data.ingest.rows.perturbations import read_compound_name, read_genetic_name, read_names
from pertcast_data.words import control_code

SPACER = "ACGTACGTACGTACGTACGT"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("TP53_+_7571720.23-P1P2", "TP53"),
        ("TP53_-_7571720.23-P1|TP53_+_7590694.23-P2", "TP53"),
        (f"TP53_{SPACER}", "TP53"),
        (f"TP53-{SPACER}-2", "TP53"),
        (f"KLF1_{SPACER}+TP53_+_7571720.23-P1P2", "KLF1+TP53"),
        (f"NTC_{SPACER}+TP53_{SPACER}", "TP53"),
        (SPACER, SPACER),
        ("B+A", "A+B"),
        ("C|A;B", "A+B+C"),
        ("A+A", "A"),
        ("ctrl+A", "A"),
        ("A+ctrl", "A"),
        ("NTC-12+KLF1", "KLF1"),
        ("A_B", "A_B"),
        ("A_B|C_D", "A_B+C_D"),
        ("BRCA2", "BRCA2"),
        ("NKX2-1", "NKX2-1"),
        ("GENE-1", "GENE-1"),
        ("AAVS1", "AAVS1"),
        ("OR1A1", "OR1A1"),
    ],
)
def test_names_are_read_without_knowing_the_column(text: str, name: str) -> None:
    read = read_genetic_name(text, False)
    assert (read.name, read.control) == (name, None)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("GENE-1", "GENE"),
        ("GENE_g2", "GENE"),
        ("GENE_sg2", "GENE"),
        ("GENE_sgRNA2", "GENE"),
        ("sgGENE_3", "GENE"),
        ("sgGENE", "GENE"),
        ("ABCD2-2 || ProbeNTC-666", "ABCD2"),
        ("HLA-DRB1-2", "HLA-DRB1"),
        ("HLA-A", "HLA-A"),
        ("HLA-G1", "HLA-G1"),
        ("NKX2-1", "NKX2-1"),
        ("NKX2-1-3", "NKX2-1"),
        ("H1-4", "H1-4"),
        ("AC007405.2", "AC007405.2"),
        ("BRCA2", "BRCA2"),
        ("Sgk1-2", "Sgk1"),
    ],
)
def test_a_guide_is_read_as_its_gene_and_a_gene_keeps_its_number(text: str, name: str) -> None:
    assert read_genetic_name(text, True).name == name


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("neg_ctrl_non-targeting_00123", "ctl_vector"),
        ("non-targeting_00123", "ctl_vector"),
        ("non_targeting_control", "ctl_vector"),
        ("NegCtrl10_NegCtrl0", "ctl_vector"),
        ("NegCtrl0__NegCtrl10", "ctl_vector"),
        ("safe-targeting", "ctl_vector"),
        ("safe_harbor_3", "ctl_vector"),
        ("intergenic_12", "ctl_vector"),
        ("sgNT-1", "ctl_vector"),
        ("siCtrl", "ctl_vector"),
        ("shScr", "ctl_vector"),
        (f"NTC_{SPACER}", "ctl_vector"),
        ("CTRL0001", ""),
        ("ctrl+ctrl", ""),
        ("AAVS1", None),
        ("NT5E", None),
        ("SINE", None),
        ("INTS1", None),
        ("SCRIB", None),
    ],
)
def test_controls_are_told_by_name(text: str, code: str | None) -> None:
    assert read_genetic_name(text, False).control == code


def read(names: list[str], column: str = "perturbation", **options: frozenset[str]) -> list[str]:
    return read_names(pl.Series(names), True, column, Findings(), **options)[0].to_list()


def test_numbers_are_stripped_only_where_a_gene_has_several_guides_or_the_column_is_one_of_guides() -> None:
    single = ["FOO-1", "BAR-2", "BAZ-3"]
    assert read(single) == single
    assert read(single, "sgrna") == ["FOO", "BAR", "BAZ"]
    assert read(["FOO-1", "FOO-2", "BAR-2"]) == ["FOO", "FOO", "BAR"]
    assert read(["FOO-1", "FOO-2", "BAR", "BAZ"]) == ["FOO-1", "FOO-2", "BAR", "BAZ"]
    hox = ["NKX2-1", "NKX2-5", "NKX3-1"]
    assert read(hox) == hox and read(hox, "guide") == hox


def test_the_genes_of_the_file_tell_guides_from_genes() -> None:
    names = ["FOO-1", "FOO-2", "BAR-7"]
    assert read(names, known_genes=frozenset(names)) == names
    assert read(names, "guide", known_genes=frozenset({"FOO-1"})) == ["FOO-1", "FOO", "BAR"]
    single = ["FOO-1", "BAR-2"]
    assert read(single, known_genes=frozenset({"FOO", "BAR"})) == ["FOO", "BAR"]
    assert not are_guides(["FOO-1", "BAR-2"], "perturbation")


def test_names_that_the_user_calls_controls_are_left_out_beside_a_gene() -> None:
    controls = frozenset({"or1a1", "aavs1"})
    assert read_genetic_name("OR1A1+KLF1", False, controls=controls).name == "KLF1"
    guide = read_genetic_name("OR1A1_2", True, controls=controls)
    assert (guide.name, guide.control) == ("OR1A1", "")
    assert read_compound_name("Buffer+aspirin", frozenset({"buffer"})).name == "aspirin"


def test_a_cutting_control_is_kept_and_said_unless_the_user_calls_it_a_control() -> None:
    findings = Findings()
    read_names(pl.Series(["AAVS1", "TP53"]), True, "perturbation", findings)
    assert len(findings.warnings) == 1 and "control_pert: [AAVS1, ...]" in findings.warnings[0]
    quiet = Findings()
    read_names(pl.Series(["AAVS1", "TP53"]), True, "perturbation", quiet, controls=frozenset({"aavs1"}))
    assert quiet.warnings == []


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("b+a", "a+b"),
        ("b + a", "a+b"),
        ("DMSO+aspirin", "aspirin"),
        ("H+/K+ inhibitor", "H+/K+ inhibitor"),
        ("Na+", "Na+"),
        ("(+)-JQ1", "(plus)-JQ1"),
        ("2',5'-dideoxyadenosine; salt", "2',5'-dideoxyadenosine; salt"),
    ],
)
def test_combinations_of_compounds_get_one_order_and_a_sign_is_none(text: str, name: str) -> None:
    assert read_compound_name(text).name == name


def test_every_name_that_changed_is_listed_in_full() -> None:
    findings = Findings()
    read_names(pl.Series([f"G{n}-{k}" for n in range(700) for k in (1, 2)]), True, "guide", findings)
    (listed,) = findings.listed.values()
    assert len(listed) == 1001
    assert (listed[0], listed[-1]) == ("G0-1 -> G0", "and 400 more (1,400 in all)")
    assert findings.counts == {"guides read as their genes": 1400}


PIECES = st.sampled_from(
    [
        *("A", "KLF1", "NKX2-1", "sg", "ctrl", "NTC", "non-targeting", "AAVS1", "HLA-A", "12", SPACER),
        *("+", "|", "||", ";", "_", "-", " ", ".", "_+_123.23-P1", "(+)", "\n", "é"),
    ]
)
NAMES = st.one_of(st.text(max_size=25), st.lists(PIECES, max_size=8).map("".join))


@given(NAMES)
def test_reading_a_read_name_changes_nothing(text: str) -> None:
    for once in (read_genetic_name(text, False), read_genetic_name(text, True)):
        assert read_genetic_name(once.name, False) == once
    compound = read_compound_name(text)
    assert read_compound_name(compound.name) == compound


@given(st.lists(NAMES, min_size=1, max_size=6), st.booleans(), st.sampled_from(["guide", "perturbation"]))
def test_any_column_of_names_is_read(names: list[str], is_genetic: bool, column: str) -> None:
    read, told = read_names(pl.Series(names), is_genetic, column, Findings())
    assert read.null_count() == 0
    assert len(told) == len(names)
    assert set(told.drop_nulls()) <= {"", "ctl_vehicle", "ctl_vector", "ctl_untrt"}


@given(st.permutations(["TP53", "MYC-2", "NTC-7", "KLF1", f"SET_{SPACER}"]))
def test_the_order_of_members_does_not_matter(parts: list[str]) -> None:
    assert read_genetic_name("+".join(parts), True).name == "KLF1+MYC+SET+TP53"


@given(NAMES)
def test_members_hold_no_control_beside_a_treatment(text: str) -> None:
    once = read_genetic_name(text, False)
    if once.control is None and members(once.name):
        assert all(control_code(part) is None for part in members(once.name))
