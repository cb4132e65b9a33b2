"""The mapping file: what a user says of a file, in YAML; whatever it leaves open is guessed and printed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, field_validator, model_validator

from pertcast_data.ingest.mapping.keys import canonical_keys
from pertcast_data.ingest.mapping.rules import (
    NO_VALUES,
    ColumnRule,
    ControlRule,
    FrozenRule,
    GeneRule,
    Names,
    TableRule,
    ValuesByColumn,
)
from pertcast_data.preprocessing import PreprocessingStep
from pertcast_data.quality.rule import QualityRule
from pertcast_data.text import fold
from pertcast_data.vocabulary import DESCRIPTIVE_COLUMNS, OBS_COLUMNS, Measure, Normalisation
from pertcast_data.words import NORMALISATION_WORDS

_RULED: Final = (*OBS_COLUMNS, *DESCRIPTIVE_COLUMNS)


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
    annotation_columns
        Columns of numbers of a table (text, Parquet, Arrow) that are no genes, beside those whose names tell
        it.
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
    annotation_columns: Names | None = None
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
