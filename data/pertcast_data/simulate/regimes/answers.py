"""How the network passes a drive on its regulators to modules and genes: linearly, or up to a limit."""

from __future__ import annotations

from typing import Final

import numpy as np

from pertcast_data.simulate.world import Floats, World

LARGEST_RESPONSE: Final = 3.0


def linear_answer(world: World, drive: Floats) -> Floats:
    """Return the (N, G) steady state of regulators hearing each other, passed on linearly to the genes."""
    return world.network.steady_answer(drive)


def limited_answer(world: World, drive: Floats) -> Floats:
    """Return the linear answer, with no gene moving more than 3 log2 units."""
    return LARGEST_RESPONSE * np.tanh(linear_answer(world, drive) / LARGEST_RESPONSE)


def saturating_answer(world: World, drive: Floats) -> Floats:
    """Return the (N, G) fixed point of saturating regulators; modules and genes saturate as well.

    Each regulator hears less than 0.6 in all, so the iteration contracts: 60 rounds leave < 1e-13.
    """
    network = world.network
    regulators = np.tanh(drive)
    for _ in range(60):
        regulators = np.tanh(drive + regulators @ network.crosstalk)
    modules = np.tanh(1.5 * (regulators @ network.control))
    change = np.asarray(1.2 * (modules @ network.membership), dtype=np.float64)
    return LARGEST_RESPONSE * np.tanh(change / LARGEST_RESPONSE)
