"""Which CMap code each row has: from the file's codes, from words such as CRISPRi, or from structures.

Where a kind cannot be told it is an error with the line to write, never a default.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from pertcast_data.errors import SchemaError, nearest_known
from pertcast_data.ingest.mapping.rules import ControlRule
from pertcast_data.ingest.rows.columns import RowTable, as_text, is_one_of, missing_column_error
from pertcast_data.ingest.storable import short_name
from pertcast_data.text import fold, listed
from pertcast_data.vocabulary import CONTROL_TYPES, GENETIC_TYPES, PERTURBATION_KINDS
from pertcast_data.words import (
    COMPOUND_COLUMNS,
    FLAG_WORDS,
    KIND_COLUMN_WORDS,
    LIGAND_COLUMNS,
    PERTURBATION_TYPE_SUFFIXES,
    control_code,
    kind_code,
)

_POSITIVE_CONTROL = "trt_poscon"


@dataclass(frozen=True, slots=True)
class Kinds:
    """The CMap code of each row's treatment and, apart, of each control that the file itself marks.

    Attributes
    ----------
    treatment
        Null for controls and where unknown; "" where the file says "control" without saying which kind.
    control
        ctl_* or null.
    """

    treatment: pl.Series
    control: pl.Series


def read_kinds(table: RowTable, name_column: str, has_structures: bool) -> Kinds:
    """Tell the kind of perturbation of each row.

    Parameters
    ----------
    table
        The file's rows.
    name_column
        Column of the perturbations' names: "drug" or "cytokine" tell the kind.
    has_structures
        Whether the rows have SMILES.

    Raises
    ------
    SchemaError
        The kind cannot be told, or a code is unknown.
    """
    codes = _by_column(table)
    if codes is None:
        codes = _by_evidence(table, name_column, has_structures)
    is_control = codes.is_in(CONTROL_TYPES).fill_null(False)
    frame = pl.DataFrame({"code": codes, "is_control": is_control})
    return Kinds(
        treatment=frame.select(pl.when(~pl.col("is_control")).then(pl.col("code"))).to_series(),
        control=frame.select(pl.when(pl.col("is_control")).then(pl.col("code"))).to_series(),
    )


def _by_column(table: RowTable) -> pl.Series | None:
    taken = table.take("pert_type")
    if taken is None and table.mapping.pert_type is None:
        column = table.find(KIND_COLUMN_WORDS)
        if column is None:
            return None
        table.findings.decide("pert_type", column, "guessed")
        texts = table.frame[column].cast(pl.String)
    elif taken is not None:
        column, texts = taken.column or "the constant", taken.values.cast(pl.String)
    else:
        return None
    distinct = texts.drop_nulls().unique(maintain_order=True).to_list()
    codes = {text: _code(text) for text in distinct}
    unknown = [text for text, code in codes.items() if code is None]
    if unknown:
        shown = [short_name(text) for text in unknown]
        raise SchemaError(
            f"{table.path}: {column} holds {listed(map(repr, shown))}, which tell no kind of perturbation. "
            f"Known codes: {', '.join((*PERTURBATION_KINDS, *CONTROL_TYPES))}. Map them: `pert_type: "
            f"{{column: {column}, values: {{{shown[0]}: trt_cp}}}}`, or leave the rows out with `exclude`."
        )
    _report_codes(table, texts, codes)
    return texts.replace_strict(codes, default=None, return_dtype=pl.String)


def _code(text: str) -> str | None:
    """Return the CMap code of a code or word; "" for a word of control, whose kind others decide."""
    code = PERTURBATION_TYPE_SUFFIXES.sub("", text.strip().lower())
    if code == _POSITIVE_CONTROL:
        return "trt_cp"
    if code in PERTURBATION_KINDS or code in CONTROL_TYPES:
        return code
    told = control_code(text)
    return told if told is not None else kind_code(text)


def _report_codes(table: RowTable, texts: pl.Series, codes: dict[str, str | None]) -> None:
    changed = {text: code for text, code in codes.items() if code and text != code}
    if changed:
        counts = {text: int((texts == text).sum()) for text in changed}
        shown = [f"{text} -> {code} ({counts[text]:,})" for text, code in changed.items()]
        table.findings.converted.append(f"pert_type: {listed(shown, 8)}")


def _by_evidence(table: RowTable, name_column: str, has_structures: bool) -> pl.Series:
    folded = fold(name_column)
    if has_structures:
        code, reason = "trt_cp", "rows have SMILES"
    elif folded in COMPOUND_COLUMNS:
        code, reason = "trt_cp", f"the column is called {name_column}"
    elif folded in LIGAND_COLUMNS:
        code, reason = "trt_lig", f"the column is called {name_column}"
    else:
        example = "pert_type: {value: trt_sh}  # CRISPRi; trt_act: CRISPRa; trt_xpr: knock-out; trt_cp: drug"
        raise missing_column_error(table, "the kind of perturbation", example)
    table.findings.decide("pert_type", f"= {code} ({reason})", "guessed")
    return pl.Series([code]).new_from_index(0, table.frame.height)


def user_controls(table: RowTable, name_column: str) -> frozenset[str]:
    """Return perturbations that the mapping file calls controls, in lower case; none by a column."""
    rule = table.mapping.controls
    if rule is None or rule.column not in (None, name_column):
        return frozenset()
    return frozenset(str(value).lower() for value in rule.values if value is not None)


def flagged_controls(
    table: RowTable, name_column: str, raw_names: pl.Series, names: pl.Series
) -> pl.Series | None:
    """Return which rows a control rule or a 0/1 column marks as controls, None where neither is there.

    Parameters
    ----------
    table
        The file's rows.
    name_column
        Column of the perturbations' names.
    raw_names, names
        The perturbations' names as the file has them, and read.

    Raises
    ------
    SchemaError
        The rule's column is absent, or marks no row.
    """
    rule = table.mapping.controls
    if rule is not None:
        held = raw_names if rule.column is None else _control_column(table, rule.column, raw_names)
        hit = is_one_of(held, rule.values)
        if rule.column in (None, name_column):
            hit = hit | is_one_of(names, rule.values)
        if not hit.any():
            raise _no_control_error(table, rule, raw_names)
        return hit
    column = table.find(FLAG_WORDS)
    if column is None:
        return None
    values = as_text(table.frame[column]).str.to_lowercase()
    flags = {"0", "1", "true", "false", "yes", "no"}
    if not set(values.drop_nulls().unique().to_list()) <= flags:
        return None
    return values.is_in(["1", "true", "yes"]).fill_null(False)


def _control_column(table: RowTable, column: str, raw_names: pl.Series) -> pl.Series:
    """Return the column of a control rule; refuses the name of a perturbation."""
    is_known = column in table.frame.columns or column in table.empty
    if not is_known and is_one_of(raw_names, [column]).any():
        raise SchemaError(
            f"{table.path}: {column!r} is a perturbation and no column (mapping file, controls). Write "
            f"`control_pert: {column}`."
        )
    return table.require(column, "controls")


def _no_control_error(table: RowTable, rule: ControlRule, raw_names: pl.Series) -> SchemaError:
    what = f"{listed(rule.values)} (mapping file, controls)"
    if rule.column is None:
        held = as_text(raw_names).drop_nulls().unique(maintain_order=True).to_list()
        nearest = [name for value in rule.values for name in nearest_known(str(value), held)]
        hint = f"Nearest: {listed(dict.fromkeys(nearest))}" if nearest else f"It holds {listed(held)}"
        return SchemaError(f"{table.path}: no perturbation is called {what}. {hint}.")
    values = as_text(table.require(rule.column, "controls"))
    shown = listed(values.drop_nulls().unique(maintain_order=True))
    return SchemaError(f"{table.path}: no row has {rule.column} in {what}. It holds {shown}.")


def undecided_control_code(treatment_codes: pl.Series) -> str:
    """Return the code of a control that only says "control", from the kind of most treatments."""
    counts = treatment_codes.drop_nulls().filter(treatment_codes.drop_nulls() != "").value_counts(sort=True)
    most = counts.row(0)[0] if counts.height else "trt_cp"
    if most in GENETIC_TYPES:
        return "ctl_vector"
    return "ctl_vehicle" if most == "trt_cp" else "ctl_untrt"
