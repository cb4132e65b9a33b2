"""Single cells of a knock-out screen: raw counts with library sizes, capture losses, batches and dispersion.

Counts come from the same network as wells; their expectation after log1p(CP10k) is known exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import sparse, stats

from pertcast_data.progress import ProgressCallback
from pertcast_data.simulate.config import AtlasConfig
from pertcast_data.simulate.genetics import KNOCKOUT, GeneticConditions
from pertcast_data.simulate.regimes import Integers, get_regime
from pertcast_data.simulate.streams import stream
from pertcast_data.simulate.world import Floats, World
from pertcast_data.vocabulary import PAIR_SEPARATOR

MOLECULES_PER_GENE: Final = 12.0
MOST_MOLECULES: Final = 20_000.0
CONTROL_SHARE: Final = 0.1
DISPERSION: Final = 0.25
BATCH_EFFECT: Final = 0.2
DYNAMIC_RANGE: Final = 1.5
SCREEN_HOURS: Final = 168.0
HOME_CYCLE: Final = 10


@dataclass(frozen=True, slots=True)
class CellPlan:
    """Which condition each cell has: (N,) arrays; `condition` is -1 for a control cell."""

    condition: Integers
    context: Integers
    batch: Integers


def plan_knockouts(config: AtlasConfig, world: World) -> GeneticConditions:
    """Choose the genes to knock out (half of them regulators where there are enough) and pairs among them."""
    random = stream(config.seed, "knockouts")
    network = world.network
    n_regulators = min(len(network.regulators), config.n_knockouts // 2)
    regulators = random.choice(network.regulators, size=n_regulators, replace=False)
    in_modules = np.diff(network.membership.tocsc().indptr) > 0
    is_regulator = np.isin(np.arange(network.n_genes), network.regulators)
    candidates = np.flatnonzero(in_modules & ~is_regulator)
    outside = np.flatnonzero(~in_modules & ~is_regulator)
    n_others = config.n_knockouts - n_regulators
    others = np.concatenate([random.permutation(candidates), random.permutation(outside)])[:n_others]
    singles = np.sort(np.concatenate([regulators, others]))
    first, second = np.triu_indices(len(singles), k=1)
    chosen = np.sort(random.choice(len(first), size=config.n_pairs, replace=False))
    genes = np.full((len(singles) + len(chosen), 2), -1, dtype=np.int64)
    genes[: len(singles), 0] = singles
    genes[len(singles) :] = np.stack([singles[first[chosen]], singles[second[chosen]]], axis=1)
    context = np.repeat(np.arange(config.n_cell_contexts), len(genes))
    kind = np.full(len(context), KNOCKOUT, dtype=np.int64)
    return GeneticConditions(context, np.tile(genes, (config.n_cell_contexts, 1)), kind)


def plan_cells(config: AtlasConfig, conditions: GeneticConditions) -> CellPlan:
    """Deal cells evenly to conditions, each condition's cells to batches, then shuffle all cells.

    Batches are dealt evenly; where the design declares a home share, that part of a condition's cells is
    moved to one batch.
    """
    n_conditions = len(conditions.context)
    n_controls = max(round(CONTROL_SHARE * config.n_cells), 2 * config.n_cell_contexts)
    condition = np.resize(np.arange(n_conditions), config.n_cells - n_controls)
    control_context = np.resize(np.arange(config.n_cell_contexts), n_controls)
    context = np.concatenate([conditions.context[condition], control_context])
    condition = np.concatenate([condition, np.full(n_controls, -1, dtype=np.int64)])
    batch = np.empty(len(condition), dtype=np.int64)
    keys = condition * config.n_cell_contexts + context
    for key in np.unique(keys):
        members = np.flatnonzero(keys == key)
        batch[members] = (np.arange(len(members)) + key) % config.n_batches
    share = get_regime(config.regime).design.home_batch_share
    home = stream(config.seed, "home batches").integers(config.n_batches, size=n_conditions)
    place = np.arange(len(condition)) // n_conditions
    is_moved = (condition >= 0) & (place % HOME_CYCLE < round(share * HOME_CYCLE))
    batch[is_moved] = home[condition[is_moved]]
    order = stream(config.seed, "cell order").permutation(len(condition))
    return CellPlan(condition[order], context[order], batch[order])


@dataclass(frozen=True, slots=True)
class CellModel:
    """What decides a cell's counts, and so their expectation.

    Attributes
    ----------
    basal
        (C, G) log2 abundance of untreated cells.
    batch_effect
        (B, G) log2 shift of each batch.
    depth
        (N,) expected counts of each cell: molecules times the share of them that is captured.
    dispersion
        Overdispersion of counts: variance = mean + dispersion * mean squared.
    """

    basal: Floats
    batch_effect: Floats
    depth: Floats
    dispersion: float

    def proportions(self, context: int, batch: int, change: Floats) -> Floats:
        """Return the (G,) expected shares of a cell's counts under a (G,) log2 change."""
        abundance = 2.0 ** (self.basal[context] + self.batch_effect[batch] + change)
        return np.asarray(abundance / abundance.sum(), dtype=np.float64)


