"""Names of perturbations: pairs in one order, guides by their gene, controls by many names.

Genetic names are taken apart ("B-2 || A-1" -> "A+B"); of compounds only members and controls are told apart.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

import polars as pl

from pertcast_data.ingest.findings import Findings
from pertcast_data.ingest.rows.guide_names import are_guides, members, names_guide, numbered_gene, sure_gene
from pertcast_data.vocabulary import PAIR_SEPARATOR
from pertcast_data.words import CUTTING_CONTROLS, control_code

GUIDES_READ: Final = "guides read as their genes"
"""Reason in `Findings` where names are those of guides."""

_NUMBER_ENDING: Final = re.compile(r"(?:[-_ .]*(?:sg)?[0-9]+)+$")
_SIGN: Final = re.compile(r"\(([+±](?:/-)?)\)")
_COMPOUNDS: Final = re.compile(r"(?<=[\w)\]])(?: \+ |\+)(?=[\w(\[])")
_NONE: Final[frozenset[str]] = frozenset()


@dataclass(frozen=True, slots=True)
class PerturbationName:
    """One name, read.

    Attributes
    ----------
    name
        The parts without controls, sorted and joined by "+"; the control's own name for a control.
    control
        None for a treatment; else the CMap code that the name tells, "" where it tells none.
    """

    name: str
    control: str | None


def read_compound_name(text: str, controls: frozenset[str] = _NONE) -> PerturbationName:
    """Read a compound's name or a combination of compounds, sorted and without controls among them.

    A "(+)" would be taken for a pair and becomes "(plus)"; `controls` are further names of controls (lower
    case).
    """
    name = _SIGN.sub(lambda match: "(plus)" if match[1] == "+" else "(rac)", text.strip())
    parts = _COMPOUNDS.split(name)
    treated = sorted({part for part in parts if _code(part, controls) is None})
    if not treated:
        return PerturbationName(parts[0], _code(parts[0], controls))
    return PerturbationName(PAIR_SEPARATOR.join(treated) if len(parts) > 1 else name, None)


def read_genetic_name(
    text: str, strip_guides: bool, known_genes: frozenset[str] = _NONE, controls: frozenset[str] = _NONE
) -> PerturbationName:
    """Read a gene, a combination of genes or guides; controls beside a gene are left out.

    Parameters
    ----------
    text
        The name as the file has it.
    strip_guides
        Whether numbers at the end are those of guides (`are_guides`).
    known_genes
        Symbols that are never taken for guides.
    controls
        Further names of controls, in lower case.
    """
    once = _read(text, strip_guides, known_genes, controls)
    # What is left of a name may itself be one of several members.
    while once.name != text:
        text, once = once.name, _read(once.name, False, known_genes, controls)
    return once


def _read(
    text: str, strip_guides: bool, known_genes: frozenset[str], controls: frozenset[str]
) -> PerturbationName:
    parts = members(text)
    genes = [_gene(part, strip_guides, known_genes) for part in parts]
    told = [
        control if (control := _code(part, controls)) is not None else _code(gene, controls)
        for part, gene in zip(parts, genes, strict=True)
    ]
    targeting = sorted({gene for gene, control in zip(genes, told, strict=True) if control is None})
    if targeting:
        return PerturbationName(PAIR_SEPARATOR.join(targeting), None)
    if not parts:
        return PerturbationName(text.strip(), None)
    first, code = sure_gene(parts[0]), told[0]
    if code == "ctl_vector":
        return PerturbationName(_NUMBER_ENDING.sub("", first) or first, code)
    is_guide_of_control = first.lower() not in controls and genes[0].lower() in controls
    return PerturbationName(genes[0] if is_guide_of_control else first, code)


def _gene(part: str, strip_guides: bool, known_genes: frozenset[str]) -> str:
    gene = sure_gene(part)
    return numbered_gene(gene, known_genes) if strip_guides else gene


def _code(part: str, controls: frozenset[str]) -> str | None:
    """Return the CMap code of a control's name, "" for one that only the user calls so, None for others."""
    code = control_code(part)
    return "" if code is None and part.lower() in controls else code


def read_names(
    texts: pl.Series,
    is_genetic: bool,
    folded_column: str,
    findings: Findings,
    known_genes: frozenset[str] = _NONE,
    controls: frozenset[str] = _NONE,
) -> tuple[pl.Series, pl.Series]:
    """Read a column of perturbation names.

    Parameters
    ----------
    texts
        Names as the file has them, null where there is none.
    is_genetic
        Whether they are genes or guides (else compounds or ligands).
    folded_column
        Folded name of the column they come from.
    findings
        Told what was rewritten; `findings.listed` gets every name that changed.
    known_genes
        Symbols of the file's genes: these are never taken for guides.
    controls
        Names that the user calls controls, in lower case.

    Returns
    -------
    tuple
        The names read, and for each row the control code that its name tells (null: no control, "": a control
        of the kind that the treatments decide).
    """
    distinct = texts.drop_nulls().unique(maintain_order=True).to_list()
    guides = is_genetic and are_guides(distinct, folded_column, known_genes)
    read = {
        text: read_genetic_name(text, guides, known_genes, controls)
        if is_genetic
        else read_compound_name(text, controls)
        for text in distinct
    }
    changed = [(text, item.name) for text, item in read.items() if text != item.name]
    if changed:
        are_about_guides = guides or (is_genetic and any(map(names_guide, distinct)))
        what = GUIDES_READ if are_about_guides else "perturbation names put in one form"
        findings.converted.append(f"{len(changed):,} {what}, e.g. {changed[0][0]} -> {changed[0][1]}")
        findings.list_all(what, (f"{text} -> {name}" for text, name in changed))
    if is_genetic:
        _tell_cutting_controls(read, findings)
    return (
        _replaced(texts, {text: item.name for text, item in read.items()}),
        _replaced(texts, {text: item.control for text, item in read.items() if item.control is not None}),
    )


def _tell_cutting_controls(read: dict[str, PerturbationName], findings: Findings) -> None:
    """Warn of loci that many screens cut as a control: whether they are one here, only the user can tell."""
    names = {item.name for item in read.values() if item.control is None}
    cut = [name for name in sorted(names) if name.upper() in CUTTING_CONTROLS]
    if cut:
        findings.warn_once(
            f"{' and '.join(cut)} is a cutting control in many screens and is kept as a perturbation here. "
            f"If these rows are controls, say which are: control_pert: [{', '.join(cut)}, ...]"
        )


def _replaced(texts: pl.Series, table: dict[str, str]) -> pl.Series:
    if not table:
        return pl.Series([None] * len(texts), dtype=pl.String)
    return texts.replace_strict(table, default=None, return_dtype=pl.String)
