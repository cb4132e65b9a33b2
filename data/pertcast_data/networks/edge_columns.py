"""Which columns of an edge list hold the two genes, the score, the organisms and channels of evidence."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pertcast_data.errors import SchemaError
from pertcast_data.text import fold

END_WORDS: Final = (
    ("node1", "node2"),
    ("gene1", "gene2"),
    ("protein1", "protein2"),
    ("symbol1", "symbol2"),
    ("gene_1", "gene_2"),
    ("node_1", "node_2"),
    ("gene_a", "gene_b"),
    ("protein_a", "protein_b"),
    ("interactor_a", "interactor_b"),
    ("official_symbol_interactor_a", "official_symbol_interactor_b"),
    ("entrez_gene_interactor_a", "entrez_gene_interactor_b"),
    ("source_genesymbol", "target_genesymbol"),
    ("source", "target"),
    ("from", "to"),
)
"""Folded names of the two columns of genes, the most telling first; else the first two columns are taken."""

SCORE_WORDS: Final = (
    *("combined_score", "score", "weight", "confidence", "confidence_score", "edge_weight"),
    *("interaction_score", "correlation", "mor"),
)
"""Folded names of the column of scores; else the third of three columns is taken."""

ORGANISM_WORDS: Final = (
    ("organism_id_interactor_a", "organism_id_interactor_b"),
    ("organism_interactor_a", "organism_interactor_b"),
    ("ncbi_tax_id_source", "ncbi_tax_id_target"),
)
"""Folded names of the two columns of organisms, as NCBI numbers them: rows not human are left out."""

EVIDENCE_WORDS: Final = frozenset(
    {
        *("neighborhood", "neighborhood_transferred", "neighborhood_on_chromosome", "fusion", "gene_fusion"),
        *("cooccurence", "cooccurrence", "phylogenetic_cooccurrence", "homology"),
        *("coexpression", "coexpression_transferred", "experiments", "experiments_transferred"),
        *("experimental", "experimentally_determined_interaction", "database", "database_transferred"),
        *("database_annotated", "textmining", "textmining_transferred", "automated_textmining"),
    }
)
"""Folded names of STRING's channels of evidence, in its files with details and in the export of its page."""


@dataclass(frozen=True, slots=True)
class EdgeColumns:
    """Which columns of a table hold what."""

    ends: tuple[str, str]
    score: str | None
    organisms: tuple[str, str] | None
    evidence: tuple[str, ...] = ()


def edge_columns(path: Path, names: list[str], named: bool, with_evidence: bool) -> EdgeColumns:
    """Settle which columns hold what, by `END_WORDS`, `SCORE_WORDS`, `ORGANISM_WORDS` and `EVIDENCE_WORDS`.

    Parameters
    ----------
    path
        The file, for messages.
    names
        Of its columns.
    named
        Whether the file names them itself.
    with_evidence
        Whether STRING's channels are wanted.

    Raises
    ------
    SchemaError
        There is one column only.
    """
    if len(names) < 2:
        raise SchemaError(f"{path}: has one column. Bring an edge list: two columns of genes, then scores.")
    ends = (known_ends(names) if named else None) or (names[0], names[1])
    organisms = _known_pair(names, ORGANISM_WORDS) if named else None
    if organisms is not None and "interactor" in fold(organisms[0]):
        # BioGRID's scores are each experiment's own, on no common scale, and mostly missing.
        return EdgeColumns(ends, None, organisms)
    others = [name for name in names if name not in ends]
    score = _score_column(others, named)
    is_asked = with_evidence and named
    evidence = [name for name in others if is_asked and name != score and fold(name) in EVIDENCE_WORDS]
    return EdgeColumns(ends, score, organisms, tuple(evidence))


def known_ends(names: list[str]) -> tuple[str, str] | None:
    """Return the names of the two columns of genes, None where none is known for it."""
    return _known_pair(names, END_WORDS)


def _known_pair(names: list[str], words: tuple[tuple[str, str], ...]) -> tuple[str, str] | None:
    folded = {fold(name): name for name in reversed(names)}
    return next(((folded[a], folded[b]) for a, b in words if a in folded and b in folded), None)


def _score_column(others: list[str], named: bool) -> str | None:
    """Return the column of scores: by its name, else the third of three or of columns without names."""
    if named:
        folded = {fold(name): name for name in reversed(others)}
        by_name = next((folded[word] for word in SCORE_WORDS if word in folded), None)
        if by_name is not None or len(others) > 1:
            return by_name
    return others[0] if others else None
