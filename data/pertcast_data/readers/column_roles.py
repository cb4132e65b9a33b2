"""Which columns of a table are genes and which are annotations, told by names.

The words are those by which an ingest finds its columns; where names tell nothing, readers ask the caller.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, Literal

from pertcast_data.text import fold
from pertcast_data.words import COLUMN_WORDS, FLAG_WORDS, KIND_COLUMN_WORDS, SYMBOL_WORDS

Orientation = Literal["profiles", "genes"]
"""What the lines of a table are."""

ROW_NUMBER_WORDS: Final = ("", "index", "unnamed_0", "index_level_0", "rowname", "rownames", "row_names")
"""Columns (folded) of row names that have no name of their own."""

_ROW_WORDS: Final = frozenset(
    (
        *COLUMN_WORDS,
        *(word for several in COLUMN_WORDS.values() for word in several),
        *(*FLAG_WORDS, *KIND_COLUMN_WORDS),
    )
)
_SYMBOL_WORDS: Final = frozenset(SYMBOL_WORDS)
_PROFILE_ID_WORDS: Final = frozenset(
    {
        *("sig_id", "inst_id", "sample_id", "profile", "profile_id", "distil_id", "cid", "obs_names"),
        *("barcode", "barcodes", "cell_barcode", "cell_barcodes", "cellid", "cell_names", "well_id"),
        *("signature", "signature_id", "observation", "samples", "cells", "sampleid", "geo_accession"),
    }
)
_GENE_WORDS: Final = frozenset(
    {
        *(
            "gene_id",
            "geneid",
            "gene_ids",
            "genes",
            "ensembl",
            "ensembl_id",
            "ensembl_gene_id",
            "ensembl_gene",
        ),
        *("entrez", "entrez_id", "entrez_gene_id", "entrezid", "pr_gene_id", "probe", "probe_id", "probeid"),
        *("probeset", "probeset_id", "id_ref", "rid", "feature", "features", "feature_id", "transcript_id"),
        *("hgnc_id", "hugo_symbol", "gene_title", "pr_gene_title", "uniprot", "var_names", "refseq"),
    }
)
_GENE_NOTE_WORDS: Final = frozenset(
    {
        *("description", "gene_description", "gene_biotype", "biotype", "gene_type", "chromosome", "chr"),
        *("chrom", "start", "end", "strand", "length", "gene_length", "genelength", "effective_length"),
        *("transcript_length", "gc_content", "feature_type", "feature_types", "genome", "highly_variable"),
    }
)
_ROW_NOTES: Final = re.compile(
    r"n_?(genes|counts?|umis?|features?|cells|reads|replicates)(_.*)?|ncount_.*|nfeature_.*"
    r"|total_(counts?|umis?|reads)(_.*)?|(pct|percent|log1p|distil)_.*|size_factors?|s_score|g2m_score"
    r"|leiden.*|louvain.*|(x_)?(umap|tsne|pca|pc)_?\d+|doublet_scores?|umi_counts?|mt_frac|mito_(frac|percent)"
    r"|age|sex|gender|bmi|replicate|rep|well|passage|day|split|fold|cluster|tas|viability|score|qc_pass"
    r"|is_.*|has_.*|.*_(id|type|unit|name|date|index|number)"
)

_KNOWN: Final = frozenset(
    {
        *("ACTB", "GAPDH", "TP53", "MYC", "EGFR", "KRAS", "BRAF", "PTEN", "RB1", "CDKN1A", "CDKN2A"),
        *("STAT1", "STAT3", "JUN", "FOS", "B2M", "ALB", "VIM", "CDH1", "MKI67", "TNF", "AKT1", "MTOR"),
        *("ESR1", "ERBB2", "BCL2", "CCND1", "GATA1", "GATA3", "SOX2", "NANOG", "HPRT1", "TUBB", "LDHA"),
        *("ENO1", "PGK1", "MALAT1", "XIST", "A1BG", "A1CF", "A2M", "A2ML1", "A4GALT", "A4GNT", "AAAS"),
        *("AACS", "AADAC", "AAGAB", "AAK1", "AAMP", "AARS1", "AATF", "ABAT", "ABCA1", "ABCB1", "NAT1"),
        *("NAT2", "ADA", "CDH2", "AKT3", "SERPINA3", "TSPAN6", "TNMD", "DPM1", "SCYL3", "FGR", "CFH"),
        *("FUCA2", "GCLC", "NFYA", "SAMD11", "NOC2L", "PLEKHN1", "DDX11L1", "WASH7P", "PSME1", "ATF1"),
        *("RHEB", "FOXO3", "RHOA", "IL1B", "HOXA5", "CDK4", "CDK6", "CDC20", "PCNA", "BRCA1", "BRCA2"),
        *("MDM2", "HIF1A", "VEGFA"),
    }
)
"""Symbols that nearly every matrix has, and those with which sorted ones begin."""

_SURE_GENE: Final = re.compile(
    r"ENS[A-Z]*[GT]\d{6,}(\.\d+)?([|_].*)?|.+_at|AFFX.+|ILMN_\d+|HGNC:\d+|LOC\d{4,}|C\d+orf\d+|MT-[A-Z]+\d*"
    r"|RP[LS]P?\d+[A-Z]?\d*|FBgn\d+|AT\dG\d{5}|WBGene\d+|MIR\d.*|LINC\d+|FAM\d+[A-Z]\d*|OR\d+[A-Z]\d+P?"
    r"|ZNF\d+|A[CLPF]\d{6}\.\d+|TMEM\d+[A-Z]?|SLC\d+A\d+|KIAA\d{4}|CCDC\d+|SNOR[AD]\d+.*|HLA-.+|COL\d+A\d+"
    r"|CYP\d+[A-Z]\d+|MAP\dK\d+|CXC[LR]\d+|[A-Z][A-Z0-9-]+ \(\d+\)|[A-Z][A-Z0-9-]+\|\d+"
)
_UNIT_BEHIND: Final = re.compile(r"\s*[(\[][^)\]]*[)\]]\s*$")
"""A unit in brackets at the end of a name: "Dose (uM)"."""
_SYMBOL: Final = re.compile(
    r"(?=.{2,16}$)([A-Z][A-Z0-9]*([-._][A-Z0-9]+)*|[A-Z][a-z0-9]+(-[A-Za-z0-9]+)*|[Gg]ene[-_]?\d+)"
)
_SAMPLE: Final = re.compile(
    r"GSM\d+|[SED]RR\d+|SAM[NED]\w*\d+|TCGA-.+|ACH-\d+|BRD-.+|[ACGT]{8,}([-_.]\d+)?|[A-P]\d{1,2}|[csp][-_]?\d+"
    r"|.*(sample|cell|well|rep\d|profile|plate|ctrl|control|dmso|vehicle|treat|batch|patient|donor|drug|signature"
    r").*|.*[ :/].*|[^_]+_[^_]+_.+",
    re.IGNORECASE,
)


def is_profile_id(name: str) -> bool:
    """Return whether a column of this name holds names of profiles ("sig_id", "barcode")."""
    return fold(name) in _PROFILE_ID_WORDS


def is_profile_note(name: str) -> bool:
    """Return whether a column of this name annotates profiles ("pert_dose", "n_genes", "Cell Line")."""
    word = fold(name)
    if {word, fold(_UNIT_BEHIND.sub("", name))} & (_ROW_WORDS | _PROFILE_ID_WORDS):
        return True
    # A symbol in capitals ("AGE") is a gene sooner than a word.
    return not name.isupper() and _ROW_NOTES.fullmatch(word) is not None


def is_gene_name_column(name: str) -> bool:
    """Return whether a column of this name holds names or ids of genes ("symbol", "ID_REF")."""
    word = fold(name)
    return word in _GENE_WORDS or word in _SYMBOL_WORDS


def is_gene_note(name: str) -> bool:
    """Return whether a column of this name annotates genes ("description", "entrez_id", "Length")."""
    return is_gene_name_column(name) or fold(name) in _GENE_NOTE_WORDS


def gene_likeness(names: Sequence[str]) -> float:
    """Return how much names look like genes: 1 surely, .5 perhaps, 0 nothing told, below 0 like samples."""
    if not names:
        return 0.0
    if all(name.isascii() and name.isdigit() for name in names):
        return _likeness_of_numbers([int(name) for name in names[:10_000]])
    n_known = sum(name.upper() in _KNOWN for name in names)
    mean = sum(map(_likeness, names)) / len(names)
    return min(1.0, mean + min(0.4, 0.15 * n_known))


def looks_like_gene(name: str) -> bool:
    """Return whether one name may be a gene's."""
    return _likeness(name) > 0 or (name.isascii() and name.isdigit())


def are_numbered_alike(names: Sequence[str]) -> bool:
    """Return whether names are one stem and a number each ("f0", "f1", ...), at least eight of them."""
    stems = {re.sub(r"\d+$", "", name) for name in names}
    return len(names) >= 8 and len(stems) == 1 and all(name[-1:].isdigit() for name in names)


def _likeness(name: str) -> float:
    text = name.strip()
    if text.upper() in _KNOWN or _SURE_GENE.fullmatch(text):
        return 1.0
    if _SAMPLE.fullmatch(text):
        return -1.0
    return 0.5 if _SYMBOL.fullmatch(text) else 0.0


def _likeness_of_numbers(numbers: list[int]) -> float:
    is_count = numbers == [*range(numbers[0], numbers[0] + len(numbers))]
    if is_count:
        return -1.0 if numbers[0] in (0, 1) else 0.0
    return 1.0 if len(set(numbers)) == len(numbers) and len(numbers) >= 10 else 0.5