def build_cell_model(config: AtlasConfig, world: World) -> CellModel:
    """Draw library sizes, capture efficiencies and batch effects."""
    random = stream(config.seed, "cells")
    n_genes = world.network.n_genes
    typical = min(MOLECULES_PER_GENE * n_genes, MOST_MOLECULES)
    molecules = random.lognormal(np.log(typical), 0.35, size=config.n_cells)
    captured = random.beta(12.0, 8.0, size=config.n_cells)
    effect = BATCH_EFFECT * config.noise * random.standard_normal((config.n_batches, n_genes))
    return CellModel(
        basal=DYNAMIC_RANGE * world.contexts.basal,
        batch_effect=effect,
        depth=molecules * captured,
        dispersion=DISPERSION * config.noise,
    )


def count_molecules(
    config: AtlasConfig,
    model: CellModel,
    plan: CellPlan,
    response: NDArray[np.float32],
    progress: ProgressCallback,
) -> Any:
    """Return the (N, G) raw counts, CSR float32 holding whole numbers (gamma-Poisson)."""
    random = stream(config.seed, "counts")
    n_genes = model.basal.shape[1]
    blocks, rows = [], []
    groups = _groups(plan)
    for done, members in enumerate(groups, start=1):
        condition, context, batch = (
            int(array[members[0]]) for array in (plan.condition, plan.context, plan.batch)
        )
        change = response[condition].astype(np.float64) if condition >= 0 else np.zeros(n_genes)
        rate = np.outer(model.depth[members], model.proportions(context, batch, change))
        if model.dispersion > 0:
            rate *= random.gamma(1.0 / model.dispersion, model.dispersion, size=rate.shape)
        blocks.append(sparse.csr_matrix(random.poisson(rate).astype(np.float32)))
        rows.append(members)
        progress(done, len(groups), "cells")
    stacked = sparse.vstack(blocks, format="csr")
    counts = stacked[np.argsort(np.concatenate(rows))]
    counts.sort_indices()
    return counts


def _groups(plan: CellPlan) -> list[Integers]:
    """Return the cells of each (condition, context, batch), in the order of these three."""
    order = np.lexsort((plan.batch, plan.context, plan.condition))
    keys = np.stack([plan.condition[order], plan.context[order], plan.batch[order]])
    borders = np.flatnonzero(np.any(np.diff(keys, axis=1) != 0, axis=0)) + 1
    return np.split(order, borders)


