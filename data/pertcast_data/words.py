"""The words by which labs name columns, controls and kinds of perturbation: data only.

Order is preference. Names are compared folded: lower case, everything but letters and digits as "_".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal

from pertcast_data.vocabulary import Normalisation

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
        "guide_id": (
            *(
                "guide_id",
                "guide",
                "guide_identity",
                "guide_name",
                "guides",
                "sgrna",
                "sgrna_id",
                "sgrna_name",
            ),
            *("sgid", "sgid_ab", "sg_id", "grna", "grna_id", "genetic_perturbation_id"),
        ),
        "donor_id": (
            *("donor_id", "donor", "donor_name", "patient", "patient_id", "individual", "individual_id"),
            *("subject", "subject_id"),
        ),
        "replicate": (
            *("replicate", "replicate_id", "rep", "biological_replicate", "bio_replicate", "bio_rep"),
            *("biorep", "technical_replicate", "tech_replicate"),
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
    *("guide_identity", "guide_id", "guide", "guide_name", "guides", "sgrna", "sgrna_id", "sgrna_name"),
    *("sgid", "sgid_ab", "sg_id", "grna", "grna_id", "genetic_perturbation_id"),
)
"""Columns of perturbation names that tell what is perturbed, or that hold guides ("ABCD2-2")."""

_NUMBERED: Final = r"(?:[-_ .]*(?:sg)?\d+)*"
_VEHICLE: Final = r"dmso|vehicle|pbs|h2o|water|ethanol|etoh|methanol|saline"
_UNTREATED: Final = r"untreated|unperturbed|untransfected|mock|none|no[-_ ]?(?:treatment|perturbations?)"
_VECTOR_WORD: Final = (
    r"(?:probe|(?:sg|sh|si)[-_ ]?)?(?:ntc?|non[-_ ]?target(?:ing|ed)?(?:[-_ ]?(?:control|ctrl|guide|sgrna))?"
    r"|safe[-_ ]?(?:targeting|harbou?r)|scrambled?|neg(?:ative)?[-_ ]?(?:ctrl|control)|intergenic"
    r"|empty[-_ ]?vector|lacz|luciferase|e?gfp)|(?:sg|sh|si)[-_ ]?(?:controls?|ctrl|neg|scr)"
)
_VECTOR: Final = rf"(?:{_VECTOR_WORD})(?:{_NUMBERED}[-_ .]+(?:{_VECTOR_WORD}))*"
"""One word or several ("neg_ctrl_non-targeting"), each with or without numbers."""

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

CUTTING_CONTROLS: Final = ("AAVS1", "ROSA26", "CCR5")
"""Loci that many screens cut as a control, and that others study: only the user can tell."""

HYPHENATED_SYMBOLS: Final = re.compile(
    r"(?:NKX\d|KRTAP\d+|H[1-4]|IG[HKL][CDJV]\d+D?|TR[ABDG][CDJV]\d+|ERV[A-Z]+\d*|SNORD\d+|RNU\d+|RNA5|MIR\d+"
    r"|PCDH[ABG]\w*|LINC|HLA-D[A-Z]+)-\d{1,3}|A[CLFPJ]\d{6}\.\d+|RP\d+-\d+[A-Z]+\d*\.\d+"
    r"|ENS[A-Z]*[GT]\d{11}\.\d+",
    re.IGNORECASE,
)
"""Names of genes that end in a number of their own: never a guide's ("NKX2-1", "AC007405.2")."""

UNIT_WORDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        **dict.fromkeys(("picomolar", "pmol/l", "pmolar"), "pM"),
        **dict.fromkeys(("nanomolar", "nmol/l", "nmolar"), "nM"),
        **dict.fromkeys(("micromolar", "umol/l", "umolar", "micro m"), "uM"),
        **dict.fromkeys(("millimolar", "mmol/l", "mmolar"), "mM"),
        **dict.fromkeys(("molar", "mol/l"), "M"),
        **dict.fromkeys(("sec", "secs", "second", "seconds"), "s"),
        **dict.fromkeys(("mins", "minute", "minutes"), "min"),
        **dict.fromkeys(("hours post treatment", "hpt", "hpi", "h.", "hrs."), "h"),
    }
)
"""Unit as written (lower case) -> unit as `pertcast_data.vocabulary` knows it."""

