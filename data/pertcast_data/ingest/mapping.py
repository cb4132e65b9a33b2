"""The mapping file: what a user says of a file, in YAML; whatever it leaves open is guessed and printed.

A wrong key is an error that names the nearest known one.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, Self

import polars as pl
import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, field_validator, model_validator

from pertcast_data.errors import ConfigError, nearest_known
from pertcast_data.ingest.gene_records import DeclaredNamespace
from pertcast_data.preprocessing import PreprocessingStep
from pertcast_data.vocabulary import OBS_COLUMNS, Measure, Normalisation

Scalar = str | int | float | bool | None


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ColumnRule(_Frozen):
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
    values: dict[str, Scalar] = {}
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


class ControlRule(_Frozen):
    """Which rows are controls: those whose `column` holds one of `values`."""

    column: str
    values: tuple[Scalar, ...]
    pert_type: Literal["ctl_vehicle", "ctl_vector", "ctl_untrt"] | None = None


class TableRule(_Frozen):
    """A table of annotations of its own, joined to the rows (or to the genes).

    Attributes
    ----------
    file
        csv, tsv or Parquet (`pertcast_data.tables`), or a library of compounds in SDF or SMI
        (`pertcast_data.compound_library`); several are put under each other (each release of LINCS has its
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
        return (value,) if isinstance(value, str | Path) else value

    def beside(self, folder: Path) -> Self:
        """Return the rule with relative paths taken from `folder`."""
        return self.model_copy(update={"file": tuple(folder / path for path in self.file)})

    @property
    def name(self) -> str:
        """Names of its files, for messages."""
        return " and ".join(path.name for path in self.file)


class GeneRule(_Frozen):
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
    keep: dict[str, tuple[Scalar, ...]] = {}
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


class IngestMapping(_Frozen):
    """Everything a mapping file can say; all of it optional.

    Attributes
    ----------
    sig_id ... batch_id
        One rule a canonical column (`pertcast_data.vocabulary.OBS_COLUMNS`).
    controls
        Which rows are controls.
    genes
        Columns of the gene table.
    join
        How several files are joined on genes: on `gene_id` or on `gene_symbol`; only shared genes stay.
    measure, normalisation
        What the values are; checked against them.
    tables
        Annotations of the rows in files of their own, joined in this order before anything is looked at.
    keep, exclude
        Column -> values: rows that are kept (all where empty), and rows that are left out.
    preprocessing
        What was done to the values before, and on which rows it was fitted (docs/splits.md).
    """

    sig_id: ColumnRule | None = None
    cell_iname: ColumnRule | None = None
    pert_type: ColumnRule | None = None
    pert_id: ColumnRule | None = None
    cmap_name: ColumnRule | None = None
    pert_dose: ColumnRule | None = None
    pert_dose_unit: ColumnRule | None = None
    pert_time: ColumnRule | None = None
    pert_time_unit: ColumnRule | None = None
    canonical_smiles: ColumnRule | None = None
    inchi_key: ColumnRule | None = None
    targets: ColumnRule | None = None
    batch_id: ColumnRule | None = None
    controls: ControlRule | None = None
    genes: GeneRule = GeneRule()
    join: Literal["gene_id", "gene_symbol"] | None = None
    measure: Measure | None = None
    normalisation: Normalisation | None = None
    tables: tuple[TableRule, ...] = ()
    keep: dict[str, tuple[Scalar, ...]] = {}
    exclude: dict[str, tuple[Scalar, ...]] = {}
    preprocessing: tuple[PreprocessingStep, ...] = ()

    def rule(self, canonical: str) -> ColumnRule | None:
        """Return the rule of a canonical column, None where the file leaves it open."""
        rule: ColumnRule | None = getattr(self, canonical) if canonical in OBS_COLUMNS else None
        return rule

    def beside(self, folder: Path) -> Self:
        """Return the mapping with relative paths of tables taken from `folder`."""
        tables = tuple(each.beside(folder) for each in self.tables)
        return self.model_copy(update={"tables": tables, "genes": self.genes.beside(folder)})


def _require_pattern(pattern: str, column: str | None) -> None:
    if column is None:
        raise ValueError("a pattern needs a column")
    try:
        groups = pl.Series([""]).str.extract_groups(pattern).struct.fields
    except pl.exceptions.PolarsError as error:
        raise ValueError(f"pattern {pattern!r} is no regular expression ({error})") from None
    if not groups:
        raise ValueError(f"pattern {pattern!r} needs a group in brackets: what it matches is the value")


def load_mapping(path: Path) -> IngestMapping:
    """Read a mapping file.

    Raises
    ------
    ConfigError
        The file is absent, no YAML, or says something unknown.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such mapping file. Check the path.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: is no YAML ({error}). Correct the file.") from error
    if content is not None and not isinstance(content, dict):
        raise ConfigError(f"{path}: must hold `column: rule` lines. See docs/ingest.md.")
    try:
        return IngestMapping.model_validate(content or {}).beside(path.parent)
    except ValidationError as error:
        raise ConfigError(f"{path}: {_explain(error)}") from None


def _explain(error: ValidationError) -> str:
    return "; ".join(_explain_one(detail) for detail in error.errors()) + ". See docs/ingest.md."


def _explain_one(detail: Any) -> str:
    where = [str(part) for part in detail["loc"] if not isinstance(part, int)]
    if detail["type"] != "extra_forbidden":
        return f"{'.'.join(where)}: {detail['msg']}"
    known = _known_keys(where[:-1])
    nearest = nearest_known(where[-1], known)
    hint = f"; did you mean {' or '.join(nearest)}?" if nearest else f"; known: {', '.join(known)}"
    return f"unknown key {'.'.join(where)}{hint}"


def _known_keys(parents: Iterable[str]) -> list[str]:
    models: dict[str, type[BaseModel]] = {
        "controls": ControlRule,
        "genes": GeneRule,
        "table": TableRule,
        "tables": TableRule,
        "preprocessing": PreprocessingStep,
    }
    parent = next(reversed([*parents]), None)
    model: type[BaseModel] = IngestMapping if parent is None else models.get(parent, ColumnRule)
    return list(model.model_fields)
