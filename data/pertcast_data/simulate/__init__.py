"""The simulated atlas: known truth, seeded and versioned, the data that every claim is first judged on.

One regulatory network gives L1000-like wells, single cells, genetic signatures, networks, a compound library,
sensitivities and gene sets (docs/atlas.md).
"""

from pertcast_data.simulate.atlas import Atlas, simulate_atlas
from pertcast_data.simulate.config import NOISE_LEVELS, AtlasConfig
from pertcast_data.simulate.files import AtlasFiles, write_atlas
from pertcast_data.simulate.oracle import Oracle, load_truth
from pertcast_data.simulate.regimes import REGIMES, Regime, get_regime
from pertcast_data.simulate.settings import SIZES, atlas_config
from pertcast_data.simulate.truth import Truth
from pertcast_data.simulate.version import GENERATOR_VERSION, generator_hash, gives_same_data

__all__ = [
    "GENERATOR_VERSION",
    "NOISE_LEVELS",
    "REGIMES",
    "SIZES",
    "Atlas",
    "AtlasConfig",
    "AtlasFiles",
    "Oracle",
    "Regime",
    "Truth",
    "atlas_config",
    "generator_hash",
    "get_regime",
    "gives_same_data",
    "load_truth",
    "simulate_atlas",
    "write_atlas",
]
