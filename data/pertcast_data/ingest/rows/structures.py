"""A column of SMILES becomes canonical SMILES and InChIKeys; what is no structure is listed, not hidden."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import polars as pl

from pertcast_data.compounds import Compound, canonicalise, why_no_structure
from pertcast_data.ingest.findings import Findings
from pertcast_data.text import counted, listed

_NOT_STRUCTURES: Final = frozenset({"restricted", "unknown", "-"})
_COLUMNS: Final = ("canonical_smiles", "inchi_key")


@lru_cache(maxsize=1 << 17)
def _canonical(smiles: str) -> Compound | None:
    # Files of one ingest name the same compounds again and again, and a structure takes about a millisecond.
    return canonicalise(smiles)


def canonical_structures(smiles: pl.Series, findings: Findings) -> pl.DataFrame:
    """Return columns `canonical_smiles` and `inchi_key` for a column of SMILES.

    Each distinct text is looked at once, also where several columns or files hold it.

    Parameters
    ----------
    smiles
        Text; null where there is no structure.
    findings
        Told how many structures changed and which are invalid, and why.
    """
    distinct = smiles.drop_nulls().unique(maintain_order=True).to_list()
    compounds = {text: _canonical(text) for text in distinct}
    invalid = [text for text in distinct if compounds[text] is None and text.lower() not in _NOT_STRUCTURES]
    if invalid:
        _tell_invalid(smiles, invalid, findings)
    rewritten = sum(1 for text, item in compounds.items() if item and item.canonical_smiles != text)
    if distinct:
        findings.converted.append(
            f"{len(distinct):,} structures made canonical by RDKit, salts stripped ({rewritten:,} rewritten)"
        )
    return pl.DataFrame([_replaced(smiles, name, compounds) for name in _COLUMNS])


def _tell_invalid(smiles: pl.Series, invalid: list[str], findings: Findings) -> None:
    n_rows = int(smiles.is_in(invalid).sum())
    reasons = [f"{text} ({why_no_structure(text)})" for text in invalid]
    findings.warnings.append(
        f"{counted(len(invalid), 'structure')} in {counted(n_rows, 'row')} are no valid SMILES and were left "
        f"empty: {listed(reasons, 3)}"
    )


def _replaced(smiles: pl.Series, name: str, compounds: dict[str, Compound | None]) -> pl.Series:
    found = {text: getattr(item, name) for text, item in compounds.items() if item}
    if not found:
        return pl.Series(name, [None] * len(smiles), dtype=pl.String)
    return smiles.replace_strict(found, default=None, return_dtype=pl.String).alias(name)
