"""Put together what is known of a model's gene modules: network, names, responses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pertcast_data.errors import ConfigError, SchemaError

from pertcast.analysis.association import N_DRAWS, FloatArray
from pertcast.analysis.compared import CONDITION_COLUMNS, ComparedResponses, Values
from pertcast.analysis.gene_modules.modules import GeneModules
from pertcast.analysis.gene_modules.names import ModuleNames, module_names
from pertcast.analysis.gene_modules.network import PERMUTATIONS, ModuleConnections, module_connections
from pertcast.analysis.gene_modules.responses import (
    ModuleAgreement,
    clustered_order,
    gene_units,
    module_agreement,
    module_responses,
)
from pertcast.analysis.gene_modules.result import GeneModuleResult, ModuleHeatmap
from pertcast.analysis.gene_sets import MIN_SIZE, GeneSets
from pertcast.effect_size import effect_sizes

MOST_CONDITIONS = 40
"""Conditions of the heatmap, those with the largest measured effect."""

NO_NETWORK = "not computed: no network given"
NO_SETS = "not named: no gene sets given"

_CEILING = "Half of the replicates"


@dataclass(frozen=True)
class ModuleKnowledge:
    """What is known of genes beside the model; every part may be missing.

    Attributes
    ----------
    edges
        (E, 2) positions of connected genes in the gene space; None without a network.
    network
        Which network it is, or why there is none.
    sets
        Gene sets to name modules by; None without any.
    sets_note
        Why there are no gene sets, where there are none.
    """

    edges: NDArray[np.integer] | None = None
    network: str = NO_NETWORK
    sets: GeneSets | None = None
    sets_note: str = NO_SETS


def analyse_gene_modules(
    compared: ComparedResponses,
    labels: NDArray[np.integer],
    knowledge: ModuleKnowledge | None = None,
    *,
    halves: tuple[Values, Values] | None = None,
    min_size: int = MIN_SIZE,
    most_conditions: int = MOST_CONDITIONS,
    permutations: int = PERMUTATIONS,
    n_draws: int = N_DRAWS,
    seed: int = 0,
) -> GeneModuleResult:
    """Describe modules of genes, and compare their predicted with their measured responses.

    Parameters
    ----------
    compared
        N conditions over G genes, the model first among those who generated.
    labels
        (G,) integers, the module of each gene, 0..K-1.
    knowledge
        Network and gene sets.
    halves
        Two (N, G) responses from disjoint halves of the replicates; rows with NaN have none.
    min_size
        Gene sets with fewer genes in the gene space are dropped, by name.
    most_conditions
        The strongest conditions by measured effect are in the heatmap, at most so many; agreement is of all.
    permutations
        Of the labels, for the density of edges.
    n_draws, seed
        Of the bootstrap over perturbations; the seed also of the permutations.

    Raises
    ------
    SchemaError
        Labels do not fit the genes.
    ConfigError
        There is no condition, or nobody generated.
    """
    if not compared.conditions.height or not compared.generated:
        raise ConfigError(
            f"{compared.conditions.height} conditions of {len(compared.generated)} contenders: there is "
            "nothing to compare. Give at least one condition and one contender."
        )
    known = knowledge or ModuleKnowledge()
    modules = GeneModules.from_labels(compared.genes, labels)
    connections, network_note = _connections(modules, known, permutations, seed)
    names, names_note = _names(modules, known, min_size)
    units = gene_units(compared.measured)
    measured = _responses(modules, compared.measured, units)
    generated = {title: _responses(modules, said, units) for title, said in compared.generated.items()}
    cluster = compared.conditions["pert_id"].cast(pl.String).fill_null("").to_list()
    contenders = tuple(
        module_agreement(title, said, measured, cluster, n_draws=n_draws, seed=seed)
        for title, said in generated.items()
    )
    return GeneModuleResult(
        modules=modules,
        connections=connections,
        network_note=network_note,
        names=names,
        names_note=names_note,
        contenders=contenders,
        ceiling=_ceiling(modules, halves, units, cluster, n_draws, seed),
        n_conditions=compared.conditions.height,
        n_perturbations=len(set(cluster)),
        heatmap=_heatmap(compared, measured, generated, most_conditions),
    )


def _connections(
    modules: GeneModules, known: ModuleKnowledge, permutations: int, seed: int
) -> tuple[ModuleConnections | None, str]:
    if known.edges is None:
        return None, known.network
    try:
        found = module_connections(
            modules, known.edges, permutations=permutations, seed=seed, source=known.network
        )
    except SchemaError as error:
        return None, f"not computed: {error}"
    return found, ""


def _names(modules: GeneModules, known: ModuleKnowledge, min_size: int) -> tuple[ModuleNames | None, str]:
    if known.sets is None:
        return None, known.sets_note
    try:
        return module_names(modules, known.sets, min_size), ""
    except SchemaError as error:
        return None, f"not named: {error}"


def _responses(modules: GeneModules, responses: Values, units: FloatArray) -> FloatArray:
    return module_responses(responses, modules.labels, units, modules.n_modules)


def _ceiling(
    modules: GeneModules,
    halves: tuple[Values, Values] | None,
    units: FloatArray,
    cluster: list[str],
    n_draws: int,
    seed: int,
) -> ModuleAgreement | None:
    """Return one half of the replicates against the other, in the conditions that have both."""
    if halves is None:
        return None
    rows = np.flatnonzero(np.isfinite(halves[0]).all(axis=1) & np.isfinite(halves[1]).all(axis=1))
    if not len(rows):
        return None
    first, second = (_responses(modules, half[rows], units) for half in halves)
    chosen = [cluster[row] for row in rows.tolist()]
    return module_agreement(_CEILING, first, second, chosen, n_draws=n_draws, seed=seed)


def _heatmap(
    compared: ComparedResponses, measured: FloatArray, generated: Mapping[str, FloatArray], most: int
) -> ModuleHeatmap:
    """Return the strongest conditions, similar ones side by side, and modules likewise."""
    sizes = effect_sizes(compared.measured)
    strongest = np.sort(np.argsort(-sizes, kind="stable")[:most])
    columns = np.flatnonzero(np.isfinite(measured).all(axis=0))
    block = measured[np.ix_(strongest, columns)]
    rows = strongest[clustered_order(block)]
    ordered = columns[clustered_order(block.T)]
    table = compared.conditions.select(CONDITION_COLUMNS).with_columns(effect_size=pl.Series(sizes))
    return ModuleHeatmap(
        conditions=table[rows],
        columns=ordered.astype(np.int64),
        measured=measured[np.ix_(rows, ordered)],
        generated=generated[compared.model][np.ix_(rows, ordered)],
    )
