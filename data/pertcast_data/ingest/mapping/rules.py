"""Rules of a mapping file: where a column comes from, which rows are controls, tables beside, and genes.

A column may be named alone, and one value may stand for a list of one: people write `batch_id: plate`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

import polars as pl
from pydantic import BaseModel, BeforeValidator, ConfigDict, field_validator, model_validator

Scalar = str | int | float | bool | None

DeclaredNamespace = Literal["symbol", "ensembl", "entrez", "probe", "uniprot"]
"""Kinds of names of genes that a mapping file can declare."""


class FrozenRule(BaseModel):
    """A part of the mapping file: immutable, and without unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def _texts_as_keys(value: Any) -> Any:
    # YAML reads the key of `{0: DMSO}` as a number, of `{true: x}` as a truth value.
    return {_key(key): item for key, item in value.items()} if isinstance(value, dict) else value


def _key(key: Any) -> Any:
    return str(key).lower() if isinstance(key, bool) else str(key) if isinstance(key, int | float) else key


def _one_or_several(value: Any) -> Any:
    return (value,) if isinstance(value, str | int | float) else value


Scalars = Annotated[tuple[Scalar, ...], BeforeValidator(_one_or_several)]
"""Values; one that stands alone is a list of one."""

Names = Annotated[tuple[str, ...], BeforeValidator(_one_or_several)]
"""Names of columns; one that stands alone is a list of one."""

ValuesByColumn = dict[str, Scalars]
NO_VALUES: ValuesByColumn = {}


class ColumnRule(FrozenRule):
    """Where one canonical column comes from.

    Attributes
    ----------
    column
        A column of the file (or of the side table). Written alone, it may be the bare name.
    value
        A constant for all rows; null means: leave the column empty and do not guess.
    pattern
        With `column`: a regular expression; its first group is the value, rows that do not match are null.
    values
        With `column`: what each of its values becomes; values that are not listed stay.
    separator
        With `column`: what stands between the members of a combination there, where it is none of +, | and ;
        ("A_B").
    """

    column: str | None = None
    value: Scalar = None
    pattern: str | None = None
    values: Annotated[dict[str, Scalar], BeforeValidator(_texts_as_keys)] = {}
    separator: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _bare_name(cls, data: Any) -> Any:
        return {"column": data} if isinstance(data, str) else data

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.column is None) == ("value" not in self.model_fields_set):
            raise ValueError("give either column or value")
        if self.values and self.column is None:
            raise ValueError("values need a column")
        if self.separator is not None and (self.column is None or not self.separator):
            raise ValueError("a separator needs a column, and is at least one character")
        if self.pattern is not None:
            _require_pattern(self.pattern, self.column)
        return self

    @property
    def is_constant(self) -> bool:
        """Whether the rule sets one value for all rows."""
        return self.column is None

    @property
    def is_plain(self) -> bool:
        """Whether the rule names a column and changes nothing in it."""
        return self.column is not None and not self.values and self.pattern is None and self.separator is None


class ControlRule(FrozenRule):
    """Which rows are controls: those whose `column` holds one of `values`.

    Attributes
    ----------
    column
        A column of the file; absent: the perturbation, whose names are then compared as the file has them
        and as they are read ("NT" also stands for the guide "NT-12", and beside a gene it is left out).
    values
        Values that mark a control, compared without regard to case.
    pert_type
        Which kind of control they are; absent: told by their names or by the kind of the treatments.
    """

    column: str | None = None
    values: Scalars
    pert_type: Literal["ctl_vehicle", "ctl_vector", "ctl_untrt"] | None = None


class TableRule(FrozenRule):
    """A table of annotations of its own, joined to the rows (or to the genes).

    Attributes
    ----------
    file
        csv, tsv or Parquet (`pertcast_data.tables.table`), or a library of compounds in SDF or SMI
        (`pertcast_data.compounds.library`); several are put under each other (each release of LINCS has its
        own). A path without a folder lies beside the mapping file.
    key
        Column of the table that says what a line is about; of a library "id", or the property with the ids.
    matches
        Column of the rows that holds the key, after the tables before this one are joined; the matrix's row
        ids where absent.
    columns
        Columns to bring; all where absent, of a library canonical_smiles and inchi_key.
    repeats
        "error": lines with one key must be equal. "first": of several lines with one key the first value of
        each column counts. "join": so too, but columns of targets, mechanisms and aliases keep every value,
        as "A|B" (LINCS lists a compound once a target).
    """

    file: tuple[Path, ...]
    key: str
    matches: str | None = None
    columns: tuple[str, ...] | None = None
    repeats: Literal["error", "first", "join"] = "error"

    @field_validator("file", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        if isinstance(value, list | tuple) and not value:
            raise ValueError("names no file; name at least one")
        return (value,) if isinstance(value, str | Path) else value

    def beside(self, folder: Path) -> Self:
        """Return the rule with relative paths taken from `folder`."""
        return self.model_copy(update={"file": tuple(folder / path for path in self.file)})

    @property
    def name(self) -> str:
        """Names of its files, for messages."""
        return " and ".join(path.name for path in self.file)


class GeneRule(FrozenRule):
    """Which columns of the gene table are the identifier and the symbol, and which genes are kept.

    Attributes
    ----------
    gene_id, gene_symbol
        Columns ("source_id" is the row name).
    table
        A gene table in a file of its own, joined by the gene's row name.
    keep
        Column -> values: genes that are kept; all where empty.
    namespace
        What the gene ids are; checked against them.
    names
        A table of gene names (HGNC, NCBI's gene_info, Ensembl BioMart, or one's own) by which genes and
        targets get approved symbols. A path without a folder lies beside the mapping file.
    unresolved
        What becomes of genes that `names` does not resolve: they keep their names, are dropped, or refused.
    missing
        Of several files: "shared" keeps the genes that all of them have, "refuse" wants the same in all. A
        gene that a file lacks was not measured there: it is never filled with zeros.
    """

    gene_id: str | None = None
    gene_symbol: str | None = None
    table: TableRule | None = None
    keep: ValuesByColumn = NO_VALUES
    namespace: DeclaredNamespace | None = None
    names: Path | None = None
    unresolved: Literal["keep", "drop", "refuse"] = "keep"
    missing: Literal["shared", "refuse"] = "shared"

    @model_validator(mode="after")
    def _names_for_unresolved(self) -> Self:
        if self.unresolved != "keep" and self.names is None:
            raise ValueError(f"unresolved: {self.unresolved} needs a table of names (genes: names: FILE)")
        return self

    def beside(self, folder: Path) -> Self:
        """Return the rule with relative paths taken from `folder`."""
        table, names = self.table, self.names
        return self.model_copy(
            update={
                "table": None if table is None else table.beside(folder),
                "names": None if names is None else folder / names,
            }
        )


def _require_pattern(pattern: str, column: str | None) -> None:
    if column is None:
        raise ValueError("a pattern needs a column")
    try:
        groups = pl.Series([""]).str.extract_groups(pattern).struct.fields
    except pl.exceptions.PolarsError as error:
        raise ValueError(f"pattern {pattern!r} is no regular expression ({error})") from None
    if not groups:
        raise ValueError(f"pattern {pattern!r} needs a group in brackets: what it matches is the value")