NORMALISATION_WORDS: Final[Mapping[str, Normalisation]] = MappingProxyType(
    {
        **dict.fromkeys(("raw", "raw_counts", "count", "umi", "umi_counts", "umis"), "counts"),
        **dict.fromkeys(("log1p", "lognorm", "log_normalized", "log_normalised", "logcpm"), "log1p_cpm"),
        **dict.fromkeys(("log1p_cp10k", "log_cpm", "logcounts", "log1p_normalized"), "log1p_cpm"),
        **dict.fromkeys(("log2", "log2_expression", "log_intensity", "rma"), "log2_intensity"),
        **dict.fromkeys(("zscore", "z", "zscores", "z_scores", "modz"), "z_score"),
        **dict.fromkeys(("lfc", "logfc", "log2fc", "log_fc", "log2_fold_change", "l2fc"), "log_fold_change"),
    }
)
"""Normalisation in the words of other tools (folded) -> ours."""

UserWordKind = Literal["rule", "control_names", "control_flag", "layer", "use_raw"]

_USER_WORDS: Final[tuple[tuple[str, UserWordKind, str], ...]] = (
    ("sig_id", "rule", "sig_id_col obs_id_col cell_barcode_col barcode_col"),
    (
        "cell_iname",
        "rule",
        "cell_type_key cell_type_col celltype_col celltype_key cell_type cell_key cell_col",
    ),
    ("cell_iname", "rule", "cell_line_key cell_line_col cell_line context_key context_col"),
    ("pert_type", "rule", "pert_type_col pert_type_key perturbation_type_key perturbation_type_col"),
    ("pert_type", "rule", "perturbation_type modality_key modality_col"),
    ("pert_id", "rule", "pert_id_col pert_id_key compound_id_col compound_id_key drug_id_col drug_id_key"),
    ("cmap_name", "rule", "pert_col pert_key perturbation_col perturbation_key perturbation pert"),
    ("cmap_name", "rule", "condition_col condition_key drug_key drug_col compound_key compound_col"),
    ("cmap_name", "rule", "treatment_key treatment_col"),
    ("pert_dose", "rule", "dose_col dose_key dose dosage_key dosage_col concentration_col"),
    ("pert_dose_unit", "rule", "dose_unit_col dose_unit_key dose_unit"),
    ("pert_time", "rule", "time_col time_key time timepoint_col timepoint_key"),
    ("pert_time_unit", "rule", "time_unit_col time_unit_key time_unit"),
    ("canonical_smiles", "rule", "smiles_key smiles_col smiles"),
    ("inchi_key", "rule", "inchikey inchi_key_col inchikey_col"),
    ("targets", "rule", "target_col target_key targets_col targets_key"),
    ("batch_id", "rule", "batch_col batch_key batch plate_col plate_key plate"),
    ("guide_id", "rule", "guide_col guide_key guide sgrna_col sgrna_key guide_identity_col"),
    ("donor_id", "rule", "donor_key donor_col donor patient_key patient_col"),
    ("replicate", "rule", "replicate_key replicate_col rep_col"),
    ("genes.gene_symbol", "rule", "gene_symbols gene_symbol_col gene_symbol_key"),
    ("genes.gene_symbol", "rule", "gene_name_col gene_name_key var_gene_name"),
    ("genes.gene_id", "rule", "gene_id_col gene_id_key ensembl_col ensembl_id_col"),
    ("normalisation", "rule", "normalization"),
    ("controls", "control_names", "control_pert control_label control_name control_value control_group"),
    ("controls", "control_names", "control perturbation_control_value"),
    ("controls", "control_names", "ctrl_label ctrl_name ctrl_key ctrl"),
    ("controls", "control_flag", "control_key control_col control_column is_control_col"),
    ("matrix", "layer", "layer counts_layer layer_key"),
    ("matrix", "use_raw", "use_raw"),
)

USER_WORDS: Final[Mapping[str, tuple[str, UserWordKind]]] = MappingProxyType(
    {word: (path, kind) for path, kind, words in _USER_WORDS for word in words.split()}
)
"""Key that other tools use -> key of the mapping file, and how its value is meant."""

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
