"""Preparation: normalisation and choice of genes, fitted on training rows only and saved with the split."""

from pertcast_data.preparation.applying import PreparedStore, prepare_store, prepared_split_path
from pertcast_data.preparation.config import (
    FLAVOURS,
    GeneSubset,
    LogNormalise,
    PreparationConfig,
    RobustZ,
    VariableGenes,
    preparation_config,
    read_gene_list,
)
from pertcast_data.preparation.fitting import fit_preparation
from pertcast_data.preparation.planning import PreparationPlan, plan_preparation
from pertcast_data.preparation.preparation import (
    Preparation,
    load_preparation,
    preparation_path,
    save_preparation,
)

__all__ = [
    "FLAVOURS",
    "GeneSubset",
    "LogNormalise",
    "Preparation",
    "PreparationConfig",
    "PreparationPlan",
    "PreparedStore",
    "RobustZ",
    "VariableGenes",
    "fit_preparation",
    "load_preparation",
    "plan_preparation",
    "preparation_config",
    "preparation_path",
    "prepare_store",
    "prepared_split_path",
    "read_gene_list",
    "save_preparation",
]
