"""Ids and symbols that contradict each other: between the columns of a file, between files, or by a table.

A few contradictions are names that changed and are listed; where most disagree a table was shifted or sorted
apart from the other, every value would stand under a wrong gene, and the ingest is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Final

import polars as pl

from pertcast_data.errors import SchemaError
from pertcast_data.gene_tables.gene_names import GeneNames
from pertcast_data.gene_tables.identifiers import identifier_key
from pertcast_data.ingest.findings import Findings
from pertcast_data.ingest.genes.namespace import gene_namespace
from pertcast_data.ingest.genes.records import NAMESPACE_WORDS, NamespaceName
from pertcast_data.ingest.genes.resolution import ID_COLUMNS, SOURCE_SYMBOL
from pertcast_data.ingest.mapping.rules import GeneRule
from pertcast_data.ingest.rows.columns import as_text
from pertcast_data.text import fold, listed
from pertcast_data.words import SYMBOL_WORDS

FEWEST_REFUSED: Final = 10
"""So many genes must disagree before files are refused: fewer may be chance."""

LEAST_AGREEING_SHARE: Final = 0.5
LEAST_CERTAIN_SHARE: Final = 0.9
"""Of the names of a column, so many must be of one namespace for it to be compared."""

_REMEDY: Final = (
    "Their gene tables are sorted apart, and values would stand under wrong genes. Correct the file, or name "
    "the columns that are right in the mapping file: genes: {gene_id: COLUMN, gene_symbol: COLUMN}."
)


@dataclass(frozen=True, slots=True)
class GeneColumn:
    """A column of a gene table that names genes: its header, the namespace, and the names' keys (or None)."""

    header: str
    namespace: NamespaceName
    keys: tuple[str | None, ...]
    shown: tuple[str | None, ...]


@dataclass(slots=True)
class Comparison:
    """How often two columns agree on genes that both know.

    Attributes
    ----------
    n_known
        Genes on which they were compared.
    disagreeing
        (id, one name, other name) where they disagree.
    """

    n_known: int = 0
    disagreeing: list[tuple[str, str, str]] = field(default_factory=list)

    @property
    def is_misaligned(self) -> bool:
        """Whether most genes disagree, and enough of them to be no chance."""
        n_apart = len(self.disagreeing)
        return n_apart >= FEWEST_REFUSED and n_apart > (1 - LEAST_AGREEING_SHARE) * self.n_known

    def __str__(self) -> str:
        shown = listed((f"{key}: {one} and {other}" for key, one, other in self.disagreeing), 3)
        return f"{len(self.disagreeing):,} of {self.n_known:,} disagree, e.g. {shown}"


def check_alignment(
    tables: Sequence[pl.DataFrame],
    paths: Sequence[Path],
    findings: Findings,
    names: GeneNames | None = None,
) -> None:
    """Compare the names that gene tables have for the same genes.

    With one table its own columns are compared, with each other and (where given) with the user's table of
    names; with several, each with those before it.

    Parameters
    ----------
    tables
        Canonical gene tables (`columns_to_check`); a single one is judged by the symbols that the file has,
        several by their resolved ones.
    paths
        Their files.
    findings
        Told the few that disagree.
    names
        The user's table of gene names.

    Raises
    ------
    SchemaError
        Most names disagree: ids and symbols are misaligned.
    """
    if len(tables) > 1:
        # Plates of one laboratory have one gene table: it is compared once.
        places = [at for at, table in enumerate(tables) if not at or not table.equals(tables[at - 1])]
        described = [_gene_columns(tables[at], "gene_symbol") for at in places]
        _check_several(described, [paths[at] for at in places], findings)
        return
    own = SOURCE_SYMBOL if SOURCE_SYMBOL in tables[0].columns else "gene_symbol"
    columns = _gene_columns(tables[0], own)
    _check_one(columns, paths[0], findings)
    if names is not None:
        _check_by_names(columns, paths[0], findings, names)


