"""How sensitive cell lines are to compounds: IC50 and AUC, tied to one pathway of the regulatory network.

What decides an IC50 is what the compound does to the pathway, a little what the line expresses of it, and a
part that no expression profile shows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pertcast_data.simulate.config import AtlasConfig
from pertcast_data.simulate.regimes.drives import structure_efficacy
from pertcast_data.simulate.streams import stream
from pertcast_data.simulate.world import Floats, World

MEAN_LN_IC50: Final = 2.5
BY_PATHWAY: Final = 1.8
BY_BASAL: Final = 0.6
BY_COMPOUND: Final = 0.8
MEASUREMENT_NOISE: Final = 0.6
MISSING_SHARE: Final = 0.19
HILL_SLOPE_SPREAD: Final = 0.25
DOSES: Final = (0.01, 10.0)


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """Measured and true sensitivity of P (compound, line) pairs.

    Attributes
    ----------
    pathway
        Row of the module that decides.
    table
        P rows: pert_id, cmap_name, cell_iname, ln_ic50 (natural logarithm of uM), auc (0 to 1), min_conc,
        max_conc (uM).
    activity
        (P,) float64, true activity of the pathway under the compound at the highest dose and longest time,
        log2 units.
    ln_ic50
        (P,) float64, without noise.
    explainable_share
        Variance of the true over that of the measured ln IC50.
    """

    pathway: int
    table: pl.DataFrame
    activity: Floats
    ln_ic50: Floats
    explainable_share: float


def deciding_pathway(world: World) -> int:
    """Return the module that the library's structures act on most diversely; the same in every regime."""
    efficacy = structure_efficacy(world, np.arange(len(world.library)))
    return int(np.argmax((efficacy @ world.network.control).var(axis=0)))


def pathway_activity(world: World, pathway: int, change: NDArray[np.float32]) -> Floats:
    """Return the (N,) activity of a module in (N, G) log2 changes: the weighted mean over its members."""
    weight = world.network.membership[pathway].toarray().ravel()
    return np.asarray(change @ weight / (weight @ weight), dtype=np.float64)


def simulate_sensitivity(
    config: AtlasConfig, world: World, library_change: NDArray[np.float32]
) -> Sensitivity:
    """Simulate IC50 and AUC of the library; about a fifth of the pairs is missing, as in such screens.

    Parameters
    ----------
    library_change
        (compounds x lines, G) true log2 changes at the highest dose and longest time, lines changing fastest.
    """
    random, library = stream(config.seed, "sensitivity"), world.library
    n_lines, pathway = config.n_contexts, deciding_pathway(world)
    compound = np.repeat(np.arange(len(library)), n_lines)
    line = np.tile(np.arange(n_lines), len(library))
    activity = pathway_activity(world, pathway, library_change)
    true = MEAN_LN_IC50 + BY_PATHWAY * _standardised(activity)
    true += BY_BASAL * _standardised(_basal_level(world, pathway))[line]
    true += BY_COMPOUND * random.standard_normal(len(library))[compound]
    measured = true + config.noise * MEASUREMENT_NOISE * random.standard_normal(len(true))
    slope = random.lognormal(0.0, HILL_SLOPE_SPREAD, size=len(true))
    kept = np.sort(random.permutation(len(true))[round(MISSING_SHARE * len(true)) :])
    table = pl.DataFrame(
        {
            "pert_id": [library.pert_ids[row] for row in compound[kept]],
            "cmap_name": [library.names[row] for row in compound[kept]],
            "cell_iname": [world.contexts.names[row] for row in line[kept]],
            "ln_ic50": np.round(measured, 5)[kept],
            "auc": np.round(area_under_curve(measured, slope), 5)[kept],
            "min_conc": [DOSES[0]] * len(kept),
            "max_conc": [DOSES[1]] * len(kept),
        }
    )
    share = float(true[kept].var() / measured[kept].var())
    return Sensitivity(pathway, table, activity[kept], true[kept], share)


def _basal_level(world: World, pathway: int) -> Floats:
    """Return the (C,) mean basal expression of a module's members in each line."""
    return np.asarray(world.contexts.basal[:, world.network.module_genes(pathway)].mean(axis=1))


def _standardised(values: Floats) -> Floats:
    spread = values.std()
    return (values - values.mean()) / spread if spread > 0 else np.zeros_like(values)


def area_under_curve(ln_ic50: Floats, slope: Floats) -> Floats:
    """Return the mean viability over log dose, 0 to 1: the integral of 1 / (1 + (dose / IC50)^slope)."""
    ends = [np.log1p(np.exp(slope * (np.log(dose) - ln_ic50))) / slope for dose in DOSES]
    return np.asarray(1.0 - (ends[1] - ends[0]) / np.log(DOSES[1] / DOSES[0]), dtype=np.float64)
