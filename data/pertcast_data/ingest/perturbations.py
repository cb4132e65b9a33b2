"""Names of perturbations: pairs in one order, guides by their gene, controls by many names.

Genetic names are taken apart ("B-2 || A-1" -> "A+B"); names of compounds are left whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import polars as pl

from pertcast_data.ingest.findings import Findings
from pertcast_data.ingest.words import GUIDE_COLUMNS, control_code
from pertcast_data.vocabulary import PAIR_SEPARATOR

_PARTS: Final = re.compile(r"\s*(?:\|\||\||\+|;)\s*")
_GUIDE: Final = re.compile(r"^(?P<gene>.+?)[-_.](?:sg|g)?\d{1,3}$")
_NUMBER_ENDING: Final = re.compile(r"[-_ .]*(?:sg)?\d+$")
_SIGN: Final = re.compile(r"\(([+±](?:/-)?)\)")
_SHARE_OF_GUIDES = 0.9


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


def read_compound_name(text: str) -> PerturbationName:
    """Read a compound's name; a "(+)" would be taken for a pair and becomes "(plus)"."""
    name = _SIGN.sub(lambda match: "(plus)" if match[1] == "+" else "(rac)", text.strip())
    code = control_code(name)
    return PerturbationName(name, code)


def read_genetic_name(text: str, strip_guides: bool) -> PerturbationName:
    """Read a gene, a pair of genes or guides; controls beside a gene are left out."""
    parts = [part for part in _PARTS.split(text.strip()) if part]
    targeting = sorted({_gene(part, strip_guides) for part in parts if control_code(part) is None})
    if targeting:
        return PerturbationName(PAIR_SEPARATOR.join(targeting), None)
    first = parts[0] if parts else text.strip()
    code = control_code(first)
    return PerturbationName(_NUMBER_ENDING.sub("", first) if code == "ctl_vector" else first, code)


def _gene(part: str, strip_guides: bool) -> str:
    match = _GUIDE.match(part) if strip_guides else None
    return match["gene"] if match else part


def are_guides(names: Iterable[str], folded_column: str) -> bool:
    """Return whether names are guides with a number at the end ("ABCD2-2"): most of them must look so."""
    parts = [part for name in names for part in _PARTS.split(name) if part and control_code(part) is None]
    if not parts:
        return False
    share = sum(1 for part in parts if _GUIDE.match(part)) / len(parts)
    return share >= (0.5 if folded_column in GUIDE_COLUMNS else _SHARE_OF_GUIDES)


def read_names(
    texts: pl.Series, is_genetic: bool, folded_column: str, findings: Findings
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
        Told what was rewritten.

    Returns
    -------
    tuple
        The names read, and for each row the control code that its name tells (null: no control, "": a control
        of the kind that the treatments decide).
    """
    distinct = texts.drop_nulls().unique(maintain_order=True).to_list()
    guides = is_genetic and are_guides(distinct, folded_column)
    read = {
        text: read_genetic_name(text, guides) if is_genetic else read_compound_name(text) for text in distinct
    }
    changed = [(text, item.name) for text, item in read.items() if text != item.name]
    if changed:
        what = "guides read as their genes" if guides else "perturbation names put in one form"
        findings.converted.append(f"{len(changed):,} {what}, e.g. {changed[0][0]} -> {changed[0][1]}")
    return (
        _replaced(texts, {text: item.name for text, item in read.items()}),
        _replaced(texts, {text: item.control for text, item in read.items() if item.control is not None}),
    )


def _replaced(texts: pl.Series, table: dict[str, str]) -> pl.Series:
    if not table:
        return pl.Series([None] * len(texts), dtype=pl.String)
    return texts.replace_strict(table, default=None, return_dtype=pl.String)
