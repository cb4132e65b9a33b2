"""The words by which labs name columns, controls and kinds of perturbation: data only.

Order is preference. Names are compared folded: lower case, everything but letters and digits as "_".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from pertcast_data.text import fold as fold

COLUMN_WORDS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "cell_iname": (
            *("cell_iname", "cell_id", "cell_line", "cell_mfc_name", "cell_line_name", "cellline"),
            *("cell_name", "cell_type", "celltype", "cell", "suspension_enriched_cell_types"),
        ),
        "pert_type": ("pert_type", "perturbation_code"),
        "pert_id": ("pert_id", "broad_id", "compound_id", "drug_id"),
        "cmap_name": (
            *("cmap_name", "pert_iname", "pert_desc", "drug_name", "compound_name", "pert_mfc_desc"),
            *("perturbation", "perturbation_name", "perturbed_gene", "target_gene", "gene_target"),
            *("condition", "pert", "drug", "compound", "cytokine", "ligand", "treatment"),
            *("guide_identity", "guide_id", "guide", "sgrna", "sgrna_id", "guide_target"),
            *("genetic_perturbation_id", "genetic_perturbation", "gene"),
        ),
        "pert_dose": (
            *("pert_dose", "pert_idose", "exp_pert_dose", "dose", "dose_value", "dose_val", "concentration"),
            *("conc", "dose_um", "dose_nm", "dose_mm", "concentration_um", "concentration_nm"),
        ),
        "pert_dose_unit": ("pert_dose_unit", "exp_pert_dose_unit", "dose_unit", "concentration_unit"),
        "pert_time": (
            *("pert_time", "pert_itime", "exp_pert_time", "time", "timepoint", "time_point", "duration"),
            *("treatment_time", "hours", "time_h", "time_hr", "time_hours", "time_min", "days", "time_days"),
        ),
        "pert_time_unit": ("pert_time_unit", "exp_pert_time_unit", "time_unit"),
        "canonical_smiles": ("canonical_smiles", "smiles", "isomeric_smiles", "x_smiles", "structure"),
        "inchi_key": ("inchi_key", "inchikey"),
        "targets": ("targets", "target", "target_genes"),
        "batch_id": (
            *("batch_id", "rna_plate", "det_plate", "plate", "plate_id", "batch", "gem_group"),
            *("brew_prefix", "lane", "library", "library_name", "sample", "sample_name"),
        ),
    }
)
"""Canonical column -> columns that are taken for it."""

FLAG_WORDS: Final = ("control", "is_control", "is_ctrl", "ctrl")
"""Columns of 0/1 or true/false that mark controls."""

KIND_COLUMN_WORDS: Final = (
    *("perturbation_type", "pert_kind", "perturbation_method", "perturbation_modality", "modality"),
    *("crispr_type", "genetic_perturbation_strategy", "genetic_perturbation_type", "pert_type"),
)
"""Columns that tell the kind of perturbation in words (CRISPRi, drug, ...)."""

KIND_WORDS: Final[tuple[tuple[str, str], ...]] = (
    (r"crispr[ _-]?a\b|activation", "trt_act"),
    (r"crispr[ _-]?i\b|interference|knock[ _-]?down|\b(sh|si)rna|rnai|\bkd\b", "trt_sh"),
    (r"knock[ _-]?out|crispr[ _-]?(ko|cas9|n)?$|cas9|\bko\b", "trt_xpr"),
    (r"over[ _-]?express|\borf\b|\boe\b|cdna", "trt_oe"),
    (r"cytokine|ligand|growth[ _-]?factor", "trt_lig"),
    (r"compound|drug|chemical|small[ _-]?molecule", "trt_cp"),
)
"""Pattern in a word of kind -> CMap code; the first that is found counts."""

COMPOUND_COLUMNS: Final = ("drug", "drug_name", "compound", "compound_name")
LIGAND_COLUMNS: Final = ("cytokine", "ligand")
GUIDE_COLUMNS: Final = (
    *("guide_identity", "guide_id", "guide", "sgrna", "sgrna_id", "genetic_perturbation_id"),
)
"""Columns of perturbation names that tell what is perturbed, or that hold guides ("ABCD2-2")."""

_NUMBERED: Final = r"(?:[-_ .]*(?:sg)?\d+)*"
_VEHICLE: Final = r"dmso|vehicle|pbs|h2o|water|ethanol|etoh|methanol|saline"
_UNTREATED: Final = r"untreated|unperturbed|untransfected|mock|none|no[-_ ]?(?:treatment|perturbations?)"
_VECTOR: Final = (
    r"(?:probe)?(?:ntc?|non[-_ ]?targeting(?:[-_ ]?control)?|safe[-_ ]?(?:targeting|harbou?r)|scrambled?"
    r"|neg(?:ative)?[-_ ]?(?:ctrl|control)|empty[-_ ]?vector|lacz|luciferase|e?gfp)"
)

CONTROL_PATTERNS: Final[tuple[tuple[re.Pattern[str], str], ...]] = tuple(
    (re.compile(rf"^(?:{words}){_NUMBERED}$", re.IGNORECASE), code)
    for words, code in (
        (_VEHICLE, "ctl_vehicle"),
        (_UNTREATED, "ctl_untrt"),
        (_VECTOR, "ctl_vector"),
        (r"controls?|ctrl", ""),
    )
)
"""Whole name of a control -> CMap code; empty where the kind of the treatments decides."""

PERTURBATION_TYPE_SUFFIXES: Final = re.compile(r"\.(cns|cgs|avg|mut|css)$")
"""Endings of CMap codes that tell how replicates were joined."""

SYMBOL_WORDS: Final = (
    *("gene_symbol", "pr_gene_symbol", "symbol", "feature_name", "gene_name", "gene_short_name"),
    *("gene_symbols", "hgnc_symbol", "gene"),
)
"""Columns of the gene table that are taken for `gene_symbol`."""


def control_code(name: str) -> str | None:
    """Return the CMap code that a control's name tells, "" where it tells none, None for no control."""
    text = name.strip()
    return next((code for pattern, code in CONTROL_PATTERNS if pattern.match(text)), None)


def kind_code(word: str) -> str | None:
    """Return the CMap code of a word of kind ("CRISPR interference" -> trt_sh), None where unknown."""
    text = word.strip().lower()
    return next((code for pattern, code in KIND_WORDS if re.search(pattern, text)), None)