def columns_to_check(table: pl.DataFrame, rule: GeneRule) -> pl.DataFrame:
    """Return a canonical gene table without the columns that the mapping file's own choice replaces."""
    is_symbol = {name: fold(name) in SYMBOL_WORDS for name in table.columns}
    left_out = {
        name
        for name in table.columns
        if (rule.gene_symbol is not None and is_symbol[name])
        or (rule.gene_symbol is not None and rule.gene_id is not None and fold(name) in ID_COLUMNS)
    } - {"gene_id", "gene_symbol", SOURCE_SYMBOL}
    return table.drop(left_out)


def _gene_columns(table: pl.DataFrame, symbol: str) -> list[GeneColumn]:
    """Return the columns of a gene table that name genes, each almost wholly in one namespace."""
    others = [name for name in table.columns if fold(name) in (ID_COLUMNS | {*SYMBOL_WORDS})]
    headers = dict.fromkeys(["gene_id", symbol, *(each for each in others if each != "gene_symbol")])
    texts = {header: as_text(table[header]) for header in headers}
    # A file's own column beside the canonical one that was taken from it says the same again.
    distinct = [
        header
        for place, header in enumerate(texts)
        if not any(texts[header].eq_missing(texts[earlier]).all() for earlier in [*texts][:place])
    ]
    if len(distinct) < 2:
        return []
    return [column for header in distinct if (column := _gene_column(header, texts[header])) is not None]


def _gene_column(header: str, texts: pl.Series) -> GeneColumn | None:
    filled = texts.drop_nulls()
    found = gene_namespace(filled)
    if found.name not in ("symbol", "ensembl", "entrez", "probe") or found.share < LEAST_CERTAIN_SHARE:
        return None
    keys = tuple(None if text is None else identifier_key(text) for text in texts)
    return GeneColumn(header, found.name, keys, tuple(texts))


def _check_one(columns: list[GeneColumn], path: Path, findings: Findings) -> None:
    """Compare columns of one file: two of one namespace must agree, and an Entrez id has one symbol."""
    for one, other in combinations(columns, 2):
        if one.namespace == other.namespace:
            compared = _same_names(one, other)
        elif {one.namespace, other.namespace} == {"entrez", "symbol"}:
            compared = _one_name_each(*((one, other) if one.namespace == "entrez" else (other, one)))
        else:
            continue
        told = f"{path}: the columns {one.header} and {other.header} of the genes"
        _judge(compared, told, findings)


def _same_names(one: GeneColumn, other: GeneColumn) -> Comparison:
    """Compare two columns of one namespace row by row, on names that both have somewhere."""
    common = {*one.keys} & {*other.keys} - {None}
    result = Comparison()
    for row, (left, right) in enumerate(zip(one.keys, other.keys, strict=True)):
        if left in common and right in common:
            result.n_known += 1
            if left != right:
                result.disagreeing.append((f"gene {row}", str(one.shown[row]), str(other.shown[row])))
    return result


def _one_name_each(identifiers: GeneColumn, named: GeneColumn) -> Comparison:
    """Compare the names of genes that stand in several rows: all rows of an id must have one name."""
    result = Comparison()
    first: dict[str, int] = {}
    for row, key in enumerate(identifiers.keys):
        if key is None or named.keys[row] is None:
            continue
        earlier = first.setdefault(key, row)
        if earlier != row:
            result.n_known += 1
            if named.keys[earlier] != named.keys[row]:
                pair = (str(named.shown[earlier]), str(named.shown[row]))
                result.disagreeing.append((str(identifiers.shown[row]), *pair))
    return result


def _check_by_names(columns: list[GeneColumn], path: Path, findings: Findings, names: GeneNames) -> None:
    """Compare every column of ids with the symbols, by what the user's table says of both."""
    symbols = next((each for each in columns if each.namespace == "symbol"), None)
    if symbols is None:
        return
    for column in columns:
        if column.namespace in ("entrez", "ensembl"):
            compared = _by_names(column, symbols, names)
            told = f"{path}: by {names.file}, ids ({column.header}) and symbols ({symbols.header})"
            _judge(compared, told, findings)


