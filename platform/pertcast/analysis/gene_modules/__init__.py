"""Modules that a model groups genes into: connected in a network, named by gene sets, their responses."""

from pertcast.analysis.gene_modules.analyse import ModuleKnowledge, analyse_gene_modules
from pertcast.analysis.gene_modules.modules import GeneModules
from pertcast.analysis.gene_modules.names import module_names
from pertcast.analysis.gene_modules.network import module_connections
from pertcast.analysis.gene_modules.responses import module_responses
from pertcast.analysis.gene_modules.result import GeneModuleResult

__all__ = [
    "GeneModuleResult",
    "GeneModules",
    "ModuleKnowledge",
    "analyse_gene_modules",
    "module_connections",
    "module_names",
    "module_responses",
]
