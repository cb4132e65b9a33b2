"""Genetic signatures as level 5 of L1000: one moderated z-score profile a gene, kind and cell line.

Knock-downs pool hairpins; every hairpin also does what its seed does, whatever gene it is meant for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pertcast_data.progress import ProgressCallback
from pertcast_data.simulate.config import AtlasConfig
from pertcast_data.simulate.genetics import (
    GENETIC_KINDS,
    KNOCKDOWN,
    KNOCKOUT,
    OVEREXPRESSION,
    GeneticConditions,
)
from pertcast_data.simulate.genome import Network
from pertcast_data.simulate.streams import stream
from pertcast_data.simulate.world import Floats, World

Integers = NDArray[np.int64]

SIGNATURE_HOURS: Final = 96.0
SPREAD_OF_CONTROLS: Final = (0.25, 0.55)
REPLICATES: Final = (2, 5)
UNEVEN_REPLICATES: Final = 0.3
HAIRPINS_PER_SEED: Final = 6
REGULATORS_PER_SEED: Final = 3
SEED_STRENGTH: Final = 0.6
LARGEST_Z: Final = 10.0
SMALLEST_WEIGHT: Final = 0.01
CALLED_Z: Final = 2.0


@dataclass(frozen=True, slots=True)
class SignaturePlan:
    """Which signatures there are.

    Attributes
    ----------
    conditions
        N genetic conditions, all of single genes.
    n_replicates
        (N,) int64, profiles that each signature pools; those of a knock-down are of different hairpins.
    landmarks
        (L,) int64, the genes that are measured, ascending.
    """

    conditions: GeneticConditions
    n_replicates: Integers
    landmarks: Integers


@dataclass(frozen=True, slots=True)
class Signatures:
    """N moderated z-score profiles of L landmarks and how well their replicates agree.

    Attributes
    ----------
    z
        (N, L) float32.
    replicate_correlation
        (N,) float64, upper quartile of the Spearman correlations among replicates (distil_cc_q75).
    """

    z: NDArray[np.float32]
    replicate_correlation: Floats


def plan_signatures(config: AtlasConfig, world: World) -> SignaturePlan:
    """Choose perturbed genes, their kinds (each by its own share, at least one), replicates and landmarks."""
    random, n_genes = stream(config.seed, "signature plan"), world.network.n_genes
    landmarks = np.sort(random.permutation(n_genes)[: config.n_landmarks])
    chosen = np.sort(random.permutation(n_genes)[: config.n_signature_genes])
    shares = np.zeros(len(GENETIC_KINDS))
    shares[[KNOCKOUT, KNOCKDOWN, OVEREXPRESSION]] = (
        config.knockout_share,
        config.knockdown_share,
        config.overexpression_share,
    )
    has_kind = random.random((len(chosen), len(shares))) < shares
    fallback = random.choice(len(shares), size=len(chosen), p=shares / shares.sum())
    without = np.flatnonzero(~has_kind.any(axis=1))
    has_kind[without, fallback[without]] = True
    place, kind = np.nonzero(has_kind)
    genes = np.full((len(place), 2), -1, dtype=np.int64)
    genes[:, 0] = chosen[place]
    n_contexts = config.n_signature_contexts
    conditions = GeneticConditions(
        context=np.repeat(np.arange(n_contexts), len(place)),
        genes=np.tile(genes, (n_contexts, 1)),
        kind=np.tile(kind.astype(np.int64), n_contexts),
    )
    replicates = random.integers(REPLICATES[0], REPLICATES[1] + 1, size=len(conditions))
    return SignaturePlan(conditions, replicates, landmarks)


def spread_of_controls(config: AtlasConfig, world: World, landmarks: Integers) -> Floats:
    """Return the (L,) standard deviation of untreated profiles at noise 1, log2 units."""
    spread = stream(config.seed, "signature spread").uniform(*SPREAD_OF_CONTROLS, size=world.network.n_genes)
    return np.asarray(spread[landmarks], dtype=np.float64)


def unit_of_scores(config: AtlasConfig, spread: Floats) -> Floats:
    """Return what one z-score is worth, (L,) log2 units: the spread of controls, never below that at noise 1.

    The floor keeps scores finite, and not all at the limit of 10, in quiet atlases.
    """
    return spread * max(config.noise, 1.0)


def true_scores(
    config: AtlasConfig, world: World, plan: SignaturePlan, change: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return the (N, L) z-scores of noise-free log2 changes, held within 10 as on file."""
    unit = unit_of_scores(config, spread_of_controls(config, world, plan.landmarks))
    return np.asarray(np.clip(change / unit, -LARGEST_Z, LARGEST_Z), dtype=np.float32)


