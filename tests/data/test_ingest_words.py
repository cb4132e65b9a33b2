"""Keys of other tools in mapping files and on the command line, and amounts as people write them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pertcast_data.errors import ConfigError, PertcastError, SchemaError
from pertcast_data.ingest.mapping.ingest_mapping import IngestMapping
from pertcast_data.ingest.mapping.loading import load_mapping
from pertcast_data.ingest.mapping.pairs import mapping_from_pairs
from pertcast_data.ingest.mapping.rules import ColumnRule, ControlRule
from pertcast_data.ingest.rows.amount_text import parse_amount, plain_micro, plain_unit
from pertcast_data.ingest.rows.amounts import DOSE, TIME, AmountKind, read_amounts
from pertcast_data.words import NORMALISATION_WORDS, USER_WORDS
from pydantic import ValidationError


def amount(text: str | None, kind: AmountKind = DOSE, unit: str | None = None, column: str = "dose") -> Any:
    units = None if unit is None else pl.Series([unit])
    read = read_amounts(
        pl.Series([text], dtype=pl.String), units, pl.Series(["well"]), kind, column, "plate.csv"
    )
    return read.values[0]


@pytest.mark.parametrize("micro", ["µ", "μ", "Âµ", "Î¼", "Ã‚Âµ", "\ufffd", "<b5>", "mc", "&micro;", "u", "U"])
def test_every_broken_micro_sign_means_micro(micro: str) -> None:
    assert amount(f"10 {micro}M") == 10.0
    assert amount("10", unit=f"{micro}M") == 10.0


@pytest.mark.parametrize(
    ("text", "micromolar"),
    [
        ("1e-6 M", 1.0),
        ("1E-06M", 1.0),
        ("1x10^-6 M", 1.0),
        ("2.5 × 10-6 M", 2.5),
        ("10^-6 M", 1.0),
        ("10,5 uM", 10.5),
        ("0,125 uM", 0.125),
        ("1,234.5 nM", 1.2345),
        ("1.234,5 nM", 1.2345),
        ("1,000,000 nM", 1000.0),
        ("10 umol/L", 10.0),
        ("10 nanomolar", 0.01),
        ("10 (mM)", 10000.0),
        ("1e+3", 1000.0),
        ("10 uM + 10 uM", 10.0),
        ("10;10", 10.0),
        ("10 uM|10000 nM", 10.0),
        ("", None),
    ],
)
def test_doses_are_read_as_people_write_them(text: str, micromolar: float | None) -> None:
    assert amount(text) == micromolar


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("1,000", "can be read in two ways"),
        ("1,000 nM", "can be read in two ways"),
        ("1-10 uM", "is a range"),
        ("1 uM - 10 uM", "is a range"),
        ("5 to 10 uM", "is a range"),
        ("10-6 M", "is a range"),
        ("<10 uM", "is a bound"),
        ("~10 uM", "an estimate"),
        ("10±1 uM", "an estimate"),
        ("-6", "is negative"),
        ("1e999", "is too large"),
        ("1e308 M", "is too large"),
        ("1+5", "different amounts"),
        ("10 uM+5 uM", "different amounts"),
        ("high", "is no pert_dose"),
        ("1 000 uM", "is no pert_dose"),
    ],
)
def test_what_is_no_sure_amount_is_refused_with_file_row_and_value(text: str, why: str) -> None:
    with pytest.raises(SchemaError, match=rf"plate\.csv, row well.*{why}"):
        amount(text)


@pytest.mark.parametrize(
    ("text", "hours"),
    [("day 3", 72.0), ("Day_7", 168.0), ("90 minutes", 1.5), ("24 hpi", 24.0), ("1,5 d", 36.0)],
)
def test_times_are_read_as_people_write_them(text: str, hours: float) -> None:
    assert amount(text, TIME) == hours


@given(st.text(max_size=30))
def test_any_text_is_an_amount_or_a_typed_error(text: str) -> None:
    for kind in (DOSE, TIME):
        try:
            value = amount(text, kind)
        except PertcastError as error:
            assert "plate.csv, row well" in str(error)
        else:
            assert value is None or 0 <= value < float("inf")


@given(
    st.from_regex(r"[0-9]{1,4}([.,][0-9]{1,4})?(e-?[0-9])? ?(nM|uM|mM|M|µM)?", fullmatch=True),
    st.sampled_from([None, "nM", "uM", "mM"]),
)
def test_an_amount_that_was_read_reads_as_itself(text: str, unit: str | None) -> None:
    try:
        value = amount(text, unit=unit)
    except SchemaError:
        return
    assert amount(repr(value), unit="uM") == value


@given(st.text(max_size=12))
def test_a_unit_brought_into_one_form_stays_so(text: str) -> None:
    assert plain_unit(plain_unit(text)) == plain_unit(text)
    assert plain_micro(plain_micro(text)) == plain_micro(text)


def test_members_of_a_combination_are_read_one_by_one() -> None:
    assert [(part.number, part.unit) for part in parse_amount("1 uM+2e-3 M", "pert_dose", "here")] == [
        (1.0, "uM"),
        (0.002, "M"),
    ]


def test_words_of_other_tools_mean_our_keys(tmp_path: Path) -> None:
    path = tmp_path / "map.yaml"
    path.write_text(
        "pert_col: condition\ncontrol_pert: [NT, AAVS1]\ncell_type_key: cell\nbatch_col: plate\n"
        "dose_key: dose\nsmiles_key: smi\ngene_symbols: symbol\nlayer: counts\ndonor_key: donor\n"
        "time_col: {value: 96}\nnormalization: lognorm\ngenes: {gene_id: ensembl}\n"
    )
    mapping = load_mapping(path)
    assert mapping.cmap_name == ColumnRule(column="condition")
    assert mapping.controls is not None
    assert (mapping.controls.column, mapping.controls.values) == (None, ("NT", "AAVS1"))
    assert mapping.genes.gene_symbol == "symbol" and mapping.genes.gene_id == "ensembl"
    assert (mapping.matrix, mapping.normalisation) == ("layers/counts", "log1p_cpm")
    assert mapping.pert_time == ColumnRule(value=96)
    named = (
        mapping.cell_iname,
        mapping.batch_id,
        mapping.pert_dose,
        mapping.canonical_smiles,
        mapping.donor_id,
    )
    assert [rule and rule.column for rule in named] == ["cell", "plate", "dose", "smi", "donor"]


def test_a_column_of_flags_marks_controls_under_the_words_of_other_tools() -> None:
    mapping = IngestMapping.model_validate({"control_key": "is_ctrl"})
    assert mapping.controls == ControlRule(column="is_ctrl", values=("1", "true", "yes"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("pert_col: a\nperturbation_key: b\n", "pert_col and perturbation_key are two words for cmap_name"),
        ("cmap_name: a\npert_col: b\n", "cmap_name and pert_col are two words for cmap_name"),
        ("layer: counts\nuse_raw: true\n", "layer and use_raw are two words for matrix"),
        ("gene_symbols: a\ngenes: {gene_symbol: b}\n", "two words for genes.gene_symbol"),
        ("control_key: a\ncontrol_pert: NT\n", "two words for controls"),
        ("control_key: 3\n", "control_key: wants the name of a column"),
        ("use_raw: 1\n", "use_raw: is true or false"),
        ("pert_coll: a\n", r"unknown key pert_coll; did you mean pert_col \(cmap_name\)"),
        ("matrix: ''\n", "matrix"),
        ("2020-13-45: a\n", r"map\.yaml"),
    ],
)
def test_words_that_contradict_each_other_or_are_unknown_are_refused(
    tmp_path: Path, content: str, message: str
) -> None:
    path = tmp_path / "map.yaml"
    path.write_text(content)
    with pytest.raises(ConfigError, match=message):
        load_mapping(path)


def test_two_words_that_say_the_same_are_one() -> None:
    assert IngestMapping.model_validate(
        {"pert_col": "a", "cmap_name": {"column": "a"}}
    ).cmap_name == ColumnRule(column="a")


@pytest.mark.parametrize("word", USER_WORDS)
def test_every_word_is_understood_and_is_no_key_of_ours(word: str) -> None:
    assert word not in IngestMapping.model_fields
    path, kind = USER_WORDS[word]
    value: Any = {"use_raw": True}.get(kind, "counts" if path == "normalisation" else "name")
    mapping = IngestMapping.model_validate({word: value})
    assert path.split(".")[0] in mapping.model_fields_set


@pytest.mark.parametrize("word", NORMALISATION_WORDS)
def test_every_word_of_normalisation_is_understood(word: str) -> None:
    assert (
        IngestMapping.model_validate({"normalisation": word.upper()}).normalisation
        == NORMALISATION_WORDS[word]
    )


def test_numbers_as_keys_and_single_values_are_taken_as_written(tmp_path: Path) -> None:
    path = tmp_path / "map.yaml"
    path.write_text("cmap_name: {column: d, values: {0: DMSO, true: x}}\nkeep: {qc: good}\n")
    mapping = load_mapping(path)
    assert mapping.cmap_name is not None and mapping.cmap_name.values == {"0": "DMSO", "true": "x"}
    assert mapping.keep == {"qc": ("good",)}


def test_pairs_of_the_command_line_make_a_mapping() -> None:
    pairs = ["pert_col=condition", "control_pert=control", "pert_time.value=96", "cmap_name.separator=_"]
    assert mapping_from_pairs(pairs, IngestMapping()) == IngestMapping.model_validate(
        {
            "cmap_name": {"column": "condition", "separator": "_"},
            "controls": {"column": None, "values": ["control"]},
            "pert_time": {"value": 96},
        }
    )


def test_a_pair_wins_over_the_file_and_leaves_the_rest_of_it() -> None:
    base = IngestMapping(
        pert_time=ColumnRule(column="time"),
        pert_dose=ColumnRule(value=3),
        cell_iname=ColumnRule(column="cell"),
        controls=ControlRule(column="flag", values=("1",)),
        cmap_name=ColumnRule(column="pert", separator="_"),
    )
    changed = mapping_from_pairs(
        ["pert_time.value=96", "pert_dose.column=dose", "control_pert=[NT, DMSO]", "cmap_name.column=name"],
        base,
    )
    assert changed.pert_time == ColumnRule(value=96)
    assert changed.pert_dose == ColumnRule(column="dose")
    assert changed.cell_iname == base.cell_iname
    assert changed.controls is not None
    assert (changed.controls.column, changed.controls.values) == (None, ("NT", "DMSO"))
    assert changed.cmap_name == ColumnRule(column="name", separator="_")
    assert mapping_from_pairs([], base) == base


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (["condition"], "--set 'condition': is no key=value pair"),
        (["=3"], "--set '=3': is no key=value pair"),
        (["a..b=3"], "is no key=value pair"),
        (["keep={"], r"--set 'keep=\{': the value is no YAML"),
        (["pert_time=2020-13-45"], "the value is no YAML"),
        (["pert_tmie.value=96"], "--set 'pert_tmie.value=96': unknown key pert_tmie; did you mean pert_time"),
        (["measure=level"], "--set 'measure=level': measure: Input should be"),
        (["pert_col=a", "pert_col=b"], "--set 'pert_col=b': another pair sets pert_col to 'a'"),
        (["pert_col=a", "perturbation_key=b"], "--set 'perturbation_key=b': another pair sets"),
        (["control_key=a", "control_pert=NT"], "two words for controls"),
        (["pert_time=3", "pert_time.column=t"], "pert_time is set to 3 by another pair"),
        (["controls.values=[a]", "controls.colum=b"], "--set 'controls.colum=b': unknown key controls.colum"),
    ],
)
def test_a_wrong_pair_is_named(pairs: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        mapping_from_pairs(pairs, IngestMapping())


@given(st.lists(st.text(max_size=20), max_size=3))
def test_any_pairs_make_a_mapping_or_a_typed_error(pairs: list[str]) -> None:
    try:
        assert isinstance(mapping_from_pairs(pairs, IngestMapping()), IngestMapping)
    except ConfigError as error:
        assert "--set" in str(error)


@given(
    st.dictionaries(
        st.sampled_from([*USER_WORDS, *IngestMapping.model_fields]), st.text(max_size=5), max_size=3
    )
)
def test_any_words_make_a_mapping_or_are_invalid(content: dict[str, str]) -> None:
    try:
        assert isinstance(IngestMapping.model_validate(content), IngestMapping)
    except ValidationError as error:
        assert error.error_count() > 0