def _by_names(column: GeneColumn, symbols: GeneColumn, names: GeneNames) -> Comparison:
    result = Comparison()
    for key, symbol in zip(column.shown, symbols.shown, strict=True):
        meant = names.meaning(key) if key is not None else ("unknown", ())
        if symbol is None or meant[0] != "id":
            continue
        level, own = names.meaning(symbol)
        if level not in ("approved", "alias"):
            continue
        result.n_known += 1
        older = names.aliases.get(identifier_key(symbol), ())
        if not {*meant[1]} & {*own, *older}:
            result.disagreeing.append((str(key), meant[1][0], symbol))
    return result


Known = dict[tuple[NamespaceName, NamespaceName], dict[str, tuple[str, str, int]]]
"""Two namespaces -> key of an id -> key of its name, the name, and the number of the file that says so."""


def _check_several(described: list[list[GeneColumn]], paths: Sequence[Path], findings: Findings) -> None:
    """Compare each file with what those before it say of the same ids."""
    known: Known = {}
    for number, columns in enumerate(described):
        agreeing, disagreeing = [], []
        for identifiers, named in _pairs(columns):
            before = known.setdefault((identifiers.namespace, named.namespace), {})
            said = _names_of_ids(identifiers, named)
            compared, other = _against(before, said)
            what = f"the {NAMESPACE_WORDS[named.namespace]} of its {identifiers.header}"
            disagreeing.append((compared, f"{paths[number]}: {what}, against {paths[other].name},"))
            if compared.n_known and not compared.is_misaligned:
                agreeing.append(f"{identifiers.header} and {named.header}")
            for key, (name_key, name) in said.items():
                before.setdefault(key, (name_key, name, number))
        hint = f" (But {' as well as '.join(agreeing)} agree in both.)" if agreeing else ""
        for compared, told in disagreeing:
            _judge(compared, told, findings, hint)


def _pairs(columns: list[GeneColumn]) -> Iterator[tuple[GeneColumn, GeneColumn]]:
    """Yield ids and what they can be compared by: symbols, and Entrez ids; one column a namespace."""
    first: dict[NamespaceName, GeneColumn] = {}
    for column in columns:
        first.setdefault(column.namespace, column)
    for identifiers in first.values():
        for named in (first.get("symbol"), first.get("entrez")):
            if named is not None and named is not identifiers and identifiers.namespace != "symbol":
                yield identifiers, named


def _names_of_ids(identifiers: GeneColumn, named: GeneColumn) -> dict[str, tuple[str, str]]:
    """Return key of an id -> key of its name and the name, for ids that a file has once."""
    found: dict[str, tuple[str, str] | None] = {}
    for row, key in enumerate(identifiers.keys):
        name_key, name = named.keys[row], named.shown[row]
        if key is not None:
            found[key] = None if key in found or name_key is None else (name_key, str(name))
    return {key: value for key, value in found.items() if value is not None}


def _against(
    before: Mapping[str, tuple[str, str, int]], said: Mapping[str, tuple[str, str]]
) -> tuple[Comparison, int]:
    """Return how a file agrees with what was said before, and the first file that it was compared with."""
    result, other = Comparison(), 0
    for key, (name_key, name) in said.items():
        if key in before:
            known_key, known_name, number = before[key]
            other = number if not result.n_known else min(other, number)
            result.n_known += 1
            if known_key != name_key:
                result.disagreeing.append((key, known_name, name))
    return result, other


def _judge(compared: Comparison, told: str, findings: Findings, hint: str = "") -> None:
    if not compared.disagreeing:
        return
    if compared.is_misaligned:
        raise SchemaError(f"{told} are misaligned: {compared}.{hint} {_REMEDY}")
    findings.warnings.append(f"{told} do not all agree: {compared}")