def measure_signatures(
    config: AtlasConfig,
    world: World,
    plan: SignaturePlan,
    change: NDArray[np.float32],
    progress: ProgressCallback,
) -> Signatures:
    """Measure replicates of each (N, L) true log2 change and pool them as L1000 does, to 4 decimals.

    A replicate is the truth + what its hairpin's seed does + noise like that among controls (more in a poor
    replicate), in z-scores.
    """
    random = stream(config.seed, "signatures")
    spread = spread_of_controls(config, world, plan.landmarks)
    unit = unit_of_scores(config, spread)
    is_hairpin = plan.conditions.kind == KNOCKDOWN
    seeds = _seed_effects(world.network, int(plan.n_replicates[is_hairpin].sum()), random)[:, plan.landmarks]
    z = np.empty(change.shape, dtype=np.float32)
    correlation = np.empty(len(change))
    for row, n_replicates in enumerate(plan.n_replicates):
        quality = random.lognormal(0.0, UNEVEN_REPLICATES, size=(n_replicates, 1))
        disturbance = spread * quality * random.standard_normal((n_replicates, len(spread)))
        if is_hairpin[row]:
            disturbance += seeds[random.integers(len(seeds), size=n_replicates)]
        z[row], correlation[row] = moderated_z((change[row] + config.noise * disturbance) / unit)
        progress(row + 1, len(z), "signatures")
    on_file = np.round(np.clip(z, -LARGEST_Z, LARGEST_Z), 4).astype(np.float32)
    return Signatures(on_file, correlation)


def _seed_effects(network: Network, n_hairpins: int, random: np.random.Generator) -> Floats:
    """Return the (seeds, G) log2 changes that hairpins of a seed share: through a few regulators each."""
    n_seeds = max(n_hairpins // HAIRPINS_PER_SEED, 1)
    drive = np.zeros((n_seeds, network.n_regulators))
    for row in range(n_seeds):
        hit = random.choice(network.n_regulators, size=REGULATORS_PER_SEED)
        drive[row, hit] = random.normal(0.0, SEED_STRENGTH, size=REGULATORS_PER_SEED)
    return np.asarray((drive @ network.control) @ network.membership, dtype=np.float64)


def moderated_z(replicates: Floats) -> tuple[Floats, float]:
    """Pool (R, L) z-scores of replicates into (L,), and return the upper quartile of their correlations.

    Each replicate weighs by the sum of its Spearman correlations with the others, at least 0.01; weights sum
    to 1 (MODZ: Subramanian et al., Cell 171, 1437 (2017)).
    """
    ranks = replicates.argsort(axis=1, kind="stable").argsort(axis=1)
    between = np.asarray(np.corrcoef(ranks))
    np.fill_diagonal(between, 0.0)
    weight = np.maximum(between.sum(axis=1), SMALLEST_WEIGHT)
    pairs = between[np.triu_indices(len(replicates), k=1)]
    return np.asarray(weight / weight.sum() @ replicates), float(np.quantile(pairs, 0.75))


def signature_table(plan: SignaturePlan, signatures: Signatures, world: World) -> pl.DataFrame:
    """Return the signatures' table with CMap's column names.

    distil_ss counts landmarks of |z| >= 2 after scaling by the square root of the number of replicates; tas
    is sqrt(distil_ss * max(distil_cc_q75, 0) / L) (Subramanian et al. 2017).
    """
    lines, symbols = world.contexts.names, world.network.gene_symbols
    kinds = [GENETIC_KINDS[kind] for kind in plan.conditions.kind]
    genes = [symbols[gene] for gene in plan.conditions.genes[:, 0]]
    cells = [lines[context] for context in plan.conditions.context]
    scaled = np.abs(signatures.z) * np.sqrt(plan.n_replicates)[:, None]
    strength = (scaled >= CALLED_Z).sum(axis=1)
    agreement = np.maximum(signatures.replicate_correlation, 0.0)
    rows = zip(kinds, cells, genes, strict=True)
    return pl.DataFrame(
        {
            "sig_id": [
                f"SIM{kind[4:].upper()}_{cell}_{SIGNATURE_HOURS:.0f}H:{gene}" for kind, cell, gene in rows
            ],
            "pert_id": genes,
            "cmap_name": genes,
            "pert_type": kinds,
            "cell_iname": cells,
            "pert_time": [SIGNATURE_HOURS] * len(genes),
            "pert_time_unit": ["h"] * len(genes),
            "distil_nsample": plan.n_replicates,
            "distil_cc_q75": np.round(signatures.replicate_correlation, 4),
            "distil_ss": strength,
            "tas": np.round(np.sqrt(strength * agreement / signatures.z.shape[1]), 4),
        }
    )
