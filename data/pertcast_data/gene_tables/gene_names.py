"""A user's table of genes: what symbol an Entrez, Ensembl or UniProt id, or an older symbol, stands for.

Symbols win over ids, ids over aliases; a name that would mean two genes means none. Nothing is guessed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import polars as pl

from pertcast_data.errors import FormatError, SchemaError
from pertcast_data.gene_tables.identifiers import HUMAN, identifier_key, identifier_kind
from pertcast_data.tables.content import PARQUET, content_start, head_lines, read_parquet, sha256_of
from pertcast_data.tables.text_blocks import TextLayout, fields_of, table_blocks, unique_names
from pertcast_data.text import fold

SYMBOL_WORDS: Final = (
    *("approved_symbol", "hgnc_symbol", "symbol", "gene_symbol", "official_symbol", "preferred_name"),
    *("gene_names_primary", "gene_name", "gene", "name"),
)
"""Folded names of the column of symbols, the most telling first."""

IDENTIFIER_WORDS: Final = (
    *("entrez_id", "entrez", "entrez_gene_id", "entrezgene", "geneid", "gene_id", "ncbi_gene_id"),
    *("ncbi_gene_formerly_entrezgene_id", "ensembl", "ensembl_id", "ensembl_gene_id", "ensembl_gene"),
    *(
        "gene_stable_id",
        "gene_stable_id_version",
        "ensembl_protein_id",
        "protein_stable_id",
        "string_protein_id",
        "protein_id",
    ),
    *("uniprot", "uniprot_id", "uniprot_ids", "uniprot_accession", "uniprotkb_swiss_prot_id", "entry"),
    *("dbxrefs",),
)
"""Folded names of columns of ids; only what looks like an id is taken from them."""

ALIAS_WORDS: Final = (
    *("alias", "aliases", "alias_symbol", "alias_symbols", "synonym", "synonyms", "gene_synonym"),
    *("gene_synonyms", "prev_symbol", "previous_symbol", "previous_symbols"),
)
"""Folded names of columns of other and older symbols."""

_LISTED: Final = re.compile(r"\s*[|;,]\s*")
_MISSING: Final = frozenset({"", "-", "NA", "nan", "None"})
_NAMED_ID: Final = re.compile(r"^(?:Ensembl|GeneID|UniProtKB):")
_STRING_SYMBOLS: Final = (
    re.compile(r"hgnc_(?:approved_)?symbol|biomart_hugo", re.IGNORECASE),
    re.compile(r"uniprot_gn_name", re.IGNORECASE),
)
_STRING_ENTREZ: Final = re.compile(r"entrez|geneid", re.IGNORECASE)
_STRING_ALIASES: Final = re.compile(r"hgnc|hugo|gn_name|gn_synonym|gene_name|kegg_name", re.IGNORECASE)

_WITHDRAWN: Final = re.compile(r"~withdrawn$", re.IGNORECASE)

Pairs = Iterable[tuple[str, str]]
Meanings = Mapping[str, tuple[str, ...]]
"""Key of a name (`identifier_key`) -> symbols that it stands for, as the table spells them."""

Level = Literal["approved", "id", "alias", "withdrawn", "unknown"]


@dataclass(frozen=True)
class GeneNames:
    """What names of genes stand for.

    Attributes
    ----------
    file, sha256
        Name (without folder) and content of the table.
    approved, identifiers, aliases
        The symbols themselves; ids; other and older symbols.
    withdrawn
        Keys of symbols that the table calls withdrawn.
    """

    file: str
    sha256: str
    approved: Meanings
    identifiers: Meanings
    aliases: Meanings
    withdrawn: frozenset[str] = frozenset()

    def meaning(self, name: str) -> tuple[Level, tuple[str, ...]]:
        """Return what a name is in the table, and the symbols of the genes that it stands for.

        The first level that has the name counts: an approved symbol is no alias of another gene. Of approved
        symbols that differ only in case or hyphens the one that is spelled as asked counts.
        """
        key = identifier_key(name)
        if key in self.approved:
            symbols = self.approved[key]
            return "approved", (name,) if name in symbols else symbols
        if key in self.identifiers:
            return "id", self.identifiers[key]
        if key in self.aliases:
            return "alias", self.aliases[key]
        return ("withdrawn" if key in self.withdrawn else "unknown"), ()

    def symbol(self, name: str) -> str | None:
        """Return the symbol of the gene that has this name, None where no or more than one gene has it."""
        level, symbols = self.meaning(name)
        return symbols[0] if len(symbols) == 1 or level == "approved" else None


def read_gene_names(path: Path | str) -> GeneNames:
    """Read a table of genes; see `SYMBOL_WORDS`, `IDENTIFIER_WORDS` and `ALIAS_WORDS` for the columns.

    HGNC's complete set, NCBI's gene_info, BioMart, STRING's protein.info and protein.aliases, or a table of
    the user's own. Several names in a cell are separated by "|", ";" or ",". Where a table tells the
    organism (tax_id), only human rows count; where it tells that a symbol was withdrawn, the row names none.

    Parameters
    ----------
    path
        tsv, csv or Parquet with a header, packed with gzip or not; "-" is missing.

    Raises
    ------
    FormatError
        The file is absent, packed otherwise, or no table.
    SchemaError
        It has no column of symbols, no column beside it, or no row with a symbol.
    """
    path = Path(path)
    frame = _read_table(path)
    withdrawn: frozenset[str] = frozenset()
    if {"string_protein_id", "alias", "source"} <= set(frame.columns):
        levels = _string_aliases(frame)
    else:
        column = _symbol_column(path, frame)
        frame, withdrawn = _without_withdrawn(frame, column)
        levels = _levels(frame, column)
    approved, identifiers, aliases = map(_meanings, levels)
    if not approved:
        raise SchemaError(f"{path}: no row has a symbol. Bring a table with symbols and ids of genes.")
    return GeneNames(path.name, sha256_of(path), approved, identifiers, aliases, withdrawn)


def read_alias_pairs(path: Path | str) -> list[tuple[str, str]]:
    """Return (other name, symbol) pairs of a table of genes as it spells them; own symbols are left out.

    Raises as `read_gene_names`.
    """
    path = Path(path)
    frame = _read_table(path)
    column = _symbol_column(path, frame)
    approved, _, aliases = _levels(_without_withdrawn(frame, column)[0], column)
    own = {symbol for symbol, _ in approved}
    return [(name, symbol) for name, symbol in aliases if name not in own]


def _read_table(path: Path) -> pl.DataFrame:
    """Return the table as text, its columns by their folded names."""
    if content_start(path).startswith(PARQUET):
        frame = read_parquet(path)
        wanted = [name for name in frame.columns if not frame[name].dtype.is_nested()]
        frame = frame.select(pl.col(wanted).cast(pl.String))
    else:
        lines = [(place, line) for place, line in enumerate(head_lines(path)) if line.strip()]
        header = next(((place, line) for place, line in lines if not line.startswith("##")), None)
        if header is None:
            raise FormatError(f"{path}: is empty. Bring a table with a header.")
        separator = next((mark for mark in "\t,;" if mark in header[1]), "\t")
        names = fields_of(header[1].lstrip("#"), separator)
        layout = TextLayout(unique_names(names), separator, len(names), header[0] + 1, comment="##")
        blocks = list(table_blocks(path, layout))
        empty = pl.DataFrame(schema=dict.fromkeys(layout.names or [], pl.String))
        frame = pl.concat([empty, *blocks])
    frame.columns = unique_names([fold(name) for name in frame.columns])
    if "tax_id" in frame.columns:
        frame = frame.filter(pl.col("tax_id") == HUMAN)
    return frame


def _symbol_column(path: Path, frame: pl.DataFrame) -> str:
    column: str | None = next((word for word in SYMBOL_WORDS if word in frame.columns), None)
    beside = {*IDENTIFIER_WORDS, *ALIAS_WORDS} & {*frame.columns} - {column}
    if column is None or not beside:
        raise SchemaError(
            f"{path}: a table of gene names needs a column of symbols (symbol, gene_symbol, ...) and ids or "
            f"aliases beside it (entrez_id, ensembl_id, uniprot_ids, alias, ...); it has "
            f"{', '.join(frame.columns)}. Name its columns so."
        )
    return column


def _without_withdrawn(frame: pl.DataFrame, column: str) -> tuple[pl.DataFrame, frozenset[str]]:
    """Leave out symbols that HGNC withdrew ("A12M1~withdrawn"); return the rest and the keys of these."""
    gone = pl.col(column).str.contains("(?i)~withdrawn$")
    if "status" in frame.columns:
        gone = gone | pl.col("status").str.contains("(?i)withdrawn")
    marked = frame.select(gone.fill_null(False)).to_series()
    symbols = frame[column].filter(marked).drop_nulls()
    return frame.filter(~marked), frozenset(identifier_key(_WITHDRAWN.sub("", each)) for each in symbols)


def _levels(frame: pl.DataFrame, column: str) -> list[Pairs]:
    """Return (name, symbol) pairs of the symbols themselves, of the ids, and of the aliases."""
    symbols = frame[column].to_list()
    identifiers = [word for word in IDENTIFIER_WORDS if word in frame.columns and word != column]
    aliases = [word for word in ALIAS_WORDS if word in frame.columns and word != column]
    own = [(symbol, symbol) for symbol in map(_bare, symbols) if symbol]
    return [
        own,
        (pair for word in identifiers for pair in _identifiers(frame[word].to_list(), symbols)),
        (pair for word in aliases for pair in _listed(frame[word].to_list(), symbols)),
    ]


def _bare(cell: str | None) -> str:
    """Return a cell without blanks and quotes; nothing for what stands for a missing value."""
    text = (cell or "").strip().strip('"').strip()
    return "" if text in _MISSING else text


def _listed(cells: Iterable[str | None], symbols: Iterable[str | None]) -> Iterator[tuple[str, str]]:
    for cell, symbol in zip(cells, map(_bare, symbols), strict=True):
        for name in _LISTED.split(_bare(cell)) if symbol else ():
            if _bare(name):
                yield _bare(name), symbol


def _identifiers(cells: Iterable[str | None], symbols: Iterable[str | None]) -> Iterator[tuple[str, str]]:
    for name, symbol in _listed(cells, symbols):
        identifier = _NAMED_ID.sub("", name)
        if identifier_kind(identifier) != "symbols":
            yield identifier, symbol


def _string_aliases(frame: pl.DataFrame) -> list[Pairs]:
    """Return the pairs of STRING's long table: protein, alias, and the source that says so."""
    rows = list(frame.select("string_protein_id", "alias", "source").drop_nulls().iter_rows())
    symbol_of: dict[str, str] = {}
    for pattern in _STRING_SYMBOLS:
        found = {protein: _bare(alias) for protein, alias, source in rows if pattern.search(source)}
        symbol_of = {**found, **symbol_of}
    known = [(alias, symbol_of[protein], source) for protein, alias, source in rows if protein in symbol_of]
    identifiers: list[tuple[str, str]] = list(symbol_of.items())
    aliases: list[tuple[str, str]] = []
    for alias, symbol, source in known:
        kind = identifier_kind(alias)
        if kind == "symbols" and _STRING_ALIASES.search(source):
            aliases.append((alias, symbol))
        # Other sources number other things: structures, diseases, drugs.
        elif kind != "symbols" and (kind != "Entrez ids" or _STRING_ENTREZ.search(source)):
            identifiers.append((alias, symbol))
    return [[(symbol, symbol) for symbol in symbol_of.values()], identifiers, aliases]


def _meanings(pairs: Pairs) -> dict[str, tuple[str, ...]]:
    """Return key of a name -> the distinct symbols that it stands for, in the order of the table."""
    found: dict[str, tuple[str, ...]] = {}
    for name, symbol in dict.fromkeys(pairs):
        key = identifier_key(name)
        known = found.get(key, ())
        if symbol not in known:
            found[key] = (*known, symbol)
    return found
