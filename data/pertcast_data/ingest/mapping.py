"""The mapping file: what a user says of a file, in YAML; whatever it leaves open is guessed and printed.

A wrong key is an error that names the nearest known one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

import yaml
from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from pertcast_data.errors import ConfigError, nearest_known
from pertcast_data.ingest.genes.records import DeclaredNamespace
from pertcast_data.ingest.mapping_words import canonical_keys, canonical_path
from pertcast_data.ingest.rules import NO_VALUES, FrozenRule, ValuesByColumn
from pertcast_data.ingest.rules import ColumnRule as ColumnRule
from pertcast_data.ingest.rules import ControlRule as ControlRule
from pertcast_data.ingest.rules import Scalar as Scalar
from pertcast_data.words import NORMALISATION_WORDS, USER_WORDS
from pertcast_data.text import fold
from pertcast_data.preprocessing import PreprocessingStep
from pertcast_data.quality.rule import QualityRule
from pertcast_data.vocabulary import DESCRIPTIVE_COLUMNS, OBS_COLUMNS, Measure, Normalisation

_RULED: Final = (*OBS_COLUMNS, *DESCRIPTIVE_COLUMNS)


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


class IngestMapping(FrozenRule):
    """Everything a mapping file can say; all of it optional.

    Keys of other tools are understood too (`words.USER_WORDS`): `pert_col: condition`, `control_pert: NT`,
    `cell_type_key: cell_type`, `layer: counts`.

    Attributes
    ----------
    sig_id
        Name of the profile; absent: the file's row name.
    cell_iname
        Cell line, cell type or other context.
    pert_type
        Kind of perturbation: CMap codes (trt_cp, trt_sh, trt_xpr, trt_act, trt_oe, trt_lig, ctl_*) or words.
    pert_id
        Identifier of the perturbation; absent: its name.
    cmap_name
        Name of the perturbation: a compound, a gene, a pair "A+B", or a guide.
    pert_dose
        Dose: a number, or text with its unit ("10 uM").
    pert_dose_unit
        Unit of `pert_dose`: pM, nM, uM, mM or M.
    pert_time
        Time: a number, or text with its unit ("24 h").
    pert_time_unit
        Unit of `pert_time`: s, min, h or d.
    canonical_smiles
        Structure as SMILES.
    inchi_key
        InChIKey, where there is no structure.
    targets
        Genes that the perturbation acts on, as "A+B".
    batch_id
        Plate or batch; absent: the donor.
    guide_id
        The guide itself, where the perturbation is its gene; absent: the guides that names come from.
    donor_id
        Donor or patient.
    replicate
        Replicate.
    controls
        Which rows are controls.
    genes
        Columns of the gene table, and which genes are kept.
    join
        How several files are joined on genes: on `gene_id` or on `gene_symbol`; only shared genes stay.
    matrix
        Which matrix of an AnnData file: "X", "raw" or "layers/NAME"; absent: X.
    orientation
        What a line of a text table is: "profiles" or "genes"; absent: told from its names.
    measure
        Levels ("expression", which has controls) or what is relative already ("response").
    normalisation
        What the values are; checked against them.
    tables
        Annotations of the rows in files of their own, joined in this order before anything is looked at.
    keep
        Column -> values: rows that are kept, all others are left out.
    exclude
        Column -> values: rows that are left out.
    preprocessing
        What was done to the values before, and on which rows it was fitted (docs/splits.md).
    quality
        Which rows stay by the quality of profiles and conditions (docs/quality.md).
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
    guide_id: ColumnRule | None = None
    donor_id: ColumnRule | None = None
    replicate: ColumnRule | None = None
    controls: ControlRule | None = None
    genes: GeneRule = GeneRule()
    join: Literal["gene_id", "gene_symbol"] | None = None
    matrix: Annotated[str, Field(min_length=1)] | None = None
    orientation: Literal["profiles", "genes"] | None = None
    measure: Measure | None = None
    normalisation: Normalisation | None = None
    tables: tuple[TableRule, ...] = ()
    keep: ValuesByColumn = NO_VALUES
    exclude: ValuesByColumn = NO_VALUES
    preprocessing: tuple[PreprocessingStep, ...] = ()
    quality: QualityRule | None = None

    @model_validator(mode="before")
    @classmethod
    def _users_words(cls, data: Any) -> Any:
        return canonical_keys(data) if isinstance(data, Mapping) else data

    @field_validator("normalisation", mode="before")
    @classmethod
    def _normalisation_in_words(cls, value: Any) -> Any:
        return NORMALISATION_WORDS.get(fold(value), value) if isinstance(value, str) else value

    def rule(self, canonical: str) -> ColumnRule | None:
        """Return the rule of a canonical column, None where the file leaves it open."""
        rule: ColumnRule | None = getattr(self, canonical) if canonical in _RULED else None
        return rule

    def beside(self, folder: Path) -> Self:
        """Return the mapping with relative paths of tables taken from `folder`."""
        tables = tuple(each.beside(folder) for each in self.tables)
        return self.model_copy(update={"tables": tables, "genes": self.genes.beside(folder)})


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
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be read as a mapping file ({error.strerror}). Name a file of YAML."
        ) from error
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"{path}: is no YAML ({error}). Correct the file.") from error
    except RecursionError:
        raise ConfigError(f"{path}: is nested too deep for a mapping. Correct the file.") from None
    if content is not None and not isinstance(content, dict):
        raise ConfigError(f"{path}: must hold `column: rule` lines. See docs/ingest.md.")
    try:
        return IngestMapping.model_validate(content or {}).beside(path.parent)
    except ValidationError as error:
        raise ConfigError(f"{path}: {_explain(error)}") from None


def _explain(error: ValidationError) -> str:
    return sentence([explain_detail(detail) for detail in error.errors()])


def sentence(told: Sequence[str]) -> str:
    """Return findings as one sentence that says where mappings are explained."""
    text = "; ".join(told)
    return f"{text}{'' if text.endswith('?') else '.'} See docs/ingest.md."


def explain_detail(detail: Any) -> str:
    """Return what pydantic found in a mapping as a sentence, with the keys nearest to an unknown one."""
    where = [str(part) for part in detail["loc"] if not isinstance(part, int)]
    if detail["type"] != "extra_forbidden":
        said = str(detail["msg"]).removeprefix("Value error, ")
        return f"{'.'.join(where)}: {said}" if where else said
    known = _known_keys(where[:-1])
    words = [*known, *USER_WORDS] if len(where) == 1 else known
    nearest = dict.fromkeys(_with_meaning(word) for word in nearest_known(where[-1], words))
    hint = f"; did you mean {' or '.join(nearest)}?" if nearest else f"; known: {', '.join(known)}"
    return f"unknown key {'.'.join(where)}{hint}"


def _with_meaning(word: str) -> str:
    return f"{word} ({canonical_path(word)})" if word in USER_WORDS else word


def _known_keys(parents: Iterable[str]) -> list[str]:
    models: dict[str, type[BaseModel]] = {
        "controls": ControlRule,
        "genes": GeneRule,
        "table": TableRule,
        "tables": TableRule,
        "preprocessing": PreprocessingStep,
        "quality": QualityRule,
    }
    parent = next(reversed([*parents]), None)
    model: type[BaseModel] = IngestMapping if parent is None else models.get(parent, ColumnRule)
    return list(model.model_fields)