def cell_table(plan: CellPlan, conditions: GeneticConditions, world: World) -> pl.DataFrame:
    """Return the cells' table with CMap's column names; a pair is named "A+B"."""
    symbols, lines = world.network.gene_symbols, world.contexts.names
    names = [
        PAIR_SEPARATOR.join(sorted(symbols[gene] for gene in genes if gene >= 0))
        for genes in conditions.genes
    ]
    treated = [None if row < 0 else names[row] for row in plan.condition]
    return pl.DataFrame(
        {
            "sig_id": [f"SIMCELL{row:07d}" for row in range(1, len(treated) + 1)],
            "pert_id": [name or "non-targeting" for name in treated],
            "cmap_name": [name or "non-targeting" for name in treated],
            "pert_type": ["trt_xpr" if name else "ctl_vector" for name in treated],
            "cell_iname": [lines[context] for context in plan.context],
            "pert_time": [SCREEN_HOURS] * len(treated),
            "pert_time_unit": ["h"] * len(treated),
            "targets": pl.Series(treated, dtype=pl.String),
            "batch": [f"SIMBATCH{batch + 1:02d}" for batch in plan.batch],
        }
    )


def expected_log_counts(model: CellModel, shares: Floats) -> Floats:
    """Return E[log1p(10,000 * count / depth)] of genes with these shares of the counts, any shape.

    The expectation runs over gamma-Poisson counts and over nine quantiles of the cells' depth; it is
    tabulated over 160 shares and interpolated in the logarithm.
    """
    low, high = np.log(shares.min()), np.log(shares.max())
    grid = np.linspace(low, high + 1e-9, 160)
    depths = np.quantile(model.depth, np.linspace(0.05, 0.95, 9))
    table = np.array(
        [np.mean([_expected_log_count(np.exp(g), d, model.dispersion) for d in depths]) for g in grid]
    )
    return np.asarray(np.interp(np.log(shares), grid, table), dtype=np.float64)


def _expected_log_count(share: float, depth: float, dispersion: float) -> float:
    mean = share * depth
    spread = np.sqrt(mean + dispersion * mean**2)
    counts = np.arange(int(mean + 12 * spread) + 20)
    if dispersion > 0:
        size = 1.0 / dispersion
        chance = stats.nbinom.pmf(counts, size, size / (size + mean))
    else:
        chance = stats.poisson.pmf(counts, mean)
    return float(chance @ np.log1p(1e4 * counts / depth))


def expected_responses(
    model: CellModel, conditions: GeneticConditions, response: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return the (N, G) true responses on the scale of log1p(CP10k): mean over batches, minus controls."""
    n_batches, n_genes = model.batch_effect.shape
    contexts = np.unique(conditions.context)
    of_context = np.concatenate([contexts, conditions.context])
    change = np.concatenate([np.zeros((len(contexts), n_genes)), response])
    shares = np.stack(
        [
            model.proportions(context, batch, change[row])
            for row, context in enumerate(of_context)
            for batch in range(n_batches)
        ]
    )
    means = expected_log_counts(model, shares).reshape(-1, n_batches, n_genes).mean(axis=1)
    controls = means[np.searchsorted(contexts, conditions.context)]
    return np.asarray(means[len(contexts) :] - controls, dtype=np.float32)


def measured_responses(plan: CellPlan, counts: Any, conditions: GeneticConditions) -> NDArray[np.float32]:
    """Return the (N, G) measured responses: mean log1p(CP10k) of a condition minus its line's controls."""
    scaled = counts.multiply(1e4 / np.maximum(counts.sum(axis=1), 1)).tocsr()
    scaled.data = np.log1p(scaled.data)
    n_conditions, n_cells = len(conditions.context), len(plan.condition)
    n_groups = n_conditions + int(plan.context.max()) + 1
    group = np.where(plan.condition >= 0, plan.condition, n_conditions + plan.context)
    members = sparse.csr_matrix((np.ones(n_cells), (group, np.arange(n_cells))), shape=(n_groups, n_cells))
    sums = np.asarray((members @ scaled).todense())
    means = sums / np.bincount(group, minlength=n_groups)[:, None]
    return np.asarray(means[:n_conditions] - means[n_conditions + conditions.context], dtype=np.float32)
