"""A column of SMILES becomes canonical SMILES and InChIKeys; what is no structure is listed, not hidden."""

from __future__ import annotations

import polars as pl

from pertcast_data.compounds import canonicalise
from pertcast_data.ingest.findings import Findings, listed

_NOT_STRUCTURES = frozenset({"restricted", "unknown", "-"})


def canonical_structures(smiles: pl.Series, findings: Findings) -> pl.DataFrame:
    """Return columns `canonical_smiles` and `inchi_key` for a column of SMILES.

    Parameters
    ----------
    smiles
        Text; null where there is no structure.
    findings
        Told how many structures changed and which are invalid.
    """
    distinct = smiles.drop_nulls().unique(maintain_order=True).to_list()
    compounds = {text: canonicalise(text) for text in distinct}
    invalid = [text for text in distinct if compounds[text] is None]
    shown = [text for text in invalid if text.lower() not in _NOT_STRUCTURES]
    if shown:
        n_rows = smiles.is_in(shown).sum()
        findings.warnings.append(
            f"{len(shown):,} structures are no valid SMILES and were left empty ({n_rows:,} rows): "
            f"{listed(shown, 3)}"
        )
    rewritten = sum(1 for text, item in compounds.items() if item and item.canonical_smiles != text)
    if distinct:
        findings.converted.append(
            f"{len(distinct):,} structures made canonical by RDKit, salts stripped ({rewritten:,} rewritten)"
        )
    columns = {
        "canonical_smiles": {text: item.canonical_smiles for text, item in compounds.items() if item},
        "inchi_key": {text: item.inchi_key for text, item in compounds.items() if item},
    }
    return pl.DataFrame(
        {
            name: smiles.replace_strict(table, default=None, return_dtype=pl.String)
            if table
            else pl.Series([None] * len(smiles), dtype=pl.String)
            for name, table in columns.items()
        }
    )
