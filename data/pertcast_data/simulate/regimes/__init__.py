"""How genes answer a perturbation: one small strategy a regime, in an immutable registry."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from pertcast_data.errors import ConfigError, nearest_known
from pertcast_data.simulate.regimes.adversarial import ADVERSARIAL
from pertcast_data.simulate.regimes.base import (
    CompoundConditions,
    Integers,
    Regime,
    compound_response,
    genetic_response,
)
from pertcast_data.simulate.regimes.drives import structure_efficacy
from pertcast_data.simulate.regimes.epistatic import EPISTATIC
from pertcast_data.simulate.regimes.linear import LINEAR
from pertcast_data.simulate.regimes.network import NETWORK
from pertcast_data.simulate.regimes.null import NULL
from pertcast_data.simulate.regimes.saturating import SATURATING

__all__ = [
    "REGIMES",
    "CompoundConditions",
    "Integers",
    "Regime",
    "compound_response",
    "genetic_response",
    "get_regime",
    "structure_efficacy",
]

REGIMES: Final[Mapping[str, Regime]] = MappingProxyType(
    {regime.name: regime for regime in (NULL, LINEAR, SATURATING, EPISTATIC, NETWORK, ADVERSARIAL)}
)
"""Name -> regime. A regime is fixed before any model is tuned on it."""


def get_regime(name: str) -> Regime:
    """Return a regime by name; raises ConfigError naming the nearest known ones."""
    if name in REGIMES:
        return REGIMES[name]
    hint = nearest_known(name, REGIMES) or list(REGIMES)
    raise ConfigError(f"Unknown regime {name!r}. Did you mean {' or '.join(hint)}?")
